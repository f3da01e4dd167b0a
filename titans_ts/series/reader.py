"""A fitted network with all that it reads by: series into states, whole or piece by piece, and forecasts out of them."""

from __future__ import annotations

import hashlib
import json
from collections import ChainMap
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from joblib import Parallel, delayed
from torch import Tensor
from tqdm import tqdm

from titans_ts.backbones.stack import require_memory
from titans_ts.backbones.state import pack, unpack
from titans_ts.blocks.scale import Scale, unknown_scale
from titans_ts.files.tensors import digest, read_tensors, write_tensors
from titans_ts.frames.future import read_future
from titans_ts.frames.panel import Layout, Panel, Series
from titans_ts.frames.read import read_panel
from titans_ts.frames.stream import Pieces, read_pieces, rows_of, skip_rows
from titans_ts.frames.write import Forecast, forecast_container, row_values_container
from titans_ts.learn.saving import network_tensors, restore_network
from titans_ts.series import reading
from titans_ts.series.intervals import interval_bounds
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.settings import ForecastConfig
from titans_ts.series.state import MemoryState, SeriesState, original, plain
from titans_ts.series.tensors import Preparation, SeriesTensors, learn_scale

ROWS_AT_ONCE = 65_536
"""Rows of a piece; bounds what a stream holds in memory and never changes an answer."""
SHOWN_AFTER = 1.0
"""Seconds before progress is shown."""

States = Mapping[Hashable, SeriesState]


class Reading(NamedTuple):
    """Series after their rows were read."""

    states: dict[Hashable, SeriesState]
    last_times: dict[Hashable, Any]  # of the last row of each series: its time stamp, or its number without stamps
    layout: Layout  # of the container that held them


