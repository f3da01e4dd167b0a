"""The standard protocol of long-term forecasting, every test window counted.

The first rows are for training, the next for validation, the rest for test. All are standardised with the mean and standard
deviation of the training part. Every origin of the test part counts, with stride 1 and no last batch dropped. Errors are
averaged over windows, steps and channels on the standardised scale. Values missing from the truth are left out, and the
table says how many they were.

Published tables solve nothing on validation rows, which choose and do no more: so does ours in its first rows. Refitted, its
base is solved on all known rows at last, as it is by default.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np

from titans_bench.rows import markdown_table
from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.variants import BASELINES
from titans_ts.datasets.load import Dataset, list_datasets, load_dataset
from titans_ts.datasets.records import RECORDS
from titans_ts.frames.clock import season_of
from titans_ts.learn.run import stop_after
from titans_ts.series.forecaster import TitansForecaster

Errors = dict[int, tuple[float, float]]  # mean squared and absolute error by horizon

HORIZONS = {"vic_elec": (48, 96, 336)}
DEFAULT_HORIZONS = (96, 192, 336, 720)
MEDIAN_BEAT = 286
"""Rows of the season of mitbih100, which has numbers for time stamps: how long its median beat lasts."""
INVENTED_DATES = frozenset({"exchange_rate"})
"""Sets whose dates were added after the fact and tell no weekday; no model sees them."""
BASE = "base alone"
SOLVED_ON: dict[Literal["training", "all"], str] = {"training": "", "all": ", refitted"}
"""Rows that a base is solved on, and what that adds to a model's name."""


@dataclass(frozen=True)
class Score:
    """One cell of the table: the error of a model at a horizon, or averaged over all horizons."""

    dataset: str
    model: str
    seed: int | None  # None for a model without chance
    horizon: int | str  # rows forecast, or "average"
    mse: float  # on the standardised scale
    mae: float
    seconds: float = 0.0  # of the fit
    windows: int = 0  # origins scored; for the average those of all horizons
    missing: float = 0.0  # share of the test part that was never observed and is left out


def evaluate(
    name: str,
    *,
    variants: Sequence[str] = ("mac",),
    seeds: Sequence[int] = (0,),
    horizons: Sequence[int] | None = None,
    data_home: str | Path | None = None,
    max_minutes: float | None = None,
    keep_markers: bool = False,
    verbose: int | None = 0,
    tell: Callable[[str, TitansForecaster], object] | None = None,
    **arguments: Any,
) -> list[Score]:
    """Fit a model for all horizons and score it on the test part, beside its base alone and a seasonal naive forecast.

    Each reads training and validation rows; ``validation_fraction`` makes its validation part the official one, and no
    weight of its base is solved on that; then it is fitted again with a base solved on both. A variant with a memory is
    scored a second time with that silent. ``keep_markers`` takes the number that stands for missing (-9999 in weather) for a
    number, in scale and errors too, as published tables do. ``tell`` hears of every model that was fitted. ``arguments`` are
    those of `TitansForecaster`.
    """
    _refuse_misfits(variants, arguments)
    dataset = load_dataset(name, data_home=data_home)
    if not isinstance(dataset, Dataset):
        raise ValueError(f"name={name!r} is no series; take one of {', '.join(list_datasets('series'))}")
    if keep_markers:
        dataset = _with_markers(dataset)
        name = dataset.name
    horizons = _checked_horizons(horizons, dataset)
    known = dataset.n_train + dataset.n_validation
    stop = known + dataset.n_test
    frame, values = standardised(dataset)
    period, missing = season_rows(dataset.frequency), float(np.isnan(values[known:stop]).mean())

    rows = partial(_rows, name, n_test=dataset.n_test, missing=missing)
    naive = seasonal_naive_errors(values[:stop], period, start=known, horizons=horizons)
    scores = rows(f"seasonal naive ({period})", None, naive, 0.0)
    for seed in seeds:
        for variant, solved_on in product((BASE, *variants), SOLVED_ON):
            begun = time.perf_counter()
            forecaster = TitansForecaster(
                horizon=max(horizons),
                validation_fraction=dataset.n_validation / known,
                solve_on=solved_on,
                random_state=seed,
                verbose=verbose,
                callbacks=[] if max_minutes is None else [stop_after(60 * max_minutes)],
                **{**arguments, **({"layers": 0} if variant == BASE else {"variant": variant})},
            ).fit(frame.iloc[:known])
            seconds = time.perf_counter() - begun
            if tell is not None:
                tell(f"{variant}{SOLVED_ON[solved_on]}, seed {seed}", forecaster)
            found = forecaster.rolling_errors(frame.iloc[:stop], start=known, horizons=horizons)
            scores += rows(f"{variant}{SOLVED_ON[solved_on]}", seed, found, seconds)
            if variant not in (BASE, *BASELINES):
                found = forecaster.rolling_errors(frame.iloc[:stop], start=known, horizons=horizons, memory="silent")
                scores += rows(f"{variant}, memory silent{SOLVED_ON[solved_on]}", seed, found, seconds)
    return scores


