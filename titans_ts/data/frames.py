"""Containers in: arrays, lists of arrays and frames of pandas, polars and pyarrow become a `Panel`.

>>> import pandas as pd
>>> days = pd.date_range("2024-01-01", periods=3, freq="D")
>>> panel = read_panel(pd.DataFrame({"unique_id": "well", "ds": days, "y": [1.0, 2.0, 4.0]}))
>>> panel["well"].values[:, 0].tolist(), panel.layout.frequency
([1.0, 2.0, 4.0], 'D')
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from titans_ts.data.array_tables import read_array_table
from titans_ts.data.calendar_axis import Clock
from titans_ts.data.columns import Request, column_names
from titans_ts.data.frame_tables import is_frame, read_frame_table
from titans_ts.data.panel import Column, Layout, Panel, Series
from titans_ts.data.regular import continue_from, regularise
from titans_ts.data.table import Table

Columns = Column | Sequence[Column] | None


def read_panel(
    X: Any,
    *,
    id_column: str = "unique_id",
    time_column: str = "ds",
    target_columns: Columns = None,
    past_covariates: Columns = (),
    future_covariates: Columns = (),
    static_covariates: Columns = (),
    freq: Any = None,
    like: Layout | None = None,
    follow: Mapping[Hashable, Any] | None = None,
    require_observed: bool = False,
) -> Panel:
    """Read and check a container of series.

    What X may be: an array (t,) or (t, c), or nested lists of numbers that make one; a list of arrays, one a series; a
    wide frame with a column a channel (or a Series); a long frame with an id column. Frames are of pandas, polars or
    pyarrow; their time stamps are a column, or a pandas index. The time axis becomes regular: rows missing in it are
    made, hold NaN and are counted in a warning.

    Parameters
    ----------
    X : array-like, list of arrays, or frame
        The series.
    id_column, time_column : str
        A frame with `id_column` is long. A frame without "ds" and without a date index has no time axis.
    target_columns : str, int, sequence or None
        Columns to forecast (indices for arrays); None takes all numeric columns that have no other role, but in a long
        frame with a column "y" that alone.
    past_covariates, future_covariates, static_covariates : str, int or sequence
        Covariate columns: known up to now (NaN allowed), known in advance, constant within a series.
    freq : str, int, pandas offset or None
        Step of the time axis; None takes that of `like` or the most common step. Not used without time stamps.
    like : Layout or None
        Layout seen at fit: X must have its columns, in any order, and the kind of its time stamps. The column arguments
        are then not used. Another kind of container is fine as long as the columns agree (arrays: their number).
    follow : mapping of id to time stamp, or None
        For an update: the last time stamp absorbed of each series. Rows must come after it; a gap is filled. X must
        then address the series as at fit: one series, a list, or ids. Arrays are taken to come right after it.
    require_observed : bool
        Whether to refuse a series with a target that is missing in every row.

    Returns
    -------
    Panel
        Series in order of first appearance, and the layout of X.

    Raises
    ------
    TypeError, ValueError
        X cannot be read, by name: argument, row (counted from 0 as X is given), column, id, and what to do.

    Examples
    --------
    >>> panel = read_panel([np.arange(3.0), np.arange(5.0)])
    >>> [len(series) for series in panel], panel.layout.kind
    ([3, 5], 'list')
    """
    request = Request(
        id_column if like is None or like.id_column is None else like.id_column,
        time_column if like is None or like.time_in_index or like.time_column is None else like.time_column,
        None if target_columns is None else column_names(target_columns, "target_columns"),
        column_names(past_covariates, "past_covariates"),
        column_names(future_covariates, "future_covariates"),
        column_names(static_covariates, "static_covariates"),
    )
    table = _take_apart(X, request, like)
    _check_values(table)
    if like is not None:
        table = _match(table, like, follow)
        freq = like.frequency if freq is None and table.layout.integer_times == like.integer_times else freq
    table = regularise(table, freq, follow if like is None or like.has_times else None)
    if require_observed:
        _refuse_unobserved(table)
    return Panel(tuple(_split(table)), table.layout, table.index)


def _take_apart(X: Any, request: Request, like: Layout | None) -> Table:
    return read_frame_table(X, request, like) if is_frame(X) else read_array_table(X, request, like)


def _check_values(table: Table) -> None:
    """Refuse infinite values, unknown future and static covariates, and static covariates that vary."""
    layout = table.layout
    parts = (
        (table.values, layout.target_columns, "target", False),
        (table.past, layout.past_columns, "past covariate", False),
        (table.future, layout.future_columns, "future covariate", True),
        (table.static, layout.static_columns, "static covariate", True),
    )
    for matrix, columns, role, must_be_known in parts:
        place = _first(np.isinf(matrix))
        if place is not None:
            k, j = place
            raise ValueError(
                f"X has {matrix[k, j]} in {table.where(k)}, column {columns[j]!r}; expected a finite number, "
                "or NaN if missing"
            )
        place = _first(np.isnan(matrix)) if must_be_known else None
        if place is not None:
            k, j = place
            raise ValueError(f"X has NaN in {table.where(k)}, column {columns[j]!r}; a {role} must be known: fill it in")
    if table.static.shape[1]:
        place = _first(table.static != table.static[table.spread(table.bounds[:-1])])
        if place is not None:
            k, j = place
            raise ValueError(
                f"X: the static covariate {layout.static_columns[j]!r} changes to {table.static[k, j]:g} in "
                f"{table.where(k)}; it must be constant within a series, or be a past or future covariate"
            )


def _first(mask: np.ndarray) -> tuple[int, int] | None:
    """Return row and column of the first True of a (r, c) mask, or None."""
    if not mask.any():
        return None
    k, j = np.unravel_index(int(mask.argmax()), mask.shape)
    return int(k), int(j)


def _match(table: Table, like: Layout, follow: Mapping[Hashable, Any] | None) -> Table:
    """Hold the table to the ids and the kind of time stamps seen at fit."""
    layout = table.layout
    if follow is not None and (layout.is_single, layout.kind == "list") != (like.is_single, like.kind == "list"):
        want = {"list": "a list of arrays", "long": f"a long frame with the ids in {like.id_column!r}"}
        raise ValueError(
            f"X is of kind {layout.kind!r}, but the model was fitted on kind {like.kind!r}: it is not clear which "
            f"series the rows belong to; pass {want.get(like.kind, 'one array or a wide frame')}"
        )
    if layout.backend == "numpy":
        if like.has_times and follow:
            if like.frequency is None:
                raise ValueError("X carries no time stamps and freq=None is unknown; fit with freq=..., or pass a frame")
            return continue_from(table, Clock(like.frequency, like.time_zone), follow)
        return table
    if like.has_times and not layout.has_times:
        name = "its index" if like.time_in_index else f"column {like.time_column!r}"
        raise ValueError(f"X has no time stamps, but the model was fitted with time stamps in {name}; add them to X")
    if layout.has_times and not like.has_times:
        if follow is not None:
            raise ValueError(
                f"X has time stamps ({layout.time_dtype}), but the model was fitted without; pass rows without them"
            )
        return table
    if layout.has_times and (layout.integer_times, layout.time_zone) != (like.integer_times, like.time_zone):
        raise ValueError(
            f"X has time stamps of {layout.time_dtype} in time zone {layout.time_zone}, but the model was fitted on "
            f"{like.time_dtype} in time zone {like.time_zone}; convert X to that"
        )
    return table


def _refuse_unobserved(table: Table) -> None:
    seen = np.logical_or.reduceat(~np.isnan(table.values), table.bounds[:-1], axis=0)
    place = _first(~seen)
    if place is not None:
        i, j = place
        raise ValueError(
            f"X: column {table.layout.target_columns[j]!r}{table.whose(i)} has no observed value in any of its "
            f"{table.lengths[i]} rows; drop it, or name the columns to forecast in target_columns"
        )


def _split(table: Table) -> list[Series]:
    edges = table.bounds.tolist()
    return [
        Series(
            id_,
            table.values[a:b],
            None if table.times is None else table.times[a:b],
            table.past[a:b],
            table.future[a:b],
            table.static[a],
            None if table.given is None or table.given[a:b].all() else table.given[a:b],
        )
        for id_, a, b in zip(table.ids, edges[:-1], edges[1:], strict=True)
    ]
