"""The one door by which DNA comes in: lists, arrays, columns of frames, Biopython's records and files.

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

from titans_ts.dna.bases import Codes, encode
from titans_ts.frames.read import is_frame

_GZIP = b"\x1f\x8b"


def existing_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file that is there.

    Raises
    ------
    FileNotFoundError
        There is no such file, or it is a folder.

    Examples
    --------
    >>> existing_file("no/such.fa")
    Traceback (most recent call last):
    FileNotFoundError: no/such.fa: no such file; check the path
    """
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
    r"""Open a text file, gzipped or not, whatever its line ends are.

    Parameters
    ----------
    path : path-like
        A file; gzip is known by its first two bytes. Bytes that are no UTF-8 become U+FFFD, for the reader to refuse
        where they matter; a byte order mark is passed over.

    Yields
    ------
    file object
        Open for reading text; lines end in ``\n``.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        While it is read: the gzip stream is damaged or cut short.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "packed.txt")
    ...     _ = path.write_bytes(gzip.compress(b"a\r\nb"))
    ...     with open_text(path) as file:
    ...         file.read()
    'a\nb'
    """
    path = existing_file(path)
    how: dict[str, Any] = {"mode": "rt", "encoding": "utf-8-sig", "errors": "replace"}
    with gzip.open(path, **how) if is_gzip(path) else path.open(**how) as text:
        try:
            yield text
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} is damaged or cut short ({error}); fetch it again") from error


_FASTA = (".fa", ".fasta", ".fas", ".fna", ".ffn")
_GENBANK = (".gb", ".gbk", ".gbff", ".genbank")
_LONGEST_LINE = 65_536  # characters read at once: a chromosome may stand on a single line
_SHOWN = 24


class Record(NamedTuple):
    """One record of a file: its id, the first word of the header, and its bases as codes (t,) of uint8."""

    id: str
    codes: Codes


class Piece(NamedTuple):
    """A part of a record: the record's id, where the part starts, its codes (t,), and whether the record ends here."""

    id: str
    start_0based: int
    codes: Codes
    is_last: bool


def has_sequence_suffix(path: str | os.PathLike[str]) -> bool:
    """Say whether a name ends like one of a file of sequences, ``.gz`` aside.

    Examples
    --------
    >>> has_sequence_suffix("chrI.FA.gz"), has_sequence_suffix("plasmid.gbk"), has_sequence_suffix("ACGT")
    (True, True, False)
    """
    return os.fspath(path).lower().removesuffix(".gz").endswith(_FASTA + _GENBANK)


def format_of(path: Path) -> Literal["fasta", "genbank"]:
    """Return what a file of sequences is, by its first line, then by its suffix."""
    first = _first_line(path)
    is_named_genbank = path.name.lower().removesuffix(".gz").endswith(_GENBANK)
    return "genbank" if first.startswith("LOCUS") or (is_named_genbank and not first.startswith(">")) else "fasta"


def stream_records(
    path: str | os.PathLike[str],
    *,
    format: Literal["auto", "fasta", "genbank"] = "auto",  # noqa: A002
) -> Iterator[Record]:
    r"""Read a file of sequences, one record at a time.

    Lower case, U, Windows line ends, blank lines and spaces between blocks of letters are fine.

    Parameters
    ----------
    path : path-like
        FASTA or GenBank, plain or gzipped (known by its first bytes).
    format : {"auto", "fasta", "genbank"}, default="auto"
        ``"auto"`` goes by the first line, then by the suffix (``.gb``, ``.gbk``, ``.gbff``, ``.genbank``).

    Yields
    ------
    Record
        Id and codes. Of a GenBank record the id is accession and version.

    Raises
    ------
    FileNotFoundError
        There is no such file; raised by the call, before the first record.
    ValueError
        It is neither FASTA nor GenBank (raised by the call); a record has no id, no sequence, an id that came before, or
        what is no letter of DNA; the file is damaged or cut short. The message names file, record and position.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "two.fa")
    ...     _ = path.write_text(">a first\nACG\nT\n>b\nnn\n")
    ...     [(record.id, record.codes.tolist()) for record in stream_records(path)]
    [('a', [0, 1, 2, 3]), ('b', [4, 4])]
    """
    if format not in ("auto", "fasta", "genbank"):
        raise ValueError(f"format={format!r} is unknown; take 'auto', 'fasta' or 'genbank'")
    path = existing_file(path)
    kind = format_of(path) if format == "auto" else format
    if kind == "fasta":
        _require_fasta(path)
    return _records(path, kind)


