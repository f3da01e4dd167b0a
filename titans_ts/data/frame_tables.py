"""Frames of pandas, polars and pyarrow taken apart, through narwhals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from titans_ts.data.columns import Request, Roles, fitted_frame_roles, frame_roles
from titans_ts.data.panel import Column, Layout
from titans_ts.data.stamps import Stamps, index_stamps, read_stamps
from titans_ts.data.table import Table

_NUMBERS = {
    "decimal",
    "floating",
    "integer",
    "boolean",
    "mixed-integer-float",
    "empty",
}  # what pandas infers for objects


def is_frame(X: Any) -> bool:
    """Say whether X is a frame or series that narwhals knows; a lazy frame is refused.

    Examples
    --------
    >>> import pandas as pd
    >>> is_frame(pd.Series([1.0])), is_frame([1.0])
    (True, False)
    """
    if isinstance(X, (np.ndarray, list, tuple)):
        return False
    import narwhals as nw

    if hasattr(type(X), "collect") and hasattr(type(X), "columns"):
        raise TypeError(f"X is a lazy {type(X).__name__}; pass X.collect()")
    return nw.dependencies.is_into_dataframe(X) or nw.dependencies.is_into_series(X)


def read_frame_table(X: Any, request: Request, like: Layout | None, *, target: bool = True) -> Table:
    """Take a frame apart: wide, or long when it has the id column.

    Parameters
    ----------
    X : pandas, polars or pyarrow frame or series
        What the user handed over.
    request : Request
        Column names asked for.
    like : Layout or None
        The layout seen at fit, whose columns X must have.
    target : bool
        False to read the covariates of `request` alone.

    Returns
    -------
    Table

    Raises
    ------
    TypeError, ValueError
        X has no rows, its columns are not those expected, or its ids or time stamps cannot be read.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": ["a", "b", "a"], "y": [1.0, 2.0, 3.0]})
    >>> table = read_frame_table(frame, Request("unique_id", "ds", None, (), (), ()), None)
    >>> table.ids, table.values[:, 0].tolist(), table.where(1)
    (['a', 'b'], [1.0, 3.0, 2.0], "row 2, id 'a'")
    """
    frame, was_1d, backend = _open(X)
    columns = list(frame.columns)
    if len(frame) == 0:
        raise ValueError(f"X is empty: 0 sample(s) (shape={(0, len(columns))}) while a minimum of 1 is required.")
    index: Any = frame.to_native().index if backend == "pandas" else None
    long = request.id_column in columns
    stamps, in_index = _find_stamps(frame, columns, index, request)
    reserved = {request.id_column} if long else set()
    reserved |= {request.time_column} if stamps is not None and not in_index else set()
    is_numeric = partial(_is_numeric, frame)
    if like is None:
        roles = frame_roles(columns, reserved, is_numeric, request, long, target=target)
    else:
        roles = fitted_frame_roles(columns, reserved, is_numeric, request, like)
    layout = _layout("long" if long else "wide", backend, frame, roles, was_1d)
    if stamps is not None:
        layout = replace(
            layout,
            time_column=index.name if in_index else request.time_column,
            time_in_index=in_index,
            time_dtype=stamps.dtype,
            time_zone=stamps.zone,
            frequency=stamps.frequency,
        )
    table = Table(
        layout=layout,
        ids=[None],
        bounds=np.array([0, len(frame)]),
        values=_matrix(frame, roles.target),
        past=_matrix(frame, roles.past),
        future=_matrix(frame, roles.future),
        static=_matrix(frame, roles.static),
        times=None if stamps is None else stamps.times,
        index=None if long else index,
    )
    return _group_by_id(table, frame.get_column(request.id_column)) if long else table


def _layout(kind: Any, backend: Any, frame: Any, roles: Roles, was_1d: bool) -> Layout:
    import narwhals as nw

    single = roles.target and all(frame.get_column(name).dtype == nw.Float32 for name in roles.target)
    columns = (roles.target, roles.past, roles.future, roles.static, roles.ignored)
    return Layout(kind, backend, *columns, value_dtype="float32" if single else "float64", was_1d=was_1d)


def _open(X: Any) -> tuple[Any, bool, Any]:
    """Return the narwhals frame, whether it was a Series, and the backend's name."""
    import narwhals as nw

    if hasattr(X, "columns"):
        _check_names(list(getattr(X, "column_names", X.columns)))
    frame = nw.from_native(X, eager_only=True, allow_series=True)
    was_1d = isinstance(frame, nw.Series)
    if was_1d:
        frame = (frame if frame.name not in (None, "") else frame.alias("y")).to_frame()
    backend = frame.implementation.name.lower()
    if backend not in ("pandas", "polars", "pyarrow"):
        raise TypeError(f"X is a {backend} frame; convert it to pandas, polars or pyarrow")
    return frame, was_1d, backend


