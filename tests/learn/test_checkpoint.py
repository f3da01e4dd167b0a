"""A run of any estimator can be stopped after any step, in any phase, and taken up again to the same bits."""

import os

import numpy as np
import pytest
import torch
from learn.every_case import EVERY
from series.training_cases import assert_same_bits, config_of, make_run, tensors_of

from titans_ts import Checkpoint
from titans_ts.files.tensors import read_tensors, write_tensors
from titans_ts.series.learning.training import Training
from titans_ts.series.settings import ForecastConfig


class Interruption(Exception):  # noqa: N818 (nothing went wrong)
    """A person's Ctrl-C, or a machine that goes down."""


def interrupt_at(phase: str, step: int):
    def raise_there(_training, report):
        if (report.phase, report.step) == (phase, step):
            raise Interruption

    return raise_there


def interrupted_and_taken_up(config: ForecastConfig, path, phase: str, step: int, *, every: int = 1, **settings) -> Training:
    """Interrupt a run, then take it up in a new process's place: other weights, other global chance."""
    run = make_run(config, callbacks=[Checkpoint(path, every=every), interrupt_at(phase, step)], **settings)
    with pytest.raises(Interruption):
        run.run()
    again = make_run(config, network_seed=99, callbacks=[Checkpoint(path, every=every)], **settings)
    torch.manual_seed(4242)
    again.run()
    return again


def assert_equals_uninterrupted(config: ForecastConfig, path, *places, every: int = 1, **settings) -> None:
    whole = make_run(config, **settings)
    whole.run()
    for phase, step in places:
        found = interrupted_and_taken_up(config, path, phase, step, every=every, **settings)
        assert_same_bits(tensors_of(found), tensors_of(whole))
        assert (found.best.error, found.best.step, found.best.waited) == (
            whole.best.error,
            whole.best.step,
            whole.best.waited,
        ), (phase, step)
        os.unlink(path)


PHASES = ("memory", "recollection")


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("phase", PHASES)
def test_taken_up_after_any_step_equals_uninterrupted(tmp_path, phase, average):
    places = [(phase, step) for step in (1, 2, 3, 6)]
    assert_equals_uninterrupted(config_of(recollection=8), tmp_path / "run", *places, average=average)


def test_taken_up_without_a_base_equals_uninterrupted(tmp_path):
    assert_equals_uninterrupted(config_of(base=None, level=True), tmp_path / "run", ("memory", 4))


@pytest.mark.parametrize("variant", ["mac", "mal", "lmm", "full_attention", "lstm", "hopfield"])
def test_taken_up_equals_uninterrupted_in_every_variant(tmp_path, variant):
    """Four steps of five tokens: the state is taken up inside a segment of attention and a refresh."""
    assert_equals_uninterrupted(config_of(variant), tmp_path / "run", ("memory", 4))


@pytest.mark.parametrize("phase", PHASES)
def test_steps_since_the_last_writing_are_done_again(tmp_path, phase):
    assert_equals_uninterrupted(config_of(recollection=8), tmp_path / "run", (phase, 5), every=3)


def test_taken_up_with_channels_and_covariates(tmp_path):
    config = config_of(channels=2, calendar=2, past=1, future=2, static=1)
    assert_equals_uninterrupted(config, tmp_path / "run", ("memory", 3))


def test_taken_up_after_patience_ended_the_phase(tmp_path):
    settings = {"learning_rate": 1.0, "max_steps": 50, "patience": 2, "evaluate_every": 1}
    places = [("memory", 2), ("recollection", 2)]
    assert_equals_uninterrupted(config_of(recollection=8), tmp_path / "run", *places, **settings)


def test_interrupted_twice(tmp_path):
    path, config = tmp_path / "run", config_of(recollection=8)
    whole = make_run(config)
    whole.run()
    for seed, (phase, step) in enumerate([("memory", 2), ("memory", 5), ("recollection", 1)]):
        run = make_run(config, network_seed=seed, callbacks=[Checkpoint(path, every=1), interrupt_at(phase, step)])
        with pytest.raises(Interruption):
            run.run()
    last = make_run(config, network_seed=50, callbacks=[Checkpoint(path, every=1)])
    last.run()
    assert_same_bits(tensors_of(last), tensors_of(whole))


def test_watching_changes_nothing(tmp_path):
    plain, watched = make_run(), make_run(callbacks=[Checkpoint(tmp_path / "run", every=1)])
    plain.run()
    watched.run()
    assert_same_bits(tensors_of(watched), tensors_of(plain))


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = make_run(callbacks=[Checkpoint(tmp_path / "run", every=4)])
    first.run()
    steps = []
    again = make_run(network_seed=9, callbacks=[Checkpoint(tmp_path / "run"), lambda _, report: steps.append(report)])
    again.run()
    assert steps == []
    assert_same_bits(tensors_of(again), tensors_of(first))


