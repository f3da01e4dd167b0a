"""Where a stream ends: the extremes that it stays at, and zero where it never changes its sign.

Rain is never negative and humidity stops at 100: quantiles of such streams must stop there too. An extreme of all rows is
a bound where rows equal it often enough; a low pressure or a record does not, and is passed by the next one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

OFTEN = 0.02
"""Share of the rows that must equal an extreme for it to be a bound."""
FEWEST = 3
"""Fewest such rows."""


class BoundsCarry(NamedTuple):
    """What a stream keeps, float64: 40 bytes."""

    extremes: Tensor  # s 2, smallest and largest row, NaN before the first
    touched: Tensor  # s 2, rows that equal them
    heard: Tensor  # s, rows


def initial(streams: int) -> BoundsCarry:
    """Return what streams ``s`` without a row keep."""
    none = torch.zeros(streams, 2, dtype=torch.float64)
    return BoundsCarry(torch.full_like(none, float("nan")), none, none[:, 0].clone())


def read(rows: Tensor, carry: BoundsCarry, *, ends: Tensor, zero: Tensor) -> tuple[Tensor, BoundsCarry]:
    """Return the bounds ``(s, n, 2)`` after ``ends`` ``(n,)`` of the rows ``(s, t)``, infinite where none is, and the carry.

    ``ends`` do not decrease; ``zero`` ``(s,)`` is where the user's zero lies on the scale of the rows.
    """
    found, begin = [], 0
    for end in ends.tolist():
        carry, begin = _after(rows[:, begin:end], carry), end
        found.append(bounds(carry, zero=zero))
    carry = _after(rows[:, begin:], carry)
    return torch.stack(found, 1) if found else rows.new_zeros(len(rows), 0, 2), carry


def bounds(carry: BoundsCarry, *, zero: Tensor) -> Tensor:
    """Return the bounds ``(s, 2)`` that a carry knows."""
    extremes, zero = carry.extremes, zero[:, None]
    often = carry.touched >= torch.maximum(OFTEN * carry.heard, carry.heard.new_tensor(FEWEST))[:, None]
    side = extremes.new_tensor([-1.0, 1.0])
    one_sign = (side * (extremes - zero) <= 0) & (carry.heard > 0)[:, None]
    return torch.where(often, extremes, torch.where(one_sign, zero, side * float("inf")))


def within(values: Tensor, found: Tensor) -> Tensor:
    """Return values ``(s, n, ...)`` that stop at bounds ``(s, n, 2)``."""
    low, high = (x.reshape(*x.shape, *[1] * (values.ndim - 2)) for x in found.unbind(-1))
    return torch.maximum(torch.minimum(values, high), low)


def _after(rows: Tensor, carry: BoundsCarry) -> BoundsCarry:
    """Return the carry after rows ``(s, t)``, NaN where they are missing."""
    if not rows.shape[1]:
        return carry
    values = rows.numpy()
    known = ~np.isnan(values)
    both = np.stack([np.where(known, values, np.inf).min(1), np.where(known, values, -np.inf).max(1)], 1)
    before = carry.extremes.numpy()
    both[~known.any(1)] = np.nan
    extremes = np.stack([np.fmin(before[:, 0], both[:, 0]), np.fmax(before[:, 1], both[:, 1])], 1)
    touched = np.where(extremes == before, carry.touched.numpy(), 0.0) + (values[..., None] == extremes[:, None]).sum(1)
    return BoundsCarry(torch.from_numpy(extremes), torch.from_numpy(touched), carry.heard + torch.from_numpy(known.sum(1)))
