"""Models on the tasks of `titans_bench.tasks`: what each forecasts, what it scores, and what it takes.

Ours is fitted once, on the rows before the first window. In later windows it reads on: the rows that came are absorbed, then
it forecasts; nothing is fitted anew. Where more than `HELD_TO` rows are known a second row has the same model with a fresh
memory that reads only so many before each forecast.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from titans_bench.rows import check_names, fill_in, read_rows, rows_of, write_rows
from titans_bench.task_scores import ASKED, TaskForecast, TaskScores, score_window, seasonal_naive
from titans_bench.tasks import GROUPS, TASKS, Task, TaskSeries, load_task, task_frame
from titans_ts import __version__
from titans_ts.learn.run import stop_after
from titans_ts.series.forecaster import TitansForecaster

ALL = "all"
HELD_TO = 8192
NAIVE, POINT_NAIVE, OURS = "seasonal naive", "seasonal naive, point only", "titans"


@dataclass(frozen=True)
class TaskRow:
    """What a model scored on a task with one seed, and what that took."""

    setting: str  # "standard", or what was left out for a quick try
    task: str
    model: str
    seed: int  # 0 for models without chance
    history: str  # rows read before a forecast: "all", or a number
    series: int
    windows: int
    horizon: int
    mase: float
    sql: float
    wql: float
    coverage_80: float
    coverage_95: float
    fit_seconds: float
    forecast_seconds: float  # of all windows, what is read in between included
    cpu_seconds: float  # of both, of all processes
    made_by: str  # the package and its version


class TaskRun(NamedTuple):
    """What makes some rows of the file, and what a second call need not run again."""

    task: str
    model: str
    seed: int


@dataclass
class Spent:
    """Seconds on the clock and of processors, children included, summed over blocks."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Add what a block takes."""
        begun, worked = time.perf_counter(), _cpu_seconds()
        yield
        self.seconds += time.perf_counter() - begun
        self.cpu_seconds += _cpu_seconds() - worked


@dataclass(frozen=True)
class Entry:
    """The forecasts of one model in all windows of a task."""

    forecasts: list[TaskForecast]
    history: str = ALL
    fit: Spent = field(default_factory=Spent)
    forecast: Spent = field(default_factory=Spent)


Contender = Callable[..., list[Entry]]
"""What enters a contest: from a task, its series and a seed, it forecasts from the rows before each origin alone."""


class Model(NamedTuple):
    """A contender, which package it is of, whether chance plays, and whether it is ours and takes our arguments."""

    enter: Contender
    made_by: str
    drawn: bool = False
    ours: bool = False


def enter_naive(task: Task, series: list[TaskSeries], seed: int, *, spread: bool = True) -> list[Entry]:
    """Enter the seasonal naive forecast."""
    entry = Entry([])
    for window in range(task.windows):
        with entry.forecast.counting():
            past = [rows[window] for rows in known_rows(task, series)]
            found = seasonal_naive(past, task.horizon, task.repeated, rows=task.naive_rows, spread=spread)
        entry.forecasts.append(found)
    return [entry]


def enter_ours(
    task: Task,
    series: list[TaskSeries],
    seed: int,
    *,
    max_minutes: float | None = None,
    tell: Callable[[str, TitansForecaster], object] | None = None,
    **arguments: Any,
) -> list[Entry]:
    """Enter our forecaster, with all it has read and, where that is more, with the last `HELD_TO` rows."""
    if max_minutes is not None:
        arguments["callbacks"] = [stop_after(60 * max_minutes)]
    fit, whole, held = Spent(), Entry([]), Entry([], str(HELD_TO))
    columns, ids = series[0].columns, [each.id for each in series]
    origins = [task.origins(len(each.values)) for each in series]
    asked: dict[str, Any] = {"quantiles": ASKED, "random_state": seed, "verbose": 0} | arguments
    with fit.counting():
        model = TitansForecaster(task.horizon, **asked)
        model.fit(task_frame(series, [slice(0, at[0]) for at in origins]))
    if tell is not None:
        tell(f"{OURS}, {model.variant}, seed {seed}", model)
    for window in range(task.windows):
        with whole.forecast.counting():
            if window:
                model.update(task_frame(series, [slice(at[window - 1], at[window]) for at in origins]))
            whole.forecasts.append(_forecast_of(model.predict(quantiles=ASKED), ids, columns))
        if max(at[0] for at in origins) > HELD_TO:
            with held.forecast.counting():
                last = task_frame(series, [slice(max(at[window] - HELD_TO, 0), at[window]) for at in origins])
                held.forecasts.append(_forecast_of(model.predict(last, quantiles=ASKED), ids, columns))
    return [replace(entry, fit=fit) for entry in (whole, held) if entry.forecasts]


