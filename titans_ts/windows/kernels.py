"""How often each of many fixed shapes occurs in a sequence: features of a linear path that need no training.

All 84 kernels of nine weights, six of -1 and three of 2, are used at several dilations. A feature is the share of steps at
which the response of a kernel lies above a threshold. Taken from MiniRocket (arXiv 2012.08791): the kernels, dilations on a
logarithmic scale, thresholds from quantiles of responses to training sequences, shares as features, random subsets of
channels. There, half of the features are computed without padding; here the ends of a sequence are repeated, so that
sequences of any length have all features.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

WEIGHTS = 9
_TRIPLES = list(combinations(range(WEIGHTS), 3))
KERNELS = len(_TRIPLES)  # 84 ways to place three weights of 2 among nine
MOST_DILATIONS = 8
MARGIN = 1e-6  # added to thresholds, in spreads of a channel: a response that equals one up to rounding is not above it
SUMMARIES = 6  # numbers that summary gives a channel


def summary(values: Tensor, lengths: Tensor) -> Tensor:
    """Return mean, spread, least, greatest, first and last of every channel of ``(b, c, t)``, ``(b, 6 c)``.

    The kernels' weights sum to 0, so that they do not see the level of a sequence; this does.
    """
    inside = (torch.arange(values.shape[-1], device=values.device) < lengths[:, None])[:, None]
    kept = values.masked_fill(~inside, 0)
    mean = kept.sum(-1) / lengths[:, None]
    spread = ((kept - mean[..., None]).square() * inside).sum(-1).div(lengths[:, None]).sqrt()
    least, greatest = values.masked_fill(~inside, torch.inf).amin(-1), values.masked_fill(~inside, -torch.inf).amax(-1)
    last = values.gather(-1, (lengths - 1)[:, None, None].expand(-1, values.shape[1], 1))[..., 0]
    return torch.cat([mean, spread, least, greatest, values[..., 0], last], dim=1)


def dilations(length: int) -> tuple[int, ...]:
    """Return steps between the weights of a kernel, on a logarithmic scale up to what a sequence can hold."""
    longest = max((length - 1) / (WEIGHTS - 1), 1.0)
    count = min(MOST_DILATIONS, 2 * max(round(np.log2(longest)), 0) + 1)
    scale = np.floor(2 ** np.linspace(0, np.log2(longest), count) + 1e-9).astype(int)
    return tuple(int(x) for x in np.unique(scale))


class KernelShares(nn.Module):
    """Shares of steps at which kernels, ``dilations`` steps between their weights, respond above ``thresholds`` levels.

    Without dilations there are no features.
    """

    levels: Tensor  # dilations, thresholds, 84
    chosen: Tensor  # dilations, 84, c: 1 for each channel that a kernel sums over
    kernels: Tensor

    def __init__(self, channels: int, *, dilations: Sequence[int], thresholds: int) -> None:
        super().__init__()
        self.dilations, self.thresholds = tuple(dilations), thresholds
        kernels = torch.full((KERNELS, WEIGHTS), -1.0)
        for row, triple in zip(kernels, _TRIPLES, strict=True):
            row[list(triple)] = 2.0
        self.register_buffer("kernels", kernels, persistent=False)
        self.register_buffer("levels", torch.zeros(len(self.dilations), thresholds, KERNELS))
        self.register_buffer("chosen", torch.ones(len(self.dilations), KERNELS, channels))

    @property
    def features(self) -> int:
        """Numbers that describe a sequence."""
        return self.levels.numel()

    @torch.no_grad()
    def learn(self, values: Tensor, lengths: Tensor, chance: np.random.Generator) -> None:
        """Draw channels by chance, and take thresholds from the responses to some sequences ``(b, c, t)``.

        The thresholds of each kernel and dilation are quantiles of its response to one sequence, drawn by chance.
        """
        channels = values.shape[1]
        for place, dilation in enumerate(self.dilations):
            if channels > 1:
                self.chosen[place] = torch.from_numpy(_subsets(channels, chance)).to(self.chosen)
            drawn = chance.integers(len(values), size=KERNELS)
            where = np.sort(chance.uniform(size=(KERNELS, self.thresholds)), axis=1)
            for one in np.unique(drawn):  # one by one, so that one long sequence does not pad all others
                own = lengths[one : one + 1]
                responses = self._responses(values[one : one + 1, :, : int(own)], own, place, dilation)[0].double()
                for kernel in np.flatnonzero(drawn == one):
                    levels = np.quantile(responses[kernel].numpy(), where[kernel])
                    self.levels[place, :, kernel] = torch.from_numpy(levels + MARGIN).to(self.levels)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Map ``(b, c, t)``, of which the first ``lengths`` steps count, to ``(b, features)``."""
        outside = (torch.arange(values.shape[-1], device=values.device) >= lengths[:, None])[:, None]
        found = []
        for place, dilation in enumerate(self.dilations):
            responses = self._responses(values, lengths, place, dilation).masked_fill(outside, -torch.inf)
            for levels in self.levels[place]:
                above = (responses > levels[:, None].to(values.dtype)).sum(-1)
                found.append(above.to(values.dtype) / lengths[:, None])
        return torch.cat(found, dim=1) if found else values.new_zeros(len(values), 0)

    def _responses(self, values: Tensor, lengths: Tensor, place: int, dilation: int) -> Tensor:
        """Return responses ``(b, 84, t)``; past its ends a sequence repeats its first or last value."""
        reach = dilation * (WEIGHTS // 2)
        steps = torch.arange(-reach, values.shape[-1] + reach, device=values.device).clamp_min(0)
        last = (lengths[:, None] - 1).minimum(steps)[:, None].expand(-1, values.shape[1], -1)
        around = values.gather(-1, last).unfold(-1, values.shape[-1], dilation)  # b c 9 t
        weights = self.chosen[place][..., None] * self.kernels[:, None]  # 84 c 9
        return weights.flatten(1).to(values.dtype) @ around.flatten(1, 2)


def _subsets(channels: int, chance: np.random.Generator) -> NDArray[np.float64]:
    """Return a random subset of channels for each kernel, ``(84, c)``; small subsets as often as large ones."""
    found = np.zeros((KERNELS, channels))
    for row in found:
        size = int(2 ** chance.uniform(0, np.log2(min(channels, WEIGHTS) + 1)))
        row[chance.choice(channels, size=size, replace=False)] = 1
    return found
