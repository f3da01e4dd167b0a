"""What a bench measured, a row each, in a CSV file that is whole at any moment."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from titans_ts.files.tables import replacing

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


WHOLE = "all"
"""Length of a history that is not cut."""


@dataclass(frozen=True)
class HistoryRow:
    """What one model made of one length of history.

    Attributes
    ----------
    setting, data : str
        What was run.
    lag : int
        For ``recurring``, how long ago what is asked was last seen; 0 for other data.
    model : str
        A name of :data:`titans_bench.history_setting.MODELS`.
    seed : int
        Of the fit, and of generated data.
    length : str
        Rows that a cut history keeps, or ``"all"``.
    rows : int
        Rows read before a forecast; of the whole history the mean.
    origins : int
        Forecasts.
    share, recollected : float
        Of what the memory adds to the direct path, and recollection to that, how much validation let through when the
        model was fitted.
    mse, mae : float
        On the standardised scale, over origins, steps and channels.
    seconds_per_step : float
        To absorb a row of one such history, averaged over all of them.
    seconds_per_forecast : float
        Of one forecast after it.
    state_bytes : int
        Size of the state after it.
    resident_mib : float
        Memory of the process that holds this state and the network, in MiB.
    blocks : str
        ``mse/mae`` of each block of neighbouring origins, a space between two.
    """

    setting: str
    data: str
    lag: int
    model: str
    seed: int
    length: str
    rows: int
    origins: int
    share: float
    recollected: float
    mse: float
    mae: float
    seconds_per_step: float
    seconds_per_forecast: float
    state_bytes: int
    resident_mib: float
    blocks: str

    @property
    def block_errors(self) -> NDArray[np.float64]:
        """Squared and absolute error of each block, ``(blocks, 2)``.

        Examples
        --------
        >>> from dataclasses import fields
        >>> values = {field.name: 0 for field in fields(HistoryRow)} | {"blocks": "0.5/0.25 0.75/0.5"}
        >>> HistoryRow(**values).block_errors.tolist()
        [[0.5, 0.25], [0.75, 0.5]]
        """
        return np.array([[float(x) for x in block.split("/")] for block in self.blocks.split()]).reshape(-1, 2)


def block_text(errors: NDArray[np.float64]) -> str:
    """Return squared and absolute errors of blocks ``(blocks, 2)`` as a row keeps them, to six digits.

    Examples
    --------
    >>> block_text(np.array([[0.5, 0.25], [0.75, 0.5]]))
    '0.5/0.25 0.75/0.5'
    """
    return " ".join(f"{squared:.6g}/{absolute:.6g}" for squared, absolute in errors)


def lengths_in_order(rows: Sequence[HistoryRow]) -> list[str]:
    """Return the lengths that rows have, the shortest first and the whole history last."""
    return sorted({row.length for row in rows}, key=lambda length: float("inf") if length == WHOLE else int(length))


@dataclass(frozen=True)
class RecallRow:
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
        0 to 1; see :func:`titans_bench.recall_model.score`.
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


def read_recall_rows(path: Path) -> list[RecallRow]:
    """Return the rows of a file; none where there is no file yet.

    Raises
    ------
    ValueError
        If its columns are not those of :class:`RecallRow`.
    """
    return read_rows(path, RecallRow)


def write_recall_rows(path: Path, rows: Iterable[RecallRow]) -> None:
    """Write rows, the old file whole until the new one is."""
    write_rows(path, rows, RecallRow)
