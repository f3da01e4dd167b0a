"""The forecast that every other must beat: the last season once more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Errors = dict[int, tuple[float, float]]
"""Mean squared and absolute error by horizon."""


def seasonal_naive_errors(values: np.ndarray, period: int, *, start: int, horizons: Sequence[int]) -> Errors:
    """Return mean squared and absolute error of repeating the last season, over every origin from ``start``.

    Parameters
    ----------
    values : ndarray (t, c)
        The whole series. NaN in the truth is left out; where the last season has NaN, the season before it is repeated.
    period : int
        Rows of a season.
    start : int
        Rows before the first origin, a season or more.
    horizons : sequence of int
        Rows forecast; a horizon ``f`` has ``t - start - f + 1`` origins.

    Returns
    -------
    dict of int to (mse, mae)

    Examples
    --------
    >>> seasonal_naive_errors(np.array([[1.0], [2.0], [1.0], [3.0]]), 2, start=2, horizons=[2])
    {2: (0.5, 0.5)}
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
