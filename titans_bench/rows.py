"""What a bench measured: rows in a CSV file that is whole at any moment, filled in where runs are missing, and shown."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np
import torch
from joblib import Parallel, delayed, parallel_config

from titans_ts.files.replacing import replacing
from titans_ts.learn.progress import progress_bar

Row = TypeVar("Row")  # a dataclass whose fields, each a str, int, float or a choice of these and None, are the columns


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Return the rows of a file; none where there is no file yet. A file with other columns is refused."""
    if not path.exists():
        return []
    columns: dict[str, Any] = get_type_hints(kind)
    with path.open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(lines)
        if table.fieldnames != list(columns):
            raise ValueError(
                f"{path} is no file of this bench: expected the columns {', '.join(columns)}; name another file"
            )
        return [kind(*(_value(line[name], column) for name, column in columns.items())) for line in table]


def _value(text: str, column: Any) -> Any:
    """Return a cell as what its column holds: of a choice the first that it can be, None where it is empty."""
    choices = get_args(column) or (column,)
    if type(None) in choices and not text:
        return None
    for choice in choices[:-1]:
        with suppress(ValueError):
            return choice(text)
    return choices[-1](text)


def write_rows(path: Path, rows: Iterable[Any], kind: type[Any]) -> None:
    """Write rows of one kind, the old file whole until the new one is."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as lines:
        table = csv.DictWriter(lines, [field.name for field in fields(kind)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in rows)


def rows_of(rows: Sequence[Row], setting: str, run: Any) -> list[Row]:
    """Return the rows of one run, a NamedTuple whose fields are columns."""
    asked = {"setting": setting, **run._asdict()}
    return [row for row in rows if all(getattr(row, name) == value for name, value in asked.items())]


def check_names(**asked: tuple[Sequence[str], Collection[str]]) -> None:
    """Refuse the first name of an argument that is not among those it may take."""
    for argument, (names, known) in asked.items():
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"{argument}: {unknown[0]!r} is not known; choose from {'; '.join(known)}")


def fill_in(
    out: Path,
    rows: list[Row],
    missing: Sequence[Any],
    work: Callable[..., list[Row]],
    *,
    kind: type[Row],
    setting: str,
    jobs: int,
    verbose: int | None,
) -> list[Row]:
    """Run what is missing, write the file after each run, and return all rows.

    Of several jobs each runs in a process of its own with one thread; times are then those of a busy machine.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more, got {jobs}")
    with parallel_config("loky" if jobs > 1 else "sequential", n_jobs=jobs):
        done = Parallel(return_as="generator_unordered")(
            delayed(_made)(work, run, verbose=verbose, alone=jobs == 1) for run in missing
        )
        for run, made in progress_bar(verbose, "bench", unit="run", iterable=done, total=len(missing)):
            old = rows_of(rows, setting, run)
            rows = [row for row in rows if row not in old] + made
            write_rows(out, rows, kind)
    return rows


def _made(work: Callable[..., list[Row]], run: Any, *, verbose: int | None, alone: bool) -> tuple[Any, list[Row]]:
    if not alone:
        torch.set_num_threads(1)
    return run, work(run, verbose=verbose if alone else 0)


def markdown_table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return cells as a markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *body)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def draw_runs(
    panel: Any, x: Sequence[float], values: Sequence[Sequence[float]], *, color: str, label: str, style: str = "-"
) -> None:
    """Draw the mean over the runs at each place, their range shaded."""
    means = [np.mean(each) for each in values]
    panel.plot(x, means, style, color=color, marker="o", markersize=4, label=label)
    panel.fill_between(x, [min(each) for each in values], [max(each) for each in values], color=color, alpha=0.12, lw=0)
