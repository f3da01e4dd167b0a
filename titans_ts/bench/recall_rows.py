"""What the recall bench measured, a row each, in a file that is whole at any moment."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from titans_ts.data.files import replacing


@dataclass(frozen=True)
class Row:
    """The score of one run at one length.

    Attributes
    ----------
    setting, task, model : str
        What was run.
    learning_rate : float
        Of its training.
    seed : int
        Of its first weights and of its sequences.
    part : {"validation", "test"}
        Validation at the training length chooses the learning rate.
    length : int
        Tokens.
    kind : str
        ``"all"``, or which needle.
    score : float
        0 to 1; see :func:`titans_ts.bench.recall_model.score`.
    parameters, state : int
        Learned numbers, and numbers that the state of one sequence holds at this length.
    """

    setting: str
    task: str
    model: str
    learning_rate: float
    seed: int
    part: str
    length: int
    kind: str
    score: float
    parameters: int
    state: int


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file; none where there is no file yet.

    Raises
    ------
    ValueError
        If its columns are not those of :class:`Row`.
    """
    if not path.exists():
        return []
    names = [field.name for field in fields(Row)]
    with path.open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(lines)
        if table.fieldnames != names:
            raise ValueError(f"{path} is no file of this bench: expected the columns {', '.join(names)}; name another file")
        numbers = {"learning_rate": float, "score": float, "seed": int, "length": int, "parameters": int, "state": int}
        return [Row(*(numbers.get(name, str)(line[name]) for name in names)) for line in table]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, the old file whole until the new one is."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as lines:
        table = csv.DictWriter(lines, [field.name for field in fields(Row)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in rows)
