"""The tables of benchmarks/README.md, each rendered from the rows of a CSV file beside it, in its place between two marks.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; what is between them is this module's, all else a
person's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from titans_bench.adapt.bench import AdaptRow
from titans_bench.adapt.panels import PANELS
from titans_bench.adapt.table import adapt_table
from titans_bench.contest import ALL, NAIVE, OURS, POINT_NAIVE, TaskRow
from titans_bench.history.bench import HistoryRow
from titans_bench.history.table import history_table
from titans_bench.protocol import Score, format_table
from titans_bench.reading_on import ReadingRow, reading_table
from titans_bench.recall import ABLATION, MODELS, SWITCHES, RecallRow, recall_table
from titans_bench.rows import markdown_table, read_rows
from titans_bench.state_bytes import StateRow, state_table
from titans_bench.tasks import GROUPS, TASKS
from titans_ts.files.replacing import replacing

PROTOCOL = ("ETTh1", "ETTh2", "ETTm1", "exchange_rate", "vic_elec", "weather", "weather_markers")
"""Files of the standard protocol; the last has -9999 as a number."""
MEMORIES = tuple(name for name in MODELS if name not in SWITCHES)
_PLACE = re.compile(r"(<!-- table: (?P<name>[^\n]*?) -->\n).*?(<!-- end -->)", flags=re.DOTALL)


def score_table(rows: Sequence[TaskRow]) -> str:
    """Return a markdown table of one task: a row a model, the mean over seeds, in brackets MASE's greatest less least."""
    task = TASKS[rows[0].task]
    naive = [task.published.mase, task.published.sql, task.published.wql]
    cells = ["-" if value is None else f"{value:.4f}" for value in naive]
    body = [[f"{NAIVE}, as published", *cells, *["-"] * 6]]
    for name, mine in _models(rows).items():
        mase, sql, wql = ([getattr(row, key) for row in mine] for key in ("mase", "sql", "wql"))
        spread = f" ({np.ptp(mase):.4f})" if len(mase) > 1 else ""
        errors = [f"{np.mean(mase):.4f}{spread}", f"{np.mean(sql):.4f}", f"{np.mean(wql):.4f}"]
        times = [_mean(mine, key, "{:.1f}") for key in ("fit_seconds", "forecast_seconds", "cpu_seconds")]
        body.append([name, *errors, *_coverages(mine), *times, str(len(mase))])
    head = [task.name, "MASE", "SQL", "WQL", "in 80 %", "in 95 %", "fit, s", "forecasts, s", "processor, s", "seeds"]
    row = rows[0]
    return f"{markdown_table(head, body)}\n\n{row.series:,} series; windows of {row.horizon} rows: {row.windows}."


def panels_table(rows: Sequence[TaskRow]) -> str:
    """Return a markdown table of the panels: MASE/WQL a task, and geometric means of both over seasonal naive.

    A WQL is set beside that of the naive point alone, as in the published figures.
    """
    tasks = GROUPS["panels"]
    rows = [row for row in rows if row.task in tasks]
    naive = {row.task: row for row in rows if row.model == POINT_NAIVE}
    published = [TASKS[name].published for name in tasks]
    first = [f"{NAIVE}, as published", *(f"{one.mase:.3f}/{one.wql:.4f}" for one in published), "1", "-", "1"]
    body = [[*first, *["-"] * 4]]
    for name, mine in _models(rows).items():
        of = {task: [row for row in mine if row.task == task] for task in tasks}
        cells = [f"{_mean(of[t], 'mase', '{:.3f}')}/{_mean(of[t], 'wql', '{:.4f}')}" if of[t] else "-" for t in tasks]
        whole = all(of.values()) and len(naive) == len(tasks)
        ratios = {
            key: [[getattr(row, key) / getattr(naive[task], key) for row in of[task]] for task in tasks] if whole else []
            for key in ("mase", "wql")
        }
        means = {
            key: f"{np.exp(np.mean([np.log(np.mean(x)) for x in found])):.3f}" if whole else "-"
            for key, found in ratios.items()
        }
        worst = f"{max(max(found) for found in ratios['mase']):.2f}" if whole else "-"
        body.append(
            [name, *cells, means["mase"], worst, means["wql"], *_coverages(mine), *_sums(of, "seconds"), *_sums(of, "cpu")]
        )
    head = ["MASE/WQL", *tasks, "MASE, of naive", "worst", "WQL, of naive", "in 80 %", "in 95 %", "seconds", "processor, s"]
    note = (
        "Mean over seeds; of naive: geometric mean over the tasks of the error over the seasonal naive forecast's, whose "
        "published WQL is that of its point alone; worst: the greatest such ratio of MASE of any task and seed; seconds: "
        "fits and forecasts of all tasks, the mean over seeds."
    )
    return f"{markdown_table(head, body)}\n\n{note}"


