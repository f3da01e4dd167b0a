"""Read history into a state of fixed size, and forecast from it.

The state holds the last ``lookback`` raw rows, what the base carries, and the backbone's memory. The base reads every row
as it comes. The memory writes whole patches only, and the last one waits until a row follows it: a forecast reads the last
``patch_length`` rows as a provisional patch on a copy of the state, whether or not a patch ends there, and the copy is
dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from titans_ts.backbones.observing import observed_writes
from titans_ts.backbones.stack import State, require_memory
from titans_ts.backbones.state import join, map_tensors, parted
from titans_ts.blocks.scale import Scale, long_run_scale, on_long_run_scale
from titans_ts.series.base.base import BaseForecast
from titans_ts.series.intervals import quantiles_at
from titans_ts.series.network import Forecast, ForecastNetwork
from titans_ts.series.settings import ForecastConfig
from titans_ts.series.state import SeriesState
from titans_ts.series.tensors import Covariates, Lookback, SeriesTensors, look_back, on_lookback_scale, to_device

TOKENS_AT_ONCE = 1024
"""Tokens read in one call; bounds what a long history holds and never changes an answer."""
NUMBERS_AT_ONCE = 2**25
"""Numbers in the look-backs of one call, of all its channels: the same bound for a wide history."""
NEAR = 1e-6
"""Distance from a bound, in long-run spreads, beyond which no rounding can pass it."""
STREAMS_AT_ONCE = 512
"""Streams of one batch; bounds what a call holds and never changes an answer."""


Told = Callable[[int], object]
"""Hears, now and then, how many more rows were read."""


def to_nobody(rows: int) -> None:
    """Hear nothing."""


class Forecasts(NamedTuple):
    """Forecasts of one series at ``n`` origins, in the units of the rows that were read, float64."""

    point: Tensor  # n f c, the median
    quantiles: Tensor  # n f c q, of the levels that were asked for


def start_state(network: ForecastNetwork, *, static: Tensor, scale: Scale) -> SeriesState:
    """Return the state before the first row; ``static`` ``(s,)`` is standardised.

    With :func:`~titans_ts.blocks.scale.unknown_scale` the first ``lookback`` rows give the scale.
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
        future=() if network.base is None else torch.zeros(config.lookback, config.future),
        base=() if network.base is None else network.base.initial_state(config.streams, config.token_channels),
    )


def absorb(network: ForecastNetwork, state: SeriesState, series: SeriesTensors, *, told: Told = to_nobody) -> SeriesState:
    """Read new rows into the state of one series; see :func:`absorb_together`."""
    return absorb_together(network, [state], [series], told=told)[0]


@torch.no_grad()
def absorb_together(
    network: ForecastNetwork,
    states: Sequence[SeriesState],
    series: Sequence[SeriesTensors],
    *,
    told: Told = to_nobody,
) -> list[SeriesState]:
    """Return the states after new rows of many series, read side by side; weights and old states stay as they are.

    A series of unknown scale is kept as raw rows until they fill a look-back: they then give its scale, for good, and are
    read. So the state depends on the rows alone, not on how they came.
    """
    waiting = [_waiting_patches(network, state, one) for state, one in zip(states, series, strict=True)]
    foretold, bases = _read_bases(network, states, waiting)
    backbones = [state.backbone for state in states]
    keys = [
        (len(ends), *form_of(state.backbone)) if len(ends) and network.listens else None
        for (_, ends), state in zip(waiting, states, strict=True)
    ]
    if not network.listens:
        told(sum(len(ends) for _, ends in waiting) * network.config.patch_length)
    for group in _groups(keys, network.config.streams):
        batch, done = join([backbones[i] for i in group]), 0
        for parts in zip(*(_pieces_of(waiting[i][1], network.config, len(group)) for i in group), strict=True):
            lookback, covariates = join(
                [seen_at(network, waiting[i][0], ends) for i, ends in zip(group, parts, strict=True)]
            )
            base = None
            if network.base is not None and network.recollection is not None:
                base = join([foretold[i][:, :, done : done + len(parts[0])] for i in group])
                base = on_lookback_scale(base.to(network.device), lookback)
            batch, done = network.read(lookback, covariates, batch, base), done + len(parts[0])
            told(sum(map(len, parts)) * network.config.patch_length)
        for i, backbone in zip(group, parted(batch, network.config.streams), strict=False):
            backbones[i] = backbone
    return [
        _state_after(network, state, known, backbone, base)
        for state, (known, _), backbone, base in zip(states, waiting, backbones, bases, strict=True)
    ]


