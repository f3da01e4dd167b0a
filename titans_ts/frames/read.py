"""Containers in: arrays, lists of arrays and frames of pandas, polars and pyarrow become a `Panel`.

A reader of frames and a reader of arrays make a `Table`; what follows does not ask any more where its rows come from.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from titans_ts.frames.clock import Clock, infer_frequency
from titans_ts.frames.columns import (
    Request,
    Roles,
    array_roles,
    column_names,
    fitted_array_roles,
    fitted_frame_roles,
    frame_roles,
)
from titans_ts.frames.covariates.categories import column_values, encode_panel, holds_categories
from titans_ts.frames.covariates.holidays import check_dates, with_holidays
from titans_ts.frames.covariates.static import add_static
from titans_ts.frames.faults import Faults
from titans_ts.frames.index import index_axis, take_levels
from titans_ts.frames.numbers import column_numbers, is_numeric, read_array, shown
from titans_ts.frames.panel import Column, Holidays, Layout, Panel, Series, Table
from titans_ts.frames.regular import continue_from, number_on, regularise
from titans_ts.frames.stamps import Stamps, read_stamps

Columns = Column | Sequence[Column] | None


class Domain(NamedTuple):
    """What a target must be."""

    refuses: Callable[[np.ndarray], np.ndarray]  # says which of (r, c) are outside; missing values never are
    reason: str  # what a message says after the value and its place


def read_panel(
    X: Any,
    *,
    id_column: str = "unique_id",
    time_column: str = "ds",
    target_columns: Columns = None,
    past_covariates: Columns = (),
    future_covariates: Columns = (),
    static_covariates: Columns = (),
    static: Any = None,
    holidays: tuple[Holidays, ...] = (),
    freq: Any = None,
    like: Layout | None = None,
    follow: Mapping[Hashable, Any] | None = None,
    require_observed: bool = False,
    faults: Faults | None = None,
    first_row: int | None = None,
    domains: Sequence[Domain] = (),
    encoded: bool = True,
) -> Panel:
    """Read and check a container of series; the time axis becomes regular, and rows missing in it are made and hold NaN.

    X is an array (t,) or (t, c), or nested lists that make one; a list of arrays, one a series; a wide frame (or Series) of
    pandas, polars or pyarrow; or a long frame, which has `id_column`. Column arguments are those of `TitansForecaster`.

    The index of a wide pandas frame is its time axis, of dates, periods or whole numbers, unless it is the default one,
    0 ... n-1. Rows may come in any order, if no time stamp of a series is there twice. Those of a piece of a stream, which
    begins at its `first_row`, must be in order, and its default index may count on from there.

    With `like`, the layout seen at fit, X must have its columns and kind of time stamps, and the column arguments are not
    used. With `follow`, the last time stamp absorbed of each series, rows must come after it (those of arrays are taken to
    come right after it), and X must address the series as at fit. `require_observed` refuses a target that is never seen.

    Covariates that hold categories become numbers by those of `like`; without it, or not `encoded`, they stay places among
    `labels`, for `learn_categories`. `static` is a frame with a row an id, whose columns are the static covariates; with
    `like` these are NaN where they come from such a frame, for the caller to fill in. `holidays` stand beside the future
    covariates.

    What is wrong with single series is noted in `faults`, which refuse them, all at once, or leave them out: so are targets
    outside one of `domains`.
    """
    faults = Faults() if faults is None else faults
    request = Request(
        id_column if like is None or like.id_column is None else like.id_column,
        time_column if like is None or like.stamped_column is None else like.stamped_column,
        None if target_columns is None else column_names(target_columns, "target_columns"),
        column_names(past_covariates, "past_covariates"),
        column_names(future_covariates, "future_covariates"),
        column_names(static_covariates, "static_covariates"),
    )
    apart = request.static if static is not None else ()
    request = replace(request, static=()) if static is not None else request
    if is_frame(X):
        table = read_frame_table(X, request, like, first_row=first_row or 0)
    else:
        table = read_array_table(X, request, like, faults)
    _note_values(table, faults)
    for domain in domains:
        said = f"X has {{value}} in {{where}}, column {{column!r}}, {domain.reason.replace('{', '{{').replace('}', '}}')}"
        _note_cells(table, table.values, table.layout.target_columns, domain.refuses(table.values), said, faults)
    if static is not None:
        table = add_static(table, static, apart, request.id_column, faults)
    if require_observed:
        _note_unobserved(table, faults)
    table = faults.sift(table)
    if like is None:
        if id_column != "unique_id" and table.layout.kind == "wide":
            raise ValueError(f"id_column={id_column!r} is not in X; its columns: {names_of(X)}")
        _refuse_without_stamps(table, freq)
    else:
        table = _match(table, like, follow)
        freq = like.frequency if freq is None and table.layout.integer_times == like.integer_times else freq
    follow = follow if like is None or like.has_times or table.layout.integer_times else None
    table = regularise(table, freq, follow, faults, in_order=first_row is not None)
    faults.settle()
    panel = Panel(tuple(_split(table)), table.layout, table.index, _order(table), labels=table.labels)
    if like is None:
        check_dates(holidays, table.layout)
        return with_holidays(panel, replace(table.layout, holidays=holidays))
    panel = replace(panel, layout=replace(panel.layout, categories=like.categories))
    panel = encode_panel(panel) if encoded else panel
    return with_holidays(_without_static(panel, like) if like.static_apart else panel, like)


def _without_static(panel: Panel, like: Layout) -> Panel:
    """Return a panel whose static covariates, which come from a frame of their own, are not known yet."""
    unknown = np.full(like.n_static, np.nan)
    return replace(
        panel,
        series=tuple(replace(one, static=unknown) for one in panel),
        layout=replace(panel.layout, static_columns=like.static_columns, static_apart=True),
    )


def is_frame(X: Any) -> bool:
    """Say whether X is a frame or series that narwhals knows; a lazy frame is refused."""
    if isinstance(X, (np.ndarray, list, tuple)):
        return False
    import narwhals as nw

    if hasattr(type(X), "collect") and hasattr(type(X), "columns"):
        raise TypeError(f"X is a lazy {type(X).__name__}; pass X.collect()")
    return nw.dependencies.is_into_dataframe(X) or nw.dependencies.is_into_series(X)


def is_list_of_arrays(X: Any) -> bool:
    """Say whether X holds many series, one an array."""
    return isinstance(X, (list, tuple)) and any(getattr(item, "shape", ()) for item in X)


def names_of(table: Any) -> list[str]:
    """Return the names of a frame's columns, or of a named column; none for an array or a list."""
    if not is_frame(table):
        return []
    import narwhals as nw

    known = nw.from_native(table, eager_only=True, allow_series=True)
    if isinstance(known, nw.DataFrame):
        return list(map(str, known.columns))
    return [] if known.name in (None, "") else [str(known.name)]


