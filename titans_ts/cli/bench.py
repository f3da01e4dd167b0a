"""``titans-ts bench``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from titans_ts.cli._shared import check_out


def add(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    about = "compare memories on tasks that memory alone can answer"
    bench = commands.add_parser("bench", help=about, description=about[0].upper() + about[1:] + ".")
    kinds = bench.add_subparsers(dest="bench", required=True, metavar="BENCH")
    told = "train every memory on short sequences and ask it on longer ones, on equal terms"
    recall = kinds.add_parser(
        "recall",
        parents=parents,
        help=told,
        description=told[0].upper() + told[1:] + ". Every run is kept in --out, and a second call runs what is missing.",
    )
    size = recall.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="minutes: fewer steps and lengths, one seed; learns little")
    size.add_argument("--large", action="store_true", help="wider, longer, for a GPU")
    recall.add_argument("--tasks", nargs="+", metavar="NAME", help="associative, needle, motif (default: the first two)")
    recall.add_argument(
        "--models", nargs="+", metavar="NAME", help="names of rows, 'core', 'ablation' or 'all' (default: core)"
    )
    recall.add_argument("--seeds", type=int, nargs="+", metavar="N", help="the first chooses the rate (default: 0 1 2)")
    recall.add_argument("--device", default="auto", metavar="NAME", help="where to compute (default: %(default)s)")
    recall.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings at a time (default: %(default)s)")
    recall.add_argument("--out", type=Path, default=Path("recall.csv"), metavar="FILE", help="rows (default: %(default)s)")
    recall.add_argument("--plot", type=Path, metavar="FILE", help="draw the scores against the length (.png, .svg, .pdf)")
    recall.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    check_out(arguments.out, "--out", (".csv",))
    check_out(arguments.plot, "--plot", (".png", ".svg", ".pdf", ".jpg"))
    from titans_ts.bench.recall import ABLATION, CORE, MODELS, SETTINGS, bench_recall
    from titans_ts.bench.recall_table import plot_recall, recall_table
    from titans_ts.data.recall import NEEDLES
    from titans_ts.plots import save_figure

    groups = {"core": CORE, "ablation": ABLATION, "all": tuple(MODELS)}
    models = [name for asked in arguments.models or ["core"] for name in groups.get(asked, (asked,))]
    rows = bench_recall(
        arguments.out,
        setting=SETTINGS["quick" if arguments.quick else "large" if arguments.large else "standard"],
        tasks=arguments.tasks or ("associative", "needle"),
        models=tuple(dict.fromkeys(models)),
        seeds=arguments.seeds or ((0,) if arguments.quick else (0, 1, 2)),
        device=arguments.device,
        jobs=arguments.jobs,
        verbose=int(not arguments.quiet),
    )
    print("Answers right in %, mean over seeds (max - min), by length:\n")
    print(recall_table(rows))
    for kind in NEEDLES if any(row.task == "needle" for row in rows) else ():
        print(f"\n{kind}\n\n{recall_table([row for row in rows if row.task == 'needle'], kind=kind)}")
    print(f"rows: {arguments.out}", file=sys.stderr)
    if arguments.plot is not None:
        save_figure(plot_recall(rows), arguments.plot)
        print(f"picture: {arguments.plot}", file=sys.stderr)