def completes_patch(network: ForecastNetwork, state: SeriesState, rows: int) -> bool:
    """Tell whether the memory writes anything when so many rows are absorbed; otherwise they only wait."""
    return network.listens and len(_unread_ends(network, state, rows)) > 0


def tokens_read(config: ForecastConfig, n_seen: int, *, unknown: bool) -> int:
    """Return how many tokens the memory of a series has read after so many rows; none while its scale is unknown."""
    return 0 if unknown else max(n_seen - 1, 0) // config.patch_length


def forecast(
    network: ForecastNetwork, state: SeriesState, future: Tensor, levels: Sequence[float] | None = None
) -> Forecasts:
    """Forecast the rows that follow what the state of one series has read; see :func:`forecast_together`."""
    return forecast_together(network, [state], [future], levels)[0]


@torch.no_grad()
def forecast_together(
    network: ForecastNetwork,
    states: Sequence[SeriesState],
    futures: Sequence[Tensor],
    levels: Sequence[float] | Sequence[Tensor] | None = None,
) -> list[Forecasts]:
    """Forecast what follows states that have read a row or more, side by side; the states are left as they were.

    ``futures`` ``(f, covariates)`` each are covariates known in advance, standardised. ``levels`` are those of the
    quantiles, the configuration's by default; with a base also others at each step ``(c, f, q)``, a tensor a state.
    """
    asked = network.config.quantiles if levels is None else levels
    waiting = [_waiting_forecast(network, state, future) for state, future in zip(states, futures, strict=True)]
    found: list[Any] = [None] * len(states)
    streams = network.config.streams
    turn = 1 if network.base is None else network.base.turn
    keys = [(state.n_seen % turn, *form_of(parts[1])) for state, parts in zip(states, waiting, strict=True)]
    for group in _groups(keys, streams):
        some, seen = [waiting[i] for i in group], [states[i].n_seen for i in group]
        if network.listens or network.base is None or network.config.future:
            at = torch.tensor([network.config.lookback])
            lookback, covariates = join([seen_at(network, known, at) for known, _, _ in some])
            ahead = _rows_ahead(network, seen).repeat_interleave(streams)
        if network.base is None:
            said = network.forecast(lookback, covariates, join([backbone for _, backbone, _ in some]), ahead)
            answers = _without_base(network, said, lookback, [known.scale for known, _, _ in some])
        else:
            rows, _, scale = _rows_of_base(network, [known for known, _, _ in some], 0)
            foretold, _ = network.base.read_each(
                rows,
                scale,
                [base for _, _, base in some],
                firsts=seen,
                ends=_NOW,
                levels=_levels_of(network, asked, group),
                keep=False,
            )
            if network.config.future:
                foretold = _with_effect(network, foretold, covariates)
            if network.listens:
                backbone = join([one for _, one, _ in some])
                foretold = _corrected(network, foretold, lookback, covariates, backbone, ahead)
            answers = _in_units(foretold, join([known.scale for known, _, _ in some]))
        for i, answer in zip(group, answers, strict=True):
            found[i] = _at_levels(network, answer, asked)
    return found


