"""How far forecasts are from what came: errors, errors beside a naive forecast's, and how good quantiles are.

What came may be missing, and is left out then; a forecast may not. What cannot be said is NaN, as an error in units of a
history that never changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def mean_squared_error(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean of the squared errors; a missing truth is left out, a missing forecast refused."""
    truth, found = _observed(y_true, y_pred=y_pred)
    return float(np.mean((truth - found) ** 2))


def mean_absolute_error(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean of the absolute errors; a missing truth is left out, a missing forecast refused."""
    truth, found = _observed(y_true, y_pred=y_pred)
    return float(np.mean(np.abs(truth - found)))


def symmetric_percentage_error(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean of ``|y - f| / (|y| + |f|)``, 0 where both are 0: from 0 to 1. The M4 competition took 200 times that.

    Source: Makridakis, Accuracy measures: theoretical and practical concerns, International Journal of Forecasting 9 (1993).
    """
    truth, found = _observed(y_true, y_pred=y_pred)
    size = np.abs(truth) + np.abs(found)
    return float(np.mean(np.divide(np.abs(truth - found), size, out=np.zeros_like(size), where=size > 0)))


def interval_coverage(y_true: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> float:
    """Return the share of what came that lies inside its interval, ends included: 0.8 for a good one of 80 %."""
    truth, low, high = _observed(y_true, lower=lower, upper=upper)
    if (crossed := int(np.sum(low > high))) > 0:
        raise ValueError(f"lower is above upper in {crossed} of {low.size} intervals; were they swapped?")
    return float(np.mean((low <= truth) & (truth <= high)))


def quantile_loss(y_true: ArrayLike, y_pred: ArrayLike, share: float) -> float:
    """Return the mean pinball loss of the quantile of a share.

    Source: Koenker and Bassett, Regression Quantiles, Econometrica 46 (1978).
    """
    truth, found = _observed(y_true, y_pred=y_pred)
    return float(np.mean(np.maximum(share * (truth - found), (share - 1) * (truth - found))))


def crps(y_true: ArrayLike, quantiles: ArrayLike, shares: Sequence[float]) -> float:
    """Return the continuous ranked probability score, in units of y, of quantiles ``(..., q)`` at increasing ``shares``.

    It is twice the pinball loss, integrated over all shares from 0 to 1: each quantile stands for the shares nearer to it
    than to another. Evenly spread shares 1/2n, 3/2n, ... give twice the mean loss.

    Source: Gneiting and Ranjan, Journal of Business and Economic Statistics 29 (2011), 10.1198/jbes.2010.08110.

    >>> crps([1.0, 3.0], [[2.0], [2.0]], [0.5])
    1.0
    """
    values = np.asarray(quantiles, dtype=np.float64)
    edges = np.concatenate([[0.0], (np.asarray(shares[:-1]) + np.asarray(shares[1:])) / 2, [1.0]])
    losses = [quantile_loss(y_true, values[..., j], share) for j, share in enumerate(shares)]
    return float(2 * np.dot(np.diff(edges), losses))


def naive_errors(history: np.ndarray, season: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean absolute and the root mean squared error, ``(c,)`` each, of repeating the row one season before.

    ``history`` is ``(t, c)``; NaN where fewer rows than a season were observed.

    Source: Hyndman and Koehler, Another look at measures of forecast accuracy, Int. Journal of Forecasting 22 (2006).

    >>> naive_errors(np.array([[1.0], [2.0], [4.0], [np.nan]]))
    (array([1.5]), array([1.58113883]))
    """
    steps = np.abs(history[season:] - history[:-season])
    count = np.isfinite(steps).sum(0)
    sums = np.nansum(steps, axis=0), np.nansum(steps**2, axis=0)
    absolute, squared = (np.where(count > 0, total / np.maximum(count, 1), np.nan) for total in sums)
    return absolute, np.sqrt(squared)


def scaled(error: float, unit: float) -> float:
    """Return an error in a unit that must be above 0, NaN otherwise."""
    return error / unit if unit > 0 else np.nan


def _observed(y_true: ArrayLike, **others: ArrayLike) -> list[NDArray[np.float64]]:
    """Return the truth and the other arrays as flat arrays, where the truth is known."""
    truth = np.asarray(y_true, dtype=np.float64)
    known = ~np.isnan(truth)
    if not known.any():
        raise ValueError(f"y_true of shape {truth.shape} holds no observed value; there is nothing to score")
    kept = [truth[known]]
    for name, values in others.items():
        array = np.asarray(values, dtype=np.float64)
        if array.shape != truth.shape:
            raise ValueError(f"{name} has shape {array.shape}, y_true {truth.shape}; they must be the same")
        if (missing := int(np.isnan(array[known]).sum())) > 0:
            raise ValueError(f"{name} is NaN at {missing} of {known.sum()} observed points; forecast them or leave them out")
        kept.append(array[known])
    return kept
