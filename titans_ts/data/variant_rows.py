"""Rows of variants as they come, from VCF files, frames and lists, and the checks of their cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from titans_ts.bases import encode
from titans_ts.data.packed import open_text

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
