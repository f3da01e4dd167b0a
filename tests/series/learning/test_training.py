"""The loop: what each phase trains, what is kept, the same numbers from the same seed (P6), and that it learns."""

import pytest
import torch
from series.cases import make_series
from series.training_cases import assert_same_bits, config_of, foretold, make_run, motifs, tensors_of

from titans_ts.backbones.observing import silenced
from titans_ts.learn.acceptance import MemoryGain
from titans_ts.series.learning import training as loop
from titans_ts.series.learning.objective import block_errors, validation_error
from titans_ts.series.learning.training import Training
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.settings import ForecastConfig, TrainingConfig


def moved_in(phase: str, run: Training) -> set[str]:
    """Return which parts of a network a phase moved."""
    seen = {}

    def note(training, report):
        seen.setdefault(report.phase, []).append(tensors_of(training))

    run.callbacks = [note]
    run.run()
    first, last = seen[phase][0], seen[phase][-1]
    return {name.split(".")[0] for name, x in last.items() if not torch.equal(x, first[name])}


@pytest.mark.parametrize(
    ("phase", "parts"),
    [
        ("memory", {"embedding", "backbone", "head"}),
        ("recollection", {"recollection"}),
    ],
)
def test_a_phase_moves_its_own_parts_and_no_others(phase, parts):
    assert moved_in(phase, make_run(config_of(recollection=8))) == parts


def test_recollection_leaves_the_rest_as_it_is_without_it():
    with_it, without = make_run(config_of(recollection=8)), make_run(config_of())
    with_it.run()
    without.run()
    found = {name: x for name, x in tensors_of(with_it).items() if not name.startswith("recollection")}
    assert with_it.network.recollection.trust.any()
    assert_same_bits(found, {name: x for name, x in tensors_of(without).items() if name in found})
    assert with_it.gain == without.gain


def test_nothing_is_recollected_before_it_is_learned():
    run = make_run(config_of(recollection=8), callbacks=[lambda _, report: report.step == 4])
    run.run()
    assert run.gain is not None, "what the memory learned until then is judged"
    assert not run.network.recollection.trust.any()


def test_recollections_are_let_through_as_far_as_validation_supports_them(monkeypatch):
    """Of what lowers the error on validation as much is used as is found to be sure: here half, by decree."""
    trained = {}
    monkeypatch.setattr(loop, "memory_gain", lambda *_, **__: MemoryGain(0.5, 0.0, 0.0, None, 1))
    run = make_run(config_of(recollection=8), learning_rate=0.05)
    run.callbacks = [lambda training, _: trained.update(training.best.weights)]
    run.run()
    assert run.recollection_gain.share == 0.5
    assert trained["recollection.trust"].any()
    assert torch.equal(run.network.recollection.trust, 0.5 * trained["recollection.trust"])
    without = validation_error(run.network, run.series, run.starts, after="memory")
    assert validation_error(run.network, run.series, run.starts) < without


def test_every_parameter_is_trained_by_some_phase():
    run = make_run(config_of("mac", recollection=8), max_steps=25)
    before = tensors_of(run)
    run.best.patience = 10**9
    seen = {}
    run.callbacks = [lambda training, report: seen.__setitem__(report.phase, tensors_of(training))]
    run.run()
    still = [n for n, _ in run.network.named_parameters() if all(torch.equal(x[n], before[n]) for x in seen.values())]
    assert not still, f"never trained: {still}"


def test_phases_follow_each_other_and_every_step_is_reported_once():
    reports = []
    run = make_run(config_of(recollection=8), max_steps=5, callbacks=[lambda _, report: reports.append(report)])
    run.run()
    steps = [(r.phase, r.step, r.steps) for r in reports]
    assert steps == [(phase, k + 1, 5) for phase in ("memory", "recollection") for k in range(5)]
    evaluated = [(r.phase, r.step) for r in reports if r.validation is not None]
    assert evaluated == [(phase, step) for phase in ("memory", "recollection") for step in (2, 4, 5)]
    assert all(r.loss == r.loss for r in reports)


