"""Other packages on the tasks of public tables, in one process with ours: the same windows, scores and file of rows.

``python benchmarks/peers.py --out benchmarks/tasks.csv`` (statsforecast, mlforecast and lightgbm: ``make test-extras`` makes
an environment with them). Each may use ``--processes`` processes or threads. What is compiled, loaded or imported at a first
call is so before the clock starts, by a panel of four short series.

statsforecast: one model a series and window, as in the published rows of the last 1,000 rows of long series; where a model
fails, the seasonal naive forecast stands in. LightGBM: one model for all series of a task, fitted before the first window,
on seasonal differences that are scaled in each series, absolute error, lags up to two seasons, all else the package's; it
has a point only, which stands for all quantiles.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from titans_bench.contest import MODELS, NAIVE, OURS, POINT_NAIVE, Entry, Model, Spent, bench_tasks, enter_ours
from titans_bench.tables import panels_table, rolling_table
from titans_bench.task_scores import ASKED, TaskForecast
from titans_bench.tasks import TASKS, Task, TaskSeries

LONGEST = 1000  # rows of a series that the published rows of statsforecast see
STATISTICAL = ("SeasonalNaive", "AutoETS", "AutoTheta")


def long_frame(task: Task, series: Sequence[TaskSeries], window: int, rows: int | None = None) -> pd.DataFrame:
    """Return what is known in a window, each column a series of its own."""
    parts = []
    for each in series:
        origin = task.origins(len(each.values))[window]
        some = slice(0 if rows is None else max(origin - rows, 0), origin)
        for place in range(len(each.columns)):
            part = pd.DataFrame({"ds": each.stamps[some], "y": each.values[some, place]})
            parts.append(part.assign(unique_id=f"{each.id} {place:03d}")[["unique_id", "ds", "y"]])
    return pd.concat(parts, ignore_index=True)


def in_windows(found: pd.DataFrame, columns: Sequence[str], series: Sequence[TaskSeries], horizon: int) -> np.ndarray:
    """Return columns of a long forecast (n, h, c, columns), series in the order of the task's."""
    parts = dict(list(found.groupby("unique_id", sort=False)))
    values = [
        [parts[f"{each.id} {place:03d}"][list(columns)].to_numpy() for place in range(len(each.columns))] for each in series
    ]
    return np.asarray(values, dtype=np.float64).transpose(0, 2, 1, 3)


def warm_up(task: Task) -> tuple[Task, list[TaskSeries]]:
    """Return a short task of the same horizon, season and frequency."""
    rows = 3 * task.repeated + task.horizon + 12
    stamps = pd.date_range("2000-01-01", periods=rows, freq=task.frequency).to_numpy()
    chance = np.random.default_rng(0)
    wave = 10 + np.sin(2 * np.pi * np.arange(rows) / max(task.repeated, 2))
    values = [wave[:, None] + 0.1 * chance.standard_normal((rows, 1)) for _ in range(4)]
    return replace(task, windows=1), [TaskSeries(f"s{k}", stamps, value, ("y",)) for k, value in enumerate(values)]


def enter_statistical(task: Task, series: list[TaskSeries], seed: int, *, name: str, processes: int) -> list[Entry]:
    """Enter a model of statsforecast."""
    from statsforecast import StatsForecast, models

    ends = {share: round(200 * abs(share - 0.5)) for share in ASKED}  # 0 in the middle: the point itself
    levels = sorted({end for end in ends.values() if end})
    names = [f"{name}-{'lo' if share < 0.5 else 'hi'}-{end}" if end else name for share, end in ends.items()]

    def forecasts(task: Task, series: list[TaskSeries], window: int) -> np.ndarray:
        frame = long_frame(task, series, window, LONGEST if task.group == "rolling" else None)
        frame["y"] = frame.groupby("unique_id", sort=False)["y"].ffill()
        contest = StatsForecast(
            models=[getattr(models, name)(season_length=task.repeated)],
            freq=task.frequency,
            fallback_model=models.SeasonalNaive(season_length=task.repeated),
            n_jobs=processes,
        )
        found = contest.forecast(df=frame, h=task.horizon, level=levels)
        return in_windows(found, [name, *names], series, task.horizon)

    short = warm_up(task)
    forecasts(*short, 0)
    entry = Entry([])
    for window in range(task.windows):
        with entry.forecast.counting():
            found = forecasts(task, series, window)
        point = found[..., 0]
        quantiles = np.where(np.isnan(found[..., 1:]), point[..., None], found[..., 1:])
        entry.forecasts.append(TaskForecast(point, quantiles))
    return [entry]


