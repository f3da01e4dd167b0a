"""The base as a whole: any cut of the rows, a forecast at a boundary or between two, panels too short for a ridge."""

from functools import cache

import numpy as np
import pytest
import torch

from titans_ts.blocks.scale import long_run_scale, on_long_run_scale
from titans_ts.series.base.base import Base
from titans_ts.series.base.linear_memory import LinearMemory
from titans_ts.series.base.memory_learning import learn
from titans_ts.series.learning.solving import solve_base
from titans_ts.series.settings import ForecastConfig
from titans_ts.series.sizes import Sizes
from titans_ts.series.tensors import SeriesTensors

HORIZON, PATCH, ROWS = 6, 8, 500
LEVELS = (0.1, 0.5, 0.9)
CUTS = {
    "row by row": [*range(1, 40), *range(430, 460)],
    "at boundaries": range(PATCH, ROWS, PATCH),
    "odd": [1, 77, 78, 201, 440],
}


def series_of(rows):
    rows = torch.as_tensor(rows)[None]
    nothing = torch.zeros(rows.shape[1], 0)
    return SeriesTensors(rows, nothing, nothing, nothing, torch.zeros(0), long_run_scale(rows[None]))


def wave(rows, seed=0):
    chance = np.random.default_rng(seed)
    noise = np.convolve(chance.normal(size=rows + 30), 0.8 ** np.arange(30), "valid")[:rows]
    return 20 + 3 * np.sin(np.arange(rows) * 2 * np.pi / 12) + 0.3 * noise


def solved(rows, season=12, lookbacks=(12, 24, 48), patch=PATCH):
    sizes = Sizes((season,), lookbacks, "mean" if lookbacks[-1] > 20 else "level", patch)
    config = ForecastConfig(HORIZON, lookbacks[-1], patch, level=False)
    return solve_base([series_of(one) for one in rows], config, sizes).base


@cache
def base_that_reads_on() -> Base:
    """A base whose linear memory is heard in full."""
    base = solved([wave(ROWS, seed) for seed in range(3)])
    base.memory = LinearMemory(base.config.lookback, HORIZON, PATCH)
    rows, ends = torch.from_numpy(wave(ROWS))[None] - 20, torch.arange(PATCH, ROWS + 1, PATCH)
    size = torch.ones(1, len(ends), dtype=torch.float64)
    learn(base.memory, rows, ends, torch.zeros(1, len(ends), HORIZON, dtype=torch.float64), size)
    base.memory.share.fill_(1.0)
    return base


def read_in_pieces(base, rows, cuts, asked, stop=None):
    """Return forecasts at ``asked`` and the carry after reading one stream, up to ``stop``, in pieces."""
    series = series_of(rows)
    scale, values = series.scale, on_long_run_scale(series.rows[None], series.scale)
    carry, begin, found = base.initial_state(1, 1), 0, {}
    for end in [*cuts, stop or len(rows)]:
        here = [origin for origin in asked if begin < origin <= end]
        at = torch.tensor(here, dtype=torch.long) - begin
        said, carry = base.read(values[..., begin:end], scale, carry, first=begin, ends=at, levels=LEVELS if here else ())
        found |= {origin: (said.point[0, 0, i], said.quantiles[0, 0, i]) for i, origin in enumerate(here)}
        begin = end
    return found, carry


def flat(state):
    return [state] if isinstance(state, torch.Tensor) else [x for part in state for x in flat(part)]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("missing", [False, True])
def test_any_cut_gives_the_same_forecasts_and_the_same_carry(cut, missing):
    rows = wave(ROWS, seed=7)
    if missing:
        rows[[3, 4, 90, *range(200, 230), 499]] = np.nan
    asked = [1, 7, 8, 9, 160, 203, 440, 441, 500]
    base = base_that_reads_on()
    whole, after = read_in_pieces(base, rows, [], asked)
    found, carry = read_in_pieces(base, rows, CUTS[cut], asked)
    for origin in asked:
        for one, other in zip(found[origin], whole[origin], strict=True):
            assert one.isfinite().all()
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    for one, other in zip(flat(carry), flat(after), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("origin", [440, 441, 447])
def test_a_forecast_asked_for_later_is_that_of_the_reading(origin):
    """At a boundary the linear memory is read by itself, between two when somebody asks: it speaks once in either case."""
    base, rows = base_that_reads_on(), wave(ROWS, seed=7)
    while_reading, _ = read_in_pieces(base, rows, [], [origin])
    _, carry = read_in_pieces(base, rows, [], [], origin)
    nothing = torch.zeros(1, 1, 0, dtype=torch.float64)
    scale, at = series_of(rows).scale, torch.tensor([0])
    later, _ = base.read(nothing, scale, carry, first=origin, ends=at, levels=LEVELS)
    torch.testing.assert_close(later.point[0, 0, 0], while_reading[origin][0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(later.quantiles[0, 0, 0], while_reading[origin][1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rows", [3, HORIZON - 1, HORIZON, HORIZON + 1, 2 * HORIZON, 30])
@pytest.mark.parametrize("kind", ["wave", "constant", "zero", "tiny", "huge"])
def test_short_series_have_a_forecast_and_intervals(rows, kind):
    values = {
        "wave": wave(rows),
        "constant": np.full(rows, 5.0),
        "zero": np.zeros(rows),
        "tiny": 1e-6 * wave(rows),
        "huge": 1e9 * wave(rows),
    }[kind]
    base = solved([values, values[:-1]], season=4, lookbacks=(5, 9), patch=2)
    (said, carry) = read_in_pieces(base, values, [], [1, rows])
    for point, quantiles in said.values():
        assert point.isfinite().all()
        assert quantiles.isfinite().all()
        assert (quantiles.diff(dim=-1) >= 0).all()
    assert all(x.isfinite().all() for x in flat(carry.bank))
