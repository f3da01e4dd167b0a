"""The tables of a store, and the sums that tell when any of them is not what was written.

``series`` lists every series: how much was read, and the sums of what lies under the same place in ``waiting`` and
``memory``. Each row of it has a sum of its own, and ``about`` holds how many rows there are and the sum of their sums, so
that a row which is lost, old or another's is seen. Only what is read is held against its sum.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

from torch import Tensor

from titans_ts.series.state import original, plain
from titans_ts.series.store.connection import Connection

FORMAT = 2
"""Version of the file; one of a newer version is refused, one of an older is brought up to date."""

_SCHEMA = {
    "about": "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "series": (
        "CREATE TABLE series (place INTEGER PRIMARY KEY, id TEXT NOT NULL, n_seen INTEGER NOT NULL, "
        "last_time TEXT NOT NULL, waiting_sum INTEGER NOT NULL, memory_sum INTEGER NOT NULL, sum INTEGER NOT NULL)"
    ),
    "ids": "CREATE UNIQUE INDEX ids ON series (id)",
    "waiting": "CREATE TABLE waiting (place INTEGER PRIMARY KEY, tensors BLOB NOT NULL)",
    "memory": "CREATE TABLE memory (place INTEGER PRIMARY KEY, tensors BLOB NOT NULL, sum INTEGER NOT NULL)",
}
_ROWS_AT_ONCE = 10_000
_LIST = "SELECT place, id, n_seen, last_time, waiting_sum, memory_sum, sum FROM series"
_INSERT = "INSERT INTO series VALUES (?, ?, ?, ?, ?, ?, ?)"
_BY_ID = """
SELECT count(*) FROM series NOT INDEXED WHERE EXISTS (SELECT 1 FROM series AS by_id INDEXED BY ids
    WHERE by_id.id = series.id AND by_id.place = series.place)
