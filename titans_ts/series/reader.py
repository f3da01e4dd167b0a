"""A fitted network with all that it reads by: series into states, whole or piece by piece, and forecasts out of them."""

from __future__ import annotations

import json
import zlib
from collections import ChainMap
from collections.abc import Callable, Collection, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple, TypeVar, get_type_hints

import numpy as np
import torch
from joblib import Parallel, delayed
from torch import Tensor

from titans_ts.backbones.stack import require_memory
from titans_ts.backbones.state import map_tensors, pack, unpack_checked
from titans_ts.blocks.scale import Scale, unknown_scale
from titans_ts.files.facts import checked, finite, fits, refusing, require
from titans_ts.files.tensors import digest
from titans_ts.frames.clock import to_wall
from titans_ts.frames.covariates.categories import joined_unseen, warn_unseen
from titans_ts.frames.covariates.static import note_unknown, read_static
from titans_ts.frames.faults import Faults
from titans_ts.frames.future import read_future
from titans_ts.frames.panel import Column, Layout, Panel, Series
from titans_ts.frames.read import read_panel
from titans_ts.frames.stream import Pieces, read_pieces, rows_of, skip_rows
from titans_ts.frames.write import (
    Forecast,
    forecast_container,
    future_container,
    paths_container,
    row_values_container,
)
from titans_ts.learn.progress import progress_bar
from titans_ts.learn.saving import network_tensors
from titans_ts.series import reading
from titans_ts.series.base.spread import draw_levels
from titans_ts.series.intervals import Asked
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.reading import tokens_read
from titans_ts.series.settings import ForecastConfig
from titans_ts.series.state import MemoryState, ReadingLog, SeriesState, by_place, original, plain
from titans_ts.series.tensors import Preparation, SeriesTensors

ROWS_AT_ONCE = 65_536
"""Rows of a piece; bounds what a stream holds in memory and never changes an answer."""

SERIES_AT_ONCE = 256
"""Series that are read, or forecast, side by side; bounds what a call holds and changes no answer."""

NUMBERS_AT_ONCE = 2**22
"""Numbers of paths that are drawn at once, unless those of one series are more."""

