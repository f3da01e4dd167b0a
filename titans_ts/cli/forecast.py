"""``titans-ts forecast``."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from titans_ts.cli._shared import PICTURES, add_command, add_options, check_out, fit, save, say, training_of

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)  # what a model learns, and the levels that are asked for


def add(commands: Any) -> None:
    """Describe the command."""
    about = "forecast the rows that follow a CSV or parquet file"
    more = (
        ": fits a model on it, or reads it with one fitted before (--model), piece by piece, so that it may be larger than "
        "memory."
    )
    epilog = "A wide file has a column a channel; a long one has an id column, a time column and a column y."
    forecast = add_command(commands, "forecast", run, about, more, epilog=epilog)
    forecast.add_argument("file", type=Path, metavar="FILE", help="history: .csv, .tsv, either .gz, or .parquet")
    forecast.add_argument("--horizon", type=int, metavar="H", help="rows to forecast (needed without --model)")
    forecast.add_argument("--out", type=Path, metavar="FILE", help="where to write it (default: FILE-forecast, same format)")
    forecast.add_argument(
        "--plot",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="FILE",
        help=f"draw the file's last series ({', '.join(PICTURES)})",
    )
    forecast.add_argument("--level", type=float, nargs="*", metavar="P", default=[80.0], help="intervals, %% (default: 80)")
    forecast.add_argument(
        "--id-column", default="unique_id", metavar="NAME", help="column of series ids (default: %(default)s)"
    )
    forecast.add_argument("--time-column", metavar="NAME", help="column of time stamps (default: ds, or the one with dates)")
    forecast.add_argument("--target", nargs="+", metavar="NAME", help="columns to forecast (default: y, or all numeric)")
    forecast.add_argument("--freq", metavar="STEP", help="step of the time stamps, as pandas spells it (default: inferred)")
    add_options(forecast, "--variant", "--seed", "--model", "--save", "--max-steps", "--max-minutes")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from titans_ts.files.tables import SUFFIXES, read_table, table_suffix, write_table
    from titans_ts.frames.stream import Tail, read_pieces

    suffix = table_suffix(arguments.file)
    stem = arguments.file.name[: -len(suffix)]
    out = arguments.out or arguments.file.with_name(f"{stem}-forecast{suffix}")
    plot = out.with_name(f"{stem}-forecast.png") if arguments.plot == Path() else arguments.plot
    check_out(out, "--out", SUFFIXES)
    check_out(arguments.save, "--save", ())
    check_out(plot, "--plot", PICTURES)
    if plot is not None and find_spec("matplotlib") is None:
        raise ImportError("--plot needs matplotlib; `pip install 'titans-ts[plot]'`")
    if not all(0 < level < 100 for level in arguments.level):
        raise ValueError(f"--level {arguments.level}: intervals are percentages between 0 and 100, such as --level 80 95")
    if arguments.horizon is None and arguments.model is None:
        raise ValueError("--horizon is needed to fit a model: the rows to forecast, such as --horizon 24")
    level = arguments.level or None
    if arguments.model is not None:
        forecaster = _loaded(arguments).set_params(verbose=0 if arguments.quiet else None)
        names = {"time_column": forecaster.time_column, "id_column": forecaster.id_column}
        tail = Tail(read_pieces(arguments.file, **names))  # the file never lies whole in memory
        found = forecaster.predict(tail, level=level)
        frame = tail.frame
    else:
        frame = read_table(arguments.file, time_column=arguments.time_column or "ds", id_column=arguments.id_column)
        forecaster = _fitted(arguments, frame)
        found = forecaster.predict(level=level)
    write_table(found, out)
    print(f"forecast: {out}")
    save(arguments, forecaster)
    if plot is not None:
        from titans_ts.plots import plot_forecast, save_figure

        names = {"id_column": forecaster.id_column, "time_column": forecaster.time_column}
        last = frame[forecaster.id_column][-1] if forecaster.id_column in frame.columns else None
        save_figure(plot_forecast(frame, found, unique_id=last, **names), plot)
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

    tails = {round(0.5 - level / 200, 6) for level in arguments.level}
    time_column = _time_column(frame, arguments)
    _check_columns(frame, arguments)
    say(arguments, f"read {frame.height:,} rows of {arguments.file}; fitting")
    forecaster = TitansForecaster(
        arguments.horizon,
        quantiles=tuple(sorted({*QUANTILES, *tails, *(round(1 - tail, 6) for tail in tails)})),
        id_column=arguments.id_column,
        time_column=time_column,
        target_columns=arguments.target,
        freq=arguments.freq,
        variant=arguments.variant,
        **training_of(arguments),
    )
    return fit(arguments, forecaster, frame)


def _time_column(frame: Any, arguments: argparse.Namespace) -> str:
    """Return the column of time stamps: the one named, ds, or the only one that holds dates."""
    from titans_ts.files.tables import date_columns

    dates = date_columns(frame)
    if arguments.time_column is None and "ds" not in frame.columns and dates:
        if len(dates) > 1:
            raise ValueError(f"{arguments.file} has several columns of dates, {dates}; name one with --time-column")
        say(arguments, f"time stamps: column {dates[0]!r}")
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
