"""The linear effect of covariates known in advance, the same at every step of the horizon, judged forward in time.

Rows less the effect are what everything else of the base sees. It is solved with a plain ridge in turns: the ridge from rows
less the effect; the effect from what the ridge leaves over of rows, by what the same ridge leaves over of covariates.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from titans_ts.series.base.ridge import FARTHEST_TARGET, SPREAD_FLOOR

TURNS = 3
"""Times that ridge and effect are solved in turn."""
RIDGE_PENALTY = 0.1
"""Penalty of the ridge beside the effect."""
PENALTY = 1e-3
"""Penalty of the shared effect, as a share of the mean diagonal of its sums."""
OWN_PENALTY = 0.03
"""Penalty of a channel's distance from the shared effect."""
FARTHEST_STEP, FEW_STEPS = 48, 8
"""Longest horizon that an effect is learned at, and how many of its steps."""
MOST_WINDOWS = 4_000
"""Windows that an effect is learned from; of more, evenly spaced ones are taken."""


class Effect(NamedTuple):
    """What was learned of covariates; no effect is weights of 0."""

    weights: Tensor  # c x, in long-run spreads
    losses: dict[str, list[float]]  # log loss of each judged block, by what was tried


class _Sums(NamedTuple):
    """Sums of each block and stream."""

    gram: Tensor  # k s x x
    goal: Tensor  # k s x
    squares: Tensor  # k s


def effect_at(future: Tensor, weights: Tensor) -> Tensor:
    """Return the effect ``(s, t)`` of covariates ``(b, t, x)`` on streams, ``c`` channels of each series in turn."""
    return torch.einsum("btx,cx->bct", future.double().nan_to_num(0.0), weights).flatten(0, 1)


