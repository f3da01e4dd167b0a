"""DNA as it comes in: lists, arrays, columns of frames, Biopython's records, and files, whole or piece by piece.

>>> import pandas as pd
>>> table = read_sequences(pd.Series(["ACGT", "ttn"]))
>>> table.ids, [codes.tolist() for codes in table.codes]
(['0', '1'], [[0, 1, 2, 3], [3, 3, 4]])
"""

from __future__ import annotations

import gzip
import os
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

import numpy as np

from titans_ts.blocks.warned import own_filters
from titans_ts.dna.bases import Codes, encode
from titans_ts.frames.numbers import is_missing
from titans_ts.frames.read import is_frame

_WANTED = "DNA sequences: a list of str, a column of strings, Biopython records, or the path of a FASTA or GenBank file"
_FASTA = (".fa", ".fasta", ".fas", ".fna", ".ffn")
_GENBANK = (".gb", ".gbk", ".gbff", ".genbank")
_GZIP = b"\x1f\x8b"
_LONGEST_LINE = 65_536  # characters read at once: a chromosome may stand on a single line
_SHOWN = 24  # characters of what came, in errors


@dataclass(frozen=True)
class SequenceTable:
    """Sequences ``(t,)`` in order, each with the id of its record, or with its row counted from 0."""

    ids: list[str]
    codes: list[Codes]


class Record(NamedTuple):
    """One record of a file: its id, the first word of the header, and its bases ``(t,)``."""

    id: str
    codes: Codes


class Piece(NamedTuple):
    """A part of a record: the record's id, where the part starts, its bases ``(t,)``, and whether the record ends here."""

    id: str
    start_0based: int
    codes: Codes
    is_last: bool


