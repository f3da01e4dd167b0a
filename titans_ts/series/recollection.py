"""A second memory: what the forecast got wrong the last time the series looked like this."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
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
LARGEST_ERROR = 10.0
"""The memory learns errors up to this many spreads, a row; larger ones are cut."""
LARGEST_ERROR_WITHOUT_CASES = 5.0
"""The same without cases, as in older files: it cuts a fifteenth off a response that stands out of a quiet look-back."""
LEAST_SPREAD = 1.0
"""Long-run spreads that a look-back counts for at least beside cases: quiet ones are alike, however their noise lies."""
FEATURES_PER_CASE = 2
"""Width of a key of the linear memory for which each look has a case more."""
CASE_WIDTH = 8
"""Whitened directions of a look that tell cases apart: those that vary most, in which noise is least."""
CASE_SCALE = 0.67
"""Distance in which one standard deviation of a direction counts; whatever is nearer than about 1 is alike."""
SAME_CASE = 1.4
"""Squared distance within which a pair joins the case next to it."""
CASE_STEP = 0.1
"""Least weight of a pair that joins a case; until then a case is the mean of its pairs, and later counts as so many."""
CASE_DOUBT = 0.1
"""Weight of saying nothing, where a case of one pair at no distance has 1."""
CASE_WINDOWS = 2_000
"""Look-backs, at most, that directions are taken from."""
CASE_CHUNK = 64
"""Patches whose changes to cases are added up when they are read; changes no answer."""
CASE_SHARPNESS = 2.0
"""How fast what a case says fades with the squared distance from it."""
CASE_HALF_LIFE = 4096.0
"""Patches without a like after which a case counts half beside a new one; it says what it said."""
LONGEST_IDLE = 2.0**20
"""Patches that are counted so."""
TIE = 1e-6
"""Worth is compared in whole multiples of this, so that rounding seldom decides; of equal cases the first goes."""
STEP_START, TRUST_START = -0.5, 0.1
"""Logit of the step size, and trust, where training starts."""
TRUST_BESIDE, TRUST_IN_CASES = 0.02, 0.8
"""The same beside cases, and in them: what both know would else be shared, and what cases alone know be half believed."""
GATE_WIDTH = 16
"""Inner width of the network that decides, by how loud each patch is, how strongly it is written and heard."""
QUIET = 1e-2
"""Mean square, on a look-back's scale, under which patches are equally quiet."""

Floats = NDArray[np.floating[Any]]


class RecollectionCarry(NamedTuple):
    """The memory, and the last ``m`` patches, which wait until the rows that were forecast from them are there."""

    memory: Tensor  # b h d (c f)
    keys: Tensor  # b h m d
    log_steps: Tensor  # b h m, the step size with which each will be written
    expected: Tensor  # b c m f, what was forecast then, on the long-run scale
    spread: Tensor  # b c m, the unit of the errors then
    said: Tensor  # b c m, what was recollected at the last patch, on the long-run scale
    cases: Any = ()  # CasesCarry, where there are cases


class CasesCarry(NamedTuple):
    """The cases, in places that a new one may take, and the keys of the patches that wait."""

    waiting: Tensor  # b h m k
    keys: Tensor  # b h s k, the mean of its pairs
    values: Tensor  # b h s (c m), likewise
    counts: Tensor  # b h s, pairs; 0 where a place is empty
    idle: Tensor  # b h s, patches since the last pair


