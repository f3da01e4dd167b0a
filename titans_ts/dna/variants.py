"""Variants of a genome: read from VCF, frames or tuples, and put into the sequence around them.

A variant says what stands in the reference (REF) at a position and what stands there instead (ALT). Whether the reference
at hand really holds REF is told with every window, and never repaired: a mismatch means another assembly, another strand
or positions counted from 0.

>>> (variant,) = read_variants([("I", 3, "G", "GA")])
>>> window = window_of({"I": encode("ACGTT")}, variant, flank=1)
>>> window.before.tolist(), window.ref_in_reference.tolist(), window.after.tolist(), window.ref_match
([1], [2], [3], True)
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from titans_ts.dna.bases import Codes, N, encode
from titans_ts.dna.genome import Genome, check_stretch
from titans_ts.dna.sequences import existing_file, open_text
from titans_ts.frames.read import is_frame

_COLUMNS = {
    "contig": ("contig", "chrom", "#chrom"),
    "position": ("position_1based", "pos"),
    "ref": ("ref",),
    "alt": ("alt",),
}
NO_ID = "."


class Row(NamedTuple):
    """A row as it came, and what errors call it."""

    where: str
    contig: Any
    position: Any
    id: Any
    ref: Any
    alt: Any


def vcf_rows(path: Path) -> Iterator[Row]:
    """Hand out the rows of a VCF file; columns after ALT are not looked at."""
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if number == 1 and line.startswith("BCF"):
                raise ValueError(f"{path} is BCF, not VCF; convert it: bcftools view -O z -o variants.vcf.gz")
            if line.startswith("#") or not line.strip():
                continue
            where = f"{path}, line {number}"
            cells = line.rstrip("\n").split("\t") if "\t" in line else line.split()
            if len(cells) < 5:
                raise ValueError(f"{where} has {len(cells)} columns; expected at least five: CHROM POS ID REF ALT, by tabs")
            contig, position, id_, ref, alt = (cell.strip() for cell in cells[:5])
            yield Row(where, contig, position, id_, ref, alt)


def frame_rows(source: Any) -> Iterator[Row]:
    """Hand out the rows of a frame."""
    import narwhals as nw

    frame = nw.from_native(source, eager_only=True, allow_series=True)
    if isinstance(frame, nw.Series):
        raise TypeError("variants are one column; expected a frame with columns contig, pos, ref and alt")
    columns = {role: _column(frame.columns, role, names) for role, names in _COLUMNS.items()}
    ids = [name for name in frame.columns if name.lower() == "id"]
    values = {role: frame[name].to_list() for role, name in columns.items()}
    values["id"] = frame[ids[0]].to_list() if ids else [NO_ID] * len(frame)
    for i in range(len(frame)):
        yield Row(f"variants, row {i}", **{role: column[i] for role, column in values.items()})


def _column(columns: list[str], role: str, names: tuple[str, ...]) -> str:
    """Return the one column of a frame that plays a role."""
    found = [column for column in columns if column.lower() in names]
    if len(found) != 1:
        said = f"both {found[0]!r} and {found[1]!r}" if found else f"no column {' or '.join(map(repr, names))}"
        raise ValueError(f"variants have {said} for the {role}; expected one, among the columns {columns}")
    return found[0]


def list_rows(source: Iterable[Any]) -> Iterator[Row]:
    """Hand out the rows of a list of tuples."""
    for i, row in enumerate(source):
        where = f"variants[{i}]"
        if not isinstance(row, list | tuple) or len(row) not in (4, 5):
            raise ValueError(f"{where} is {row!r}; expected (contig, position_1based, ref, alt), maybe with the id third")
        contig, position, *id_, ref, alt = row
        yield Row(where, contig, position, id_[0] if id_ else NO_ID, ref, alt)


def position_of(row: Row) -> int:
    """Return a position that is a positive integer, also one that came as text or as a whole float.

    Examples
    --------
    >>> position_of(Row("row 0", "I", "12", ".", "A", "C")), position_of(Row("row 0", "I", 12.0, ".", "A", "C"))
    (12, 12)
    """
    try:
        position = -1 if isinstance(row.position, bool) else int(row.position)
        if position > 0 and (isinstance(row.position, str) or position == row.position):
            return position
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{row.where}: the position is {row.position!r}; expected an integer from 1 on (VCF counts from 1)")


def text_of(value: Any, name: str, row: Row) -> str:
    """Return the text of a cell that must hold some."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(
            f"{row.where}: {name} is {'empty' if isinstance(value, str) else repr(value)}; expected letters: an insertion "
            "or deletion is written with the base before it, as in VCF"
        )
    return value.strip()