def lags_of(task: Task, shortest: int) -> list[int]:
    """Return how far apart from its target what LightGBM sees may lie: in all series there is enough before it."""
    season = task.repeated
    near = range(1, min(season, 24) + 2 if season > 1 else 4)
    lags = {*near, season - 1, season, season + 1, 2 * season}
    return sorted(lag for lag in lags if 1 <= lag <= max(shortest - season - 3, 1))


def enter_lightgbm(task: Task, series: list[TaskSeries], seed: int, *, processes: int) -> list[Entry]:
    """Enter LightGBM, on lags made by mlforecast."""
    from lightgbm import LGBMRegressor
    from mlforecast import MLForecast
    from mlforecast.target_transforms import Differences, LocalStandardScaler

    def fitted(task: Task, series: list[TaskSeries]) -> Any:
        shortest = min(task.origins(len(each.values))[0] for each in series)
        model = LGBMRegressor(objective="l1", random_state=seed, n_jobs=processes, verbosity=-1)
        forecaster = MLForecast(
            models={"lightgbm": model},
            freq=task.frequency,
            lags=lags_of(task, shortest),
            target_transforms=[Differences([task.repeated]), LocalStandardScaler()],
            num_threads=processes,
        )
        return forecaster.fit(long_frame(task, series, 0), static_features=[])

    short = warm_up(task)
    fitted(*short).predict(task.horizon)
    fit, entry = Spent(), Entry([])
    with fit.counting():
        forecaster = fitted(task, series)
    for window in range(task.windows):
        with entry.forecast.counting():
            known = long_frame(task, series, window) if window else None
            found = forecaster.predict(task.horizon, new_df=known)
        point = in_windows(found, ["lightgbm"], series, task.horizon)[..., 0]
        entry.forecasts.append(TaskForecast(point, np.repeat(point[..., None], len(ASKED), axis=-1)))
    return [replace(entry, fit=fit)]


def enter_ours_warm(task: Task, series: list[TaskSeries], seed: int, *, processes: int, **arguments: Any) -> list[Entry]:
    """Enter our forecaster; what torch loads at a first call is loaded before."""
    short = warm_up(task)
    enter_ours(*short, seed, max_minutes=0, **arguments | {"max_steps": 1})
    return enter_ours(task, series, seed, n_jobs=processes, **arguments)


def peers(processes: int) -> dict[str, Model]:
    """Return all models by name, each with so many processes or threads."""
    statsforecast = f"statsforecast {version('statsforecast')}"
    boosted = f"mlforecast {version('mlforecast')}, lightgbm {version('lightgbm')}"
    return (
        MODELS
        | {OURS: MODELS[OURS]._replace(enter=partial(enter_ours_warm, processes=processes))}
        | {name: Model(partial(enter_statistical, name=name, processes=processes), statsforecast) for name in STATISTICAL}
        | {"LightGBM": Model(partial(enter_lightgbm, processes=processes), boosted)}
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["panels", "rolling"], help="panels, rolling, " + ", ".join(TASKS))
    models = (NAIVE, POINT_NAIVE, *STATISTICAL, "LightGBM", OURS)
    parser.add_argument("--models", nargs="+", default=models, help=", ".join(models))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--limit", type=int, help="series of a panel, windows of other tasks: a quick try")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("tasks.csv"))
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.processes)
    warnings.simplefilter("ignore", FutureWarning)
    rows = bench_tasks(
        arguments.out,
        tasks=arguments.tasks,
        models=arguments.models,
        known=peers(arguments.processes),
        seeds=arguments.seeds,
        limit=arguments.limit,
    )
    for group, table in (("panels", panels_table), ("rolling", rolling_table)):
        if any(TASKS[row.task].group == group for row in rows):
            print(f"{table(rows)}\n")
    print(f"rows: {arguments.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
