"""Files of sequences, read as a stream: FASTA and GenBank, plain or gzipped.

`stream_records` hands out record by record, `stream_pieces` parts of records, so that a chromosome never lies whole in
memory. For random access see `titans_ts.data.genome`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TextIO

from titans_ts.bases import Codes, encode
from titans_ts.data.packed import existing_file, open_text

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