Answer = TypeVar("Answer")
States = Mapping[Hashable, SeriesState]
_NOTHING = Asked()


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
    spreads: dict[Hashable, np.ndarray]  # of the training rows of each, in its own units, (c,)
    id_column: str = "unique_id"
    time_column: str = "ds"
    freq: Any = None
    n_jobs: int | None = None
    verbose: int | None = 0
    on_error: str = "raise"  # or "skip": what is done about series that cannot be used
    statics: Mapping[Hashable, np.ndarray] = field(default_factory=dict)  # by id, where a frame of their own had them

    @property
    def faults(self) -> Faults:
        """What a call will find wrong with single series, and what is done about it."""
        return Faults(skip=self.on_error == "skip")

    def panel(
        self,
        X: Any,
        *,
        follow: Mapping[Hashable, Any] | None = None,
        like: Layout | None = None,
        first_row: int | None = None,
        faults: Faults | None = None,
        static: Mapping[Hashable, np.ndarray] | None = None,
        begun: Container[Hashable] = (),
        tell: bool = True,
        encoded: bool = True,
    ) -> Panel:
        """Return the series of a container like that of ``fit``; with ``follow`` they begin after those last rows.

        ``first_row`` says at which row of a stream X begins, if it is a piece of one. ``static``, by id, goes before what
        ``fit`` knew; only series of ``begun`` may be without. ``tell`` warns of categories that training never saw.
        Not ``encoded``, categories are left for another fit to learn.
        """
        panel = read_panel(
            X,
            id_column=self.id_column,  # where fit saw none
            time_column=self.time_column,
            freq=self.freq,
            like=self.layout if like is None else like,
            follow=follow,
            first_row=first_row,
            faults=faults,
            domains=self.preparation.targets.domains(),
            encoded=encoded,
        )
        if tell:
            warn_unseen(panel.unseen, "X")
        if not panel.layout.static_apart:
            return panel
        given = {**self.statics, **(static or {})}
        note_unknown([one.id for one in panel if one.id not in given and one.id not in begun], faults)
        panel = panel if faults is None else faults.sift_panel(panel)
        series = tuple(replace(one, static=given[one.id]) if one.id in given else one for one in panel)
        return replace(panel, series=series)

    def static(self, static: Any) -> dict[Hashable, np.ndarray]:
        """Return the static covariates of a frame with a row an id, like that of ``fit``; none without one."""
        return {} if static is None else read_static(static, self.layout)

    def pieces(self, X: Any) -> Pieces:
        """Return the pieces of a stream."""
        return read_pieces(X, rows=ROWS_AT_ONCE, time_column=self.time_column, id_column=self.id_column)

    def tensors(self, series: Series) -> SeriesTensors:
        """Return a whole series as the network reads it, by the scale that ``fit`` gave it or its first look-back's."""
        scale = self.scales.get(series.id)
        scale = self.preparation.scale(series, self.network.config.lookback) if scale is None else scale
        return self.preparation.tensors(series, scale)

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
        if self.layout.static_apart and bool(given.isnan().any()):  # it goes on with those that it began with
            if state is None or not state.n_seen:
                note_unknown([series.id], None)
            return state  # type: ignore[return-value]
        if state is None or not state.n_seen:
            return self.fresh_state(series.id, given)
        changed = (given != state.static).nonzero()
        if len(changed):
            name = "" if series.id is None else f", id {series.id!r}"
            column, value = self.layout.static_value(int(changed[0]), series.static)
            raise ValueError(
                f"X: the static covariate {column!r}{name} is {value} now, but was another when the series began; forget() "
                "the series to begin anew, or fit it as a past covariate"
            )
        return state

    @cached_property
    def fingerprint(self) -> str:
        """What tells these weights, and how they are fed, from all others."""
        facts: list[Any] = [self.network.config.to_dict(), *self.preparation.mark(), self.layout.target_columns]
        facts += [*map(asdict, self.layout.categories), *map(asdict, self.layout.holidays)]
        return digest(network_tensors(self.network), json.dumps(facts))

    def portable(self, name: Hashable, state: SeriesState, last_time: Any) -> MemoryState:
        """Return a series' state as it leaves the model; tensors are shared, which nothing writes to."""
        return MemoryState(name, state.n_seen, last_time, self.fingerprint, pack(state) if state.n_seen else {})

    def taken_back(
        self, states: MemoryState | Mapping[Hashable, MemoryState] | Iterable[MemoryState]
    ) -> Iterator[tuple[MemoryState, SeriesState]]:
        """Yield states that :meth:`portable` made, given alone, by id or one after the other, with what is read on from.

        What is no state, belongs to other weights, or is not of the form of a state that so many rows leave is refused.
        """
        for state in [states] if isinstance(states, MemoryState) else _values(states):
            self._check(state)
            try:
                self.check_last_time(state.n_seen, state.last_time)
                if state.n_seen:
                    yield state, self.restored(state.id, state.n_seen, state.tensors)
                elif state.tensors:
                    raise ValueError("it holds tensors, but has read no row")
                else:
                    yield state, self.fresh_state(state.id)
            except ValueError as error:
                raise ValueError(f"states: the memory of series {state.id!r} is damaged: {error}") from None

    def restored(self, name: Hashable, n_seen: int, tensors: Mapping[str, Tensor]) -> SeriesState:
        """Return a series' state from its tensors by name; ones that so many rows of it cannot have left are refused."""
        config = self.network.config
        level, fresh = tensors.get("scale.level"), self.fresh_state(name)
        unknown = level is None or bool(level.isnan().any())
        like = fresh._replace(
            backbone=self.network.state_after(config.streams, tokens_read(config, n_seen, unknown=unknown)), n_seen=n_seen
        )
        gaps = ("rows", "past", "scale.level", "scale.spread", "base.rows", "base.spread.waiting", "base.bounds.extremes")
        state: SeriesState = unpack_checked(like, tensors, gaps=gaps)
        if unknown:
            early = name not in self.scales and n_seen < max(config.lookback, config.patch_length + 1)
            require(early and bool(torch.cat(state.scale).isnan().all()), "its part 'scale' is not known")
        elif name in self.scales:
            require(all(map(torch.equal, state.scale, fresh.scale)), "its part 'scale' is not the one that fit found")
        else:
            require(bool((state.scale.spread > 0).all()), "its part 'scale.spread' is not above 0")
        return state._replace(backbone=map_tensors(lambda x: x.to(self.network.device), state.backbone))

    def check_last_time(self, n_seen: int, last_time: Any) -> None:
        """Refuse a last time stamp that series of this layout cannot have after so many rows."""
        if not n_seen:
            fit = last_time is None
        elif self.layout.integer_times or not self.layout.has_times:
            fit = isinstance(last_time, int | np.integer) and not isinstance(last_time, bool)
            if fit and not self.layout.has_times:  # the index of a slice may begin later than at 0
                fit = last_time >= n_seen - 1 if self.layout.is_single else last_time == n_seen - 1
        else:
            fit = isinstance(last_time, np.datetime64) and not np.isnat(last_time)
        require(fit, f"last_time={last_time} cannot be that of its row {n_seen}")

    def _check(self, state: MemoryState) -> None:
        if not isinstance(state, MemoryState):
            raise TypeError(f"states holds a {type(state).__name__}; expected a MemoryState, as state_ gives it")
        if not (fits(state.n_seen, int) and state.n_seen >= 0 and isinstance(state.tensors, Mapping)):
            raise ValueError(f"states: the memory of series {state.id!r} is damaged: n_seen={state.n_seen!r} is no count")
        whose = "" if state.id is None else f" of series {state.id!r}"
        if state.model != self.fingerprint:
            raise ValueError(
                f"states: the memory{whose} was written by another model, or by this one with other weights; only the "
                "weights that wrote a memory can read it: load that model, or update() this one with the rows"
            )
        if (state.id is None) != self.layout.is_single:
            want = "one series, without an id" if self.layout.is_single else "series by id"
            raise ValueError(f"states: the memory{whose} does not fit; the model was fitted on {want}")
        kinds = {_kind_of(name) for name in self.scales}
        if kinds and _kind_of(state.id) not in kinds:
            known = " or ".join(sorted(kind.__name__ for kind in kinds))
            raise ValueError(f"states: the memory{whose} does not fit; the ids that the model was fitted on are {known}")

    # --- files --------------------------------------------------------------------------------------------------------

    def kept(self, states: States, last_times: Mapping[Hashable, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and plain facts that a model file keeps of the reader, and of states."""
        tensors, series = network_tensors(self.network), []
        changed = self.preparation.targets.are_changed
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
                    **({"spread": self.spreads[name].tolist()} if known and changed else {}),
                }
                | ({"static": self.statics[name].tolist()} if name in self.statics else {})
            )
        return tensors, {
            "network": self.network.config.to_dict(),
            "preparation": self.preparation.to_dict(),
            "layout": self.layout.to_dict(),
            "series": series,
        }

    @classmethod
    def from_file(
        cls, header: dict[str, Any], tensors: dict[str, Tensor], network: ForecastNetwork
    ) -> tuple[Reader, Reading]:
        """Return a reader, and the states, of what :meth:`kept` returned, beside the network that holds its weights."""
        preparation, layout = Preparation.from_dict(header["preparation"]), Layout.from_dict(header["layout"])
        _check_together(network.config, preparation, layout)
        statics: dict[Hashable, np.ndarray] = {}
        reader, read = cls(network, preparation, layout, {}, {}, {}, {}, statics=statics), Reading({}, {}, layout)
        scales, states = by_place("scale", tensors), by_place("state", tensors)
        fresh = unknown_scale(network.config.channels)
        for place, fact in enumerate(header["series"]):
            name, last, first = (original(fact[key]) for key in ("id", "last_time", "first_time"))
            alone = (name is None) == layout.is_single and name not in read.states
            require(alone, f"the series {name!r} is there twice, or does not fit the layout")
            if fact["known"]:
                scale = unpack_checked(fresh, scales[place])
                require(bool((scale.spread > 0).all()), f"the scale of series {name!r} is not above 0")
                require(fits(fact["training_rows"], int), f"the rows of series {name!r} are no count")
                reader.scales[name], reader.training_rows[name] = scale, fact["training_rows"]
                reader.first_times[name] = first
                spread = scale.spread[0].numpy()
                if preparation.targets.are_changed:
                    spread = np.array(finite(fact["spread"], len(spread), positive=True))
                reader.spreads[name] = spread
            if "static" in fact:
                require(layout.static_apart, "its layout knows no static covariates of single series")
                statics[name] = np.array(finite(fact["static"], layout.n_static))
            require(
                name in statics or not (layout.static_apart and fact["known"]),
                f"series {name!r} lacks its static covariates",
            )
            try:
                n_seen = int(states[place]["n_seen"])
                reader.check_last_time(n_seen, last)
                read.states[name] = reader.restored(name, n_seen, states[place])
            except ValueError as error:
                raise ValueError(f"the memory of series {name!r}: {error}") from None
            if last is not None:
                read.last_times[name] = last
        alike = layout.id_dtype == "object" or len({_kind_of(name) for name in read.states}) < 2
        require(alike, f"its series have ids of several kinds, which a column of {layout.id_dtype} does not hold")
        return reader, read

    # --- reading ------------------------------------------------------------------------------------------------------

    def begin_all(
        self, panel: Panel, states: States, faults: Faults | None = None
    ) -> tuple[Panel, dict[Hashable, SeriesState]]:
        """Return the series that can be read on, and the state from which each is."""
        faults, begun = Faults() if faults is None else faults, {}
        for one in panel:
            try:
                begun[one.id] = self.begin(one, states.get(one.id))
            except ValueError as error:
                faults.note(one.id, str(error))
        return faults.sift_panel(panel), begun

    def read(
        self,
        panel: Panel,
        states: States,
        tensors: Mapping[Hashable, SeriesTensors] | None = None,
        faults: Faults | None = None,
        *,
        shown: bool = True,
    ) -> Reading:
        """Read a panel on from states, which are left as they are; a series that has none begins afresh."""
        panel, begun = self.begin_all(panel, states, faults)
        counted: Any = {"total": sum(map(len, panel)), "unit_scale": True}
        with progress_bar(self.verbose if shown else 0, "reading", unit="row", **counted) as progress:

            def read_some(some: Sequence[Series]) -> list[SeriesState]:
                states = [begun[one.id] for one in some]
                rows = [
                    self.preparation.tensors(one, state.scale) if tensors is None else tensors[one.id]
                    for one, state in zip(some, states, strict=True)
                ]
                return reading.absorb_together(self.network, states, rows, told=progress.update)

            read = self.in_parallel(delayed(read_some)(some) for some in _side_by_side(panel))
            found = dict(zip(begun, chain.from_iterable(read), strict=True))
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
        faults: Faults | None = None,
        static: Mapping[Hashable, np.ndarray] | None = None,
    ) -> Reading:
        """Read a stream (:func:`titans_ts.frames.stream.read_pieces`) on from states, which are left as they are.

        ``fresh`` says that X stands for itself, as in ``predict(X)``. ``log`` is written after every piece, and taken up
        where it is there already. An error says at which row of X its piece begins. A series with a fault is left out whole,
        rows before the fault and after it included.
        """
        pieces = self.pieces(X)
        faults = Faults() if faults is None else faults
        found, ends, done = ({}, {}, 0) if log is None else log.resume(faults)
        kept, known = ChainMap(found, dict(states)), ChainMap(ends, dict(last_times))
        before: Layout | None = None
        unseen: list[Mapping[Column, Sequence[str]]] = []
        given: dict[str, Any] = {"static": static, "begun": kept, "tell": False}
        counted: Any = {"total": pieces.total, "initial": done, "unit_scale": True}
        with progress_bar(self.verbose, "reading", unit="row", **counted) as progress:
            for piece in skip_rows(pieces, done):
                faults.nothing_left = False
                try:
                    like = self._like_before(before) if fresh else None
                    follow = None if fresh and like is None else known
                    panel = self.panel(piece, follow=follow, like=like, first_row=done, faults=faults, **given)
                    new = self.read(panel, kept, faults=faults, shown=False)
                    unseen.append(panel.unseen)
                    found.update(new.states)
                    ends.update(new.last_times)
                    before = new.layout
                except (ValueError, TypeError) as error:
                    if not (faults.nothing_left and faults.may_skip):
                        place = f"the rows of X from row {done:,} on (rows are counted from there): " if done else ""
                        raise type(error)(f"{place}{error}") from error
                for name in faults.reasons:
                    found.pop(name, None)
                    ends.pop(name, None)
                done += rows_of(piece)
                progress.update(rows_of(piece))
                if log is not None:
                    log.write(found, ends, done, faults)
        faults.settle(others=bool(found))
        warn_unseen(joined_unseen(unseen), "X")
        return Reading(found, ends, self.layout if before is None else before)

    def _like_before(self, before: Layout | None) -> Layout | None:
        """Return what a piece of a history that stands for itself must be like to follow the piece before it.

        It follows where both count time alike.
        """
        if before is None or (before.has_times != self.layout.has_times and not before.numbered_index):
            return None
        return replace(self.layout, kind=before.kind)

    # --- answers ------------------------------------------------------------------------------------------------------

    def horizon(self, asked: int | None) -> int:
        """Return how many rows to forecast: all that were learned, or as many as asked for; more are refused."""
        most = self.network.config.horizon
        if asked is None:
            return most
        if isinstance(asked, bool) or not isinstance(asked, int | np.integer) or asked < 1:
            raise ValueError(f"horizon must be a whole number of rows, 1 or more, got {asked!r}; for example horizon={most}")
        if asked > most:
            raise ValueError(
                f"horizon={asked} is longer than the {most} rows that the model learned to forecast; ask for {most} or "
                f"fewer, or fit with horizon={asked}"
            )
        return int(asked)

    def asked(self, level: float | Sequence[float] | None, quantiles: float | Sequence[float] | None) -> Asked:
        """Return what is asked beside the point; out of range is refused, and without a base what was not learned too."""
        return Asked.checked(level, quantiles, self.network.config.quantiles if self.network.base is None else None)

    def ahead(self, read: Reading, horizon: int, future: Any = None, faults: Faults | None = None) -> dict[Hashable, Tensor]:
        """Return what is known in advance of the rows after what was read, standardised, by id."""
        layout = replace(self.layout, kind=read.layout.kind, backend=read.layout.backend)
        found = read_future(future, layout, read.last_times, horizon, faults)
        return {name: self.preparation.future_tensor(values) for name, values in found.items()}

    def forecast(
        self,
        read: Reading,
        *,
        horizon: int,
        future: Any = None,
        asked: Asked = _NOTHING,
        faults: Faults | None = None,
    ) -> Any:
        """Return ``horizon`` rows after what was read, in a container of the same kind."""

        def answers(some: Sequence[Hashable], futures: Sequence[Tensor]) -> list[Forecast]:
            found = reading.forecast_together(self.network, [read.states[name] for name in some], futures, asked.shares)
            return [self.answer(one, read.last_times[name], asked, horizon) for name, one in zip(some, found, strict=True)]

        ahead = self.ahead(read, horizon, future, faults)
        return forecast_container(read.layout, self._side_by_side(read, ahead, answers))

    def sample(
        self, read: Reading, paths: int, seed: int, *, horizon: int, future: Any = None, faults: Faults | None = None
    ) -> Any:
        """Return joint paths of the ``horizon`` rows after what was read, in a container of the same kind.

        What is drawn depends on the seed, the id of a series and how many of its rows were read, and on nothing else.
        """
        network = self.network
        if network.base is None:
            raise ValueError("this model was made by an older version, which learned no joint errors to draw; fit it anew")
        spread, channels = network.base.spread, network.config.channels

        def drawn(name: Hashable) -> Tensor:
            key = zlib.crc32(json.dumps(plain(name)).encode())
            chance = np.random.default_rng([seed, key, read.states[name].n_seen])
            return torch.from_numpy(draw_levels(spread, channels, paths, chance=chance))

        def answers(some: Sequence[Hashable], futures: Sequence[Tensor]) -> list[np.ndarray]:
            levels = [drawn(name) for name in some]
            found = reading.forecast_together(network, [read.states[name] for name in some], futures, levels)
            return [np.moveaxis(self.in_units(one)[1][0, :horizon], -1, 0) for one in found]

        ahead = self.ahead(read, horizon, future, faults)
        at_once = max(NUMBERS_AT_ONCE // (paths * channels * network.config.horizon), 1)
        found = self._side_by_side(read, ahead, answers, at_once=at_once)
        return paths_container(read.layout, found, read.last_times)

    def _side_by_side(
        self,
        read: Reading,
        ahead: Mapping[Hashable, Tensor],
        answers: Callable[[Sequence[Hashable], Sequence[Tensor]], list[Answer]],
        *,
        at_once: int = SERIES_AT_ONCE,
    ) -> dict[Hashable, Answer]:
        """Return answers by id, of series by what is known ahead of each, a few of them at a time."""
        names, step = [name for name in read.states if name in ahead], min(at_once, SERIES_AT_ONCE)
        with progress_bar(self.verbose, "forecasting", unit="series", total=len(names)) as progress:

            def answer_some(some: Sequence[Hashable]) -> list[Answer]:
                found = answers(some, [ahead[name] for name in some])
                progress.update(len(some))
                return found

            groups = [names[first : first + step] for first in range(0, len(names), step)]
            found = self.in_parallel(delayed(answer_some)(some) for some in groups)
        return dict(zip(names, chain.from_iterable(found), strict=True))

    def answer(self, found: reading.Forecasts, last_time: Any, asked: Asked, horizon: int) -> Forecast:
        """Return the forecast of one origin as it goes into a container."""
        point, values = (x[0, :horizon] for x in self.in_units(found))
        return Forecast(point, last_time, *asked.parted(values))

    def in_units(self, found: reading.Forecasts) -> tuple[np.ndarray, np.ndarray]:
        """Return point forecasts ``(n, f, c)`` and their quantiles ``(n, f, c, s)`` in the user's units."""
        targets = self.preparation.targets
        return targets.back(found.point.cpu().numpy()), targets.back(found.quantiles.cpu().numpy(), axis=-2)

    def future_frame(self, last_times: Mapping[Hashable, Any], horizon: int) -> Any:
        """Return the container that covariates of the rows after the last ones go into."""
        return future_container(self.layout, last_times, horizon)

    def surprise(self, X: Any, faults: Faults | None = None, static: Mapping[Hashable, np.ndarray] | None = None) -> Any:
        """Return how much each row of a history surprised a fresh memory, in a container of the same kind."""
        if not self.network.config.backbone.layers:
            raise ValueError("layers=0: this model has no memory that could be surprised")
        require_memory(self.network, to_be="surprised")
        panel = self.panel(X, faults=faults, static=static)
        counted: Any = {"total": sum(map(len, panel)), "unit_scale": True}
        values = {}
        with progress_bar(self.verbose, "reading", unit="row", **counted) as progress:
            for one in panel:
                found = reading.surprise(self.network, self.tensors(one), told=progress.update)
                values[one.id] = found.double().cpu().numpy()
        columns = ["surprise"] if self.network.config.mixed else None
        return row_values_container(panel.layout, panel, values, columns=columns)

    def in_parallel(self, tasks: Iterable[Any]) -> list[Any]:
        """Return the answers of delayed tasks, ``n_jobs`` threads at a time."""
        some = list(tasks)
        if len(some) == 1:
            [(work, given, named)] = some
            return [work(*given, **named)]
        return list(Parallel(n_jobs=self.n_jobs, backend="threading")(some))


def _side_by_side(panel: Panel) -> Iterator[list[Series]]:
    """Cut a panel into series that are read together, of a bounded number of rows unless one alone has more."""
    some: list[Series] = []
    rows = 0
    for one in panel:
        if some and (len(some) == SERIES_AT_ONCE or rows + len(one) > ROWS_AT_ONCE):
            yield some
            some, rows = [], 0
        some.append(one)
        rows += len(one)
    if some:
        yield some


def last_time(series: Series, after: SeriesState) -> Any:
    """Return the time stamp of the last row of a series; its number, where it has none."""
    if series.times is None:
        return after.n_seen - 1
    return series.times[-1] if series.times.dtype.kind == "M" else int(series.times[-1])


def chosen(ids: Hashable | Iterable[Hashable] | None, known: Collection[Hashable]) -> list[Hashable]:
    """Return the ids that were asked for, all by default; one that is not known is refused."""
    if ids is None:
        return list(known)
    several = isinstance(ids, Iterable) and not isinstance(ids, str) and bool(getattr(ids, "ndim", True))
    several = several and not (isinstance(ids, tuple) and _is_in(ids, known))  # a tuple may be an id
    names: list[Any] = list(ids) if several else [ids]  # type: ignore[arg-type]
    for name in names:
        if not _is_in(name, known):
            raise ValueError(f"ids: there is no series {name!r:.80}; there are {some(known)}")
    return names


def _is_in(name: Any, known: Collection[Hashable]) -> bool:
    """Tell whether something is a known id; what can be none is not."""
    try:
        return name in known
    except TypeError:
        return False


def some(names: Iterable[Hashable], count: int = 5) -> str:
    """Name the first few of many."""
    listed = list(names)
    return ", ".join(map(repr, listed[:count])) + (f" and {len(listed) - count} more" if len(listed) > count else "")


def _kind_of(name: Hashable) -> type:
    return type(name.item() if isinstance(name, np.generic) else name)


def _check_together(config: ForecastConfig, preparation: Preparation, layout: Layout) -> None:
    """Refuse a network, a preparation and a layout from one file that do not fit each other."""
    checked(preparation)
    hints = get_type_hints(Layout)
    for one in fields(layout):
        value = getattr(layout, one.name)
        if one.name in ("categories", "holidays"):
            continue
        names = fits(value, str | int | None) or fits(value, tuple[str | int, ...])
        plain_one = isinstance(value, bool) if hints[one.name] is bool else names
        require(plain_one, f"layout: {one.name}={value!r} is neither a name nor names")
    known = fits(layout.kind, hints["kind"]) and fits(layout.backend, hints["backend"])
    require(known, f"layout: there are no containers of {layout.kind!r} and {layout.backend!r}")
    require(
        layout.value_dtype in ("float64", "float32"), f"layout: value_dtype={layout.value_dtype!r} is none of a forecast"
    )
    named = layout.backend == "pandas" or fits((layout.id_column, layout.time_column), tuple[str | None, str | None])
    require(named, "layout: id_column and time_column must be text")
    for zone in (layout.time_zone, preparation.time_zone):
        with refusing(f"{zone!r} is no time zone"):
            to_wall(np.zeros(1, "datetime64[ns]"), zone)
    for part in map(checked, layout.categories):
        whole = part.width == len(part.values) + bool(part.rare) and part.column in layout.covariates
        require(whole, f"layout: the categories of {part.column!r} do not fit each other")
    for off in map(checked, layout.holidays):
        days = np.array(off.days, dtype="M8[D]")
        whole = (off.code is None) == bool(off.days) and bool((days[1:] > days[:-1]).all() and not np.isnat(days).any())
        require(whole, f"layout: the days of holidays {off.name!r} do not fit each other")
    found = {
        "targets": (config.channels, len(layout.target_columns), config.channels),
        "calendar features": (config.calendar, preparation.calendar, config.calendar),
        "past covariates": (config.past, layout.n_past, len(preparation.past)),
        "future covariates": (config.future, layout.n_future, len(preparation.future)),
        "static covariates": (config.static, layout.n_static, len(preparation.static)),
    }
    for name, (asked, *others) in found.items():
        require(others == [asked, asked], f"its network has {asked} {name}, its layout and preparation {others}")
    require(config.heard or config.base is not None, "its memory is not read, and there is no base to answer alone")
    for name in ("horizon", "lookback", "patch_length", "channels", "mixed", "future") if config.base is not None else ():
        of_base, asked = getattr(config.base, name), getattr(config, name)
        require(of_base == asked, f"{name} of its base is {of_base}, of its network {asked}")
    spreads = [spread for pairs in (preparation.past, preparation.future, preparation.static) for _, spread in pairs]
    require(all(spread > 0 for spread in spreads), "the spread of a covariate is not above 0")


def _values(states: Any) -> Iterable[MemoryState]:
    if isinstance(states, Mapping):
        return states.values()
    if isinstance(states, str | bytes | np.ndarray) or not isinstance(states, Iterable):
        raise TypeError(f"states is a {type(states).__name__}; expected a MemoryState, as state_ gives it, or several")
    return states
