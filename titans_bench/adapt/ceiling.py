"""The ceiling: a ridge refitted every day on all that a stream has shown, from its look-back to what the frozen base missed.

Weights are drawn to none, which leaves the base: the ridge that all streams share, and what is mixed with it. How strongly,
and how fast old rows fade, is chosen every day by the forecasts of the days before, each made by what was known then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

PENALTIES = (30.0, 300.0, 3_000.0)
"""Weights of nothing, in windows."""
HALF_LIVES = (500.0, 2_000.0, math.inf)
"""Rows after which a window counts half."""
REMEMBERED, CAUTION, FEWEST = 15.0, 0.5, 2
"""Forecasts after which what a choice was worth counts half; see `_chosen`; forecasts before anything is chosen."""
LARGEST, LEAST_SPREAD = 5.0, 1e-3
"""Errors count as at most so many spreads of the window; least spread of one, on the scale of the rows."""
TRIED = tuple(product(HALF_LIVES, PENALTIES))


@torch.no_grad()
def refitted(rows: Tensor, missed: Tensor, expected: Tensor, origins: Sequence[int], *, lookback: int) -> Tensor:
    """Return what to add to the base's forecasts.

    Parameters
    ----------
    rows : Tensor ``(s, t)``
        Streams; NaN where missing.
    missed : Tensor ``(s, n, f)``
        What the base got wrong after ``lookback``, ``lookback + 1``, ... rows, as far as the last origin knows it; NaN where
        unknown.
    expected : Tensor ``(s, k, f)``
        The rows less the base's forecasts from each origin, by which choices are judged once they are there.
    origins : sequence of int
        Rows before each forecast, increasing, at least ``lookback``, and ``f`` or more apart.
    lookback : int
        Rows that the ridge sees.

    Returns
    -------
    Tensor ``(s, k, f)``
        On the scale of the rows.
    """
    horizon = expected.shape[-1]
    inputs, unit = _look_backs(rows, origins[-1], lookback)
    aims = (missed / unit[:, : missed.shape[1], None]).clamp(-LARGEST, LARGEST)
    known = ~aims.isnan().any(-1, keepdim=True)
    aims, written = torch.where(known, aims, 0.0), torch.where(known, inputs[:, : missed.shape[1]], 0.0)
    streams, width = len(rows), inputs.shape[-1]
    grams = {life: torch.zeros(streams, width, width, dtype=rows.dtype) for life in HALF_LIVES}
    crosses = {life: torch.zeros(streams, width, horizon, dtype=rows.dtype) for life in HALF_LIVES}
    said, done = torch.zeros(1 + len(TRIED), streams, len(origins), horizon, dtype=rows.dtype), 0
    for k, origin in enumerate(origins):
        new = slice(done, max(origin - horizon - lookback + 1, 0))
        x, y, done = written[:, new], aims[:, new], new.stop
        asked = inputs[:, origin - lookback, :, None]
        for life in HALF_LIVES:
            fade = 0.5 ** ((new.stop - new.start) / life)
            grams[life] = fade * grams[life] + x.mT @ x
            crosses[life] = fade * crosses[life] + x.mT @ y
        for i, (life, penalty) in enumerate(TRIED, start=1):
            whole = grams[life].clone()
            whole.diagonal(dim1=-2, dim2=-1).add_(penalty)
            weights = torch.cholesky_solve(asked, torch.linalg.cholesky(whole))
            said[i, :, k] = (weights.mT @ crosses[life])[:, 0] * unit[:, origin - lookback, None]
    return _chosen(said, expected)


def _look_backs(rows: Tensor, last: int, lookback: int) -> tuple[Tensor, Tensor]:
    """Return look-backs less their mean and over their spread with a constant, ``(s, n, l + 1)``, and these spreads."""
    windows = rows[:, :last].unfold(-1, lookback, 1)
    there = ~windows.isnan()
    count = there.sum(-1, keepdim=True).clamp_min(1)
    centred = torch.where(there, windows - windows.nansum(-1, keepdim=True) / count, 0.0)
    unit = (centred.square().sum(-1, keepdim=True) / count).sqrt().clamp_min(LEAST_SPREAD)
    return torch.cat([centred / unit, torch.ones_like(unit)], dim=-1), unit[..., 0]


def _chosen(said: Tensor, expected: Tensor) -> Tensor:
    """Return at each origin the words ``(s, k, f)``, of ``(e, s, k, f)``, that were best before it, and surely so.

    The first says nothing. Another is taken where its absolute error was less by more than `CAUTION` standard errors.
    """
    losses = (expected - said).abs().nansum(-1)
    worse, fade, found = losses - losses[:1], 0.5 ** (1 / REMEMBERED), []
    count, total, squares = 0.0, torch.zeros_like(worse[..., 0]), torch.zeros_like(worse[..., 0])
    for k in range(expected.shape[1]):
        mean = total / max(count, 1.0)
        doubt = (squares / max(count, 1.0) - mean.square()).clamp_min(0).sqrt() / max(count, 1.0) ** 0.5
        at_most = mean + CAUTION * doubt
        best = at_most.argmin(0) if k >= FEWEST else torch.zeros(len(total[0]), dtype=torch.long)
        found.append(said[best, torch.arange(len(best)), k])
        count, total, squares = (
            fade * before + now for before, now in ((count, 1.0), (total, worse[..., k]), (squares, worse[..., k].square()))
        )
    return torch.stack(found, dim=1)
