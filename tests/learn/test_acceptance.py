"""Of the memory's correction as much is used as validation can tell from luck."""

import copy
import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from series.training_cases import config_of, foretold, make_run, motifs

from titans_ts.learn.acceptance import SHARES, memory_gain
from titans_ts.series.learning.objective import block_errors
from titans_ts.series.learning.training import Training
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.settings import TrainingConfig


def errors_of(differences: torch.Tensor) -> torch.Tensor:
    """Return errors of no correction, and of a whole one that gains ``differences`` over it, with all shares between."""
    gained = torch.tensor(SHARES, dtype=torch.float64)[:, None] * differences
    return 1 + differences.abs().max() - gained


@pytest.mark.parametrize("caution", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("mean", [0.05, 0.3, 1.0])
def test_the_share_is_the_smallest_within_so_many_standard_errors_of_the_best(mean, caution):
    chance = np.random.default_rng(0)
    differences = mean + 0.2 * chance.standard_normal(9)
    error = stats.sem(differences) * np.sqrt((1 + 0.5 * 8 / 9) / (1 - 0.5 / 9))
    gain = memory_gain(errors_of(torch.from_numpy(differences)), caution=caution)
    least = max(1 - caution * error / differences.mean(), 0)  # a gain in proportion to the share
    assert gain.share == pytest.approx(np.ceil(10 * least - 1e-9) / 10)
    direct = 1 + np.abs(differences).max()
    assert gain.standard_error == pytest.approx(error / direct, rel=1e-9)
    assert gain.best_gain == pytest.approx(differences.mean() / direct)
    assert gain.gain == pytest.approx(gain.share * gain.best_gain)
    assert gain.blocks == 9


@pytest.mark.parametrize("blocks", [4, 15])
def test_the_standard_error_is_that_of_overlapping_forecasts(blocks):
    """Differences of rows are noise; origins average over their horizon, blocks over their origins."""
    chance, horizon = np.random.default_rng(0), 24
    rows = chance.standard_normal((4000, (blocks + 1) * horizon))
    sums = np.cumsum(np.pad(rows, ((0, 0), (1, 0))), axis=1)
    origins = (sums[:, horizon:] - sums[:, :-horizon])[:, : blocks * horizon] / horizon
    differences = torch.from_numpy(origins.reshape(4000, blocks, horizon).mean(-1))
    true = float(differences.mean(1).std())

    def estimate(x: torch.Tensor) -> float:
        gain = memory_gain(torch.stack([torch.ones_like(x), 1 - x]), caution=1.0, shares=(0.0, 1.0))
        return gain.standard_error if gain.best_gain > 0 else np.nan

    found = np.sqrt(np.nanmean([estimate(one) ** 2 for one in differences]))
    assert found == pytest.approx(true, rel=0.05)
    plain = np.sqrt(np.mean(stats.sem(differences.numpy(), axis=1) ** 2))
    assert plain < 0.9 * true


def test_half_a_share_keeps_three_quarters_of_a_gain_that_bends():
    shares = torch.tensor(SHARES, dtype=torch.float64)[:, None]
    sure = memory_gain(1 - 0.1 * (2 * shares - shares**2) * torch.tensor([[0.98, 1.0, 1.02]]), caution=1.0)
    assert sure.share >= 0.8
    doubtful = memory_gain(1 - 0.1 * (2 * shares - shares**2) * torch.tensor([[0.5, 1.0, 1.5, 1.0]]), caution=1.0)
    assert 0 < doubtful.share <= 0.6
    assert doubtful.gain > 0.7 * doubtful.best_gain


def test_one_block_proves_nothing_unless_no_caution_is_asked_for():
    gains = errors_of(torch.tensor([0.5]))
    found = memory_gain(gains, caution=1.0)
    assert (found.share, found.gain, found.standard_error) == (0.0, 0.0, None)
    assert memory_gain(gains, caution=0.0).share == 1.0
    assert memory_gain(errors_of(torch.tensor([-0.5])), caution=0.0).share == 0.0
    assert memory_gain(gains[:, :0], caution=0.0).share == 0.0


def test_equal_errors_are_no_gain():
    gain = memory_gain(torch.ones(11, 3), caution=0.0)
    assert (gain.share, gain.gain, gain.best_gain) == (0.0, 0.0, 0.0)


@functools.cache
def learned_on_motifs() -> Training:
    """Train where history tells what the look-back does not: a curve of 32 rows played again and again."""
    at_end = []

    def keep(training, report):
        if (report.phase, report.step) == ("memory", report.steps):
            at_end.append(copy.deepcopy(training))
            return True
        return False

    torch.manual_seed(0)
    config = config_of("lmm", dropout=0.0)
    settings = TrainingConfig(
        max_steps=120, batch_size=8, segment=64, learning_rate=5e-3, patience=100, precision="float32"
    )  # fmt: skip
    Training(ForecastNetwork(config), [foretold(motifs(1600), config)], [1280], settings, callbacks=[keep]).run()
    (training,) = at_end
    return training


def run_on_motifs(caution: float) -> Training:
    """Return a run that was judged so."""
    run = copy.deepcopy(learned_on_motifs())
    run.config = replace(run.config, caution=caution)
    run.callbacks = []
    run.run()
    return run


def errors_by_share_used(run: Training) -> tuple[float, float]:
    """Return the errors of the base and of the forecasts, each the mean over blocks."""
    errors = block_errors(run.network, run.series, run.starts, lambda said: [said.base, said.point]).mean(1)
    return float(errors[0]), float(errors[1])


def test_a_gain_that_is_sure_is_used():
    run = run_on_motifs(1.0)
    assert run.gain.share > 0.5
    assert run.gain.gain > 0.05
    base, found = errors_by_share_used(run)
    assert found < base


def test_a_gain_that_is_not_sure_enough_leaves_the_base():
    run = run_on_motifs(1e9)
    assert run.gain.best_gain > 0.05
    assert run.gain.share == 0
    assert not run.network.head.correct.weight.any()
    base, found = errors_by_share_used(run)
    assert found == base


def test_a_share_is_that_far_from_the_base_to_what_was_learned():
    """Forecasts are linear in the share, so that what validation measured is what is used."""
    whole, part = run_on_motifs(0.0), run_on_motifs(2.0)
    assert 0 < part.gain.share < whole.gain.share == 1
    for name, x in part.network.head.state_dict().items():
        assert torch.allclose(x, part.gain.share * whole.network.head.state_dict()[name]), name
    base, found = errors_by_share_used(part)
    assert found / base == pytest.approx(1 - part.gain.gain, rel=1e-5)


def test_without_validation_nothing_is_judged():
    run = make_run(caution=1.0)
    run.starts, run.validated = [one.length for one in run.series], False
    run.run()
    assert run.gain is None
    assert run.network.head.correct.weight.any()
