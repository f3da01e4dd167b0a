"""What each part of a forecaster earned: its errors without and with it, at origins whose rows it had not learned from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from titans_ts.backbones.observing import silenced
from titans_ts.backbones.variants import BASELINES
from titans_ts.series.base import mixing, spread
from titans_ts.series.base.bank import BankSeen
from titans_ts.series.base.spread import Spread
from titans_ts.series.learning.objective import origin_errors
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.tensors import SeriesTensors

FEWEST_ROWS = 6
"""Rows, at least, after which the size of a stream is known; or two seasons and two rows."""
NUMBERS_AT_ONCE = 2**22
"""Numbers of forecasts that are compared in one call."""
BY_BASE = ("seasonal naive", "base", "reads on")
"""Parts that answer without a memory."""
LEVELS = (80, 95)
"""Intervals, in percent, whose coverage is told."""


@dataclass(frozen=True)
class Earned:
    """The error of forecasts by some parts of a model."""

    part: str  # the last part that answers
    error: float  # mean absolute error in sizes of each stream: the mean difference of rows a season apart, so far
    origins: int  # forecasts that were compared, the same for all parts


class Judged(NamedTuple):
    """Errors of forecasts at ``n`` boundaries, means over the horizon in sizes; NaN where nothing is known."""

    errors: dict[str, Tensor]  # s n, by part
    size: Tensor  # s n, on the long-run scale; NaN before it is known

    @classmethod
    def of(cls, parts: Sequence[Judged], order: Tensor) -> Judged:
        """Return the errors of several sets of streams as one, in another order."""
        errors = {name: torch.cat([part.errors[name] for part in parts])[order] for name in parts[0].errors}
        return cls(errors, torch.cat([part.size for part in parts])[order])


def judge(alone: Tensor, expected: Tensor, truth: Tensor, seen: BankSeen, *, season: int) -> Judged:
    """Return the errors of the base without and with reading on ``(s, n, f)``, and of the seasonal naive beside them."""
    size = settled_size(seen, season)
    steps = torch.arange(truth.shape[-1])
    phase, most = steps % season, mixing.farthest(steps + 1, season)
    errors = {name: torch.empty_like(size) for name in BY_BASE}
    for part in torch.arange(size.shape[1]).split(max(NUMBERS_AT_ONCE // truth[:, 0].numel(), 1)):
        answers = (seen.last[:, part][..., phase], alone[:, part], expected[:, part])
        for found, answer in zip(errors.values(), answers, strict=True):
            off = (truth[:, part] - answer).abs() / size[:, part, None]
            found[:, part] = off.clamp_max(most).nanmean(-1)
    return Judged(errors, size)


def settled_size(seen: BankSeen, season: int) -> Tensor:
    """Return the sizes of streams ``(s, n)``, NaN before they are known."""
    return torch.where(seen.age >= max(2 * season + 2, FEWEST_ROWS), seen.size, float("nan"))


def judge_memory(
    network: ForecastNetwork, series: Sequence[SeriesTensors], starts: Sequence[int], judged: Judged, *, share: float
) -> Judged:
    """Return also the errors with the memory silent, if there is one to silence, and of all, from ``starts`` on."""
    errors, contexts = dict(judged.errors), dict[str, AbstractContextManager[None]]()
    assert network.base is not None
    most = mixing.farthest(torch.arange(network.config.horizon) + 1, network.base.config.season)
    if network.config.backbone.variant not in BASELINES:
        contexts["memory silent"] = silenced(network)
    contexts["all"] = nullcontext()
    for name, context in contexts.items():
        if not share and network.recollection is None:  # nothing is corrected
            ends = torch.arange(1, judged.size.shape[1] + 1) * network.config.patch_length
            early = ends < torch.tensor(starts).repeat_interleave(network.config.channels)[:, None]
            errors[name] = errors["reads on"].masked_fill(early, float("nan"))
            continue
        with context:
            errors[name] = origin_errors(network, list(series), list(starts), judged.size, largest=most)
    return judged._replace(errors=errors)


def table(judged: Judged) -> list[Earned]:
    """Return a row a part, over the origins that all parts forecast; none where there are none."""
    errors = torch.stack(list(judged.errors.values()))
    common = errors.isfinite().all(0)
    count = int(common.sum())
    return [Earned(name, float(x[common].mean()), count) for name, x in zip(judged.errors, errors, strict=True) if count]


def coverage(
    learned: Spread, rows: Tensor, point: Tensor, truth: Tensor, features: Tensor, boundaries: Tensor
) -> dict[int, float]:
    """Return the share of truths ``(s, n, f)`` within intervals of each of :data:`LEVELS`, that were adapted on the way."""
    tracked = torch.from_numpy(spread.tracked_steps(learned.horizon)) - 1
    carry = spread.initial(learned, len(rows))
    every = max(point.numel() // NUMBERS_AT_ONCE, 1)
    some = torch.arange(0, len(boundaries), every)
    seen, _ = spread.read(learned, carry, rows, point[..., tracked], features, begin=0, ends=boundaries[some])
    size = spread.sizes(learned, seen, features[:, some], origins=boundaries[some])
    shares = [(1 + side * level / 100) / 2 for level in LEVELS for side in (-1, 1)]
    bounds = spread.quantiles(learned, seen, point[:, some], size, shares)
    known = truth[:, some][bounds[..., 0].isfinite() & truth[:, some].isfinite()]
    if not len(known):
        return {}
    bounds = bounds[bounds[..., 0].isfinite() & truth[:, some].isfinite()]
    within = [(known >= bounds[:, 2 * i]) & (known <= bounds[:, 2 * i + 1]) for i in range(len(LEVELS))]
    return {level: float(x.double().mean()) for level, x in zip(LEVELS, within, strict=True)}