def _check_names(columns: list[Any]) -> None:
    """Refuse column names that are neither text nor integers, or not unique."""
    seen = set()
    for name in columns:
        if not isinstance(name, (str, int)):
            raise ValueError(f"X has a column named {name!r}; names must be text or integers (flatten a MultiIndex)")
        if name in seen:
            raise ValueError(f"X has several columns named {name!r}; rename them")
        seen.add(name)


def _find_stamps(frame: Any, columns: list[Column], index: Any, request: Request) -> tuple[Stamps | None, bool]:
    """Return the time stamps, if there are any, and whether they are the index of a pandas frame."""
    name = request.time_column
    if index is not None:
        import pandas as pd

        if isinstance(index, pd.MultiIndex) or (index.name is not None and index.name == request.id_column):
            raise ValueError(f"X has the ids in its index {list(index.names)}; make columns of it with X.reset_index()")
        if name not in columns and (
            pd.api.types.is_datetime64_any_dtype(index.dtype)
            or isinstance(index, pd.PeriodIndex)
            or (index.name is not None and index.name == name)
        ):
            return index_stamps(index), True
    if name in columns:
        return read_stamps(frame.get_column(name), f"column {name!r}"), False
    if name != "ds":
        raise ValueError(f"time_column={name!r} is not in X; its columns: {columns}")
    return None, False


def _is_numeric(frame: Any, name: Column) -> bool:
    """Say whether a column holds numbers: also booleans, decimals, numbers kept as objects, and nothing but nulls."""
    import narwhals as nw

    column = frame.get_column(name)
    if column.dtype.is_numeric() or column.dtype == nw.Boolean:
        return True
    native = column.to_native()
    dtype = str(getattr(native, "dtype", getattr(native, "type", "")))
    if dtype == "object":
        import pandas as pd

        return pd.api.types.infer_dtype(native, skipna=True) in _NUMBERS
    return dtype.lower().startswith("null")


def _matrix(frame: Any, names: Sequence[Column]) -> np.ndarray:
    """Return the columns side by side, float64 with NaN for nulls."""
    import narwhals as nw

    matrix = np.empty((len(frame), len(names)))
    for j, name in enumerate(names):
        matrix[:, j] = frame.get_column(name).cast(nw.Float64).to_numpy()
    return matrix


def _group_by_id(table: Table, column: Any) -> Table:
    """Bring the rows of each id together, ids in order of first appearance, by one stable sort."""
    import pandas as pd

    missing = column.is_null()
    if missing.any():
        row = int(np.flatnonzero(missing.to_numpy())[0])
        raise ValueError(f"X has no id in row {row} of column {column.name!r}; fill it in or drop the row")
    codes, ids = pd.factorize(column.to_numpy())
    native = column.to_native()
    dtype = str(native.dtype) if column.implementation.is_pandas() else str(column.dtype)
    dtype = "LargeString" if str(getattr(native, "type", "")) == "large_string" else dtype  # narwhals says String
    table = replace(
        table,
        layout=replace(table.layout, kind="long", id_column=column.name, id_dtype=dtype),
        ids=ids.tolist(),
        bounds=np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(ids)))]),
        rows=np.arange(len(codes)),
    )
    if (np.diff(codes) >= 0).all():
        return table
    order = np.argsort(codes, kind="stable")
    sortable = ("values", "past", "future", "static", "rows", *(("times",) if table.times is not None else ()))
    return replace(table, **{name: getattr(table, name)[order] for name in sortable})


def names_of(table: Any) -> list[str]:
    """Return the names of a frame's columns, or of a named column; none for an array or a list.

    Examples
    --------
    >>> import pandas as pd
    >>> names_of(pd.DataFrame({"strength": [1.0]})), names_of([0.0])
    (['strength'], [])
    """
    if not is_frame(table):
        return []
    import narwhals as nw

    known = nw.from_native(table, eager_only=True, allow_series=True)
    if isinstance(known, nw.DataFrame):
        return list(map(str, known.columns))
    return [] if known.name in (None, "") else [str(known.name)]
