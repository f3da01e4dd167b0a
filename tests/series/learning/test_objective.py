"""What is measured on validation rows: a slow loop, and quantiles that hold their share."""

import numpy as np
import pytest
import torch
from series.cases import ALL_COVARIATES, NAN, make_network, make_series
from series.training_cases import config_of, motifs

from titans_ts.blocks.scale import long_run_scale
from titans_ts.series import objective
from titans_ts.series.learning.objective import (
    block_errors,
    calibrate_quantiles,
    point_loss,
    quantile_loss,
    validation_error,
)
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.tensors import SeriesTensors, look_back, read_tokens


def many_series(config, lengths=(50, 83, 31)):
    return [make_series(config, length, missing=0.2, seed=length, beyond=5) for length in lengths]


@torch.no_grad()
def errors_by_loop(network, one, after) -> dict[int, list[float]]:
    """Walk from patch to patch through a series alone and compare with the raw rows: the errors at each origin."""
    config, errors = network.config, {}
    state = network.initial_state(config.streams)
    for end in range(config.patch_length, one.length + 1, config.patch_length):
        windows, extras = look_back(one, torch.tensor([end]), config, dtype=torch.float64)
        corrected = network.corrected(windows, extras, state)[0]
        point, _, state = network(windows, extras, state)
        point = {"direct": network.direct(windows, extras), "memory": corrected}.get(after, point)
        long_run = (point * windows.spread[..., None] + windows.level[..., None]).reshape(config.channels, -1)
        errors[end] = []
        for channel in range(config.channels):
            for ahead in range(config.horizon):
                if end + ahead < one.length:
                    row = float(one.rows[channel, end + ahead])
                    true = (row - float(one.scale.level[0, channel])) / float(one.scale.spread[0, channel])
                    errors[end].append(abs(true - float(long_run[channel, ahead])))
    return errors


def by_loop(network, series, starts, *, after="quantiles") -> float:
    """Return the mean error of all origins from each series' start on, by the slow loop."""
    errors = []
    for one, start in zip(series, starts, strict=True):
        errors += [error for end, found in errors_by_loop(network, one, after).items() if end >= start for error in found]
    return float(np.nanmean(errors))


@pytest.mark.parametrize("after", ["direct", "memory", "recollection"])
@pytest.mark.parametrize("settings", [{}, {"mixed": True}, ALL_COVARIATES], ids=str)
def test_validation_error_equals_a_slow_loop(settings, after):
    network = make_network(**settings, recollection=8)
    network.recollection.open()
    series, starts = many_series(network.config), [33, 0, 31]
    found = validation_error(network, series, starts, after=after)
    assert found == pytest.approx(by_loop(network, series, starts, after=after), rel=1e-10)
    others = {"direct", "memory", "recollection"} - {after}
    assert all(abs(validation_error(network, series, starts, after=other) - found) > 1e-6 for other in others)


@pytest.mark.parametrize("after", ["direct", "quantiles"])
@pytest.mark.parametrize("settings", [{}, {"mixed": True}], ids=str)
def test_block_errors_equal_a_slow_loop_over_each_block(settings, after):
    """A block is a series whose validation part begins and ends with it; little of its end is observed, so it drops out."""
    network = make_network(**settings)
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


def test_validation_error_does_not_depend_on_what_is_held_at_once(monkeypatch):
    network = make_network()
    series, starts = many_series(network.config), [33, 17, 8]
    whole = validation_error(network, series, starts)
    monkeypatch.setattr(objective, "STREAMS_AT_ONCE", 2)
    monkeypatch.setattr(objective, "TOKENS_AT_ONCE", 3)
    assert validation_error(network, series, starts) == pytest.approx(whole, rel=1e-12)
    alone = validation_error(network, series, starts, after="direct")
    monkeypatch.undo()
    assert validation_error(network, series, starts, after="direct") == pytest.approx(alone, rel=1e-12)


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
    assert point_loss(point, origins).item() == pytest.approx(np.nanmean(error.numpy()), rel=1e-12)


def test_quantile_loss_reads_every_eighth_token_and_moves_nothing_but_quantiles(monkeypatch):
    network = make_network()
    one = make_series(network.config, 80)
    origins = read_tokens(one, torch.arange(1, 20) * 4, network.config, dtype=torch.float64)
    point, hidden, _ = network(origins.lookback, origins.covariates, network.initial_state(2))
    quantile_loss(network, point, hidden, origins, 3).backward()
    for name, x in network.named_parameters():
        assert (x.grad is not None and bool(x.grad.abs().max() > 0)) == name.startswith("quantile_head"), name
    every = objective.QUANTILE_TOKENS
    losses = [quantile_loss(network, point, hidden, origins, k).item() for k in range(every)]
    assert len(set(losses)) == every, "each step reads other tokens"
    assert quantile_loss(network, point, hidden, origins, every + 2).item() == losses[2]


