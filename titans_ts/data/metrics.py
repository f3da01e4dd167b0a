"""How good a forecast is, counted over what was observed.

Values missing from the truth (NaN) are left out. A forecast that is missing where the truth is known is an error: a
score over fewer points than asked for flatters the forecaster.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def mean_squared_error(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean of the squared errors.

    Parameters
    ----------
    y_true : array-like, any shape, such as (f, c)
        What came; NaN is left out.
    y_pred : array-like, same shape
        What was forecast.

    Returns
    -------
    float
        In squared units of `y_true`; 0 is best.

    Raises
    ------
    ValueError
        If the shapes differ, nothing was observed, or a forecast is missing.

    Examples
    --------
    >>> mean_squared_error([1.0, float("nan"), 3.0], [1.0, 9.0, 1.0])
    2.0
    """
    y_true, y_pred = _observed(y_true, y_pred=y_pred)
    return float(np.mean((y_true - y_pred) ** 2))


def mean_absolute_error(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean of the absolute errors.

    Parameters, errors and missing values as in `mean_squared_error`.

    Returns
    -------
    float
        In units of `y_true`; 0 is best.

    Examples
    --------
    >>> mean_absolute_error([1.0, 3.0], [1.0, 1.0])
    1.0
    """
    y_true, y_pred = _observed(y_true, y_pred=y_pred)
    return float(np.mean(np.abs(y_true - y_pred)))


def mean_absolute_scaled_error(y_true: ArrayLike, y_pred: ArrayLike, y_train: ArrayLike, *, season_length: int = 1) -> float:
    """Return the absolute error as a multiple of the seasonal naive forecast's on the training part.

    Every column is scaled by its own naive error, then the columns are averaged, so that no unit outweighs another.

    Parameters
    ----------
    y_true : array-like, shape (f,) or (f, c)
        What came; NaN is left out.
    y_pred : array-like, same shape
        What was forecast.
    y_train : array-like, shape (t,) or (t, c)
        The training part, in time order; pairs with a NaN are left out.
    season_length : int, default=1
        Lag of the naive forecast, in steps; below t.

    Returns
    -------
    float
        Without a unit; below 1 beats the naive forecast.

    Raises
    ------
    ValueError
        As in `mean_squared_error`; or if a column of `y_train` never changes over a season, or is too short.

    Source
    ------
    Hyndman and Koehler (2006), Another look at measures of forecast accuracy.

    Examples
    --------
    >>> mean_absolute_scaled_error([4.0, 5.0], [4.0, 4.0], y_train=[0.0, 1.0, 2.0, 3.0])
    0.5
    """
    truth, forecast, train = (_columns(values) for values in (y_true, y_pred, y_train))
    if train.shape[1] != truth.shape[1]:
        raise ValueError(f"y_train has {train.shape[1]} columns and y_true {truth.shape[1]}; they must be the same")
    if not 1 <= season_length < len(train):
        raise ValueError(f"season_length={season_length!r} must lie in 1 .. {len(train) - 1}, the steps of y_train less 1")
    scaled = []
    for column in range(truth.shape[1]):
        steps = np.abs(train[season_length:, column] - train[:-season_length, column])
        steps = steps[~np.isnan(steps)]
        if not steps.any():
            raise ValueError(f"y_train column {column} is constant at season_length={season_length}, nothing to scale by")
        scaled.append(mean_absolute_error(truth[:, column], forecast[:, column]) / float(np.mean(steps)))
    return float(np.mean(scaled))


def pinball_loss(y_true: ArrayLike, y_pred: ArrayLike, *, quantile: float = 0.5) -> float:
    """Return the mean pinball loss of a forecast quantile.

    Parameters
    ----------
    y_true : array-like, any shape
        What came; NaN is left out.
    y_pred : array-like, same shape
        The forecast of the quantile.
    quantile : float, default=0.5
        In (0, 1); 0.5 gives half the mean absolute error.

    Returns
    -------
    float
        In units of `y_true`; 0 is best.

    Raises
    ------
    ValueError
        As in `mean_squared_error`; or if `quantile` is out of range.

    Examples
    --------
    >>> pinball_loss([10.0, 10.0], [8.0, 12.0], quantile=0.9)
    1.0
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile={quantile!r} must lie between 0 and 1, both excluded")
    y_true, y_pred = _observed(y_true, y_pred=y_pred)
    error = y_true - y_pred
    return float(np.mean(np.maximum(quantile * error, (quantile - 1) * error)))


def interval_coverage(y_true: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> float:
    """Return the share of what came that lies inside its interval, ends included.

    Parameters
    ----------
    y_true : array-like, any shape
        What came; NaN is left out.
    lower, upper : array-like, same shape
        Ends of the interval.

    Returns
    -------
    float
        In [0, 1]; an 80 % interval should give 0.8.

    Raises
    ------
    ValueError
        As in `mean_squared_error`; or if an interval's lower end is above its upper end.

    Examples
    --------
    >>> interval_coverage([1.0, 2.0, 3.0, 4.0], lower=[0, 0, 0, 0], upper=[3, 3, 3, 3])
    0.75
    """
    truth, low, high = _observed(y_true, lower=lower, upper=upper)
    if (crossed := int(np.sum(low > high))) > 0:
        raise ValueError(f"lower is above upper in {crossed} of {low.size} intervals; were they swapped?")
    return float(np.mean((low <= truth) & (truth <= high)))


def _columns(values: ArrayLike) -> NDArray[np.float64]:
    """Return (f,) or (f, c) values as (f, c)."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2):
        raise ValueError(f"expected shape (f,) or (f, c), got {array.shape}")
    return array[:, None] if array.ndim == 1 else array


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
