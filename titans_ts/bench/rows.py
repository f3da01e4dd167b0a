"""What a bench measured, a row each, in a CSV file that is whole at any moment."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from titans_ts.data.files import replacing

Row = TypeVar("Row")
_KINDS: dict[str, type] = {"str": str, "int": int, "float": float}


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Return the rows of a file; none where there is no file yet.

    Parameters
    ----------
    path : Path
        A CSV file.
    kind : type
        A dataclass whose fields, each a str, int or float, are the columns.

    Raises
    ------
    ValueError
        If its columns are not the fields of `kind`.

    Examples
    --------
    >>> read_rows(Path("absent.csv"), int)
    []
    """
    if not path.exists():
        return []
    columns = {field.name: _KINDS[str(field.type)] for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    with path.open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(lines)
        if table.fieldnames != list(columns):
            raise ValueError(
                f"{path} is no file of this bench: expected the columns {', '.join(columns)}; name another file"
            )
        return [kind(*(convert(line[name]) for name, convert in columns.items())) for line in table]


def write_rows(path: Path, rows: Iterable[Any], kind: type[Any]) -> None:
    """Write rows of one kind, the old file whole until the new one is."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as lines:
        table = csv.DictWriter(lines, [field.name for field in fields(kind)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in rows)
