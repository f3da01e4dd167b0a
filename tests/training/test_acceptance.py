"""The memory's correction is used only where validation shows its gain beyond chance."""

import numpy as np
import pytest
import torch
from scipy import stats
from training.cases import config_of, make_run, motifs

from titans_ts.network import ForecastNetwork
from titans_ts.training.acceptance import memory_gain
from titans_ts.training.loop import Training, TrainingConfig
from titans_ts.training.objective import validation_error


@pytest.mark.parametrize("shift", [-0.1, 0.05, 0.3])
def test_the_test_is_the_paired_t_test_with_a_corrected_variance(shift):
    chance = np.random.default_rng(0)
    corrected = torch.from_numpy(chance.uniform(1, 2, 9))
    direct = corrected + shift + 0.2 * torch.from_numpy(chance.standard_normal(9))
    plain = stats.ttest_rel(direct.numpy(), corrected.numpy(), alternative="greater").statistic
    expected = stats.t.sf(plain * np.sqrt((1 - 0.5 / 9) / (1 + 0.5 * 8 / 9)), 8)
    gain = memory_gain(direct, corrected, significance=0.01)
    assert gain.p_value == pytest.approx(expected, rel=1e-9)
    assert gain.share == pytest.approx(float(1 - corrected.mean() / direct.mean()))
    assert gain.blocks == 9
    assert gain.used == (expected <= 0.01)


@pytest.mark.parametrize("blocks", [4, 15])
def test_forecasts_that_are_equally_good_seldom_pass(blocks):
    """Differences of rows are noise; origins average over their horizon, blocks over their origins."""
    chance, horizon, level = np.random.default_rng(0), 24, 0.05
    rows = chance.standard_normal((4000, (blocks + 1) * horizon))
    sums = np.cumsum(np.pad(rows, ((0, 0), (1, 0))), axis=1)
    origins = (sums[:, horizon:] - sums[:, :-horizon])[:, : blocks * horizon] / horizon
    differences = torch.from_numpy(origins.reshape(4000, blocks, horizon).mean(-1))
    nothing = torch.zeros(blocks, dtype=torch.float64)
    passed = np.mean([memory_gain(one, nothing, significance=level).used for one in differences])
    assert passed == pytest.approx(level, abs=0.015)
    uncorrected = stats.ttest_1samp(differences.numpy(), 0, axis=1, alternative="greater").pvalue
    assert np.mean(uncorrected <= level) > level + 0.02


def test_one_block_proves_nothing_unless_no_proof_is_asked_for():
    direct, corrected = torch.tensor([1.0]), torch.tensor([0.5])
    assert not memory_gain(direct, corrected, significance=0.01).used
    assert memory_gain(direct, corrected, significance=1.0).used
    assert not memory_gain(corrected, direct, significance=1.0).used
    assert not memory_gain(direct[:0], corrected[:0], significance=1.0).used


def test_equal_errors_are_no_gain():
    same = torch.tensor([1.0, 2.0, 3.0])
    gain = memory_gain(same, same, significance=1.0)
    assert (gain.share, gain.used) == (0.0, False)


def run_on_motifs(significance: float) -> Training:
    """Train where history tells what the look-back does not: a curve of 32 rows played again and again."""
    torch.manual_seed(0)
    network = ForecastNetwork(config_of("lmm", dropout=0.0))
    settings = TrainingConfig(
        max_steps=120, direct_steps=60, quantile_steps=2, batch_size=8, segment=64, learning_rate=5e-3,
        precision="float32", significance=significance,
    )  # fmt: skip
    run = Training(network, [motifs(1600)], [1280], settings)
    run.run()
    return run


def test_a_gain_that_is_sure_is_used():
    run = run_on_motifs(0.01)
    assert run.gain.used
    assert run.gain.share > 0.05
    direct = validation_error(run.network, run.series, run.starts, direct_only=True)
    assert validation_error(run.network, run.series, run.starts) < direct


def test_a_gain_that_is_not_sure_enough_leaves_the_direct_path():
    run = run_on_motifs(1e-300)
    assert run.gain.share > 0.05
    assert not run.gain.used
    assert not run.network.head.correct.weight.any()
    for name, x in run.floor.items():
        assert torch.equal(run.network.state_dict()[name], x) or name.startswith("quantile_head"), name


def test_without_validation_nothing_is_judged():
    run = make_run(significance=0.01)
    run.starts, run.validated = [one.length for one in run.series], False
    run.run()
    assert run.gain is None
    assert run.network.head.correct.weight.any()
