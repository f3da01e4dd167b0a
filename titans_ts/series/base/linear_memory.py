"""A linear memory: ridge with forgetting, a stream, from how a look-back looks to what the base then got wrong."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import scipy  # whose parts are imported when they are first used
import torch
from torch import Tensor, nn

MOST_BLOCKS = 3
"""Blocks of the horizon with sums of their own; the nearer a block, the sooner its errors are known."""
MOST_DIRECTIONS = 16
"""Directions of the horizon in which errors are learned, over all blocks."""
MOST_BYTES = ((96, 20_000), (720, 40_000))
"""What a channel may carry at a horizon, with the ring of look-back and horizon rows; by a straight line in between."""
FEWEST_KEYS, MOST_KEYS = 12, 24
"""Whitened directions of the look-back, without the constant."""
FEW_KEYS = 6
"""The first keys, from which alone answers are given too: a stream of few or noisy rows knows no more."""
PENALTIES = (8.0, 64.0)
"""Weights of the prior, in writes; a stream hears an answer by each, and by few keys or by all."""
REMEMBERED = 64.0
"""Boundaries after which what an answer was worth counts half."""
BEGUN = 30.0
"""Boundaries that the panel's mean losses stand for in every stream."""
LEAST_SPREAD, MOST_SPREAD = 0.1, 10.0
"""Least and most spread of a look-back, in sizes, that errors are measured by: a wild row must not make words loud."""
LARGEST_ERROR = 5.0
"""Root mean square over a block, in sizes, above which a projected error is scaled down."""
LEAST_SEEN = 0.75
"""Part of the look-back that must be there for an error to be written."""
LARGEST_KEY = 3.0
"""Root mean square above which a key is scaled down; whitening makes it 1 on average."""
PIECE = 4_000_000
"""Numbers that one piece of the running sums may hold."""


class LinearMemoryCarry(NamedTuple):
    """The sums of a stream, and what waits at the last ``w`` boundaries until its truth is there; all float64."""

    gram: Tensor  # s (d (d + 1) / 2), the packed lower half of the sum of k k', of the boundaries before those that wait
    crosses: Tensor  # s d p, sums of k v', the columns of each block with its own delay
    losses: Tensor  # s b (a + 1), fading sums of what nothing, and each answer, got wrong
    keys: Tensor  # s w d
    expected: Tensor  # s e, block by block what was expected at the last boundaries, as many as its delay, projected
    said: Tensor  # s a e, what each answer said there, in units
    unit: Tensor  # s w, the unit of the errors then; 0 where nothing was expected

    @property
    def nbytes(self) -> int:
        """Size in bytes, of all streams."""
        return sum(x.numel() * x.element_size() for x in self)


class Looks(NamedTuple):
    """How the look-backs of ``n`` boundaries look."""

    windows: Tensor  # s n l, less their mean and over their standard deviation, 0 where missing
    spread: Tensor  # s n, these standard deviations
    seen: Tensor  # s n, whether enough of them is there: errors of a base that knows too little mislead


