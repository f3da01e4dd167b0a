"""History that comes piece by piece, absorbed without ever lying whole in memory, and taken up after an interruption."""

from __future__ import annotations

import hashlib
import json
from collections import ChainMap
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor
from tqdm import tqdm

from titans_ts.backbones.state import pack, unpack
from titans_ts.files.tensors import read_tensors, write_tensors
from titans_ts.frames.panel import Layout, Panel
from titans_ts.frames.stream import Pieces, read_pieces, rows_of, skip_rows
from titans_ts.series.state import SeriesState, original, plain

if TYPE_CHECKING:
    from titans_ts.series.forecaster import SeriesMemory


def panel_ids(panel: Panel) -> list[Hashable]:
    """Return the ids of a panel's series, in order."""
    return [one.id for one in panel]


def chosen(ids: Hashable | Iterable[Hashable] | None, known: Collection[Hashable]) -> list[Hashable]:
    """Return the ids that were asked for, all by default; one that is not known is refused."""
    if ids is None:
        return list(known)
    names = [ids] if isinstance(ids, str) or not isinstance(ids, Iterable) else list(ids)
    for name in names:
        if name not in known:
            raise ValueError(f"ids: there is no series {name!r}; there are {some(known)}")
    return names


def some(names: Iterable[Hashable], count: int = 5) -> str:
    """Name the first few of many."""
    listed = list(names)
    return ", ".join(map(repr, listed[:count])) + (f" and {len(listed) - count} more" if len(listed) > count else "")


ROWS_AT_ONCE = 65_536
"""Rows of a piece; bounds what a stream holds in memory and never changes an answer."""

SHOWN_AFTER = 1.0
"""Seconds before progress is shown."""


class Absorbed(NamedTuple):
    """Series after a stream: their states, their last time stamps, and how the stream was laid out."""

    states: dict[Hashable, SeriesState]
    last_times: dict[Hashable, Any]
    layout: Layout


def absorb_stream(
    memory: SeriesMemory,
    X: Any,
    states: Mapping[Hashable, SeriesState],
    last_times: Mapping[Hashable, Any],
    *,
    fresh: bool = False,
    log: ReadingLog | None = None,
) -> Absorbed:
    """Read a stream on from some states, which are left as they are.

    Parameters
    ----------
    memory : SeriesMemory
        A fitted estimator.
    X : stream
        See :func:`titans_ts.frames.stream.read_pieces`.
    states, last_times : mapping of id
        Where reading starts.
    fresh : bool, default=False
        Whether X stands for itself, as in ``predict(X)``, rather than following on what was read.
    log : ReadingLog, optional
        Written after every piece, and taken up where it is there already.

    Raises
    ------
    ValueError
        If a piece does not fit; the message says at which row of X the piece begins.
    """
    pieces = stream_pieces(memory, X)
    found: dict[Hashable, SeriesState] = {}
    ends: dict[Hashable, Any] = {}
    before: Layout | None = None
    done = 0
    if log is not None:
        found, ends, done = log.resume()
    kept, known = ChainMap(found, dict(states)), ChainMap(ends, dict(last_times))
    shown: dict[str, Any] = {"unit": "row", "unit_scale": True, "leave": False, "delay": SHOWN_AFTER}
    with tqdm(total=pieces.total, initial=done, disable=memory.verbose < 1, **shown) as progress:
        for piece in skip_rows(pieces, done):
            try:
                panel = _read_alone(memory, piece, before, known) if fresh else memory._read(piece, follow=known)
                new, last = memory._absorbed(panel, kept)
            except (ValueError, TypeError) as error:
                place = f"the rows of X from row {done:,} on (rows are counted from there): " if done else ""
                raise type(error)(f"{place}{error}") from error
            found.update(new)
            ends.update(last)
            before, done = panel.layout, done + rows_of(piece)
            progress.update(rows_of(piece))
            if log is not None:
                log.write(found, ends, done)
    return Absorbed(found, ends, memory.layout_ if before is None else before)


def stream_pieces(memory: SeriesMemory, X: Any) -> Pieces:
    """Return a stream's pieces, columns named as the estimator names them."""
    return read_pieces(X, rows=ROWS_AT_ONCE, time_column=memory.time_column, id_column=memory.id_column)


def _read_alone(memory: SeriesMemory, piece: Any, before: Layout | None, known: Mapping[Hashable, Any]) -> Panel:
    """Read a piece of a history that stands for itself: it follows the piece before it, if both have time stamps."""
    if before is None or not (before.has_times and memory.layout_.has_times):
        return memory._read(piece)
    return memory._read(piece, follow=known, like=replace(memory.layout_, kind=before.kind))


class ReadingLog:
    """A file that says how far a stream was read, and what was held then; written whole or not at all.

    Parameters
    ----------
    path : str or Path
        The file.
    memory : SeriesMemory
        Whose states they are; those that it has now are where reading began.
    """

    def __init__(self, path: str | Path, memory: SeriesMemory) -> None:
        self.path, self.memory = Path(path), memory
        seen = [[plain(name), state.n_seen] for name, state in memory.states_.items()]
        self.identity = [memory.fingerprint(), hashlib.sha256(json.dumps(seen).encode()).hexdigest()]

    def resume(self) -> tuple[dict[Hashable, SeriesState], dict[Hashable, Any], int]:
        """Return states, last time stamps and rows read so far; nothing where there is no file yet.

        Raises
        ------
        ValueError
            If the file belongs to other weights or was begun from other states, or is damaged.
        """
        if not self.path.exists():
            return {}, {}, 0
        tensors, header = read_tensors(self.path)
        facts = header.get("reading")
        if not isinstance(facts, dict) or facts.get("identity") != self.identity:
            raise ValueError(
                f"checkpoint {str(self.path)!r} was written by another reading: by another model, or begun when other rows "
                "had been read; give another path, or delete the file to read the stream from its first row"
            )
        try:
            like = self.memory.fresh_state()
            states = {original(name): unpack(like, tensors, prefix=str(place)) for place, name in enumerate(facts["ids"])}
            last = {original(name): original(time) for name, time in facts["last_times"]}
            return states, last, int(facts["rows"])
        except KeyError as error:
            raise ValueError(f"checkpoint {str(self.path)!r} is damaged: it lacks the part {error}; delete it") from None

    def write(self, states: Mapping[Hashable, SeriesState], last_times: Mapping[Hashable, Any], rows: int) -> None:
        """Write how far reading came."""
        tensors: dict[str, Tensor] = {}
        for place, state in enumerate(states.values()):
            tensors |= pack(state, prefix=str(place))
        facts = {
            "identity": self.identity,
            "rows": rows,
            "ids": [plain(name) for name in states],
            "last_times": [[plain(name), plain(time)] for name, time in last_times.items()],
        }
        write_tensors(self.path, tensors, {"reading": facts})
