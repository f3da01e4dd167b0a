"""``titans-ts update``, ``predict`` and ``rebalance``: a store of many series, from parquet folders and back."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from titans_ts.cli._shared import OPTIONS, OptionError, add_command, add_options, check_out, loaded, say
from titans_ts.cli.forecast import LEVEL, WORDS, check_levels

BACKENDS = ("loky", "threading", "ray", "dask")
_OWN_WORDS = {"shards": "--shards", "ids": "--ids", "n_jobs": "--jobs"}


def add(commands: Any) -> None:
    """Describe the commands."""
    files = "a folder of parquet files, such as unique_id=A/0.parquet, or files: .parquet, .csv, .tsv, either .gz"
    about = "let a store of many series read new rows"
    update = _add(commands, "update", update_store, about, ", each once, whatever is interrupted.")
    update.add_argument("files", type=Path, nargs="+", metavar="FILE", help=f"new rows: {files}")
    update.add_argument("--shards", type=int, metavar="N", help="make a folder of so many shards (default: one file)")
    text = "leave out rows up to the last one that was read of a series (default: refuse them)"
    update.add_argument("--new", action="store_true", help=text)
    skipped = "leave out series that cannot be used, with a warning (default: refuse them)"
    update.add_argument("--skip", dest="on_error", action="store_const", const="skip", help=skipped)

    predict = _add(commands, "predict", predict_store, "forecast the series of a store")
    out = "a folder, written as parquet files by id, or a file: .parquet, .csv, .tsv, either .gz"
    predict.add_argument("--out", type=Path, metavar="FOLDER", required=True, help=out)
    predict.add_argument("--horizon", type=int, metavar="H", help="rows to forecast (default: all that the model learned)")
    predict.add_argument("--level", **LEVEL)
    predict.add_argument("--ids", nargs="+", metavar="ID", help="these series alone (default: all)")
    predict.add_argument("--future-file", type=Path, metavar="FILE", help=f"covariates of the rows to come: {files}")
    predict.add_argument("--overwrite", **OPTIONS["--overwrite"])

    rebalance = _add(commands, "rebalance", rebalance_store, "distribute a store over another number of shards")
    text = "shards to have: a multiple of those there are, or a part of them"
    rebalance.add_argument("--shards", type=int, metavar="N", required=True, help=text)


def _add(commands: Any, name: str, run: Any, about: str, more: str = ".") -> argparse.ArgumentParser:
    command = add_command(commands, name, run, about, more)
    command.add_argument("store", type=Path, metavar="STORE", help="the store: a file, or a folder of shards")
    command.add_argument("--model", type=Path, metavar="FILE", required=True, help="the fitted model that the store is of")
    command.add_argument("--jobs", type=int, metavar="N", help="workers on a folder of shards (default: 1; -1: all cores)")
    text = "who works on shards (default: loky, processes of this machine); ray and dask connect to what RAY_ADDRESS and "
    command.add_argument("--backend", choices=BACKENDS, help=text + "DASK_SCHEDULER_ADDRESS name, or start workers here")
    add_options(command)
    return command


@contextmanager
def _opened(arguments: argparse.Namespace, **more: Any) -> Iterator[Any]:
    """Open the store with the workers that were asked for."""
    from joblib import parallel_config

    from titans_ts import MemoryStore

    arguments.words = WORDS | _OWN_WORDS | {"X": " ".join(map(str, getattr(arguments, "files", ())))}
    arguments.words["future"] = f"--future-file {getattr(arguments, 'future_file', None)}"
    model = loaded(arguments.model, "TitansForecaster")
    on_error = getattr(arguments, "on_error", None) or model.on_error
    model.set_params(verbose=0 if arguments.quiet else None, on_error=on_error)
    if model.reader_.layout.kind != "long":
        raise OptionError(f"--model {arguments.model}: was fitted without ids; fit it on rows with ids, to keep many series")
    with ExitStack() as stack:
        if arguments.jobs is not None or arguments.backend is not None:
            backend = arguments.backend or "loky"
            stack.enter_context(_running(backend, arguments.jobs))
            jobs = -1 if arguments.jobs is None else arguments.jobs
            stack.enter_context(parallel_config(backend=backend, n_jobs=jobs))
        yield stack.enter_context(MemoryStore(arguments.store, model, **more))


@contextmanager
def _running(backend: str, jobs: int | None) -> Iterator[None]:
    """Start, or connect to, what a backend needs."""
    if backend == "ray":
        ray, joblib = _needed("ray"), _needed("ray.util.joblib")
        ray.init(num_cpus=jobs if jobs is not None and jobs > 0 else None, log_to_driver=False, ignore_reinit_error=True)
        joblib.register_ray()
        try:
            yield
        finally:
            ray.shutdown()
    elif backend == "dask":
        distributed, config = _needed("distributed"), _needed("dask.config")
        address = config.get("scheduler-address", None)
        local = {} if address else {"n_workers": jobs if jobs is not None and jobs > 0 else None, "threads_per_worker": 1}
        with distributed.Client(address, **local):
            yield
    else:
        yield


def _needed(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        extra = "ray" if name.startswith("ray") else "dask"
        raise ImportError(f"--backend {extra} needs {extra}; `pip install 'titans-ts[{extra}]'`") from None


def update_store(arguments: argparse.Namespace) -> None:
    """Run ``titans-ts update``."""
    for path in arguments.files:
        if not path.exists():
            raise OptionError(f"{path}: no such file or folder")
    with _opened(arguments, **({} if arguments.store.exists() else {"shards": arguments.shards})) as store:
        for path in arguments.files:
            rows = _new_rows(store, path) if arguments.new else path
            if rows is not None:
                store.update(rows)
            say(arguments, f"read {path}" if rows is not None else f"{path} has no new rows")
        print(f"store: {arguments.store}, {len(store):,} series, {sum(store.n_seen_.values()):,} rows")


def _new_rows(store: Any, path: Path) -> Iterator[Any] | None:
    """Return the pieces of a table without rows that were read before, None where nothing is left."""
    import numpy as np
    import polars as pl

    layout, known = store.reader.layout, store.last_times_
    if not layout.has_times:
        raise OptionError("--new: the model knows no time stamps, by which rows would be known again")
    last = pl.DataFrame({layout.id_column: list(known), "last": np.array(list(known.values()))}) if known else None

    def rest() -> Iterator[Any]:
        for piece in store.reader.pieces(path):
            if last is None:
                yield piece
                continue
            both = piece.join(last.cast({layout.id_column: piece.schema[layout.id_column]}), on=layout.id_column, how="left")
            wall = pl.col(layout.time_column)
            if isinstance(piece.schema[layout.time_column], pl.Datetime) and piece.schema[layout.time_column].time_zone:
                wall = wall.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
            new = both.filter(pl.col("last").is_null() | (wall > pl.col("last"))).drop("last")
            if new.height:
                yield new

    pieces = rest()
    first = next(pieces, None)
    return None if first is None else chain([first], pieces)


def predict_store(arguments: argparse.Namespace) -> None:
    """Run ``titans-ts predict``."""
    from titans_ts.files.tables import SUFFIXES, read_table, write_parts, write_table

    is_file = arguments.out.name.lower().endswith(SUFFIXES)
    if is_file:
        check_out(arguments.out, "--out", SUFFIXES, overwrite=arguments.overwrite, read=[arguments.future_file])
    elif arguments.out.exists() and not (arguments.overwrite and _is_of_parts(arguments.out)):
        how = "give another name" if arguments.overwrite else "give another name, or --overwrite to replace a forecast"
        raise OptionError(f"--out {arguments.out}: exists; {how}")
    elif not arguments.out.parent.is_dir():
        raise OptionError(f"--out {arguments.out}: there is no folder {arguments.out.parent}")
    check_levels(arguments)
    if not arguments.store.exists():
        raise OptionError(f"{arguments.store}: no such store; titans-ts update makes one")
    with _opened(arguments) as store:
        names = {"id_column": store.reader.layout.id_column, "time_column": store.reader.layout.time_column}
        future = None if arguments.future_file is None else read_table(arguments.future_file, **names)
        ids = None if arguments.ids is None else _ids(arguments.ids, store)
        found = store.predict(ids, horizon=arguments.horizon, level=arguments.level or None, future=future)
        if is_file:
            write_table(found, arguments.out)
        else:
            write_parts(found, arguments.out, names["id_column"])
        print(f"forecast: {arguments.out}, {len(found):,} rows")


def _is_of_parts(path: Path) -> bool:
    """Tell whether a folder holds parquet files by id, and nothing else."""
    return path.is_dir() and all("=" in one.name for one in path.iterdir())


def _ids(given: list[str], store: Any) -> list[Any]:
    """Return ids as the store knows them: numbers, where they are numbers."""
    return [name if name in store or not name.lstrip("-").isdecimal() else int(name) for name in given]


def rebalance_store(arguments: argparse.Namespace) -> None:
    """Run ``titans-ts rebalance``."""
    if not arguments.store.is_dir():
        raise OptionError(f"{arguments.store}: is no folder of shards; titans-ts update --shards N makes one")
    with _opened(arguments) as store:
        store.rebalance(arguments.shards)
        print(f"store: {arguments.store}, {len(store):,} series in {arguments.shards:,} shards")