def test_the_evaluations_before_the_interruption_are_remembered(tmp_path):
    whole = make_run()
    whole.run()
    found = interrupted_and_taken_up(config_of(), tmp_path / "run", "memory", 4)
    assert [(r.phase, r.step, r.validation) for r in found.history] == [
        (r.phase, r.step, r.validation) for r in whole.history
    ]


def test_without_a_file_a_run_begins(tmp_path):
    run = make_run(callbacks=[Checkpoint(tmp_path / "run", every=1000)])
    run.run()
    assert (tmp_path / "run").exists(), "written at the end of a phase whatever every says"


@pytest.mark.parametrize(
    "other",
    [
        {"config": config_of(horizon=4)},
        {"config": config_of("lmm")},
        {"config": config_of(dropout=0.2)},
        {"data": 1},
        {"seed": 1},
        {"max_steps": 7},
        {"learning_rate": 0.5},
    ],
    ids=lambda other: ", ".join(other),
)
def test_the_file_of_another_run_is_refused_by_name(tmp_path, other):
    path = tmp_path / "run"
    make_run(callbacks=[Checkpoint(path, every=3)]).run()
    before = path.read_bytes()
    run = make_run(**other, callbacks=[Checkpoint(path)])
    with pytest.raises(ValueError, match=f"checkpoint '{path}' was written by another run"):
        run.run()
    assert path.read_bytes() == before


@pytest.mark.parametrize("change", ["order of rows", "place of missing rows", "calendar", "future", "scale", "foretold"])
def test_the_file_of_a_run_on_other_data_is_refused_however_small_the_difference(tmp_path, change):
    path = tmp_path / "run"
    config = config_of(calendar=2, future=2)
    make_run(config, callbacks=[Checkpoint(path, every=3)]).run()
    run = make_run(config, callbacks=[Checkpoint(path)])
    one = run.series[0]
    if change == "order of rows":
        one.rows.copy_(one.rows.flip(-1))
    elif change == "place of missing rows":
        one.rows[0, one.rows[0].isnan().nonzero()[0]] = 0.0
    elif change == "scale":
        one.scale.spread.mul_(2)
    elif change == "foretold":
        one.foretold.point[0, -1, 0] += 1e-9
    else:
        getattr(one, change).mul_(-1)
    with pytest.raises(ValueError, match="was written by another run"):
        run.run()


def test_a_damaged_file_is_refused_by_name(tmp_path):
    path = tmp_path / "run"
    make_run(callbacks=[Checkpoint(path, every=3)]).run()
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"\x80\x04K\x01."):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"'{path}' is damaged"):
            make_run(callbacks=[Checkpoint(path)]).run()


@pytest.mark.parametrize(
    "lost",
    [
        "chance.torch",
        "best.head.correct.weight",
        "network.head.correct.weight",
        "averaged.head.correct.weight",
        "state.0.memory.tail",
    ],
)
def test_a_file_that_lacks_a_part_is_refused_by_name(tmp_path, lost):
    path = tmp_path / "run"
    with pytest.raises(Interruption):
        make_run(callbacks=[Checkpoint(path, every=1), interrupt_at("memory", 3)]).run()
    tensors, header = read_tensors(path)
    del tensors[lost]
    write_tensors(path, tensors, header)
    with pytest.raises(ValueError, match="damaged|lacks"):
        make_run(callbacks=[Checkpoint(path)]).run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensors, _: tensors.update({"optimizer.0.exp_avg": torch.zeros(3)}),
            "'optimizer.0.exp_avg' is of no weight",
        ),
        (lambda tensors, _: tensors.update({"averaged.99": torch.zeros(())}), "its averaged weights are not those"),
        (
            lambda tensors, _: tensors.update({"averaged.head.correct.weight": torch.zeros(3)}),
            "its averaged weights are not those",
        ),
        (lambda tensors, _: tensors.update({"optimizer.99.step": torch.zeros(())}), "'optimizer.99.step' is of no weight"),
        (lambda tensors, _: tensors.update({"chance.torch": torch.zeros(3, dtype=torch.uint8)}), "damaged"),
        (lambda _, facts: facts.update(step=10**6), "its steps are no counts"),
        (lambda _, facts: facts.update(step="two"), "its steps are no counts"),
        (lambda _, facts: facts.update(best=3), "damaged"),
        (lambda _, facts: facts.update(chance={"bit_generator": "PCG64"}), "damaged"),
        (lambda _, facts: facts.update(history=[{"step": 1}]), "damaged"),
        (lambda _, facts: facts.update(next_token="two"), "its tokens are no count"),
        (lambda _, facts: facts.update(next_token=1), "its part '.*' is .*, expected"),
        (
            lambda tensors, _: tensors.update({"state.0.memory.tail": torch.zeros(1)}),
            "'0.memory.tail' is .*expected",
        ),
        (lambda tensors, _: tensors["state.0.memory.tail"].fill_(torch.nan), "'0.memory.tail' holds numbers that are not"),
        (lambda tensors, _: tensors.update({"state.7.memory": torch.zeros(1)}), "it has a part '7.memory'"),
    ],
)
def test_a_file_of_this_run_with_another_meaning_is_refused_by_its_path(tmp_path, change, message):
    path = tmp_path / "run"
    with pytest.raises(Interruption):
        make_run(callbacks=[Checkpoint(path, every=1), interrupt_at("memory", 3)]).run()
    tensors, header = read_tensors(path)
    change(tensors, header["checkpoint"])
    write_tensors(path, tensors, header)
    with pytest.raises(ValueError, match=f"checkpoint '.*run' is {'' if message == 'damaged' else 'damaged: .*'}{message}"):
        make_run(callbacks=[Checkpoint(path)]).run()


