"""Which candidates a stream prefers: weights of its own, moved while it is read by what each candidate got wrong.

The weights of the panel are where a stream begins. At every boundary the errors that have become known move the logarithms
of its weights against their slope: exponentiated gradient on the simplex, with sums that fade. A stream that is like all
others stays where it began.

Source: Kivinen and Warmuth, Exponentiated gradient versus gradient descent for linear predictors, Information and
Computation 132 (1997), equation 3.1, here of the absolute loss.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from titans_ts.learn.acceptance import by_stretch, memory_gain

MOST_STEPS = 6
"""Steps of the horizon whose errors are heard, at most."""
LARGEST = 10.0
"""Errors count as at most so many sizes."""
PACES = (0.0, 0.03, 0.1, 0.3)
"""How fast weights move; ``learn`` judges, and 0 leaves them where they are."""
HALF_LIFE = 200.0
"""Boundaries after which what was heard counts half."""


class PreferenceCarry(NamedTuple):
    """What a stream keeps, float64; ``w`` boundaries wait for their last truth."""

    slopes: Tensor  # s k, fading sums of slopes of the loss
    waiting: Tensor  # s w k j, what each candidate expected
    sizes: Tensor  # s w, the unit of the errors then; 0 where nothing was expected


def heard_steps(horizon: int) -> Tensor:
    """Return the steps ``(j,)``, from 1, whose errors are heard; the last one is the horizon.

    >>> heard_steps(96), heard_steps(4)
    (tensor([16, 32, 48, 64, 80, 96]), tensor([1, 2, 3, 4]))
    """
    count = min(MOST_STEPS, horizon)
    return torch.arange(1, count + 1) * horizon // count


def waits_of(horizon: int, patch_length: int) -> int:
    """Return how many boundaries pass until all that a forecast foretold is known."""
    return -(-horizon // patch_length)


def initial(streams: int, candidates: int, horizon: int, patch_length: int) -> PreferenceCarry:
    """Return what streams without a boundary keep."""
    waits = waits_of(horizon, patch_length)

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(streams, *shape, dtype=torch.float64)

    return PreferenceCarry(zeros(candidates), zeros(waits, candidates, len(heard_steps(horizon))), zeros(waits))


def read(
    mixing: Tensor,
    pace: float,
    rows: Tensor,
    ends: Tensor,
    expected: Tensor,
    size: Tensor,
    carry: PreferenceCarry,
    *,
    patch_length: int,
) -> tuple[Tensor, PreferenceCarry]:
    """Hear at each of the next boundaries what has become known.

    Parameters
    ----------
    mixing : Tensor ``(k, f)``
        The panel's weights.
    pace : float
        How fast weights move.
    rows : Tensor ``(s, t)``
        Rows on the long-run scale, NaN where missing, from ``w`` patches before the first boundary on.
    ends : Tensor ``(n,)``
        How many rows of the call come before each boundary, one patch apart.
    expected : Tensor ``(s, n, k, j)``
        What each candidate expects at the heard steps from each boundary; NaN where nothing.
    size : Tensor ``(s, n)``
        Unit of the errors there.
    carry : PreferenceCarry
        What the last call returned.
    patch_length : int
        Rows between two boundaries.

    Returns
    -------
    slopes : Tensor ``(s, n + 1, k)``
        The sums before the first boundary, and after each.
    carry : PreferenceCarry
        For the next boundaries.
    """
    steps, waits, n = heard_steps(mixing.shape[1]), carry.waiting.shape[1], len(ends)
    known = (size > 0) & expected.isfinite().all(-1).all(-1)
    waiting = torch.cat([carry.waiting, torch.where(known[..., None, None], expected, 0.0)], dim=1)
    sizes = torch.cat([carry.sizes, torch.where(known, size, 0.0)], dim=1)
    place = ends[:, None] - waits * patch_length + steps - 1  # n j
    there = place >= 0
    truth = torch.where(there, rows[:, torch.where(there, place, 0)], float("nan"))
    unit = sizes[:, :n, None]
    error = (waiting[:, :n] - truth[:, :, None]) / torch.where(unit > 0, unit, float("nan"))[..., None]
    error = error.clamp(-LARGEST, LARGEST)  # s n k j
    heard = ~error.isnan().any(2)  # s n j
    error = torch.where(heard[:, :, None], error, 0.0)
    count = heard.sum(-1, keepdim=True).clamp_min(1)
    fade, at_steps = 0.5 ** (1 / HALF_LIFE), mixing[:, steps - 1]
    found = torch.empty(len(rows), n + 1, len(mixing), dtype=torch.float64)
    found[:, 0] = slopes = carry.slopes
    for i in range(n):
        mine = weights_of(at_steps, pace, slopes)  # s k j
        missed = (error[:, i] * mine).sum(1, keepdim=True)
        slope = error[:, i] * missed.sign()
        slope = ((slope - (slope * mine).sum(1, keepdim=True)) / count[:, i, None]).sum(-1)
        found[:, i + 1] = slopes = fade * slopes + slope
    return found, PreferenceCarry(slopes, waiting[:, n:].clone(), sizes[:, n:].clone())


def weights_of(mixing: Tensor, pace: float, slopes: Tensor) -> Tensor:
    """Return the weights ``(..., k, f)`` of streams whose sums of slopes are ``(..., k)``."""
    if not pace:
        return mixing.expand(*slopes.shape[:-1], *mixing.shape)
    moved = -pace * slopes
    tilted = mixing * (moved - moved.amax(-1, keepdim=True)).exp()[..., None]
    return tilted / tilted.sum(-2, keepdim=True).clamp_min(1e-300)


def learn(
    mixing: Tensor, rows: Tensor, ends: Tensor, expected: Tensor, size: Tensor, *, patch_length: int, caution: float = 1.0
) -> float:
    """Return the pace that does best forward in time on what candidates foretold out of block.

    ``rows`` ``(s, t)`` begin with every stream's first, ``ends`` ``(n,)`` are all boundaries, ``expected``
    ``(s, n, k, j)`` is NaN where a candidate has no forecast. A slower pace is taken where its gain comes within ``caution``
    standard errors.
    """
    waits = waits_of(mixing.shape[1], patch_length)
    if len(mixing) < 2 or len(ends) <= waits:
        return PACES[0]
    steps = heard_steps(mixing.shape[1])
    place = ends[:, None] + steps - 1
    there = place < rows.shape[1]
    truth = torch.where(there, rows[:, torch.where(there, place, 0)], float("nan"))
    error = ((expected - truth[:, :, None]) / size[..., None, None]).clamp(-LARGEST, LARGEST)
    heard = ~error.isnan().any(2)
    known = torch.nn.functional.pad(rows, (waits * patch_length, 0), value=float("nan"))
    start = initial(len(rows), len(mixing), mixing.shape[1], patch_length)
    given = known, ends + waits * patch_length, expected, size, start
    losses = []
    for pace in PACES:
        slopes, _ = read(mixing, pace, *given, patch_length=patch_length)
        missed = (error * weights_of(mixing[:, steps - 1], pace, slopes[:, 1:])).sum(2).abs()
        missed, count = (x.sum((0, -1))[None] for x in (torch.where(heard, missed, 0.0), heard))  # over all streams
        losses.append(by_stretch(missed, count, waits))
    return memory_gain(torch.stack(losses), caution=caution, shares=PACES).share
