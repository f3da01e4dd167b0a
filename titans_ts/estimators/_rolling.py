"""Forecasts from many origins, each knowing only the rows before it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import delayed
from sklearn.base import clone

from titans_ts import interventions, reading
from titans_ts.data.backtests import backtest_metrics
from titans_ts.data.outputs import Backtest, backtest_frame
from titans_ts.data.panel import Panel, Series
from titans_ts.estimators._intervals import interval_bounds
from titans_ts.estimators._series_memory import some

if TYPE_CHECKING:
    from titans_ts.estimators.forecaster import TitansForecaster


def backtest(
    forecaster: TitansForecaster,
    panel: Panel,
    *,
    windows: int | None,
    step: int | None,
    refit: bool,
    levels: tuple[float, ...],
) -> tuple[Any, Any]:
    """Return forecasts and metrics of :meth:`TitansForecaster.backtest`."""
    origins = {one.id: _choose_origins(forecaster, one, windows, step) for one in panel}
    if refit:
        results = _refitted(forecaster, panel, origins, levels)
    else:
        _warn_if_seen(forecaster, panel, origins)
        results = {one.id: _roll(forecaster, one, origins[one.id], levels) for one in panel}
    spreads = {one.id: _naive_error(one.values[: origins[one.id][0]]) for one in panel}
    return backtest_frame(panel.layout, results), backtest_metrics(panel.layout, results, spreads)


def rolling_errors(
    forecaster: TitansForecaster, panel: Panel, *, start: int, stop: int | None, horizons: Sequence[int], memory: str
) -> dict[int, tuple[float, float]]:
    """Return mean squared and absolute errors of :meth:`TitansForecaster.rolling_errors`."""
    if len(panel) != 1:
        raise ValueError(f"X holds {len(panel)} series; rolling_errors takes one: choose it, or use backtest for many")
    (one,) = panel
    network = forecaster.network_
    stop = len(one) if stop is None else stop
    horizons = np.atleast_1d(np.asarray(horizons)).tolist()
    if not horizons or not all(_is_count(horizon) for horizon in horizons):
        raise ValueError(f"horizons must be whole numbers of rows, 1 or more, got {horizons}; for example horizons=[24]")
    longest = max(horizons)
    if not (_is_count(start) and _is_count(stop)):
        raise ValueError(f"start and stop must be whole numbers of rows, 1 or more, got start={start!r} and stop={stop!r}")
    if longest > network.config.horizon:
        raise ValueError(f"horizons: {longest} is longer than horizon={network.config.horizon}, which the model forecasts")
    if not 0 < start <= stop - min(horizons) <= len(one) - min(horizons):
        raise ValueError(f"start={start} and stop={stop} leave no origin in a series of {len(one)} rows")
    if memory not in ("written", "silent", "linear"):
        raise ValueError(f"memory must be 'written', 'silent' or 'linear', got {memory!r}")
    contexts: dict[str, AbstractContextManager[None]] = {
        "written": nullcontext(),
        "silent": interventions.silenced(network),
        "linear": interventions.direct_only(network),
    }
    padded = np.pad(one.values[:stop], ((0, longest), (0, 0)), constant_values=np.nan)
    sums = {horizon: np.zeros(3) for horizon in horizons}
    with contexts[memory]:
        origins = range(start, stop - min(horizons) + 1)
        for group, found in reading.rolling_forecasts(network, forecaster.ready(one), origins):
            actual = padded[np.array(group)[:, None] + np.arange(longest)]
            error = found.point[:, :longest].cpu().numpy() - actual
            for horizon, total in sums.items():
                whole = error[np.array(group) + horizon <= stop, :horizon]
                total += np.nansum(whole**2), np.nansum(np.abs(whole)), np.isfinite(whole).sum()
    unseen = [horizon for horizon, total in sums.items() if not total[2]]
    if unseen:
        raise ValueError(f"X has no observed value within {unseen[0]} rows of start={start} to compare with: start earlier")
    return {horizon: (total[0] / total[2], total[1] / total[2]) for horizon, total in sums.items()}


def score(forecaster: TitansForecaster, panel: Panel) -> float:
    """Return the score of :meth:`TitansForecaster.score`."""
    for one in panel:
        name = "" if one.id is None else f" {one.id!r}"
        if one.id not in forecaster.scales_:
            raise ValueError(
                f"X holds the series{name}, which fit never saw, and so knows no spread to measure its errors by; leave it "
                f"out, or fit with it: fit saw {some(forecaster.scales_)}"
            )
        if not forecaster.states_[one.id].n_seen:
            raise ValueError(
                f"nothing has been read of series{name} since forget(), so there is nothing to forecast X from: call "
                "update(rows) with the rows before X"
            )
        forecaster._refuse_other_static(one, forecaster.states_[one.id])
    sums = forecaster._in_parallel(delayed(_scaled_errors)(forecaster, one) for one in panel)
    error, count = (sum(part) for part in zip(*sums, strict=True))
    if not count:
        raise ValueError("X has no observed value, so there is nothing to score; give rows that were measured")
    return -error / count


def _scaled_errors(forecaster: TitansForecaster, series: Series) -> tuple[float, int]:
    """Return the sum of absolute errors in spreads, and their number, of forecasts that follow on one another."""
    network, state = forecaster.network_, forecaster.states_[series.id]
    spread = forecaster.scales_[series.id].spread.numpy()  # 1 c
    rows, horizon = forecaster.preparation_.tensors(series, state.scale), network.config.horizon
    error, count = 0.0, 0
    for first in range(0, rows.length, horizon):
        part = rows.part(first, first + horizon)  # the last one may be shorter
        point = reading.forecast(network, state, part.future).point[0, : part.length]
        missed = np.abs(point.cpu().numpy() - series.values[first : first + horizon]) / spread
        error, count = error + float(np.nansum(missed)), count + int(np.isfinite(missed).sum())
        state = reading.absorb(network, state, part)  # another one; the forecaster's stays as it is
    return error, count


def _is_count(value: object) -> bool:
    return isinstance(value, int | np.integer) and bool(value > 0)


def _choose_origins(forecaster: TitansForecaster, series: Series, windows: int | None, step: int | None) -> np.ndarray:
    horizon = forecaster.network_.config.horizon
    step = horizon if step is None else step
    if not _is_count(step) or (windows is not None and not _is_count(windows)):
        raise ValueError(f"windows and step must be whole numbers, 1 or more, got windows={windows!r} and step={step!r}")
    last = len(series) - horizon
    first = forecaster.training_rows_.get(series.id, 1) if windows is None else last - (windows - 1) * step
    if first < 1 or last < first:
        name = "" if series.id is None else f" {series.id!r}"
        raise ValueError(
            f"windows={windows}, step={step}: series{name} has {len(series)} rows, too few for such origins with "
            f"horizon={horizon}; give more rows, or fewer or denser windows"
        )
    return np.arange(last, first - 1, -step)[::-1]


def _warn_if_seen(forecaster: TitansForecaster, panel: Panel, origins: dict[Hashable, np.ndarray]) -> None:
    seen = [
        one.id
        for one in panel
        if one.id in forecaster.training_rows_
        and forecaster.first_times_[one.id] == _first_time(one)
        and origins[one.id][0] < forecaster.training_rows_[one.id]
    ]
    if seen:
        warnings.warn(
            f"backtest: the weights were trained on rows after the first origin (of {len(seen)} series), so errors there "
            "are those of training; fit on earlier rows, ask for fewer windows, or use refit=True",
            UserWarning,
            stacklevel=4,
        )


def _first_time(series: Series) -> Any:
    return None if series.times is None or not len(series) else series.times[0]


def _roll(forecaster: TitansForecaster, series: Series, origins: np.ndarray, levels: tuple[float, ...]) -> Backtest:
    """Read a series once and forecast from every origin on the way."""
    points, quantiles = [], []
    for _, found in reading.rolling_forecasts(forecaster.network_, forecaster.ready(series), origins.tolist()):
        points.append(found.point.cpu().numpy())
        quantiles.append(found.quantiles.cpu().numpy())
    bounds = interval_bounds(np.concatenate(quantiles), forecaster.network_.config.quantiles, levels)
    return _result(series, origins, np.concatenate(points), bounds)


def _refitted(
    forecaster: TitansForecaster, panel: Panel, origins: dict[Hashable, np.ndarray], levels: tuple[float, ...]
) -> dict[Hashable, Backtest]:
    """Fit anew before every origin; the k-th origins of all series share one fit."""
    parts: dict[Hashable, list[Backtest]] = {one.id: [] for one in panel}
    for k in range(max(map(len, origins.values()))):
        here = [one for one in panel if k < len(origins[one.id])]
        known = [_head(one, int(origins[one.id][k])) for one in here]
        fresh = clone(forecaster).fit_panel(replace(panel, series=tuple(known), index=None))
        for one in here:
            parts[one.id].append(_roll(fresh, one, origins[one.id][k : k + 1], levels))
    return {name: _join(results) for name, results in parts.items()}


def _head(series: Series, rows: int) -> Series:
    given = None if series.given is None else series.given[:rows]
    times = None if series.times is None else series.times[:rows]
    cut = (series.values[:rows], times, series.past[:rows], series.future[:rows])
    return Series(series.id, *cut, series.static, given)


def _result(series: Series, origins: np.ndarray, point: np.ndarray, bounds: Any) -> Backtest:
    ahead = origins[:, None] + np.arange(point.shape[1])
    cutoffs = origins - 1 if series.times is None else series.times[origins - 1]
    return Backtest(cutoffs, series.values[ahead], point, bounds)


def _join(parts: list[Backtest]) -> Backtest:
    def joined(of: Callable[[Backtest], np.ndarray]) -> np.ndarray:
        return np.concatenate([of(part) for part in parts])

    bounds = {
        level: (joined(lambda part: part.bounds[level][0]), joined(lambda part: part.bounds[level][1]))  # noqa: B023
        for level in parts[0].bounds
    }
    cutoffs, actual = joined(lambda part: part.cutoffs), joined(lambda part: part.actual)
    return Backtest(cutoffs, actual, joined(lambda part: part.forecast), bounds)


def _naive_error(history: np.ndarray) -> np.ndarray:
    """Return the mean absolute step of a history, ``(c,)``: what MASE divides by."""
    steps = np.abs(np.diff(history, axis=0))
    count = np.isfinite(steps).sum(0)
    return np.where(count > 0, np.nansum(steps, axis=0) / np.maximum(count, 1), np.nan)