def test_a_saved_model_is_no_checkpoint(tmp_path):
    path = tmp_path / "model"
    write_tensors(path, {"network.weight": torch.ones(2)}, {"estimator": "TitansForecaster"})
    with pytest.raises(ValueError, match="was written by another run"):
        make_run(callbacks=[Checkpoint(path)]).run()


def test_an_interrupted_writing_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path, config = tmp_path / "run", config_of()
    run = make_run(config, callbacks=[Checkpoint(path, every=2), interrupt_at("memory", 3)])
    with pytest.raises(Interruption):
        run.run()
    with monkeypatch.context() as patch:
        patch.setattr("titans_ts.files.tables.os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            make_run(config, callbacks=[Checkpoint(path, every=2)]).run()
    assert os.listdir(tmp_path) == ["run"]
    whole, found = make_run(config), make_run(config, callbacks=[Checkpoint(path)])
    whole.run()
    found.run()
    assert_same_bits(tensors_of(found), tensors_of(whole))


# --- every estimator ------------------------------------------------------------------------------------------------


def interrupt_after(steps: int):
    """Return a callback that interrupts a fit after so many steps of all phases."""
    taken = []

    def raise_there(_run, _report):
        taken.append(1)
        if len(taken) == steps:
            raise Interruption

    return raise_there


CHANCE = {"max_steps": 7, "batch_size": 7, "dropout": 0.3, "validation_fraction": 0.25, "learning_rate": 0.05}
"""Arguments under which all chance counts: the order of batches, dropout, crops, strands; and several passes are begun."""


@pytest.mark.parametrize("name", EVERY)
def test_a_fit_of_every_estimator_is_taken_up_to_the_same_bits(name, tmp_path):
    case, path = EVERY[name], tmp_path / "run"
    before = case.model.callbacks or []
    steps = []
    whole = case.fitted(**CHANCE, callbacks=[*before, lambda _, report: steps.append(report.step)])
    for step in {1, 4, len(steps) - 1}:
        checkpoint = Checkpoint(path, every=1)
        with pytest.raises(Interruption):
            case.fitted(**CHANCE, callbacks=[*before, checkpoint, interrupt_after(step)])
        torch.manual_seed(4242)
        np.random.seed(4242)  # noqa: NPY002  what global chance there is, is another one
        left = []
        again = case.fitted(**CHANCE, callbacks=[*before, checkpoint, lambda *_, left=left: left.append(1)])
        assert len(left) == len(steps) - step, "no step is taken twice"
        assert_same_bits(again.network_.state_dict(), whole.network_.state_dict())
        assert again.training_history_ == whole.training_history_
        np.testing.assert_array_equal(case.ask(again), case.ask(whole))
        path.unlink()


@pytest.mark.parametrize("name", EVERY)
def test_a_fit_on_other_data_or_with_another_seed_is_another_run(name, tmp_path):
    case, checkpoint = EVERY[name], Checkpoint(tmp_path / "run", every=1)
    with pytest.raises(Interruption):
        case.fitted(callbacks=[checkpoint, interrupt_after(1)])
    model = case.make(callbacks=[checkpoint])
    with pytest.raises(ValueError, match="was written by another run"):
        model.fit(case.X[1:], None if case.y is None else case.y[1:])
    with pytest.raises(ValueError, match="was written by another run"):
        case.fitted(callbacks=[checkpoint], random_state=1)
    assert not hasattr(model, "network_"), "the estimator is left as it was"


def test_other_targets_are_other_data(tmp_path):
    case, checkpoint = EVERY["TitansClassifier"], Checkpoint(tmp_path / "run", every=1)
    with pytest.raises(Interruption):
        case.fitted(callbacks=[checkpoint, interrupt_after(1)])
    with pytest.raises(ValueError, match="was written by another run"):
        case.make(callbacks=[checkpoint]).fit(case.X, case.y[::-1])