def letters_of(text: str, name: str, row: Row) -> str:
    """Return an allele in upper case, once every letter is one of DNA."""
    if text.strip("-") == "":
        raise ValueError(
            f"{row.where}: {name} is {text!r}; an insertion or deletion is written with the base before it, as in VCF"
        )
    encode(text, name=f"{row.where}: {name}")
    return text.upper()


def kind_without_letters(alt: str) -> str | None:
    """Return what an ALT is that has no letters of its own, or None.

    Examples
    --------
    >>> [kind_without_letters(alt) for alt in ("<DEL>", "*", ".", "G]17:198982]", ".A", "AC")]
    ['symbolic', "'*'", 'without ALT', 'breakends', 'breakends', None]
    """
    if alt.startswith("<"):
        return "symbolic"
    if alt == "*":
        return "'*'"
    if alt == ".":
        return "without ALT"
    return "breakends" if "[" in alt or "]" in alt or "." in alt else None


def is_there(value: Any) -> bool:
    """Say whether a cell is not None, NaN or pandas' NA."""
    return value is not None and value == value and type(value).__name__ != "NAType"


class Variant(NamedTuple):
    """One allele: where it stands, counted from 1 as in VCF, its id (``"."`` is none), and the letters REF and ALT."""

    contig: str
    position_1based: int
    id: str
    ref: str
    alt: str

    def __str__(self) -> str:
        return f"{self.contig}:{self.position_1based} {self.ref}>{self.alt}"


class Window(NamedTuple):
    """The reference around a variant: bases before it, in the place of REF, and after it; and whether REF stands there."""

    before: Codes
    ref_in_reference: Codes
    after: Codes
    ref_match: bool


def read_variants(source: Any) -> list[Variant]:
    """Read variants, one for each alternative allele.

    Alleles without letters (``<DEL>``, ``*``, breakends, ``.``) are left out, and a warning says how many.

    Parameters
    ----------
    source : path-like, frame or list
        A VCF file, plain or gzipped. A frame of pandas, polars or pyarrow with columns ``contig`` (or ``chrom``,
        ``#CHROM``), ``pos`` (or ``position_1based``), ``ref`` and ``alt``, in either case, and maybe ``id``. Or a list of
        `Variant`, of (contig, position_1based, ref, alt) or of (contig, position_1based, id, ref, alt).

    Returns
    -------
    list of Variant
        In the order of the source; a row of several ALT, split at the commas, gives one each.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        There are no rows, columns are missing, a position is no positive integer, or REF or ALT is empty or holds what is
        no letter of DNA; the message names line or row.
    TypeError
        The source is of another kind.

    Examples
    --------
    >>> [str(variant) for variant in read_variants([("I", 3, "G", "GA,T"), ("I", 9, "rs1", "c", "t")])]
    ['I:3 G>GA', 'I:3 G>T', 'I:9 C>T']
    """
    if isinstance(source, str | os.PathLike):
        path = existing_file(source)
        what, rows = str(path), vcf_rows(path)
    elif is_frame(source):
        what, rows = "the frame of variants", frame_rows(source)
    elif isinstance(source, list | tuple) and not isinstance(source, Variant):
        what, rows = "the list of variants", list_rows(source)
    else:
        raise TypeError(
            f"variants are {type(source).__name__}; expected the path of a VCF file, a frame with columns contig, pos, ref "
            "and alt, or a list of (contig, position_1based, ref, alt)"
        )
    variants, skipped, n_rows = [], Counter[str](), 0
    for row in rows:
        n_rows += 1
        for alt in text_of(row.alt, "ALT", row).split(","):
            kind = kind_without_letters(alt)
            if kind is None:
                variants.append(_variant(row, alt))
            else:
                skipped[kind] += 1
    if n_rows == 0:
        raise ValueError(f"{what} holds no variants; expected at least one row")
    if skipped:
        kinds = ", ".join(f"{n} {kind}" for kind, n in skipped.items())
        warnings.warn(f"{what}: {skipped.total()} alleles without letters are left out ({kinds})", UserWarning, stacklevel=2)
    return variants


