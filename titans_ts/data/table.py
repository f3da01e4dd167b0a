"""One container taken apart: rows grouped by series, columns by role, nothing judged yet."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from titans_ts.data.panel import Layout


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of all series, one series after the other.

    Attributes
    ----------
    layout : Layout
        Where they come from.
    ids : list
        One id a series.
    bounds : ndarray (n + 1,)
        Series i holds the rows ``bounds[i]:bounds[i + 1]``.
    values, past, future, static : ndarray (r, .), float64
        Columns by role.
    times : ndarray (r,) or None
        Time stamps.
    rows : ndarray (r,) or None
        Row numbers as the user counts them; None when a series' rows count from 0.
    given : ndarray (r,), bool, or None
        False in rows made to fill a gap.
    index : pandas.Index or None
        Index of a wide pandas frame.
    """

    layout: Layout
    ids: list[Hashable]
    bounds: np.ndarray
    values: np.ndarray
    past: np.ndarray
    future: np.ndarray
    static: np.ndarray
    times: np.ndarray | None = None
    rows: np.ndarray | None = None
    given: np.ndarray | None = None
    index: Any = None

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each series, (n,)."""
        return np.diff(self.bounds)

    def spread(self, per_series: np.ndarray) -> np.ndarray:
        """Repeat one value a series (n,) over its rows (r,)."""
        return np.repeat(per_series, self.lengths)

    def where(self, k: int) -> str:
        """Say where row `k` of the table is in the user's container."""
        i = int(np.searchsorted(self.bounds, k, side="right")) - 1
        row = int(k - self.bounds[i] if self.rows is None else self.rows[k])
        return f"row {row}{self.whose(i)}"

    def whose(self, i: int) -> str:
        """Name series `i`, for a message; empty for a single series."""
        if self.layout.is_single:
            return ""
        return f", {'item' if self.layout.kind == 'list' else 'id'} {self.ids[i]!r}"
