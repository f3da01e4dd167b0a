"""Scores of rolling-origin forecasts, a row a series and channel."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from titans_ts.data.containers import build_frame, id_column
from titans_ts.data.metrics import interval_coverage, mean_absolute_error, mean_squared_error
from titans_ts.data.outputs import Backtest, backtest_ids, target_names
from titans_ts.data.panel import Layout


def backtest_metrics(layout: Layout, results: Mapping[Hashable, Backtest], naive: Mapping[Hashable, np.ndarray]) -> Any:
    """Return the scores of rolling-origin forecasts.

    Parameters
    ----------
    layout : Layout
        Of the container that came in; its backend is used (pandas for arrays).
    results : mapping of id to Backtest
        As for :func:`titans_ts.data.outputs.backtest_frame`.
    naive : mapping of id to ndarray (c,)
        Mean absolute error of repeating the last value one row ahead, before the first origin: what MASE divides by.

    Returns
    -------
    frame
        ``unique_id, windows, mse, mae, mase`` and ``coverage-80`` for each level; NaN where nothing was observed.

    Examples
    --------
    >>> result = Backtest(np.array([9, 19]), np.ones((2, 3, 1)), np.zeros((2, 3, 1)))
    >>> backtest_metrics(Layout("array", "numpy", (0,)), {None: result}, {None: np.array([0.5])})["mase"].tolist()
    [2.0]
    """
    keys, plain = backtest_ids(layout, list(results), target_names(layout))
    rows: list[dict[str, float]] = []
    for name, part in results.items():
        for channel in range(part.forecast.shape[2]):
            actual, found = part.actual[..., channel], part.forecast[..., channel]
            seen = bool(np.isfinite(actual).any())
            mae = mean_absolute_error(actual, found) if seen else np.nan
            scale = naive[name][channel]
            row = {
                "windows": len(part.cutoffs),
                "mse": mean_squared_error(actual, found) if seen else np.nan,
                "mae": mae,
                "mase": mae / scale if scale > 0 else np.nan,
            }
            for level, (low, high) in part.bounds.items():
                covered = interval_coverage(actual, low[..., channel], high[..., channel]) if seen else np.nan
                row[f"coverage-{level:g}"] = covered
            rows.append(row)
    columns: dict[Any, Any] = {"unique_id": id_column(plain, keys, np.ones(len(keys), dtype=np.int64))}
    columns |= {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return build_frame(layout, columns)
