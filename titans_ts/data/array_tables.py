"""Arrays and lists of arrays taken apart."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np

from titans_ts.data.columns import Request, array_roles, fitted_array_roles
from titans_ts.data.panel import Column, Layout
from titans_ts.data.table import Table


def read_array_table(X: Any, request: Request, like: Layout | None) -> Table:
    """Take an array, or a list of arrays, apart.

    Parameters
    ----------
    X : array-like (t,) or (t, c), or list of arrays
        A list whose items are arrays holds several series; a list of numbers, or of lists of one length, is one array.
    request : Request
        Column indices asked for.
    like : Layout or None
        The layout seen at fit, whose columns X must have.

    Returns
    -------
    Table

    Raises
    ------
    TypeError, ValueError
        X does not hold numbers, has no rows or too many axes, or its columns are not those expected.

    Examples
    --------
    >>> table = read_array_table([1.0, 2.0, 4.0], Request("unique_id", "ds", None, (), (), ()), None)
    >>> table.ids, table.layout.kind, table.where(2)
    ([None], 'array', 'row 2')
    """
    if isinstance(X, (list, tuple)) and any(getattr(item, "shape", ()) for item in X):
        arrays = [_read_array(item, f"item {i} of X") for i, item in enumerate(X)]
        return _table(arrays, "list", request, like)
    return _table([_read_array(X, "X")], "array", request, like)


def _table(arrays: list[np.ndarray], kind: Literal["array", "list"], request: Request, like: Layout | None) -> Table:
    counts = [array.shape[1] if array.ndim == 2 else 1 for array in arrays]
    for i, count in enumerate(counts):
        if count != counts[0]:
            raise ValueError(
                f"item {i} of X has {count} columns, item 0 has {counts[0]}; all series need the same channels (transposed?)"
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
        ids=[None] if kind == "array" else _numbers(len(arrays)),
        bounds=np.concatenate([[0], np.cumsum([len(array) for array in arrays])]),
        values=pick(indices.target),
        past=pick(indices.past),
        future=pick(indices.future),
        static=pick(indices.static),
    )


def _numbers(count: int) -> list[Hashable]:
    return list(range(count))


def _read_array(X: Any, name: str) -> np.ndarray:
    """Return an array-like of numbers as an array of 1 or 2 axes, not yet float64."""
    if hasattr(X, "toarray"):
        raise TypeError(f"{name} is a sparse {type(X).__name__}; pass a dense array, for example {name}.toarray()")
    if type(X).__module__.partition(".")[0] in ("pandas", "polars", "pyarrow"):
        raise TypeError(f"{name} is a {type(X).__name__}; a list must hold arrays: pass one long frame with an id column")
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise ValueError(f"{name} is ragged; for several series pass a list of arrays, one (t,) or (t, c) each") from error
    if array.dtype.kind == "c":
        raise ValueError(f"{name} has dtype {array.dtype}. Complex data not supported: pass real and imaginary columns")
    if array.dtype.kind == "O" and array.ndim:
        array = _read_objects(array, name)
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise TypeError(
            f"{name} is a {type(X).__name__} of dtype {array.dtype}; expected an array of numbers, a list of such "
            "arrays, or a pandas, polars or pyarrow frame"
        )
    if array.ndim > 2:
        raise ValueError(
            f"{name} has shape {array.shape}; expected (t,) or (t, c). "
            "For several series pass a list of (t, c) arrays, for example list(X)"
        )
    for axis, word in enumerate(("sample", "feature")[: array.ndim]):
        if array.shape[axis] == 0:
            raise ValueError(f"{name} is empty: 0 {word}(s) (shape={array.shape}) while a minimum of 1 is required.")
    return array


def _read_objects(array: np.ndarray, name: str) -> np.ndarray:
    """Return an array of Python numbers (None is missing) as float64; text is refused, not parsed."""
    for place, value in np.ndenumerate(array):
        if isinstance(value, str):
            raise ValueError(f"{name} has the text {value!r} at {place}; convert it to numbers first")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:  # numpy names the type: "argument must be a string or a real number"
        raise type(error)(f"{name} has dtype object and does not hold numbers only: {error}") from error
