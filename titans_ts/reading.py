"""Reading history into a state of fixed size, and forecasting from it.

The state holds the last ``lookback`` raw rows and the backbone's memory. The memory writes whole patches only, and the
last one waits until a row follows it: a forecast reads the last ``patch_length`` rows as a provisional patch on a copy of
the state, whether or not a patch ends there, and the copy is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from titans_ts.backbones.stack import State, require_memory
from titans_ts.inputs.series import Extras, Scale, Windows, long_run_scale
from titans_ts.interventions import observed_writes
from titans_ts.networks.forecast import ForecastNetwork
from titans_ts.origins import SeriesTensors, read_windows, to_device
from titans_ts.state import SeriesState, map_tensors

TOKENS_AT_ONCE = 1024
"""Tokens read in one call; bounds what a long history holds and never changes an answer."""


class Forecasts(NamedTuple):
    """Forecasts of one series at ``n`` origins, in its own units, float64.

    Attributes
    ----------
    point : Tensor
        ``(n, f, c)``: the median.
    quantiles : Tensor
        ``(n, f, c, q)``.
    """

    point: Tensor
    quantiles: Tensor


def start_state(network: ForecastNetwork, *, static: Tensor, scale: Scale) -> SeriesState:
    """Return the state of a series before its first row: learned memory, nothing seen.

    Parameters
    ----------
    network : ForecastNetwork
        Whose memory it is.
    static : Tensor
        ``(s,)``: static covariates, standardised.
    scale : Scale
        Long-run scale; :func:`~titans_ts.inputs.series.unknown_scale` takes that of the first ``lookback`` rows.
    """
    config = network.config
    nan = float("nan")
    return SeriesState(
        backbone=network.initial_state(config.streams),
        rows=torch.full((config.channels, config.lookback), nan, dtype=torch.float64),
        past=torch.full((config.lookback, config.past), nan),
        calendar=torch.zeros(config.lookback, config.calendar),
        static=static,
        scale=scale,
        n_seen=0,
    )


@torch.no_grad()
def absorb(network: ForecastNetwork, state: SeriesState, series: SeriesTensors) -> SeriesState:
    """Read new rows into a state: cost grows with the new rows only, weights stay as they are.

    Parameters
    ----------
    network : ForecastNetwork
        In evaluation mode.
    state : SeriesState
        Where reading stopped.
    series : SeriesTensors
        The rows that follow; scale and static covariates are those of the state.

    Returns
    -------
    SeriesState
        The argument is left as it was.

    Notes
    -----
    A series of unknown scale is kept as raw rows until it has filled a look-back; then those rows give its scale, for good,
    and are read. So the state depends on the rows alone, not on how they came.
    """
    known = _with_context(state, series)
    lookback = network.config.lookback
    seen = state.n_seen + series.length
    backbone, scale = state.backbone, state.scale
    first_unread = state.n_seen
    if _is_unknown(scale) and seen >= lookback:
        first_unread = 0
        scale = long_run_scale(known.rows[None, :, lookback - state.n_seen : 2 * lookback - state.n_seen])
    if not _is_unknown(scale):
        known = replace(known, scale=scale)
        backbone = _read_patches(network, known, backbone, first_unread, seen, offset=lookback - state.n_seen)
    keep = known.length - lookback
    return SeriesState(
        backbone=map_tensors(Tensor.clone, backbone),  # parts of a whole call otherwise, which they would keep in memory
        rows=known.rows[:, keep:].clone(),
        past=known.past[keep:].clone(),
        calendar=known.calendar[keep:].clone(),
        static=state.static,
        scale=scale,
        n_seen=seen,
    )


def _read_patches(
    network: ForecastNetwork, known: SeriesTensors, backbone: State, first: int, seen: int, *, offset: int
) -> State:
    """Read the patches that end at row ``first`` or later and before row ``seen``; ``offset`` turns rows into places."""
    patch = network.config.patch_length
    begin = max(-(-first // patch) * patch, patch)
    for part in _pieces(torch.arange(begin, max(seen, begin), patch)):
        _, backbone = network.read(*_seen(network, known, part + offset), backbone)
    return backbone


@torch.no_grad()
def forecast(network: ForecastNetwork, state: SeriesState, future: Tensor) -> Forecasts:
    """Forecast the rows that follow what a state has read; the state is left as it was.

    Parameters
    ----------
    network : ForecastNetwork
        In evaluation mode.
    state : SeriesState
        With at least one row read.
    future : Tensor
        ``(f, covariates)``: covariates known in advance, standardised.
    """
    lookback = network.config.lookback
    nothing = SeriesTensors(state.rows[:, :0], state.calendar[:0], state.past[:0], future, state.static, state.scale)
    known, backbone = _with_context(state, nothing), state.backbone
    if _is_unknown(state.scale):
        known = replace(known, scale=long_run_scale(state.rows[None]))
        backbone = _read_patches(network, known, backbone, 0, state.n_seen, offset=lookback - state.n_seen)
    windows, extras = _seen(network, known, torch.tensor([lookback]))
    return _in_units(network, windows, extras, backbone, known.scale)


@torch.no_grad()
def rolling_forecasts(
    network: ForecastNetwork, series: SeriesTensors, origins: Sequence[int], *, state: SeriesState | None = None
) -> Iterator[tuple[list[int], Forecasts]]:
    """Forecast from many origins while reading a series once.

    Parameters
    ----------
    network : ForecastNetwork
        In evaluation mode.
    series : SeriesTensors
        The whole series; covariates known in advance reach ``horizon`` rows past the last origin.
    origins : sequence of int
        Rows read before each forecast, increasing, 1 to ``t``.
    state : SeriesState, optional
        Where to start; by default before the first row.

    Yields
    ------
    list of int, Forecasts
        A group of origins between two patch ends, and their forecasts.
    """
    patch = network.config.patch_length
    if state is None:
        state = start_state(network, static=series.static, scale=series.scale)
    backbone = state.backbone
    absorbed = max((state.n_seen - 1) // patch, 0)
    groups: dict[int, list[int]] = {}
    for origin in origins:
        groups.setdefault((origin - 1) // patch, []).append(origin)
    for tokens, group in groups.items():
        ends = torch.arange(absorbed + 1, tokens + 1) * patch
        for part in _pieces(ends):
            _, backbone = network.read(*_seen(network, series, part), backbone)
        absorbed = tokens
        windows, extras = _seen(network, series, torch.tensor(group))
        fork = map_tensors(partial(torch.repeat_interleave, repeats=len(group), dim=0), backbone)
        yield group, _in_units(network, *_as_batch(windows, extras), fork, series.scale, origins=len(group))


@torch.no_grad()
def surprise(network: ForecastNetwork, series: SeriesTensors) -> Tensor:
    """Return how much each row surprised the memory, ``(t, streams)``, reading the series with a fresh state.

    The root mean square over layers and heads of a write's norm ``|x||g|`` before clipping; every row of a patch has the
    patch's value. The last, incomplete patch is read provisionally. A network without layers is never surprised; one whose
    layers have no memory is refused.
    """
    require_memory(network, to_be="surprised")
    config = network.config
    if not config.backbone.layers:
        return torch.zeros(series.length, config.streams, dtype=network.dtype)
    ends = torch.arange(config.patch_length, max(series.length, config.patch_length), config.patch_length)
    state = network.initial_state(config.streams)
    squares = []
    for part in (*_pieces(ends), torch.tensor([series.length])):
        with observed_writes(network) as seen:
            _, state = network.read(*_seen(network, series, part), state)
        norms = torch.stack([torch.cat(pieces, dim=-1) for pieces in seen])  # memory, store layer, b, h, n
        squares.append(norms.square().mean(dim=(0, 1, 3)))
    found = torch.cat(squares, dim=1).sqrt()
    which = torch.arange(series.length) // config.patch_length
    return found[:, which.clamp_max(found.shape[1] - 1)].T


def _pieces(ends: Tensor) -> tuple[Tensor, ...]:
    """Cut origins into calls of bounded size."""
    return ends.split(TOKENS_AT_ONCE) if len(ends) else ()


def _seen(network: ForecastNetwork, series: SeriesTensors, ends: Tensor) -> tuple[Windows, Extras]:
    """Return what the network sees at some origins, in its own kind of number and place."""
    windows, extras = read_windows(series, ends, network.config, dtype=network.dtype)
    return to_device(windows, network.device), to_device(extras, network.device)


def _is_unknown(scale: Scale) -> bool:
    return bool(scale.level.isnan().all())


def _with_context(state: SeriesState, series: SeriesTensors) -> SeriesTensors:
    """Return new rows with the look-back before them, so that place ``lookback`` is the first new one."""
    before = state.rows.shape[1]
    return SeriesTensors(
        rows=torch.cat([state.rows, series.rows], dim=1),
        calendar=torch.cat([state.calendar, series.calendar]),
        past=torch.cat([state.past, series.past]),
        future=torch.cat([series.future.new_zeros(before, series.future.shape[1]), series.future]),
        static=state.static,
        scale=state.scale,
    )


def _as_batch(windows: Windows, extras: Extras) -> tuple[Windows, Extras]:
    """Turn ``n`` origins of ``b`` streams into ``b n`` streams of one origin."""
    n = extras.calendar.shape[1]
    alone = Windows(*(x.transpose(1, 2).flatten(0, 1)[:, :, None] for x in windows))
    calendar, past, future = (x.flatten(0, 1)[:, None] for x in (extras.calendar, extras.past, extras.future))
    static, channel = (x.repeat_interleave(n, dim=0) for x in (extras.static, extras.channel))
    return alone, Extras(calendar, past, future, static, channel)


def _in_units(
    network: ForecastNetwork, windows: Windows, extras: Extras, backbone: State, scale: Scale, *, origins: int = 1
) -> Forecasts:
    """Forecast at one origin a stream and return the series' own units."""
    found = network.forecast(windows, extras, backbone)  # b n, c, 1, f
    level, spread = windows.level[..., None], windows.spread[..., None]

    def back(x: Tensor) -> Tensor:
        x = x.squeeze(2).unflatten(0, (-1, origins)).transpose(1, 2).flatten(0, 1).double()  # channels, n, f ...
        shape = (-1, *[1] * (x.ndim - 1))
        return (x * scale.spread.reshape(shape) + scale.level.reshape(shape)).movedim(0, -1)

    point = back(found.point * spread + level)
    quantiles = back(found.quantiles * spread[..., None] + level[..., None]).transpose(-1, -2)
    return Forecasts(point, quantiles)