def rolling_table(rows: Sequence[TaskRow]) -> str:
    """Return a markdown table of the rolling tasks: SQL/MASE a task, coverage, and what the longest took."""
    tasks = GROUPS["rolling"]
    rows = [row for row in rows if row.task in tasks and row.model != POINT_NAIVE]
    published = [TASKS[name].published for name in tasks]
    body = [[f"{NAIVE}, as published", *(f"{one.sql:.4f}/{one.mase:.4f}" for one in published), "-", "-", "-"]]
    for name, mine in _models(rows).items():
        of = {task: [row for row in mine if row.task == task] for task in tasks}
        cells = [f"{_mean(of[t], 'sql', '{:.4f}')}/{_mean(of[t], 'mase', '{:.4f}')}" if of[t] else "-" for t in tasks]
        most = max(np.mean([row.cpu_seconds for row in found]) for found in of.values() if found)
        body.append([name, *cells, *_coverages(mine), f"{most:.1f}"])
    head = ["SQL/MASE", *tasks, "in 80 %", "in 95 %", "processor, s, at most"]
    windows = ", ".join(f"{TASKS[name].windows} of {TASKS[name].horizon} rows" for name in tasks)
    note = (
        f"Mean over seeds; windows: {windows}; fitted once, before the first; the processor's seconds are those of a task."
    )
    return f"{markdown_table(head, body)}\n\n{note}"


class Source(NamedTuple):
    """Where a table comes from: a file, and how its rows are shown."""

    file: str
    kind: type[Any]
    table: Callable[[Sequence[Any]], str]


def _standard(table: Callable[[Sequence[Any]], str], **wanted: str) -> Callable[[Sequence[Any]], str]:
    """Return a table of the rows of the standard setting that have wanted values."""
    wanted = {"setting": "standard"} | wanted
    return lambda rows: table([row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())])


def _at_chosen_rates(rows: Sequence[RecallRow], models: Sequence[str] = MEMORIES) -> str:
    """Return the table of recall of one task, at the learning rate that the first seed's validation chose."""
    shown = []
    for model in models:
        mine = [row for row in rows if row.model == model]
        if not mine:
            continue
        tried = [row for row in mine if (row.part, row.kind, row.seed) == ("validation", "all", 0)]
        best = max(tried, key=lambda row: (row.score, row.learning_rate)).learning_rate
        shown += [row for row in mine if row.learning_rate == best]
    return recall_table(shown)


def _switches(rows: Sequence[RecallRow]) -> str:
    """Return the table of recall of MAC with each of the paper's parts changed, at the rate that validation chose."""
    return _at_chosen_rates(rows, ABLATION)


TABLES: dict[str, Source] = {
    "panels": Source("tasks.csv", TaskRow, _standard(panels_table)),
    "rolling tasks": Source("tasks.csv", TaskRow, _standard(rolling_table)),
    "reading on": Source("reading.csv", ReadingRow, _standard(reading_table)),
    **{f"adapt, {panel}": Source("adapt.csv", AdaptRow, _standard(adapt_table, panel=panel)) for panel in PANELS},
    "bytes of a state": Source("state.csv", StateRow, state_table),
    **{f"protocol, {data}": Source(f"protocol/{data}.csv", Score, format_table) for data in PROTOCOL},
    **{
        f"recall, {task}": Source("recall.csv", RecallRow, _standard(_at_chosen_rates, task=task))
        for task in ("needle", "associative")
    },
    "switches": Source("recall.csv", RecallRow, _standard(_switches, task="associative")),
    **{
        f"history, {data}": Source("history.csv", HistoryRow, _standard(history_table, data=data))
        for data in ("vic_elec", "mitbih100", "ETTm1", "weather")
    },
}


def rendered(text: str, folder: Path) -> str:
    """Return a text with each table between its marks made anew from the files of a folder."""

    def table(place: re.Match[str]) -> str:
        name = place["name"]
        if name not in TABLES:
            raise ValueError(f"there is no table {name!r}; take one of {', '.join(TABLES)}")
        source = TABLES[name]
        rows: list[Any] = read_rows(folder / source.file, source.kind)
        if not rows:
            raise FileNotFoundError(f"{folder / source.file} has no rows, from which the table {name!r} is made")
        return f"{place[1]}{source.table(rows)}\n{place[3]}"

    return _PLACE.sub(table, text)


def render(page: Path) -> bool:
    """Write a page's tables anew from the files beside it; return whether that changed anything."""
    before = page.read_text(encoding="utf-8")
    after = rendered(before, page.parent)
    if after != before:
        with replacing(page) as temporary:
            temporary.write_text(after, encoding="utf-8")
    return after != before


def _models(rows: Sequence[TaskRow]) -> dict[str, list[TaskRow]]:
    """Return the rows of each model and history, by the name of their row: peers first, ours last."""
    found: dict[str, list[TaskRow]] = {}
    for row in sorted(rows, key=lambda row: (row.model.startswith(OURS), row.history != ALL)):
        name = row.model if row.history == ALL else f"{row.model}, {int(row.history):,} rows read"
        found.setdefault(name, []).append(row)
    return found


def _mean(rows: Sequence[TaskRow], key: str, form: str) -> str:
    return form.format(np.mean([getattr(row, key) for row in rows]))


def _coverages(rows: Sequence[TaskRow]) -> list[str]:
    """Return the mean over tasks of the mean over seeds, in %, of both intervals."""
    cells = []
    for key in ("coverage_80", "coverage_95"):
        tasks = [np.mean([getattr(row, key) for row in rows if row.task == task]) for task in {row.task for row in rows}]
        cells.append("-" if np.isnan(tasks).any() else f"{100 * np.mean(tasks):.1f}")
    return cells


def _sums(of: dict[str, list[TaskRow]], key: str) -> list[str]:
    """Return the seconds of all tasks, on the clock or of processors; none where a task is missing."""
    if not all(of.values()):
        return ["-"]
    each = [
        np.mean([row.cpu_seconds if key == "cpu" else row.fit_seconds + row.forecast_seconds for row in found])
        for found in of.values()
    ]
    return [f"{sum(each):.0f}"]
