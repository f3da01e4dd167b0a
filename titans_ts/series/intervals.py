"""Learned quantiles as intervals of a level in percent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TOLERANCE = 1e-9
"""Difference of two shares that counts as none."""


def check_levels(level: float | Sequence[float] | None, quantiles: tuple[float, ...]) -> tuple[float, ...]:
    """Return levels in percent; one that is no percentage, or reaches beyond the learned quantiles, is refused.

    >>> check_levels([80], (0.1, 0.5, 0.9))
    (80.0,)
    """
    if level is None:
        return ()
    try:
        levels = tuple(np.atleast_1d(np.asarray(level, dtype=np.float64)).tolist())
    except (TypeError, ValueError):
        levels = ()
    if np.ndim(levels) != 1 or (np.size(level) and not levels):
        raise ValueError(f"level must be a number or a list of numbers, in percent, got {level!r}; for example level=[80]")
    widest = 100 * min(1 - 2 * quantiles[0], 2 * quantiles[-1] - 1)
    for one in levels:
        if not 0 < one < 100:
            raise ValueError(f"level must be percentages between 0 and 100, got {one:g}; for example level=[80]")
        if one > widest + 1e-6:
            tail = (1 - one / 100) / 2
            raise ValueError(
                f"level={one:g} is wider than the learned quantiles reach ({max(widest, 0):g} %): fit with quantiles that "
                f"include {tail:g} and {1 - tail:g}"
            )
    return levels


def interval_bounds(
    quantiles: np.ndarray, shares: tuple[float, ...], levels: Sequence[float]
) -> dict[float, tuple[np.ndarray, np.ndarray]]:
    """Return lower and upper bounds of each level, interpolated between quantiles ``(..., q)`` at increasing ``shares``.

    >>> interval_bounds(np.array([[1.0, 2.0, 4.0]]), (0.1, 0.5, 0.9), [40])
    {40: (array([1.5]), array([3.]))}
    """
    known = np.asarray(shares)

    def at(share: float) -> np.ndarray:
        right = int(np.clip(np.searchsorted(known, share - TOLERANCE), 1, len(known) - 1)) if len(known) > 1 else 0
        if len(known) == 1 or abs(known[right] - share) < TOLERANCE:
            return quantiles[..., right]
        weight = (share - known[right - 1]) / (known[right] - known[right - 1])
        weight = min(max(weight, 0.0), 1.0)
        return (1 - weight) * quantiles[..., right - 1] + weight * quantiles[..., right]

    return {level: (at((1 - level / 100) / 2), at((1 + level / 100) / 2)) for level in levels}
