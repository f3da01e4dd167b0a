"""A network watched while it reads: how its memory opens and closes, what it learns, and what it holds in the end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_ts.backbones.stack import require_memory
from titans_ts.interventions import observed
from titans_ts.memory.gates import FORGETTING_MIN, MOMENTUM_MAX, STEP_MAX
from titans_ts.memory.neural_memory import MemoryCarry, NeuralMemory
from titans_ts.memory.written import Written, distance_between
from titans_ts.networks.forecast import ForecastNetwork
from titans_ts.origins import SeriesTensors
from titans_ts.reading import absorb, start_state
from titans_ts.state import SeriesState


class Watched(NamedTuple):
    """What was seen of the memories while they read ``n`` patches, ``(b, l, n)`` each: streams, memory layers, patches.

    Attributes
    ----------
    rows : Tensor
        ``(n,)``, int64: the last row of each patch, counted from 0 from the first row that the state has read.
    surprise : Tensor
        Root mean square, over heads and layers of the store, of the norm ``|x||g|`` of the patch's write before clipping.
    retention, step_size, momentum : Tensor
        Means over heads of the gates, as plain factors.
    half_life : Tensor
        Rows in which half of what was learned would be forgotten at that retention; infinite where nothing is.
    distance : Tensor
        Mean over heads of ``|M - M_0|`` after the patch: what the memory has learned since its start.
    """

    rows: Tensor
    surprise: Tensor
    retention: Tensor
    step_size: Tensor
    momentum: Tensor
    half_life: Tensor
    distance: Tensor


class Holdings(NamedTuple):
    """What the memories of a state hold, ``(b, l, h)`` each: streams, memory layers, heads.

    Attributes
    ----------
    start_norm : Tensor
        ``|M_0|``, the learned start.
    distance : Tensor
        ``|M - M_0|``, what was learned since.
    momentum_norm : Tensor
        ``|S|``, surprise that is still carried on; 0 for a memory without momentum.
    share_of_bound : Tensor
        Largest share, over layers of the store, that the distance has of the bound which nothing that is read can exceed;
        NaN for a memory that has none.
    half_life : Tensor
        Rows in which half is forgotten where a token says nothing, by the gates' learned bias; infinite where nothing is
        ever forgotten.
    """

    start_norm: Tensor
    distance: Tensor
    momentum_norm: Tensor
    share_of_bound: Tensor
    half_life: Tensor


@torch.no_grad()
def watch(
    network: ForecastNetwork, series: SeriesTensors, *, state: SeriesState | None = None
) -> tuple[Watched, SeriesState]:
    """Absorb a series and tell of every patch what it did to each memory.

    It is read piece by piece, so that of a long history only the results are kept. A patch is watched when it is written,
    which is when a row follows it: the last one, whole or not, still waits.

    Parameters
    ----------
    network : ForecastNetwork
        In evaluation mode, with a memory.
    series : SeriesTensors
        The rows to read.
    state : SeriesState, optional
        Where reading stopped; by default before the first row. It is left as it was.

    Returns
    -------
    watched : Watched
        Nothing of it depends on rows that came later.
    state : SeriesState
        As :func:`~titans_ts.reading.absorb` returns it.

    Raises
    ------
    ValueError
        If the network has no memory, by its variant or because it has no layers.

    References
    ----------
    arXiv 2501.00663, equations 8 to 14, for surprise and gates.
    """
    _memories(network, to_be="watched")
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
    return Watched(
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
    """Return what each memory of a state holds, by layer and head.

    Parameters
    ----------
    network : ForecastNetwork
        With a memory.
    state : SeriesState
        What is kept of a series.

    Raises
    ------
    ValueError
        If the network has no memory, by its variant or because it has no layers.

    Notes
    -----
    The bound is that of :class:`titans_ts.ops.WriteRule`: ``step_size * write_bound / (1 - momentum)`` at the largest that
    the gates allow, divided by the least that they forget. It holds for each layer of the store.
    """
    memories = _memories(network, to_be="looked into")
    patch = network.config.patch_length
    layers = []
    for memory, carry in zip(memories, _carries(state.backbone), strict=True):
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


def _look(written: Written) -> tuple[Tensor, ...]:
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
