"""Losses against numpy; what was not observed counts for nothing."""

from functools import partial

import numpy as np
import pytest
import torch
from memory.cases import tokens

from titans_ts.learn.losses import masked_absolute_error, masked_pinball

NAN = float("nan")
LEVELS = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)


def case(missing: bool = True):
    target, weight = tokens(2, 3, 5), tokens(2, 3, 1, seed=1).abs() + 0.1
    if missing:
        target[0, 1, 2:] = NAN
        target[1, 0] = NAN
    return target, weight


def pinball_by_loop(quantiles, target, weight) -> float:
    total, count = 0.0, 0
    for place in np.ndindex(target.shape):
        y = target[place]
        if np.isnan(y):
            continue
        count += 1
        losses = [tau * (y - q) if y >= q else (1 - tau) * (q - y) for tau, q in zip(LEVELS, quantiles[place], strict=True)]
        total += np.mean(losses) * weight[place[0], place[1], 0]
    return total / count


def test_absolute_error_is_the_weighted_mean_of_what_was_observed():
    target, weight = case()
    point = tokens(2, 3, 5, seed=2)
    error = np.abs(point.numpy() - target.numpy()) * weight.numpy()
    assert masked_absolute_error(point, target, weight).item() == pytest.approx(np.nanmean(error), rel=1e-12)


def test_pinball_is_the_mean_over_levels_and_observed_targets():
    target, weight = case()
    quantiles = tokens(2, 3, 5, 3, seed=2)
    found = masked_pinball(quantiles, target, weight, LEVELS).item()
    assert found == pytest.approx(pinball_by_loop(quantiles.numpy(), target.numpy(), weight.numpy()), rel=1e-12)


def test_pinball_is_least_at_the_quantile():
    target = tokens(1, 1, 4001)
    true = np.quantile(target.numpy(), 0.8)
    losses = [
        masked_pinball(
            torch.full((1, 1, 4001, 1), true + d).double(), target, torch.ones(1).double(), torch.tensor([0.8])
        ).item()
        for d in (-0.1, 0.0, 0.1)
    ]
    assert losses[1] < min(losses[0], losses[2])


@pytest.mark.parametrize("loss", ["absolute error", "pinball"])
def test_missing_targets_give_no_gradient_and_nothing_that_is_not_finite(loss):
    target, weight = case()
    shape = (2, 3, 5) if loss == "absolute error" else (2, 3, 5, 3)
    guess = tokens(*shape, seed=2).requires_grad_()
    weight.requires_grad_()
    of = masked_absolute_error if loss == "absolute error" else partial(masked_pinball, levels=LEVELS)
    value = of(guess, target, weight)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(guess.grad).all()
    assert torch.isfinite(weight.grad).all()
    missing = target.isnan()
    assert (guess.grad[missing] == 0).all()
    assert (guess.grad[~missing] != 0).all()


@pytest.mark.parametrize("loss", ["absolute error", "pinball"])
def test_nothing_observed_is_no_loss(loss):
    target = torch.full((2, 3), NAN)
    guess = torch.randn(*((2, 3) if loss == "absolute error" else (2, 3, 3)), requires_grad=True)
    of = masked_absolute_error if loss == "absolute error" else partial(masked_pinball, levels=LEVELS)
    value = of(guess, target, torch.ones(1))
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(guess.grad, torch.zeros_like(guess))