def test_the_best_weights_by_validation_are_kept():
    errors, weights = [], []

    @torch.no_grad()
    def note(training, report):
        if report.validation is not None:
            errors.append(report.validation)
            with training.with_averaged():
                weights.append(tensors_of(training))
        if report.step == 14:
            training.network.head.correct.weight.add_(9.0)  # from here on it is worse

    run = make_run(max_steps=20, learning_rate=0.2, caution=0.0, callbacks=[note])
    run.run()
    best = min(range(len(errors)), key=errors.__getitem__)
    assert best < len(errors) - 1
    assert run.best.error == pytest.approx(errors[best])
    kept = {n: x for n, x in weights[best].items() if not n.startswith("head")}  # of which a share is used
    assert_same_bits({n: x for n, x in tensors_of(run).items() if n in kept}, kept)
    assert run.gain.share > 0
    assert torch.allclose(run.network.head.correct.weight, run.gain.share * weights[best]["head.correct.weight"])
    assert validation_error(run.network, run.series, run.starts) <= errors[best] * (1 + 1e-5)


def error_of_the_base(run: Training) -> float:
    errors = block_errors(run.network, run.series, run.starts, lambda found: [found.base])
    return float(errors.mean())


def test_a_memory_that_only_harms_is_not_used():
    """The head starts at zero, so that training starts from the base and falls back to it."""

    @torch.no_grad()
    def spoil(training, report):
        training.network.head.correct.weight.fill_(9.0)

    run = make_run(callbacks=[spoil])
    before = tensors_of(run)
    alone = error_of_the_base(run)
    run.run()
    assert run.best.step == 0
    assert run.best.error < min(report.validation for report in run.history)
    assert_same_bits(tensors_of(run), before)
    found = block_errors(run.network, run.series, run.starts, lambda said: [said.point]).mean()
    assert float(found) == alone


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_what_is_judged_and_kept_are_the_averaged_weights(average):
    """The error of each evaluation is that of the averaged weights, put into a network of their own."""
    found = []

    def note(training, report):
        if report.validation is None:
            return
        other = ForecastNetwork(training.network.config).eval()
        other.load_state_dict(tensors_of(training) | training.averaged)
        found.append((report.validation, validation_error(other, training.series, training.starts)))

    run = make_run(average=average, learning_rate=0.05, callbacks=[note])
    run.run()
    assert len(found) == 3
    assert all(judged == alone for judged, alone in found)
    assert bool(run.averaged) == bool(average)


def test_without_a_validation_part_the_averaged_weights_stay():
    run = make_run(learning_rate=0.05)
    run = Training(run.network, run.series, [one.length for one in run.series], run.config)
    last = {}
    run.callbacks = [lambda training, _: last.update(tensors_of(training))]
    run.run()
    averaged = {name: x for name, x in tensors_of(run).items() if name in run.averaged}
    assert_same_bits(averaged, run.averaged)
    assert any(not torch.equal(x, last[name]) for name, x in averaged.items())


def test_patience_ends_the_memory_phase():
    steps = []
    settings = {"learning_rate": 1.0, "max_steps": 50, "patience": 2, "evaluate_every": 1}
    run = make_run(config_of(recollection=8), **settings, callbacks=[lambda _, report: steps.append(report.phase)])
    run.run()
    assert 2 <= steps.count("memory") < 50
    assert steps.count("recollection") >= 2, "the next phase begins all the same"


def test_a_callback_that_answers_true_stops_training():
    """As the parameter's description says: no phase begins after it."""
    phases = []

    def stop(_, report):
        phases.append(report.phase)
        return report.step == 2

    make_run(config_of(recollection=8), callbacks=[stop]).run()
    assert phases == ["memory", "memory"]


def test_without_a_validation_part_the_last_weights_stay():
    run = make_run(average=0.0)
    run = Training(run.network, run.series, [one.length for one in run.series], run.config)
    assert not run.validated
    last = {}
    run.callbacks = [lambda training, _: last.update(tensors_of(training))]
    run.run()
    assert run.history == []
    assert_same_bits(tensors_of(run), last)
    assert not run.network.training