"""
_REMEDY = "restore it from a copy, or forget() all series and read the rows again"


class Row(NamedTuple):
    """What the list says of one series."""

    place: int
    key: str  # the id, spelled by :func:`key_of`
    n_seen: int
    last_time: str
    waiting_sum: int
    memory_sum: int

    @property
    def name(self) -> Hashable:
        """The id."""
        name: Hashable = original(json.loads(self.key))
        return name

    @property
    def time(self) -> Any:
        """The time stamp of the last row, its number without stamps, None before the first."""
        return original(json.loads(self.last_time))

    @property
    def sum(self) -> int:
        """The sum of all of it."""
        return zlib.crc32(ascii(tuple(self)).encode())


class Facts(NamedTuple):
    """What a store says of itself as a whole."""

    model: str  # fingerprint of the weights
    series: int  # rows of the list
    total: int  # sum of their sums
    written: str  # another one after every change

    def to_dict(self) -> dict[str, str]:
        """Return the facts as text, with their own sum."""
        found = {name: str(value) for name, value in self._asdict().items()}
        return {"titans_ts": str(FORMAT), **found, "check": str(zlib.crc32(ascii(list(found.items())).encode()))}

    @classmethod
    def from_dict(cls, about: Mapping[str, str], path: Path) -> Facts:
        """Return what :meth:`to_dict` returned; anything else is refused."""
        try:
            found = cls(about["model"], int(about["series"]), int(about["total"]), about["written"])
            if found.to_dict() == about:
                return found
        except (KeyError, ValueError, TypeError):
            pass
        raise ValueError(
            f"{str(path)!r} is damaged: what it says of itself is not what was written; restore it from a copy, or "
            "delete it to begin anew"
        )


class Tables(Collection[Hashable]):
    """The tables as one transaction sees them; a collection of ids.

    ``held`` is a mark (:attr:`Facts.written`) of which the list of series was found whole before.
    """

    def __init__(self, connection: Connection, held: str = "") -> None:
        self.ask, self.path, self.held = connection.ask, connection.path, held
        self.facts = Facts.from_dict(dict(self.ask("SELECT name, value FROM about")), self.path)
        self._series, self._total = self.facts.series, self.facts.total
        self._known: dict[str, Row] = {}
        self._next = 0  # place of the next new series, once it was asked for
        self._changed = False

    # --- the whole ----------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Write the facts, if anything was changed."""
        if not self._changed:
            return
        was_held = self.held == self.facts.written
        self.facts = Facts(self.facts.model, self._series, self._total, token_hex(8))
        self.held = self.facts.written if was_held else ""
        for name, value in self.facts.to_dict().items():
            self.ask("UPDATE about SET value = ? WHERE name = ?", (value, name))

    def hold(self) -> None:
        """Refuse a store whose list lacks a series, or has one that is not found by its id; once a change is enough."""
        if self.held == self.facts.written:
            return
        for _ in self._each():
            pass
        ((found,),) = self.ask(_BY_ID)
        if found != self._series:
            raise self._list_is_damaged(found)
        self.held = self.facts.written

    def hold_structure(self) -> None:
        """Refuse a file whose pages do not make whole tables; reads all of it."""
        found = [said for (said,) in self.ask("PRAGMA integrity_check(1)")]
        counts = [self.ask(f"SELECT count(*) FROM {table}")[0][0] for table in ("waiting", "memory")]
        if found != ["ok"] or counts != [self._series] * 2:
            raise self._list_is_damaged(min(counts))
        self.held = ""
        self.hold()

    def _list_is_damaged(self, found: int) -> ValueError:
        return ValueError(
            f"{str(self.path)!r} is damaged: its list of series is not what was written ({found} of {self._series} are "
            f"found); {_REMEDY}"
        )

    # --- the list -----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._series

    def __contains__(self, name: object) -> bool:
        try:
            return self._listed(key_of(name)) is not None
        except TypeError:  # of no kind that could be kept
            return False

    def __iter__(self) -> Iterator[Hashable]:
        return (row.name for row in self.rows())

    def rows(self) -> list[Row]:
        """Return the whole list, in the order in which series began."""
        return list(self._each())

    def _each(self) -> Iterator[Row]:
        """Yield the rows of the list; refuse one that is damaged, and at the end a list that is not whole."""
        count, total, place = 0, 0, -1
        while found := self.ask(f"{_LIST} WHERE place > ? ORDER BY place LIMIT {_ROWS_AT_ONCE}", (place,)):
            for *values, row_sum in found:
                row = self._whole(Row(*values), row_sum)
                count, total = count + 1, total + row_sum
                yield row
            if row.place <= place or count > self._series:
                break
            place = row.place
        if (count, total) != (self._series, self._total):
            raise self._list_is_damaged(count)

    def __getitem__(self, name: Hashable) -> Row:
        found = self.find(name)
        if found is None:
            raise KeyError(name)
        return found

    def find(self, name: Hashable) -> Row | None:
        """Return the row of a series, None if there is none."""
        return self._find(key_of(name))

    def _find(self, key: str) -> Row | None:
        if key not in self._known:
            found = self._listed(key)
            if found is None:
                return None
            self._known[key] = self._whole(Row(*found[:-1]), found[-1])
        return self._known[key]

    def _listed(self, key: str) -> tuple[Any, ...] | None:
        """Return a row as it stands in the list, and its sum; that there is none is believed only of a whole list."""
        found: list[tuple[Any, ...]] = self.ask(f"{_LIST} WHERE id = ?", (key,))
        if not found:
            self.hold()
            return None
        return found[0]

    def _whole(self, row: Row, total: int) -> Row:
        if row.sum != total:
            raise self.damaged_at(row)
        return row

    def damaged_at(self, row: Row) -> ValueError:
        """Return the error to raise for a series that is not what was written."""
        return _damaged_at(row, self.path)

    # --- what is kept -------------------------------------------------------------------------------------------------

    def tensors(self, row: Row, *, with_memory: bool) -> dict[str, Tensor]:
        """Return the tensors of a series; those of its memory only if they are asked for."""
        found = self._tensors("waiting", row, row.waiting_sum)
        return found | self._tensors("memory", row, row.memory_sum) if with_memory else found

    def _tensors(self, table: str, row: Row, total: int) -> dict[str, Tensor]:
        from safetensors import SafetensorError
        from safetensors.torch import load

        found = self.ask(f"SELECT tensors FROM {table} WHERE place = ?", (row.place,))
        try:
            if found and isinstance(found[0][0], bytes) and zlib.crc32(found[0][0]) == total:
                return load(found[0][0])
        except (SafetensorError, ValueError):
            pass
        raise self.damaged_at(row)

    def put(self, name: Hashable, n_seen: int, last_time: Any, waiting: bytes, memory: bytes | None) -> None:
        """Write a series; without ``memory`` that stays as it is."""
        key = key_of(name)
        before = self._find(key)
        place = self._new_place() if before is None else before.place
        self.ask("INSERT OR REPLACE INTO waiting VALUES (?, ?)", (place, waiting))
        if memory is None:
            assert before is not None
            memory_sum = before.memory_sum
        else:
            memory_sum = zlib.crc32(memory)
            self.ask("INSERT OR REPLACE INTO memory VALUES (?, ?, ?)", (place, memory, memory_sum))
        row = Row(place, key, n_seen, json.dumps(plain(last_time)), zlib.crc32(waiting), memory_sum)
        if before is None:
            self.ask(_INSERT, (*row, row.sum))
        else:
            self.ask(
                "UPDATE series SET n_seen = ?, last_time = ?, waiting_sum = ?, memory_sum = ?, sum = ? WHERE place = ?",
                (*row[2:], row.sum, place),
            )
        self._series += before is None
        self._total += row.sum - (0 if before is None else before.sum)
        self._known[row.key], self._changed = row, True

    def _new_place(self) -> int:
        if not self._next:
            ((last,),) = self.ask("SELECT max(place) FROM series")
            self._next = (last or 0) + 1
        self._next += 1
        return self._next - 1

    def drop(self, name: Hashable) -> None:
        """Take a series out, damaged or not."""
        key = key_of(name)
        found = self._listed(key)
        assert found is not None
        row, total = Row(*found[:-1]), found[-1]
        for table in ("memory", "waiting", "series"):
            self.ask(f"DELETE FROM {table} WHERE place = ?", (row.place,))
        self._known.pop(key, None)
        self._series, self._changed = self._series - 1, True
        if row.sum == total:
            self._total -= total
        else:  # what the damaged row counted for is what the others leave, if none is lost
            ((count, self._total),) = self.ask("SELECT count(*), coalesce(sum(CAST(sum AS INTEGER)), 0) FROM series")
            if count != self._series:
                raise self._list_is_damaged(count)

    def clear(self) -> None:
        """Take all series out, whatever is damaged."""
        for table in ("memory", "waiting", "series"):
            self.ask(f"DELETE FROM {table}")
        self._known, self._series, self._total, self._next, self._changed = {}, 0, 0, 0, True
        self.held = self.facts.written