class LinearMemory(nn.Module):
    """Ridge with forgetting for every stream and block of the horizon: sums, no inverse.

    ``G <- a G + k k'`` and ``C <- a C + k v'`` at every boundary, and an answer is ``k' (G + l I)^-1 (C + l M_0)``, ``l``
    not forgotten: so sums are bounded, cuts do not matter, and silence leads back to the prior ``M_0``. The same sums answer
    by few keys and by all, and by each penalty. Said is ``share`` times the mean of these answers and of nothing, weighed by
    what each has got wrong in the stream: ``exp(-pace losses)``, of losses that fade (Vovk, Aggregating strategies, 1990).

    A key ``k`` is 1 and whitened directions of the look-back, less its mean and over its standard deviation; a value ``v``
    is the base's error in the directions of one block, in units: the geometric mean of size and that deviation. A truth that
    is missing counts as no error. ``G`` is the same for all blocks but for the boundaries that still wait. Blank the memory
    says nothing; :mod:`~titans_ts.series.base.memory_learning` or a file fills it.
    """

    mean: Tensor  # l
    whitening: Tensor  # (d - 1) l
    directions: Tensor  # p f, zero outside each one's block, orthonormal
    prior: Tensor  # d p
    decay: Tensor  # scalar
    pace: Tensor  # b
    worth: Tensor  # b (a + 1), mean losses over the panel of nothing and of each answer
    share: Tensor  # b

    def __init__(self, lookback: int, horizon: int, patch_length: int) -> None:
        super().__init__()
        self.lookback, self.horizon, self.patch_length = lookback, horizon, patch_length
        self.blocks = horizon_blocks(horizon, patch_length)
        counts = np.diff([MOST_DIRECTIONS * i // len(self.blocks) for i in range(len(self.blocks) + 1)])
        widths = [min(int(n), end - start) for n, (start, end) in zip(counts, self.blocks, strict=True)]
        ends = np.cumsum(widths).tolist()
        self.columns = [slice(end - width, end) for width, end in zip(widths, ends, strict=True)]
        self.delays = [-(-end // patch_length) for _, end in self.blocks]
        self.waiting = self.delays[-1]
        self._pending = [delay * width for delay, width in zip(self.delays, widths, strict=True)]
        self.features = 1 + min(lookback, affordable_keys(lookback, horizon, self.delays, widths))
        self.answers = [*product((min(1 + FEW_KEYS, self.features), self.features), PENALTIES)]
        blocks = len(self.blocks)
        self.register_buffer("mean", torch.zeros(lookback, dtype=torch.float64))
        self.register_buffer("whitening", torch.zeros(self.features - 1, lookback, dtype=torch.float64))
        self.register_buffer("directions", torch.zeros(ends[-1], horizon, dtype=torch.float64))
        self.register_buffer("prior", torch.zeros(self.features, ends[-1], dtype=torch.float64))
        self.register_buffer("decay", torch.full((), 0.5 ** (1 / REMEMBERED), dtype=torch.float64))
        self.register_buffer("pace", torch.ones(blocks, dtype=torch.float64))
        self.register_buffer("worth", torch.zeros(blocks, 1 + len(self.answers), dtype=torch.float64))
        self.register_buffer("share", torch.zeros(blocks, dtype=torch.float64))
        self._lower = np.tril_indices(self.features)
        square = np.zeros((self.features, self.features), dtype=np.int64)
        square[self._lower] = np.arange(len(self._lower[0]))
        self._square = torch.from_numpy(np.tril(square) + np.tril(square, -1).T)

    @property
    def context(self) -> int:
        """Rows before the first boundary of a call that ``read`` needs, fewer only where the series begins."""
        return max(self.lookback, self.waiting * self.patch_length)

    def initial(self, streams: int) -> LinearMemoryCarry:
        """Return the carry before the first boundary."""
        d, p = self.features, self.directions.shape[0]

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(streams, *shape, dtype=torch.float64)

        return LinearMemoryCarry(
            zeros(d * (d + 1) // 2),
            zeros(d, p),
            zeros(len(self.blocks), 1 + len(self.answers)),
            zeros(self.waiting, d),
            zeros(sum(self._pending)),
            zeros(sum(self._pending) * len(self.answers)),
            zeros(self.waiting),
        )

    @torch.no_grad()
    def read(
        self, rows: Tensor, ends: Tensor, expected: Tensor, size: Tensor, carry: LinearMemoryCarry
    ) -> tuple[Tensor, LinearMemoryCarry]:
        """Write, at each of the next boundaries, what has been realised by then, and then read.

        Parameters
        ----------
        rows : Tensor ``(s, t)``
            Rows on the long-run scale, NaN where missing, from :attr:`context` rows before the first boundary on.
        ends : Tensor ``(n,)``
            How many rows of the call come before each boundary, ``patch_length`` apart; none left out since the last call.
        expected : Tensor ``(s, n, f)``
            What the base alone forecasts there. NaN where it has no forecast; nothing is written of it then.
        size : Tensor ``(s, n)``
            Size of the errors, above 0; NaN where it is unknown, and nothing is said or written there.
        carry : LinearMemoryCarry
            What the last call returned.

        Returns
        -------
        said : Tensor ``(s, n, f)``
            What to add to ``expected``.
        carry : LinearMemoryCarry
            For the next boundaries.
        """
        said, at = [], ends.tolist()
        streams, wide = rows.shape[0], self.features * max(self.features, self.directions.shape[0])
        step = max(PIECE // max(streams * wide, 1), 1)
        for first in range(0, len(at), step):
            piece = slice(first, first + step)
            words, carry = self._read_piece(rows, at[piece], expected[:, piece], size[:, piece], carry)
            said.append(words)
        return torch.cat(said, dim=1) if said else torch.zeros_like(expected), carry

    @torch.no_grad()
    def forecast(self, rows: Tensor, ends: Tensor, size: Tensor, carry: LinearMemoryCarry) -> Tensor:
        """Return what to add to forecasts after ``ends`` rows of ``rows``, between boundaries too; nothing is written."""
        looks = look_backs(rows, ends.tolist(), self.lookback)
        unit, keys, said = units_of(looks, size), self.keys_of(looks), []
        grams = torch.cat(
            [carry.gram[:, None], self.grams(carry.keys, carry.unit > 0, carry.gram, float(self.decay))], dim=1
        )
        for b, (columns, delay) in enumerate(zip(self.columns, self.delays, strict=True)):
            sums = grams[:, self.waiting - delay], carry.crosses[..., columns], carry.losses[:, b]
            gram, cross, losses = (x[:, None].expand(-1, len(ends), *x.shape[1:]) for x in sums)
            said.append(self._heard(b, losses, self._recall(b, keys, gram, cross)))
        return unit.nan_to_num(0.0)[..., None] * (torch.cat(said, dim=-1) @ self.directions)

    def _read_piece(
        self, rows: Tensor, ends: list[int], expected: Tensor, size: Tensor, carry: LinearMemoryCarry
    ) -> tuple[Tensor, LinearMemoryCarry]:
        """Read as many boundaries as fit into memory at once."""
        looks, n = look_backs(rows, ends, self.lookback), len(ends)
        unit, keys = units_of(looks, size), self.keys_of(looks)
        projected = expected @ self.directions.T
        writable = ~unit.isnan() & projected.isfinite().all(-1) & looks.seen
        projected = torch.where(writable[..., None], projected, 0)
        all_keys = torch.cat([carry.keys, keys], dim=1)
        all_unit = torch.cat([carry.unit, torch.where(writable, unit, 0)], dim=1)
        written = slice(self.waiting - self.delays[0] + n)
        decay = float(self.decay)
        grams = self.grams(all_keys[:, written], all_unit[:, written] > 0, carry.gram, decay)
        waiting = zip(
            carry.expected.split(self._pending, dim=-1),
            carry.said.split([len(self.answers) * count for count in self._pending], dim=-1),
            strict=True,
        )
        said, left, sums = [], [], []
        for b, (before, words) in enumerate(waiting):
            columns, delay = self.columns[b], self.delays[b]
            due = slice(self.waiting - delay, self.waiting - delay + n)
            thought = torch.cat([before.unflatten(-1, (delay, -1)), projected[..., columns]], dim=1)
            values, heard = self._realised(b, rows, ends, thought[:, :n], all_unit[:, due])
            cross = self.crosses(all_keys[:, due], values, carry.crosses[..., columns], decay)
            found = self._recall(b, keys, grams[:, due], cross)
            told = torch.cat([words.unflatten(-1, (delay, len(self.answers), -1)), found], dim=1)
            losses = running(self.lost(b, told[:, :n], values, heard), carry.losses[:, b], 0.5 ** (1 / REMEMBERED))
            said.append(self._heard(b, losses, found))
            left.append((thought[:, -delay:].flatten(1), told[:, -delay:].flatten(1)))
            sums.append((cross[:, -1], losses[:, -1]))
        crosses, lost = zip(*sums, strict=True)
        after = LinearMemoryCarry(
            grams[:, n - 1].clone(),
            torch.cat(crosses, dim=-1),
            torch.stack(lost, dim=1),
            all_keys[:, -self.waiting :].clone(),
            torch.cat([x for x, _ in left], dim=-1),
            torch.cat([x for _, x in left], dim=-1),
            all_unit[:, -self.waiting :].clone(),
        )
        return unit.nan_to_num(0.0)[..., None] * (torch.cat(said, dim=-1) @ self.directions), after

    def keys_of(self, looks: Looks, whitening: Tensor | None = None) -> Tensor:
        """Return keys ``(s, n, d)``: 1, and the whitened look-back."""
        key = calmed((looks.windows - self.mean) @ (self.whitening if whitening is None else whitening).T)
        return torch.cat([torch.ones_like(key[..., :1]), key], dim=-1)

    def _realised(self, b: int, rows: Tensor, ends: list[int], expected: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
        """Return values ``(s, n, p)`` that block ``b`` writes of what was expected its delay ago, and which are known."""
        start, end = self.blocks[b]
        back = self.delays[b] * self.patch_length
        truth = rows_before(rows, [at - back + end for at in ends], end - start)
        heard = (unit > 0) & ~truth.isnan().any(-1)
        values = truth.nan_to_num(0.0) @ self.directions[self.columns[b], start:end].T - expected
        values = torch.where(heard[..., None], values / torch.where(heard, unit, 1)[..., None], 0)
        return clipped(values, end - start)[0], heard

    def grams(self, keys: Tensor, writable: Tensor, start: Tensor, decay: float) -> Tensor:
        """Return the running sum of ``k k'`` after each boundary, ``(s, n, d (d + 1) / 2)``."""
        keys = keys * writable[..., None]
        return running(keys[..., self._lower[0]] * keys[..., self._lower[1]], start, decay)

    def crosses(self, keys: Tensor, values: Tensor, start: Tensor, decay: float) -> Tensor:
        """Return the running sum of ``k v'`` after each write, ``(s, n, d, p)``."""
        outer = (keys[..., None] * values[..., None, :]).flatten(2)
        return running(outer, start.flatten(1), decay).unflatten(-1, start.shape[1:])

    def _recall(self, b: int, keys: Tensor, gram: Tensor, cross: Tensor) -> Tensor:
        """Return the answers ``(s, n, a, p)`` of the block's sums to the keys; nothing where it is never heard."""
        if not self.share[b]:
            return keys.new_zeros(*keys.shape[:2], len(self.answers), cross.shape[-1])
        return self.answers_of(self.weights_of(keys, gram), cross, self.prior[:, self.columns[b]])

    def weights_of(self, keys: Tensor, gram: Tensor) -> list[Tensor]:
        """Return ``(G + l I)^-1 k`` of each answer, ``(s, n, m)``, by its first ``m`` keys."""
        found = []
        for m, penalty in self.answers:
            full = gram[..., self._square[:m, :m]]
            full.diagonal(dim1=-2, dim2=-1).add_(penalty)
            found.append(torch.cholesky_solve(keys[..., :m, None], torch.linalg.cholesky(full))[..., 0])
        return found

    def answers_of(self, weights: list[Tensor], cross: Tensor, prior: Tensor) -> Tensor:
        """Return what sums and a prior ``(..., d, p)`` say by each answer's weights, ``(s, n, a, p)``."""
        found = []
        for (m, penalty), each in zip(self.answers, weights, strict=True):
            found.append((each[..., None, :] @ (cross[..., :m, :] + penalty * prior[..., :m, :]))[..., 0, :])
        return torch.stack(found, dim=-2)

    def lost(self, b: int, told: Tensor, values: Tensor, heard: Tensor) -> Tensor:
        """Return losses of nothing and of each answer, ``(s, n, a + 1)``: root mean squares over the block, 0 if unknown."""
        start, end = self.blocks[b]
        missed = torch.cat([values[..., None, :], values[..., None, :] - told], dim=-2)
        return torch.linalg.vector_norm(missed, dim=-1) * heard[..., None] / (end - start) ** 0.5

    def _heard(self, b: int, losses: Tensor, found: Tensor) -> Tensor:
        """Return what is said, ``(s, n, p)``: the share of the answers' mean, weighed by losses ``(s, n, a + 1)``."""
        return float(self.share[b]) * weighed(float(self.pace[b]), losses + BEGUN * self.worth[b], found)


def horizon_blocks(horizon: int, patch_length: int) -> list[tuple[int, int]]:
    """Return where at most three blocks of the horizon begin and end, at boundaries near its sixth and its half.

    >>> horizon_blocks(96, 16), horizon_blocks(8, 16)
    ([(0, 16), (16, 48), (48, 96)], [(0, 8)])
    """
    cuts = {patch_length * round(horizon * part / patch_length) for part in (1 / 6, 1 / 2)}
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < horizon), horizon]
    return list(pairwise(edges))


def affordable_keys(lookback: int, horizon: int, delays: list[int], widths: list[int]) -> int:
    """Return how many keys a channel can carry within :data:`MOST_BYTES`, between the fewest and the most."""
    (near, few), (far, many) = MOST_BYTES
    most = few + (many - few) * min(max((horizon - near) / (far - near), 0.0), 1.0)
    answers = 2 * len(PENALTIES)
    fixed = lookback + horizon + delays[-1] + (1 + answers) * len(delays)
    fixed += (1 + answers) * sum(delay * width for delay, width in zip(delays, widths, strict=True))
    for d in range(MOST_KEYS + 1, FEWEST_KEYS, -1):
        if 8 * (fixed + d * (d + 1) // 2 + d * (sum(widths) + delays[-1])) <= most:
            return d - 1
    return FEWEST_KEYS


def calmed(keys: Tensor) -> Tensor:
    """Return keys scaled down where their root mean square is above :data:`LARGEST_KEY`."""
    return keys / (keys.square().mean(-1, keepdim=True).sqrt() / LARGEST_KEY).clamp_min(1.0)


def weighed(pace: float, losses: Tensor, found: Tensor) -> Tensor:
    """Return the mean ``(s, n, p)`` of nothing and of answers ``(s, n, a, p)``, weighed by losses ``(s, n, a + 1)``."""
    return ((-pace * losses).softmax(-1)[..., None, 1:] @ found)[..., 0, :]


def units_of(looks: Looks, size: Tensor) -> Tensor:
    """Return the units of errors ``(s, n)``, NaN where sizes are unknown: geometric means of size and spread of look-back.

    Errors grow with the size where they are noise, and with the look-back where they follow it.
    """
    size = torch.where(size.isfinite() & (size > 0), size, math.nan).double()
    return (size * looks.spread.clamp(LEAST_SPREAD * size, MOST_SPREAD * size)).sqrt()


def rows_before(rows: Tensor, ends: list[int], count: int) -> Tensor:
    """Return the ``count`` rows before each end, ``(s, n, count)``, NaN before the first row and after the last."""
    at = np.asarray(ends)[:, None] - count + np.arange(count)
    there = (at >= 0) & (at < rows.shape[1])
    found = rows[:, np.where(there, at, 0)] if rows.shape[1] else rows.new_zeros(rows.shape[0], *at.shape)
    return found if there.all() else torch.where(torch.from_numpy(there), found, math.nan)


def look_backs(rows: Tensor, ends: list[int], lookback: int) -> Looks:
    """Return how the look-backs before ends look."""
    windows = rows_before(rows, ends, lookback)
    there = ~windows.isnan()
    count = there.sum(-1, keepdim=True)
    centred = torch.where(there, windows - windows.nansum(-1, keepdim=True) / count.clamp_min(1), 0)
    spread = (centred.square().sum(-1, keepdim=True) / count.clamp_min(1)).sqrt()
    seen = count[..., 0] >= LEAST_SEEN * lookback
    return Looks(centred / torch.where(spread > 1e-9, spread, 1), spread[..., 0], seen)


def clipped(values: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Return values of a block of so many rows, scaled down where they are too long, and by how much, the weight then."""
    length = torch.linalg.vector_norm(values, dim=-1)
    calm = 1 / (length / (LARGEST_ERROR * rows**0.5)).clamp_min(1.0)
    return values * calm[..., None], calm


def running(terms: Tensor, start: Tensor, decay: float) -> Tensor:
    """Return ``y_t = decay y_(t-1) + terms_t`` from ``start`` ``(s, w)`` on, ``(s, n, w)``, in this order under any cut."""
    if terms.shape[1] <= start.numel():  # few steps of many sums
        out, last = torch.empty_like(terms), start
        for t in range(terms.shape[1]):
            last = torch.add(terms[:, t], last, alpha=decay, out=out[:, t])
        return out
    found, _ = scipy.signal.lfilter([1.0], [1.0, -decay], terms.numpy(), axis=1, zi=(decay * start)[:, None].numpy())
    return torch.from_numpy(found)