@pytest.mark.parametrize("variant", ["mac", "mag", "mal", "lmm"])
def test_the_same_seed_gives_the_same_numbers_in_any_order(variant):
    """P6: another run in between, other global draws before, and the global generator left as it was."""
    config = config_of(variant)
    torch.manual_seed(7)
    first = make_run(config)
    state = torch.get_rng_state()
    first.run()
    assert torch.equal(torch.get_rng_state(), state), "the global generator was moved"
    other = make_run(config_of("lmm", dropout=0.3), data=1, network_seed=5, seed=11)
    other.run()
    second = make_run(config)
    torch.manual_seed(12345)
    torch.randn(17)
    second.run()
    assert_same_bits(tensors_of(first), tensors_of(second))
    assert [r.validation for r in first.history] == [r.validation for r in second.history]
    third = make_run(config, seed=1)
    third.run()
    assert any(not torch.equal(x, tensors_of(first)[n]) for n, x in tensors_of(third).items()), "the seed does nothing"


def test_runs_taken_in_turns_do_not_disturb_each_other():
    """One run inside another in one process: each has its own chance."""
    alone = make_run()
    alone.run()
    inner = make_run(data=1, network_seed=3, seed=4)
    outer = make_run()
    outer.callbacks = [lambda _, report: inner.run() if (report.phase, report.step) == ("memory", 3) else None]
    outer.run()
    assert inner.step == inner.steps
    assert_same_bits(tensors_of(outer), tensors_of(alone))


@pytest.mark.parametrize(
    "settings", [{"channels": 3}, {"channels": 3, "mixed": True}, {"calendar": 2, "past": 1, "future": 2, "static": 1}]
)
def test_every_kind_of_series_trains_to_finite_weights(settings):
    run = make_run(config_of(**settings))
    run.run()
    assert all(torch.isfinite(x).all() for x in run.network.state_dict().values())
    assert run.best.error < float("inf")


def test_float64_trains_in_float64():
    config = config_of()
    torch.manual_seed(0)
    network = ForecastNetwork(config).double()
    run = make_run()
    run = Training(network, run.series, run.starts, run.config)
    run.run()
    assert all(x.dtype == torch.float64 for x in network.parameters())


def test_bfloat16_products_leave_float32_weights():
    run = make_run(precision="bfloat16")
    run.run()
    assert all(x.dtype == torch.float32 and torch.isfinite(x).all() for x in run.network.parameters())


def learn(config: ForecastConfig, **settings: object) -> tuple[float, float, float]:
    """Train on recurring motifs; return the errors of the base alone, of all, and without the memory."""
    torch.manual_seed(0)
    network, one = ForecastNetwork(config), foretold(motifs(1600), config)
    settings = {"evaluate_every": 20, "batch_size": 4, "segment": 48, "patience": 99, **settings}
    run = Training(network, [one], [1280], TrainingConfig(**settings))
    base = validation_error(network, [one], [1280])  # the head starts at zero
    run.run()
    with silenced(network):
        without = validation_error(network, [one], [1280])
    return base, validation_error(network, [one], [1280]), without


@pytest.mark.parametrize("variant", ["mac", "lmm"])
def test_learns_what_no_look_back_holds(variant):
    config = config_of(variant, dropout=0.0, horizon=8)
    base, trained, without = learn(config, max_steps=120, learning_rate=1e-2)
    assert trained < 0.75 * base, f"{trained:.3f} against {base:.3f} by the base alone"
    assert without > 1.2 * trained, f"{without:.3f} without the memory, {trained:.3f} with it"


def test_a_network_of_older_files_has_a_linear_path_that_stays():
    run = make_run(config_of(base=None, level=True))
    before = tensors_of(run)
    run.run()
    moved = {name.split(".")[0] for name, x in tensors_of(run).items() if not torch.equal(x, before[name])}
    assert moved <= {"embedding", "backbone", "head"}


def test_a_series_of_one_level_is_learned_without_error():
    run = make_run()
    for one in run.series:
        one.rows.fill_(5.0)
        one.scale.level.fill_(5.0)
        one.scale.spread.fill_(1.0)
        one.foretold.point.fill_(0.0)
    run.run()
    assert run.best.error == pytest.approx(0.0, abs=0.05)
    assert all(torch.isfinite(x).all() for x in run.network.state_dict().values())


def test_no_rows_to_train_on_are_refused_by_name():
    config = config_of()
    with pytest.raises(ValueError, match="no rows|training"):
        Training(ForecastNetwork(config), [make_series(config, 40)], [0], TrainingConfig())
