"""Forecasts from many origins, each knowing only the rows before it, and how far they were from what came."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from joblib import delayed
from tqdm import tqdm

from titans_ts.backbones.observing import silenced
from titans_ts.frames.clock import season_of
from titans_ts.frames.covariates.categories import encode_panel
from titans_ts.frames.faults import Faults
from titans_ts.frames.panel import Layout, Panel, Series
from titans_ts.frames.write import Backtest, backtest_frame, backtest_ids, build_frame, id_column, target_names
from titans_ts.learn.metrics import (
    crps,
    interval_coverage,
    mean_absolute_error,
    mean_squared_error,
    naive_errors,
    scaled,
    symmetric_percentage_error,
)
from titans_ts.learn.progress import progress_bar
from titans_ts.series import reading
from titans_ts.series.intervals import Asked
from titans_ts.series.reader import Reader, States, some
from titans_ts.series.state import SeriesState
from titans_ts.series.watching import direct_only


def backtest(
    reader: Reader,
    panel: Panel,
    *,
    windows: int | None,
    step: int | None,
    asked: Asked,
    season_length: int | None = None,
    refit: Callable[[Panel], Reader] | None = None,
    every: int = 1,
    faults: Faults | None = None,
) -> tuple[Any, Any]:
    """Return forecasts and metrics of :meth:`TitansForecaster.backtest`.

    ``refit`` learns anew from earlier rows, before ``every`` so many windows, categories among the rest: the panel was read
    without encoding them then.
    """
    if not (step is None or _is_count(step)) or not (windows is None or _is_count(windows)):
        raise ValueError(f"windows and step must be whole numbers, 1 or more, got windows={windows!r} and step={step!r}")
    if not (season_length is None or _is_count(season_length)):
        raise ValueError(
            f"season_length must be a whole number of rows, 1 or more, got {season_length!r}; for example season_length=24"
        )
    faults, origins = Faults() if faults is None else faults, {}
    for one in panel:
        try:
            origins[one.id] = _choose_origins(reader, one, windows, step)
        except ValueError as error:
            faults.note(one.id, str(error))
    panel = faults.sift_panel(panel)
    learned = reader.network.config.quantiles
    shares = (*learned, *asked.shares)
    if refit is None:
        _warn_if_seen(reader, panel, origins)
        rows = sum(int(origins[one.id][-1]) for one in panel)
        with _bar(reader, rows) as progress:
            found = {one.id: _roll(reader, one, origins[one.id], shares, told=progress.update) for one in panel}
    else:
        found = _refitted(refit, panel, origins, shares, every, verbose=reader.verbose)
    results, known = {}, {}
    for one in panel:
        at, (point, values) = origins[one.id], found[one.id]
        cutoffs = at - 1 if one.times is None else one.times[at - 1]
        actual = one.values[at[:, None] + np.arange(point.shape[1])]
        results[one.id] = Backtest(cutoffs, actual, point, *asked.parted(values[..., len(learned) :]))
        known[one.id] = _Known(one.values[: at[0]], values[..., : len(learned)])
    season = season_of(panel.layout.frequency) if season_length is None else int(season_length)
    with np.errstate(over="ignore", invalid="ignore"):  # the square of an error past 1e154 is infinite, and said to be
        metrics = backtest_metrics(panel.layout, results, known, shares=learned, season=season)
    return backtest_frame(panel.layout, results), metrics


def rolling_errors(
    reader: Reader, panel: Panel, *, start: int, stop: int | None, horizons: Sequence[int], memory: str
) -> dict[int, tuple[float, float]]:
    """Return mean squared and absolute errors of :meth:`TitansForecaster.rolling_errors`."""
    if len(panel) != 1:
        raise ValueError(f"X holds {len(panel)} series; rolling_errors takes one: choose it, or use backtest for many")
    (one,) = panel
    network = reader.network
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
    if not isinstance(memory, str) or memory not in ("written", "silent", "linear"):
        raise ValueError(f"memory must be 'written', 'silent' or 'linear', got {memory!r}")
    contexts: dict[str, AbstractContextManager[None]] = {
        "written": nullcontext(),
        "silent": silenced(network),
        "linear": direct_only(network),
    }
    padded = np.pad(one.values[:stop], ((0, longest), (0, 0)), constant_values=np.nan)
    sums = {horizon: np.zeros(3) for horizon in horizons}
    with contexts[memory], _bar(reader, stop) as progress:
        origins = range(start, stop - min(horizons) + 1)
        for group, found in reading.rolling_forecasts(network, reader.tensors(one), origins, (), told=progress.update):
            actual = padded[np.array(group)[:, None] + np.arange(longest)]
            error = reader.in_units(found)[0][:, :longest] - actual
            for horizon, total in sums.items():
                whole = error[np.array(group) + horizon <= stop, :horizon]
                total += np.nansum(whole**2), np.nansum(np.abs(whole)), np.isfinite(whole).sum()
    unseen = [horizon for horizon, total in sums.items() if not total[2]]
    if unseen:
        raise ValueError(f"X has no observed value within {unseen[0]} rows of start={start} to compare with: start earlier")
    return {horizon: (total[0] / total[2], total[1] / total[2]) for horizon, total in sums.items()}


def score(reader: Reader, panel: Panel, states: States, faults: Faults | None = None) -> float:
    """Return the score of :meth:`TitansForecaster.score`, forecasting on from states."""
    faults = Faults() if faults is None else faults
    for one in panel:
        name = "" if one.id is None else f" {one.id!r}"
        if one.id not in reader.scales:
            faults.note(
                one.id,
                f"X holds the series{name}, which fit never saw, and so knows no spread to measure its errors by; leave it "
                f"out, or fit with it: fit saw {some(reader.scales)}",
            )
        elif not states[one.id].n_seen:
            faults.note(
                one.id,
                f"nothing has been read of series{name} since forget(), so there is nothing to forecast X from: call "
                "update(rows) with the rows before X",
            )
    panel, begun = reader.begin_all(faults.sift_panel(panel), states, faults)
    with _bar(reader, sum(map(len, panel))) as progress:
        sums = reader.in_parallel(
            delayed(_scaled_errors)(reader, one, state, told=progress.update)
            for one, state in zip(panel, begun.values(), strict=True)
        )
    error, count = (sum(part) for part in zip(*sums, strict=True))
    if not np.isfinite(error):
        raise ValueError("X holds numbers so far from what was read that the error is past float64; check them")
    if not count:
        raise ValueError("X has no observed value, so there is nothing to score; give rows that were measured")
    return -error / count


def _scaled_errors(reader: Reader, series: Series, state: SeriesState, *, told: reading.Told) -> tuple[float, int]:
    """Return the sum of absolute errors in spreads, and their number, of forecasts that follow on one another."""
    network = reader.network
    spread = reader.spreads[series.id]
    rows, horizon = reader.preparation.tensors(series, state.scale), network.config.horizon
    error, count = 0.0, 0
    for first in range(0, rows.length, horizon):
        part = rows.part(first, first + horizon)  # the last one may be shorter
        point = reader.in_units(reading.forecast(network, state, part.future, ()))[0][0, : part.length]
        with np.errstate(over="ignore"):
            missed = np.abs(point - series.values[first : first + horizon]) / spread
        error, count = error + float(np.nansum(missed)), count + int(np.isfinite(missed).sum())
        state = reading.absorb(network, state, part)
        told(part.length)
    return error, count


def _bar(reader: Reader, rows: int) -> tqdm:
    """Return a bar of rows that are read while they are forecast."""
    return progress_bar(reader.verbose, "backtest", unit="row", unit_scale=True, total=rows)


# --- origins ----------------------------------------------------------------------------------------------------------


class _FromOrigins(NamedTuple):
    """Forecasts of one series from ``k`` origins."""

    point: np.ndarray  # k f c
    quantiles: np.ndarray  # k f c s, of the shares that are asked for


def _roll(
    reader: Reader, series: Series, origins: np.ndarray, shares: Sequence[float], *, told: reading.Told = reading.to_nobody
) -> _FromOrigins:
    """Read a series once and forecast from every origin on the way."""
    rolled = reading.rolling_forecasts(reader.network, reader.tensors(series), origins.tolist(), shares, told=told)
    parts = [reader.in_units(found) for _, found in rolled]
    return _FromOrigins(*map(np.concatenate, zip(*parts, strict=True)))


def _refitted(
    refit: Callable[[Panel], Reader],
    panel: Panel,
    origins: Mapping[Hashable, np.ndarray],
    shares: Sequence[float],
    every: int,
    *,
    verbose: int | None,
) -> dict[Hashable, _FromOrigins]:
    """Fit anew before every so many origins; the k-th origins of all series share one fit, which reads on in between."""
    parts: dict[Hashable, list[_FromOrigins]] = {one.id: [] for one in panel}
    fits = range(0, max(map(len, origins.values())), every)
    for k in progress_bar(verbose, "backtest", unit="fit", iterable=fits):
        here = [one for one in panel if k < len(origins[one.id])]
        known = tuple(_head(one, int(origins[one.id][k])) for one in here)
        fresh = refit(replace(panel, series=known, index=None))
        layout = replace(panel.layout, categories=fresh.layout.categories)
        for one in encode_panel(replace(panel, series=tuple(here), layout=layout)):
            parts[one.id].append(_roll(fresh, one, origins[one.id][k : k + every], shares))
    return {name: _FromOrigins(*map(np.concatenate, zip(*found, strict=True))) for name, found in parts.items()}


def _head(series: Series, rows: int) -> Series:
    """Return the first rows of a series."""
    by_row = {name: getattr(series, name) for name in ("values", "times", "past", "future", "given")}
    return replace(series, **{name: x[:rows] for name, x in by_row.items() if x is not None})


def _choose_origins(reader: Reader, series: Series, windows: int | None, step: int | None) -> np.ndarray:
    horizon = reader.network.config.horizon
    step = horizon if step is None else step
    last = len(series) - horizon
    first = reader.training_rows.get(series.id, 1) if windows is None else last - (windows - 1) * step
    if first < 1 or last < first:
        name = "" if series.id is None else f" {series.id!r}"
        raise ValueError(
            f"windows={windows}, step={step}: series{name} has {len(series)} rows, too few for such origins with "
            f"horizon={horizon}; give more rows, or fewer or denser windows"
        )
    return np.arange(last, first - 1, -step)[::-1]


def _warn_if_seen(reader: Reader, panel: Panel, origins: Mapping[Hashable, np.ndarray]) -> None:
    """Warn of origins before the last row that the weights were trained on."""

    def is_seen(one: Series) -> bool:
        first = None if one.times is None or not len(one) else one.times[0]
        trained = one.id in reader.training_rows and reader.first_times[one.id] == first
        return trained and bool(origins[one.id][0] < reader.training_rows[one.id])

    seen = sum(map(is_seen, panel))
    if seen:
        warnings.warn(
            f"backtest: the weights were trained on rows after the first origin (of {seen} series), so errors there "
            "are those of training; fit on earlier rows, ask for fewer windows, or use refit=True",
            UserWarning,
            stacklevel=4,
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value > 0)


# --- metrics ----------------------------------------------------------------------------------------------------------


class _Known(NamedTuple):
    """What the metrics of a series need beside its forecasts."""

    history: np.ndarray  # t c, the rows before the first origin
    quantiles: np.ndarray  # k f c q, those that were learned


def backtest_metrics(
    layout: Layout,
    results: Mapping[Hashable, Backtest],
    known: Mapping[Hashable, _Known],
    *,
    shares: Sequence[float],
    season: int,
) -> Any:
    """Return a frame of scores, a row a series and channel; NaN where nothing was observed or nothing can be said."""
    keys, plain = backtest_ids(layout, list(results), target_names(layout))
    rows: list[dict[str, float]] = []
    for name, part in results.items():
        step, season_error = naive_errors(known[name].history), naive_errors(known[name].history, season)
        for channel in range(part.forecast.shape[2]):
            actual, found = part.actual[..., channel], part.forecast[..., channel]
            seen = bool(np.isfinite(actual).any())
            mse, mae = (of(actual, found) if seen else np.nan for of in (mean_squared_error, mean_absolute_error))
            row = {
                "windows": len(part.cutoffs),
                "mse": mse,
                "mae": mae,
                "mase": scaled(mae, step[0][channel]),
                "seasonal_mase": scaled(mae, season_error[0][channel]),
                "season_length": season,
                "rmsse": scaled(mse**0.5, step[1][channel]),
                "smape": symmetric_percentage_error(actual, found) if seen else np.nan,
                "crps": crps(actual, known[name].quantiles[..., channel, :], shares) if seen else np.nan,
            }
            for level, (low, high) in part.bounds.items():
                covered = interval_coverage(actual, low[..., channel], high[..., channel]) if seen else np.nan
                row[f"coverage-{level:g}"] = covered
            rows.append(row)
    columns: dict[Any, Any] = {"unique_id": id_column(plain, keys, np.ones(len(keys), dtype=np.int64))}
    columns |= {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return build_frame(layout, columns)