def read_frame_table(X: Any, request: Request, like: Layout | None, *, target: bool = True, first_row: int = 0) -> Table:
    """Take a frame apart: wide, or long when it has the id column, or ids and time stamps in a MultiIndex.

    With `like` its columns must be those seen at fit; without `target` only the covariates of `request` are read.
    """
    frame, was_1d, backend = _open(X)
    columns = list(frame.columns)
    if len(frame) == 0:
        raise ValueError(f"X is empty: 0 sample(s) (shape={(0, len(columns))}) while a minimum of 1 is required.")
    index: Any = frame.to_native().index if backend == "pandas" else None
    in_levels = index is not None and index.nlevels > 1
    fitted = in_levels and like is not None and tuple(index.names) == like.index_names  # though columns have these names too
    in_levels = in_levels and (fitted or request.id_column not in columns)
    long = request.id_column in columns or in_levels
    ids: Any = None
    stamps: Stamps | None
    if in_levels:
        if request.time_column in columns and not fitted:
            raise ValueError(
                f"X has ids in its index {list(index.names)}, but time stamps in column {request.time_column!r}; make "
                "columns of the index with X.reset_index()"
            )
        (ids, stamps), in_index = take_levels(index), True
        if target and request.target is None and "y" not in columns and "target" in columns:
            request = replace(request, target=("target",))  # as AutoGluon calls it
    else:
        stamps, in_index = _find_stamps(frame, columns, index, request, like, first_row)
    reserved = {request.id_column} if long and not in_levels else set()
    reserved |= {request.time_column} if stamps is not None and not in_index else set()
    numeric = partial(is_numeric, frame)
    known = request.categorical if like is None else tuple(one.column for one in like.categories)

    def is_category(name: Column) -> bool:
        return (known is None or name in known) and holds_categories(frame, name)

    if like is None:
        is_time = partial(_is_time, frame)
        roles = frame_roles(
            columns, reserved, numeric, request, long, target=target, is_time=is_time, is_category=is_category
        )
    else:
        roles = fitted_frame_roles(columns, reserved, numeric, request, like, is_category=is_category)
    covariates = roles.past + roles.future + roles.static
    categorical = [name for name in covariates if not numeric(name)] if known is None else known
    (past, future, static), labels = _covariates(frame, roles, categorical)
    layout = _layout("long" if long else "wide", backend, frame, roles, was_1d)
    if stamps is not None:
        layout = replace(
            layout,
            time_column=index.names[-1] if in_index else request.time_column,
            time_in_index=in_index,
            time_dtype=stamps.dtype,
            time_zone=stamps.zone,
            frequency=stamps.frequency,
        )
    table = Table(
        layout=layout,
        ids=[None],
        bounds=np.array([0, len(frame)]),
        values=column_numbers(frame, roles.target),
        past=past,
        future=future,
        static=static,
        times=None if stamps is None else stamps.times,
        index=None if long else index,
        labels=labels,
    )
    if in_levels:
        return _group_by_level(table, ids, index.names)
    return _group_by_id(table, frame.get_column(request.id_column)) if long else table