@torch.no_grad()
def rolling_forecasts(
    network: ForecastNetwork,
    series: SeriesTensors,
    origins: Sequence[int],
    levels: Sequence[float] | None = None,
    *,
    state: SeriesState | None = None,
    told: Told = to_nobody,
) -> Iterator[tuple[list[int], Forecasts]]:
    """Yield groups of origins between two patch ends, and their forecasts, while reading a series once from ``state``.

    Origins are rows read before a forecast, increasing, 1 to ``t``; covariates known in advance reach ``horizon`` rows past
    the last. ``levels`` are those of the quantiles, the configuration's by default.
    """
    patch, levels = network.config.patch_length, network.config.quantiles if levels is None else levels
    if state is None:
        state = start_state(network, static=series.static, scale=series.scale)
    backbone, base_carry, based = state.backbone, state.base, state.n_seen
    if network.base is not None:
        *all_rows, long_run = _rows_of_base(network, [series], series.length)
    absorbed = tokens_read(network.config, state.n_seen, unknown=False)
    groups: dict[int, list[int]] = {}
    for origin in origins:
        groups.setdefault((origin - 1) // patch, []).append(origin)
    for tokens, group in groups.items():
        ends = torch.arange(absorbed + 1, tokens + 1) * patch
        before = foretold = None
        if network.base is not None:
            asked = torch.tensor(group) if network.recollection is None else torch.cat([ends, torch.tensor(group)])
            rows, actual = (x[..., based : group[-1]] for x in all_rows)
            foretold, (base_carry,) = network.base.read_each(
                rows, long_run, [base_carry], firsts=[based], ends=asked - based, levels=levels, actual=actual
            )
            based = group[-1]
            if network.config.future:
                foretold = _with_effect(network, foretold, seen_at(network, series, asked)[1])
            if network.recollection is not None and len(ends):
                before = foretold.point[:, :, : len(ends)].to(network.device)
                before = on_lookback_scale(before, seen_at(network, series, ends)[0])
            foretold = _mapped(lambda x: x[:, :, -len(group) :], foretold)  # noqa: B023
        backbone = _read_patches(network, series, backbone, ends, before, told=told)
        absorbed = tokens
        if foretold is None or network.listens:
            lookback, covariates = _as_batch(*seen_at(network, series, torch.tensor(group)))
            fork = map_tensors(partial(torch.repeat_interleave, repeats=len(group), dim=0), backbone)
            ahead = _rows_ahead(network, group).repeat(network.config.streams)
        if foretold is None:
            said = network.forecast(lookback, covariates, fork, ahead)
            answers = _without_base(network, said, lookback, [series.scale], origins=len(group))
        else:
            if network.listens:
                foretold = _corrected(network, _mapped(_each_alone, foretold), lookback, covariates, fork, ahead)
                foretold = _mapped(partial(_together, origins=len(group)), foretold)
            answers = _in_units(foretold, series.scale)
        yield group, _at_levels(network, answers[0], levels)


@torch.no_grad()
def surprise(network: ForecastNetwork, series: SeriesTensors, *, told: Told = to_nobody) -> Tensor:
    """Return how much each row surprised the memory, ``(t, streams)``, read with a fresh state.

    It is the root mean square over layers and heads of a write's norm ``|x||g|`` before clipping, the same for all rows of a
    patch; the last, incomplete patch is read provisionally. A network without layers is never surprised; one whose layers
    have no memory is refused.
    """
    require_memory(network, to_be="surprised")
    config = network.config
    if not config.backbone.layers:
        return torch.zeros(series.length, config.streams, dtype=network.dtype)
    ends = torch.arange(config.patch_length, max(series.length, config.patch_length), config.patch_length)
    state = network.backbone.initial_state(config.streams)  # recollections are not surprised, and need a base
    squares = []
    for part in (*_pieces_of(ends, network.config), torch.tensor([series.length])):
        with observed_writes(network) as seen:
            state = network.backbone(network.embedding(*seen_at(network, series, part)), state)[1]
        norms = torch.stack([torch.cat(pieces, dim=-1) for pieces in seen])  # memory, store layer, b, h, n
        squares.append(norms.square().mean(dim=(0, 1, 3)))
        told(len(part) * config.patch_length)
    found = torch.cat(squares, dim=1).sqrt()
    which = torch.arange(series.length) // config.patch_length
    return found[:, which.clamp_max(found.shape[1] - 1)].T


def seen_at(network: ForecastNetwork, series: SeriesTensors, ends: Tensor) -> tuple[Lookback, Covariates]:
    """Return what the network sees at some origins, in its own kind of number and place."""
    seen = look_back(series, ends, network.config, dtype=network.dtype)
    return to_device(seen, network.device)  # type: ignore[no-any-return]


# --- what waits for its patch -----------------------------------------------------------------------------------------


def _waiting_patches(network: ForecastNetwork, state: SeriesState, series: SeriesTensors) -> tuple[SeriesTensors, Tensor]:
    """Return new rows with their context, and at which places of them patches end that new rows complete."""
    known, lookback = _with_context(state, series), network.config.lookback
    ends = _unread_ends(network, state, series.length)
    if len(ends) and _is_unknown(state.scale):
        scale = long_run_scale(known.rows[None, :, lookback - state.n_seen : 2 * lookback - state.n_seen])
        known = replace(known, scale=scale)
    if not len(ends):
        return known, _NEVER
    return known, torch.arange(ends.start, ends.stop, ends.step) + (lookback - state.n_seen)


def _unread_ends(network: ForecastNetwork, state: SeriesState, rows: int) -> range:
    """Return the ends of the patches that so many new rows complete, in rows from the first one."""
    patch, seen, unknown = network.config.patch_length, state.n_seen + rows, _is_unknown(state.scale)
    if unknown and seen < network.config.lookback:
        return range(0)
    begin = max(0 if unknown else -(-state.n_seen // patch) * patch, patch)
    return range(begin, max(seen, begin), patch)


_NOW, _NEVER = torch.zeros(1, dtype=torch.long), torch.zeros(0, dtype=torch.long)
"""Rows of a call before its forecasts: none was read before one that is asked for alone."""


def _waiting_forecast(network: ForecastNetwork, state: SeriesState, future: Tensor) -> tuple[SeriesTensors, State, Any]:
    """Return what is known at the end of a state, the backbone that reads the last patch provisionally, the base's carry."""
    unknown = _is_unknown(state.scale)
    if not (unknown or network.listens or network.config.future or network.base is None):
        alone = SeriesTensors(state.rows, state.calendar, state.past, future, state.static, state.scale)
        return alone, state.backbone, state.base
    nothing = SeriesTensors(state.rows[:, :0], state.calendar[:0], state.past[:0], future, state.static, state.scale)
    known, backbone, base = _with_context(state, nothing), state.backbone, state.base
    if unknown:
        patch, lookback = network.config.patch_length, network.config.lookback
        known = replace(known, scale=long_run_scale(state.rows[None]))
        ends = torch.arange(patch, max(state.n_seen, patch), patch) + (lookback - state.n_seen)
        (before,), (base,) = _read_bases(network, [state], [(known, ends)])
        if before is not None:
            before = on_lookback_scale(before.to(network.device), seen_at(network, known, ends)[0])
        backbone = _read_patches(network, known, backbone, ends, before)
    return known, backbone, base


def _with_context(state: SeriesState, series: SeriesTensors) -> SeriesTensors:
    """Return new rows with the look-back before them, so that place ``lookback`` is the first new one."""
    return SeriesTensors(
        rows=torch.cat([state.rows, series.rows], dim=1),
        calendar=torch.cat([state.calendar, series.calendar]),
        past=torch.cat([state.past, series.past]),
        future=torch.cat([_future_before(state, series), series.future]),
        static=state.static,
        scale=state.scale,
    )


def _state_after(
    network: ForecastNetwork, state: SeriesState, known: SeriesTensors, backbone: State, base: Any
) -> SeriesState:
    """Return the state after rows that :func:`_waiting_patches` gave their context, whose patches the backbone has read."""
    keep = known.length - network.config.lookback
    return SeriesState(
        backbone=backbone,
        rows=known.rows[:, keep:].clone(),
        past=known.past[keep:].clone(),
        calendar=known.calendar[keep:].clone(),
        static=state.static,
        scale=known.scale,
        n_seen=state.n_seen + keep,
        future=known.future[keep : known.length].clone() if isinstance(state.future, Tensor) else (),
        base=base,
    )


def _future_before(state: SeriesState, series: SeriesTensors) -> Tensor:
    """Return the covariates known in advance of the look-back, zeros where they are not kept."""
    if isinstance(state.future, Tensor):
        return state.future
    return series.future.new_zeros(state.rows.shape[1], series.future.shape[1])


def _read_patches(
    network: ForecastNetwork,
    known: SeriesTensors,
    backbone: State,
    ends: Tensor,
    base: Tensor | None = None,
    *,
    told: Told = to_nobody,
) -> State:
    """Read the patches of one series that end at some places; recollections ask what the base forecast there."""
    done = 0
    if not network.listens:
        told(len(ends) * network.config.patch_length)
        return backbone
    for part in _pieces_of(ends, network.config):
        foretold = None if base is None else base[:, :, done : done + len(part)]
        backbone, done = network.read(*seen_at(network, known, part), backbone, foretold), done + len(part)
        told(len(part) * network.config.patch_length)
    return backbone


# --- the base ---------------------------------------------------------------------------------------------------------


def _read_bases(
    network: ForecastNetwork, states: Sequence[SeriesState], waiting: Sequence[tuple[SeriesTensors, Tensor]]
) -> tuple[list[Any], list[Any]]:
    """Let the base read the new rows of many series; returns its forecasts at the ends of patches, and its carries.

    Forecasts ``(b, c, n, f)`` on the long-run scale are made only where recollections will ask for them.
    """
    base = network.base
    foretold: list[Any] = [None] * len(states)
    carries = [state.base for state in states]
    if base is None:
        return foretold, carries
    firsts, lengths = [], []
    for state, (known, _) in zip(states, waiting, strict=True):
        first = 0 if _is_unknown(state.scale) else state.n_seen
        firsts.append(first)
        lengths.append(0 if _is_unknown(known.scale) else state.n_seen - first + known.length - network.config.lookback)
    keys = [(rows, first % base.turn) if rows else None for rows, first in zip(lengths, firsts, strict=True)]
    for group in _groups(keys, network.config.streams):
        length = lengths[group[0]]
        rows, actual, scale = _rows_of_base(network, [waiting[i][0] for i in group], length)
        asked = _NEVER
        if network.recollection is not None:
            known, ends = waiting[group[0]]
            asked = ends - (known.length - length)
        before, begun = [carries[i] for i in group], [firsts[i] for i in group]
        found, after = base.read_each(rows, scale, before, firsts=begun, ends=asked, actual=actual)
        for place, (i, one) in enumerate(zip(group, after, strict=True)):
            carries[i] = one
            here = slice(place * network.config.streams, (place + 1) * network.config.streams)
            foretold[i] = found.point[here] if len(asked) else None
    return foretold, carries


def _with_effect(network: ForecastNetwork, found: BaseForecast, covariates: Covariates | None) -> BaseForecast:
    """Return what the base forecasts with the effect of covariates known in advance."""
    if not network.config.future or covariates is None:
        return found
    assert network.base is not None
    effect = network.base.effect_of(covariates.future.cpu(), covariates.channel.cpu())
    quantiles = None if found.quantiles is None else found.quantiles + effect[..., None]
    return found._replace(point=found.point + effect, quantiles=quantiles)


def _corrected(
    network: ForecastNetwork,
    found: BaseForecast,
    lookback: Lookback,
    covariates: Covariates,
    state: State,
    ahead: Tensor,
) -> BaseForecast:
    """Return the base's forecast, quantiles included, with what the memory adds to it."""
    level, spread = lookback.level.double().cpu()[..., None], lookback.spread.double().cpu()[..., None]
    base = ((found.point - level) / spread).to(lookback.values)
    added = network.correction(lookback, covariates, state, ahead, base).double().cpu() * spread
    quantiles = None if found.quantiles is None else found.quantiles + added[..., None]
    return found._replace(point=found.point + added, quantiles=quantiles)


def _levels_of(
    network: ForecastNetwork, levels: Sequence[float] | Sequence[Tensor], group: Sequence[int]
) -> Sequence[float] | Tensor:
    """Return the levels that the base is asked for by a group: all alike, or those of each stream ``(b, c, f, q)``."""
    each = [one for one in levels if isinstance(one, Tensor)]
    if not each:
        return cast(Sequence[float], levels)
    return torch.cat([each[i].unflatten(0, (network.config.streams, network.config.token_channels)) for i in group])


def _at_levels(network: ForecastNetwork, found: Forecasts, levels: Sequence[float] | Sequence[Tensor]) -> Forecasts:
    """Return forecasts with quantiles of the levels asked for; without a base these lie between those learned."""
    if network.base is not None:
        return found
    quantiles = quantiles_at(found.quantiles.cpu().numpy(), network.config.quantiles, cast(Sequence[float], levels))
    return found._replace(quantiles=torch.from_numpy(quantiles))


def _mapped(change: Callable[[Tensor], Tensor], found: BaseForecast) -> BaseForecast:
    """Return a forecast of the base with a function applied to each of its parts."""
    quantiles = None if found.quantiles is None else change(found.quantiles)
    return BaseForecast(change(found.point), quantiles, change(found.bounds))


def _each_alone(x: Tensor) -> Tensor:
    """Turn ``n`` origins of ``b`` streams, ``(b, c, n, ...)``, into ``b n`` streams of one, ``(b n, c, 1, ...)``."""
    return x.transpose(1, 2).flatten(0, 1)[:, :, None]


def _together(x: Tensor, origins: int) -> Tensor:
    """Turn what :func:`_each_alone` made of ``n`` origins back into ``(b, c, n, ...)``."""
    return x.squeeze(2).unflatten(0, (-1, origins)).transpose(1, 2)


def _without_base(
    network: ForecastNetwork, said: Forecast, lookback: Lookback, scales: Sequence[Scale], *, origins: int = 1
) -> list[Forecasts]:
    """Return forecasts of a network without a base, ``(b n, c, 1, f)`` on their look-backs' scales, in units."""
    level, spread = lookback.level[..., None], lookback.spread[..., None]
    parts = said.point * spread + level, said.quantiles * spread[..., None] + level[..., None]
    point, quantiles = (_together(x, origins).double().cpu() for x in parts)
    free = point.new_tensor([-math.inf, math.inf]).expand(*point.shape[:-1], 2)
    return _in_units(BaseForecast(point, quantiles, free), join(scales))


def _rows_of_base(network: ForecastNetwork, series: Sequence[SeriesTensors], length: int) -> tuple[Tensor, Tensor, Scale]:
    """Return what the base reads of the last ``length`` rows of some series, ``(b, c, t)``.

    Rows on their long-run scale less the effect of covariates, the same with it, and that scale ``(b, c)``.
    """
    assert network.base is not None
    end = series[0].length
    raw = torch.stack([one.rows[:, one.length - length :] for one in series])
    scale = join([one.scale for one in series])
    rows = actual = on_long_run_scale(raw, scale) if length else raw
    if network.config.future:
        future = torch.stack([one.future[end - length : end] for one in series]).double()
        rows = actual - torch.einsum("cx,gtx->gct", network.base.effect, future)
    if network.config.mixed:
        return rows, actual, scale
    alone = (scale.level.numel(), 1, length)
    actual = actual.reshape(alone)
    return rows.reshape(alone) if network.config.future else actual, actual, Scale(*(x.reshape(-1, 1) for x in scale))


def _is_unknown(scale: Scale) -> bool:
    return bool(scale.level.isnan().all())


def _pieces_of(ends: Tensor, config: ForecastConfig, series: int = 1) -> tuple[Tensor, ...]:
    """Cut origins of so many series into calls of bounded size."""
    most = NUMBERS_AT_ONCE // (series * config.channels * config.lookback)
    return ends.split(min(max(most, 1), TOKENS_AT_ONCE)) if len(ends) else ()


def _rows_ahead(network: ForecastNetwork, seen: Sequence[int]) -> Tensor:
    """Return how many rows after the last patch's end forecasts begin, ``(n,)``, by how many were read before each."""
    return torch.tensor(seen, device=network.device) % network.config.patch_length


def _in_units(found: BaseForecast, scale: Scale) -> list[Forecasts]:
    """Return the forecasts of ``g`` series ``(b, c, n, f)`` in their own units, by their scales ``(g, channels)``.

    What stops at a bound is that bound to the last digit: a quantile of rain that is a rounding error above 0 would miss
    every dry hour.
    """
    level, spread = (x.numpy()[..., None, None] for x in scale)
    parts = [found.point.numpy()[..., None]]  # a last axis: nothing, or quantiles
    parts += [] if found.quantiles is None or not found.quantiles.shape[-1] else [found.quantiles.numpy()]
    values = parts[0] if len(parts) == 1 else np.concatenate(parts, -1)
    values = values.reshape(*scale.level.shape, *values.shape[2:])  # g channels n f (1 + q)
    raw = values * spread[..., None] + level[..., None]
    bounds = found.bounds.numpy().reshape(*scale.level.shape, *found.bounds.shape[2:])  # g channels n 2
    low, high = bounds[..., 0, None, None], bounds[..., 1, None, None]
    if (values < low + NEAR).any() or (values > high - NEAR).any():
        exact = _to_digits(bounds * spread + level, np.maximum(np.abs(level), spread))
        least, most = exact[..., 0, None, None], exact[..., 1, None, None]
        raw = np.where(values <= low, least, np.maximum(raw, least))
        raw = np.where(values >= high, most, np.minimum(raw, most))
    answers = torch.from_numpy(raw).movedim(1, -2)  # g n f channels (1 + q)
    return [Forecasts(one[..., 0], one[..., 1:]) for one in answers.unbind()]


def _to_digits(x: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers rounded to 13 digits of their size: what a scale and its inverse add is gone."""
    digits = 10.0 ** (13 - np.ceil(np.log10(np.clip(size, 1e-200, 1e200))))
    return np.where(np.isfinite(x), np.round(x * digits) / digits, x)


# --- batches ----------------------------------------------------------------------------------------------------------


def _groups(keys: Sequence[Any], streams: int) -> Iterator[list[int]]:
    """Return the places of equal keys, None aside, no more at a time than make a batch."""
    places: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        if key is not None:
            places.setdefault(key, []).append(i)
    most = max(STREAMS_AT_ONCE // streams, 1)
    for found in places.values():
        yield from (found[first : first + most] for first in range(0, len(found), most))


def form_of(state: Any) -> tuple[Any, ...]:
    """Return what must agree in a batch: whole numbers, and the shapes of tensors.

    >>> form_of((torch.zeros(1, 2), (3, None)))
    (torch.Size([1, 2]), 3)
    """
    if isinstance(state, Tensor):
        return (state.shape,)
    if isinstance(state, tuple):
        return tuple(x for part in state for x in form_of(part))
    return () if state is None else (state,)


def _as_batch(lookback: Lookback, covariates: Covariates) -> tuple[Lookback, Covariates]:
    """Turn ``n`` origins of ``b`` streams into ``b n`` streams of one origin."""
    n = covariates.calendar.shape[1]
    alone = Lookback(*(x.transpose(1, 2).flatten(0, 1)[:, :, None] for x in lookback))
    calendar, past, future = (x.flatten(0, 1)[:, None] for x in (covariates.calendar, covariates.past, covariates.future))
    static, channel = (x.repeat_interleave(n, dim=0) for x in (covariates.static, covariates.channel))
    return alone, Covariates(calendar, past, future, static, channel)
