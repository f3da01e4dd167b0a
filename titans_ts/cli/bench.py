"""``titans-ts bench``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from titans_bench.tasks import GROUPS, TASKS
from titans_ts.cli._shared import PICTURES, OptionError, add_command, add_options, check_out, steps_of


def add(commands: Any) -> None:
    """Describe the command and its benches."""
    about = "compare memories where memory alone can answer, and by what history is worth"
    bench = commands.add_parser("bench", help=about, description=about[0].upper() + about[1:] + ".")
    kinds = bench.add_subparsers(dest="bench", required=True, metavar="BENCH")
    kept = ". Every run is kept in --out, and a second call runs only what is missing."

    about = "train every memory on short sequences and ask it on longer ones, on equal terms"
    recall = add_command(kinds, "recall", run_recall, about, kept)
    size = recall.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="minutes: three memories, short sequences, one task and seed")
    size.add_argument("--large", action="store_true", help="wider, longer, for a GPU")
    recall.add_argument(
        "--tasks", nargs="+", metavar="NAME", help="associative, needle, multikey, motif (default: the first two)"
    )
    models = "names of rows, 'core', 'ablation' or 'all' (default: core; of --quick, three)"
    recall.add_argument("--models", nargs="+", metavar="NAME", help=models)
    recall.add_argument("--seeds", type=int, nargs="+", metavar="N", help="the first chooses the rate (default: 0 1 2)")
    recall.add_argument("--max-steps", type=int, metavar="N", help="most training steps of a model (default: by the size)")
    _add_common(recall, Path("recall.csv"), jobs="trainings", plot="draw the scores against the length")

    about = "forecast after ever longer histories: what they are worth, and what they cost"
    history = add_command(kinds, "history", run_history, about, kept)
    history.add_argument("--quick", action="store_true", help="minutes: two sets, short histories, one seed; learns little")
    data = "recurring, vic_elec, ETTm1, weather, mitbih100 (default: all)"
    history.add_argument("--data", nargs="+", metavar="NAME", help=data)
    models = "'carried', 'carried, no recollection', 'attention, growing cache' (default: all)"
    history.add_argument("--models", nargs="+", metavar="NAME", help=models)
    history.add_argument("--seeds", type=int, nargs="+", metavar="N", help="a fit each (default: 0 1 2)")
    history.add_argument("--max-steps", type=int, metavar="N", help="training steps of every model (default: by the set)")
    _add_common(history, Path("history.csv"), "--data-home", jobs="runs", plot="draw errors and costs")

    about = "forecast the tasks of public tables, beside the seasonal naive forecast"
    tasks = add_command(kinds, "tasks", run_tasks, about, kept)
    add_names(tasks)
    tasks.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="a fit each (default: 0 1 2)")
    tasks.add_argument("--limit", type=int, metavar="N", help="series of a panel, windows of other tasks: a quick try")
    _add_rows(tasks, Path("tasks.csv"))
    add_options(tasks, "--data-home", "--max-steps")

    about = "forecast series that no fit saw, after ever more rows read of them"
    reading = add_command(kinds, "reading", run_reading, about, kept)
    reading.add_argument("--horizon", type=int, default=24, metavar="H", help="rows to forecast (default: %(default)s)")
    reading.add_argument("--step", type=int, default=24, metavar="N", help="rows between origins (default: %(default)s)")
    reading.add_argument("--layers", type=int, nargs="+", default=[0], metavar="N", help="a model each (default: 0)")
    seeds = "a split and a fit each (default: 0 1 2)"
    reading.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help=seeds)
    _add_rows(reading, Path("reading.csv"))
    add_options(reading, "--data-home")

    about = "measure what memories earn on new streams and after changes, beside a ridge refitted every day"
    adapt = add_command(kinds, "adapt", run_adapt, about, kept)
    adapt.add_argument("--quick", action="store_true", help="a minute: few generated streams, one seed; shows little")
    adapt.add_argument("--panels", nargs="+", metavar="NAME", help="generated, loads, weather, pedestrians (default: all)")
    models = "'base', 'neural memory', 'recollection', 'neural memory on top' (default: all)"
    adapt.add_argument("--models", nargs="+", metavar="NAME", help=models)
    adapt.add_argument("--seeds", type=int, nargs="+", metavar="N", help="a split and a fit each (default: 0 1 2)")
    steps = "training steps of the neural memory (default: by the size)"
    adapt.add_argument("--max-steps", type=int, metavar="N", help=steps)
    _add_common(adapt, Path("adapt.csv"), "--data-home", jobs="runs", plot="draw gains against the rows read")

    about = "count the bytes that a series' state takes, by part"
    state = add_command(kinds, "state", run_state, about)
    state.add_argument("--out", type=Path, default=Path("state.csv"), metavar="FILE", help="rows (default: %(default)s)")
    add_options(state)

    about = "make the tables of a page anew from the CSV files beside it"
    tables = add_command(kinds, "tables", run_tables, about)
    page = Path("benchmarks/README.md")
    tables.add_argument("page", type=Path, nargs="?", default=page, metavar="PAGE", help="(default: %(default)s)")
    tables.add_argument("--check", action="store_true", help="write nothing; fail where the page is not what it would be")
    add_options(tables)


def add_names(kind: argparse.ArgumentParser) -> None:
    """Add what says which tasks and models run."""
    kind.add_argument("--tasks", nargs="+", default=["panels", "rolling"], metavar="NAME", help=", ".join([*GROUPS, *TASKS]))
    models = "'seasonal naive', 'seasonal naive, point only', 'titans', 'titans, layers=0' (default: the first three)"
    kind.add_argument("--models", nargs="+", metavar="NAME", help=models)


def _add_rows(kind: argparse.ArgumentParser, out: Path) -> None:
    kind.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: %(default)s)")
    kind.add_argument("--out", type=Path, default=out, metavar="FILE", help="rows (default: %(default)s)")


def _add_common(kind: argparse.ArgumentParser, out: Path, *shared: str, jobs: str, plot: str) -> None:
    kind.add_argument("--device", default="auto", metavar="NAME", help="where to compute (default: %(default)s)")
    kind.add_argument("--jobs", type=int, default=1, metavar="N", help=f"{jobs} at a time (default: %(default)s)")
    kind.add_argument("--out", type=Path, default=out, metavar="FILE", help="rows (default: %(default)s)")
    kind.add_argument("--plot", type=Path, metavar="FILE", help=f"{plot} ({', '.join(PICTURES)})")
    add_options(kind, *shared, "--overwrite")


def run_recall(arguments: argparse.Namespace) -> None:
    """Run the bench of recall."""
    _check(arguments)
    from titans_bench.recall import ABLATION, CORE, MODELS, SETTINGS, bench_recall, plot_recall, recall_table, with_steps
    from titans_ts.datasets.recall import NEEDLES

    groups = {"core": CORE, "ablation": ABLATION, "all": tuple(MODELS)}
    models = [name for asked in arguments.models or () for name in groups.get(asked, (asked,))]
    setting = SETTINGS["quick" if arguments.quick else "large" if arguments.large else "standard"]
    rows = bench_recall(
        arguments.out,
        setting=setting if arguments.max_steps is None else with_steps(setting, arguments.max_steps),
        tasks=arguments.tasks,
        models=tuple(dict.fromkeys(models)),
        **_common(arguments) | {"seeds": arguments.seeds},
    )
    print("Answers right in %, mean over seeds (max - min), by length:\n")
    print(recall_table(rows))
    for kind in NEEDLES if any(row.task == "needle" for row in rows) else ():
        print(f"\n{kind}\n\n{recall_table([row for row in rows if row.task == 'needle'], kind=kind)}")
    _show(arguments, plot_recall, rows)


def run_history(arguments: argparse.Namespace) -> None:
    """Run the bench of history."""
    _check(arguments)
    from titans_bench.history.bench import bench_history
    from titans_bench.history.data import MODELS, SETTINGS, with_steps
    from titans_bench.history.table import history_table, plot_history

    setting = SETTINGS["quick" if arguments.quick else "standard"]
    rows = bench_history(
        arguments.out,
        setting=setting if arguments.max_steps is None else with_steps(setting, arguments.max_steps),
        data=arguments.data,
        models=arguments.models or tuple(MODELS),
        data_home=arguments.data_home,
        **_common(arguments),
    )
    print("MSE/MAE on the standardised scale, by the rows of history read before a forecast:\n")
    print(history_table(rows))
    _show(arguments, plot_history, rows)


def run_tasks(arguments: argparse.Namespace) -> None:
    """Run the bench of tasks."""
    check_out(arguments.out, "--out", (".csv",))
    from titans_bench.contest import NAIVE, OURS, POINT_NAIVE, bench_tasks
    from titans_bench.tables import panels_table, rolling_table

    rows = bench_tasks(
        arguments.out,
        tasks=arguments.tasks,
        models=arguments.models or (NAIVE, POINT_NAIVE, OURS),
        seeds=arguments.seeds,
        limit=arguments.limit,
        data_home=arguments.data_home,
        jobs=arguments.jobs,
        verbose=0 if arguments.quiet else None,
        **steps_of(arguments),
    )
    for group, table in (("panels", panels_table), ("rolling", rolling_table)):
        if any(TASKS[row.task].group == group for row in rows):
            print(f"{table(rows)}\n")
    print(f"rows: {arguments.out}", file=sys.stderr)


def run_reading(arguments: argparse.Namespace) -> None:
    """Run the bench of reading on."""
    check_out(arguments.out, "--out", (".csv",))
    from titans_bench.reading_on import bench_reading, reading_table

    rows = bench_reading(
        arguments.out,
        layers=arguments.layers,
        seeds=arguments.seeds,
        horizon=arguments.horizon,
        step=arguments.step,
        data_home=arguments.data_home,
        jobs=arguments.jobs,
        verbose=0 if arguments.quiet else None,
    )
    print(reading_table(rows))
    print(f"rows: {arguments.out}", file=sys.stderr)


def run_adapt(arguments: argparse.Namespace) -> None:
    """Run the bench of adaptation."""
    _check(arguments)
    from titans_bench.adapt.arms import MODELS
    from titans_bench.adapt.bench import SETTINGS, bench_adapt, with_steps
    from titans_bench.adapt.table import adapt_table, plot_adapt

    setting = SETTINGS["quick" if arguments.quick else "standard"]
    rows = bench_adapt(
        arguments.out,
        setting=setting if arguments.max_steps is None else with_steps(setting, arguments.max_steps),
        panels=arguments.panels,
        models=arguments.models or tuple(MODELS),
        data_home=arguments.data_home,
        **_common(arguments),
    )
    print(adapt_table(rows))
    _show(arguments, plot_adapt, rows)


def run_state(arguments: argparse.Namespace) -> None:
    """Count bytes."""
    check_out(arguments.out, "--out", (".csv",))
    from titans_bench.state_bytes import state_table, write_state

    print(state_table(write_state(arguments.out)))
    print(f"rows: {arguments.out}", file=sys.stderr)


def run_tables(arguments: argparse.Namespace) -> None:
    """Make the tables of a page anew, or say whether they are up to date."""
    from titans_bench.tables import render, rendered

    page = arguments.page
    if not page.is_file():
        raise OptionError(f"{page}: there is no such page")
    if arguments.check:
        text = page.read_text(encoding="utf-8")
        if rendered(text, page.parent) != text:
            raise OptionError(f"{page}: its tables are not what its files give; `titans-ts bench tables {page}` makes them")
        print(f"{page}: up to date", file=sys.stderr)
    else:
        print(f"{page}: {'written' if render(page) else 'nothing to change'}", file=sys.stderr)


def _check(arguments: argparse.Namespace) -> None:
    check_out(arguments.out, "--out", (".csv",))
    check_out(arguments.plot, "--plot", PICTURES, overwrite=arguments.overwrite)


def _common(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that both benches take."""
    return {
        "seeds": arguments.seeds or ((0,) if arguments.quick else (0, 1, 2)),
        "device": arguments.device,
        "jobs": arguments.jobs,
        "verbose": 0 if arguments.quiet else None,
    }


def _show(arguments: argparse.Namespace, plot: Callable[[Any], Any], rows: Any) -> None:
    """Say where the rows are, and draw them if asked to."""
    from titans_ts.plots import save_figure

    print(f"rows: {arguments.out}", file=sys.stderr)
    if arguments.plot is not None:
        save_figure(plot(rows), arguments.plot)
        print(f"picture: {arguments.plot}", file=sys.stderr)