# --- calibration ------------------------------------------------------------------------------------------------------


def skewed(length: int, *, seed: int = 0, scale: float = 1.0) -> SeriesTensors:
    """Return rows of lopsided noise, which no quantile of a normal distribution fits."""
    rows = torch.from_numpy(np.random.default_rng(seed).exponential(scale, (1, length))) ** 1.5
    nothing = torch.zeros(length, 0)
    return SeriesTensors(rows, nothing, nothing, nothing, torch.zeros(0), long_run_scale(rows[None]))


@torch.no_grad()
def coverage(network, one, ends) -> np.ndarray:
    origins = read_tokens(one, ends, network.config, dtype=network.dtype)
    found = network.forecast(origins.lookback, origins.covariates, network.initial_state(1))
    there = ~origins.target.isnan()
    return (origins.target[..., None] <= found.quantiles)[there].double().mean(0).numpy()


def direct_network(quantiles=(0.1, 0.25, 0.5, 0.75, 0.9)) -> ForecastNetwork:
    torch.manual_seed(0)
    network = ForecastNetwork(config_of(layers=0, quantiles=quantiles)).double().eval()
    with torch.no_grad():
        network.direct.past.bias.fill_(-0.25)  # about the median of what is lopsided
    return network


def test_after_calibration_each_quantile_holds_its_share_of_the_validation_rows():
    network, one = direct_network(), skewed(8000)
    levels = np.array(network.config.quantiles)
    ends = torch.arange(1000, 2001) * 4
    before = coverage(network, one, ends)
    calibrate_quantiles(network, [one], [4000])
    sides = [0, 1, 3, 4]
    assert np.abs(before - levels)[sides].max() > 0.08, "it was right before: the test shows nothing"
    read = ends[(ends // 4 - 1) % objective.QUANTILE_TOKENS == 0]
    assert np.abs(coverage(network, one, read) - levels)[sides].max() < 0.005
    fresh = coverage(network, skewed(8000, seed=1), ends)
    assert np.abs(fresh - levels)[sides].max() < 0.04


def test_calibrating_twice_changes_nothing_more():
    network, one = direct_network(), skewed(4000)
    calibrate_quantiles(network, [one], [2000])
    first = network.quantile_head.stretch.clone()
    calibrate_quantiles(network, [one], [2000])
    assert torch.allclose(network.quantile_head.stretch, first, rtol=1e-6)
    assert not torch.allclose(first, torch.ones_like(first))


def test_calibration_reads_validation_rows_only():
    networks = [direct_network(), direct_network()]
    one = skewed(4000)
    other = SeriesTensors(one.rows.clone(), *(getattr(one, n) for n in ("calendar", "past", "future", "static", "scale")))
    other.rows[:, :1980] *= 50  # look-backs of the first validation rows stay
    for network, series in zip(networks, (one, other), strict=True):
        calibrate_quantiles(network, [series], [2000])
    assert torch.equal(networks[0].quantile_head.stretch, networks[1].quantile_head.stretch)


def test_calibration_moves_stretch_alone_and_keeps_order():
    network, one = direct_network((0.05, 0.4, 0.45, 0.55, 0.9)), skewed(2000)
    one.rows[:, 1500:1510] = NAN
    before = {name: x.clone() for name, x in network.state_dict().items()}
    calibrate_quantiles(network, [one], [1000])
    changed = [name for name, x in network.state_dict().items() if not torch.equal(x, before[name])]
    assert changed == ["quantile_head.stretch"]
    origins = read_tokens(one, torch.arange(1, 500) * 4, network.config, dtype=torch.float64)
    found = network.forecast(origins.lookback, origins.covariates, network.initial_state(1))
    assert (found.quantiles.diff(dim=-1) >= 0).all()
    assert torch.isfinite(network.quantile_head.stretch).all()


def test_nothing_to_calibrate_on_changes_nothing():
    network, one = direct_network(), skewed(400)
    calibrate_quantiles(network, [one], [400])
    assert torch.equal(network.quantile_head.stretch, torch.ones(5).double())


def test_a_few_validation_patches_are_enough_to_calibrate():
    network, one = direct_network(), skewed(419)
    calibrate_quantiles(network, [one], [392])  # seven patch ends, none of them an eighth
    assert not torch.equal(network.quantile_head.stretch, torch.ones(5).double())


@torch.no_grad()
def test_rows_that_are_forecast_without_error_leave_finite_quantiles():
    network = direct_network()
    one = motifs(400)
    one.rows.fill_(3.0)
    calibrate_quantiles(network, [one], [200])
    assert torch.isfinite(network.quantile_head.stretch).all()
