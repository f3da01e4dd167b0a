"""Reading on: what a series that no fit ever saw gains by every row that is read of it.

SimBench's 96 load profiles of one year are unlike each other: households, businesses, heat pumps, night storage. Ours is
fitted on one half of them, the first half of the year. Of the other half it forecasts always the same rows, the last of the
year, with ever more rows read immediately before each origin by a fresh memory. Profiles that are nearly copies of each
other stay on one side. A second row has the same model with a base that learns nothing on the way.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from titans_bench.contest import Spent
from titans_bench.rows import fill_in, markdown_table, read_rows, rows_of, write_rows
from titans_bench.tasks import TaskSeries, task_frame
from titans_ts.series.forecaster import TitansForecaster

FILE = "series/simbench_load_hourly.parquet"
LENGTHS = (168, 336, 500, 1000, 2000, 4000)
"""Rows read before each origin."""
FROM, TO = 500, 4000
"""Lengths between which the error is to fall."""
TARGETS = 1500
"""Rows at the end of the year that are forecast."""
FITTED = 48
"""Profiles that are fitted."""
ALIKE = 0.99
"""Correlation over the year from which on two profiles stay together."""
WEEK, DAY = 168, 24
NAIVE, READS, SILENT = "naive", "reads on", "silent"
REPEATED = {"a week before": WEEK, "a day before": DAY}
"""What seasonal naive forecasts repeat, in rows."""

Errors = NDArray[np.float64]


class ReadingRun(NamedTuple):
    """One split and one model."""

    model: str
    seed: int


@dataclass(frozen=True)
class ReadingRow:
    """What one model made of one length of history."""

    setting: str  # "standard", or another horizon or step
    model: str  # "naive", or ours with its layers
    seed: int  # of the split, and of the fit
    part: str  # what a naive forecast repeats; "reads on", or "silent" where the base learns nothing on the way
    length: int  # rows read before each origin
    streams: int  # unseen ones
    origins: int
    error: float  # mean over streams of their mean absolute errors, in mean absolute differences of a week
    spread: float  # standard deviation over streams
    cpu_seconds: float  # of all forecasts
    errors: str  # of each stream, a space between two

    @property
    def each(self) -> Errors:
        """Errors of the streams."""
        return np.array(self.errors.split(), dtype=np.float64)


def bench_reading(
    out: Path,
    *,
    layers: Sequence[int] = (0,),
    seeds: Sequence[int] = (0, 1, 2),
    horizon: int = 24,
    step: int = 24,
    data_home: str | Path | None = None,
    jobs: int = 1,
    verbose: int | None = None,
) -> list[ReadingRow]:
    """Run what is missing in a CSV file, and return all rows of this setting.

    Each seed is a split and a fit; ``step`` rows lie between two origins.
    """
    if not 1 <= horizon <= TARGETS or step < 1:
        raise ValueError(f"horizon={horizon} and step={step} must be 1 or more, and a horizon at most {TARGETS} rows")
    setting = "standard" if horizon == step == DAY else f"horizon={horizon}, step={step}"
    runs = [ReadingRun(model, seed) for model in (NAIVE, *map(_name, layers)) for seed in seeds]
    rows = read_rows(out, ReadingRow)
    missing = [run for run in runs if not rows_of(rows, setting, run)]
    work = partial(
        _run, setting=setting, layers=dict(zip(map(_name, layers), layers, strict=True)), horizon=horizon, step=step
    )
    work = partial(work, data_home=data_home)
    rows = fill_in(out, rows, missing, work, kind=ReadingRow, setting=setting, jobs=jobs, verbose=verbose)
    rows = sorted(rows, key=lambda row: (row.setting, row.model, row.seed, row.part, row.length))
    write_rows(out, rows, ReadingRow)
    return [row for row in rows if row.setting == setting]


def load_profiles(data_home: str | Path | None = None) -> list[TaskSeries]:
    """Return the profiles; `FILE` lies in a folder of data, ``data_home`` or ``$TITANS_TS_DATA``."""
    import pandas as pd

    folders = [Path(each).expanduser() for each in (data_home, os.environ.get("TITANS_TS_DATA")) if each]
    path = next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{FILE} is not in data_home or $TITANS_TS_DATA; it holds the 96 load profiles of the package simbench 1.6.3 "
            "(ODbL 1.0), quarter hours averaged by the hour, a column each, and their time stamps in 'ds'"
        )
    frame = pd.read_parquet(path)
    names = [name for name in frame.columns if name != "ds"]
    return [TaskSeries(str(name), frame["ds"].to_numpy(), frame[[name]].to_numpy(np.float64), ("y",)) for name in names]


def split_profiles(values: NDArray[np.float64], seed: int, *, fitted: int | None = None) -> tuple[list[int], list[int]]:
    """Return which profiles ``(s, t)`` are fitted, at most `FITTED`, and which are not; those alike stay together."""
    most = FITTED if fitted is None else fitted
    _, group = connected_components(np.corrcoef(values) > ALIKE, directed=False)
    groups = [np.flatnonzero(group == k).tolist() for k in range(group.max() + 1)]
    chance = np.random.default_rng(seed)
    chance.shuffle(groups)
    unseen = len(values) - most
    sides: tuple[list[int], list[int]] = ([], [])
    for members in sorted(groups, key=len, reverse=True):  # single ones last, which fill up either side
        fits = len(sides[0]) + len(members) <= most and (chance.random() < 0.5 or len(sides[1]) + len(members) > unseen)
        sides[0 if fits else 1].extend(members)
    return sorted(sides[0]), sorted(sides[1])


def reading_table(rows: Sequence[ReadingRow]) -> str:
    """Return a markdown table: a row an answer, its error by the rows read, the spread over streams, and the fall."""
    body = []
    for model, part in dict.fromkeys((row.model, row.part) for row in rows):
        mine = [row for row in rows if (row.model, row.part) == (model, part)]
        cells = []
        for length in LENGTHS:
            here = [row for row in mine if row.length == length]
            cells.append(f"{_mean(row.error for row in here):.4f} ({_mean(row.spread for row in here):.3f})")
        before, after = ({row.seed: row.each for row in mine if row.length == length} for length in (FROM, TO))
        falls = [1 - after[seed].mean() / before[seed].mean() for seed in before]
        each = np.concatenate([1 - after[seed] / before[seed] for seed in before])
        shown = [f"{100 * np.mean(falls):.1f}", ", ".join(f"{100 * x:.1f}" for x in falls)]
        shown.append(f"{100 * each.mean():.1f} ± {100 * each.std():.1f}")
        body.append([f"{model}, {part}", *cells, *(shown if part not in REPEATED else ["-"] * 3)])
    between = f"fall, {FROM:,} to {TO:,}, %"
    head = ["rows read", *(f"{length:,}" for length in LENGTHS), between, "by split", "by stream"]
    row, seeds = rows[0], sorted({row.seed for row in rows})
    note = (
        "Mean absolute error in units of the stream's mean absolute difference of a week before the rows to forecast: mean "
        f"over {row.streams} streams that no fit saw and over splits {', '.join(map(str, seeds))}, in brackets the standard "
        f"deviation over streams; the last {TARGETS:,} rows of the year, {row.origins} origins, the same for every length. "
        "The fall of that mean, of each split's, and mean and standard deviation of the streams' own."
    )
    return f"{markdown_table(head, body)}\n\n{note}"


def _run(
    run: ReadingRun,
    *,
    setting: str,
    layers: dict[str, int],
    horizon: int,
    step: int,
    data_home: str | Path | None,
    verbose: int | None,
) -> list[ReadingRow]:
    """Return the rows of one model and one split."""
    profiles = load_profiles(data_home)
    values = np.stack([one.values[:, 0] for one in profiles])
    fitted, unseen = split_profiles(values, run.seed)
    streams, last = [profiles[i] for i in unseen], values[unseen]
    rows = last.shape[1]
    origins = list(range(rows - TARGETS, rows - horizon + 1, step))
    unit = np.abs(last[:, WEEK : rows - TARGETS] - last[:, : rows - TARGETS - WEEK]).mean(1)
    forecasts: dict[str, Callable[[int, int], Errors]]
    if run.model == NAIVE:
        forecasts = {part: partial(_repeat, last, horizon, season) for part, season in REPEATED.items()}
    else:
        model = TitansForecaster(horizon, layers=layers[run.model], random_state=run.seed, verbose=verbose)
        model.fit(task_frame([profiles[i] for i in fitted], [slice(0, rows // 2)] * len(fitted)))
        forecasts = {part: partial(_forecast, one, streams) for part, one in ((READS, model), (SILENT, _silent(model)))}
    made = []
    for part, forecast in forecasts.items():
        for length in LENGTHS:
            spent, missed = Spent(), []
            with spent.counting():
                for origin in origins:
                    missed.append(np.abs(forecast(origin, length) - last[:, origin : origin + horizon]).mean(1))
            each = np.mean(missed, axis=0) / unit
            error, spread, seconds = (float(f"{x:.6g}") for x in (each.mean(), each.std(), spent.cpu_seconds))
            text = " ".join(f"{x:.6g}" for x in each)
            row = (setting, *run, part, length, len(each), len(origins))
            made.append(ReadingRow(*row, error, spread, seconds, text))
    return made


def _repeat(values: Errors, horizon: int, season: int, origin: int, length: int) -> Errors:
    """Return the last season before an origin, repeated, ``(s, f)``; no length is shorter than it."""
    return values[:, origin - season + np.arange(horizon) % season]


def _forecast(model: TitansForecaster, streams: Sequence[TaskSeries], origin: int, length: int) -> Errors:
    """Return forecasts ``(s, f)`` after so many rows before an origin, read with a fresh memory."""
    answer = model.predict(task_frame(streams, [slice(origin - length, origin)] * len(streams)))
    return np.stack([answer["y"].to_numpy()[answer["unique_id"].to_numpy() == one.id] for one in streams])


def _silent(model: TitansForecaster) -> TitansForecaster:
    """Return a copy whose base keeps the panel's weights and has no linear memory."""
    model = copy.deepcopy(model)
    base = model.network_.base
    assert base is not None
    base.hold()
    return model


def _name(layers: int) -> str:
    return f"titans, layers={layers}"


def _mean(numbers: Any) -> float:
    return float(np.mean(list(numbers)))
