"""History that comes piece by piece: files, lazy frames and iterators, cut into pieces that fit into memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from titans_ts.files.tables import ANY_FORM, TextForm, count_rows, plan_batches, read_table_batches
from titans_ts.frames.index import is_default
from titans_ts.frames.numbers import as_array, unmasked
from titans_ts.frames.read import is_frame, is_list_of_arrays

_SHOWN = 8  # columns named in an error
_EXPECTED = "expected an array of numbers (t,) or (t, c), a list of such arrays, or a frame of pandas, polars or pyarrow"


class Pieces(Iterator[Any]):
    """Pieces of a history, in order, to be gone through once."""

    def __init__(self, pieces: Iterator[Any], total: int | None = None) -> None:
        self._pieces = pieces
        self.total = total  # rows of all pieces together, where that is known beforehand

    def __next__(self) -> Any:
        return next(self._pieces)


def is_stream(X: Any) -> bool:
    """Say whether X is read piece by piece: a path, a lazy frame, or an iterator; a list holds many series and is none."""
    if isinstance(X, (np.ndarray, list, tuple)):
        return False
    return isinstance(X, (str, os.PathLike)) or hasattr(type(X), "__next__") or _is_lazy(X)


def read_pieces(
    X: Any, *, rows: int = 65_536, time_column: str = "ds", id_column: str = "unique_id", form: TextForm = ANY_FORM
) -> Pieces:
    """Cut a stream into pieces that `read_panel` understands, of at most `rows` rows, so that it never lies whole in memory.

    X is a table file, read as `read_table` reads it; a lazy frame of polars; or an iterator of arrays (t,) or (t, c), lists
    of arrays, or frames, of one kind and with the same columns throughout. Lists of arrays are handed on as they are. No
    piece is empty. A path that is missing and another type are refused by the call, damage when it is met.
    """
    if rows < 1:
        raise ValueError(f"rows={rows!r} must be at least 1")
    if isinstance(X, (str, os.PathLike)):
        batches = read_table_batches(X, rows=rows, time_column=time_column, id_column=id_column, form=form)
        return Pieces(batches, count_rows(X))
    if not is_stream(X):
        raise TypeError(
            f"X is a {type(X).__name__}; expected a path, a polars LazyFrame, or an iterator of arrays or frames, such as "
            "iter([X])"
        )
    return Pieces(_lazy_pieces(_plan(X), rows) if _is_lazy(X) else _iterator_pieces(X, rows))


def rows_of(piece: Any) -> int:
    """Return the rows of a piece; of a list of arrays those of all series together."""
    return sum(len(item) for item in piece) if is_list_of_arrays(piece) else len(piece)


def skip_rows(pieces: Iterable[Any], rows: int) -> Pieces:
    """Leave out the first rows of what `read_pieces` returned, to go on where an interrupted reading stopped.

    They may end within a piece, but not within a list of arrays: nobody can tell which series they belong to.
    """
    if rows < 0:
        raise ValueError(f"rows={rows!r} must be at least 0")
    total = getattr(pieces, "total", None)
    if total is not None and total < rows:
        raise _too_few(rows, total)
    return Pieces(_rest(pieces, rows), None if total is None else total - rows)


class Tail(Iterator[Any]):
    """Hands on the pieces of a file or lazy frame and keeps the last two, for a picture of the end."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._kept: list[Any] = []

    def __next__(self) -> Any:
        piece = next(self._pieces)
        self._kept = [*self._kept[-1:], piece]
        return piece

    @property
    def frame(self) -> Any:
        """The last two pieces as one polars frame."""
        import polars as pl

        return pl.concat(self._kept, how="vertical_relaxed")


def _is_lazy(X: Any) -> bool:
    import narwhals as nw

    is_wrapped = nw.dependencies.is_narwhals_lazyframe(X)
    return bool(is_wrapped or nw.dependencies.is_polars_lazyframe(nw.to_native(X, pass_through=True)))


def _plan(X: Any) -> Any:
    """Return a lazy frame as polars knows it."""
    import narwhals as nw

    plan = nw.to_native(X, pass_through=True)
    if not nw.dependencies.is_polars_lazyframe(plan):
        backend = type(plan).__module__.partition(".")[0].lstrip("_")
        raise TypeError(f"X is a lazy frame of {backend}; pass a polars LazyFrame, or an iterator of frames")
    return plan


def _lazy_pieces(plan: Any, rows: int) -> Iterator[Any]:
    """Hand out what a lazy frame of polars gives, batch by batch."""
    import polars as pl

    n_rows = 0
    try:
        for batch in plan_batches(plan, rows):
            n_rows += batch.height
            yield batch
    except (pl.exceptions.PolarsError, OSError) as error:
        what = str(error).strip().split("\n")[0]
        raise ValueError(f"X is a lazy frame that cannot be carried out: {what} (after {n_rows} rows)") from error
    if n_rows == 0:
        raise ValueError("X, a lazy frame, has no rows; expected at least 1")