def stream_pieces(path: str | os.PathLike[str], *, piece_length: int = 65_536) -> Iterator[Piece]:
    r"""Read a FASTA file in pieces, so that memory does not grow with the length of a record.

    Parameters
    ----------
    path : path-like
        FASTA, plain or gzipped.
    piece_length : int, default=65_536
        Bases of a piece, at least 1; the last of a record may be shorter.

    Yields
    ------
    Piece
        In the order of the file: the pieces of a record, joined, are its codes.

    Raises
    ------
    FileNotFoundError, ValueError
        As `stream_records`, at the same places; or `piece_length` is below 1, or the file is GenBank.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "one.fa")
    ...     _ = path.write_text(">a\nACG\nTA\n")
    ...     [(piece.start_0based, len(piece.codes), piece.is_last) for piece in stream_pieces(path, piece_length=4)]
    [(0, 4, False), (4, 1, True)]
    """
    if piece_length < 1:
        raise ValueError(f"piece_length={piece_length!r} must be at least 1 base")
    path = existing_file(path)
    if format_of(path) != "fasta":
        raise ValueError(f"{path} is GenBank, which is read record by record; use stream_records, or save it as FASTA")
    _require_fasta(path)
    return _pieces(path, piece_length)


def _records(path: Path, kind: str) -> Iterator[Record]:
    """Hand out the checked records of a file known to be there."""
    seen: set[str] = set()
    with open_text(path) as file:
        for title, letters in _read_fasta(file) if kind == "fasta" else _read_genbank(file, path):
            id_ = _next_id(title, seen, path)
            if not letters:
                raise _no_sequence(id_, path)
            yield Record(id_, encode(letters, name=_called(id_, path)))
    if not seen:
        raise ValueError(f"{path} has no record; is it {'FASTA' if kind == 'fasta' else 'GenBank'}?")


def _read_fasta(file: TextIO) -> Iterator[tuple[str, str]]:
    """Hand out header and letters of each record, by Biopython's fast parser."""
    from Bio.SeqIO.FastaIO import SimpleFastaParser

    yield from SimpleFastaParser(file)


def _read_genbank(file: TextIO, path: Path) -> Iterator[tuple[str, str]]:
    """Hand out id and letters of each record; features are passed over, which is where the time would go."""
    from Bio import BiopythonParserWarning
    from Bio.GenBank.Scanner import GenBankScanner

    parser = GenBankScanner().parse_records(file, do_features=False)
    id_ = None
    while True:
        try:
            with warnings.catch_warnings():
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
    """Hand out the checked pieces of a FASTA file, holding one of them and a line."""
    seen: set[str] = set()
    waiting: list[str] = []
    id_, start, n_waiting = "", 0, 0
    with open_text(path) as file:
        for is_header, text in _lines(file):
            if is_header:
                if seen:
                    yield _last_piece(id_, start, "".join(waiting), path)
                id_, start, waiting, n_waiting = _next_id(text, seen, path), 0, [], 0
                continue
            waiting.append(text)
            n_waiting += len(text)
            if n_waiting > piece_length:  # one letter more than a piece: so this piece is not the last
                letters = "".join(waiting)
                cut = (n_waiting - 1) // piece_length * piece_length
                for a in range(0, cut, piece_length):
                    codes = encode(letters[a : a + piece_length], name=_called(id_, path), start_0based=start)
                    yield Piece(id_, start, codes, is_last=False)
                    start += piece_length
                waiting, n_waiting = [letters[cut:]], n_waiting - cut
        yield _last_piece(id_, start, "".join(waiting), path)


def _last_piece(id_: str, start: int, letters: str, path: Path) -> Piece:
    if not letters:
        raise _no_sequence(id_, path)
    return Piece(id_, start, encode(letters, name=_called(id_, path), start_0based=start), is_last=True)


def _lines(file: TextIO) -> Iterator[tuple[bool, str]]:
    """Hand out (True, header) or (False, letters), a long line of letters in parts."""
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


def _no_sequence(id_: str, path: Path) -> ValueError:
    return ValueError(f"{_called(id_, path)} has no sequence; drop the record, or fetch the file again")


def _called(id_: str, path: Path) -> str:
    return f"record {id_!r} of {path}"


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
        The bases, as `titans_ts.dna.bases.encode` gives them; lengths may differ.
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
