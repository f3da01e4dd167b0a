"""``titans-ts evaluate``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from titans_ts.backbones.variants import VARIANTS
from titans_ts.cli._shared import add_command, add_options, check_out, steps_of
from titans_ts.datasets.load import list_datasets


def add(commands: Any) -> None:
    """Describe the command."""
    about = "run the standard protocol on a public data set"
    more = (
        ": one model for all horizons and every test window, beside a seasonal naive forecast, the linear path alone, and "
        "the model with its memory silent if it has one."
    )
    evaluate = add_command(commands, "evaluate", run, about, more)
    names = list_datasets(kind="series")
    evaluate.add_argument("name", metavar="NAME", choices=names, help=", ".join(names))
    evaluate.add_argument(
        *("--variants", "--variant"), nargs="+", choices=VARIANTS, default=["mac"], metavar="NAME",
        help=f"{', '.join(VARIANTS)} (default: mac)",
    )  # fmt: skip
    evaluate.add_argument("--seeds", type=int, nargs="+", metavar="N", default=[0], help="a fit each (default: 0)")
    evaluate.add_argument("--horizons", type=int, nargs="+", metavar="H", help="rows to forecast (default: the usual ones)")
    evaluate.add_argument("--out", type=Path, metavar="FILE", help="write the table (.md) or the scores (.csv) too")
    add_options(evaluate, "--data-home", "--max-steps", "--max-minutes", "--overwrite")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from titans_bench.protocol import Score, evaluate, format_table
    from titans_bench.rows import write_rows
    from titans_ts.files.replacing import replacing

    out = arguments.out
    check_out(out, "--out", (".md", ".csv"), overwrite=arguments.overwrite)
    scores = evaluate(
        arguments.name,
        variants=arguments.variants,
        seeds=arguments.seeds,
        horizons=arguments.horizons,
        data_home=arguments.data_home,
        max_minutes=arguments.max_minutes,
        verbose=0 if arguments.quiet else None,
        **steps_of(arguments),
    )
    table = format_table(scores)
    print(table)
    if out is not None:
        if out.suffix.lower() == ".csv":
            write_rows(out, scores, Score)
        else:
            with replacing(out) as temporary:
                temporary.write_text(f"{table}\n", encoding="utf-8")
        print(f"written: {out}", file=sys.stderr)
