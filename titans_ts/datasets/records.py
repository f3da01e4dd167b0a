"""What the library knows of every public data set: origin, licence, checksums, size and standard split.

The text is in ``records.toml``. The data themselves are never part of the package.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal

Kind = Literal["series", "sequences", "genome"]
PARTS = {"train": "training", "dev": "validation", "test": "test"}


@dataclass(frozen=True)
class DataFile:
    """One file of a data set."""

    sha256: str  # of the unpacked bytes; of a header (.hea) without its comments
    places: tuple[str, ...]  # where it may lie in a folder of data; `<place>.gz` is taken too
    url: str | None = None  # None where there is no address of this very file


@dataclass(frozen=True, kw_only=True)
class DatasetRecord:
    """One data set as its origin publishes it."""

    name: str
    kind: Kind
    files: Mapping[str, DataFile]  # by file name; of DNA by part, or "all"
    length: int  # rows of a series; bases of a sequence, or of a genome
    split: tuple[int, ...] = ()  # rows or sequences of the training, validation and test part, in the file's order
    target_columns: tuple[str, ...] = ()  # as handed out
    origin: str
    licence: str
    citation: str
    obtain: str = ""  # where a person finds the files if they have no url
    package: tuple[str, str] | None = None  # an installable module that ships the file, and the path inside it
    note: str = ""  # what a careful reader should know

    # Series
    time_column: str = ""  # handed out as `ds`; empty where rows are numbered instead
    frequency: str | int = 1  # time between two rows, as pandas writes it; 1 where rows are numbered
    every: str = ""  # the same for a person, where `frequency` does not say it
    missing_marker: float | None = None  # the number that stands for "missing" in the file
    renamed: Mapping[str, str] = field(default_factory=dict)  # names in the file to names handed out, where they differ

    # DNA
    what: str = ""
    n_classes: int | None = None  # None where the target is a number

    @property
    def size(self) -> str:
        """Return the size for a person."""
        if self.kind == "series":
            every = self.every or self.frequency
            return f"{self.length} steps x {len(self.target_columns)} columns, one every {every}"
        if self.kind == "genome":
            return f"{self.length:,} bp"
        return f"{', '.join(f'{n:,} {part}' for n, part in self._parts())} sequences of {self.length} bp"

    @property
    def card(self) -> str:
        """Return a few lines for a person: what it is, from where, on what terms."""
        is_series, target = self.kind == "series", f"{self.n_classes} classes" if self.n_classes else "a number"
        lines = [f"{self.name}: {self.size}"] if is_series else [f"{self.name}: {self.what}", f"size: {self.size}"]
        if self.kind == "sequences":
            lines.append(f"target: {self.target_columns[0]}, {target}")
        lines += [f"origin: {self.origin}", f"licence: {self.licence}", f"cite: {self.citation}"]
        if is_series:
            lines.append(f"split: {', '.join(f'{n} {part}' for n, part in self._parts())} rows")
        for name, file in self.files.items():
            lines.append(f"sha256{'' if is_series and len(self.files) == 1 else f' ({name})'}: {file.sha256}")
        return "\n".join(lines + ([f"note: {self.note}"] if self.note else []))

    def _parts(self) -> zip[tuple[int, str]]:
        return zip(self.split, PARTS.values(), strict=True)


def _read_records() -> dict[str, DatasetRecord]:
    """Read the registry; a data set takes what it does not say itself from its family."""
    text = files("titans_ts.datasets").joinpath("records.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    records = {}
    for name, own in table["dataset"].items():
        facts: dict[str, Any] = table["family"].get(own.pop("family", None), {}) | own
        facts = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
        facts["files"] = {key: DataFile(**file | {"places": tuple(file["places"])}) for key, file in facts["files"].items()}
        records[name] = DatasetRecord(name=name, **facts)
    return records


RECORDS: Mapping[str, DatasetRecord] = _read_records()
