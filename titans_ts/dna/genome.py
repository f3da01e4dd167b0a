"""Any stretch of a genome, by contig and position, and the intervals of a BED file."""

from __future__ import annotations

import importlib.util
import operator
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from titans_ts.dna.bases import Codes, encode, reverse_complement
from titans_ts.dna.sequences import existing_file, format_of, is_gzip, lines_of_cells, stream_records

_SHOWN_CONTIGS = 5
_NO_NAME = "."


class Genome:
    r"""Random access to the contigs of a FASTA or GenBank file.

    An uncompressed FASTA file is left on disk and read through pyfaidx where that is installed; anything else (gzip,
    GenBank, lines of uneven length, no pyfaidx) is read into memory once, one byte a base. Nothing is written beside
    the file: an index ``<path>.fai`` that lies there and is no older than it is used, and otherwise one is made in a
    temporary folder that is gone when the constructor returns. Letters are checked when they are read.

    Parameters
    ----------
    path : path-like
        The file; ids are the first words of its headers.
    in_memory : bool or None, default=None
        True reads the file into memory in any case; False refuses to, and says why it would have to; None chooses.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "two.fa")
    ...     _ = path.write_text(">I\nACG\nT\n>II\nGG\n")
    ...     with Genome(path) as genome:
    ...         genome.contigs, genome.fetch("I", 1, 4).tolist()
    ({'I': 4, 'II': 2}, [1, 2, 3])
    """

    contigs: dict[str, int]  # length of each, in the order of the file
    in_memory: bool  # which of the two it came to

    def __init__(self, path: str | os.PathLike[str], *, in_memory: bool | None = None) -> None:
        self.path = existing_file(path)
        self._codes: dict[str, Codes] = {}
        self._file: Any = None if in_memory else _indexed(self.path, required=in_memory is False)
        if self._file is None:
            self._codes = {record.id: record.codes for record in stream_records(self.path)}
            self.contigs = {id_: len(codes) for id_, codes in self._codes.items()}
        else:
            self.contigs = {id_: entry.rlen for id_, entry in self._file.index.items()}
        self.in_memory = self._file is None

    def fetch(self, contig: str, start_0based: int, end: int) -> Codes:
        """Return the bases ``start_0based`` to ``end - 1`` of a contig, counted from 0, as an array of its own."""
        start_0based, end = check_stretch(self.contigs, contig, start_0based, end, where=str(self.path))
        if start_0based == end:
            return np.empty(0, dtype=np.uint8)
        if self._file is None:
            return self._codes[contig][start_0based:end].copy()
        letters = self._file.fetch(contig, start_0based + 1, end)
        return encode(letters, name=f"contig {contig!r} of {self.path}", start_0based=start_0based)

    def close(self) -> None:
        """Close the file, if one is open; fetching ends with it."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Genome:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Interval(NamedTuple):
    """A stretch of a contig, counted from 0 and half-open; ``line`` is where it stood in its file, 0 if in none."""

    contig: str
    start_0based: int
    end: int
    name: str = _NO_NAME
    strand: str = "."
    line: int = 0

    def __str__(self) -> str:
        return f"{self.contig}:{self.start_0based}-{self.end}" + (f"({self.strand})" if self.strand in ("+", "-") else "")


def read_bed(path: str | os.PathLike[str]) -> list[Interval]:
    """Read a BED file, plain or gzipped; an error names the line.

    Columns are contig, start (from 0), end, and maybe name, score, strand; further ones, comments and ``track`` and
    ``browser`` lines are skipped.
    """
    path = existing_file(path)
    lines = lines_of_cells(path)
    intervals = [
        _interval(cells, number, path) for number, cells in lines if cells[0].split(" ")[0] not in ("track", "browser")
    ]
    if not intervals:
        raise ValueError(f"{path} holds no interval; is it BED: contig, start and end, by tabs?")
    return intervals


def fetch_intervals(genome: Genome, intervals: Iterable[Interval]) -> tuple[list[str], list[Codes]]:
    """Return ids and bases of intervals, the minus strand reverse complemented; all are checked before any is read.

    The id is the interval's name, or ``contig:start-end`` with its strand.
    """
    intervals = list(intervals)
    for interval in intervals:
        _require_within(interval, genome)
    ids, sequences = [], []
    for interval in intervals:
        codes = genome.fetch(interval.contig, interval.start_0based, interval.end)
        ids.append(str(interval) if interval.name in ("", _NO_NAME) else interval.name)
        sequences.append(reverse_complement(codes) if interval.strand == "-" else codes)
    return ids, sequences


def check_stretch(
    contigs: dict[str, int], contig: str, start_0based: int, end: int, *, where: str = "the genome"
) -> tuple[int, int]:
    """Return the two positions as int, refusing a contig that is not in ``where`` and positions outside it."""
    if contig not in contigs:
        names = list(contigs)
        more = f" and {len(names) - _SHOWN_CONTIGS} more" if len(names) > _SHOWN_CONTIGS else ""
        likely = next((name for name in names if name.removeprefix("chr") == str(contig).removeprefix("chr")), None)
        raise ValueError(
            f"there is no contig {contig!r} in {where}; it has {', '.join(map(repr, names[:_SHOWN_CONTIGS]))}{more}"
            + ("" if likely is None else f"; is it {likely!r}?")
        )
    start_0based, end = operator.index(start_0based), operator.index(end)
    if not 0 <= start_0based <= end <= contigs[contig]:
        raise ValueError(
            f"{start_0based} to {end} (counted from 0, half-open) is no stretch of contig {contig!r} of length "
            f"{contigs[contig]} in {where}"
        )
    return start_0based, end


def _indexed(path: Path, *, required: bool) -> Any:
    """Return pyfaidx's reader of a file, or None where it cannot serve and is not required."""
    why = None
    if is_gzip(path) or format_of(path) != "fasta":
        why = "only an uncompressed FASTA file can be read at any position; unpack it"
    elif importlib.util.find_spec("pyfaidx") is None:
        if required:
            raise ImportError("in_memory=False needs pyfaidx; `pip install 'titans-ts[genomics]'`")
        return None
    else:
        reader, why = _open_index(path)
        if reader is not None:
            return reader
    if required:
        raise ValueError(f"in_memory=False, but {path} cannot be read in place: {why}, or leave in_memory out")
    return None


