"""Numeric series as tokens: causal scaling by a trailing window, patches, masks, covariates.

All that a token knows comes from the ``lookback`` rows that end with it, so nothing leaks from the future, and a stream
can be read in any pieces.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from titans_ts._shapes import check_shape

SPREAD_FLOOR = 1e-3
"""Least spread of a window as a share of the long-run spread: a flat stretch is not blown up to noise."""

FARTHEST = 1e15
"""Distance from the long-run level, in long-run spreads, beyond which rows are taken to lie at it: their squares, summed
over any look-back, stay finite in float32. 9.97e36 is what netCDF writes where nothing was measured."""


class Scale(NamedTuple):
    """Long-run level and spread of every channel, ``(b, c)`` each, float64."""

    level: Tensor
    spread: Tensor


class Windows(NamedTuple):
    """What can be seen at ``n`` origins.

    Attributes
    ----------
    values : Tensor
        ``(b, c, n, l)``: the rows before each origin on the window's own scale; missing rows are 0.
    observed : Tensor
        ``(b, c, n, l)``: 1 where a row was there, 0 where it was missing.
    level, spread : Tensor
        ``(b, c, n)``: the window's mean and standard deviation on the long-run scale.
    """

    values: Tensor
    observed: Tensor
    level: Tensor
    spread: Tensor


class Extras(NamedTuple):
    """Covariates at ``n`` origins; a width of 0 where there are none.

    Attributes
    ----------
    calendar : Tensor
        ``(b, n, k)``: calendar features of the origin's last row.
    past : Tensor
        ``(b, n, p * covariates)``: past covariates and their masks over the last patch, standardised.
    future : Tensor
        ``(b, n, f, covariates)``: covariates known in advance, standardised.
    static : Tensor
        ``(b, s)``: static covariates, standardised.
    channel : Tensor
        ``(b,)`` whole numbers: which channel a stream is, where channels are independent.
    """

    calendar: Tensor
    past: Tensor
    future: Tensor
    static: Tensor
    channel: Tensor


def long_run_scale(rows: Tensor) -> Scale:
    """Return mean and standard deviation of the observed rows ``(b, c, t)``; spread 1 where there is none."""
    observed = ~rows.isnan()
    count = observed.sum(-1).clamp_min(1)
    largest = torch.where(observed, rows, 0).abs().amax(-1, keepdim=True).clamp_min(1.0)  # squares cannot overflow
    level = (torch.where(observed, rows / largest, 0).sum(-1) / count) * largest[..., 0]
    variance = torch.where(observed, (rows - level[..., None]) / largest, 0).square().sum(-1) / count
    spread = variance.sqrt() * largest[..., 0]
    return Scale(level, torch.where(spread > 1e-9 * level.abs().clamp_min(1e-300), spread, 1.0))


def unknown_scale(channels: int) -> Scale:
    """Return the scale of a series of which nothing is known yet: NaN."""
    return Scale(*torch.full((2, 1, channels), float("nan"), dtype=torch.float64))


def on_long_run_scale(rows: Tensor, scale: Scale) -> Tensor:
    """Return rows ``(b, c, t)`` in spreads from the long-run level, float64, none farther than :data:`FARTHEST`."""
    return ((rows - scale.level[..., None]) / scale.spread[..., None]).clamp(-FARTHEST, FARTHEST)


def trailing_windows(
    rows: Tensor, ends: Tensor, scale: Scale, *, lookback: int, dtype: torch.dtype = torch.float32
) -> Windows:
    """Cut the ``lookback`` rows before each origin and put them on their own scale.

    Parameters
    ----------
    rows : Tensor
        ``(b, c, t)`` float64, NaN where missing. Rows before the first are missing.
    ends : Tensor
        ``(n,)`` whole numbers: rows before each origin, 0 to ``t``.
    scale : Scale
        Long-run scale; it stands in for a window with nothing in it.
    lookback : int
        Rows ``l`` of a window.
    dtype : torch.dtype, default=torch.float32
        Of what comes back; differences from the long-run level are taken in float64.

    Returns
    -------
    Windows
        What each origin sees.

    Examples
    --------
    >>> rows = torch.tensor([[[1.0, 3.0, float("nan"), 5.0]]], dtype=torch.float64)
    >>> windows = trailing_windows(rows, torch.tensor([2, 4]), long_run_scale(rows), lookback=2)
    >>> (windows.values[0, 0] + 0.0).tolist()
    [[-1.0, 1.0], [0.0, 0.0]]
    """
    check_shape(rows, "b c t", name="rows")
    first = max(int(ends.min()) - lookback, 0)
    near = on_long_run_scale(rows[..., first : int(ends.max())], scale)
    near = nn.functional.pad(near, (lookback, 0), value=float("nan")).to(dtype)  # precise differences, then small numbers
    missing = near.isnan()
    at = ends - first
    cut = near.nan_to_num(0.0).unfold(-1, lookback, 1)[:, :, at]  # b c n l
    if int(at.min()) >= lookback and not bool(missing[..., lookback:].any()):  # nothing missing: fewer passes
        mean = cut.mean(-1)
        centred = cut - mean[..., None]
        deviation = centred.square().mean(-1).sqrt() if lookback > 1 else torch.ones_like(mean)
        observed = torch.ones((), dtype=dtype).expand_as(cut)
    else:
        observed = (~missing).to(dtype).unfold(-1, lookback, 1)[:, :, at]
        count = observed.sum(-1)
        mean = cut.sum(-1) / count.clamp_min(1)
        centred = (cut - mean[..., None]) * observed
        deviation = (centred.square().sum(-1) / count.clamp_min(1)).sqrt()
        deviation = torch.where(count > 1, deviation, 1.0)
    deviation = deviation.clamp_min(SPREAD_FLOOR)
    return Windows(centred / deviation[..., None], observed, mean, deviation)


class SeriesEmbedding(nn.Module):
    """Windows and covariates to tokens of the model's width.

    A token is the last patch of its window on the window's scale, the mask of what was missing, the window's level and
    spread on the long-run scale (which trailing normalisation would hide from the memory), and covariates.

    Parameters
    ----------
    width : int
        Model width ``d``.
    patch_length : int
        Rows ``p`` of a patch.
    channels : int
        Channels that a token holds: 1 where channels are independent.
    extra : int
        Width of calendar, past and static covariates together.
    channel_names : int
        Number of channels told apart by a learned vector; 0 or 1 for none.
    """

    def __init__(self, width: int, *, patch_length: int, channels: int, extra: int, channel_names: int) -> None:
        super().__init__()
        self.patch_length = patch_length
        self.project = nn.Linear(channels * (2 * patch_length + 2) + extra, width)
        self.names = nn.Embedding(channel_names, width) if channel_names > 1 else None
        if self.names is not None:
            nn.init.normal_(self.names.weight, std=0.02)

    def forward(self, windows: Windows, extras: Extras) -> Tensor:
        """Return tokens ``(b, n, d)``."""
        p = self.patch_length
        parts = [windows.values[..., -p:], 1 - windows.observed[..., -p:]]
        parts.append(torch.asinh(windows.level)[..., None])
        parts.append(windows.spread.log()[..., None])
        own = torch.cat(parts, dim=-1).transpose(1, 2).flatten(2)  # b n (c features)
        b, n, _ = own.shape
        static = extras.static[:, None].expand(b, n, -1)
        tokens = self.project(torch.cat([own, extras.calendar.expand(b, n, -1), extras.past, static], dim=-1))
        if self.names is not None:
            tokens = tokens + self.names(extras.channel)[:, None]
        return tokens
