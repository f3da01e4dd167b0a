"""Many series at once: those whose memories stand at the same token are read, or forecast from, as one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from titans_ts.heads.forecast import Forecast
from titans_ts.inputs.series import Extras, Windows
from titans_ts.networks.forecast import ForecastNetwork
from titans_ts.origins import SeriesTensors
from titans_ts.reading import (
    Forecasts,
    in_units,
    pieces_of,
    rows_ahead,
    seen_at,
    state_after,
    waiting_forecast,
    waiting_patches,
)
from titans_ts.state import SeriesState

STREAMS_AT_ONCE = 512
"""Streams of one batch; bounds what a call holds and never changes an answer."""


@torch.no_grad()
def absorb_together(
    network: ForecastNetwork, states: Sequence[SeriesState], series: Sequence[SeriesTensors]
) -> list[SeriesState]:
    """Read new rows of many series, as :func:`titans_ts.reading.absorb` reads those of one.

    Parameters
    ----------
    network : ForecastNetwork
        In evaluation mode.
    states : sequence of SeriesState
        Where reading stopped, one a series.
    series : sequence of SeriesTensors
        The rows that follow.

    Returns
    -------
    list of SeriesState
        In the order of ``states``, which are left as they were.
    """
    waiting = [waiting_patches(network, state, one) for state, one in zip(states, series, strict=True)]
    backbones = [state.backbone for state in states]
    keys = [
        (len(ends), *form_of(state.backbone)) if len(ends) else None
        for (_, ends), state in zip(waiting, states, strict=True)
    ]
    for group in _groups(keys, network.config.streams):
        batch = joined([backbones[i] for i in group])
        for parts in zip(*(pieces_of(waiting[i][1]) for i in group), strict=True):
            seen = [seen_at(network, waiting[i][0], ends) for i, ends in zip(group, parts, strict=True)]
            batch = network.read(*_side_by_side(seen), batch)
        for i, backbone in zip(group, parted(batch, network.config.streams), strict=False):
            backbones[i] = backbone
    return [
        state_after(network, state, known, backbone)
        for state, (known, _), backbone in zip(states, waiting, backbones, strict=True)
    ]


@torch.no_grad()
def forecast_together(network: ForecastNetwork, states: Sequence[SeriesState], futures: Sequence[Tensor]) -> list[Forecasts]:
    """Forecast from many states, as :func:`titans_ts.reading.forecast` does from one.

    Parameters
    ----------
    network : ForecastNetwork
        In evaluation mode.
    states : sequence of SeriesState
        Each with at least one row read.
    futures : sequence of Tensor
        ``(f, covariates)`` each: covariates known in advance, standardised.
    """
    waiting = [waiting_forecast(network, state, future) for state, future in zip(states, futures, strict=True)]
    found: list[Any] = [None] * len(states)
    at = torch.tensor([network.config.lookback])
    streams = network.config.streams
    for group in _groups([form_of(backbone) for _, backbone in waiting], streams):
        windows, extras = _side_by_side([seen_at(network, waiting[i][0], at) for i in group])
        ahead = rows_ahead(network, [states[i].n_seen for i in group]).repeat_interleave(streams)
        said = network.forecast(windows, extras, joined([waiting[i][1] for i in group]), ahead)
        for place, i in enumerate(group):
            here = slice(place * streams, (place + 1) * streams)
            own = Windows(*(x[here] for x in windows))
            found[i] = in_units(Forecast(*(x[here] for x in said)), own, waiting[i][0].scale)
    return found


def form_of(state: Any) -> tuple[Any, ...]:
    """Return what must agree in a batch: whole numbers, and the shapes of tensors.

    Examples
    --------
    >>> form_of((torch.zeros(1, 2), (3, None)))
    (torch.Size([1, 2]), 3)
    """
    if isinstance(state, Tensor):
        return (state.shape,)
    if isinstance(state, tuple):
        return tuple(x for part in state for x in form_of(part))
    return () if state is None else (state,)


def joined(states: Sequence[Any]) -> Any:
    """Return states of one form and the same positions as the state of a batch.

    Examples
    --------
    >>> joined([(torch.zeros(1, 2), 3), (torch.ones(1, 2), 3)])
    (tensor([[0., 0.],
            [1., 1.]]), 3)
    """
    first = states[0]
    if isinstance(first, Tensor):
        return torch.cat(list(states))
    if isinstance(first, tuple):
        parts = [joined(part) for part in zip(*states, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return first


def parted(state: Any, streams: int) -> Iterator[Any]:
    """Return the states of a batch, ``streams`` of it at a time, each a copy of its own."""
    if isinstance(state, Tensor):
        return (x.clone() for x in state.split(streams))
    if not isinstance(state, tuple) or not state:
        return iter(lambda: state, object())  # the same for all
    columns = zip(*(parted(part, streams) for part in state), strict=False)
    return (type(state)(*parts) if hasattr(state, "_fields") else parts for parts in columns)


def _groups(keys: Sequence[Any], streams: int) -> Iterator[list[int]]:
    """Return the places of equal keys, None aside, no more at a time than make a batch."""
    places: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        if key is not None:
            places.setdefault(key, []).append(i)
    most = max(STREAMS_AT_ONCE // streams, 1)
    for found in places.values():
        yield from (found[first : first + most] for first in range(0, len(found), most))


def _side_by_side(seen: Sequence[tuple[Windows, Extras]]) -> tuple[Windows, Extras]:
    """Return what several series see as one batch."""
    windows = Windows(*map(torch.cat, zip(*(one for one, _ in seen), strict=True)))
    extras = Extras(*map(torch.cat, zip(*(one for _, one in seen), strict=True)))
    return windows, extras
