"""How a folder is laid out: its plan, the names of its files, and what they say."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from titans_ts.files.facts import checked, require
from titans_ts.files.replacing import clear_partial, replacing
from titans_ts.series.store.folder_lock import READERS, WRITER

FORMAT = 1
"""Version of the folder; one of a newer version is refused."""
PLAN = "store.json"
_SHARD = re.compile(r"(\d{4})-(\d{5})-(\d{12})\.states")
_CHANGE = re.compile(r"(\d{12})\.rows")


@dataclass(frozen=True)
class Plan:
    """What ``store.json`` says."""

    model: str  # fingerprint of the weights
    shards: int
    block: int  # series read side by side
    layout: int = 1  # another one after the shards were rebalanced
    since: int = 0  # the change after which this layout was made


class Snapshot(NamedTuple):
    """The files of a folder at one moment."""

    plan: Plan
    files: dict[int, tuple[int, Path]]  # by shard: the last change in it, and its file
    log: dict[int, Path]  # by number, those that any shard may lack
    number: int  # of the last change

    def merged(self, shard: int) -> int:
        """Return the last change that is in a shard."""
        return self.files[shard][0] if shard in self.files else self.plan.since

    @classmethod
    def of(cls, path: Path) -> Snapshot:
        """Return the files of a folder as they are now."""
        plan = read_plan(path)
        log = {int(found[1]): name for name, found in _matches(path / "log", _CHANGE)}
        files: dict[int, tuple[int, Path]] = {}
        for name, found in _matches(path / "shards", _SHARD):
            layout, shard, number = map(int, found.groups())
            if layout == plan.layout and number > files.get(shard, (-1,))[0]:
                files[shard] = number, name
        number = max(plan.since, *log, *(number for number, _ in files.values()), 0)
        return cls(plan, files, dict(sorted(log.items())), number)

    def clear_up(self, path: Path, needless: Iterable[int]) -> None:
        """Take away shards that others stand for, changes that are in all shards, and what dead writers left."""
        for folder in (path, path / "log", path / "shards"):
            for left in folder.glob(".*.partial"):
                clear_partial(left.with_name(left.name[1:].rsplit(".", 2)[0]))
        kept = {name for _, name in self.files.values()}
        for name, _ in _matches(path / "shards", _SHARD):
            if name not in kept:
                name.unlink(missing_ok=True)
        for number in needless:
            self.log[number].unlink(missing_ok=True)


def make_folder(path: Path, plan: Plan) -> None:
    """Make a folder without series; one that another process makes at the same time stays as it is."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"path={str(path)!r} is a file; leave shards out, or name a folder")
    own = {"log", "shards", WRITER, READERS}
    if path.is_dir() and any(one.name not in own and one.suffix != ".partial" for one in path.iterdir()):
        raise ValueError(f"path={str(path)!r} is a folder with other files in it; name a new one")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist; make it first")
    for folder in (path, path / "log", path / "shards"):
        folder.mkdir(exist_ok=True)
    with suppress(FileExistsError), replacing(path / PLAN, only_new=True) as new:
        new.write_text(_text_of(plan))


def write_plan(path: Path, plan: Plan) -> None:
    """Write the plan of a folder anew."""
    with replacing(path / PLAN) as new:
        new.write_text(_text_of(plan))


def _text_of(plan: Plan) -> str:
    return json.dumps({"titans_ts": FORMAT, **asdict(plan)}, indent=1)


def read_plan(path: Path) -> Plan:
    """Return the plan of a folder; what is none, or of a newer version, is refused."""
    where = repr(str(path))
    try:
        found = json.loads((path / PLAN).read_text())
        version = found.pop("titans_ts")
        if version > FORMAT:
            raise ValueError(f"{where} was written by a newer titans_ts; upgrade titans_ts")
        plan = checked(Plan(**found))
        require(min(plan.shards, plan.block, plan.layout) > 0 and plan.since >= 0, "its numbers are none")
        return plan
    except FileNotFoundError:
        raise FileNotFoundError(f"{where} is gone, or no store of titans_ts; restore it, or open a new store") from None
    except (KeyError, TypeError, ValueError) as error:
        if "newer" in str(error):
            raise
        raise ValueError(f"{where}: {PLAN} is damaged ({error}); restore it from a copy") from None


def shard_path(path: Path, layout: int, shard: int, number: int) -> Path:
    """Return the file of a shard after a change."""
    return path / "shards" / f"{layout:04d}-{shard:05d}-{number:012d}.states"


def _matches(folder: Path, pattern: re.Pattern[str]) -> Iterator[tuple[Path, re.Match[str]]]:
    for name in sorted(os.listdir(folder)):
        found = pattern.fullmatch(name)
        if found is not None:
            yield folder / name, found


def change_path(path: Path, number: int) -> Path:
    """Return the file of a change."""
    return path / "log" / f"{number:012d}.rows"