def _open_index(path: Path) -> tuple[Any, str]:
    """Return pyfaidx's reader, or None and the reason; a reason is no error yet: reading into memory may do."""
    import pyfaidx

    beside = path.with_name(f"{path.name}.fai")
    reason = ""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder, "index.fai")
        is_current = beside.is_file() and beside.stat().st_mtime >= path.stat().st_mtime
        for index in (beside, fresh) if is_current else (fresh,):
            try:
                reader = pyfaidx.Faidx(path, indexname=index, as_raw=True, rebuild=False)
            except (pyfaidx.FastaIndexingError, OSError, ValueError) as error:  # uneven lines, an id twice, a bad index
                reason = f"{error}; rewrite it with even lines"
                continue
            if all(entry.rlen for entry in reader.index.values()):
                return reader, ""
            reader.close()
            reason = "a record has no sequence; drop it"
    return None, reason


def _interval(cells: list[str], number: int, path: Path) -> Interval:
    """Return the checked interval of a line."""
    where = f"{path}, line {number}"
    if len(cells) < 3:
        raise ValueError(f"{where} has {len(cells)} columns; expected at least three: contig, start and end, by tabs")
    try:
        start, end = int(cells[1]), int(cells[2])
    except ValueError:
        raise ValueError(f"{where}: start and end are {cells[1]!r} and {cells[2]!r}; expected integers") from None
    if start < 0:
        raise ValueError(f"{where}: the start is {start}; expected 0 or more (BED counts from 0)")
    if end <= start:
        raise ValueError(
            f"{where}: the end is {end}, the start {start}; expected an end after the start (it is not included)"
        )
    strand = cells[5] if len(cells) > 5 else "."
    if strand not in ("+", "-", "."):
        raise ValueError(f"{where}: the strand is {strand!r}; expected '+', '-' or '.'")
    return Interval(cells[0], start, end, cells[3] if len(cells) > 3 else _NO_NAME, strand, number)


def _require_within(interval: Interval, genome: Genome) -> None:
    """Refuse an interval outside its contig."""
    try:
        check_stretch(genome.contigs, interval.contig, interval.start_0based, interval.end, where=str(genome.path))
    except ValueError as error:
        where = f"line {interval.line}" if interval.line else f"interval {interval}"
        raise ValueError(f"{where}: {error}") from None
