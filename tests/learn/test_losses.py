"""Losses against numpy; what was not observed counts for nothing."""

import numpy as np
import pytest
import torch
from memory.cases import tokens

from titans_ts.learn.losses import masked_absolute_error

NAN = float("nan")


def case(missing: bool = True):
    target, weight = tokens(2, 3, 5), tokens(2, 3, 1, seed=1).abs() + 0.1
    if missing:
        target[0, 1, 2:] = NAN
        target[1, 0] = NAN
    return target, weight


def test_absolute_error_is_the_weighted_mean_of_what_was_observed():
    target, weight = case()
    point = tokens(2, 3, 5, seed=2)
    error = np.abs(point.numpy() - target.numpy()) * weight.numpy()
    assert masked_absolute_error(point, target, weight).item() == pytest.approx(np.nanmean(error), rel=1e-12)


def test_missing_targets_give_no_gradient_and_nothing_that_is_not_finite():
    target, weight = case()
    guess = tokens(2, 3, 5, seed=2).requires_grad_()
    weight.requires_grad_()
    value = masked_absolute_error(guess, target, weight)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(guess.grad).all()
    assert torch.isfinite(weight.grad).all()
    missing = target.isnan()
    assert (guess.grad[missing] == 0).all()
    assert (guess.grad[~missing] != 0).all()


def test_nothing_observed_is_no_loss():
    target = torch.full((2, 3), NAN)
    guess = torch.randn(2, 3, requires_grad=True)
    value = masked_absolute_error(guess, target, torch.ones(1))
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(guess.grad, torch.zeros_like(guess))