def _with_markers(dataset: Dataset) -> Dataset:
    """Return a set under another name in which what stands for missing is a number."""
    marker = RECORDS[dataset.name].missing_marker
    if marker is None:
        raise ValueError(f"keep_markers: no number stands for missing in {dataset.name}")
    name = f"{dataset.name}, {marker:g} kept"
    columns = list(dataset.target_columns)
    return replace(dataset, name=name, frame=dataset.frame.fillna(dict.fromkeys(columns, marker)))


def season_rows(frequency: str | int) -> int:
    """Return the rows of the season that the naive forecast repeats.

    >>> season_rows("30min"), season_rows(1)
    (48, 286)
    """
    return season_of(frequency) if isinstance(frequency, str) else MEDIAN_BEAT


def standardised(dataset: Dataset) -> tuple[Any, np.ndarray]:
    """Return a set's frame and values ``(t, c)`` on the scale of its training part (ddof 0; 1 where a column never changes).

    The protocol counts rows: time stamps are made regular (one of weather's occurs twice) and no row is made or dropped.
    Dates that were invented (exchange_rate) are left out.
    """
    columns = list(dataset.target_columns)
    values = dataset.frame[columns].to_numpy(dtype=np.float64)
    training = values[: dataset.n_train]
    spread = np.nanstd(training, axis=0)
    values = (values - np.nanmean(training, axis=0)) / np.where(spread > 0, spread, 1.0)
    frame = dataset.frame[["ds", *columns]].copy()
    frame[columns] = values
    stamps = frame["ds"].to_numpy()
    steps = np.diff(stamps)
    frame["ds"] = stamps[0] + np.arange(len(stamps)) * np.median(steps).astype(steps.dtype)
    return (frame[columns] if dataset.name in INVENTED_DATES else frame), values


def format_table(scores: Sequence[Score]) -> str:
    """Return scores as a markdown table: a row a model, MSE/MAE a horizon, mean and spread (max - min) over seeds."""
    horizons = list(dict.fromkeys(score.horizon for score in scores))
    body = []
    for model in dict.fromkeys(score.model for score in scores):
        mine = [score for score in scores if score.model == model]
        cells = []
        for horizon in horizons:
            here = [score for score in mine if score.horizon == horizon]
            cells.append("/".join(f"{np.mean([getattr(x, key) for x in here]):.4f}" for key in ("mse", "mae")))
        last = [score for score in mine if score.horizon == horizons[-1]]
        spread = "/".join(f"{np.ptp([getattr(x, key) for x in last]):.4f}" for key in ("mse", "mae"))
        seconds = f"{np.mean([x.seconds for x in last]):.0f}"
        body.append([model, *cells, spread if len(last) > 1 else "-", seconds])
    head = [scores[0].dataset, *(f"{h}" for h in horizons), "spread of average", "fit, s"]
    return f"{markdown_table(head, body)}\n\n{_footnote(scores)}"


