"""Which rows a base is solved on, and which only judge it."""

from functools import cache

import numpy as np
import pytest
import torch

from titans_ts import TitansForecaster
from titans_ts.blocks.scale import Scale
from titans_ts.series.learning import solving
from titans_ts.series.learning.solving import solve_base
from titans_ts.series.settings import ForecastConfig
from titans_ts.series.sizes import Sizes
from titans_ts.series.tensors import SeriesTensors

ROWS, KNOWN, HORIZON, PATCH = 420, 330, 6, 8
SCALE = Scale(*torch.tensor([[[0.0]], [[1.0]]], dtype=torch.float64))


def series(seed, *, last=0.0, rows=ROWS):
    """A wave with a covariate that adds to it, ``last`` added to its rows after the first `KNOWN`."""
    chance = np.random.default_rng(seed)
    known = chance.normal(size=(ROWS, 1))
    values = 3 * np.sin(np.arange(ROWS) * 2 * np.pi / 12) + chance.normal(size=ROWS) + known[:, 0]
    values[KNOWN:] += last * chance.normal(size=ROWS - KNOWN)
    nothing, one = torch.zeros(rows, 0), torch.ones(1, 1, dtype=torch.float64)
    future = torch.from_numpy(known[:rows]).float()
    return SeriesTensors(
        torch.from_numpy(values[None, :rows]), nothing, nothing, future, torch.zeros(0), Scale(0 * one, one)
    )


@cache
def solved(first_rows, last=0.0, rows=ROWS):
    sizes, config = Sizes((12,), (12, 24, 48), "mean", PATCH), ForecastConfig(HORIZON, 48, PATCH, future=1, level=False)
    some = [series(seed, last=last, rows=rows) for seed in range(3)]
    return solve_base(some, config, sizes, first_rows=None if first_rows is None else [first_rows] * 3)


def weights(base):
    return [base.mixing, base.effect, *(ridge.weights for ridge in base.ridges)]


def test_solved_on_training_rows_no_weight_depends_on_the_rest():
    one, other, short = solved(KNOWN), solved(KNOWN, last=5.0), solved(None, rows=KNOWN)
    assert one.base.effect.abs() > 0.1
    for again in (other, short):
        assert one.base.config.ridges == again.base.config.ridges
        for x, y in zip(weights(one.base), weights(again.base), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-12)
    refitted = solved(None)
    assert all(not torch.equal(x, y) for x, y in zip(weights(one.base)[2:], weights(refitted.base)[2:], strict=True))


def test_what_is_left_is_foretold_by_the_weights_that_are_kept():
    """At each boundary of the last block, by the base itself, with nothing but the rows before it."""
    found, one = solved(KNOWN), series(1)
    foretold, rows = found.foretold[1].point[0], one.rows[None]
    rows = rows - found.base.effect * one.future.T.double()
    boundaries = torch.arange(PATCH, ROWS + 1, PATCH)
    said, _ = found.base.read(rows, SCALE, found.base.initial_state(1, 1), first=0, ends=boundaries)
    last = boundaries >= KNOWN
    assert int(last.sum()) > 5
    torch.testing.assert_close(foretold[last], said.point[0, 0, last].float(), rtol=1e-5, atol=1e-5)
    before = (boundaries > 200) & ~last
    assert not torch.allclose(foretold[before], said.point[0, 0, before].float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("solve_on", ["all", "training"])
def test_the_forecaster_hands_it_on(solve_on):
    values = np.sin(np.arange(300) / 3) + 0.1 * np.random.default_rng(0).normal(size=300)
    other = np.concatenate([values[:240], values[240:] + np.random.default_rng(1).normal(size=60)])
    fits = [
        TitansForecaster(6, lookback=24, patch_length=8, layers=0, validation_fraction=0.2, solve_on=solve_on).fit(x)
        for x in (values, other)
    ]
    first, second = (torch.cat([x.flatten() for x in weights(fit.network_.base)]) for fit in fits)
    assert (first.shape == second.shape and torch.allclose(first, second)) == (solve_on == "training")


def test_unseen_streams_have_intervals_that_hold_from_the_beginning():
    base = solved(None).base
    assert len(base.spread.young) == base.config.ages > 0
    assert not base.spread.young[-1, 1:].any()
    assert not len(solved(None, rows=120).base.spread.young)  # where errors of the young were heard
    rows = torch.stack([series(100 + i).rows - base.effect * series(100 + i).future.T for i in range(60)])
    rows = rows.unfold(-1, 48, 1)[torch.arange(60), :, torch.arange(60)]  # which begin at all phases
    ends = [8, 16, 32]
    scale = Scale(*torch.tensor([0.0, 1.0], dtype=torch.float64).expand(60, 2).T[..., None])
    found, _ = base.read(
        rows[..., :40], scale, base.initial_state(60, 1), first=0, ends=torch.tensor(ends), levels=[0.1, 0.9]
    )
    for i, end in enumerate(ends):
        low, high = found.quantiles[:, 0, i].unbind(-1)
        truth = rows[:, 0, end : end + HORIZON]
        assert 0.68 < float(((low <= truth) & (truth <= high)).double().mean()) < 0.93


def test_a_wide_series_teaches_by_some_of_its_channels_and_all_are_foretold(monkeypatch):
    chance = np.random.default_rng(5)
    wave = np.sin(np.arange(ROWS) * 2 * np.pi / 12) * chance.uniform(1, 3, size=(12, 1)) + chance.normal(size=(12, ROWS)) / 2
    nothing, zeros = torch.zeros(ROWS, 0), torch.zeros(1, 12, dtype=torch.float64)
    wide = SeriesTensors(torch.from_numpy(wave), nothing, nothing, nothing, torch.zeros(0), Scale(zeros, zeros + 1))
    sizes, config = Sizes((12,), (12, 24, 48), "mean", PATCH), ForecastConfig(HORIZON, 48, PATCH, channels=12, level=False)
    monkeypatch.setattr(solving.preference, "learn", lambda *_, **__: 0.1)  # else fewer channels may judge otherwise
    whole = solve_base([wide], config, sizes, first_rows=[KNOWN])
    monkeypatch.setattr(solving, "MOST_FORETOLD", 1)
    some = solve_base([wide], config, sizes, first_rows=[KNOWN])
    for one, two in zip(weights(whole.base), weights(some.base), strict=True):
        assert torch.equal(one, two), "ridges and weights are of all channels"
    for part, errors in whole.judged.errors.items():
        torch.testing.assert_close(some.judged.errors[part], errors, equal_nan=True)
    torch.testing.assert_close(some.foretold[0].point, whole.foretold[0].point, rtol=1e-6, atol=1e-6, equal_nan=True)
