"""What is kept of a series: the state that is read on from, its portable form for files and other processes, and a log.

The log says how far a stream was read, with the states then.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from titans_ts.backbones.stack import State
from titans_ts.backbones.state import pack
from titans_ts.blocks.scale import Scale
from titans_ts.files.facts import fits, require
from titans_ts.files.tensors import Form, read_tensors, under, write_tensors
from titans_ts.frames.faults import Faults


class SeriesState(NamedTuple):
    """Everything a model keeps of one series, of a size that does not grow with what was read.

    Full attention, a baseline, keeps two vectors of every token, and alone breaks the promise of a fixed size.
    """

    backbone: State  # the memory of every layer, written up to the last whole patch that a row has followed
    rows: Tensor  # c lookback, float64: the last raw rows, NaN where missing or before the first
    past: Tensor  # lookback k, the past covariates beside them
    calendar: Tensor  # lookback k, calendar features of those rows
    static: Tensor  # s
    scale: Scale  # long-run level and spread
    n_seen: int  # rows read
    future: Any = ()  # lookback k, covariates known in advance beside the rows; nothing without a base
    base: Any = ()  # what the base carries, up to the last row

    @property
    def nbytes(self) -> int:
        """Size in bytes of all that is carried."""
        return sum(x.numel() * x.element_size() for x in pack(self).values())


@dataclass(frozen=True, eq=False)
class MemoryState:
    """All that a forecaster has read of one series, in a size that does not grow with it.

    ``TitansForecaster.state_`` gives it, ``TitansForecaster.remember`` takes it back, in this process or in another: it
    pickles, and ``save`` writes a file that is never unpickled. It belongs to the weights that read it, and no others take
    it.

    Attributes
    ----------
    id : hashable
        Of the series; None where there is one without an id.
    n_seen : int
        Rows read.
    last_time : datetime64[ns], int or None
        Time stamp of the last row, its number without stamps; None before the first.
    model : str
        Fingerprint of the forecaster that it belongs to.
    tensors : dict of str to Tensor
        The memory of every layer, the last ``lookback`` rows, and the scale; empty before the first row.

    Examples
    --------
    >>> from titans_ts import TitansForecaster
    >>> tide = np.sin(np.arange(400.0) / 8)
    >>> forecaster = TitansForecaster(horizon=4, lookback=48, max_steps=2, random_state=0).fit(tide)
    >>> before = forecaster.state_
    >>> _ = forecaster.update(tide[:100]).remember(before)
    >>> before.n_seen, forecaster.n_seen_
    (400, 400)
    """

    id: Hashable
    n_seen: int
    last_time: Any
    model: str
    tensors: Mapping[str, Tensor]

    @property
    def nbytes(self) -> int:
        """Size in bytes of all that is carried."""
        return sum(x.numel() * x.element_size() for x in self.tensors.values())

    def copy(self) -> MemoryState:
        """Return another one that shares no memory with this one."""
        return replace(self, tensors={name: x.clone() for name, x in self.tensors.items()})

    def forget(self) -> MemoryState:
        """Return the state of the same series before its first row."""
        return replace(self, n_seen=0, last_time=None, tensors={})

    def save(self, path: str | Path) -> None:
        """Write the state to a file, whole or not at all (safetensors with a JSON header).

        Raises
        ------
        OSError
            If the file cannot be written; nothing of it is left, and an older one stays whole.
        TypeError
            If the id is neither text nor a number.
        """
        facts = {"id": plain(self.id), "n_seen": self.n_seen, "last_time": plain(self.last_time), "model": self.model}
        write_tensors(path, dict(self.tensors), {"memory_state": facts})

    @classmethod
    def load(cls, path: str | Path) -> MemoryState:
        """Read the state that :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is damaged, foreign, or holds something else. Whether it fits a model is told by ``remember``.
        """

        def check(header: dict[str, Any], forms: Mapping[str, Form]) -> None:
            facts = header.get("memory_state")
            if not isinstance(facts, dict):
                raise ValueError(f"{str(path)!r} holds no memory of a series; a fitted model is read by titans_ts.load")
            n_seen: Any = facts.get("n_seen")
            counted = fits(n_seen, int) and n_seen >= 0 and bool(n_seen) == bool(forms)
            if not (counted and isinstance(facts.get("model"), str) and {"id", "last_time"} <= set(facts)):
                raise ValueError(f"{str(path)!r} is damaged: its facts are not those of a memory; save the memory again")

        tensors, header = read_tensors(path, check=check)
        facts = header["memory_state"]
        try:
            name, last_time = original(facts["id"]), original(facts["last_time"])
        except ValueError as error:
            raise ValueError(f"{str(path)!r} is damaged: {error}; save the memory again") from None
        return cls(name, facts["n_seen"], last_time, facts["model"], tensors)


def plain(value: Any) -> Any:
    """Return an id or a time stamp with its kind, as JSON can hold it; anything else is refused.

    >>> plain("well 7"), plain(np.datetime64("1970-01-01T00:00:01", "s"))
    (['plain', 'well 7'], ['time', '1000000000'])
    """
    if isinstance(value, np.datetime64):
        return ["time", str(value.astype("datetime64[ns]").astype(np.int64))]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple) and not any(isinstance(part, tuple) for part in value):
        return ["tuple", [plain(part) for part in value]]
    if value is None or isinstance(value, str | int | float | bool):
        return ["plain", value]
    raise TypeError(
        f"the series id {value!r} ({type(value).__name__}) cannot be kept in a file; use text, numbers or tuples"
    )


def original(kept: Any) -> Any:
    """Return what :func:`plain` was given; what it cannot have returned is refused."""
    match kept:
        case None:
            return None
        case ["time", str(text)] if text.removeprefix("-").isdecimal() and -(2**63) <= int(text) < 2**63:
            return np.datetime64(int(text), "ns")
        case ["tuple", list(parts)] if not any(isinstance(part, list) and part[:1] == ["tuple"] for part in parts):
            return tuple(original(part) for part in parts)
        case ["plain", value] if fits(value, str | float | bool | None):
            return value
    raise ValueError(f"{kept!r} is neither an id nor a time stamp")


class Restoring(Protocol):
    """What makes states of their tensors again: a :class:`titans_ts.series.reader.Reader`."""

    @property
    def fingerprint(self) -> str:
        """What tells its weights from all others."""

    def check_last_time(self, n_seen: int, last_time: Any) -> None:
        """Refuse a last time stamp that cannot be that of so many rows."""

    def restored(self, name: Hashable, n_seen: int, tensors: Mapping[str, Tensor]) -> SeriesState:
        """Return the state of a series after so many rows, if the tensors can be it."""


class ReadingLog:
    """A file that says how far a stream was read, and what was held then; written whole or not at all.

    ``states`` are those from which reading began.
    """

    def __init__(self, path: str | Path, reader: Restoring, states: Mapping[Hashable, SeriesState]) -> None:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"checkpoint={path!r:.80} is a {type(path).__name__}; expected the path of a file")
        self.path, self.reader = Path(path), reader
        seen = [[plain(name), state.n_seen] for name, state in states.items()]
        self.identity = [reader.fingerprint, hashlib.sha256(json.dumps(seen).encode()).hexdigest()]

    def resume(self, faults: Faults) -> tuple[dict[Hashable, SeriesState], dict[Hashable, Any], int]:
        """Return states, last time stamps and rows read so far; nothing without a file; one that does not fit is refused.

        What was wrong with single series until then is noted in ``faults``.
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
            kept = by_place("", tensors)
            names = [original(name) for name in facts["ids"]]
            last = {original(name): original(time) for name, time in facts["last_times"]}
            once = len(set(names)) == len(names) and len(last) == len(facts["last_times"])
            require(once and set(last) <= set(names), "its series do not fit its time stamps")
            require(fits(facts["rows"], int) and facts["rows"] > 0, "its rows are no count")
            states = {}
            for place, name in enumerate(names):
                n_seen = int(kept[place]["n_seen"])
                self.reader.check_last_time(n_seen, last.get(name))
                states[name] = self.reader.restored(name, n_seen, kept[place])
            for name, reason in kept_reasons(facts).items():
                faults.note(name, reason)
            return states, last, facts["rows"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            what = f"it lacks the part {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"checkpoint {str(self.path)!r} is damaged: {what}; delete it") from None

    def write(
        self, states: Mapping[Hashable, SeriesState], last_times: Mapping[Hashable, Any], rows: int, faults: Faults
    ) -> None:
        """Write how far reading came."""
        tensors: dict[str, Tensor] = {}
        for place, state in enumerate(states.values()):
            tensors |= pack(state, prefix=str(place))
        facts = {
            "identity": self.identity,
            "rows": rows,
            "ids": [plain(name) for name in states],
            "last_times": [[plain(name), plain(time)] for name, time in last_times.items()],
        } | reasons_to_keep(faults.reasons)
        write_tensors(self.path, tensors, {"reading": facts})


def reasons_to_keep(reasons: Mapping[Hashable, str]) -> dict[str, Any]:
    """Return why series were left out as plain facts of a file; nothing where none was."""
    return {"skipped": [[plain(name), reason] for name, reason in reasons.items()]} if reasons else {}


def kept_reasons(facts: Mapping[str, Any]) -> dict[Hashable, str]:
    """Return what :func:`reasons_to_keep` was given."""
    reasons = {original(name): reason for name, reason in facts.get("skipped", [])}
    require(all(isinstance(reason, str) for reason in reasons.values()), "what it says of series left out is no text")
    return reasons


def by_place(kind: str, tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Return the tensors of a file that are named ``kind.place.name``, by place and name."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, x in (under(f"{kind}.", tensors) if kind else dict(tensors)).items():
        place, _, part = name.partition(".")
        require(place.isdecimal() and len(place) < 10, f"it holds {name!r}, which is of no series")
        found.setdefault(int(place), {})[part] = x
    return found
