"""How much of the memory's correction to use: as much as validation can tell from luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

SHARES = tuple(tenth / 10 for tenth in range(11))
"""Shares of the correction that validation chooses from."""
OVERLAP = 0.25
"""Correlation of the mean errors of neighbouring blocks: origins k rows apart share ``1 - k / horizon`` of their rows, which
integrates to 2/3 within a block and to 1/6 between neighbours."""


@dataclass(frozen=True)
class MemoryGain:
    """How much of the memory's correction is used, and what it takes off the error without it, on validation."""

    share: float  # of the correction that is used, 0 to 1
    gain: float  # part of that error that this share takes off
    best_gain: float  # the same, of the share with the least error
    standard_error: float | None  # of best_gain, over blocks; None with fewer than two
    blocks: int  # as long as the horizon, over all series; where sequences are learned from, validation sequences


def memory_gain(errors: Tensor, *, caution: float, shares: Sequence[float] = SHARES, overlap: float = OVERLAP) -> MemoryGain:
    """Choose how much of the correction to use, of ``errors`` ``(shares, blocks)``, the first row with none of it.

    The least error on a few blocks is easily luck. So the smallest share is taken whose gain is within ``caution``
    standard errors of the best: half a share keeps three quarters of a right correction's gain, and a wrong one's harm
    grows with the square. ``overlap`` is the correlation of the errors of neighbouring blocks, and any two count as such; 0
    where they are independent. (The one-standard-error rule of paired differences: Breiman, Friedman, Olshen, Stone:
    Classification and Regression Trees, 1984, section 3.4.3.)
    """
    gains = (errors[:1] - errors).double()
    n = gains.shape[1]
    if not n:
        return MemoryGain(0.0, 0.0, 0.0, None, 0)
    direct = max(float(errors[0].double().mean()), 1e-300)
    means = gains.mean(1)
    best = int(means.argmax())
    spread = None
    if n > 1:
        shrunk, grown = 1 - 2 * overlap / n, 1 + 2 * overlap * (n - 1) / n  # variance in the sample, and of its mean
        spread = float(gains[best].std()) * (grown / shrunk / n) ** 0.5
    given_up = 0.0 if not caution else float("inf") if spread is None else caution * spread
    chosen = int((means >= max(float(means[best]) - given_up, 0.0)).nonzero()[0])
    return MemoryGain(
        share=shares[chosen],
        gain=float(means[chosen]) / direct,
        best_gain=float(means[best]) / direct,
        standard_error=None if spread is None else spread / direct,
        blocks=n,
    )


def by_stretch(errors: Tensor, heard: Tensor, length: int) -> Tensor:
    """Return the mean errors of stretches of ``length`` boundaries, of ``errors`` ``(s, n)``, sums over ``heard`` truths.

    Stretches without a truth are left out. What is to be judged over all streams at once is added up before.

    >>> import torch
    >>> by_stretch(torch.tensor([[1.0, 3.0, 5.0]]), torch.tensor([[1, 1, 2]]), 2)
    tensor([2.0000, 2.5000])
    """
    pad = (0, -errors.shape[1] % length)
    total, count = (F.pad(x, pad).unflatten(1, (-1, length)).sum(2) for x in (errors, heard))
    return (total / count.clamp_min(1))[count > 0]