def read_sequences(X: Any, *, name: str = "X") -> SequenceTable:
    """Read and check a container of DNA sequences, which errors call ``name``.

    A list or tuple of str, or of Biopython's ``SeqRecord`` or ``Seq``; a 1-D array of str, or (n, 1); a Series of strings,
    or a frame of one column; or the path of a FASTA or GenBank file: a str is one when such a file exists, or when it ends
    like one (``.fa``, ``.gb.gz``, ...).

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


def stream_records(
    path: str | os.PathLike[str],
    *,
    format: Literal["auto", "fasta", "genbank"] = "auto",  # noqa: A002
) -> Iterator[Record]:
    """Read a FASTA or GenBank file, gzipped or not, one record at a time.

    Lower case, U, Windows line ends, blank lines and spaces between blocks of letters are fine. The id of a GenBank record
    is accession and version. A file that is not there, or neither, is refused by the call; a wrong record when it is read.
    """
    if format not in ("auto", "fasta", "genbank"):
        raise ValueError(f"format={format!r} is unknown; take 'auto', 'fasta' or 'genbank'")
    path = existing_file(path)
    kind = format_of(path) if format == "auto" else format
    if kind == "fasta":
        _require_fasta(path)
    return _records(path, kind)


def stream_pieces(path: str | os.PathLike[str], *, piece_length: int = 65_536) -> Iterator[Piece]:
    """Read a FASTA file, gzipped or not, in pieces of so many bases, so that memory does not grow with a record.

    The pieces of a record, joined, are its bases; the last may be shorter. Errors are those of `stream_records`.
    """
    if piece_length < 1:
        raise ValueError(f"piece_length={piece_length!r} must be at least 1 base")
    path = existing_file(path)
    if format_of(path) != "fasta":
        raise ValueError(f"{path} is GenBank, which is read record by record; use stream_records, or save it as FASTA")
    _require_fasta(path)
    return _pieces(path, piece_length)


def _records(path: Path, kind: str) -> Iterator[Record]:
    """Yield the checked records of a file that is there."""
    from Bio.SeqIO.FastaIO import SimpleFastaParser

    seen: set[str] = set()
    with open_text(path) as file:
        for title, letters in SimpleFastaParser(file) if kind == "fasta" else _read_genbank(file, path):
            id_ = _next_id(title, seen, path)
            yield Record(id_, _bases_of(letters, id_, path))
    if not seen:
        raise ValueError(f"{path} has no record; is it {'FASTA' if kind == 'fasta' else 'GenBank'}?")


def _read_genbank(file: TextIO, path: Path) -> Iterator[tuple[str, str]]:
    """Yield id and letters of each record; features are passed over, which is where the time would go."""
    from Bio import BiopythonParserWarning
    from Bio.GenBank.Scanner import GenBankScanner

    parser = GenBankScanner().parse_records(file, do_features=False)
    id_ = None
    while True:
        try:
            with own_filters():
                warnings.simplefilter("ignore", BiopythonParserWarning)
                warnings.filterwarnings("error", "Premature end|Expected sequence length")  # and no part of a record
                record = next(parser, None)
        except (ValueError, BiopythonParserWarning) as error:
            after = "" if id_ is None else f" after record {id_!r}"
            raise ValueError(f"{path} is no whole GenBank file ({error}){after}; fetch it again") from error
        if record is None:
            return
        id_ = record.id
        try:
            letters = str(record.seq)
        except ValueError:  # Biopython's UndefinedSequenceError: a length without letters
            letters = ""
        yield id_, letters


def _pieces(path: Path, piece_length: int) -> Iterator[Piece]:
    """Yield the checked pieces of a FASTA file, holding one of them and a line."""
    seen: set[str] = set()
    waiting: list[str] = []
    id_, start, n_waiting = "", 0, 0
    with open_text(path) as file:
        for is_header, text in _lines(file):
            if is_header:
                if seen:
                    yield Piece(id_, start, _bases_of("".join(waiting), id_, path, start), is_last=True)
                id_, start, waiting, n_waiting = _next_id(text, seen, path), 0, [], 0
                continue
            waiting.append(text)
            n_waiting += len(text)
            if n_waiting > piece_length:  # one letter more than a piece: so this piece is not the last
                letters = "".join(waiting)
                cut = (n_waiting - 1) // piece_length * piece_length
                for a in range(0, cut, piece_length):
                    codes = _bases_of(letters[a : a + piece_length], id_, path, start)
                    yield Piece(id_, start, codes, is_last=False)
                    start += piece_length
                waiting, n_waiting = [letters[cut:]], n_waiting - cut
        yield Piece(id_, start, _bases_of("".join(waiting), id_, path, start), is_last=True)


def _lines(file: TextIO) -> Iterator[tuple[bool, str]]:
    """Yield (True, header) or (False, letters), a long line of letters in parts."""
    at_start = True
    while line := file.readline(_LONGEST_LINE):
        if at_start and line[0] == ">":
            while not line.endswith("\n") and (more := file.readline(_LONGEST_LINE)):
                line += more
            yield True, line[1:]
        else:
            yield False, line.rstrip().replace(" ", "")
            at_start = line.endswith("\n")


def _require_fasta(path: Path) -> None:
    """Refuse a file that does not begin with a header: Biopython would pass over what comes before it."""
    first = _first_line(path)
    if not first:
        raise ValueError(f"{path} has no record: the file is empty; is it FASTA?")
    if not first.startswith(">"):
        raise ValueError(f"{path} begins with {first[:_SHOWN]!r}; expected a header line, '>' and an id: is it FASTA?")


def _first_line(path: Path) -> str:
    """Return the first line that is not blank, or its beginning; empty when there is none."""
    with open_text(path) as file:
        lines = iter(lambda: file.readline(_LONGEST_LINE), "")
        return next((line.rstrip() for line in lines if line.strip()), "")


def _next_id(title: str, seen: set[str], path: Path) -> str:
    """Return the id of a header, refusing none and one that came before."""
    words = title.split()
    if not words:
        raise ValueError(f"{path}: record {len(seen) + 1} (counted from 1) has no id after its '>'; give it one")
    if words[0] in seen:
        raise ValueError(
            f"{path} has two records of id {words[0]!r} (the first word of the header); rename or drop one of them"
        )
    seen.add(words[0])
    return words[0]


def _bases_of(letters: str, id_: str, path: Path, start_0based: int = 0) -> Codes:
    """Return the bases of a record, or of a part of it, refusing none."""
    name = f"record {id_!r} of {path}"
    if not letters:
        raise ValueError(f"{name} has no sequence; drop the record, or fetch the file again")
    return encode(letters, name=name, start_0based=start_0based)


def _is_path(text: str, name: str) -> bool:
    """Say whether a str is a path, and refuse it if it is a sequence or neither."""
    if has_sequence_suffix(text) or os.path.isfile(text):
        return True
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
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
    if is_missing(row):
        raise ValueError(f"{where} is missing ({row}); drop the row, or fill it in")
    if not _is_biopython(row):
        raise TypeError(f"{where} is {type(row).__name__} ({row!r:.{_SHOWN}}); expected {_WANTED}")
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


def has_sequence_suffix(path: str | os.PathLike[str]) -> bool:
    """Say whether a name ends like one of a file of sequences, ``.gz`` aside.

    >>> has_sequence_suffix("chrI.FA.gz"), has_sequence_suffix("plasmid.gbk"), has_sequence_suffix("ACGT")
    (True, True, False)
    """
    return os.fspath(path).lower().removesuffix(".gz").endswith(_FASTA + _GENBANK)


def format_of(path: Path) -> Literal["fasta", "genbank"]:
    """Return what a file of sequences is, by its first line, then by its suffix."""
    first = _first_line(path)
    is_named_genbank = path.name.lower().removesuffix(".gz").endswith(_GENBANK)
    return "genbank" if first.startswith("LOCUS") or (is_named_genbank and not first.startswith(">")) else "fasta"


def existing_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file that is there; any other is refused."""
    if not os.path.isfile(path):
        what = "is a folder; name a file in it" if os.path.isdir(path) else "no such file; check the path"
        raise FileNotFoundError(f"{os.fspath(path)}: {what}")
    return Path(path)


def is_gzip(path: str | os.PathLike[str]) -> bool:
    """Say whether a file is gzipped, by its first two bytes."""
    with existing_file(path).open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


@contextmanager
def open_text(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Open a text file, gzipped or not, whatever its line ends are.

    Bytes that are no UTF-8 become U+FFFD, for the reader to refuse where they matter; a byte order mark is passed over.
    """
    path = existing_file(path)
    how: dict[str, Any] = {"mode": "rt", "encoding": "utf-8-sig", "errors": "replace"}
    with gzip.open(path, **how) if is_gzip(path) else path.open(**how) as text:
        try:
            yield text
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} is damaged or cut short ({error}); fetch it again") from error


def lines_of_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of each line that is neither blank nor a comment.

    Cells are separated by tabs, or where a line has none by spaces; only the first six are told apart.
    """
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip() and not line.startswith("#"):
                cells = line.split("\t" if "\t" in line else None, 6)
                yield number, [cell.strip() for cell in cells]