OWN = f"titans-ts {__version__}"
MODELS: dict[str, Model] = {
    NAIVE: Model(enter_naive, OWN),
    POINT_NAIVE: Model(partial(enter_naive, spread=False), OWN),
    OURS: Model(enter_ours, OWN, drawn=True, ours=True),
    f"{OURS}, layers=0": Model(partial(enter_ours, layers=0), OWN, drawn=True, ours=True),
}


def bench_tasks(
    out: Path,
    *,
    tasks: Sequence[str] = tuple(TASKS),
    models: Sequence[str] = (NAIVE, POINT_NAIVE, OURS),
    known: dict[str, Model] = MODELS,
    seeds: Sequence[int] = (0, 1, 2),
    limit: int | None = None,
    data_home: str | Path | None = None,
    jobs: int = 1,
    verbose: int | None = None,
    **arguments: Any,
) -> list[TaskRow]:
    """Run every model on every task that the file ``out`` lacks, and return all rows of this setting.

    Parameters
    ----------
    out : Path
        A CSV file of `TaskRow`, written whole after every run.
    tasks : sequence of str
        Names of `TASKS`, or "panels" and "rolling".
    models : sequence of str
        Names of ``known``.
    seeds : sequence of int
        A fit each for what depends on chance; the first alone for others.
    limit : int, optional
        Series of a panel, spread evenly over it, and windows of a rolling task, the last ones.
    arguments
        Those of the forecaster, for quick tries: they and ``limit`` are the rows' setting.
    """
    names = [name for asked in tasks for name in GROUPS.get(asked, (asked,))]
    check_names(tasks=(names, TASKS), models=(models, known))
    setting = setting_of(limit, arguments)
    rows = read_rows(out, TaskRow)
    runs = [
        TaskRun(task, model, seed)
        for task in dict.fromkeys(names)
        for model in models
        for seed in (seeds if known[model].drawn else seeds[:1])
    ]
    runs = [run if known[run.model].drawn else run._replace(seed=0) for run in runs]
    missing = [run for run in runs if not rows_of(rows, setting, run)]
    work = partial(
        run_task, known={name: known[name] for name in models}, limit=limit, data_home=data_home, arguments=arguments
    )
    rows = fill_in(out, rows, missing, work, kind=TaskRow, setting=setting, jobs=jobs, verbose=verbose)
    rows = in_order(rows)
    write_rows(out, rows, TaskRow)
    return [row for row in rows if row.setting == setting]


def evaluate_task(
    name: str,
    *,
    variants: Sequence[str] = ("mac",),
    seeds: Sequence[int] = (0,),
    max_minutes: float | None = None,
    verbose: int | None = 0,
    limit: int | None = None,
    data_home: str | Path | None = None,
    tell: Callable[[str, TitansForecaster], object] | None = None,
    **arguments: Any,
) -> list[TaskRow]:
    """Return the rows of the seasonal naive forecast, and of ours with each variant and seed, on one task.

    ``tell`` hears of every model of ours that was fitted.
    """
    ours = {
        OURS if variant == "mac" else f"{OURS}, {variant}": Model(
            partial(enter_ours, variant=variant, tell=tell), OWN, drawn=True, ours=True
        )
        for variant in variants
    }
    runs = [TaskRun(name, model, 0) for model in (NAIVE, POINT_NAIVE)]
    runs += [TaskRun(name, model, seed) for model in ours for seed in seeds]
    if max_minutes is not None:
        arguments = arguments | {"max_minutes": max_minutes}
    known = MODELS | ours
    return [
        row
        for run in runs
        for row in run_task(run, known=known, limit=limit, data_home=data_home, arguments=arguments, verbose=verbose)
    ]


