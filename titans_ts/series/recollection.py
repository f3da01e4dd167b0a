"""A second memory: what the forecast got wrong the last time the series looked like this."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from titans_ts.blocks.layers import unit_length
from titans_ts.blocks.switches import OfThisThread
from titans_ts.memory.neural_memory import in_full_precision
from titans_ts.ops import Gates, StoreState, WriteRule, memory_chunked
from titans_ts.ops.rule import LOG_FLOOR
from titans_ts.series.tensors import Lookback

HEADS = 2
"""Looks of different length: one at the last few patches, one at the whole look-back."""
SHORTEST_LOOK = 4
"""Patches that the first of them sees."""
SHARPNESS = 1.25
"""How fast keys grow unlike as look-backs do: the standard deviation of a feature's phase over look-backs."""
LARGEST_ERROR = 5.0
"""The memory learns errors up to this many spreads of the look-back, a row; larger ones are cut."""
STEP_START, TRUST_START = -0.5, 0.1
"""Logit of the step size, and trust, where training starts."""
GATE_WIDTH = 16
"""Inner width of the network that decides, by how loud each patch is, how strongly it is written and heard."""
QUIET = 1e-2
"""Mean square, on a look-back's scale, under which patches are equally quiet."""


class RecollectionCarry(NamedTuple):
    """The memory, and the last ``m`` patches, which wait until the rows that were forecast from them are there."""

    memory: Tensor  # b h d (c f)
    keys: Tensor  # b h m d
    log_steps: Tensor  # b h m, the step size with which each will be written
    expected: Tensor  # b c m f, what was forecast then, on the long-run scale
    spread: Tensor  # b c m, of the look-backs then
    said: Tensor  # b c f, what was recollected at the last patch, on the long-run scale


