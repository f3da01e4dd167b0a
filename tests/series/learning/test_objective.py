"""What is measured on validation rows, against a slow loop."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from memory.cases import tokens
from series.cases import ALL_COVARIATES, make_network, make_series
from series.training_cases import foretold

from titans_ts.series.learning import objective
from titans_ts.series.learning.objective import block_errors, point_losses, validation_error
from titans_ts.series.settings import BaseConfig
from titans_ts.series.tensors import look_back, read_tokens

WITH_BASE = {"base": BaseConfig(5, 12, 4, channels=2, bank=("naive",))}
"""A network that corrects what was foretold; without it, one of older files, with a linear path."""


def many_series(config, lengths=(50, 83, 31)):
    """Return series with gaps, with what a base foretold of each where the network has one."""
    many = [make_series(config, length, missing=0.2, seed=length, beyond=5) for length in lengths]
    return many if config.base is None else [foretold(one, config) for one in many]


@torch.no_grad()
def errors_by_loop(network, one, after) -> dict[int, list[float]]:
    """Walk from patch to patch through a series alone and compare with the raw rows: the errors at each origin."""
    config, errors = network.config, {}
    state = network.initial_state(config.streams)
    for end in range(config.patch_length, one.length + 1, config.patch_length):
        windows, extras = look_back(one, torch.tensor([end]), config, dtype=torch.float64)
        base = None
        if one.foretold is not None:
            base = one.foretold.point[:, end // one.foretold.step][:, None, None]
            unknown = bool(base.isnan().any())
            base = ((base - windows.level[..., None]) / windows.spread[..., None]).nan_to_num(0.0)
        corrected = network.corrected(windows, extras, state, base)[0]
        point, _, state = network(windows, extras, state, base=base)
        point = corrected if after == "memory" else point
        if base is not None and unknown:
            point = point + float("nan")
        long_run = (point * windows.spread[..., None] + windows.level[..., None]).reshape(config.channels, -1)
        errors[end] = []
        for channel in range(config.channels):
            for ahead in range(config.horizon):
                if end + ahead < one.length:
                    row = float(one.rows[channel, end + ahead])
                    true = (row - float(one.scale.level[0, channel])) / float(one.scale.spread[0, channel])
                    errors[end].append(abs(true - float(long_run[channel, ahead])))
    return errors


def by_loop(network, series, starts, *, after="recollection") -> float:
    """Return the mean error of all origins from each series' start on, by the slow loop."""
    errors = []
    for one, start in zip(series, starts, strict=True):
        errors += [error for end, found in errors_by_loop(network, one, after).items() if end >= start for error in found]
    return float(np.nanmean(errors))


@pytest.mark.parametrize("after", ["memory", "recollection"])
@pytest.mark.parametrize("settings", [{}, {"mixed": True}, ALL_COVARIATES, WITH_BASE], ids=str)
def test_validation_error_equals_a_slow_loop(settings, after):
    network = make_network(**settings, recollection=8)
    network.recollection.open()
    series, starts = many_series(network.config), [33, 0, 31]
    found = validation_error(network, series, starts, after=after)
    assert found == pytest.approx(by_loop(network, series, starts, after=after), rel=1e-10)
    (other,) = {"memory", "recollection"} - {after}
    assert abs(validation_error(network, series, starts, after=other) - found) > 1e-6


@pytest.mark.parametrize("after", ["memory", "recollection"])
@pytest.mark.parametrize("settings", [{}, {"mixed": True}, WITH_BASE], ids=str)
def test_block_errors_equal_a_slow_loop_over_each_block(settings, after):
    """A block is a series whose validation part begins and ends with it; little of its end is observed, so it drops out."""
    network = make_network(**settings, recollection=8)
    network.recollection.open()
    horizon = network.config.horizon
    series, starts = many_series(network.config), [33, 17, 31]
    expected = []
    for one, start in zip(series, starts, strict=True):
        errors = errors_by_loop(network, one, after)
        for begin in range(start, one.length, horizon):
            observed = [x for end in range(begin, begin + horizon) for x in errors.get(end, ()) if not np.isnan(x)]
            expected.append(np.mean(observed) if observed else 0.0)
    found, twice = block_errors(network, series, starts, lambda said: [said.point, 2 * said.point], after=after)
    assert not torch.equal(found, twice)
    assert 2 <= len(found) <= len(expected)
    assert ((found[:, None] - torch.tensor(expected, dtype=torch.float64)).abs().amin(1) < 1e-10).all()


@pytest.mark.parametrize("settings", [{}, WITH_BASE], ids=["linear path", "base"])
def test_validation_error_does_not_depend_on_what_is_held_at_once(settings, monkeypatch):
    network = make_network(**settings)
    series, starts = many_series(network.config), [33, 17, 8]
    whole = validation_error(network, series, starts)
    monkeypatch.setattr(objective, "STREAMS_AT_ONCE", 2)
    monkeypatch.setattr(objective, "TOKENS_AT_ONCE", 3)
    assert validation_error(network, series, starts) == pytest.approx(whole, rel=1e-12)


def test_what_was_not_foretold_is_not_judged():
    network = make_network(**WITH_BASE)
    (one,) = many_series(network.config, (83,))
    whole = validation_error(network, [one], [33])
    late = one.foretold.point.clone()
    late[:, : 60 // one.foretold.step] = float("nan")
    blind = replace(one, foretold=one.foretold._replace(point=late))
    assert validation_error(network, [blind], [33]) == pytest.approx(validation_error(network, [one], [60]), rel=1e-12)
    assert validation_error(network, [blind], [33]) != pytest.approx(whole, rel=1e-3)


def test_nothing_to_validate_on_is_not_a_number():
    network = make_network()
    series = many_series(network.config)
    assert np.isnan(validation_error(network, series, [one.length for one in series]))


def test_validation_draws_no_chance_and_leaves_no_gradient():
    network = make_network()
    before = torch.get_rng_state()
    validation_error(network, many_series(network.config), [33, 0, 31])
    assert torch.equal(torch.get_rng_state(), before)
    assert all(x.grad is None for x in network.parameters())


def test_point_loss_is_in_units_of_the_long_run_spread():
    network = make_network()
    one = make_series(network.config, 60, missing=0.2)
    origins = read_tokens(one, torch.tensor([20, 40, 58]), network.config, dtype=torch.float64)
    point = torch.zeros_like(origins.target)
    error = (origins.target * origins.lookback.spread[..., None]).abs()
    assert point_losses(point, origins).mean.item() == pytest.approx(np.nanmean(error.numpy()), rel=1e-12)


# --- what was not observed counts for nothing ------------------------------------------------------------------------


def loss_of(point, target, spread):
    return point_losses(point, SimpleNamespace(target=target, lookback=SimpleNamespace(spread=spread[..., 0]))).mean


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
    assert loss_of(point, target, weight).item() == pytest.approx(np.nanmean(error), rel=1e-12)


def test_missing_targets_give_no_gradient_and_nothing_that_is_not_finite():
    target, weight = case()
    guess = tokens(2, 3, 5, seed=2).requires_grad_()
    weight.requires_grad_()
    value = loss_of(guess, target, weight)
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
    value = loss_of(guess, target, torch.ones(1))
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(guess.grad, torch.zeros_like(guess))
