"""The loop: what each phase trains, what is kept, the same numbers from the same seed (P6), and that it learns."""

import pytest
import torch
from series.cases import make_series
from series.training_cases import assert_same_bits, config_of, make_run, motifs, tensors_of

from titans_ts.backbones.observing import silenced
from titans_ts.learn.acceptance import MemoryGain
from titans_ts.series import training as loop
from titans_ts.series.learning.objective import validation_error
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
        ("direct", {"direct"}),
        ("memory", {"embedding", "backbone", "head", "direct"}),
        ("recollection", {"recollection"}),
        ("quantiles", {"quantile_head"}),
    ],
)
def test_a_phase_moves_its_own_parts_and_no_others(phase, parts):
    assert moved_in(phase, make_run(config_of(recollection=8))) == parts


def test_recollection_leaves_the_rest_as_it_is_without_it():
    with_it, without = make_run(config_of(recollection=8)), make_run(config_of())
    with_it.run()
    without.run()
    found = {name: x for name, x in tensors_of(with_it).items() if not name.startswith(("recollection", "quantile_head"))}
    assert with_it.network.recollection.trust.any()
    assert_same_bits(found, {name: x for name, x in tensors_of(without).items() if name in found})
    assert with_it.gain == without.gain


@pytest.mark.parametrize("phase", ["direct", "memory"])
def test_nothing_is_recollected_before_it_is_learned(phase):
    run = make_run(config_of(recollection=8), callbacks=[lambda _, report: report.phase == phase])
    run.run()
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
    run = make_run(max_steps=5, direct_steps=3, quantile_steps=4, callbacks=[lambda _, report: reports.append(report)])
    run.run()
    steps = [(r.phase, r.step, r.steps) for r in reports]
    assert steps == [(p, k + 1, n) for p, n in (("direct", 3), ("memory", 5), ("quantiles", 4)) for k in range(n)]
    evaluated = [(r.phase, r.step) for r in reports if r.validation is not None]
    assert evaluated == [("direct", 2), ("direct", 3), ("memory", 2), ("memory", 4), ("memory", 5)]
    assert all(r.loss == r.loss for r in reports)


def test_the_best_weights_by_validation_are_kept():
    errors, weights = [], []

    @torch.no_grad()
    def note(training, report):
        if report.validation is not None:
            errors.append(report.validation)
            weights.append(tensors_of(training))
        if (report.phase, report.step) == ("memory", 14):
            training.network.head.correct.weight.add_(9.0)  # from here on it is worse

    run = make_run(max_steps=20, learning_rate=0.2, caution=0.0, callbacks=[note])
    run.run()
    best = min(range(len(errors)), key=errors.__getitem__)
    assert best < len(errors) - 1
    assert run.best.error == pytest.approx(errors[best])
    mixed = ("direct", "head", "quantile_head")  # of which a share is used
    kept = {n: x for n, x in weights[best].items() if not n.startswith(mixed)}
    assert_same_bits({n: x for n, x in tensors_of(run).items() if n in kept}, kept)
    assert run.gain.share > 0
    assert torch.allclose(run.network.head.correct.weight, run.gain.share * weights[best]["head.correct.weight"])
    assert validation_error(run.network, run.series, run.starts) <= errors[best] * (1 + 1e-5)


def test_a_memory_that_only_harms_is_not_used():
    """The head starts at zero, so the second phase starts from the best direct path and falls back to it."""
    kept = {}

    @torch.no_grad()
    def spoil(training, report):
        if report.phase == "memory":
            kept.update({} if kept else training.best.weights)  # as the second phase found them
            training.network.head.correct.weight.fill_(9.0)

    run = make_run(direct_steps=40, callbacks=[spoil])
    run.run()
    errors = {phase: [r.validation for r in run.history if r.phase == phase] for phase in ("direct", "memory")}
    assert run.best.error == min(errors["direct"]) < min(errors["memory"])
    for name, x in kept.items():
        assert torch.equal(run.network.state_dict()[name], x) or name.startswith("quantile_head"), name
    direct = validation_error(run.network, run.series, run.starts, after="direct")
    assert validation_error(run.network, run.series, run.starts) == pytest.approx(direct, rel=1e-6)