def _covariates(frame: Any, roles: Roles, categorical: Sequence[Column]) -> tuple[list[np.ndarray], dict[Column, Any]]:
    """Return past, future and static covariates, and the labels of those that are categories."""
    found = [column_values(frame, names, categorical) for names in (roles.past, roles.future, roles.static)]
    return [matrix for matrix, _ in found], {name: labels for _, part in found for name, labels in part.items()}


def read_array_table(X: Any, request: Request, like: Layout | None, faults: Faults) -> Table:
    """Take an array apart, or a list of arrays, which holds several series; a list of numbers or of lists is one array."""
    if not is_list_of_arrays(X):
        return _table({None: read_array(X, "X")}, "array", request, like)
    arrays: dict[Hashable, np.ndarray] = {}
    for i, item in enumerate(X):
        if i in faults.reasons:
            continue
        try:
            arrays[i] = read_array(item, f"item {i} of X")
        except ValueError as error:  # nothing in it, or nothing that makes an array
            faults.note(i, str(error))
    if not arrays:
        faults.settle(others=False)
    return _table(arrays, "list", request, like)


def _note_values(table: Table, faults: Faults) -> None:
    """Note infinite values, unknown future and static covariates, and static covariates that vary."""
    layout = table.layout
    parts = (
        (table.values, layout.target_columns, "target", False),
        (table.past, layout.past_columns, "past covariate", False),
        (table.future, layout.future_columns, "future covariate", True),
        (table.static, layout.static_columns, "static covariate", True),
    )
    for matrix, columns, role, must_be_known in parts:
        finite = "X has {value} in {where}, column {column!r}; expected a finite number, or NaN if missing"
        _note_cells(table, matrix, columns, np.isinf(matrix), finite, faults)
        if must_be_known:
            known = f"X has NaN in {{where}}, column {{column!r}}; a {role} must be known: fill it in"
            _note_cells(table, matrix, columns, np.isnan(matrix), known, faults)
    changed = table.static != table.static[table.spread(table.bounds[:-1])]
    constant = (
        "X: the static covariate {column!r} changes to {value} in {where}; it must be constant within a series, or be a "
        "past or future covariate"
    )
    _note_cells(table, table.static, layout.static_columns, changed, constant, faults)


def _note_cells(
    table: Table, matrix: np.ndarray, columns: Sequence[Column], wrong: np.ndarray, reason: str, faults: Faults
) -> None:
    """Note the first wrong cell (r, c) of each series."""
    if not wrong.any():
        return

    def filled_in(k: int) -> str:
        j = int(wrong[k].argmax())
        labels, value = table.labels.get(columns[j]), matrix[k, j]
        said = f"{value:g}" if labels is None or not np.isfinite(value) else shown(labels[int(value)])
        return reason.format(value=said, where=table.where(k), column=columns[j])

    faults.note_rows(table, np.flatnonzero(wrong.any(1)), filled_in)


