"""Static covariates from a frame of their own, which holds a row for each series."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from titans_ts.frames.covariates.categories import (
    column_values,
    encode,
    encodings,
    holds_categories,
    unseen_values,
    warn_unseen,
)
from titans_ts.frames.faults import Faults
from titans_ts.frames.numbers import is_numeric, shown
from titans_ts.frames.panel import Column, Layout, Table

_LISTED = 10


def add_static(table: Table, static: Any, names: Sequence[Column], id_column: str, faults: Faults) -> Table:
    """Return a table with the static covariates of a frame; ``names`` chooses columns, all by default.

    Series without a row there are noted in ``faults``.
    """
    if table.layout.is_single:
        raise ValueError("static= holds a row for each series, but X holds one series alone; leave static out")
    id_column = table.layout.id_column or id_column  # that of a MultiIndex is a level of it
    frame, ids = _open(static, id_column)
    if id_column not in frame.columns and not any(name in ids for name in table.ids):
        raise ValueError(
            f"static has no column {id_column!r}, and no id of X in its index; its columns: {list(frame.columns)}: name the "
            f"column of its ids {id_column!r}, or set_index(...) to it"
        )
    columns = tuple(name for name in frame.columns if name != id_column)
    absent = [name for name in names if name not in columns]
    if absent or not columns:
        raise ValueError(
            f"static_covariates names {absent}, which static does not have; its columns: {list(columns)}"
            if absent
            else f"static has no column beside {id_column!r}; give it one, or leave static out"
        )
    chosen = tuple(names) or columns
    _note([name for name in table.ids if name not in ids], _absent(table.ids, ids), faults)
    table = faults.sift(table)
    frame = frame[[ids[name] for name in table.ids]]
    categorical = [name for name in chosen if not is_numeric(frame, name)]
    matrix, labels = _values(frame, chosen, categorical, table.ids)
    layout = replace(table.layout, static_columns=chosen, static_apart=True)
    spread = np.repeat(matrix, table.lengths, axis=0)
    return replace(table, layout=layout, static=spread, labels={**table.labels, **labels})


def read_static(static: Any, layout: Layout) -> dict[Hashable, np.ndarray]:
    """Return the static covariates of each id in a frame like that of ``fit``, as numbers ``(s,)``."""
    if not layout.static_apart:
        raise ValueError("static was given, but the model was fitted without; leave it out, or fit with static=")
    frame, ids = _open(static, layout.id_column or "unique_id")
    missing = [name for name in layout.static_columns if name not in frame.columns]
    if missing:
        raise ValueError(f"static lacks the columns {missing} seen at fit; its columns: {list(frame.columns)}")
    known = {one.column for one in layout.categories}
    wrong = [name for name in layout.static_columns if name not in known and not is_numeric(frame, name)]
    if wrong:
        raise ValueError(f"static: the columns {wrong} hold no numbers, as they did at fit")
    categorical = [name for name in layout.static_columns if name in known]
    matrix, labels = _values(frame, layout.static_columns, categorical, list(ids))
    warn_unseen(unseen_values(labels, layout), "static")
    numbers = encode(matrix, layout.static_columns, encodings(labels, layout))
    return {name: numbers[row] for name, row in ids.items()}


def _open(static: Any, id_column: str) -> tuple[Any, dict[Hashable, int]]:
    """Return the frame as narwhals knows it, and the row of each id: those of a column, or of a pandas index."""
    import narwhals as nw

    if not nw.dependencies.is_into_dataframe(static):
        raise TypeError(f"static is a {type(static).__name__}; expected a frame of pandas, polars or pyarrow, a row an id")
    frame = nw.from_native(static, eager_only=True)
    if id_column in frame.columns:
        values = frame.get_column(id_column).to_list()
    elif frame.implementation.is_pandas():
        values = list(static.index)
    else:
        raise ValueError(f"static has no column {id_column!r} of ids; its columns: {list(frame.columns)}")
    ids: dict[Hashable, int] = {}
    for row, name in enumerate(values):
        if name is None or name != name:
            raise ValueError(f"static has no id in row {row}; fill it in or drop the row")
        try:
            before = ids.setdefault(name, row)
        except TypeError:
            raise ValueError(f"static has the id {shown(name)} in row {row}; an id must be text or a number") from None
        if before != row:
            raise ValueError(f"static has the id {name!r} twice, in rows {before} and {row}; keep one row an id")
    return frame, ids


def _values(
    frame: Any, columns: Sequence[Column], categorical: Sequence[Column], ids: Sequence[Hashable]
) -> tuple[np.ndarray, dict[Column, tuple[str, ...]]]:
    """Return columns as :func:`column_values` does; a value that is unknown is refused by the id of its row."""
    wrong = [name for name in categorical if not (is_numeric(frame, name) or holds_categories(frame, name))]
    if wrong:
        raise ValueError(f"static: the columns {wrong} hold neither numbers nor text; make them one of these or drop them")
    matrix, labels = column_values(frame, columns, categorical)
    unknown = np.argwhere(~np.isfinite(matrix))
    if unknown.size:
        row, j = unknown[0]
        raise ValueError(
            f"static has {matrix[row, j]} in column {columns[j]!r}, id {ids[row]!r}; a static covariate must be known: fill "
            "it in"
        )
    return matrix, labels


def note_unknown(names: Sequence[Hashable], faults: Faults | None) -> None:
    """Note series whose static covariates nobody gave, or refuse them, all by name."""
    if None in names:
        raise ValueError("X is one series without an id, but the model takes static covariates by id; give X its ids")
    reason = "X holds series whose static covariates are not known: {}; pass static=frame with a row for each of them"
    _note(names, reason, Faults() if faults is None else faults)


def _absent(names: Sequence[Hashable], ids: Mapping[Hashable, int]) -> str:
    """Return the reason against series without a row, which says where the ids are of another type."""
    kinds = {type(next(iter(part))).__name__ for part in (names, ids) if part}
    hint = f" (ids are of type {type(names[0]).__name__} in X, not so in static)" if len(kinds) > 1 else ""
    return f"static has no row for the ids {{}} of X{hint}; add them"


def _note(names: Sequence[Hashable], reason: str, faults: Faults) -> None:
    """Note a reason, with the name of each, where series may be left out; else refuse all of them in one sentence."""
    if names and not faults.may_skip:
        listed = ", ".join(map(repr, names[:_LISTED]))
        raise ValueError(reason.format(f"{listed}{f' and {len(names) - _LISTED} more' if len(names) > _LISTED else ''}"))
    for name in names:
        faults.note(name, reason.format(repr(name)))