def test_patience_ends_the_memory_phase():
    steps = []
    run = make_run(
        learning_rate=1.0, max_steps=50, patience=2, evaluate_every=1, callbacks=[lambda _, r: steps.append(r.phase)]
    )
    run.run()
    assert 2 <= steps.count("memory") < 50
    assert steps.count("quantiles") == 6, "the quantiles are fitted all the same"


def test_a_callback_can_end_the_memory_phase():
    steps = []

    def stop(_, report):
        steps.append(report.phase)
        return report.phase == "memory" and report.step == 3

    make_run(max_steps=50, callbacks=[stop]).run()
    assert steps.count("memory") == 3


def test_a_callback_that_answers_true_stops_training():
    """As the parameter's description says: no phase begins after it."""
    phases = []

    def stop(_, report):
        phases.append(report.phase)
        return report.step == 2

    make_run(callbacks=[stop]).run()
    assert phases == ["direct", "direct"]


def test_without_a_validation_part_the_last_weights_stay():
    run = make_run()
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
    alone = make_run(direct_steps=2, quantile_steps=2)
    alone.run()
    inner = make_run(data=1, network_seed=3, seed=4)
    outer = make_run(direct_steps=2, quantile_steps=2)
    outer.callbacks = [lambda _, report: inner.run() if (report.phase, report.step) == ("memory", 3) else None]
    outer.run()
    assert inner.phase == "quantiles"
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
    assert all(x.dtype == torch.float64 for x in network.state_dict().values())


def test_bfloat16_products_leave_float32_weights():
    run = make_run(precision="bfloat16")
    run.run()
    assert all(x.dtype == torch.float32 and torch.isfinite(x).all() for x in run.network.state_dict().values())


def learn(config: ForecastConfig, **settings: object) -> tuple[float, float, float]:
    """Train on recurring motifs; return the errors of the direct path alone, of all, and without the memory."""
    torch.manual_seed(0)
    network, one = ForecastNetwork(config), motifs(1600)
    direct = []

    def note(training, report):
        if report.phase == "memory" and report.step == 1:
            direct.append(training.best.error)

    steps = {"direct_steps": 150, "quantile_steps": 1, "evaluate_every": 20, "batch_size": 4, "segment": 48, "patience": 99}
    Training(network, [one], [1280], TrainingConfig(**{**steps, **settings}), callbacks=[note]).run()
    with silenced(network):
        without = validation_error(network, [one], [1280])
    return direct[0], validation_error(network, [one], [1280]), without


@pytest.mark.parametrize("variant", ["mac", "lmm"])
def test_learns_what_no_look_back_holds(variant):
    config = config_of(variant, dropout=0.0, horizon=8)
    direct, trained, without = learn(config, max_steps=120, learning_rate=1e-2)
    assert trained < 0.75 * direct, f"{trained:.3f} against {direct:.3f} by the direct path alone"
    assert without > 1.2 * trained, f"{without:.3f} without the memory, {trained:.3f} with it"


def test_a_series_of_one_level_is_learned_without_error():
    run = make_run()
    for one in run.series:
        one.rows.fill_(5.0)
        one.scale.level.fill_(5.0)
        one.scale.spread.fill_(1.0)
    run.run()
    assert run.best.error == pytest.approx(0.0, abs=0.05)
    assert all(torch.isfinite(x).all() for x in run.network.state_dict().values())


def test_no_rows_to_train_on_are_refused_by_name():
    config = config_of()
    with pytest.raises(ValueError, match="no rows|training"):
        Training(ForecastNetwork(config), [make_series(config, 40)], [0], TrainingConfig())
