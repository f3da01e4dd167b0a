"""``titans-ts forecast``."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from titans_ts.cli._shared import (
    PICTURES,
    OptionError,
    add_command,
    add_options,
    check_out,
    closest,
    fit,
    loaded,
    save,
    say,
    training_of,
)

LEVEL: dict[str, Any] = {
    "type": float, "nargs": "*", "metavar": "P", "default": [80.0], "help": "intervals, %% (default: 80)"
}  # fmt: skip
_COLUMNS = {
    "--time": "time_column",
    "--id": "id_column",
    "--target": "target",
    "--past": "past",
    "--future": "future",
    "--static": "static",
}
_FITTED = (
    _COLUMNS
    | {f"--{name}": name for name in ("freq", "lookback", "layers", "holidays", "minimum")}
    | {"--transform": "target_transform"}
)  # what a fitted model brings with it
WORDS = {
    "id_column": "--id",
    "time_column": "--time",
    "target_columns": "--target",
    "past_covariates": "--past",
    "future_covariates": "--future",
    "static_covariates": "--static",
    "random_state": "--seed",
    "separator": "--sep",
    "decimal": "--decimal",
    "on_error": "--skip",
    "target_transform": "--transform",
    **{name: f"--{name}" for name in ("holidays", "minimum")},
    **{
        name: f"--{name.replace('_', '-')}"
        for name in ("horizon", "level", "freq", "lookback", "layers", "variant", "max_steps")
    },
}
"""What an argument of Python is called here."""

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
    forecast.add_argument("--level", **LEVEL)
    add_columns(forecast)
    forecast.add_argument(
        "--future-file", type=Path, metavar="FILE", help="the rows to forecast: ids, time stamps and the columns of --future"
    )
    add_model(forecast)
    add_options(forecast, "--variant", "--seed", "--model", "--save", "--max-steps", "--max-minutes", "--overwrite")


def add_columns(command: argparse.ArgumentParser) -> None:
    """Add what says which columns of a file are what, and how text is written."""
    columns = command.add_argument_group("columns of the file")
    columns.add_argument(
        *("--id", "--id-column"), dest="id_column", metavar="NAME", help="series ids (default: unique_id, if it is there)"
    )
    columns.add_argument(
        *("--time", "--time-column"),
        dest="time_column",
        metavar="NAME",
        help="time stamps (default: ds, or the one with dates)",
    )
    columns.add_argument("--target", nargs="+", metavar="NAME", help="what to forecast (default: y, or all numeric)")
    columns.add_argument("--past", nargs="+", metavar="NAME", help="covariates known up to now")
    columns.add_argument("--future", nargs="+", metavar="NAME", help="covariates known in advance, such as holidays")
    columns.add_argument("--static", nargs="+", metavar="NAME", help="covariates constant within a series")
    columns.add_argument(
        "--holidays", nargs="+", metavar="CODE", help="holidays to know of: countries, DE, or parts of them, US-CA"
    )
    columns.add_argument("--freq", metavar="STEP", help="step of the time stamps, as pandas spells it (default: inferred)")
    text = command.add_argument_group(
        "text files", "By default the header and the numbers tell; a forecast is written alike."
    )
    text.add_argument("--sep", metavar="CHAR", help="what separates columns, such as ';', or tab")
    text.add_argument("--decimal", choices=(".", ","), metavar="CHAR", help="what precedes decimals: . or ,")


def add_model(command: argparse.ArgumentParser) -> None:
    """Add what says how a forecaster is made."""
    model = command.add_argument_group("the model")
    model.add_argument("--lookback", type=int, metavar="ROWS", help="rows that scale a forecast (default: 336)")
    model.add_argument("--layers", type=int, metavar="N", help="layers of the network; 0 is a linear model (default: 2)")
    model.add_argument("--minimum", type=float, metavar="X", help="what no target lies below, such as 0 for counts")
    model.add_argument(
        "--transform",
        dest="target_transform",
        metavar="NAME",
        help="what targets are turned into to be learned, such as log1p",
    )
    skipped = "leave out series that cannot be used, with a warning (default: refuse them)"
    command.add_argument("--skip", dest="on_error", action="store_const", const="skip", help=skipped)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from titans_ts.files.tables import SUFFIXES, TextForm, read_table, table_suffix, text_form, write_table
    from titans_ts.frames.stream import Tail, read_pieces

    arguments.words = {**WORDS, "X": str(arguments.file), "future": f"--future-file {arguments.future_file}"}
    suffix = table_suffix(arguments.file)
    stem = arguments.file.name[: -len(suffix)]
    out = arguments.out or arguments.file.with_name(f"{stem}-forecast{suffix}")
    plot = out.with_name(f"{stem}-forecast.png") if arguments.plot == Path() else arguments.plot
    keep = {"overwrite": arguments.overwrite, "read": (arguments.file, arguments.future_file)}
    check_out(out, "--out", SUFFIXES, **keep)
    check_out(arguments.save, "--save", (), **keep)
    check_out(plot, "--plot", PICTURES, **keep)
    if plot is not None and find_spec("matplotlib") is None:
        raise ImportError("--plot needs matplotlib; `pip install 'titans-ts[plot]'`")
    check_levels(arguments)
    if arguments.horizon is None and arguments.model is None:
        raise OptionError("--horizon is needed to fit a model: the rows to forecast, such as --horizon 24")
    forecaster = new_forecaster(arguments) if arguments.model is None else _loaded(arguments)
    given = given_form(arguments)
    form = text_form(arguments.file, given)
    names = {"time_column": forecaster.time_column, "id_column": forecaster.id_column, "form": given}
    future = _future(arguments, forecaster, names)
    asked = {"level": arguments.level or None, "future": future}
    if arguments.model is not None:
        tail = Tail(read_pieces(arguments.file, **names))  # the file never lies whole in memory
        found = forecaster.predict(tail, horizon=arguments.horizon, **asked)
        frame = tail.frame
    else:
        frame = read_table(arguments.file, **names)
        take_columns(forecaster, frame, arguments)
        if future is not None:
            forecaster._check_future(frame, future)
        say(arguments, f"read {frame.height:,} rows of {arguments.file}; fitting")
        found = fit(arguments, forecaster, frame).predict(**asked)
    write_table(found, out, form=form if table_suffix(out)[:4] == suffix[:4] else TextForm(decimal=form.decimal))
    print(f"forecast: {out}")
    save(arguments, forecaster)
    if plot is not None:
        from titans_ts.plots import plot_forecast, save_figure

        names = {"id_column": forecaster.id_column, "time_column": forecaster.time_column}
        last = frame[forecaster.id_column][-1] if forecaster.id_column in frame.columns else None
        save_figure(plot_forecast(frame, found, unique_id=last, **names), plot)
        print(f"picture: {plot}")


def check_levels(arguments: argparse.Namespace) -> None:
    """Refuse levels that are no percentages."""
    fractions = [level for level in arguments.level if 0 < level < 1]
    if fractions:
        raise OptionError(f"--level {fractions[0]:g}: levels are percentages; did you mean --level {100 * fractions[0]:g}?")
    if not all(0 < level < 100 for level in arguments.level):
        raise OptionError(f"--level {arguments.level}: intervals are percentages between 0 and 100, such as --level 80 95")


def given_form(arguments: argparse.Namespace) -> Any:
    """Return how text is written, as far as the options say it."""
    from titans_ts.files.tables import TextForm

    return TextForm({"tab": "\t", "\\t": "\t"}.get(arguments.sep, arguments.sep), arguments.decimal)


def _loaded(arguments: argparse.Namespace) -> Any:
    """Return the model of a file; what it was fitted with cannot be asked for anew."""
    forecaster = loaded(arguments.model, "TitansForecaster")
    for option in _FITTED:
        if getattr(arguments, _FITTED[option]) is not None:
            raise OptionError(f"{option} belongs to a fit, and {arguments.model} was fitted; leave {option} or --model out")
    if arguments.horizon is not None and arguments.horizon > forecaster.horizon:
        raise OptionError(
            f"--horizon {arguments.horizon}: {arguments.model} forecasts {forecaster.horizon} rows; ask for fewer, or fit "
            "another model"
        )
    on_error = arguments.on_error or forecaster.on_error
    return forecaster.set_params(verbose=0 if arguments.quiet else None, on_error=on_error)


def new_forecaster(arguments: argparse.Namespace) -> Any:
    """Return a forecaster, not yet fitted, as the options say."""
    from titans_ts import TitansForecaster

    tails = {round(0.5 - level / 200, 6) for level in arguments.level}
    optional = ("lookback", "layers", "holidays", "minimum", "target_transform", "on_error")
    given = {name: getattr(arguments, name) for name in optional if getattr(arguments, name) is not None}
    if 0 < (arguments.lookback or 0) < 16:  # which is the length of a patch, the end of the look-back
        given["patch_length"] = arguments.lookback
    return TitansForecaster(
        arguments.horizon,
        quantiles=tuple(sorted({*QUANTILES, *tails, *(round(1 - tail, 6) for tail in tails)})),
        id_column=arguments.id_column or "unique_id",
        time_column=arguments.time_column or "ds",
        target_columns=arguments.target,
        past_covariates=arguments.past,
        future_covariates=arguments.future,
        static_covariates=arguments.static,
        freq=arguments.freq,
        variant=arguments.variant,
        **given,
        **training_of(arguments),
    )


def _future(arguments: argparse.Namespace, forecaster: Any, names: dict[str, Any]) -> Any:
    """Return the rows of --future-file, if the model needs them."""
    from titans_ts.files.tables import read_table

    needed = forecaster.future_covariates
    if needed and arguments.future_file is None:
        listed = needed if isinstance(needed, str) else ", ".join(map(str, needed))
        raise OptionError(f"the rows to forecast need {listed}, known in advance; give a file with them: --future-file FILE")
    if not needed and arguments.future_file is not None:
        raise OptionError("--future-file: the model knows no columns in advance; name them with --future when it is fitted")
    if not needed:
        return None
    frame = read_table(arguments.future_file, **names)
    for name in [needed] if isinstance(needed, str) else needed:
        if name not in frame.columns:
            raise OptionError(
                f"--future-file {arguments.future_file}: has no column {name!r}, but {closest(name, frame.columns)}"
            )
    return frame


def named_files(arguments: argparse.Namespace) -> str:
    """Return the files of a history, as a message names them."""
    return " ".join(map(str, getattr(arguments, "files", None) or [arguments.file]))


def take_columns(forecaster: Any, frame: Any, arguments: argparse.Namespace) -> None:
    """Tell a forecaster its column of time stamps; columns that were named and are not there are refused."""
    named = {option: getattr(arguments, name) or [] for option, name in _COLUMNS.items()}
    for option, names in named.items():
        for name in [names] if isinstance(names, str) else names:
            if name not in frame.columns:
                raise OptionError(
                    f"{option} {name}: {named_files(arguments)} has no such column, but {closest(name, frame.columns)}"
                )
    forecaster.set_params(time_column=_time_column(frame, arguments))


def _time_column(frame: Any, arguments: argparse.Namespace) -> str:
    """Return the column of time stamps: the one named, ds, or the only one that holds dates."""
    from titans_ts.files.tables import date_columns

    dates = date_columns(frame)
    if arguments.time_column is None and "ds" not in frame.columns and dates:
        if len(dates) > 1:
            raise OptionError(f"{named_files(arguments)} has several columns of dates, {dates}; name one with --time")
        say(arguments, f"time stamps: column {dates[0]!r}")
        return dates[0]
    return arguments.time_column or "ds"
