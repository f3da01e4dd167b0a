"""Public data sets of DNA, read from where they already lie."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from titans_ts.data.dna_registry import PARTS, DnaRecord
from titans_ts.data.sources import cache_folder, find_file, verified_bytes

_PART_OF_SET = {"train": "training", "dev": "validation", "test": "test"}
_BINS = [f"ct_{k}" for k in range(10)]


@dataclass(frozen=True)
class SequenceDataset:
    """Sequences with a target each, in the parts that published scores are computed on.

    Parameters
    ----------
    name : str
        Name in the registry.
    train, dev, test : pandas.DataFrame or polars.DataFrame
        To learn from, to choose and stop by, to judge on. Columns ``sequence`` (str) and `target_column`.
    target_column : str
        ``"label"`` (int64, classes from 0) or ``"mean_bin"`` (float64; see `load_dataset`).
    card : str
        Origin, licence, citation and checksums, for a person.
    """

    name: str
    train: Any
    dev: Any
    test: Any
    target_column: str
    card: str


@dataclass(frozen=True)
class GenomeDataset:
    """A genome on disk, checked: its `path` goes to `Genome`, `stream_records` or an estimator.

    Parameters
    ----------
    name : str
        Name in the registry.
    path : Path
        FASTA, gzipped or not.
    card : str
        Origin, licence, citation and checksum, for a person.
    """

    name: str
    path: Path
    card: str


def load_dna(
    record: DnaRecord,
    *,
    data_home: str | os.PathLike[str] | None = None,
    return_frame: Literal["pandas", "polars"] = "pandas",
) -> SequenceDataset | GenomeDataset:
    """Load the data set of a record; see `titans_ts.load_dataset`.

    Parameters
    ----------
    record : DnaRecord
        A row of the registry.
    data_home : path-like, optional
        A folder to look in first.
    return_frame : {"pandas", "polars"}, default="pandas"
        The kind of frame wanted.

    Returns
    -------
    SequenceDataset or GenomeDataset
        By the record's kind.

    Raises
    ------
    FileNotFoundError
        A file is nowhere; the message says where to get it and where to put it.
    ValueError
        A file is not the original, byte for byte.
    """
    paths = {part: _find(record, part, data_home) for part in record.files}  # all of them, before any is read
    contents = {
        part: verified_bytes(path, name=record.name, sha256=record.files[part].sha256, origin=record.origin)
        for part, path in paths.items()
    }
    if record.kind == "genome":
        return GenomeDataset(record.name, paths["all"], record.card)
    columns = _sort_seq_columns(contents["all"]) if "all" in contents else _columns(contents, record.target)
    train, dev, test = (_to_frame(columns[part], return_frame) for part in PARTS)
    return SequenceDataset(record.name, train, dev, test, record.target, record.card)


def _find(record: DnaRecord, part: str, data_home: str | os.PathLike[str] | None) -> Path:
    """Return where a file of the record lies, or say where to get it and where to put it."""
    places = record.files[part].places
    path = find_file(places, data_home, record.package)
    if path is None:
        folder = cache_folder() / Path(places[0]).parent
        raise FileNotFoundError(
            f"{record.name} has no address to download from; get it by {record.obtain}, or put {Path(places[0]).name} "
            f"into {folder}, or name as data_home or in $TITANS_TS_DATA a folder that holds {' or '.join(places)}"
        )
    return path


def _columns(contents: dict[str, bytes], target: str) -> dict[str, dict[str, Any]]:
    """Return the columns of each part, where each has a file."""
    import pandas as pd

    tables = {part: pd.read_csv(io.BytesIO(content)) for part, content in contents.items()}
    return {
        part: {"sequence": table["sequence"].tolist(), target: table[target].to_numpy(dtype=np.int64)}
        for part, table in tables.items()
    }


def _sort_seq_columns(content: bytes) -> dict[str, dict[str, Any]]:
    """Return the columns of each part of the Sort-Seq file: the mean bin from the reads counted in each."""
    import pandas as pd

    table = pd.read_csv(io.BytesIO(content))
    reads = table[_BINS].to_numpy(dtype=np.float64)  # n 10
    mean_bin = reads @ np.arange(len(_BINS)) / reads.sum(axis=1)
    parts = {part: (table["set"] == name).to_numpy() for part, name in _PART_OF_SET.items()}
    return {part: {"sequence": table["x"][rows].tolist(), "mean_bin": mean_bin[rows]} for part, rows in parts.items()}


def _to_frame(columns: dict[str, Any], return_frame: Literal["pandas", "polars"]) -> Any:
    import narwhals as nw

    return nw.from_dict(columns, backend=return_frame).to_native()