class Recollection(nn.Module):
    """A linear memory that maps how a look-back looks to the error of the forecast that followed it.

    A key of ``features`` numbers and length 1 is ``cos(W x + b)`` of the look-back. A value is the forecast's error over the
    horizon, on the look-back's scale, before anything recollected is added; it is written once its last row is there, by the
    delta rule ``M_t = M_{t-1} - theta (M_{t-1} k - v) k`` with steps below 1. The memory starts at zero, and recollects
    nothing before :meth:`open`. Between two patches the recollection of the last one holds. ``trust`` ``(h, f)`` is the
    share that is added to the forecast; ``silent`` adds nothing, but writes.
    (arXiv 2501.00663, equations 8 to 15; 2406.06484 for the rule; Rahimi and Recht, NeurIPS 2007, for the features.)
    """

    silent = OfThisThread(default=False)

    def __init__(self, lookback: int, horizon: int, patch_length: int, *, features: int, channels: int = 1) -> None:
        super().__init__()
        self.patch_length, self.horizon, self.channels, self.features = patch_length, horizon, channels, features
        self.patches = lookback // patch_length
        self.foretold = min(horizon, self.patches * patch_length)
        self.waiting = -(-self.foretold // patch_length)
        self.rule = WriteRule(loss_factor=1.0, write_bound=2 * LARGEST_ERROR * (channels * self.foretold) ** 0.5)
        first = min(SHORTEST_LOOK * patch_length, lookback)
        self.looks = [round(first * (lookback / first) ** (i / (HEADS - 1))) for i in range(HEADS)]
        self.features_of = nn.ModuleList(RandomFeatures(channels * rows, features) for rows in self.looks)
        gates = nn.Linear(GATE_WIDTH, 2 * HEADS)
        nn.init.zeros_(gates.weight)
        with torch.no_grad():
            gates.bias.copy_(torch.tensor([STEP_START] * HEADS + [0.0] * HEADS))
        self.gates = nn.Sequential(nn.Linear(self.patches, GATE_WIDTH), nn.SiLU(), gates)
        self.trust = nn.Parameter(torch.zeros(HEADS, self.foretold))

    @torch.no_grad()
    def open(self) -> None:
        """Trust recollections a little, so that training can begin."""
        self.trust.fill_(TRUST_START)

    def initial_state(self, batch: int) -> RecollectionCarry:
        """Return the carry before the first patch."""
        like = self.trust
        features, wide = self.features, self.channels * self.foretold
        return RecollectionCarry(
            memory=like.new_zeros(batch, HEADS, features, wide),
            keys=like.new_zeros(batch, HEADS, self.waiting, features),
            log_steps=like.new_full((batch, HEADS, self.waiting), LOG_FLOOR),
            expected=like.new_zeros(batch, self.channels, self.waiting, self.foretold),
            spread=like.new_ones(batch, self.channels, self.waiting),
            said=like.new_zeros(batch, self.channels, self.foretold),
        )

    def forward(
        self, lookback: Lookback, point: Tensor, state: RecollectionCarry, ahead: Tensor | None = None
    ) -> tuple[Tensor, RecollectionCarry]:
        """Write what has become known, and return what to add to a forecast, ``(b, c, n, f)``, and the next carry.

        ``point`` ``(b, c, n, f)`` is the forecast at ``n`` patch ends, on the look-back's scale; or at one place ``ahead``
        ``(b,)`` rows after the last, and the carry is then without meaning.
        """
        with in_full_precision(lookback.values):
            said, after = self._read_patches(lookback, point.to(lookback.values.dtype), state)
        if ahead is not None:
            between = self._moved(state.said, ahead)[:, :, None]
            said = torch.where((ahead > 0)[:, None, None, None], between, said)
        said = said / lookback.spread[..., None]
        if self.silent:
            said = torch.zeros_like(said)
        return nn.functional.pad(said, (0, self.horizon - self.foretold)), after

    def _read_patches(self, lookback: Lookback, point: Tensor, state: RecollectionCarry) -> tuple[Tensor, RecollectionCarry]:
        """Return what is recollected at the ends of patches, ``(b, c, n, f)`` on the long-run scale, and the carry."""
        keys, (log_steps, heard) = self._keys(lookback), self._gates(lookback)
        expected = (point[..., : self.foretold] * lookback.spread[..., None] + lookback.level[..., None]).detach()
        n, wait = keys.shape[2], self.waiting
        all_keys = torch.cat([state.keys, keys], dim=2)
        all_steps = torch.cat([state.log_steps, log_steps], dim=2)
        all_expected = torch.cat([state.expected, expected], dim=2)
        all_spread = torch.cat([state.spread, lookback.spread], dim=2)
        values, known = self._errors(lookback, all_expected[:, :, :n], all_spread[:, :, :n])
        gates = Gates(torch.where(known[:, None], all_steps[:, :, :n], LOG_FLOOR))
        values = values.transpose(1, 2).flatten(2)[:, None].expand(-1, HEADS, -1, -1)
        start = StoreState((state.memory,), None, (state.memory,), 0)
        read, store = memory_chunked(keys, all_keys[:, :, :n], values, gates, self.rule, start)
        read = read.unflatten(-1, (self.channels, self.foretold))
        said = torch.einsum("bhncf,hf,bhn->bcnf", read, self.trust, heard) * lookback.spread[..., None]
        waiting = (x[:, :, -wait:] for x in (all_keys, all_steps, all_expected, all_spread))
        return said, RecollectionCarry._make((store.weights[0], *waiting, said[:, :, -1]))

    def _keys(self, lookback: Lookback) -> Tensor:
        """Return keys ``(b, h, n, d)``."""
        seen = lookback.values.transpose(1, 2)
        looks = zip(self.features_of, self.looks, strict=True)
        return unit_length(torch.stack([features(seen[..., -rows:].flatten(2)) for features, rows in looks], dim=1))

    def _gates(self, lookback: Lookback) -> tuple[Tensor, Tensor]:
        """Return the log of the step size and how much is heard of a reading, by how loud the look-back's patches are."""
        loud = lookback.values[..., -self.patches * self.patch_length :].unflatten(-1, (self.patches, -1)).square()
        found = self.gates((loud.mean(dim=(1, 4)) + QUIET).log()).transpose(1, 2)
        return nn.functional.logsigmoid(found[:, :HEADS]), 2 * found[:, HEADS:].sigmoid()

    def _errors(self, lookback: Lookback, expected: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Return the errors of the forecasts whose rows are there now, and whether all of them are, ``(b, n)``."""
        rows = slice(-self.waiting * self.patch_length, None)
        came = lookback.values[..., rows][..., : self.foretold] * lookback.spread[..., None] + lookback.level[..., None]
        known = lookback.observed[..., rows][..., : self.foretold].amin(dim=(1, 3)) > 0
        return ((came - expected) / spread[..., None]).clamp(-LARGEST_ERROR, LARGEST_ERROR), known

    def _moved(self, said: Tensor, ahead: Tensor) -> Tensor:
        """Return ``(b, c, f)`` moved forward by ``ahead`` rows, zeros at its end."""
        place = torch.arange(self.foretold, device=said.device) + ahead[:, None]
        moved = said.gather(-1, place.clamp_max(self.foretold - 1)[:, None].expand_as(said))
        return torch.where((place < self.foretold)[:, None], moved, 0)


class RandomFeatures(nn.Module):
    """``cos(W x + b)``, as drawn: look-backs of variance 1 are told apart as a Gaussian kernel does."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, inputs) * (SHARPNESS / math.sqrt(inputs)))
        self.bias = nn.Parameter(torch.rand(features) * 2 * math.pi)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., inputs)`` to ``(..., features)``."""
        return nn.functional.linear(x, self.weight, self.bias).cos()
