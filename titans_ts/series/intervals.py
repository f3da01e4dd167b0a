"""What is asked of a forecast beside its point: intervals of a level in percent, and quantiles.

A model with a base gives any; one of an older version those between the quantiles that it learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

TOLERANCE = 1e-9
"""Difference of two shares that counts as none."""


class Asked(NamedTuple):
    """What is asked beside the point."""

    levels: tuple[float, ...] = ()  # in percent
    quantiles: tuple[float, ...] = ()  # shares

    @classmethod
    def checked(
        cls,
        level: float | Sequence[float] | None,
        quantiles: float | Sequence[float] | None,
        learned: tuple[float, ...] | None = None,
    ) -> Asked:
        """Return what a user asks for; what is out of range, or beyond learned quantiles if there are any, is refused."""
        return cls(check_levels(level, learned), check_quantiles(quantiles, learned))

    @property
    def shares(self) -> tuple[float, ...]:
        """Which quantiles are asked for in all: the two ends of each level, and then the others."""
        return (*((1 + side * level / 100) / 2 for level in self.levels for side in (-1, 1)), *self.quantiles)

    def parted(self, values: np.ndarray) -> tuple[dict[float, tuple[np.ndarray, np.ndarray]], dict[float, np.ndarray]]:
        """Return bounds by level and quantiles by share, of values ``(..., s)`` at :attr:`shares`.

        >>> Asked((80.0,), (0.3,)).parted(np.array([[1.0, 2.0, 3.0]]))
        ({80.0: (array([1.]), array([2.]))}, {0.3: array([3.])})
        """
        ends = 2 * len(self.levels)
        bounds = {level: (values[..., 2 * i], values[..., 2 * i + 1]) for i, level in enumerate(self.levels)}
        return bounds, {share: values[..., ends + i] for i, share in enumerate(self.quantiles)}


def check_levels(level: float | Sequence[float] | None, learned: tuple[float, ...] | None = None) -> tuple[float, ...]:
    """Return levels in percent, each once; one that is no percentage, or reaches beyond the learned quantiles, is refused.

    >>> check_levels([80], (0.1, 0.5, 0.9))
    (80.0,)
    """
    levels = _numbers(level, "level must be a number or a list of numbers, in percent", "for example level=[80]")
    widest = 100.0 if learned is None else 100 * min(1 - 2 * learned[0], 2 * learned[-1] - 1)
    for one in levels:
        if 0 < one < 1:
            raise ValueError(f"level={one:g} is less than one percent: levels are percentages; did you mean {100 * one:g}?")
        if not 0 < one < 100:
            raise ValueError(f"level must be percentages between 0 and 100, got {one:g}; for example level=[80]")
        if one > widest + 1e-6:
            tail = (1 - one / 100) / 2
            raise ValueError(
                f"level={one:g} is wider than the learned quantiles reach ({max(widest, 0):g} %): fit with quantiles that "
                f"include {tail:g} and {1 - tail:g}"
            )
    return levels


def check_quantiles(
    quantiles: float | Sequence[float] | None, learned: tuple[float, ...] | None = None
) -> tuple[float, ...]:
    """Return quantiles, each once; one that is no share, or lies beyond the learned ones, is refused.

    >>> check_quantiles([0.3, 0.9], (0.1, 0.5, 0.9))
    (0.3, 0.9)
    """
    shares = _numbers(
        quantiles, "quantiles must be a number or a list of numbers between 0 and 1", "for example quantiles=[0.1, 0.9]"
    )
    for one in shares:
        if 1 <= one < 100:
            raise ValueError(f"quantiles must lie between 0 and 1, got {one:g}; did you mean {one / 100:g}?")
        if not 0 < one < 1:
            raise ValueError(f"quantiles must lie between 0 and 1, got {one:g}; for example quantiles=[0.1, 0.9]")
        if learned is not None and not learned[0] - TOLERANCE < one < learned[-1] + TOLERANCE:
            raise ValueError(
                f"quantiles: {one:g} lies beyond those learned ({learned[0]:g} to {learned[-1]:g}): fit with quantiles that "
                f"include {one:g}"
            )
    return shares


def _numbers(values: float | Sequence[float] | None, expected: str, example: str) -> tuple[float, ...]:
    """Return what is a number, or several, without repetitions; anything else is refused."""
    if values is None:
        return ()
    try:
        found = np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        found = np.empty((0, 0))
    if found.ndim != 1:
        raise ValueError(f"{expected}, got {values!r}; {example}")
    return tuple(dict.fromkeys(found.tolist()))


def quantiles_at(quantiles: np.ndarray, learned: tuple[float, ...], shares: Sequence[float]) -> np.ndarray:
    """Return the quantiles of some shares ``(..., s)``, interpolated between quantiles ``(..., q)`` of increasing shares.

    >>> quantiles_at(np.array([[1.0, 2.0, 4.0]]), (0.1, 0.5, 0.9), [0.3, 0.7])
    array([[1.5, 3. ]])
    """
    known = np.asarray(learned)

    def at(share: float) -> np.ndarray:
        right = int(np.clip(np.searchsorted(known, share - TOLERANCE), 1, len(known) - 1)) if len(known) > 1 else 0
        if len(known) == 1 or abs(known[right] - share) < TOLERANCE:
            return quantiles[..., right]
        weight = (share - known[right - 1]) / (known[right] - known[right - 1])
        weight = min(max(weight, 0.0), 1.0)
        return (1 - weight) * quantiles[..., right - 1] + weight * quantiles[..., right]

    return np.stack([at(share) for share in shares], axis=-1) if len(shares) else np.empty((*quantiles.shape[:-1], 0))