def run_task(
    run: TaskRun,
    *,
    known: dict[str, Model] = MODELS,
    limit: int | None = None,
    data_home: str | Path | None = None,
    arguments: dict[str, Any] | None = None,
    verbose: int | None = 0,
) -> list[TaskRow]:
    """Return the rows of one run."""
    task, model, arguments = TASKS[run.task], known[run.model], arguments or {}
    series = load_task(run.task, data_home=data_home)
    if limit is not None and task.group == "panels":
        series = [series[k * (len(series) - 1) // max(limit - 1, 1)] for k in range(min(limit, len(series)))]
    elif limit is not None:
        task = replace(task, windows=min(limit, task.windows))
    more = arguments | {"verbose": verbose} if model.ours else {}
    entries = model.enter(task, series, run.seed, **more)
    came, past = truths(task, series), known_rows(task, series)
    rows = []
    for entry in entries:
        windows = [
            score_window(came[w], forecast, [each[w] for each in past], task.season, least_size=task.least_size)
            for w, forecast in enumerate(entry.forecasts)
        ]
        figures: dict[str, Any] = asdict(TaskScores.mean(windows)) | {
            "fit_seconds": entry.fit.seconds,
            "forecast_seconds": entry.forecast.seconds,
            "cpu_seconds": entry.fit.cpu_seconds + entry.forecast.cpu_seconds,
        }
        figures = {name: float(f"{value:.6g}") for name, value in figures.items()}
        rows.append(
            TaskRow(
                *(setting_of(limit, arguments), *run, entry.history, len(series), task.windows, task.horizon),
                **figures,
                made_by=model.made_by,
            )
        )
    return rows


def known_rows(task: Task, series: list[TaskSeries]) -> list[list[np.ndarray]]:
    """Return, of each series, the rows (t, c) known in each window."""
    return [[each.values[:origin] for origin in task.origins(len(each.values))] for each in series]


def truths(task: Task, series: list[TaskSeries]) -> list[np.ndarray]:
    """Return what came in each window, (n, h, c)."""
    places = [task.origins(len(each.values)) for each in series]
    return [
        np.stack([each.values[at[w] : at[w] + task.horizon] for each, at in zip(series, places, strict=True)])
        for w in range(task.windows)
    ]


def setting_of(limit: int | None, arguments: dict[str, Any]) -> str:
    """Return the setting of rows: what was left out for a quick try, if anything."""
    asked = ({} if limit is None else {"limit": limit}) | arguments
    return ", ".join(f"{name}={value}" for name, value in asked.items()) or "standard"


def in_order(rows: Sequence[TaskRow]) -> list[TaskRow]:
    """Return rows by setting, task, model as each first came, and seed."""
    models = list(dict.fromkeys(row.model for row in rows))
    tasks = list(TASKS)
    return sorted(
        rows, key=lambda row: (row.setting, tasks.index(row.task), models.index(row.model), row.seed, row.history != ALL)
    )


def _forecast_of(answer: Any, ids: Sequence[str], columns: Sequence[str]) -> TaskForecast:
    """Return the forecast that a long frame holds, series in the order of ``ids``."""
    parts = dict(list(answer.groupby("unique_id", sort=False)))
    ends = ["", *(f"-q-{100 * share:g}" for share in ASKED)]
    names = [column + end for column in columns for end in ends]
    values = np.stack([parts[name][names].to_numpy() for name in ids])  # n h c*(1+q)
    values = values.reshape(*values.shape[:2], len(columns), len(ends))
    return TaskForecast(values[..., 0], values[..., 1:])


def _cpu_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)
