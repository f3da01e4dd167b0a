"""The losses of training and the errors on validation rows, in units of each channel's long-run spread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from titans_ts.learn import distributed
from titans_ts.learn.run import Losses
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.settings import Phase
from titans_ts.series.tensors import SeriesTensors, Tokens, to_device, tokens_at

STREAMS_AT_ONCE, TOKENS_AT_ONCE = 64, 256
"""Streams and tokens that an evaluation holds at once; they change nothing else."""


def point_losses(point: Tensor, tokens: Tokens) -> Losses:
    """Return the absolute errors of observed targets, which are not NaN, in units of each channel's long-run spread."""
    observed = ~tokens.target.isnan()
    error = torch.where(observed, point - tokens.target.nan_to_num(), 0).abs() * tokens.lookback.spread[..., None]
    return Losses(error.sum(), observed.sum())


class ValidationForecast(NamedTuple):
    """What a network forecasts at some tokens, on the look-back's scale."""

    tokens: Tokens  # with targets from the validation part only
    base: Tensor  # b c n f, without the memory
    corrected: Tensor  # b c n f, with it, without recollections
    point: Tensor  # b c n f, with them
    blocks: Tensor  # b 2 n, which series a token belongs to, and which block of validation rows as long as the horizon
    first: int  # number of the first token


def validation_error(
    network: ForecastNetwork, series: list[SeriesTensors], starts: list[int], *, after: Phase = "recollection"
) -> float:
    """Return the mean absolute error, in long-run spreads, of the rows from ``starts`` on; NaN where none was observed.

    What is trained in phases later than ``after`` is left out.
    """

    def added(places: slice) -> tuple[float, float]:
        total = count = 0.0
        for found in _validation_forecasts(network, series[places], starts[places], after=after):
            errors, observed = _absolute_errors(found.tokens, found.point)
            total += float(errors.double().sum())
            count += float(observed.sum())
        return total, count

    total, count = map(sum, zip(*distributed.shared(added, len(series)), strict=True))
    return total / count if count else float("nan")


@torch.no_grad()
def block_errors(
    network: ForecastNetwork,
    series: list[SeriesTensors],
    starts: list[int],
    forecasts: Callable[[ValidationForecast], Sequence[Tensor]],
    *,
    after: Phase = "recollection",
) -> Tensor:
    """Return the mean absolute error of each block of validation rows as long as the horizon, ``(forecasts, blocks)``.

    ``forecasts`` turns a forecast into those to measure, each ``(b, c, n, f)``; blocks with few observed rows are left out.
    """
    most = max(one.length for one in series) // network.config.horizon + 1  # blocks of a series

    def added(places: slice) -> tuple[Tensor, Tensor]:
        some = series[places]
        count = torch.zeros(len(some) * most, dtype=torch.float64)
        totals: list[Tensor] = []
        for found in _validation_forecasts(network, some, starts[places], after=after):
            place = (found.blocks[:, 0] * most + found.blocks[:, 1]).flatten()  # b n
            measured = forecasts(found)
            totals = totals or [torch.zeros_like(count) for _ in measured]
            for total, point in zip(totals, measured, strict=True):
                errors, observed = _absolute_errors(found.tokens, point)
                total.index_add_(0, place, errors.double().sum(dim=(1, 3)).cpu().flatten())
            count.index_add_(0, place, observed.double().sum(dim=(1, 3)).cpu().flatten())
        return torch.stack(totals), count

    totals, count = (torch.cat(parts, dim=-1) for parts in zip(*distributed.shared(added, len(series)), strict=True))
    full = (count > 0) & (count >= count.max() / 2)
    return totals[:, full] / count[full]


@torch.no_grad()
def origin_errors(
    network: ForecastNetwork, series: list[SeriesTensors], starts: list[int], size: Tensor, *, largest: Tensor
) -> Tensor:
    """Return the mean absolute error of every origin ``(s, n)`` from ``starts`` on, in units of ``size``.

    An error counts for at most ``largest`` ``(f,)`` of them. Streams are the channels of each series in turn; NaN where
    nothing was observed.
    """
    sizes = size.unflatten(0, (len(series), -1))

    def measured(places: slice) -> Tensor:
        own = sizes[places].flatten(0, 1)
        found = torch.full_like(own, float("nan"))
        for said in _validation_forecasts(network, series[places], starts[places]):
            errors, observed = _absolute_errors(said.tokens, said.point)
            errors, observed = (x.flatten(0, 1).double().cpu() for x in (errors, observed))  # s n f
            place = int(said.blocks[0, 0, 0]) * network.config.channels
            streams, tokens = slice(place, place + len(errors)), slice(said.first, said.first + errors.shape[1])
            scaled = (errors / own[streams, tokens, None]).clamp_max(largest)
            found[streams, tokens] = (scaled * observed).sum(-1) / observed.sum(-1)
        return found

    return torch.cat(distributed.shared(measured, len(series)))


def _absolute_errors(tokens: Tokens, point: Tensor) -> tuple[Tensor, Tensor]:
    """Return errors ``(b, c, n, f)`` in units of the long-run spread, 0 where not observed, and where they were."""
    observed = ~tokens.target.isnan()
    error = (point - tokens.target.nan_to_num()) * tokens.lookback.spread[..., None]
    return torch.where(observed, error, 0).abs(), observed


@torch.no_grad()
def _validation_forecasts(
    network: ForecastNetwork, series: list[SeriesTensors], starts: list[int], *, after: Phase = "recollection"
) -> Iterator[ValidationForecast]:
    """Yield forecasts from the first row on; tokens before ``starts`` have no target."""
    config = network.config
    group = max(STREAMS_AT_ONCE // config.streams, 1)
    for first in range(0, len(series), group):
        some, begin = series[first : first + group], starts[first : first + group]
        ends = torch.arange(1, max(one.length for one in some) // config.patch_length + 1) * config.patch_length
        before = torch.tensor(begin).repeat_interleave(config.streams)
        which = torch.arange(first, first + len(some)).repeat_interleave(config.streams)
        state = network.initial_state(len(before))
        for part in ends.split(TOKENS_AT_ONCE) if len(ends) else ():
            tokens = tokens_at(some, [0] * len(some), part, config, dtype=network.dtype)
            early = (part < before[:, None])[:, None].expand(-1, config.token_channels, -1)
            tokens.target[early] = float("nan")
            tokens = to_device(tokens, network.device)
            block = ((part - before[:, None]) // config.horizon).clamp_min(0)
            blocks = torch.stack([which[:, None].expand_as(block), block], dim=1)
            seen = tokens.lookback, tokens.covariates
            corrected, _, state = network.corrected(*seen, state, tokens.base)
            point = corrected
            if after != "memory":
                point, state = network.recollect(tokens.lookback, corrected, state)
            base = network.direct(*seen) if tokens.base is None and network.direct is not None else tokens.base
            yield ValidationForecast(tokens, base, corrected, point, blocks, int(part[0]) // config.patch_length - 1)
