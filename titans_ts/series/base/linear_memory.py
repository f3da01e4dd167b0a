"""A linear memory: ridge with forgetting, a stream, from how a look-back looks to what the base then got wrong."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import torch
from scipy.signal import lfilter
from torch import Tensor, nn

from titans_ts.learn.acceptance import MemoryGain, by_stretch, memory_gain

MOST_BLOCKS = 3
"""Blocks of the horizon with sums of their own; the nearer a block, the sooner its errors are known."""
MOST_DIRECTIONS = 16
"""Directions of the horizon in which errors are learned, over all blocks."""
MOST_BYTES = ((96, 20_000), (720, 40_000))
"""What a channel may carry at a horizon, with the ring of look-back and horizon rows; by a straight line in between."""
FEWEST_KEYS, MOST_KEYS = 12, 24
"""Whitened directions of the look-back, without the constant."""
HALF_LIVES = (64.0, 256.0, 1024.0)
"""Boundaries after which a write counts half; ``learn`` judges."""
FEW_KEYS = 6
"""The first keys, from which alone answers are given too: a stream of few or noisy rows knows no more."""
PENALTIES = (8.0, 64.0)
"""Weights of the prior, in writes; a stream hears an answer by each, and by few keys or by all."""
PACES = (0.3, 1.0, 3.0)
"""How fast answers that err more than others are left, in units of the errors; ``learn`` judges."""
REMEMBERED = 64.0
"""Boundaries after which what an answer was worth counts half."""
BEGUN = 30.0
"""Boundaries that the panel's mean losses stand for in every stream."""
LEAST_SPREAD, MOST_SPREAD = 0.1, 10.0
"""Least and most spread of a look-back, in sizes, that errors are measured by: a wild row must not make words loud."""
FEWEST_STREAMS = 8
"""Streams from which on one half can tell what the other knows, so that a prior can be judged."""
POOLED_PENALTY = 100.0
"""Weight of no prior, in writes of the whole panel."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of what is read that are said; ``learn`` judges."""
WIDEST = 4
"""Whitened directions from which keys are taken, of each key, where there are streams enough to tell by."""
LARGEST_ERROR = 5.0
"""Root mean square over a block, in sizes, above which a projected error is scaled down."""
LEAST_SEEN = 0.75
"""Part of the look-back that must be there for an error to be written."""
LARGEST_KEY = 3.0
"""Root mean square above which a key is scaled down; whitening makes it 1 on average."""
SMALLEST_SHARE_OF_VARIANCE = 1e-6
"""Directions of the look-back with less than this of the largest variance are no keys."""
JUDGED = 3_000
"""Boundaries that ``learn`` judges by: the latest of every stream, of streams evenly spaced."""
WINDOWS = 20_000
"""Look-backs that the directions are taken from, evenly spaced."""
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


class _Looks(NamedTuple):
    """How the look-backs of ``n`` boundaries look."""

    windows: Tensor  # s n l, less their mean and over their standard deviation, 0 where missing
    spread: Tensor  # s n, these standard deviations
    seen: Tensor  # s n, whether enough of them is there: errors of a base that knows too little mislead


class _Half(NamedTuple):
    """What a half of the streams hears while others learn: what the other half knows."""

    whitening: Tensor
    prior: Tensor


class _Judged(NamedTuple):
    """What a block of ``n`` boundaries is judged by."""

    values: Tensor  # s n p, that are written
    heard: Tensor  # s n, which of them are known
    truth: Tensor  # s n p, that answers are to meet
    whole: Tensor  # s n, squared errors over the block without a word
    known: Tensor  # s n, whether these are


class _Tried(NamedTuple):
    """The best that a block can do with one half-life."""

    error: float  # sum over boundaries of the root of what is wrong over its rows, squared
    words: Tensor  # s n p, at every boundary
    pace: float
    from_panel: bool  # whether the prior is the panel's
    worth: Tensor  # s (a + 1), mean losses of nothing and of each answer


