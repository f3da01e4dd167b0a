"""The losses of training and the errors on validation rows, in units of each channel's long-run spread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from titans_ts.learn.losses import masked_absolute_error, masked_pinball
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.settings import Phase
from titans_ts.series.tensors import SeriesTensors, Tokens, to_device, tokens_at

STREAMS_AT_ONCE, TOKENS_AT_ONCE = 64, 256
"""Streams and tokens that an evaluation holds at once; they change nothing else."""
QUANTILE_TOKENS = 8
"""One token in so many trains the quantiles: they follow the point forecast and need fewer."""
CALIBRATION_TOKENS = 64
"""Validation tokens that calibrate the quantiles, at least, where there are so many."""


def point_loss(point: Tensor, tokens: Tokens) -> Tensor:
    """Return the mean absolute error in units of each channel's long-run spread."""
    return masked_absolute_error(point, tokens.target, tokens.lookback.spread[..., None])


def quantile_loss(network: ForecastNetwork, point: Tensor, hidden: Tensor, tokens: Tokens, offset: int) -> Tensor:
    """Return the pinball loss of the quantiles around a point forecast that they do not move."""
    some = slice(offset % QUANTILE_TOKENS, None, QUANTILE_TOKENS)
    found = network.quantile_head(point[:, :, some].detach(), hidden[:, some].detach())
    levels = torch.tensor(network.config.quantiles, dtype=found.dtype, device=found.device)
    return masked_pinball(found, tokens.target[:, :, some], tokens.lookback.spread[:, :, some, None], levels)


class ValidationForecast(NamedTuple):
    """What a network forecasts at some tokens, on the look-back's scale."""

    tokens: Tokens  # with targets from the validation part only
    corrected: Tensor  # b c n f, without recollections
    point: Tensor  # b c n f, with them
    hidden: Tensor  # b n d; nothing after the direct path alone
    blocks: Tensor  # b 2 n, which series a token belongs to, and which block of validation rows as long as the horizon


def validation_error(
    network: ForecastNetwork, series: list[SeriesTensors], starts: list[int], *, after: Phase = "quantiles"
) -> float:
    """Return the mean absolute error, in long-run spreads, of the rows from ``starts`` on; NaN where none was observed.

    What is trained in phases later than ``after`` is left out.
    """
    total = count = 0.0
    for found in _validation_forecasts(network, series, starts, after=after):
        errors, observed = _absolute_errors(found.tokens, found.point)
        total += float(errors.double().sum())
        count += float(observed.sum())
    return total / count if count else float("nan")


@torch.no_grad()
def block_errors(
    network: ForecastNetwork,
    series: list[SeriesTensors],
    starts: list[int],
    forecasts: Callable[[ValidationForecast], Sequence[Tensor]],
    *,
    after: Phase = "quantiles",
) -> Tensor:
    """Return the mean absolute error of each block of validation rows as long as the horizon, ``(forecasts, blocks)``.

    ``forecasts`` turns a forecast into those to measure, each ``(b, c, n, f)``; blocks with few observed rows are left out.
    """
    most = max(one.length for one in series) // network.config.horizon + 1  # blocks of a series
    count = torch.zeros(len(series) * most, dtype=torch.float64)
    totals: list[Tensor] = []
    for found in _validation_forecasts(network, series, starts, after=after):
        place = (found.blocks[:, 0] * most + found.blocks[:, 1]).flatten()  # b n
        measured = forecasts(found)
        totals = totals or [torch.zeros_like(count) for _ in measured]
        for total, point in zip(totals, measured, strict=True):
            errors, observed = _absolute_errors(found.tokens, point)
            total.index_add_(0, place, errors.double().sum(dim=(1, 3)).cpu().flatten())
        count.index_add_(0, place, observed.double().sum(dim=(1, 3)).cpu().flatten())
    full = (count > 0) & (count >= count.max() / 2)
    return torch.stack(totals)[:, full] / count[full]


def _absolute_errors(tokens: Tokens, point: Tensor) -> tuple[Tensor, Tensor]:
    """Return errors ``(b, c, n, f)`` in units of the long-run spread, 0 where not observed, and where they were."""
    observed = ~tokens.target.isnan()
    error = (point - tokens.target.nan_to_num()) * tokens.lookback.spread[..., None]
    return torch.where(observed, error, 0).abs(), observed


@torch.no_grad()
def calibrate_quantiles(network: ForecastNetwork, series: list[SeriesTensors], starts: list[int]) -> None:
    """Stretch every quantile's distance from the median so that its share of the validation rows lies below it.

    Source: split conformal prediction with a multiplicative score, arXiv 1905.03222.
    """
    patches = sum((one.length - start) // network.config.patch_length for one, start in zip(series, starts, strict=True))
    every = min(max(patches * network.config.streams // CALIBRATION_TOKENS, 1), QUANTILE_TOKENS)
    ratios: list[list[Tensor]] = [[] for _ in network.config.quantiles]
    for found in _validation_forecasts(network, series, starts):
        target, middle = found.tokens.target[:, :, ::every], found.point[:, :, ::every]
        quantiles = network.quantile_head(middle, found.hidden[:, ::every])
        observed = ~target.isnan()
        for level, kept in enumerate(ratios):
            kept.append(((target - middle) / (quantiles[..., level] - middle))[observed].double())
    for level, share in enumerate(network.config.quantiles):
        values = torch.cat(ratios[level]) if ratios[level] else torch.zeros(0)
        if share != 0.5 and len(values):
            rank = share if share > 0.5 else 1 - share
            stretch = torch.from_numpy(np.quantile(values.cpu().numpy(), [rank]))[0]
            network.quantile_head.stretch[level] *= stretch.clamp_min(0.05).to(network.dtype)


@torch.no_grad()
def _validation_forecasts(
    network: ForecastNetwork, series: list[SeriesTensors], starts: list[int], *, after: Phase = "quantiles"
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
            if after == "direct" and int(part[-1]) < min(begin):
                continue
            tokens = tokens_at(some, [0] * len(some), part, config, dtype=network.dtype)
            early = (part < before[:, None])[:, None].expand(-1, config.token_channels, -1)
            tokens.target[early] = float("nan")
            tokens = to_device(tokens, network.device)
            block = ((part - before[:, None]) // config.horizon).clamp_min(0)
            blocks = torch.stack([which[:, None].expand_as(block), block], dim=1)
            if after == "direct":
                point = network.direct(tokens.lookback, tokens.covariates)
                yield ValidationForecast(tokens, point, point, point.new_zeros(0), blocks)
                continue
            corrected, hidden, state = network.corrected(tokens.lookback, tokens.covariates, state)
            point = corrected
            if after != "memory":
                point, state = network.recollect(tokens.lookback, corrected, state)
            yield ValidationForecast(tokens, corrected, point, hidden, blocks)