def _iterator_pieces(X: Iterator[Any], rows: int) -> Iterator[Any]:
    """Hand out what an iterator gives, checked and cut."""
    columns: Any = None
    for i, item in enumerate(X):
        piece = _read_item(item, f"X: item {i} of the iterator")
        if rows_of(piece) == 0:
            continue
        if columns is None:
            columns, first = _columns(piece), i
        elif _columns(piece) != columns:
            raise _another(i, _columns(piece), first, columns)
        numbered = (
            i > first and hasattr(piece, "iloc") and is_default(piece.index)
        )  # each item from 0, and so are its slices
        yield from (part.reset_index(drop=True) if numbered else part for part in _cut(piece, rows))
    if columns is None:
        raise ValueError(f"X, a {type(X).__name__}, has no rows; expected at least 1: was it used up before?")


def _read_item(item: Any, name: str) -> Any:
    """Return what an iterator gave as it is, but nested lists as an array and a record batch as a table."""
    if _is_lazy(item):
        raise TypeError(f"{name} is a lazy {type(item).__name__}; collect it, or pass the lazy frame itself as X")
    if type(item).__name__ == "RecordBatch" and type(item).__module__.startswith("pyarrow"):
        import pyarrow as pa

        return pa.Table.from_batches([item])
    if is_frame(item):
        import narwhals as nw

        return nw.to_native(item, pass_through=True)
    if is_list_of_arrays(item):
        if any(is_frame(part) for part in item):
            raise TypeError(f"{name} is a list of frames; a list must hold arrays: pass one long frame with an id column")
        return unmasked(item)
    try:
        array = as_array(item, name)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} is a {type(item).__name__} that makes no array ({error.__cause__ or error}); {_EXPECTED}"
        ) from error
    if array.ndim == 0 or array.dtype.kind not in "fiubcO":  # complex numbers and objects are for `read_panel` to judge
        dtype = "" if array.ndim == 0 else f" of dtype {array.dtype}"
        raise TypeError(f"{name} is a {type(item).__name__}{dtype}; {_EXPECTED}")
    if array.ndim > 2:
        raise ValueError(f"{name} has shape {array.shape}; {_EXPECTED}")
    return array


def _columns(piece: Any) -> tuple[str, Any]:
    """Return the kind of a piece, and its columns: their names in a frame, in any order, else their number."""
    if is_list_of_arrays(piece):
        return "a list of arrays", _width(piece[0])
    if isinstance(piece, np.ndarray):
        return "an array", _width(piece)
    names = getattr(piece, "column_names", getattr(piece, "columns", None))
    if names is None:
        name = getattr(piece, "name", None)
        names = ["y" if name in (None, "") else name]  # what `read_panel` calls a series without a name
    return "a frame", frozenset(names)


def _width(array: Any) -> int:
    return 1 if np.ndim(array) < 2 else int(np.shape(array)[1])


def _another(i: int, columns: tuple[str, Any], first: int, before: tuple[str, Any]) -> ValueError:
    """Return the error for an item of another kind, or of other columns, than the first that held rows."""
    if columns[0] == before[0] == "a frame":
        missing, more = before[1] - columns[1], columns[1] - before[1]
        parts = [f"{word} the columns {_listed(names)}" for word, names in (("lacks", missing), ("adds", more)) if names]
        return ValueError(f"X: item {i} of the iterator {' and '.join(parts)}; expected those of item {first}")
    here, there = (
        f"a frame with the columns {_listed(what)}" if kind == "a frame" else f"{kind} of {what} column{'s' * (what != 1)}"
        for kind, what in (columns, before)
    )
    return ValueError(
        f"X: item {i} of the iterator is {here}, but item {first} is {there}; all must be of one kind, with the same columns"
    )


def _listed(names: frozenset[Any]) -> str:
    shown = sorted(map(repr, names))
    return f"[{', '.join(shown[:_SHOWN])}{', ...' if len(shown) > _SHOWN else ''}]"


def _cut(piece: Any, rows: int) -> Iterator[Any]:
    """Hand out a piece in slices; a list of arrays as it is."""
    length = rows_of(piece)
    if length <= rows or is_list_of_arrays(piece):
        yield from [piece] * (length > 0)
        return
    for start in range(0, length, rows):
        yield _slice(piece, start, min(start + rows, length))


def _slice(piece: Any, start: int, stop: int) -> Any:
    """Return rows of an array, list or frame."""
    if isinstance(piece, (np.ndarray, list, tuple)):
        return piece[start:stop]
    if hasattr(piece, "iloc"):  # narwhals would refuse names that `read_panel` has a better word for
        return piece.iloc[start:stop]
    import narwhals as nw

    return nw.to_native(nw.from_native(piece, eager_only=True, allow_series=True)[start:stop])


def _rest(pieces: Iterable[Any], rows: int) -> Iterator[Any]:
    """Hand out the pieces after the first rows."""
    left = rows
    for piece in pieces:
        length = rows_of(piece)
        if left == 0:
            yield piece
        elif left >= length:
            left -= length
        elif is_list_of_arrays(piece):
            raise ValueError(
                f"rows={rows} ends after {left} of the {length} rows of a list of arrays; leave out the list or keep it"
            )
        else:
            yield _slice(piece, left, length)
            left = 0
    if left:
        raise _too_few(rows, rows - left)


def _too_few(rows: int, total: int) -> ValueError:
    return ValueError(f"rows={rows} are to be left out, but X has only {total}; is it what was read before?")
