"""From checked series to tensors: what is learned from the training rows before any network is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from titans_ts.data.calendar_axis import to_wall
from titans_ts.data.panel import Panel, Series
from titans_ts.inputs.calendar import CYCLES, calendar_cycles, calendar_features, feature_count
from titans_ts.inputs.series import FARTHEST, Scale, long_run_scale
from titans_ts.origins import SeriesTensors

TIMES_SEEN = 1.99
"""Times that training must have seen a cycle of the calendar before the place in it is a feature: two calendar years are a
little less than two of the sun's."""


@dataclass(frozen=True)
class Preparation:
    """Calendar cycles in use, and means and standard deviations of the covariates over the training rows.

    Attributes
    ----------
    cycles : tuple of str
        Names from :data:`titans_ts.inputs.calendar.CYCLES`.
    time_zone : str or None
        The clock that the calendar is read on.
    past, future, static : tuple of (mean, standard deviation)
        One pair a column.
    """

    cycles: tuple[str, ...]
    time_zone: str | None
    past: tuple[tuple[float, float], ...]
    future: tuple[tuple[float, float], ...]
    static: tuple[tuple[float, float], ...]

    @classmethod
    def learn(cls, panel: Panel, training_rows: Sequence[int]) -> Preparation:
        """Learn from the first rows of each series.

        A cycle counts only where training has seen it twice: from once, a season cannot be told from a trend.
        """
        parts = list(zip(panel, training_rows, strict=True))
        stamped = [one.times[:rows] for one, rows in parts if one.times is not None and rows > 1]
        cycles: tuple[str, ...] = ()
        if stamped and not panel.layout.integer_times:
            span = max(float((times[-1] - times[0]) / np.timedelta64(1, "s")) for times in stamped)
            step = min(float(np.median(np.diff(times) / np.timedelta64(1, "s"))) for times in stamped)
            cycles = tuple(name for name in calendar_cycles(step) if span >= TIMES_SEEN * CYCLES[name])
        return cls(
            cycles=cycles,
            time_zone=panel.layout.time_zone,
            past=_moments(np.concatenate([one.past[:rows] for one, rows in parts])),
            future=_moments(np.concatenate([one.future[:rows] for one, rows in parts])),
            static=_moments(np.stack([one.static for one in panel])),
        )

    @property
    def calendar(self) -> int:
        """Number of calendar features."""
        return feature_count(self.cycles)

    def tensors(self, series: Series, scale: Scale) -> SeriesTensors:
        """Return a series as a network reads it."""
        times = None if not self.cycles or series.times is None else to_wall(series.times, self.time_zone)
        return SeriesTensors(
            rows=torch.from_numpy(series.values.T.copy()),
            calendar=torch.from_numpy(self.calendar_features(times, len(series))),
            past=_standardised(series.past, self.past),
            future=self.future_tensor(series.future),
            static=self.static_tensor(series.static),
            scale=scale,
        )

    def calendar_features(self, wall_times: np.ndarray | None, rows: int) -> np.ndarray:
        """Return the calendar features of rows; zeros where a model with a calendar is given rows without stamps."""
        if wall_times is None and self.cycles:
            return np.zeros((rows, self.calendar), dtype=np.float32)
        return calendar_features(wall_times, self.cycles, rows)

    def future_tensor(self, future: np.ndarray) -> Tensor:
        """Return covariates known in advance, standardised, ``(t, q)``."""
        return _standardised(future, self.future)

    def static_tensor(self, static: np.ndarray) -> Tensor:
        """Return static covariates, standardised, ``(s,)``."""
        return _standardised(static[None], self.static)[0]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preparation:
        """Return what a model file holds."""
        pairs = {name: tuple((mean, spread) for mean, spread in values[name]) for name in ("past", "future", "static")}
        return cls(cycles=tuple(values["cycles"]), time_zone=values["time_zone"], **pairs)


def learn_scale(series: Series, rows: int) -> Scale:
    """Return the long-run scale of a series' first rows, ``(1, c)``."""
    return long_run_scale(torch.from_numpy(series.values[:rows].T.copy())[None])


def _moments(table: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Return mean and standard deviation of each column's observed entries; (0, 1) and spread 1 where there are none."""
    pairs = []
    for column in table.T:
        observed = column[~np.isnan(column)]
        mean = float(observed.mean()) if len(observed) else 0.0
        spread = float(observed.std()) if len(observed) else 1.0
        pairs.append((mean, spread if spread > 1e-12 * max(abs(mean), 1e-300) else 1.0))
    return tuple(pairs)


def _standardised(table: np.ndarray, moments: tuple[tuple[float, float], ...]) -> Tensor:
    mean, spread = np.array(moments, dtype=np.float64).reshape(-1, 2).T
    near = np.clip((table - mean) / spread, -FARTHEST, FARTHEST)
    return torch.from_numpy(near.astype(np.float32))