def _match(table: Table, like: Layout, follow: Mapping[Hashable, Any] | None) -> Table:
    """Hold the table to the ids and the kind of time stamps seen at fit."""
    layout = table.layout
    if follow is not None and (layout.is_single, layout.kind == "list") != (like.is_single, like.kind == "list"):
        want = {"list": "a list of arrays", "long": f"a long frame with the ids in {like.id_column!r}"}
        raise ValueError(
            f"X is of kind {layout.kind!r}, but the model was fitted on kind {like.kind!r}: it is not clear which "
            f"series the rows belong to; pass {want.get(like.kind, 'one array or a wide frame')}"
        )
    if not layout.has_times and not like.has_times:
        return number_on(table, follow or {})
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
        if layout.numbered_index and layout.is_single:
            return replace(table, layout=replace(layout, frequency=_one_by_one(table)))
        if follow is not None:
            raise ValueError(
                f"X has time stamps ({layout.time_dtype}), but the model was fitted without; pass rows without them"
            )
        return table
    if layout.has_times and (layout.integer_times, layout.time_zone) != (like.integer_times, like.time_zone):
        raise ValueError(
            f"X has time stamps of {layout.time_axis}, but the model was fitted on {like.time_axis}; convert X to that"
        )
    return table


def _one_by_one(table: Table) -> int:
    """Return the step of numbered rows, 1; refuse an index whose steps are longer."""
    assert table.times is not None
    if table.times.min() < 0:
        raise ValueError(
            f"X has {table.times.min()} in its index, but the model was fitted without time stamps, on rows counted "
            "from 0; pass X.reset_index(drop=True), or fit with such an index"
        )
    step = infer_frequency(np.diff(np.sort(table.times)), table.times, None)
    if step not in (None, 1):
        raise ValueError(
            f"X has whole numbers in its index, {step} apart, but the model was fitted without time stamps, on rows that "
            "follow one another; if those of X do too, pass X.reset_index(drop=True), or fit with such an index"
        )
    return 1


def _refuse_without_stamps(table: Table, freq: Any) -> None:
    """Refuse a step of the time axis where there is none; rows without time stamps are 1 apart."""
    if freq is None or table.layout.has_times or (freq == 1 and not isinstance(freq, bool)):
        return
    what = "an array" if table.layout.backend == "numpy" else "a frame"
    remedy = "; set_index(...) to its dates, or name their column in time_column" if what == "a frame" else ""
    raise ValueError(f"freq={freq!r}: X is {what} without time stamps, its rows follow one another; leave freq out{remedy}")


def _order(table: Table) -> np.ndarray | None:
    """Return where each row of a wide frame was, if they had to be sorted."""
    if table.rows is None or not table.layout.is_single:
        return None
    order = table.rows[table.rows >= 0]
    return order if (np.diff(order) < 0).any() else None