def _footnote(scores: Sequence[Score]) -> str:
    """Return what a reader must know of a table: protocol, windows, seeds, missing values."""
    seeds = sorted({score.seed for score in scores if score.seed is not None})
    windows = {score.horizon: score.windows for score in scores if score.horizon != "average"}
    parts = [
        "MSE/MAE on the standardised scale, mean over " + (f"seeds {seeds}" if seeds else "one run"),
        "test windows, stride 1, none dropped: " + ", ".join(f"{count:,} at {h}" for h, count in windows.items()),
        "variants read the whole history (attention and hopfield see a window of it)",
        "no weight of a base is solved on validation rows; refitted: it is, in the end",
    ]
    if scores[0].missing:
        parts.append(f"{100 * scores[0].missing:.2g} % of the test values are missing and left out")
    return "; ".join(parts) + "."


def _refuse_misfits(variants: Sequence[str], arguments: dict[str, Any]) -> None:
    """Refuse, before the first fit, arguments that are the protocol's own or do not go with a variant."""
    own = {"horizon", "variant", "random_state", "validation_fraction", "solve_on", "callbacks"} & set(arguments)
    if own:
        raise ValueError(f"{sorted(own)} are set by the protocol; choose horizons, variants, seeds and max_minutes instead")
    for variant in variants:
        BackboneConfig(variant, arguments.get("memory", BackboneConfig.memory))


def _checked_horizons(horizons: Sequence[int] | None, dataset: Dataset) -> tuple[int, ...]:
    chosen = tuple(horizons if horizons is not None else HORIZONS.get(dataset.name, DEFAULT_HORIZONS))
    if not chosen or min(chosen) < 1 or max(chosen) > dataset.n_test:
        raise ValueError(f"horizons={chosen} must lie in 1 .. {dataset.n_test}, the test rows of {dataset.name}")
    return chosen


def _rows(
    name: str, model: str, seed: int | None, found: Errors, seconds: float, *, n_test: int, missing: float
) -> list[Score]:
    rows = [
        Score(name, model, seed, h, float(mse), float(mae), seconds, n_test - h + 1, missing)
        for h, (mse, mae) in found.items()
    ]
    average = (float(np.mean([x.mse for x in rows])), float(np.mean([x.mae for x in rows])))
    return [*rows, Score(name, model, seed, "average", *average, seconds, sum(x.windows for x in rows), missing)]


def seasonal_naive_errors(values: np.ndarray, period: int, *, start: int, horizons: Sequence[int]) -> Errors:
    """Return the errors of repeating the last season of ``period`` rows, over every origin from ``start``.

    Values are ``(t, c)``. NaN in the truth is left out; where the last season has NaN, the season before it is repeated.
    """
    if start < period:
        raise ValueError(f"start={start}: a season of {period} rows must come before the first origin")
    filled = _last_observed(values, period)
    sums = {horizon: np.zeros(3) for horizon in horizons}
    for ahead in range(max(horizons)):
        truth = values[start + ahead :]
        season = start - period + ahead % period
        error = filled[season : season + len(truth)] - truth
        if np.isnan(filled[season : season + len(truth)][~np.isnan(truth)]).any():
            raise ValueError("values: a column is not observed at all before it is to be forecast")
        of_window = (np.nansum(error**2, axis=1), np.nansum(np.abs(error), axis=1), (~np.isnan(error)).sum(axis=1))
        for horizon, total in sums.items():
            if ahead < horizon:
                total += [part[: len(values) - start - horizon + 1].sum() for part in of_window]
    return {horizon: (float(total[0] / total[2]), float(total[1] / total[2])) for horizon, total in sums.items()}


def _last_observed(values: np.ndarray, period: int) -> np.ndarray:
    """Return values ``(t, c)`` with NaN replaced by the value a season, or seasons, before; else by the one just before."""
    rows, channels = values.shape
    padded = np.pad(values, ((0, -rows % period), (0, 0)), constant_values=np.nan).reshape(-1, period, channels)
    filled = _carried(padded).reshape(-1, channels)[:rows]
    return np.where(np.isnan(filled), _carried(values), filled)


def _carried(values: np.ndarray) -> np.ndarray:
    """Return values with NaN replaced by the last one observed along the first axis."""
    places = np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))
    places = np.maximum.accumulate(np.where(np.isnan(values), 0, places), axis=0)
    return np.take_along_axis(values, places, axis=0)