def window_of(genome: Genome | Mapping[str, Codes], variant: Variant, *, flank: int) -> Window:
    """Return the reference around a variant.

    Parameters
    ----------
    genome : Genome or mapping of str to ndarray of uint8
        The contigs.
    variant : Variant
        Where to look.
    flank : int
        Bases wanted on each side, at least 0; there are fewer where the contig begins or ends.

    Returns
    -------
    Window
        ``before`` and ``after`` of at most `flank` bases, ``ref_in_reference`` of as many as REF has. ``ref_match`` says
        whether they are REF; a letter of uncertainty on either side agrees with anything.

    Raises
    ------
    ValueError
        The contig is not there, or the variant lies beyond its end; the message names variant, contig and length.

    Examples
    --------
    >>> window = window_of({"I": encode("ACGTT")}, Variant("I", 2, ".", "A", "T"), flank=10)
    >>> len(window.before), len(window.after), window.ref_match
    (1, 3, False)
    """
    if flank < 0:
        raise ValueError(f"flank={flank!r} must be 0 bases or more")
    start, end = _place(variant)
    length = _length(genome, variant)
    if end > length:
        raise ValueError(
            f"variant {variant} ends at position {end}, beyond contig {variant.contig!r} of length {length}; is the "
            "genome of the same assembly?"
        )
    first, last = max(start - flank, 0), min(end + flank, length)
    codes = genome.fetch(variant.contig, first, last) if isinstance(genome, Genome) else genome[variant.contig][first:last]
    a, b = start - first, end - first
    reference = codes[a:b]
    return Window(codes[:a], reference, codes[b:], _agree(reference, encode(variant.ref, name="REF")))


def apply_variant(codes_reference: Codes, variant: Variant, *, start_0based: int = 0) -> tuple[bool, Codes]:
    """Put ALT in the place of REF.

    Parameters
    ----------
    codes_reference : ndarray of uint8, shape (t,)
        A stretch of the variant's contig.
    variant : Variant
        What to change.
    start_0based : int, default=0
        Where in the contig the stretch begins, counted from 0.

    Returns
    -------
    ref_match : bool
        Whether REF stood there, as in `window_of`. The change is made in any case.
    codes : ndarray of uint8, shape (t - len(REF) + len(ALT),)
        A new array.

    Raises
    ------
    ValueError
        The place of REF is not wholly within the stretch.

    Examples
    --------
    >>> matches, codes = apply_variant(encode("ACGT"), Variant("I", 12, ".", "CG", "T"), start_0based=10)
    >>> matches, codes.tolist()
    (True, [0, 3, 3])
    """
    start, end = (each - start_0based for each in _place(variant))
    if start < 0 or end > len(codes_reference):
        raise ValueError(
            f"variant {variant} does not lie within the {len(codes_reference)} bases from position {start_0based + 1}; "
            "pass the stretch around it, and where it starts"
        )
    matches = _agree(codes_reference[start:end], encode(variant.ref, name="REF"))
    alt = encode(variant.alt, name="ALT")
    return matches, np.concatenate([codes_reference[:start], alt, codes_reference[end:]])


def _variant(row: Row, alt: str) -> Variant:
    """Return the checked variant of a row."""
    contig = str(row.contig).strip() if is_there(row.contig) else ""
    if not contig:
        raise ValueError(f"{row.where}: the contig is missing; fill it in, or drop the row")
    ref, id_ = text_of(row.ref, "REF", row), str(row.id) if is_there(row.id) else NO_ID
    return Variant(contig, position_of(row), id_, letters_of(ref, "REF", row), letters_of(alt, "ALT", row))


def _place(variant: Variant) -> tuple[int, int]:
    """Return the stretch of REF, counted from 0, half-open."""
    return variant.position_1based - 1, variant.position_1based - 1 + len(variant.ref)


def _length(genome: Genome | Mapping[str, Codes], variant: Variant) -> int:
    """Return the length of the variant's contig."""
    lengths = genome.contigs if isinstance(genome, Genome) else {name: len(codes) for name, codes in genome.items()}
    try:
        check_stretch(lengths, variant.contig, 0, 0)
    except ValueError as error:
        raise ValueError(f"variant {variant}: {error}") from None
    return lengths[variant.contig]


def _agree(a: Codes, b: Codes) -> bool:
    """Say whether two sequences of one length could be the same, N being any base."""
    return bool(((a == b) | (a == N) | (b == N)).all())
