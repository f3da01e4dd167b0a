"""Long-run level and spread of a series' channels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FARTHEST = 1e15
"""Largest distance from the long-run level, in spreads: its squares, summed over a look-back, stay finite in float32.
netCDF writes 9.97e36 where nothing was measured."""


class Scale(NamedTuple):
    """Long-run level and spread of every channel, ``(b, c)`` each, float64."""

    level: Tensor
    spread: Tensor


def long_run_scale(rows: Tensor) -> Scale:
    """Return mean and standard deviation of the observed rows ``(b, c, t)``; the spread is 1 where there is none."""
    observed = ~rows.isnan()
    count = observed.sum(-1).clamp_min(1)
    largest = torch.where(observed, rows, 0).abs().amax(-1, keepdim=True).clamp_min(1.0)  # squares cannot overflow
    level = (torch.where(observed, rows / largest, 0).sum(-1) / count) * largest[..., 0]
    variance = torch.where(observed, (rows - level[..., None]) / largest, 0).square().sum(-1) / count
    spread = variance.sqrt() * largest[..., 0]
    return Scale(level, torch.where(spread > 1e-9 * level.abs().clamp_min(1e-300), spread, 1.0))


def unknown_scale(channels: int) -> Scale:
    """Return the scale of a series of which nothing is known yet: NaN, ``(1, c)``."""
    return Scale(*torch.full((2, 1, channels), float("nan"), dtype=torch.float64))


def on_long_run_scale(rows: Tensor, scale: Scale) -> Tensor:
    """Return rows ``(b, c, t)`` in spreads from the long-run level, in float64, at most :data:`FARTHEST` away."""
    return ((rows - scale.level[..., None]) / scale.spread[..., None]).clamp(-FARTHEST, FARTHEST)
