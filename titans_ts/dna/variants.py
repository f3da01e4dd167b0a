"""Variants of a genome: read from VCF, frames or tuples, and the reference around them.

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

from titans_ts.dna.bases import Codes, N, encode
from titans_ts.dna.genome import Genome, check_stretch
from titans_ts.dna.sequences import existing_file, lines_of_cells, open_text
from titans_ts.frames.numbers import is_missing
from titans_ts.frames.read import is_frame

_COLUMNS = {
    "contig": ("contig", "chrom", "#chrom"),
    "position": ("position_1based", "pos"),
    "ref": ("ref",),
    "alt": ("alt",),
}
_NO_ID = "."


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
    """Read variants, one for each alternative allele, in the order of the source.

    The source is a VCF file, plain or gzipped; a frame of pandas, polars or pyarrow with columns ``contig`` (or ``chrom``,
    ``#CHROM``), ``pos`` (or ``position_1based``), ``ref`` and ``alt``, in either case, and maybe ``id``; or a list of
    `Variant`, of (contig, position_1based, ref, alt) or of (contig, position_1based, id, ref, alt). Several ALT are
    separated by commas. Alleles without letters (``<DEL>``, ``*``, breakends, ``.``) are left out, and a warning says how
    many. An error names line or row.

    >>> [str(variant) for variant in read_variants([("I", 3, "G", "GA,T"), ("I", 9, "rs1", "c", "t")])]
    ['I:3 G>GA', 'I:3 G>T', 'I:9 C>T']
    """
    if isinstance(source, str | os.PathLike):
        path = existing_file(source)
        what, rows = str(path), _vcf_rows(path)
    elif is_frame(source):
        what, rows = "the frame of variants", _frame_rows(source)
    elif isinstance(source, list | tuple) and not isinstance(source, Variant):
        what, rows = "the list of variants", _list_rows(source)
    else:
        raise TypeError(
            f"variants are {type(source).__name__}; expected the path of a VCF file, a frame with columns contig, pos, ref "
            "and alt, or a list of (contig, position_1based, ref, alt)"
        )
    variants, skipped, n_rows = [], Counter[str](), 0
    for row in rows:
        n_rows += 1
        for alt in _text_of(row.alt, "ALT", row).split(","):
            kind = _kind_without_letters(alt)
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
    """Return the reference around a variant: ``flank`` bases on each side, fewer where the contig begins or ends.

    A letter of uncertainty, in REF or in the reference, agrees with anything. A variant beyond its contig is refused.
    """
    if flank < 0:
        raise ValueError(f"flank={flank!r} must be 0 bases or more")
    start = variant.position_1based - 1
    end = start + len(variant.ref)
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
    ref = encode(variant.ref, name="REF")
    agree = (reference == ref) | (reference == N) | (ref == N)
    return Window(codes[:a], reference, codes[b:], bool(agree.all()))


def _length(genome: Genome | Mapping[str, Codes], variant: Variant) -> int:
    """Return the length of the variant's contig."""
    lengths = genome.contigs if isinstance(genome, Genome) else {name: len(codes) for name, codes in genome.items()}
    try:
        check_stretch(lengths, variant.contig, 0, 0)
    except ValueError as error:
        raise ValueError(f"variant {variant}: {error}") from None
    return lengths[variant.contig]


class _Row(NamedTuple):
    """A row as it came, and what errors call it."""

    where: str
    contig: Any
    position: Any
    id: Any
    ref: Any
    alt: Any


def _vcf_rows(path: Path) -> Iterator[_Row]:
    """Yield the rows of a VCF file; columns after ALT are not looked at."""
    with open_text(path) as file:
        if file.read(3) == "BCF":
            raise ValueError(f"{path} is BCF, not VCF; convert it: bcftools view -O z -o variants.vcf.gz")
    for number, cells in lines_of_cells(path):
        where = f"{path}, line {number}"
        if len(cells) < 5:
            raise ValueError(f"{where} has {len(cells)} columns; expected at least five: CHROM POS ID REF ALT, by tabs")
        yield _Row(where, *cells[:5])


def _frame_rows(source: Any) -> Iterator[_Row]:
    """Yield the rows of a frame."""
    import narwhals as nw

    frame = nw.from_native(source, eager_only=True, allow_series=True)
    if isinstance(frame, nw.Series):
        raise TypeError("variants are one column; expected a frame with columns contig, pos, ref and alt")
    columns = {role: _column(frame.columns, role, names) for role, names in _COLUMNS.items()}
    ids = [name for name in frame.columns if name.lower() == "id"]
    values = {role: frame[name].to_list() for role, name in columns.items()}
    values["id"] = frame[ids[0]].to_list() if ids else [_NO_ID] * len(frame)
    for i in range(len(frame)):
        yield _Row(f"variants, row {i}", **{role: column[i] for role, column in values.items()})


def _column(columns: list[str], role: str, names: tuple[str, ...]) -> str:
    """Return the one column of a frame that plays a role."""
    found = [column for column in columns if column.lower() in names]
    if len(found) != 1:
        said = f"both {found[0]!r} and {found[1]!r}" if found else f"no column {' or '.join(map(repr, names))}"
        raise ValueError(f"variants have {said} for the {role}; expected one, among the columns {columns}")
    return found[0]


def _list_rows(source: Iterable[Any]) -> Iterator[_Row]:
    """Yield the rows of a list of tuples."""
    for i, row in enumerate(source):
        where = f"variants[{i}]"
        if not isinstance(row, list | tuple) or len(row) not in (4, 5):
            raise ValueError(f"{where} is {row!r}; expected (contig, position_1based, ref, alt), maybe with the id third")
        contig, position, *id_, ref, alt = row
        yield _Row(where, contig, position, id_[0] if id_ else _NO_ID, ref, alt)


def _variant(row: _Row, alt: str) -> Variant:
    """Return the checked variant of a row."""
    contig = str(row.contig).strip() if not is_missing(row.contig) else ""
    if not contig:
        raise ValueError(f"{row.where}: the contig is missing; fill it in, or drop the row")
    ref, id_ = _text_of(row.ref, "REF", row), str(row.id) if not is_missing(row.id) else _NO_ID
    return Variant(contig, _position_of(row), id_, _letters_of(ref, "REF", row), _letters_of(alt, "ALT", row))


def _position_of(row: _Row) -> int:
    """Return a position that is a positive integer, also one that came as text or as a whole float."""
    try:
        position = -1 if isinstance(row.position, bool) else int(row.position)
        if position > 0 and (isinstance(row.position, str) or position == row.position):
            return position
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{row.where}: the position is {row.position!r}; expected an integer from 1 on (VCF counts from 1)")


def _text_of(value: Any, name: str, row: _Row) -> str:
    """Return the text of a cell that must hold some."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(
            f"{row.where}: {name} is {'empty' if isinstance(value, str) else repr(value)}; expected letters: an insertion "
            "or deletion is written with the base before it, as in VCF"
        )
    return value.strip()


def _letters_of(text: str, name: str, row: _Row) -> str:
    """Return an allele in upper case, once every letter is one of DNA."""
    if text.strip("-") == "":
        raise ValueError(
            f"{row.where}: {name} is {text!r}; an insertion or deletion is written with the base before it, as in VCF"
        )
    encode(text, name=f"{row.where}: {name}")
    return text.upper()


def _kind_without_letters(alt: str) -> str | None:
    """Return what an ALT is that has no letters of its own, or None.

    >>> [_kind_without_letters(alt) for alt in ("<DEL>", "*", ".", "G]17:198982]", ".A", "AC")]
    ['symbolic', "'*'", 'without ALT', 'breakends', 'breakends', None]
    """
    if alt.startswith("<"):
        return "symbolic"
    if alt == "*":
        return "'*'"
    if alt == ".":
        return "without ALT"
    return "breakends" if "[" in alt or "]" in alt or "." in alt else None