def learn_effect(rows: Tensor, future: Tensor, *, lookback: int, horizon: int, edges: Tensor) -> Effect:
    """Learn the effect of covariates on every channel, where forward blocks find one.

    Parameters
    ----------
    rows : Tensor ``(s, t)``
        Streams on the long-run scale, the channels of each series in turn; NaN where missing.
    future : Tensor ``(b, t, x)``
        Covariates of each series, standardised.
    lookback : int
        Rows that the ridge beside it sees.
    horizon : int
        Rows to foretell.
    edges : Tensor ``(k,)``
        Rows at which blocks begin, and the end of the last.

    Returns
    -------
    Effect
        No effect, one that channels share, or one of each channel held to the shared.
    """
    channels, count = len(rows) // len(future), future.shape[-1]
    reach = min(horizon, FARTHEST_STEP)
    steps = torch.arange(0, reach, -(-reach // FEW_STEPS))
    none = torch.zeros(channels, count, dtype=torch.float64)
    places = max(0, rows.shape[1] - lookback - reach + 1)
    ends = lookback + torch.arange(0, places, max(1, -(-places * len(rows) // MOST_WINDOWS)))
    if not count or len(ends) < 2 * count:
        return Effect(none, {})
    done = ends + reach
    block = [(ends >= a) & (done <= b) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
    within = torch.stack([*block, ~torch.stack(block).any(0)]).double()  # the last: windows that straddle an edge
    effect = none
    for _ in range(TURNS):
        weights = _ridge(rows - effect_at(future, effect), ends, lookback, steps)
        sums = _sums(weights, rows, future, ends, steps, within)
        whole = _Sums(*(each.sum(0) for each in sums))
        effect = _solve(whole, channels, own=True)
    losses: dict[str, list[float]] = {"none": [], "shared": [], "own": []}
    for j in range(1, len(block)):
        known, score = _Sums(*(each[:j].sum(0) for each in sums)), _Sums(*(each[j] for each in sums))
        if float(known.squares.sum()) <= 0 or float(score.squares.sum()) <= 0:
            continue
        tried = {"none": none, "shared": _solve(known, channels, own=False), "own": _solve(known, channels, own=True)}
        for name, each in tried.items():
            losses[name].append(_loss(score, each))
    best = "none"
    for name in ("shared", "own"):
        difference = torch.tensor(losses[name], dtype=torch.float64) - torch.tensor(losses[best], dtype=torch.float64)
        if len(difference) > 1 and difference.mean() + difference.std() / len(difference) ** 0.5 < 0:
            best = name
    return Effect(none if best == "none" else _solve(whole, channels, own=best == "own"), losses)


def _windows(values: Tensor, ends: Tensor, lookback: int, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Return windows less their mean, ``(s, n, l)``, and what followed less the same mean, ``(s, n, f)``."""
    cut = values.unfold(1, lookback, 1)[:, ends - lookback]
    enough = 2 * (~cut.isnan()).sum(-1) >= lookback
    mean = torch.where(enough, cut.nanmean(-1), float("nan"))  # with fewer rows, nothing that followed counts
    after = values[:, (ends[:, None] + steps).flatten()].unflatten(1, (len(ends), len(steps)))
    return (cut - mean[..., None]).nan_to_num(0.0), after - mean[..., None]


def _spread(inputs: Tensor) -> Tensor:
    """Return the spread ``(s, n)`` of centred windows; a window counts with its square root, as in every ridge."""
    return inputs.square().mean(-1).sqrt().clamp_min(SPREAD_FLOOR)


def _ridge(rows: Tensor, ends: Tensor, lookback: int, steps: Tensor) -> Tensor:
    """Return weights ``(f, l)`` of one ridge for all streams."""
    inputs, after = _windows(rows, ends, lookback, steps)
    spread = _spread(inputs)[..., None]
    x, y = inputs / spread.sqrt(), (after / spread).clamp(-FARTHEST_TARGET, FARTHEST_TARGET) * spread.sqrt()
    complete = ~y.isnan().any(-1)
    x, y = x[complete], y[complete]
    gram = x.T @ x
    held = RIDGE_PENALTY * gram.diagonal().mean().clamp_min(1e-12) * torch.eye(lookback, dtype=torch.float64)
    return torch.linalg.solve(gram + held, x.T @ y).T


def _sums(weights: Tensor, rows: Tensor, future: Tensor, ends: Tensor, steps: Tensor, within: Tensor) -> _Sums:
    """Return sums over windows, ``within`` ``(k, n)`` blocks, of what ``weights`` leave over of rows and of covariates."""
    lookback, (b, _, x) = weights.shape[1], future.shape
    inputs, after = _windows(rows, ends, lookback, steps)
    spread = _spread(inputs)[..., None]
    error = ((after - inputs @ weights.T) / spread).clamp(-FARTHEST_TARGET, FARTHEST_TARGET) * spread.sqrt()  # s n f
    there = ~error.isnan()
    error = error.nan_to_num(0.0)
    seen, ahead = _windows(future.double().nan_to_num(0.0).mT.reshape(b * x, -1), ends, lookback, steps)
    left = (ahead - seen @ weights.T).unflatten(0, (b, x)).repeat_interleave(len(rows) // b, 0)  # s x n f
    left = left * (there / spread.sqrt())[:, None]
    gram = torch.einsum("sxnf,synf,kn->ksxy", left, left, within)
    return _Sums(
        gram, torch.einsum("sxnf,snf,kn->ksx", left, error, within), torch.einsum("snf,kn->ks", error.square(), within)
    )


def _solve(sums: _Sums, channels: int, *, own: bool) -> Tensor:
    """Return weights ``(c, x)`` of sums over all blocks: shared, or each channel's own held to the shared."""
    gram, goal = (each.unflatten(0, (-1, channels)).sum(0) for each in (sums.gram, sums.goal))
    eye = torch.eye(gram.shape[-1], dtype=torch.float64)
    together = gram.sum(0)
    shared = torch.linalg.solve(together + PENALTY * together.diagonal().mean().clamp_min(1e-12) * eye, goal.sum(0))
    if not own:
        return shared.expand(channels, -1).clone()
    held = OWN_PENALTY * gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-12)[:, None]
    return torch.linalg.solve(gram + held[..., None] * eye, goal + held * shared)


def _loss(sums: _Sums, weights: Tensor) -> float:
    """Return the logarithm of the squared error that is left with weights ``(c, x)``."""
    each = weights.repeat(len(sums.goal) // len(weights), 1)
    left = sums.squares - 2 * (sums.goal * each).sum(-1) + torch.einsum("sxy,sx,sy->s", sums.gram, each, each)
    return float(left.sum().clamp_min(1e-300).log())