@dataclass(frozen=True, eq=False)
class Reader:
    """What is needed to read series and to forecast them; the states are with whoever asks."""

    network: ForecastNetwork  # in evaluation mode
    preparation: Preparation
    layout: Layout  # of what was trained on
    scales: dict[Hashable, Scale]  # long-run scale of each series that was trained on
    training_rows: dict[Hashable, int]  # rows of each that weights were trained on
    first_times: dict[Hashable, Any]  # time stamp of the first row of each
    id_column: str = "unique_id"
    time_column: str = "ds"
    freq: Any = None
    n_jobs: int | None = None
    verbose: int = 0

    def panel(self, X: Any, *, follow: Mapping[Hashable, Any] | None = None, like: Layout | None = None) -> Panel:
        """Return the series of a container like that of ``fit``; with ``follow`` they begin after those last rows."""
        return read_panel(
            X,
            id_column=self.id_column,  # where fit saw none
            time_column=self.time_column,
            freq=self.freq,
            like=self.layout if like is None else like,
            follow=follow,
        )

    def pieces(self, X: Any) -> Pieces:
        """Return the pieces of a stream."""
        return read_pieces(X, rows=ROWS_AT_ONCE, time_column=self.time_column, id_column=self.id_column)

    def tensors(self, series: Series) -> SeriesTensors:
        """Return a whole series as the network reads it, by the scale that ``fit`` gave it or its first look-back's."""
        scale = self.scales.get(series.id)
        return self.preparation.tensors(
            series, learn_scale(series, self.network.config.lookback) if scale is None else scale
        )

    # --- states -------------------------------------------------------------------------------------------------------

    def fresh_state(self, name: Hashable = None, static: Tensor | None = None) -> SeriesState:
        """Return the state of a series before its first row."""
        config = self.network.config
        static = torch.zeros(config.static) if static is None else static
        scale = self.scales.get(name, unknown_scale(config.channels))
        with torch.no_grad():
            return reading.start_state(self.network, static=static, scale=scale)

    def begin(self, series: Series, state: SeriesState | None) -> SeriesState:
        """Return the state from which a series is read on; rows with other static covariates than before are refused."""
        given = self.preparation.static_tensor(series.static)
        if state is None or not state.n_seen:
            return self.fresh_state(series.id, given)
        changed = (given != state.static).nonzero()
        if len(changed):
            j = int(changed[0])
            name = "" if series.id is None else f", id {series.id!r}"
            raise ValueError(
                f"X: the static covariate {self.layout.static_columns[j]!r}{name} is {series.static[j]:g} now, but was "
                "another when the series began; forget() the series to begin anew, or fit it as a past covariate"
            )
        return state

    @cached_property
    def fingerprint(self) -> str:
        """What tells these weights, and how they are fed, from all others."""
        facts = [self.network.config.to_dict(), self.preparation.to_dict(), self.layout.target_columns]
        return digest(network_tensors(self.network), json.dumps(facts))

    def portable(self, name: Hashable, state: SeriesState, last_time: Any) -> MemoryState:
        """Return a series' state as it leaves the model; tensors are shared, which nothing writes to."""
        return MemoryState(name, state.n_seen, last_time, self.fingerprint, pack(state) if state.n_seen else {})

    def taken_back(
        self, states: MemoryState | Mapping[Hashable, MemoryState] | Iterable[MemoryState]
    ) -> Iterator[tuple[MemoryState, SeriesState]]:
        """Yield states that :meth:`portable` made, given alone, by id or one after the other, with what is read on from.

        What is no state, belongs to other weights, or lacks a part is refused.
        """
        for state in [states] if isinstance(states, MemoryState) else _values(states):
            self._check(state)
            like = self.fresh_state(state.id)
            try:
                yield state, unpack(like, state.tensors) if state.n_seen else like
            except KeyError as error:
                raise ValueError(f"the memory of series {state.id!r} is damaged: it lacks the part {error}") from None

    def _check(self, state: MemoryState) -> None:
        if not isinstance(state, MemoryState):
            raise TypeError(f"states holds a {type(state).__name__}; expected a MemoryState, as state_ gives it")
        whose = "" if state.id is None else f" of series {state.id!r}"
        if state.model != self.fingerprint:
            raise ValueError(
                f"states: the memory{whose} was written by another model, or by this one with other weights; only the "
                "weights that wrote a memory can read it: load that model, or update() this one with the rows"
            )
        if (state.id is None) != self.layout.is_single:
            want = "one series, without an id" if self.layout.is_single else "series by id"
            raise ValueError(f"states: the memory{whose} does not fit; the model was fitted on {want}")

    # --- files --------------------------------------------------------------------------------------------------------

    def kept(self, states: States, last_times: Mapping[Hashable, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and plain facts that a model file keeps of the reader, and of states."""
        tensors, series = network_tensors(self.network), []
        for place, (name, state) in enumerate(states.items()):
            tensors |= pack(state, prefix=f"state.{place}")
            known = name in self.scales
            tensors |= pack(self.scales[name], prefix=f"scale.{place}") if known else {}
            series.append(
                {
                    "id": plain(name),
                    "known": known,
                    "last_time": plain(last_times.get(name)),
                    "first_time": plain(self.first_times.get(name)),
                    "training_rows": self.training_rows.get(name),
                }
            )
        return tensors, {
            "network": self.network.config.to_dict(),
            "preparation": self.preparation.to_dict(),
            "layout": self.layout.to_dict(),
            "series": series,
        }

    @classmethod
    def from_file(
        cls, header: dict[str, Any], tensors: dict[str, Tensor], *, precision: str, device: torch.device
    ) -> tuple[Reader, Reading]:
        """Return a reader, and the states, of what :meth:`kept` returned."""
        network = ForecastNetwork(ForecastConfig.from_dict(header["network"]))
        preparation, layout = Preparation.from_dict(header["preparation"]), Layout.from_dict(header["layout"])
        reader = cls(restore_network(network, tensors, precision, device), preparation, layout, {}, {}, {})
        read, like = Reading({}, {}, layout), reader.fresh_state()
        for place, fact in enumerate(header["series"]):
            name, last = original(fact["id"]), original(fact["last_time"])
            read.states[name] = unpack(like, tensors, prefix=f"state.{place}")
            if fact["known"]:
                reader.scales[name] = unpack(like.scale, tensors, prefix=f"scale.{place}")
                reader.training_rows[name] = fact["training_rows"]
                reader.first_times[name] = original(fact["first_time"])
            if last is not None:
                read.last_times[name] = last
        return reader, read

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, panel: Panel, states: States, tensors: Mapping[Hashable, SeriesTensors] | None = None) -> Reading:
        """Read a panel on from states, which are left as they are; a series that has none begins afresh."""
        begun = {one.id: self.begin(one, states.get(one.id)) for one in panel}

        def read_one(one: Series) -> SeriesState:
            state = begun[one.id]
            rows = self.preparation.tensors(one, state.scale) if tensors is None else tensors[one.id]
            return reading.absorb(self.network, state, rows)

        found = dict(zip(begun, self.in_parallel(delayed(read_one)(one) for one in panel), strict=True))
        last = {one.id: last_time(one, found[one.id]) for one in panel if len(one)}
        return Reading(found, last, panel.layout)

    def read_stream(
        self,
        X: Any,
        states: States,
        last_times: Mapping[Hashable, Any],
        *,
        fresh: bool = False,
        log: ReadingLog | None = None,
    ) -> Reading:
        """Read a stream (:func:`titans_ts.frames.stream.read_pieces`) on from states, which are left as they are.

        ``fresh`` says that X stands for itself, as in ``predict(X)``. ``log`` is written after every piece, and taken up
        where it is there already. An error says at which row of X its piece begins.
        """
        pieces = self.pieces(X)
        found, ends, done = ({}, {}, 0) if log is None else log.resume()
        kept, known = ChainMap(found, dict(states)), ChainMap(ends, dict(last_times))
        before: Layout | None = None
        shown: dict[str, Any] = {"unit": "row", "unit_scale": True, "leave": False, "delay": SHOWN_AFTER}
        with tqdm(total=pieces.total, initial=done, disable=self.verbose < 1, **shown) as progress:
            for piece in skip_rows(pieces, done):
                try:
                    panel = self._panel_alone(piece, before, known) if fresh else self.panel(piece, follow=known)
                    new = self.read(panel, kept)
                except (ValueError, TypeError) as error:
                    place = f"the rows of X from row {done:,} on (rows are counted from there): " if done else ""
                    raise type(error)(f"{place}{error}") from error
                found.update(new.states)
                ends.update(new.last_times)
                before, done = panel.layout, done + rows_of(piece)
                progress.update(rows_of(piece))
                if log is not None:
                    log.write(found, ends, done)
        return Reading(found, ends, self.layout if before is None else before)

    def _panel_alone(self, piece: Any, before: Layout | None, known: Mapping[Hashable, Any]) -> Panel:
        """Read a piece of a history that stands for itself: it follows the piece before it, if both have time stamps."""
        if before is None or not (before.has_times and self.layout.has_times):
            return self.panel(piece)
        return self.panel(piece, follow=known, like=replace(self.layout, kind=before.kind))

    # --- answers ------------------------------------------------------------------------------------------------------

    def forecast(self, read: Reading, *, future: Any = None, levels: tuple[float, ...] = ()) -> Any:
        """Return the rows after what was read, in a container of the same kind."""
        network = self.network
        layout = replace(self.layout, kind=read.layout.kind, backend=read.layout.backend)
        ahead = read_future(future, layout, read.last_times, network.config.horizon)

        def forecast_one(name: Hashable, state: SeriesState) -> Forecast:
            found = reading.forecast(network, state, self.preparation.future_tensor(ahead[name]))
            return self.answer(found, read.last_times[name], levels)

        found = self.in_parallel(delayed(forecast_one)(name, state) for name, state in read.states.items())
        return forecast_container(read.layout, dict(zip(read.states, found, strict=True)))

    def answer(self, found: reading.Forecasts, last_time: Any, levels: tuple[float, ...]) -> Forecast:
        """Return the forecast of one origin as it goes into a container."""
        point, quantiles = found.point[0].cpu().numpy(), found.quantiles[0].cpu().numpy()
        return Forecast(point, last_time, interval_bounds(quantiles, self.network.config.quantiles, levels))

    def surprise(self, X: Any) -> Any:
        """Return how much each row of a history surprised a fresh memory, in a container of the same kind."""
        if not self.network.config.backbone.layers:
            raise ValueError("layers=0: this model has no memory that could be surprised")
        require_memory(self.network, to_be="surprised")
        panel = self.panel(X)
        values = {one.id: reading.surprise(self.network, self.tensors(one)).double().cpu().numpy() for one in panel}
        columns = ["surprise"] if self.network.config.mixed else None
        return row_values_container(panel.layout, panel, values, columns=columns)

    def in_parallel(self, tasks: Iterable[Any]) -> list[Any]:
        """Return the answers of delayed tasks, ``n_jobs`` threads at a time."""
        return list(Parallel(n_jobs=self.n_jobs, backend="threading")(tasks))


class ReadingLog:
    """A file that says how far a stream was read, and what was held then; written whole or not at all.

    ``states`` are those from which reading began.
    """

    def __init__(self, path: str | Path, reader: Reader, states: States) -> None:
        self.path, self.reader = Path(path), reader
        seen = [[plain(name), state.n_seen] for name, state in states.items()]
        self.identity = [reader.fingerprint, hashlib.sha256(json.dumps(seen).encode()).hexdigest()]

    def resume(self) -> tuple[dict[Hashable, SeriesState], dict[Hashable, Any], int]:
        """Return states, last time stamps and rows read so far; nothing without a file; one that does not fit is refused."""
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
            like = self.reader.fresh_state()
            states = {original(name): unpack(like, tensors, prefix=str(place)) for place, name in enumerate(facts["ids"])}
            last = {original(name): original(time) for name, time in facts["last_times"]}
            return states, last, int(facts["rows"])
        except KeyError as error:
            raise ValueError(f"checkpoint {str(self.path)!r} is damaged: it lacks the part {error}; delete it") from None

    def write(self, states: States, last_times: Mapping[Hashable, Any], rows: int) -> None:
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


def last_time(series: Series, after: SeriesState) -> Any:
    """Return the time stamp of the last row of a series; its number, where it has none."""
    return after.n_seen - 1 if series.times is None else series.times[-1]


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


def _values(states: Mapping[Hashable, MemoryState] | Iterable[MemoryState]) -> Iterable[MemoryState]:
    return states.values() if isinstance(states, Mapping) else states
