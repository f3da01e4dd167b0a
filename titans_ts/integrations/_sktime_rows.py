"""sktime's frames as rows that the forecaster reads, and what it answers as frames of sktime."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from titans_ts.frames.panel import Layout
from titans_ts.frames.write import build_frame


def rows_to_read(y: Any, X: Any) -> Any:
    """Return targets and covariates as one frame, wide, or long in a panel; rows of X alone are left out."""
    frame = renamed(y, "y")
    return keyed(frame if X is None else frame.join(renamed(X, "X")))


def renamed(frame: Any, letter: str) -> Any:
    """Return a frame whose columns are called ``y['load']``, ``X['price']``: texts that y, X and `keyed` cannot share."""
    return frame.set_axis([f"{letter}[{name!r}]" for name in frame.columns], axis="columns")


def keyed(frame: Any) -> Any:
    """Return a frame whose index has become columns: ``ds``, and in a panel ``unique_id``."""
    keys = {"ds": frame.index.get_level_values(-1)}
    if frame.index.nlevels > 1:
        keys["unique_id"] = series_ids(frame.index)
    return frame.reset_index(drop=True).assign(**keys)


def series_ids(index: Any) -> np.ndarray:
    """Return as text which series each row of a panel's index belongs to."""
    codes, keys = index.droplevel(-1).factorize()
    return np.array([key if isinstance(key, str) else repr(key) for key in keys], dtype=object)[codes]


def places(rows: Any) -> dict[Hashable, Any]:
    """Return where the rows of each series are; a single series is called None."""
    return rows.groupby("unique_id", sort=False).indices if "unique_id" in rows else {None: slice(None)}


def last_times(rows: Any) -> dict[Hashable, Any]:
    """Return the time stamp of the last row of each series."""
    return {name: rows["ds"].iloc[place].iloc[-1] for name, place in places(rows).items()}


def panel_ends(y: Any, *, before: Any = None) -> Any:
    """Return the last row of each series of a panel as an index, in the order of the panel; for a single series None.

    ``before`` is what was returned before an update: series that y is silent about stay as they were.
    """
    if y.index.nlevels == 1:
        return None
    ends = y.groupby(level=list(range(y.index.nlevels - 1)), sort=False).tail(1).index
    if before is None:
        return ends
    return before[~before.droplevel(-1).isin(ends.droplevel(-1))].append(ends).sort_values()


def step_of(cutoff: Any) -> str | int | None:
    """Return the step of the time axis that a cutoff lies on, as the forecaster takes it; periods say theirs themselves."""
    if not hasattr(cutoff, "freq"):
        return 1  # sktime counts whole numbers one by one
    return None if str(cutoff.dtype).startswith("period") else cutoff.freqstr


def answer_frame(values: np.ndarray, index: Any, columns: Any) -> Any:
    """Return values ``(r, ...)`` as a pandas frame of r rows."""
    flat = values.reshape(len(index), -1)
    layout = Layout("wide", "pandas", tuple(range(flat.shape[1])))
    return build_frame(layout, dict(enumerate(flat.T)), index).set_axis(columns, axis="columns")
