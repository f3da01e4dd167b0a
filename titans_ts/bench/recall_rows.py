"""What the recall bench measured, a row each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from titans_ts.bench import rows as rows_of_a_bench


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
    return rows_of_a_bench.read_rows(path, Row)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, the old file whole until the new one is."""
    rows_of_a_bench.write_rows(path, rows, Row)
