"""``titans-ts bench``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from titans_ts.cli._shared import check_out


def add(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    about = "compare memories where memory alone can answer, and by what history is worth"
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
    recall.add_argument("--max-steps", type=int, metavar="N", help="training steps of every model (default: by the size)")
    recall.add_argument("--device", default="auto", metavar="NAME", help="where to compute (default: %(default)s)")
    recall.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings at a time (default: %(default)s)")
    recall.add_argument("--out", type=Path, default=Path("recall.csv"), metavar="FILE", help="rows (default: %(default)s)")
    recall.add_argument("--plot", type=Path, metavar="FILE", help="draw the scores against the length (.png, .svg, .pdf)")
    recall.set_defaults(run=run_recall)
    _add_history(kinds, parents)


def _add_history(kinds: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Describe the bench of history."""
    told = "forecast after ever longer histories: what they are worth, and what they cost"
    history = kinds.add_parser(
        "history",
        parents=parents,
        help=told,
        description=told[0].upper() + told[1:] + ". Every run is kept in --out, and a second call runs what is missing.",
    )
    history.add_argument("--quick", action="store_true", help="minutes: two sets, short histories, one seed; learns little")
    history.add_argument(
        "--data", nargs="+", metavar="NAME", help="recurring, vic_elec, ETTm1, weather, mitbih100 (default: all)"
    )
    history.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        help="'carried', 'carried, no recollection', 'attention, growing cache' (default: all)",
    )
    history.add_argument("--seeds", type=int, nargs="+", metavar="N", help="a fit each (default: 0 1 2)")
    history.add_argument("--max-steps", type=int, metavar="N", help="training steps of every model (default: by the set)")
    history.add_argument("--data-home", metavar="DIR", help="folder with the data (default: TITANS_TS_DATA, cache, web)")
    history.add_argument("--device", default="auto", metavar="NAME", help="where to compute (default: %(default)s)")
    history.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: %(default)s)")
    history.add_argument("--out", type=Path, default=Path("history.csv"), metavar="FILE", help="rows (default: %(default)s)")
    history.add_argument("--plot", type=Path, metavar="FILE", help="draw errors and costs (.png, .svg, .pdf)")
    history.set_defaults(run=run_history)


def run_history(arguments: argparse.Namespace) -> None:
    """Run the bench of history."""
    check_out(arguments.out, "--out", (".csv",))
    check_out(arguments.plot, "--plot", (".png", ".svg", ".pdf", ".jpg"))
    from titans_bench.history import bench_history
    from titans_bench.history_data import MODELS, SETTINGS, with_steps
    from titans_bench.history_table import history_table, plot_history
    from titans_ts.plots import save_figure

    setting = SETTINGS["quick" if arguments.quick else "standard"]
    rows = bench_history(
        arguments.out,
        setting=setting if arguments.max_steps is None else with_steps(setting, arguments.max_steps),
        data=arguments.data,
        models=arguments.models or tuple(MODELS),
        seeds=arguments.seeds or ((0,) if arguments.quick else (0, 1, 2)),
        device=arguments.device,
        jobs=arguments.jobs,
        data_home=arguments.data_home,
        verbose=int(not arguments.quiet),
    )
    print("MSE/MAE on the standardised scale, by the rows of history read before a forecast:\n")
    print(history_table(rows))
    print(f"rows: {arguments.out}", file=sys.stderr)
    if arguments.plot is not None:
        save_figure(plot_history(rows), arguments.plot)
        print(f"picture: {arguments.plot}", file=sys.stderr)


def run_recall(arguments: argparse.Namespace) -> None:
    """Run the bench of recall."""
    check_out(arguments.out, "--out", (".csv",))
    check_out(arguments.plot, "--plot", (".png", ".svg", ".pdf", ".jpg"))
    from titans_bench.recall import ABLATION, CORE, MODELS, SETTINGS, bench_recall, plot_recall, recall_table, with_steps
    from titans_ts.datasets.recall import NEEDLES
    from titans_ts.plots import save_figure

    groups = {"core": CORE, "ablation": ABLATION, "all": tuple(MODELS)}
    setting = SETTINGS["quick" if arguments.quick else "large" if arguments.large else "standard"]
    models = [name for asked in arguments.models or ["core"] for name in groups.get(asked, (asked,))]
    rows = bench_recall(
        arguments.out,
        setting=setting if arguments.max_steps is None else with_steps(setting, arguments.max_steps),
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