def _note_unobserved(table: Table, faults: Faults) -> None:
    """Note the series of which a target is never seen."""
    unseen = ~np.logical_or.reduceat(~np.isnan(table.values), table.bounds[:-1], axis=0)
    for i in np.flatnonzero(unseen.any(1)).tolist():
        column = table.layout.target_columns[int(unseen[i].argmax())]
        faults.note(
            table.ids[i],
            f"X: column {column!r}{table.whose(i)} has no observed value in any of its {table.lengths[i]} rows; drop it, or "
            "name the columns to forecast in target_columns",
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


def _find_stamps(
    frame: Any, columns: list[Column], index: Any, request: Request, like: Layout | None, first_row: int
) -> tuple[Stamps | None, bool]:
    """Return the time stamps, if there are any, and whether they are the index of a pandas frame."""
    name = request.time_column
    in_levels = index is not None and index.nlevels > 1 and name not in columns
    if in_levels or (index is not None and index.name is not None and index.name == request.id_column):
        raise ValueError(f"X has the ids in its index {list(index.names)}; make columns of it with X.reset_index()")
    if name in columns:
        return read_stamps(frame.get_column(name), f"column {name!r}"), False
    if index is not None:
        named = index.name is not None and index.name == name
        numbered = like is not None and like.numbered_index
        long = request.id_column in columns
        stamps = index_axis(index, named=named, numbered=numbered, long=long, first_row=first_row)
        if stamps is not None:
            return stamps, True
    if name != "ds":
        raise ValueError(f"time_column={name!r} is not in X; its columns: {columns}")
    return None, False


def _layout(kind: Any, backend: Any, frame: Any, roles: Roles, was_1d: bool) -> Layout:
    import narwhals as nw

    single = roles.target and all(frame.get_column(name).dtype == nw.Float32 for name in roles.target)
    columns = (roles.target, roles.past, roles.future, roles.static, roles.ignored)
    return Layout(kind, backend, *columns, value_dtype="float32" if single else "float64", was_1d=was_1d)


def _is_time(frame: Any, name: Column) -> bool:
    """Say whether a column holds dates."""
    dtype = getattr(frame.get_column(name).to_native(), "dtype", frame.schema[name])
    return str(dtype).lower().startswith(("date", "timestamp", "period"))


def _group_by_id(table: Table, column: Any) -> Table:
    """Bring the rows of each id together, ids in order of first appearance, by one stable sort."""
    import pandas as pd

    values = np.asarray(column.to_numpy())
    try:
        missing = column.is_null().to_numpy()
    except ArithmeticError as error:
        raise ValueError(f"X has an id in column {column.name!r} that equals nothing, a signalling NaN: {error}") from None
    if values.dtype.kind == "f":
        missing = missing | np.isnan(values)
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        raise ValueError(f"X has no id in row {row} of column {column.name!r}; fill it in or drop the row")
    try:
        codes, ids = pd.factorize(values)
    except (TypeError, ValueError):  # lists, sets, structs
        raise ValueError(
            f"X has {shown(column[0])} in row 0 of column {column.name!r}, of type {column.dtype}; an id must be text or a "
            "number"
        ) from None
    native = column.to_native()
    dtype = str(native.dtype) if column.implementation.is_pandas() else str(column.dtype)
    dtype = "LargeString" if str(getattr(native, "type", "")) == "large_string" else dtype  # narwhals says String
    table = replace(table, layout=replace(table.layout, id_column=column.name, id_dtype=dtype))
    return _group(table, codes, ids.tolist())


def _group_by_level(table: Table, keys: Any, names: Sequence[Any]) -> Table:
    """Bring the rows of each id together, which levels of an index hold; several levels make a tuple of an id."""
    codes, ids = keys.factorize()
    alone = keys.nlevels == 1
    layout = replace(
        table.layout,
        index_names=tuple(name if isinstance(name, str | int | None) else str(name) for name in names),
        id_column=names[0] if alone and isinstance(names[0], str) else None,
        id_dtype=str(keys.dtype) if alone else None,
    )
    return _group(replace(table, layout=layout), codes, ids.tolist())


def _group(table: Table, codes: np.ndarray, ids: list[Hashable]) -> Table:
    """Bring the rows of each of the ids together, of which `codes` says the place."""
    table = replace(
        table,
        ids=ids,
        bounds=np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(ids)))]),
        rows=np.arange(len(codes)),
    )
    if (np.diff(codes) >= 0).all():
        return table
    return table.reordered(np.argsort(codes, kind="stable"))


def _table(
    items: dict[Hashable, np.ndarray], kind: Literal["array", "list"], request: Request, like: Layout | None
) -> Table:
    first, arrays = next(iter(items)), list(items.values())
    counts = [array.shape[1] if array.ndim == 2 else 1 for array in arrays]
    for i, count in zip(items, counts, strict=True):
        if count != counts[0]:
            raise ValueError(
                f"item {i} of X has {count} columns, item {first} has {counts[0]}; all series need the same channels "
                "(transposed?)"
            )
    if like is None:
        names = indices = array_roles(counts[0], request)
    else:
        names, indices = fitted_array_roles(counts[0], like)
    columns = [array.reshape(len(array), -1).astype(np.float64, copy=False) for array in arrays]
    matrix = columns[0] if len(columns) == 1 else np.concatenate(columns)

    def pick(role: Sequence[Column]) -> np.ndarray:
        return matrix if list(role) == list(range(counts[0])) else matrix[:, np.array(role, np.int64)]

    return Table(
        layout=Layout(
            kind,
            "numpy",
            *(names.target, names.past, names.future, names.static, names.ignored),
            value_dtype="float32" if all(array.dtype in (np.float32, np.float16) for array in arrays) else "float64",
            was_1d=arrays[0].ndim == 1,
        ),
        ids=list(items),
        bounds=np.concatenate([[0], np.cumsum([len(array) for array in arrays])]),
        values=pick(indices.target),
        past=pick(indices.past),
        future=pick(indices.future),
        static=pick(indices.static),
    )