class Recollection(nn.Module):
    """Memories that map how a look-back looks to the error of the forecast that followed it.

    A value is the forecast's error over the horizon, on the look-back's scale, before anything recollected is added; it is
    written once its last row is there. A linear memory has keys of ``features`` numbers and length 1, ``cos(W x + b)`` of
    the look-back, and the delta rule ``M_t = M_{t-1} - theta (M_{t-1} k - v) k`` with steps below 1. Beside it so many
    ``cases`` are kept apart, see :class:`Cases`. Both start empty, and recollect nothing before :meth:`open`. ``trust`` is
    the share of each that is added to the forecast; ``silent`` adds nothing, but writes.
    (arXiv 2501.00663, equations 8 to 15; 2406.06484 for the rule; Rahimi and Recht, NeurIPS 2007, for the features.)

    Between two patches the recollection of the last one holds. Beside cases a value therefore reaches a patch further than
    the horizon, there with the errors of the next patch's forecast. 0 cases are the memory of older files.
    """

    silent = OfThisThread(default=False)

    def __init__(
        self, lookback: int, horizon: int, patch_length: int, *, features: int, cases: int = 0, channels: int = 1
    ) -> None:
        super().__init__()
        self.patch_length, self.horizon, self.channels, self.features = patch_length, horizon, channels, features
        self.patches = lookback // patch_length
        self.foretold = min(horizon, self.patches * patch_length)
        reaches = cases and patch_length <= horizon <= (self.patches - 1) * patch_length
        self.known = self.foretold + (patch_length if reaches else 0)
        self.waiting = -(-self.known // patch_length)
        self.largest = LARGEST_ERROR if cases else LARGEST_ERROR_WITHOUT_CASES
        self.rule = WriteRule(loss_factor=1.0, write_bound=2 * self.largest * (channels * self.known) ** 0.5)
        first = min(SHORTEST_LOOK * patch_length, lookback)
        self.looks = [round(first * (lookback / first) ** (i / (HEADS - 1))) for i in range(HEADS)]
        self.features_of = nn.ModuleList(RandomFeatures(channels * rows, features) for rows in self.looks)
        self.cases = Cases([channels * rows for rows in self.looks], channels * self.known, places=cases) if cases else None
        heads = 2 * HEADS if cases else HEADS
        gates = nn.Linear(GATE_WIDTH, HEADS + heads)
        nn.init.zeros_(gates.weight)
        with torch.no_grad():
            gates.bias.copy_(torch.tensor([STEP_START] * HEADS + [0.0] * heads))
        self.gates = nn.Sequential(nn.Linear(self.patches, GATE_WIDTH), nn.SiLU(), gates)
        self.trust = nn.Parameter(torch.zeros(heads, self.known))

    @torch.no_grad()
    def open(self) -> None:
        """Trust recollections a little, so that training can begin."""
        self.trust[:HEADS] = TRUST_START if self.cases is None else TRUST_BESIDE
        self.trust[HEADS:] = TRUST_IN_CASES

    @torch.no_grad()
    def look_at(self, lookbacks: Iterable[Lookback]) -> None:
        """Learn from look-backs ``(b, c, n, l)`` in which directions they vary; without cases nothing is to learn."""
        if self.cases is None:
            return
        seen = [self._seen(one).transpose(1, 2).flatten(0, 1) for one in lookbacks]  # (b n) c l
        self.cases.whiten([torch.cat([x[..., -rows:].flatten(1) for x in seen]) for rows in self.looks])

    def initial_state(self, batch: int) -> RecollectionCarry:
        """Return the carry before the first patch."""
        like = self.trust
        features, wide = self.features, self.channels * self.known
        return RecollectionCarry(
            memory=like.new_zeros(batch, HEADS, features, wide),
            keys=like.new_zeros(batch, HEADS, self.waiting, features),
            log_steps=like.new_full((batch, HEADS, self.waiting), LOG_FLOOR),
            expected=like.new_zeros(batch, self.channels, self.waiting, self.foretold),
            spread=like.new_ones(batch, self.channels, self.waiting),
            said=like.new_zeros(batch, self.channels, self.known),
            cases=() if self.cases is None else self.cases.initial_state(batch, self.waiting),
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
        said = said[..., : self.foretold] / lookback.spread[..., None]
        if self.silent:
            said = torch.zeros_like(said)
        return nn.functional.pad(said, (0, self.horizon - self.foretold)), after

    def _read_patches(self, lookback: Lookback, point: Tensor, state: RecollectionCarry) -> tuple[Tensor, RecollectionCarry]:
        """Return what is recollected at the ends of patches, ``(b, c, n, m)`` on the long-run scale, and the carry."""
        keys, (log_steps, heard), unit = self._keys(lookback), self._gates(lookback), self._unit(lookback)
        expected = (point[..., : self.foretold] * lookback.spread[..., None] + lookback.level[..., None]).detach()
        n, wait = keys.shape[2], self.waiting
        all_keys = torch.cat([state.keys, keys], dim=2)
        all_steps = torch.cat([state.log_steps, log_steps], dim=2)
        all_expected = torch.cat([state.expected, expected], dim=2)
        all_units = torch.cat([state.spread, unit], dim=2)
        values, known = self._errors(lookback, all_expected[:, :, : n + 1], all_units[:, :, :n])
        known &= (all_steps[:, :, :n] > LOG_FLOOR).any(dim=1)  # nothing waits before the first patch
        gates = Gates(torch.where(known[:, None], all_steps[:, :, :n], LOG_FLOOR))
        values = values.transpose(1, 2).flatten(2)
        start = StoreState((state.memory,), None, (state.memory,), 0)
        shared = values[:, None].expand(-1, HEADS, -1, -1)
        read, store = memory_chunked(keys, all_keys[:, :, :n], shared, gates, self.rule, start)
        cases: Any = ()
        if self.cases is not None:
            seen = self._seen(lookback).transpose(1, 2)
            found, cases = self.cases([seen[..., -rows:].flatten(2) for rows in self.looks], values, known, state.cases)
            read = torch.cat([read, found], dim=1)
        read = read.unflatten(-1, (self.channels, self.known))
        said = torch.einsum("bhncf,hf,bhn->bcnf", read, self.trust, heard) * unit[..., None]
        waiting = (x[:, :, -wait:] for x in (all_keys, all_steps, all_expected, all_units))
        return said, RecollectionCarry._make((store.weights[0], *waiting, said[:, :, -1], cases))

    def _unit(self, lookback: Lookback) -> Tensor:
        """Return the unit of errors, ``(b, c, n)``."""
        return lookback.spread if self.cases is None else lookback.spread.clamp_min(LEAST_SPREAD)

    def _seen(self, lookback: Lookback) -> Tensor:
        """Return look-backs ``(b, c, n, l)`` as keys see them."""
        if self.cases is None:
            return lookback.values
        return lookback.values * (lookback.spread / self._unit(lookback))[..., None]

    def _keys(self, lookback: Lookback) -> Tensor:
        """Return keys ``(b, h, n, d)``."""
        seen = self._seen(lookback).transpose(1, 2)
        looks = zip(self.features_of, self.looks, strict=True)
        return unit_length(torch.stack([features(seen[..., -rows:].flatten(2)) for features, rows in looks], dim=1))

    def _gates(self, lookback: Lookback) -> tuple[Tensor, Tensor]:
        """Return the log of the step size and how much is heard of a reading, by how loud the look-back's patches are."""
        loud = lookback.values[..., -self.patches * self.patch_length :].unflatten(-1, (self.patches, -1)).square()
        found = self.gates((loud.mean(dim=(1, 4)) + QUIET).log()).transpose(1, 2)
        return nn.functional.logsigmoid(found[:, :HEADS]), 2 * found[:, HEADS:].sigmoid()

    def _errors(self, lookback: Lookback, expected: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
        """Return the errors of the forecasts whose rows are there now, and whether all of them are, ``(b, n)``.

        ``expected`` ``(b, c, n + 1, f)`` tells the next patch's forecast too, which ends later.
        """
        rows = slice(-self.waiting * self.patch_length, None)
        came = lookback.values[..., rows][..., : self.known] * lookback.spread[..., None] + lookback.level[..., None]
        known = lookback.observed[..., rows][..., : self.known].amin(dim=(1, 3)) > 0
        further = expected[:, :, 1:, self.foretold - (self.known - self.foretold) :]
        expected = torch.cat([expected[:, :, :-1], further], dim=-1)
        return ((came - expected) / unit[..., None]).clamp(-self.largest, self.largest), known

    def _moved(self, said: Tensor, ahead: Tensor) -> Tensor:
        """Return ``(b, c, m)`` moved forward by ``ahead`` rows, zeros at its end."""
        place = torch.arange(self.known, device=said.device) + ahead[:, None]
        moved = said.gather(-1, place.clamp_max(self.known - 1)[:, None].expand_as(said))
        return torch.where((place < self.known)[:, None], moved, 0)


class Cases(nn.Module):
    """Pairs of look-back and error that are kept as they are, in a fixed number of places for each look.

    A pair joins the case whose key is next to its own if that is near, and moves it towards itself: by its share of all
    pairs so far, at least :data:`CASE_STEP`. So what recurs is averaged, and what nobody could foretell comes to say
    nothing. Any other pair is a new case, in the place of the one of least worth, if its own is more: pairs times 1 and the
    size of the value, less for every patch without a like. So nothing that is written in between touches a case, however
    long it takes. Keys are whitened directions of the look. Read is ``sum_i w_i v_i / (sum_i w_i + doubt)`` with ``w_i`` the
    pairs of a case times ``exp(-2 |q - k_i|^2)``. Nothing here has a gradient.
    (Platt, Neural Computation 3, 1991, for units that are allocated by novelty; Nadaraya and Watson, 1964, for the reading.)
    """

    mean_0: Tensor  # w, of the first look; so for each, with its directions (k, w)

    def __init__(self, widths: list[int], value: int, *, places: int) -> None:
        super().__init__()
        self.places, self.value = places, value
        self.key_width = min(CASE_WIDTH, *widths)
        for i, width in enumerate(widths):
            self.register_buffer(f"mean_{i}", torch.zeros(width))
            self.register_buffer(f"directions_{i}", torch.zeros(self.key_width, width))

    def whiten(self, looks: list[Tensor]) -> None:
        """Take the directions ``(k, w)`` of each look ``(n, w)`` that vary most, in units of their standard deviation."""
        for i, look in enumerate(looks):
            mean = look.double().mean(dim=0)
            spread = (look.double() - mean) / len(look) ** 0.5
            wide = spread.shape[1] > len(spread)
            variances, vectors = torch.linalg.eigh(spread @ spread.mT if wide else spread.mT @ spread)
            variances, vectors = variances.flip(0)[: self.key_width], vectors.flip(1)[:, : self.key_width]
            deviations = variances.clamp_min(0).sqrt()
            scales = torch.where(variances > 1e-9 * variances[0], CASE_SCALE / deviations, 0)
            directions = (spread.mT @ vectors / deviations).mT.nan_to_num(0, 0, 0) if wide else vectors.mT
            getattr(self, f"mean_{i}").copy_(mean)
            getattr(self, f"directions_{i}").zero_()[: len(directions)].copy_(directions * scales[:, None])

    def initial_state(self, batch: int, waiting: int) -> CasesCarry:
        """Return the carry before the first patch: no cases."""
        heads, like = HEADS, self.mean_0
        return CasesCarry(
            waiting=like.new_zeros(batch, heads, waiting, self.key_width),
            keys=like.new_zeros(batch, heads, self.places, self.key_width),
            values=like.new_zeros(batch, heads, self.places, self.value),
            counts=like.new_zeros(batch, heads, self.places),
            idle=like.new_zeros(batch, heads, self.places),
        )

    @torch.no_grad()
    def forward(self, looks: list[Tensor], values: Tensor, known: Tensor, state: CasesCarry) -> tuple[Tensor, CasesCarry]:
        """Write values ``(b, n, v)`` that have become ``known`` ``(b, n)``, each before the look of its place is read.

        ``looks``, each ``(b, n, w)``, are those of the patches; values belong to the looks that wait, and then to these.
        Returned is what was read, ``(b, h, n, v)``, and the next carry.
        """
        asked = torch.stack([self._keys(i, look) for i, look in enumerate(looks)], dim=1)
        keys = torch.cat([state.waiting, asked], dim=2)
        one_by_one = values.repeat_interleave(HEADS, 0), known.repeat_interleave(HEADS, 0)
        pairs = [x.cpu().numpy() for x in (keys.flatten(0, 1), asked.flatten(0, 1), *one_by_one)]
        kept = _Kept(*(x.flatten(0, 1).cpu().numpy().copy() for x in (state.keys, state.values, state.counts, state.idle)))
        said = []
        for first in range(0, asked.shape[2], CASE_CHUNK):
            said.append(kept.take(*(x[:, first : first + CASE_CHUNK] for x in pairs[1:]), written=pairs[0][:, first:]))
        found, *after = (
            torch.from_numpy(x).unflatten(0, (-1, HEADS)).to(asked.device)
            for x in (np.concatenate(said, axis=1), kept.keys, kept.values, kept.counts, kept.idle)
        )
        return found, CasesCarry(keys[:, :, -state.waiting.shape[2] :], *after)

    def _keys(self, i: int, look: Tensor) -> Tensor:
        """Return keys ``(b, n, k)`` of one look ``(b, n, w)``."""
        return (look - getattr(self, f"mean_{i}")) @ getattr(self, f"directions_{i}").mT


class _Kept:
    """The cases of ``s`` streams and looks while they are written, in place."""

    def __init__(self, keys: Floats, values: Floats, counts: Floats, idle: Floats) -> None:
        self.keys, self.values, self.counts, self.idle = keys, values, counts, idle  # s p k, s p v, s p, s p
        self.sizes = _size(values)

    def take(self, read: Floats, values: Floats, known: Any, *, written: Floats) -> Floats:
        """Write pairs ``(s, n, k)`` and ``(s, n, v)`` where ``known`` ``(s, n)``, and return what is read after each.

        ``(s, n, v)``: what the cases said before, and the changes since, each where it was made.
        """
        streams, n = known.shape
        before, changes = self.values.copy(), np.zeros_like(values)
        places = np.zeros((streams, n), dtype=np.int64)
        weights = np.zeros((streams, n, self.counts.shape[1]), dtype=values.dtype)
        sizes, writes = _size(values), known.any(axis=0)
        for t in range(n):
            self.idle = np.minimum(self.idle + 1, LONGEST_IDLE)
            if writes[t]:
                places[:, t], changes[:, t] = self._write(written[:, t], values[:, t], sizes[:, t], known[:, t])
            weights[:, t] = self.counts * np.exp(-CASE_SHARPNESS * self._distances(read[:, t]))
        at_places = np.take_along_axis(weights, places[:, None], axis=2) * np.tri(n, dtype=values.dtype)
        return (weights @ before + at_places @ changes) / (weights.sum(axis=2, keepdims=True) + CASE_DOUBT)

    def _distances(self, key: Floats) -> Floats:
        """Return squared distances ``(s, p)`` of keys ``(s, k)`` from all cases, infinite from empty places."""
        apart = self.keys - key[:, None]
        return np.where(self.counts > 0, np.einsum("spk,spk->sp", apart, apart), np.inf)

    def _write(self, key: Floats, value: Floats, size: Floats, known: Any) -> tuple[Any, Floats]:
        """Let pairs join a case or take a place; return which place ``(s,)`` changed, and by how much ``(s, v)``."""
        streams, distances = np.arange(len(key)), self._distances(key)
        place = distances.argmin(axis=1)
        joins = distances[streams, place] < SAME_CASE
        worth = np.log2(np.maximum(self.counts, 1) * (1 + self.sizes)) - self.idle / CASE_HALF_LIFE
        worth = np.where(self.counts > 0, np.rint(worth / TIE), -np.inf)
        place = np.where(joins, place, worth.argmin(axis=1))
        counted = known & (joins | (np.rint(np.log2(1 + size) / TIE) > worth[streams, place]))
        count = np.where(joins, self.counts[streams, place], 0) + 1
        step = np.where(counted, np.maximum(1 / count, CASE_STEP), 0).astype(key.dtype)[:, None]
        old = self.values[streams, place]
        new = (1 - step) * old + step * value
        self.values[streams, place] = new
        self.keys[streams, place] = (1 - step) * self.keys[streams, place] + step * key
        self.counts[streams, place] = np.where(counted, np.minimum(count, 1 / CASE_STEP), self.counts[streams, place])
        self.idle[streams, place] = np.where(counted, 0, self.idle[streams, place])
        self.sizes[streams, place] = _size(new)
        return place, new - old


def _size(values: Floats) -> Floats:
    """Return the root mean square of values ``(..., v)``."""
    return np.sqrt(np.square(values, dtype=np.float64).mean(axis=-1))


class RandomFeatures(nn.Module):
    """``cos(W x + b)``, as drawn: look-backs of variance 1 are told apart as a Gaussian kernel does."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, inputs) * (SHARPNESS / math.sqrt(inputs)))
        self.bias = nn.Parameter(torch.rand(features) * 2 * math.pi)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., inputs)`` to ``(..., features)``."""
        return nn.functional.linear(x, self.weight, self.bias).cos()