class LastTimes(Mapping[Hashable, Any]):
    """The time stamps of the last rows of a store's series, each read when it is asked for."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def __getitem__(self, name: Hashable) -> Any:
        row = self._tables.find(name)
        last = None if row is None else row.time
        if last is None:  # of a series that was begun anew, too
            raise KeyError(name)
        return last

    def __len__(self) -> int:
        return len(self._tables)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._tables)


def key_of(name: object) -> str:
    """Return an id as the file spells it, its kind included; numbers that are equal are one id.

    >>> key_of("1"), key_of(1), key_of(1.0) == key_of(1)
    ('["plain", "1"]', '["plain", 1]', True)
    """
    return json.dumps(_one_spelling(plain(name)))


def _one_spelling(kept: list[Any]) -> list[Any]:
    """Spell a number the same, whatever its kind, in a tuple too."""
    kind, value = kept
    if kind == "tuple":
        return [kind, [_one_spelling(part) for part in value]]
    if not isinstance(value, float):
        return kept
    if math.isnan(value):
        raise TypeError("the series id nan is no id; use text or numbers")
    return [kind, int(value) if value.is_integer() else value]


def make_tables(ask: Callable[..., Any], model: str) -> None:
    """Make the tables of a store without series."""
    for statement in _SCHEMA.values():
        ask(statement)
    for fact in Facts(model, 0, 0, token_hex(8)).to_dict().items():
        ask("INSERT INTO about VALUES (?, ?)", fact)


def version_of(connection: Connection) -> int:
    """Return the version of a store; a newer one, and what has other tables than a store of its version, is refused."""
    where, ask = repr(str(connection.path)), connection.ask
    schema = dict(ask("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    foreign = f"{where} is an SQLite file, but no store of titans_ts, or damaged; give another path"
    if schema.get("about") != _SCHEMA["about"]:
        raise ValueError(foreign)
    about = dict(ask("SELECT name, value FROM about"))
    try:
        version = int(about["titans_ts"])
    except (KeyError, ValueError, TypeError):
        raise ValueError(foreign) from None
    if version > FORMAT:
        raise ValueError(f"{where} was written by a newer titans_ts; upgrade titans_ts")
    if schema != _SCHEMA and (version, set(schema)) != (1, {"about", "series", "memory"}):
        raise ValueError(foreign)
    return version


def upgrade(connection: Connection) -> None:
    """Bring a store of version 1 up to date, in which the list held the rows that wait, and had no sums of its own."""
    ask = connection.ask
    model = dict(ask("SELECT name, value FROM about"))["model"]
    ask("ALTER TABLE series RENAME TO old")
    for name in ("series", "ids", "waiting"):
        ask(_SCHEMA[name])
    ask("INSERT INTO waiting SELECT place, waiting FROM old")
    total = 0
    listed = "SELECT place, id, n_seen, last_time, waiting_sum, coalesce(sum, -1) FROM old LEFT JOIN memory USING (place)"
    rows = [Row(*values) for values in ask(listed)]
    for row in rows:
        try:
            renamed = row._replace(key=key_of(row.name))
        except (ValueError, TypeError):
            raise _damaged_at(row, connection.path) from None
        ask(_INSERT, (*renamed, renamed.sum))
        total += renamed.sum
    ask("DROP TABLE old")
    ask("DELETE FROM about")
    for fact in Facts(model, len(rows), total, token_hex(8)).to_dict().items():
        ask("INSERT INTO about VALUES (?, ?)", fact)


def _damaged_at(row: Row, path: Path) -> ValueError:
    try:
        name = repr(row.name)
    except (ValueError, TypeError):  # the id itself is damaged
        name = f"number {row.place}"
    return ValueError(f"{str(path)!r} is damaged at series {name}: forget() it and read its rows again")
