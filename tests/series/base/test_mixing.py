import numpy as np
import pytest
import torch

from titans_ts.series.base.mixing import choose_weights, farthest, mix


def windows(groups: int, f: int = 6, seed: int = 0, noise: tuple[float, ...] = (0.5, 0.5, 3.0)):
    """Candidates with errors of their own, the first two equally good, so that their mean is best."""
    chance = torch.Generator().manual_seed(seed)
    truths = torch.randn(groups * 2, f, generator=chance, dtype=torch.float64)
    errors = torch.randn(groups * 2, len(noise), f, generator=chance, dtype=torch.float64)
    forecasts = truths[:, None] + errors * torch.tensor(noise)[:, None]
    return forecasts, truths, torch.ones(groups * 2), torch.arange(groups * 2) // 2


def test_the_best_mean_is_found_and_the_worst_candidate_dropped():
    found = choose_weights(*windows(300))
    assert torch.allclose(found.weights.sum(0), torch.ones(6, dtype=torch.float64))
    assert (found.weights[2] == 0).all()
    assert (found.weights[:2] - 0.5).abs().max() < 0.1
    assert found.loss < found.losses.min()
    assert found.blocks == 1


def test_it_is_the_least_loss_of_a_grid():
    forecasts, truths, size, groups = windows(400, noise=(0.4, 0.8))
    found = choose_weights(forecasts, truths, size, groups)
    losses = [
        (share * forecasts[:, 0] + (1 - share) * forecasts[:, 1] - truths).abs().mean() for share in np.arange(101) / 100
    ]
    assert abs(found.weights[0, 0] - np.argmin(losses) / 100) < 0.05


def test_blocks_differ_where_candidates_do():
    forecasts, truths, size, groups = windows(200, noise=(0.1, 0.1))
    forecasts[:, 0, 4:] += 3 * torch.randn(400, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    forecasts[:, 1, :2] += 3 * torch.randn(400, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = choose_weights(forecasts, truths, size, groups)
    assert found.blocks == 3
    assert (found.weights[0, :2] > 0.9).all()
    assert (found.weights[1, 4:] > 0.9).all()


@pytest.mark.parametrize("groups", [1, 2])
def test_few_windows_stay_near_equal(groups):
    forecasts, truths, size, streams = windows(groups)
    weights = choose_weights(forecasts, truths, size, streams).weights
    assert weights.min() > 0.02
    assert (weights - weights[:, :1]).abs().max() < 1e-9


def test_nothing_to_choose_by_gives_equal_weights():
    forecasts, truths, size, groups = windows(3)
    for some in ((forecasts[:0], truths[:0], size[:0], groups[:0]), (forecasts, truths * float("nan"), size, groups)):
        assert torch.allclose(choose_weights(*some).weights, torch.full((3, 6), 1 / 3, dtype=torch.float64))


def test_missing_truths_and_streams_without_a_size_do_not_count():
    forecasts, truths, size, groups = windows(50)
    more = [torch.cat([each, each]) for each in (forecasts, truths, size, groups)]
    more[0][100:] = 7.0
    more[1][100:150], more[2][150:175], more[2][175:] = float("nan"), 0.0, float("nan")
    one, other = choose_weights(forecasts, truths, size, groups), choose_weights(*more)
    assert torch.allclose(one.weights, other.weights, atol=1e-4)


def test_one_wild_stream_does_not_rule():
    forecasts, truths, size, groups = windows(100)
    calm = choose_weights(forecasts, truths, size, groups).weights
    forecasts[:2] *= 1e12
    assert (choose_weights(forecasts, truths, size, groups).weights - calm).abs().max() < 0.1


def test_what_is_dropped_does_not_count_and_the_horizon_may_be_shorter():
    weights = torch.tensor([[0.25, 0.5, 0.5], [0.75, 0.5, 0.5], [0, 0, 0]], dtype=torch.float64)
    forecasts = torch.tensor([[[1.0, 2], [3, 4], [float("nan"), 1]]], dtype=torch.float64)
    assert mix(forecasts, weights).tolist() == [[2.5, 3.0]]


def test_far_ahead_the_worst_candidate_is_seen():
    """Errors of 25 and of 90 sizes, both ordinary at step 720 of rows without a season."""
    forecasts, truths, size, groups = windows(60, noise=(25.0, 90.0, 100.0))
    ahead = farthest(torch.arange(715, 721), 1)
    near, far = (choose_weights(forecasts, truths, size, groups, most=most).weights for most in (30.0, ahead))
    assert far[0].min() > 0.85
    assert near[0].max() < far[0].min() - 0.05, "cut at 30 the difference is small"
    assert farthest(torch.tensor([1, 18]), 12).tolist() == [30, 30], "and panels do not notice"
