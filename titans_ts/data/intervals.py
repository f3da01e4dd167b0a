"""Stretches of a genome named in a BED file, and their sequences."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from titans_ts.bases import Codes, reverse_complement
from titans_ts.data.genome import Genome, check_stretch
from titans_ts.data.packed import existing_file, open_text

_NO_NAME = "."


class Interval(NamedTuple):
    """A stretch of a contig, counted from 0 and half-open; ``line`` is where it stood in its file, 0 if in none."""

    contig: str
    start_0based: int
    end: int
    name: str = _NO_NAME
    strand: str = "."
    line: int = 0

    def __str__(self) -> str:
        sign = self.strand if self.strand in ("+", "-") else ""
        return f"{self.contig}:{self.start_0based}-{self.end}{f'({sign})' if sign else ''}"


def read_bed(path: str | os.PathLike[str]) -> list[Interval]:
    r"""Read a BED file.

    Parameters
    ----------
    path : path-like
        Plain or gzipped; columns contig, start (counted from 0), end (not included), and maybe name, score and strand,
        separated by tabs or spaces. Further columns are passed over, and so are comments and lines of ``track`` and
        ``browser``.

    Returns
    -------
    list of Interval
        In the order of the file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It holds no interval, or a line has fewer than three columns, positions that are no integers, a start below 0, an
        end that is not after its start, or a strand other than ``+``, ``-`` and ``.``; the message names the line.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "two.bed")
    ...     _ = path.write_text("track name=x\nI\t0\t4\nI\t2\t6\tgene\t0\t-\n")
    ...     [str(interval) for interval in read_bed(path)]
    ['I:0-4', 'I:2-6(-)']
    """
    path = existing_file(path)
    intervals = []
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip() or line.startswith("#") or line.split()[0] in ("track", "browser"):
                continue
            cells = line.split("\t") if "\t" in line else line.split()
            intervals.append(_interval([cell.strip() for cell in cells], number, path))
    if not intervals:
        raise ValueError(f"{path} holds no interval; is it BED: contig, start and end, by tabs?")
    return intervals


def fetch_intervals(genome: Genome, intervals: Iterable[Interval]) -> tuple[list[str], list[Codes]]:
    r"""Return the sequences of intervals, as they read on their own strand.

    Parameters
    ----------
    genome : Genome
        Where the contigs are.
    intervals : iterable of Interval
        What `read_bed` gave, or made by hand.

    Returns
    -------
    ids : list of str
        The intervals' names; where one has none, ``contig:start-end`` with its strand, counted as in BED.
    codes : list of ndarray of uint8, each of shape (end - start_0based,)
        The bases; those of the minus strand are reverse complemented.

    Raises
    ------
    ValueError
        An interval lies outside its contig, or its contig is not there. The message names line, contig and length, and
        comes before any sequence is read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "one.fa")
    ...     _ = path.write_text(">I\nACGGT\n")
    ...     ids, codes = fetch_intervals(Genome(path), [Interval("I", 0, 2), Interval("I", 0, 2, "gene", "-")])
    >>> ids, [each.tolist() for each in codes]
    (['I:0-2', 'gene'], [[0, 1], [2, 3]])
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
