"""Where a data set may lie on this machine, and whether what lies there is the original."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path


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