class LinearMemory(nn.Module):
    """Ridge with forgetting for every stream and block of the horizon: sums, no inverse.

    ``G <- a G + k k'`` and ``C <- a C + k v'`` at every boundary, and an answer is ``k' (G + l I)^-1 (C + l M_0)``, ``l``
    not forgotten: so sums are bounded, cuts do not matter, and silence leads back to the prior ``M_0``. The same sums answer
    by few keys and by all, and by each penalty. Said is ``share`` times the mean of these answers and of nothing, weighed by
    what each has got wrong in the stream: ``exp(-pace losses)``, of losses that fade (Vovk, Aggregating strategies, 1990).

    A key ``k`` is 1 and whitened directions of the look-back, less its mean and over its standard deviation; a value ``v``
    is the base's error in the directions of one block, in units: the geometric mean of size and that deviation. A truth that
    is missing counts as no error. ``G`` is the same for all blocks but for the boundaries that still wait. Blank the memory
    says nothing; ``learn`` or a file fills it.
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
        self.register_buffer("decay", torch.full((), 0.5 ** (1 / HALF_LIVES[1]), dtype=torch.float64))
        self.register_buffer("pace", torch.full((blocks,), PACES[1], dtype=torch.float64))
        self.register_buffer("worth", torch.zeros(blocks, 1 + len(self.answers), dtype=torch.float64))
        self.register_buffer("share", torch.zeros(blocks, dtype=torch.float64))
        self._apart: tuple[_Half, ...] = ()  # while it is learned: what either half of the streams hears
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
        looks = _look_backs(rows, ends.tolist(), self.lookback)
        unit, keys, said = _units(looks, size), self._keys(looks), []
        grams = torch.cat(
            [carry.gram[:, None], self._grams(carry.keys, carry.unit > 0, carry.gram, float(self.decay))], dim=1
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
        looks, n = _look_backs(rows, ends, self.lookback), len(ends)
        unit, keys = _units(looks, size), self._keys(looks)
        projected = expected @ self.directions.T
        writable = ~unit.isnan() & projected.isfinite().all(-1) & looks.seen
        projected = torch.where(writable[..., None], projected, 0)
        all_keys = torch.cat([carry.keys, keys], dim=1)
        all_unit = torch.cat([carry.unit, torch.where(writable, unit, 0)], dim=1)
        written = slice(self.waiting - self.delays[0] + n)
        decay = float(self.decay)
        grams = self._grams(all_keys[:, written], all_unit[:, written] > 0, carry.gram, decay)
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
            cross = self._crosses(all_keys[:, due], values, carry.crosses[..., columns], decay)
            found = self._recall(b, keys, grams[:, due], cross)
            told = torch.cat([words.unflatten(-1, (delay, len(self.answers), -1)), found], dim=1)
            losses = _running(self._lost(b, told[:, :n], values, heard), carry.losses[:, b], 0.5 ** (1 / REMEMBERED))
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

    def _keys(self, looks: _Looks, whitening: Tensor | None = None) -> Tensor:
        """Return keys ``(s, n, d)``: 1, and the whitened look-back."""
        key = _calm((looks.windows - self.mean) @ (self.whitening if whitening is None else whitening).T)
        return torch.cat([torch.ones_like(key[..., :1]), key], dim=-1)

    def _realised(self, b: int, rows: Tensor, ends: list[int], expected: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
        """Return values ``(s, n, p)`` that block ``b`` writes of what was expected its delay ago, and which are known."""
        start, end = self.blocks[b]
        back = self.delays[b] * self.patch_length
        truth = _rows_before(rows, [at - back + end for at in ends], end - start)
        heard = (unit > 0) & ~truth.isnan().any(-1)
        values = truth.nan_to_num(0.0) @ self.directions[self.columns[b], start:end].T - expected
        values = torch.where(heard[..., None], values / torch.where(heard, unit, 1)[..., None], 0)
        return _clipped(values, end - start)[0], heard

    def _grams(self, keys: Tensor, writable: Tensor, start: Tensor, decay: float) -> Tensor:
        """Return the running sum of ``k k'`` after each boundary, ``(s, n, d (d + 1) / 2)``."""
        keys = keys * writable[..., None]
        return _running(keys[..., self._lower[0]] * keys[..., self._lower[1]], start, decay)

    def _crosses(self, keys: Tensor, values: Tensor, start: Tensor, decay: float) -> Tensor:
        """Return the running sum of ``k v'`` after each write, ``(s, n, d, p)``."""
        outer = (keys[..., None] * values[..., None, :]).flatten(2)
        return _running(outer, start.flatten(1), decay).unflatten(-1, start.shape[1:])

    def _recall(self, b: int, keys: Tensor, gram: Tensor, cross: Tensor) -> Tensor:
        """Return the answers ``(s, n, a, p)`` of the block's sums to the keys; nothing where it is never heard."""
        if not self.share[b]:
            return keys.new_zeros(*keys.shape[:2], len(self.answers), cross.shape[-1])
        return self._answers(self._weights(keys, gram), cross, self.prior[:, self.columns[b]])

    def _weights(self, keys: Tensor, gram: Tensor) -> list[Tensor]:
        """Return ``(G + l I)^-1 k`` of each answer, ``(s, n, m)``, by its first ``m`` keys."""
        found = []
        for m, penalty in self.answers:
            full = gram[..., self._square[:m, :m]]
            full.diagonal(dim1=-2, dim2=-1).add_(penalty)
            found.append(torch.cholesky_solve(keys[..., :m, None], torch.linalg.cholesky(full))[..., 0])
        return found

    def _answers(self, weights: list[Tensor], cross: Tensor, prior: Tensor) -> Tensor:
        """Return what sums and a prior ``(..., d, p)`` say by each answer's weights, ``(s, n, a, p)``."""
        found = []
        for (m, penalty), each in zip(self.answers, weights, strict=True):
            found.append((each[..., None, :] @ (cross[..., :m, :] + penalty * prior[..., :m, :]))[..., 0, :])
        return torch.stack(found, dim=-2)

    def _lost(self, b: int, told: Tensor, values: Tensor, heard: Tensor) -> Tensor:
        """Return losses of nothing and of each answer, ``(s, n, a + 1)``: root mean squares over the block, 0 if unknown."""
        start, end = self.blocks[b]
        missed = torch.cat([values[..., None, :], values[..., None, :] - told], dim=-2)
        return torch.linalg.vector_norm(missed, dim=-1) * heard[..., None] / (end - start) ** 0.5

    def _heard(self, b: int, losses: Tensor, found: Tensor) -> Tensor:
        """Return what is said, ``(s, n, p)``: the share of the answers' mean, weighed by losses ``(s, n, a + 1)``."""
        return float(self.share[b]) * _weighed(float(self.pace[b]), losses + BEGUN * self.worth[b], found)

    @torch.no_grad()
    def learn(self, rows: Tensor, ends: Tensor, expected: Tensor, size: Tensor, *, caution: float = 1.0) -> list[MemoryGain]:
        """Find directions, keys, half-life, and pace, prior and share of every block by the base's out-of-block errors.

        ``rows`` ``(s, t)`` start at row 0 of every stream, ``ends`` ``(n,)`` are all boundaries, ``expected`` ``(s, n, f)``
        the out-of-block forecasts there, NaN where there are none. Every boundary is read before its errors are written. A
        prior is judged by what half of the streams knows of the other half. Returned is what each block's share takes off
        the error, the root mean square over the block's rows.
        """
        self._apart = ()
        if not rows.shape[1] or not len(ends):
            return []
        unit = self._measured(rows, ends, size)
        self._find_directions(rows, ends, expected, unit)
        best: tuple[list[MemoryGain], dict[str, Tensor], tuple[_Half, ...]] | None = None
        for whitening, *halves in self._find_keys(rows, ends, expected, unit):
            self.whitening.copy_(whitening)
            gains = self._judge_all(rows, ends, expected, unit, caution, halves)
            if best is None or sum(one.gain for one in gains) > sum(one.gain for one in best[0]):
                best = gains, {name: x.clone() for name, x in self.state_dict().items()}, self._apart
        assert best is not None
        gains, learned, self._apart = best
        self.load_state_dict(learned)
        return gains

    def _judge_all(
        self, rows: Tensor, ends: Tensor, expected: Tensor, unit: Tensor, caution: float, halves: list[Tensor]
    ) -> list[MemoryGain]:
        """Choose what the keys are best used with; each half of the streams by keys of the other half."""
        some = _evenly(len(rows), WINDOWS // len(ends))
        rows, expected, unit, at = rows[some], expected[some, -JUDGED:], unit[some, -JUDGED:], ends[-JUDGED:].tolist()
        looks, half = _look_backs(rows, at, self.lookback), len(rows) // 2
        keys = self._keys(looks)
        if halves:
            keys = torch.cat([self._keys(looks, halves[1])[:half], self._keys(looks, halves[0])[half:]])
        writable = ~unit.isnan() & expected.isfinite().all(-1) & looks.seen
        blocks = range(len(self.blocks))
        errors = [self._errors(b, rows, at, expected, unit) for b in blocks]
        written = [(keys, values * writable[..., None], known & writable) for values, _, known in errors]
        # keys of two kinds have no weights in common, and few streams no other half
        priors = [[] if halves or len(rows) < FEWEST_STREAMS else [_pooled_by_half(*each)] for each in written]
        kept = _evenly(len(rows), JUDGED // len(at))
        judged = [_Judged(*(x[kept] for x in (*written[b][1:], *errors[b]))) for b in blocks]
        own = [[prior[(kept >= half).long()] for prior in each] for each in priors]
        best: list[_Tried] = []
        for half_life in HALF_LIVES:
            decay = 0.5 ** (1 / half_life)
            grams = self._grams(keys[kept], writable[kept], keys.new_zeros(len(kept), len(self._lower[0])), decay)
            tried = [self._try(b, decay, keys[kept], grams, own[b], judged[b]) for b in blocks]
            if not best or sum(one.error for one in tried) < sum(one.error for one in best):
                best = tried
                self.decay.fill_(decay)
        apart = [torch.zeros_like(self.prior), torch.zeros_like(self.prior)]
        for b, one in enumerate(best):
            columns = self.columns[b]
            self.prior[:, columns] = _pooled(*written[b]) if one.from_panel else 0.0
            if one.from_panel:
                for theirs, prior in zip(apart, priors[b][0], strict=True):
                    theirs[:, columns] = prior
            self.pace[b] = one.pace
            self.worth[b] = one.worth.mean(0)
        if halves or bool(self.prior.any()):
            self._apart = tuple(
                _Half(*each) for each in zip(halves[::-1] or 2 * [self.whitening.clone()], apart, strict=True)
            )
        return [self._settle(b, one, judged[b], caution) for b, one in enumerate(best)]

    def _try(self, b: int, decay: float, keys: Tensor, grams: Tensor, priors: list[Tensor], judged: _Judged) -> _Tried:
        """Find the prior and the pace that do best with one half-life."""
        values, heard, truth, whole, known = judged
        delay, (streams, n, d) = self.delays[b], keys.shape
        nothing = keys.new_zeros(streams, d, values.shape[-1])
        lost = keys.new_zeros(streams, 1 + len(self.answers))
        best = _Tried(math.inf, torch.zeros_like(truth), PACES[0], False, lost)
        if n <= delay or not known[:, delay:].any():
            return best._replace(error=0.0)
        weights = self._weights(keys[:, delay:], grams[:, :-delay])
        cross = self._crosses(keys[:, :-delay], values[:, :-delay], nothing, decay)
        for place, prior in enumerate([nothing, *priors]):
            found = self._answers(weights, cross, prior[:, None])
            told = nn.functional.pad(found, (0, 0, 0, 0, delay, 0))[:, :-delay]
            losses = self._lost(b, told, values[:, :-delay], heard[:, :-delay])
            worth = _worth(losses, heard[:, :-delay])
            running = _running(losses, lost, 0.5 ** (1 / REMEMBERED))
            for pace in PACES:
                words = nn.functional.pad(
                    _weighed(pace, running + BEGUN * _of_others(worth)[:, None], found), (0, 0, delay, 0)
                )
                error = float(_block_error(words, truth, whole)[:, delay:][known[:, delay:]].sum())
                if error < best.error:
                    best = _Tried(error, words, pace, place > 0, worth)
        return best

    def _settle(self, b: int, tried: _Tried, judged: _Judged, caution: float) -> MemoryGain:
        """Choose the block's share, with caution."""
        *_, truth, whole, known = judged
        delay = self.delays[b]
        if known.shape[1] <= delay or not known.any():
            self.share[b] = 0.0
            return memory_gain(whole.new_zeros(1, 0), caution=caution)
        words, truth, whole, heard = (x[:, delay:] for x in (tried.words, truth, whole, known.double()))
        found = [by_stretch(_block_error(share * words, truth, whole) * heard, heard, delay) for share in SHARES]
        gain = memory_gain(torch.stack(found), caution=caution, shares=SHARES)
        self.share[b] = gain.share
        return gain

    @torch.no_grad()
    def read_apart(self, rows: Tensor, ends: Tensor, expected: Tensor, size: Tensor) -> Tensor:
        """Return what to add ``(s, n, f)`` for the streams of ``learn``, each with prior and keys of the half it is not in.

        So what follows learns from errors that these have not seen. It is called once, right after ``learn``.
        """
        if not self._apart:
            return self.read(rows, ends, expected, size, self.initial(len(rows)))[0]
        whitening, prior = self.whitening.clone(), self.prior.clone()
        some = _evenly(len(rows), WINDOWS // max(len(ends), 1))
        cut, said = int(some[len(some) // 2]), []
        for part, half in zip((slice(cut), slice(cut, None)), self._apart, strict=True):
            self.whitening.copy_(half.whitening)
            self.prior.copy_(half.prior)
            each = rows[part], ends, expected[part], size[part]
            said.append(self.read(*each, self.initial(len(each[0])))[0])
        self.whitening.copy_(whitening)
        self.prior.copy_(prior)
        self._apart = ()
        return torch.cat(said)

    def _measured(self, rows: Tensor, ends: Tensor, size: Tensor) -> Tensor:
        """Return the unit of errors at every boundary, ``(s, n)``, NaN where unknown."""
        parts = torch.arange(len(ends)).split(max(PIECE // max(rows.shape[0] * self.lookback, 1), 1))
        looks = (_look_backs(rows, ends[some].tolist(), self.lookback) for some in parts)
        return torch.cat([_units(each, size[:, some]) for each, some in zip(looks, parts, strict=True)], dim=1)

    def _find_keys(self, rows: Tensor, ends: Tensor, expected: Tensor, unit: Tensor) -> list[tuple[Tensor, ...]]:
        """Return whitenings to try: the directions of the look-backs that vary most, and those that tell most of errors.

        The latter need streams enough to tell by, and come with what each half of the streams alone says, by which the other
        half judges. What a look-back is centred on is set.
        """
        some, part = _evenly(len(rows), WINDOWS // len(ends)), _evenly(len(ends), WINDOWS // len(rows))
        rows, at = rows[some], ends[part].tolist()
        looks = _look_backs(rows, at, self.lookback)
        used = looks.windows[looks.seen & (looks.windows.square().sum(-1) > 0)]
        plain = torch.zeros_like(self.whitening)
        if len(used) < 2:
            return [(plain,)]
        self.mean.copy_(used.mean(0))
        used = used - self.mean
        variances, vectors = torch.linalg.eigh(used.T @ used / len(used))
        count, most = len(plain), min(WIDEST * len(plain), self.lookback)
        variances, vectors = variances.flip(0)[:most], vectors.flip(1)[:, :most]
        good = variances > SMALLEST_SHARE_OF_VARIANCE * variances[0]
        found = (vectors[:, good] / variances[good].sqrt()).T
        plain[: len(found)] = found[:count]
        if len(rows) < FEWEST_STREAMS or len(found) <= count:
            return [(plain,)]
        return [(plain,), self._telling(found, looks, rows, at, expected[some][:, part], unit[some][:, part])]

    def _telling(
        self, whitened: Tensor, looks: _Looks, rows: Tensor, at: list[int], expected: Tensor, unit: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the directions ``(d - 1, l)``, of whitened ones ``(w, l)``, in which ridges of streams are largest.

        Of all streams, of the first half, and of the second.
        """
        keys = _calm((looks.windows - self.mean) @ whitened.T)
        of_block = [self._errors(b, rows, at, expected, unit) for b in range(len(self.blocks))]
        eye = torch.eye(len(whitened), dtype=torch.float64)
        first = 1e-9 * torch.linspace(1, 0, len(whitened), dtype=torch.float64).diag()  # of equal ones those that vary most
        totals = [first.clone(), first]
        for s in range(len(rows)):
            for values, _, known in of_block:
                weighted = keys[s] * (known & looks.seen)[s][:, None]
                own = torch.linalg.solve(weighted.T @ keys[s] + POOLED_PENALTY * eye, weighted.T @ values[s])
                totals[s >= len(rows) // 2] += own @ own.T
        each = totals[0] + totals[1], *totals
        return tuple(torch.linalg.eigh(total)[1].flip(1)[:, : self.features - 1].T @ whitened for total in each)

    def _find_directions(self, rows: Tensor, ends: Tensor, expected: Tensor, unit: Tensor) -> None:
        """Take the principal directions of each block's errors."""
        self.directions.zero_()
        for (start, end), columns in zip(self.blocks, self.columns, strict=True):
            gram = rows.new_zeros(end - start, end - start)
            for some in torch.arange(len(ends)).split(max(PIECE // max(rows.shape[0] * (end - start), 1), 1)):
                gram += _squares(_block_errors(rows, ends[some].tolist(), expected[:, some], unit[:, some], start, end))
            vectors = torch.linalg.eigh(gram)[1].flip(1)[:, : columns.stop - columns.start]
            self.directions[columns, start:end] = vectors.T

    def _errors(
        self, b: int, rows: Tensor, ends: list[int], expected: Tensor, unit: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the block's projected errors ``(s, n, p)`` and whole squared errors, 0 where unknown, and where known."""
        start, end = self.blocks[b]
        errors = _block_errors(rows, ends, expected, unit, start, end)
        known = ~errors.isnan().any(-1)
        errors = torch.where(known[..., None], errors, 0)
        values = errors @ self.directions[self.columns[b], start:end].T
        clipped, _ = _clipped(values, end - start)
        rest = (errors.square().sum(-1) - values.square().sum(-1)).clamp(0, LARGEST_ERROR**2 * (end - start))
        return clipped, clipped.square().sum(-1) + rest, known


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


def _calm(keys: Tensor) -> Tensor:
    """Return keys scaled down where their root mean square is above :data:`LARGEST_KEY`."""
    return keys / (keys.square().mean(-1, keepdim=True).sqrt() / LARGEST_KEY).clamp_min(1.0)


def _weighed(pace: float, losses: Tensor, found: Tensor) -> Tensor:
    """Return the mean ``(s, n, p)`` of nothing and of answers ``(s, n, a, p)``, weighed by losses ``(s, n, a + 1)``."""
    return ((-pace * losses).softmax(-1)[..., None, 1:] @ found)[..., 0, :]


def _worth(losses: Tensor, heard: Tensor) -> Tensor:
    """Return the mean losses of each stream, ``(s, a + 1)``; alike where there are too few streams to know others by."""
    mean = losses.sum(1) / heard.sum(1, keepdim=True).clamp_min(1)
    return mean if len(mean) >= FEWEST_STREAMS else torch.zeros_like(mean)


def _of_others(worth: Tensor) -> Tensor:
    """Return for each stream ``(s, ...)`` the mean of the half it is not in."""
    half = len(worth) // 2
    if len(worth) < FEWEST_STREAMS:
        return worth
    means = worth[half:].mean(0), worth[:half].mean(0)
    return torch.stack(means)[(torch.arange(len(worth)) >= half).long()]


def _block_error(words: Tensor, truth: Tensor, whole: Tensor) -> Tensor:
    """Return the root of what is wrong over a block, squared, ``(s, n)``, of whole squared errors without the words."""
    gone = 2 * (words * truth).sum(-1) - words.square().sum(-1)
    return (whole - gone).clamp_min(0).sqrt()


def _pooled(keys: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """Return what all streams know together, ``(d, p)``."""
    weighted = keys * weight[..., None]
    gram = torch.einsum("snd,sne->de", weighted, keys) + POOLED_PENALTY * torch.eye(keys.shape[-1], dtype=keys.dtype)
    return torch.linalg.solve(gram, torch.einsum("snd,snp->dp", weighted, values))


def _pooled_by_half(keys: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """Return for either half of the streams what the other half knows, ``(2, d, p)``."""
    half = len(keys) // 2
    return torch.stack([_pooled(keys[some], values[some], weight[some]) for some in (slice(half, None), slice(half))])


def _evenly(n: int, most: int) -> Tensor:
    """Return at most so many of ``n`` places, one at least, evenly spaced."""
    return torch.linspace(0, n - 1, min(n, max(most, 1))).long()


def _units(looks: _Looks, size: Tensor) -> Tensor:
    """Return the units of errors ``(s, n)``, NaN where sizes are unknown: geometric means of size and spread of look-back.

    Errors grow with the size where they are noise, and with the look-back where they follow it.
    """
    size = torch.where(size.isfinite() & (size > 0), size, math.nan).double()
    return (size * looks.spread.clamp(LEAST_SPREAD * size, MOST_SPREAD * size)).sqrt()


def _rows_before(rows: Tensor, ends: list[int], count: int) -> Tensor:
    """Return the ``count`` rows before each end, ``(s, n, count)``, NaN before the first row and after the last."""
    at = np.asarray(ends)[:, None] - count + np.arange(count)
    there = (at >= 0) & (at < rows.shape[1])
    found = rows[:, np.where(there, at, 0)] if rows.shape[1] else rows.new_zeros(rows.shape[0], *at.shape)
    return found if there.all() else torch.where(torch.from_numpy(there), found, math.nan)


def _look_backs(rows: Tensor, ends: list[int], lookback: int) -> _Looks:
    """Return how the look-backs before ends look."""
    windows = _rows_before(rows, ends, lookback)
    there = ~windows.isnan()
    count = there.sum(-1, keepdim=True)
    centred = torch.where(there, windows - windows.nansum(-1, keepdim=True) / count.clamp_min(1), 0)
    spread = (centred.square().sum(-1, keepdim=True) / count.clamp_min(1)).sqrt()
    seen = count[..., 0] >= LEAST_SEEN * lookback
    return _Looks(centred / torch.where(spread > 1e-9, spread, 1), spread[..., 0], seen)


def _block_errors(rows: Tensor, ends: list[int], expected: Tensor, unit: Tensor, start: int, end: int) -> Tensor:
    """Return errors of a block in units, ``(s, n, end - start)``, NaN where anything is unknown."""
    truth = _rows_before(rows, [at + end for at in ends], end - start)
    return (truth - expected[..., start:end]) / unit[..., None]


def _squares(errors: Tensor) -> Tensor:
    """Return the sum of outer products of all errors that are known, each scaled down to :data:`LARGEST_ERROR`."""
    errors = errors.flatten(0, 1)
    errors, calm = _clipped(errors[~errors.isnan().any(-1)], errors.shape[-1])
    return errors.T @ (errors * calm[:, None])


def _clipped(values: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Return values of a block of so many rows, scaled down where they are too long, and by how much, the weight then."""
    length = torch.linalg.vector_norm(values, dim=-1)
    calm = 1 / (length / (LARGEST_ERROR * rows**0.5)).clamp_min(1.0)
    return values * calm[..., None], calm


def _running(terms: Tensor, start: Tensor, decay: float) -> Tensor:
    """Return ``y_t = decay y_(t-1) + terms_t`` from ``start`` ``(s, w)`` on, ``(s, n, w)``, in this order under any cut."""
    if terms.shape[1] <= start.numel():  # few steps of many sums
        out, last = torch.empty_like(terms), start
        for t in range(terms.shape[1]):
            last = torch.add(terms[:, t], last, alpha=decay, out=out[:, t])
        return out
    found, _ = lfilter([1.0], [1.0, -decay], terms.numpy(), axis=1, zi=(decay * start)[:, None].numpy())
    return torch.from_numpy(found)
