"""The one door by which DNA comes in: lists, arrays, columns of frames, Biopython's records and files.

>>> import pandas as pd
>>> table = read_sequences(pd.Series(["ACGT", "ttn"]))
>>> table.ids, [codes.tolist() for codes in table.codes]
(['0', '1'], [[0, 1, 2, 3], [3, 3, 4]])
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from titans_ts.bases import Codes, encode
from titans_ts.data.fasta import has_sequence_suffix, stream_records
from titans_ts.data.frame_tables import is_frame

_WANTED = "DNA sequences: a list of str, a column of strings, Biopython records, or the path of a FASTA or GenBank file"
_LONGEST_SHOWN = 24


@dataclass(frozen=True)
class SequenceTable:
    """Sequences in order, each with a name.

    Parameters
    ----------
    ids : list of str, length n
        Ids of the records; where a container has none, the row, counted from 0 (``"0"``, ``"1"``, ...).
    codes : list of ndarray of uint8, length n, each of shape (t,)
        The bases, as `titans_ts.bases.encode` gives them; lengths may differ.
    """

    ids: list[str]
    codes: list[Codes]

    def __len__(self) -> int:
        return len(self.codes)


def read_sequences(X: Any, *, name: str = "X") -> SequenceTable:
    """Read and check a container of DNA sequences.

    What X may be: a list or tuple of str, or of Biopython's ``SeqRecord`` or ``Seq``; a 1-D array of str, or (n, 1);
    a Series of strings, or a frame of one column (pandas, polars, pyarrow); or the path of a FASTA or GenBank file.

    Parameters
    ----------
    X : list, array, Series, frame or path
        The sequences. A str is a path when such a file exists, or when it ends like one (``.fa``, ``.gb.gz``, ...).
    name : str, default="X"
        What errors call it.

    Returns
    -------
    SequenceTable
        Ids and codes, in the order of X.

    Raises
    ------
    TypeError
        X holds no text: numbers, bytes, nested lists, an iterator.
    ValueError
        X has no rows, or a row is missing, empty or holds what is no letter of DNA; the message names row or record.
    FileNotFoundError
        X is the path of a file that is not there.

    Examples
    --------
    >>> read_sequences(["ACGT", "AC-T"])
    Traceback (most recent call last):
    ValueError: X[1]: '-' at position 3 (counted from 1) is no letter of DNA; remove the gaps of an alignment first
    """
    if isinstance(X, os.PathLike) or (isinstance(X, str) and _is_path(X, name)):
        records = list(stream_records(X))
        return SequenceTable([record.id for record in records], [record.codes for record in records])
    rows = _rows(X, name)
    if not len(rows):
        raise ValueError(f"{name} is empty: 0 sample(s) (shape=(0,)) while a minimum of 1 is required.")
    ids, codes = [], []
    for i, row in enumerate(rows):
        text, id_ = _text_and_id(row, f"{name}[{i}]")
        ids.append(str(i) if id_ is None else id_)
        codes.append(encode(text, name=f"{name}[{i}]" if id_ is None else f"{name}[{i}], record {id_!r}"))
    return SequenceTable(ids, codes)


def _is_path(text: str, name: str) -> bool:
    """Say whether a str is a path, and refuse it if it is a sequence or neither."""
    if has_sequence_suffix(text) or os.path.isfile(text):
        return True
    shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
    try:
        encode(text)
    except ValueError:
        raise ValueError(f"{name}={shown!r} is neither a file that exists nor DNA; expected {_WANTED}") from None
    raise ValueError(f"{name}={shown!r} is a single sequence; wrap it in a list: [{name}]")


def _rows(X: Any, name: str) -> Sequence[Any]:
    """Return the rows of a container, refusing numbers and tables of several columns."""
    if is_frame(X):
        return _frame_rows(X, name)
    if isinstance(X, np.ndarray):
        if X.ndim == 2 and X.shape[1] == 1:
            X = X[:, 0]
        if X.dtype.kind not in "OUT":
            raise TypeError(f"{name} is an array of {X.dtype}; expected {_WANTED}")
        if X.ndim != 1:
            raise ValueError(f"{name} has shape {X.shape}; expected (n,) or (n, 1): one sequence a row")
        return list(X)
    if isinstance(X, list | tuple):
        return X
    if hasattr(X, "__next__"):
        raise TypeError(f"{name} is an iterator ({type(X).__name__}), which can be read only once; pass list({name})")
    if _is_biopython(X):
        raise TypeError(f"{name} is a single {type(X).__name__}; wrap it in a list: [{name}]")
    raise TypeError(f"{name} is {type(X).__name__}; expected {_WANTED}")


def _frame_rows(X: Any, name: str) -> list[Any]:
    """Return the values of a column of strings, or of a frame's only column."""
    import narwhals as nw

    column = nw.from_native(X, eager_only=True, allow_series=True)
    if isinstance(column, nw.DataFrame):
        if len(column.columns) != 1:
            columns = ", ".join(repr(each) for each in column.columns)
            raise ValueError(
                f"{name} has {len(column.columns)} columns ({columns}); expected one: pass {name}['<its name>'] alone"
            )
        column = column[:, 0]
    if column.dtype.is_numeric() or column.dtype.is_temporal() or column.dtype == nw.Boolean:
        raise TypeError(f"{name} is a column of {column.dtype}; expected {_WANTED}")
    return column.to_list()


def _text_and_id(row: Any, where: str) -> tuple[str, str | None]:
    """Return a row's letters and the id of its record, if it has one."""
    if isinstance(row, str):
        return row, None
    if _is_missing(row):
        raise ValueError(f"{where} is missing ({row}); drop the row, or fill it in")
    if not _is_biopython(row):
        raise TypeError(f"{where} is {type(row).__name__} ({row!r:.{_LONGEST_SHOWN}}); expected {_WANTED}")
    id_ = getattr(row, "id", None)
    id_ = None if id_ in (None, "", "<unknown id>") else str(id_)
    letters = getattr(row, "seq", row)
    if letters is None:
        raise ValueError(f"{where} is a record without a sequence; drop it")
    try:
        return str(letters), id_
    except ValueError as error:  # Biopython's UndefinedSequenceError: the length is known, the letters are not
        raise ValueError(f"{where} has a length but no letters ({error}); read it with its sequence") from error


def _is_biopython(row: Any) -> bool:
    """Say whether this is a ``Seq`` or ``SeqRecord``, without importing Biopython."""
    return any(each.__module__ in ("Bio.Seq", "Bio.SeqRecord") for each in type(row).__mro__)


def _is_missing(row: Any) -> bool:
    """Say whether this is None, NaN, NaT or pandas' NA."""
    return row is None or type(row).__name__ in ("NAType", "NaTType") or (isinstance(row, float) and row != row)
