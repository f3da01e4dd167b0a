"""``titans-ts fit``, alone or in each of several processes that torchrun starts."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

from titans_ts.cli._shared import OptionError, add_command, add_options, check_out, fit, say
from titans_ts.cli.forecast import (
    LEVEL,
    WORDS,
    add_columns,
    add_model,
    check_levels,
    given_form,
    named_files,
    new_forecaster,
    take_columns,
)


def add(commands: Any) -> None:
    """Describe the command."""
    about = "fit a model on CSV or parquet files, or on a folder of parquet files, and keep it"
    epilog = (
        "On several processes: torchrun --nproc-per-node=K -m titans_ts fit FILE..., with 1, 2, 4 or 8 of them. Each reads "
        "all files; the work is shared out, and any number of processes gives the same model."
    )
    command = add_command(commands, "fit", run, about, epilog=epilog)
    files = "history: .csv, .tsv, either .gz, .parquet, or a folder of parquet files, such as unique_id=A/0.parquet"
    command.add_argument("files", type=Path, nargs="+", metavar="FILE", help=files)
    command.add_argument("--horizon", type=int, metavar="H", required=True, help="rows to forecast")
    command.add_argument("--out", type=Path, metavar="FILE", required=True, help="where to write the model")
    command.add_argument("--level", **LEVEL)
    add_columns(command)
    add_model(command)
    command.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="write the training here now and then, and go on from there"
    )
    add_options(command, "--variant", "--seed", "--max-steps", "--max-minutes", "--overwrite")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from titans_ts.learn import distributed

    arguments.words = {**WORDS, "X": named_files(arguments)}
    inputs = [path for path in arguments.files if path.is_file()]
    check_out(arguments.out, "--out", (), overwrite=arguments.overwrite, read=inputs)
    check_out(arguments.checkpoint, "--checkpoint", (), read=(*inputs, arguments.out))
    check_levels(arguments)
    with distributed.joined():
        if not distributed.is_first():
            arguments.quiet = True
            warnings.simplefilter("ignore")
        forecaster = new_forecaster(arguments)
        frame = _frame(arguments, forecaster)
        take_columns(forecaster, frame, arguments)
        say(arguments, f"read {frame.height:,} rows of {named_files(arguments)}; fitting")
        if arguments.checkpoint is not None:
            from titans_ts import Checkpoint

            forecaster.set_params(callbacks=[*(forecaster.callbacks or ()), Checkpoint(arguments.checkpoint)])
        fit(arguments, forecaster, frame)
        if distributed.is_first():
            forecaster.save(arguments.out)
            print(f"model: {arguments.out}")


def _frame(arguments: argparse.Namespace, forecaster: Any) -> Any:
    """Return the rows of all files as one frame."""
    import polars as pl

    from titans_ts.files.tables import read_table

    names = {"time_column": forecaster.time_column, "id_column": forecaster.id_column, "form": given_form(arguments)}
    first, *others = frames = [read_table(path, **names) for path in arguments.files]
    for path, frame in zip(arguments.files[1:], others, strict=True):
        if set(frame.columns) != set(first.columns):
            columns = f"{path} has the columns {', '.join(frame.columns)}, {arguments.files[0]} {', '.join(first.columns)}"
            raise OptionError(f"{columns}; give files with the same columns")
    return pl.concat([frame.select(first.columns) for frame in frames], how="vertical_relaxed")
