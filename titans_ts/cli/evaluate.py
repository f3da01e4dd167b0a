"""``titans-ts evaluate``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from titans_bench.tasks import TASKS
from titans_ts.backbones.variants import VARIANTS
from titans_ts.cli._shared import OptionError, add_command, add_options, check_out, steps_of
from titans_ts.datasets.load import list_datasets
from titans_ts.datasets.records import RECORDS


def add(commands: Any) -> None:
    """Describe the command."""
    about = "run the standard protocol on a public data set, or a task of public tables"
    more = (
        ". The protocol: one model for all horizons and every test window, beside a seasonal naive forecast, the base "
        "alone, and the model with its memory silent if it has one; validation rows choose, and refitted models are solved "
        "on them too. A task (m1_monthly and the like): fitted on the rows before the first window, scored as the public "
        "tables do, beside the seasonal naive forecast."
    )
    evaluate = add_command(commands, "evaluate", run, about, more)
    names = [*list_datasets(kind="series"), *TASKS]
    evaluate.add_argument("name", metavar="NAME", choices=names, help=", ".join(names))
    evaluate.add_argument(
        *("--variants", "--variant"), nargs="+", choices=VARIANTS, default=["mac"], metavar="NAME",
        help=f"{', '.join(VARIANTS)} (default: mac)",
    )  # fmt: skip
    evaluate.add_argument("--base-alone", action="store_true", help="no variant: the base, which every other stands on")
    evaluate.add_argument("--seeds", type=int, nargs="+", metavar="N", default=[0], help="a fit each (default: 0)")
    evaluate.add_argument("--horizons", type=int, nargs="+", metavar="H", help="rows to forecast (default: the usual ones)")
    evaluate.add_argument(
        "--limit", type=int, metavar="N", help="of a task: series of a panel, else windows at most, for a quick try"
    )
    evaluate.add_argument(
        "--keep-markers", action="store_true", help="of weather: -9999, for missing, is a number, as in published tables"
    )
    evaluate.add_argument("--out", type=Path, metavar="FILE", help="write the table (.md) or the scores (.csv) too")
    add_options(evaluate, "--data-home", "--max-steps", "--max-minutes", "--overwrite")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    check_out(arguments.out, "--out", (".md", ".csv"), overwrite=arguments.overwrite)
    record = RECORDS.get(arguments.name)
    if arguments.keep_markers and (record is None or record.missing_marker is None):
        raise OptionError(f"--keep-markers: no number stands for missing in {arguments.name}")
    if arguments.name in TASKS:
        _run_task(arguments)
    else:
        _run_protocol(arguments)


def _run_protocol(arguments: argparse.Namespace) -> None:
    if arguments.limit is not None:
        raise OptionError(f"--limit: goes with a task, not with {arguments.name}")
    from titans_bench.protocol import Score, evaluate, format_table

    scores = evaluate(
        arguments.name,
        variants=() if arguments.base_alone else arguments.variants,
        seeds=arguments.seeds,
        horizons=arguments.horizons,
        data_home=arguments.data_home,
        max_minutes=arguments.max_minutes,
        keep_markers=arguments.keep_markers,
        verbose=0 if arguments.quiet else None,
        tell=_tell,
        **steps_of(arguments),
    )
    _show(arguments.out, format_table(scores), scores, Score)


def _run_task(arguments: argparse.Namespace) -> None:
    if arguments.base_alone:
        raise OptionError(f"--base-alone: goes with the protocol, not with {arguments.name}")
    if arguments.horizons is not None:
        raise OptionError(f"--horizons: {arguments.name} has a horizon of its own, {TASKS[arguments.name].horizon}")
    from titans_bench.contest import TaskRow, evaluate_task
    from titans_bench.tables import score_table

    rows = evaluate_task(
        arguments.name,
        variants=arguments.variants,
        seeds=arguments.seeds,
        limit=arguments.limit,
        data_home=arguments.data_home,
        max_minutes=arguments.max_minutes,
        verbose=0 if arguments.quiet else None,
        tell=_tell,
        **steps_of(arguments),
    )
    _show(arguments.out, score_table(rows), rows, TaskRow)


def _tell(model: str, forecaster: Any) -> None:
    """Print what each part of a fitted model earned."""
    from titans_ts.series.card import earned_lines, earned_title

    if forecaster.earned_:
        lines = "".join(f"  {part:<16}{said}\n" for part, said in earned_lines(forecaster.earned_))
        print(f"{model}: {earned_title(forecaster.earned_)}\n{lines}")


def _show(out: Path | None, table: str, rows: Sequence[Any], kind: type[Any]) -> None:
    """Print the table, and write it or its rows to a file if asked to."""
    from titans_bench.rows import write_rows
    from titans_ts.files.replacing import replacing

    print(table)
    if out is not None:
        if out.suffix.lower() == ".csv":
            write_rows(out, rows, kind)
        else:
            with replacing(out) as temporary:
                temporary.write_text(f"{table}\n", encoding="utf-8")
        print(f"written: {out}", file=sys.stderr)
