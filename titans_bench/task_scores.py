"""How good forecasts of a task are, as fev-bench measures it, and the seasonal naive forecast beside which they stand.

Errors are scaled by the mean absolute seasonal difference of the rows known in that window. Where that is 0, or nothing can
be said, a series is left out of the mean. Means are over series and steps, then over columns, then over windows.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.stats import norm

LEVELS = tuple(round(0.1 * k, 1) for k in range(1, 10))
"""Shares whose quantiles are scored."""
ASKED = (0.025, *LEVELS, 0.975)
"""Shares that are asked for: the outermost two are the ends of the interval of 95 %."""


@dataclass(frozen=True)
class TaskForecast:
    """A forecast of one window: a point, which is the median, and the quantiles of `ASKED`; NaN where a model has none."""

    point: np.ndarray  # (n, h, c)
    quantiles: np.ndarray  # (n, h, c, q)


@dataclass(frozen=True)
class TaskScores:
    """Errors, each less is better, and which share of what came lay in the intervals of 80 and 95 %."""

    mase: float
    sql: float  # mean of twice the pinball loss over the scale; nearly a scaled CRPS
    wql: float  # the same loss over the mean size of what came
    coverage_80: float
    coverage_95: float

    @classmethod
    def mean(cls, scores: Sequence[TaskScores]) -> TaskScores:
        """Return the mean over windows."""
        return cls(*(float(np.mean([getattr(score, field.name) for score in scores])) for field in fields(cls)))


def score_window(
    truth: np.ndarray, forecast: TaskForecast, past: Sequence[np.ndarray], season: int, *, least_size: float = 0.0
) -> TaskScores:
    """Return the scores of one window: ``truth`` is ``(n, h, c)``, ``past`` the known rows ``(t, c)`` of each series.

    What WQL divides by, the mean size of what came in a column, is no less than ``least_size``.
    """
    point, quantiles = forecast.point, forecast.quantiles
    if point.shape != truth.shape or quantiles.shape != (*truth.shape, len(ASKED)):
        raise ValueError(f"a forecast is {point.shape} and {quantiles.shape}, what came {truth.shape}")
    if np.isnan(point[~np.isnan(truth)]).any():
        raise ValueError("a point forecast is missing")
    scales = np.stack([_seasonal_error(rows, season) for rows in past])[:, None]  # n 1 c
    scored = quantiles[..., 1:-1]
    came = truth[..., None]
    loss = 2 * np.abs((came - scored) * ((came <= scored) - np.array(LEVELS)))  # n h c q
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing is NaN
        mase = _finite_mean(np.abs(truth - point) / scales).mean()
        sql = _finite_mean(loss / scales[..., None]).mean()
        size = np.maximum(np.nanmean(np.abs(truth), axis=(0, 1)), least_size)  # c
        wql = (np.nanmean(loss, axis=(0, 1)) / size[:, None]).mean()
    return TaskScores(
        *(float(mase), float(sql), float(wql)),
        *(_coverage(truth, quantiles[..., low], quantiles[..., -1 - low]) for low in (1, 0)),
    )


def seasonal_naive(
    past: Sequence[np.ndarray], horizon: int, season: int, *, rows: int | None = None, spread: bool = True
) -> TaskForecast:
    """Return the last season again, with normal quantiles that widen by the root of the seasons ahead.

    It is that of statsforecast: the spread is the root mean square of the seasonal differences, no degree of freedom taken
    off, here of the last ``rows`` only. Without ``spread`` all quantiles are the point, as in the panels' published figures.

    >>> found = seasonal_naive([np.array([[1.0], [3.0], [2.0], [4.0]])], 3, 2)
    >>> found.point[0, :, 0], (found.quantiles[0, :, 0, -2] - found.point[0, :, 0]).round(2)
    (array([2., 4., 2.]), array([1.28, 1.28, 1.81]))
    """
    ahead = np.arange(horizon)
    points, sizes = [], []
    for known in past:
        known = known if rows is None else known[-rows:]
        points.append(known[len(known) - season + ahead % season])
        sizes.append(np.sqrt(np.nanmean((known[season:] - known[:-season]) ** 2, axis=0)))
    point = np.stack(points)
    width = np.stack(sizes)[:, None] * np.sqrt(ahead // season + 1)[:, None] * spread  # n h c
    return TaskForecast(point, point[..., None] + width[..., None] * norm.ppf(ASKED))


def _seasonal_error(rows: np.ndarray, season: int) -> np.ndarray:
    """Return the mean absolute seasonal difference of known rows (t, c) as (c,); NaN where there is none."""
    differences = np.abs(rows[season:] - rows[:-season])
    counts = (~np.isnan(differences)).sum(axis=0)
    return np.where(counts > 0, np.nansum(differences, axis=0) / np.maximum(counts, 1), np.nan)


def _finite_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over series and steps, the first two axes, of what is finite."""
    return np.nanmean(np.where(np.isfinite(values), values, np.nan), axis=(0, 1))


def _coverage(truth: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Return the share of what came that lies in its interval; NaN where a model has no interval."""
    seen = ~np.isnan(truth)
    return float(((low <= truth) & (truth <= high))[seen].mean()) if not np.isnan(low[seen]).any() else float("nan")
