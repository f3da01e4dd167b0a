"""Look into a memory: how it opens and closes while it reads, what it learns, and what it holds in the end."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from titans_ts.backbones.observing import observed, silent
from titans_ts.backbones.stack import require_memory
from titans_ts.frames.panel import Column, Layout, Panel
from titans_ts.frames.write import build_frame, id_column, target_names, time_column
from titans_ts.memory.gates import FORGETTING_MIN, MOMENTUM_MAX, STEP_MAX
from titans_ts.memory.neural_memory import MemoryCarry, NeuralMemory
from titans_ts.memory.written import Observation, distance_between
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.reader import Reader, States
from titans_ts.series.reading import absorb, start_state
from titans_ts.series.recollection import Recollection
from titans_ts.series.state import SeriesState
from titans_ts.series.tensors import SeriesTensors


class Activity(NamedTuple):
    """What memories did while they read ``n`` patches, ``(b, l, n)`` each: streams, memory layers, patches."""

    rows: Tensor  # n, int64: the last row of each patch, from 0, counted from the first row that the state has read
    surprise: Tensor  # root mean square, over heads and layers of the store, of the write's norm |x||g| before clipping
    retention: Tensor  # mean over heads of the gate, as a plain factor; so are the next two
    step_size: Tensor
    momentum: Tensor
    half_life: Tensor  # rows in which half would be forgotten at that retention; infinite where nothing is
    distance: Tensor  # mean over heads of |M - M_0| after the patch: what was learned since the start


class Holdings(NamedTuple):
    """What the memories of a state hold, ``(b, l, h)`` each: streams, memory layers, heads."""

    start_norm: Tensor  # |M_0|, the learned start
    distance: Tensor  # |M - M_0|, what was learned since
    momentum_norm: Tensor  # |S|, surprise that is still carried on; 0 without momentum
    share_of_bound: Tensor  # largest share, over layers of the store, of what the distance can never exceed; NaN without one
    half_life: Tensor  # rows in which half is forgotten by the gates' learned bias; infinite where nothing ever is


Measures = Mapping[str, np.ndarray]
"""What was measured, by name, each ``(b, l, n)``: streams, memory layers, and patches or heads."""


def watch_panel(reader: Reader, panel: Panel) -> Any:
    """Return what happened in each layer of the memory while it read a panel afresh; a row a patch, layer and stream."""
    seen = {one.id: watch(reader.network, reader.tensors(one))[0] for one in panel}
    rows = {name: one.rows.numpy() for name, one in seen.items()}
    return watched_frame(panel, rows, {name: _measures(one) for name, one in seen.items()})


def memory_table(reader: Reader, states: States) -> Any:
    """Return what the memory holds of series; a row a head, layer and stream."""
    found = {name: _measures(holdings(reader.network, state)) for name, state in states.items()}
    return holdings_frame(reader.layout, found)


@torch.no_grad()
def watch(
    network: ForecastNetwork, series: SeriesTensors, *, state: SeriesState | None = None
) -> tuple[Activity, SeriesState]:
    """Absorb a series piece by piece, and return what each patch did to each memory, and the state after it.

    A patch is watched when it is written, which is when a row follows it: the last one still waits. A network without a
    memory is refused. (arXiv 2501.00663, equations 8 to 14, for surprise and gates.)
    """
    _memories(network, to_be="watched")
    network = network.although_unheard()
    if state is None:
        state = start_state(network, static=series.static, scale=series.scale)
    with observed(network, _look) as seen:
        after = absorb(network, state, series)
    streams = network.config.streams
    layers = [[torch.cat(x, dim=-1) for x in zip(*pieces, strict=True)] for pieces in seen if pieces]
    if layers:
        surprise, retention, step_size, momentum, distance = (torch.stack(x, dim=1) for x in zip(*layers, strict=True))
    else:
        empty = torch.zeros(streams, len(seen), 0, dtype=network.dtype, device=network.device)
        surprise = retention = step_size = momentum = distance = empty
    patch, count = network.config.patch_length, surprise.shape[-1]
    written = max(after.n_seen - 1, 0) // patch
    return Activity(
        rows=torch.arange(written - count + 1, written + 1) * patch - 1,
        surprise=surprise,
        retention=retention,
        step_size=step_size,
        momentum=momentum,
        half_life=patch * _half_life(retention.log()),
        distance=distance,
    ), after


@torch.no_grad()
def holdings(network: ForecastNetwork, state: SeriesState) -> Holdings:
    """Return what each memory of a state holds, by layer and head; a network without a memory is refused.

    The bound, that of :class:`titans_ts.ops.WriteRule`, takes the largest step and the least forgetting that gates allow. A
    memory that is not read holds its start.
    """
    memories = _memories(network, to_be="looked into")
    patch = network.config.patch_length
    read = state.backbone if network.config.heard else network.backbone.initial_state(network.config.streams)
    layers = []
    for memory, carry in zip(memories, _carries(read), strict=True):
        start, now = memory.store(), carry.store.weights
        distance = distance_between(now, start)
        nothing = tuple(torch.zeros_like(w) for w in start)
        by_layer = [distance_between((w,), (first,)) for w, first in zip(now, start, strict=True)]
        bound = _distance_bound(memory)
        silence = torch.zeros(1, 1, memory.project.in_features, dtype=distance.dtype, device=distance.device)
        retention = memory.gates(silence).log_retention
        at_bias = torch.zeros_like(distance) if retention is None else retention[..., 0].expand_as(distance)
        layers.append(
            Holdings(
                start_norm=distance_between(start, nothing).expand_as(distance),
                distance=distance,
                momentum_norm=distance_between(carry.store.momentum or nothing, nothing).expand_as(distance),
                share_of_bound=torch.stack(by_layer).amax(0) / (math.nan if bound is None else bound),
                half_life=patch * _half_life(at_bias),
            )
        )
    return Holdings(*(torch.stack(x, dim=1) for x in zip(*layers, strict=True)))


def _look(written: Observation) -> tuple[Tensor, ...]:
    """Return what is kept of a piece, ``(b, t)`` each: surprise, retention, step size, momentum, distance."""
    surprise = written.surprise.square().mean(dim=(0, 2)).sqrt()
    return surprise, *(x.mean(1) for x in (*written.factors(), written.distances()))


def _memories(network: ForecastNetwork, *, to_be: str) -> list[NeuralMemory]:
    require_memory(network, to_be=to_be)
    if not network.config.backbone.layers:
        raise ValueError(f"layers=0: this model has no memory to be {to_be}; fit with layers=1 or more")
    return [module for module in network.modules() if isinstance(module, NeuralMemory)]


def _carries(state: Any) -> Iterator[MemoryCarry]:
    """Return what each memory carries, in the order of the layers, wherever their layers keep it."""
    if isinstance(state, MemoryCarry):
        yield state
    elif isinstance(state, tuple):
        for part in state:
            yield from _carries(part)


def _half_life(log_retention: Tensor) -> Tensor:
    """Return the tokens in which half is forgotten; infinite where the retention is 1."""
    return math.log(2) / log_retention.abs()


def _distance_bound(memory: NeuralMemory) -> float | None:
    """Return what ``|M - M_0|`` of a layer and head never exceeds, if there is such a bound."""
    gates, write_bound = memory.gates, memory.rule.write_bound
    if write_bound is None or (gates.step, gates.retention) != ("bounded", "bounded"):
        return None
    largest = STEP_MAX * write_bound / (1 - MOMENTUM_MAX * gates.momentum)
    return largest / FORGETTING_MIN


def watched_frame(panel: Panel, rows: Mapping[Hashable, np.ndarray], found: Mapping[Hashable, Measures]) -> Any:
    """Return a frame with a row a patch, layer and stream, by series, channel, layer and time.

    ``rows`` ``(n,)`` is the last row of each patch, from 0.
    """
    layout = panel.layout
    parts = []
    for series in panel:
        last = rows[series.id]
        streams, layers, _ = _shape(found[series.id])
        parts.append(np.tile(last if series.times is None else series.times[last], streams * layers))
    every = np.concatenate(parts)
    when: dict[Column, Any] = {"ds": time_column(layout, every)} if layout.has_times else {"row": every}
    return _frame(layout, {series.id: found[series.id] for series in panel}, before=when)


def holdings_frame(layout: Layout, found: Mapping[Hashable, Measures]) -> Any:
    """Return what memories hold: a row a head, layer and stream."""
    return _frame(layout, found, number="head")


def _measures(found: Activity | Holdings) -> Measures:
    """Return what was measured of streams and layers, by name."""
    return {name: x.double().cpu().numpy() for name, x in found._asdict().items() if name != "rows"}


def _shape(measures: Measures) -> tuple[int, ...]:
    return next(iter(measures.values())).shape


def _frame(
    layout: Layout,
    found: Mapping[Hashable, Measures],
    *,
    before: Mapping[Column, Any] | None = None,
    number: str | None = None,
) -> Any:
    """Put measures below one another, beside what says where they belong; ``number`` names the place on the last axis."""
    shapes = np.array([_shape(part) for part in found.values()])
    columns: dict[Column, Any] = {}
    if not layout.is_single:
        columns["unique_id"] = id_column(layout, list(found), shapes.prod(1))
    columns |= before or {}
    if shapes[0, 0] > 1:
        names = [str(name) for _ in found for name in target_names(layout)]
        plain = replace(layout, id_dtype=None)
        columns["channel"] = id_column(plain, names, np.repeat(shapes[:, 1] * shapes[:, 2], shapes[:, 0]))
    places = [np.indices(tuple(shape)).reshape(3, -1) for shape in shapes]
    columns["layer"] = np.concatenate([place[1] for place in places])
    if number is not None:
        columns[number] = np.concatenate([place[2] for place in places])
    for name in next(iter(found.values())):
        columns[name] = np.concatenate([part[name].ravel() for part in found.values()]).astype(layout.value_dtype)
    return build_frame(layout, columns)


@contextmanager
def direct_only(network: ForecastNetwork) -> Iterator[None]:
    """Leave the memory's corrections out inside the block: the base alone; in models without one, their linear path."""
    here = get_ident()
    handle = network.head.register_forward_hook(lambda *seen: torch.zeros_like(seen[-1]) if get_ident() == here else None)
    try:
        with silent(network, (Recollection,)):
            yield
    finally:
        handle.remove()
