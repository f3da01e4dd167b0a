"""The command line: plain files in, plain files and a picture out."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from titans_ts import __version__
from titans_ts.backbones.variants import VARIANTS

USER_ERRORS = (ValueError, TypeError, OSError, ImportError)
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
"""What a model learns; wider levels that are asked for are added."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``titans-ts``.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        0, 2 after an error of the user's, told in one line on standard error, or 130 after Ctrl-C.

    Examples
    --------
    >>> main(["forecast", "absent.csv", "--horizon", "3"])  # it tells of the missing file on standard error
    2
    """
    arguments = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_show_warning, arguments.command)
            arguments.run(arguments)
    except KeyboardInterrupt:
        print(f"titans-ts {arguments.command}: interrupted", file=sys.stderr)
        return 130
    except USER_ERRORS as error:
        if arguments.debug:
            raise
        line = " ".join(str(error).split()) or type(error).__name__
        print(f"titans-ts {arguments.command}: error: {line}", file=sys.stderr)
        return 2
    return 0


def _show_warning(command: str, message: Warning | str, category: type[Warning], *_place: Any) -> None:
    """Print what a user can act on in one line, and leave out what only developers can."""
    if issubclass(category, UserWarning):
        print(f"titans-ts {command}: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="titans-ts",
        description="Forecast with a memory that learns while it reads.",
        epilog="`titans-ts COMMAND --help` tells what a command takes.",
    )
    parser.add_argument("--version", action="version", version=f"titans-ts {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--quiet", action="store_true", help="no progress bars")
    shared.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    training = argparse.ArgumentParser(add_help=False)
    training.add_argument("--max-steps", type=int, metavar="N", help="training steps of the memory, at most")
    training.add_argument("--max-minutes", type=float, metavar="M", help="of training a model, at most; the best is kept")
    _add_demo(commands, [shared])
    _add_forecast(commands, [training, shared])
    _add_evaluate(commands, [training, shared])
    return parser


def _add_demo(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    about = "fit two and a half years of electricity demand, score the held-out end, draw a forecast"
    demo = commands.add_parser("demo", parents=parents, help=about, description=about[0].upper() + about[1:] + ".")
    demo.add_argument(
        "--out", type=Path, metavar="DIR", default=Path(), help="folder for forecast.csv and forecast.png (default: here)"
    )
    demo.add_argument("--max-steps", type=int, metavar="N", default=75, help="training steps (default: %(default)s)")
    demo.add_argument("--quick", action="store_true", help="10 training steps: sooner done, and a poorer forecast")
    demo.add_argument("--seed", type=int, metavar="N", default=0, help="of all chance (default: %(default)s)")
    demo.set_defaults(run=_demo)


def _add_forecast(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    about = "forecast the rows that follow a CSV or parquet file"
    forecast = commands.add_parser(
        "forecast",
        parents=parents,
        help=about,
        description=about[0].upper() + about[1:] + ": fits a model on it, or reads it with one fitted before (--model).",
        epilog="A wide file has a column a channel; a long one has an id column, a time column and a column y.",
    )
    forecast.add_argument("file", type=Path, metavar="FILE", help="history: .csv, .tsv, either .gz, or .parquet")
    forecast.add_argument("--horizon", type=int, metavar="H", help="rows to forecast (needed without --model)")
    forecast.add_argument("--out", type=Path, metavar="FILE", help="where to (default: FILE-forecast, same format)")
    forecast.add_argument("--plot", type=Path, nargs="?", const=Path(), metavar="FILE", help="draw the first series (.png)")
    forecast.add_argument("--level", type=float, nargs="*", metavar="P", default=[80.0], help="intervals, %% (default: 80)")
    forecast.add_argument("--id-column", default="unique_id", metavar="NAME", help="of series ids (default: %(default)s)")
    forecast.add_argument("--time-column", metavar="NAME", help="of time stamps (default: ds, or the only column of dates)")
    forecast.add_argument("--target", nargs="+", metavar="NAME", help="columns to forecast (default: y, or all numeric)")
    forecast.add_argument("--freq", metavar="STEP", help="step of the time stamps, as pandas spells it (default: inferred)")
    about_variant = "where the memory sits, or a baseline without one (default: %(default)s)"
    forecast.add_argument("--variant", choices=VARIANTS, default="mac", help=about_variant)
    forecast.add_argument("--seed", type=int, metavar="N", default=0, help="of all chance (default: %(default)s)")
    forecast.add_argument("--model", type=Path, metavar="FILE", help="a fitted model to use instead of fitting one")
    forecast.add_argument("--save", type=Path, metavar="FILE", help="keep the fitted model in this file")
    forecast.set_defaults(run=_forecast)


def _add_evaluate(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    from titans_ts.data.load import list_datasets

    about = "run the standard protocol on a public data set"
    evaluate = commands.add_parser(
        "evaluate",
        parents=parents,
        help=about,
        description=about[0].upper()
        + about[1:]
        + ": one model for all horizons, every test window, beside a seasonal naive "
        "forecast, the linear path alone, and the model with its memory silent if it has one.",
    )
    evaluate.add_argument("name", metavar="NAME", choices=list_datasets(), help=", ".join(list_datasets()))
    evaluate.add_argument(
        *("--variants", "--variant"), nargs="+", choices=VARIANTS, default=["mac"], metavar="NAME",
        help=f"{', '.join(VARIANTS)} (default: mac)",
    )  # fmt: skip
    evaluate.add_argument("--seeds", type=int, nargs="+", metavar="N", default=[0], help="a fit each (default: 0)")
    evaluate.add_argument("--horizons", type=int, nargs="+", metavar="H", help="rows to forecast (default: the usual ones)")
    evaluate.add_argument("--data-home", metavar="DIR", help="folder with the data (default: TITANS_TS_DATA, cache, web)")
    evaluate.add_argument("--out", type=Path, metavar="FILE", help="write the table (.md) or the scores (.csv) too")
    evaluate.set_defaults(run=_evaluate)


def _demo(arguments: argparse.Namespace) -> None:
    from titans_ts.bench.demo import run_demo

    steps = 10 if arguments.quick else arguments.max_steps
    print(run_demo(arguments.out, seed=arguments.seed, max_steps=steps, verbose=not arguments.quiet))


def _evaluate(arguments: argparse.Namespace) -> None:
    from titans_ts.bench.protocol import as_records, evaluate, format_table
    from titans_ts.data.files import csv_text, replacing

    out = arguments.out
    _check_out(out, "--out", (".md", ".csv"))
    scores = evaluate(
        arguments.name,
        variants=arguments.variants,
        seeds=arguments.seeds,
        horizons=arguments.horizons,
        data_home=arguments.data_home,
        max_minutes=arguments.max_minutes,
        verbose=int(not arguments.quiet),
        **_steps(arguments),
    )
    table = format_table(scores)
    print(table)
    if out is not None:
        with replacing(out) as temporary:
            content = csv_text(as_records(scores)) if out.suffix.lower() == ".csv" else table + "\n"
            temporary.write_text(content, encoding="utf-8")
        print(f"written: {out}", file=sys.stderr)


def _forecast(arguments: argparse.Namespace) -> None:
    from titans_ts.data.files import SUFFIXES, read_table, table_suffix, write_table

    suffix = table_suffix(arguments.file)
    stem = arguments.file.name[: -len(suffix)]
    out = arguments.out or arguments.file.with_name(f"{stem}-forecast{suffix}")
    plot = out.with_name(f"{stem}-forecast.png") if arguments.plot == Path() else arguments.plot
    _check_out(out, "--out", SUFFIXES)
    _check_out(arguments.save, "--save", ())
    _check_out(plot, "--plot", (".png", ".svg", ".pdf", ".jpg"))
    if plot is not None and find_spec("matplotlib") is None:
        raise ImportError("--plot needs matplotlib; `pip install 'titans-ts[plot]'`")
    if not all(0 < level < 100 for level in arguments.level):
        raise ValueError(f"--level {arguments.level}: intervals are percentages between 0 and 100, such as --level 80 95")
    if arguments.horizon is None and arguments.model is None:
        raise ValueError("--horizon is needed to fit a model: the rows to forecast, such as --horizon 24")
    level = arguments.level or None
    if arguments.model is not None:
        forecaster = _loaded(arguments)
        frame = read_table(arguments.file, time_column=forecaster.time_column, id_column=forecaster.id_column)
        found = forecaster.predict(frame, level=level)
    else:
        frame = read_table(arguments.file, time_column=arguments.time_column or "ds", id_column=arguments.id_column)
        forecaster = _fitted(arguments, frame)
        found = forecaster.predict(level=level)
    write_table(found, out)
    print(f"forecast: {out}")
    if arguments.save is not None:
        forecaster.save(arguments.save)
        print(f"model: {arguments.save}")
    if plot is not None:
        from titans_ts.plots import plot_forecast, save_figure

        names = {"id_column": forecaster.id_column, "time_column": forecaster.time_column}
        save_figure(plot_forecast(frame, found, **names), plot)
        print(f"picture: {plot}")


def _loaded(arguments: argparse.Namespace) -> Any:
    """Return the model of a file, held to the horizon that was asked for."""
    from titans_ts import load

    forecaster = load(arguments.model)
    if arguments.horizon not in (None, forecaster.horizon):
        raise ValueError(
            f"--horizon {arguments.horizon}: {arguments.model} forecasts {forecaster.horizon} rows; leave --horizon out, or "
            "fit another model"
        )
    return forecaster


def _fitted(arguments: argparse.Namespace, frame: Any) -> Any:
    """Return a model fitted on the file."""
    from titans_ts import TitansForecaster
    from titans_ts.bench.protocol import stop_after

    tails = {round(0.5 - level / 200, 6) for level in arguments.level}
    time_column = _time_column(frame, arguments)
    _check_columns(frame, arguments)
    _say(arguments, f"read {frame.height:,} rows of {arguments.file}; fitting")
    begun = time.perf_counter()
    forecaster = TitansForecaster(
        arguments.horizon,
        quantiles=tuple(sorted({*QUANTILES, *tails, *(round(1 - tail, 6) for tail in tails)})),
        id_column=arguments.id_column,
        time_column=time_column,
        target_columns=arguments.target,
        freq=arguments.freq,
        variant=arguments.variant,
        random_state=arguments.seed,
        verbose=int(not arguments.quiet),
        callbacks=None if arguments.max_minutes is None else [stop_after(60 * arguments.max_minutes)],
        **_steps(arguments),
    ).fit(frame)
    _say(arguments, f"fitted in {time.perf_counter() - begun:.0f} s")
    return forecaster


def _time_column(frame: Any, arguments: argparse.Namespace) -> str:
    """Return the column of time stamps: the one named, ds, or the only one that holds dates."""
    from titans_ts.data.files import date_columns

    dates = date_columns(frame)
    if arguments.time_column is None and "ds" not in frame.columns and dates:
        if len(dates) > 1:
            raise ValueError(f"{arguments.file} has several columns of dates, {dates}; name one with --time-column")
        _say(arguments, f"time stamps: column {dates[0]!r}")
        return dates[0]
    return arguments.time_column or "ds"


def _check_columns(frame: Any, arguments: argparse.Namespace) -> None:
    """Refuse columns that were named and are not there."""
    named = {"--time-column": [arguments.time_column or "ds"], "--target": arguments.target or []}
    named["--id-column"] = [arguments.id_column]
    for option, names in named.items():
        absent = [name for name in names if name not in frame.columns and name not in ("ds", "unique_id")]
        if absent:
            raise ValueError(f"{option} {absent[0]}: {arguments.file} has no such column, but {', '.join(frame.columns)}")


def _check_out(path: Path | None, option: str, suffixes: Sequence[str]) -> None:
    """Refuse, before any work is done, a file that could not be written after it."""
    if path is None:
        return
    if suffixes and not path.name.lower().endswith(tuple(suffixes)):
        raise ValueError(f"{option} {path}: the name must end in one of {', '.join(suffixes)}")
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"{option} {path}: " + ("is a folder" if path.is_dir() else f"there is no folder {path.parent}"))


def _steps(arguments: argparse.Namespace) -> dict[str, Any]:
    return {} if arguments.max_steps is None else {"max_steps": arguments.max_steps}


def _say(arguments: argparse.Namespace, line: str) -> None:
    if not arguments.quiet:
        print(line, file=sys.stderr)
