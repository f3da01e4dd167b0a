"""Forecasts after a history that was cut, and what such a history costs."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from titans_ts.series import reading
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.reading import absorb_together, forecast_together
from titans_ts.series.tensors import SeriesTensors

NUMBERS_AT_ONCE = 2**23  # numbers of windows that histories side by side may fill; changes no answer
_FORECASTS_TIMED = 5

Result = TypeVar("Result")


class Cost(NamedTuple):
    """What one history costs; see :class:`titans_bench.history.bench.HistoryRow`."""

    seconds_per_step: float
    seconds_per_forecast: float
    state_bytes: int
    resident_mib: float


def first_row(origin: int, length: int | None, patch: int) -> int:
    """Return where a history of ``length`` rows before an origin begins: a patch of the whole history; None leaves it whole.

    So a cut history, up to ``patch - 1`` rows longer than asked for, is read in the same patches, only fewer of them.
    """
    return 0 if length is None else max((origin - length) // patch * patch, 0)


def forecasts_after(
    network: ForecastNetwork, series: SeriesTensors, origins: Sequence[int], length: int | None
) -> NDArray[np.float64]:
    """Return forecasts ``(n, f, c)`` in the series' own units, each after ``length`` rows read by a fresh memory.

    None reads the series once, its state carried from origin to origin.
    """
    if length is None:
        found = [told.point for _, told in reading.rolling_forecasts(network, series, origins)]
        return torch.cat(found).cpu().numpy()
    points = []
    for some in _side_by_side(network, origins, length):
        parts = [_cut(network, series, origin, length) for origin in some]
        fresh = [reading.start_state(network, static=series.static, scale=series.scale) for _ in some]
        states = absorb_together(network, fresh, parts)
        futures = [series.future[origin : origin + network.config.horizon] for origin in some]
        points += [told.point for told in forecast_together(network, states, futures)]
    return torch.cat(points).cpu().numpy()


def cost_after(network: ForecastNetwork, series: SeriesTensors, origin: int, length: int | None) -> Cost:
    """Return what a history before one origin costs, read alone: time, and what is held after it."""
    part = _cut(network, series, origin, length)
    fresh = reading.start_state(network, static=series.static, scale=series.scale)
    gc.collect()
    state, seconds = _timed(network, lambda: reading.absorb(network, fresh, part))
    future = series.future[origin : origin + network.config.horizon]
    asked = [_timed(network, lambda: reading.forecast(network, state, future))[1] for _ in range(_FORECASTS_TIMED)]
    return Cost(seconds / part.length, statistics.median(asked), state.nbytes, resident_mib())


def _timed(network: ForecastNetwork, work: Callable[[], Result]) -> tuple[Result, float]:
    """Return what work returns, and the seconds until a GPU has done it too."""
    begun = time.perf_counter()
    result = work()
    if network.device.type == "cuda":
        torch.cuda.synchronize(network.device)
    return result, time.perf_counter() - begun


def _cut(network: ForecastNetwork, series: SeriesTensors, origin: int, length: int | None) -> SeriesTensors:
    return series.part(first_row(origin, length, network.config.patch_length), origin)


def _side_by_side(network: ForecastNetwork, origins: Sequence[int], length: int) -> Iterator[Sequence[int]]:
    """Yield as many origins at a time as may be read side by side."""
    config = network.config
    tokens = min(length // config.patch_length + 1, reading.TOKENS_AT_ONCE)
    most = max(NUMBERS_AT_ONCE // (tokens * config.channels * config.lookback), 1)
    yield from (origins[first : first + most] for first in range(0, len(origins), most))


def resident_mib() -> float:
    """Return the resident memory of this process in MiB; the most so far where the system tells no more."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    try:
        import resource
        import sys
    except ImportError:  # no such thing on Windows
        return float("nan")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, others KiB
