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
PENALTIES = (8.0, 32.0, 128.0, 512.0)
"""Weight of the prior, in writes; ``learn`` judges."""
DOUBTS = (10.0, 100.0, 1000.0)
"""Weight of the trust that a stream's memory has at first, in squared sizes that were said; ``learn`` judges."""
FAITHS = (0.0, 0.5, 1.0)
"""Trust that a stream's memory has at first; ``learn`` judges."""
TRUSTED = 1024.0
"""Boundaries after which what a stream's memory was worth counts half."""
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

    grams: Tensor  # s b (d (d + 1) / 2), the packed lower half of each block's sum of k k'
    crosses: Tensor  # s d p, sums of k v', the columns of each block with its own decay and delay
    trust: Tensor  # s b 2, sums of what was said times what came, and of what was said squared
    keys: Tensor  # s w d
    expected: Tensor  # s e, block by block what was expected at the last boundaries, as many as its delay, projected
    said: Tensor  # s e, what the sums said there, whole and in sizes
    size: Tensor  # s w, the unit of the errors then; 0 where nothing was expected

    @property
    def nbytes(self) -> int:
        """Size in bytes, of all streams."""
        return sum(x.numel() * x.element_size() for x in self)


class LinearMemory(nn.Module):
    """Ridge with forgetting for every stream and block of the horizon: sums, no inverse.

    ``G <- a G + k k'`` and ``C <- a C + k v'`` at every boundary, and what is said is ``share k' (G + l I)^-1 (C + l M_0)``,
    ``l`` not forgotten: so sums are bounded, cuts do not matter, and silence leads back to the prior ``M_0``.
    A key ``k`` is 1 and whitened directions of the look-back, less its mean and over its standard deviation; a value ``v``
    is the base's error, in sizes, in the directions of one block. Each stream hears its memory as far as that has been right
    so far. Blank it says nothing; ``learn`` or a file fills it.
    """

    mean: Tensor  # l
    whitening: Tensor  # (d - 1) l
    directions: Tensor  # p f, zero outside each one's block, orthonormal
    prior: Tensor  # d p
    decay: Tensor  # b
    penalty: Tensor  # b
    doubt: Tensor  # b
    faith: Tensor  # b
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
        blocks = len(self.blocks)
        self.register_buffer("mean", torch.zeros(lookback, dtype=torch.float64))
        self.register_buffer("whitening", torch.zeros(self.features - 1, lookback, dtype=torch.float64))
        self.register_buffer("directions", torch.zeros(ends[-1], horizon, dtype=torch.float64))
        self.register_buffer("prior", torch.zeros(self.features, ends[-1], dtype=torch.float64))
        self._apart: list[Tensor] = []  # while it is learned: for either half of the streams what the other half knows
        self._halves: list[Tensor] = []  # and the whitenings that either half says, where keys tell of errors
        self.register_buffer("decay", torch.full((blocks,), 0.5 ** (1 / HALF_LIVES[1]), dtype=torch.float64))
        self.register_buffer("penalty", torch.full((blocks,), PENALTIES[2], dtype=torch.float64))
        self.register_buffer("doubt", torch.full((blocks,), DOUBTS[1], dtype=torch.float64))
        self.register_buffer("faith", torch.zeros(blocks, dtype=torch.float64))
        self.register_buffer("share", torch.zeros(blocks, dtype=torch.float64))
        self._lower = np.tril_indices(self.features)
        square = np.zeros((self.features, self.features), dtype=np.int64)
        square[self._lower] = np.arange(len(self._lower[0]))
        self._square = torch.from_numpy((np.tril(square) + np.tril(square, -1).T).ravel())

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
            zeros(len(self.blocks), d * (d + 1) // 2),
            zeros(d, p),
            zeros(len(self.blocks), 2),
            zeros(self.waiting, d),
            zeros(sum(self._pending)),
            zeros(sum(self._pending)),
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
            Unit of the errors, above 0; NaN where it is unknown, and nothing is said or written there.
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
        streams, wide = rows.shape[0], max(carry.grams.shape[-1], self.features * self.directions.shape[0])
        step = max(PIECE // max(streams * wide, 1), 1)
        for first in range(0, len(at), step):
            piece = slice(first, first + step)
            words, carry = self._read_piece(rows, at[piece], expected[:, piece], size[:, piece], carry)
            said.append(words)
        return torch.cat(said, dim=1) if said else torch.zeros_like(expected), carry

    @torch.no_grad()
    def forecast(self, rows: Tensor, ends: Tensor, size: Tensor, carry: LinearMemoryCarry) -> Tensor:
        """Return what to add to forecasts after ``ends`` rows of ``rows``, between boundaries too; nothing is written."""
        known, unit = _usable(size)
        keys = self._keys(rows, ends.tolist())
        said = []
        for b, columns in enumerate(self.columns):
            sums = carry.grams[:, b], carry.crosses[..., columns]
            gram, cross = (x[:, None].expand(-1, len(ends), *x.shape[1:]) for x in sums)
            said.append(self._share(b, carry.trust[:, b])[:, None, None] * self._recall(b, keys, gram, cross))
        return torch.where(known, unit, 0)[..., None] * (torch.cat(said, dim=-1) @ self.directions)

    def _read_piece(
        self, rows: Tensor, ends: list[int], expected: Tensor, size: Tensor, carry: LinearMemoryCarry
    ) -> tuple[Tensor, LinearMemoryCarry]:
        """Read as many boundaries as fit into memory at once."""
        known, unit = _usable(size)
        keys = self._keys(rows, ends)
        projected = expected @ self.directions.T
        writable = known & projected.isfinite().all(-1) & self._seen(rows, ends)
        projected = torch.where(writable[..., None], projected, 0)
        all_keys = torch.cat([carry.keys, keys], dim=1)
        all_size = torch.cat([carry.size, torch.where(writable, unit, 0)], dim=1)
        waiting = zip(carry.expected.split(self._pending, dim=-1), carry.said.split(self._pending, dim=-1), strict=True)
        said, left, sums = [], [], []
        for b, (before, words) in enumerate(waiting):
            columns, delay, decay = self.columns[b], self.delays[b], float(self.decay[b])
            due = slice(self.waiting - delay, self.waiting - delay + len(ends))
            thought = torch.cat([before.unflatten(-1, (delay, -1)), projected[..., columns]], dim=1)
            values, weight = self._realised(b, rows, ends, thought[:, : len(ends)], all_size[:, due])
            gram, cross = self._sums(decay, all_keys[:, due], values, weight, carry.grams[:, b], carry.crosses[..., columns])
            found = self._recall(b, keys, gram, cross)
            told = torch.cat([words.unflatten(-1, (delay, -1)), found], dim=1)
            trust = self._trust(told[:, : len(ends)], values, weight, carry.trust[:, b])
            said.append(self._share(b, trust)[..., None] * found)
            left.append((thought[:, -delay:].flatten(1), told[:, -delay:].flatten(1)))
            sums.append((gram[:, -1], cross[:, -1], trust[:, -1]))
        grams, crosses, trusts = zip(*sums, strict=True)
        after = LinearMemoryCarry(
            torch.stack(grams, dim=1),
            torch.cat(crosses, dim=-1),
            torch.stack(trusts, dim=1),
            all_keys[:, -self.waiting :].clone(),
            torch.cat([x for x, _ in left], dim=-1),
            torch.cat([x for _, x in left], dim=-1),
            all_size[:, -self.waiting :].clone(),
        )
        return torch.where(known, unit, 0)[..., None] * (torch.cat(said, dim=-1) @ self.directions), after

    def _seen(self, rows: Tensor, ends: list[int]) -> Tensor:
        """Return whether enough of the look-back is there, ``(s, n)``: errors of a base that knows too little mislead."""
        there = _rows_before((~rows.isnan()).double(), ends, self.lookback).nan_to_num(0.0)
        return there.mean(-1) >= LEAST_SEEN

    def _keys(self, rows: Tensor, ends: list[int], whitening: Tensor | None = None) -> Tensor:
        """Return keys ``(s, n, d)``: 1, and the whitened look-back."""
        whitening = self.whitening if whitening is None else whitening
        key = _calm((_windows(rows, ends, self.lookback) - self.mean) @ whitening.T)
        return torch.cat([torch.ones_like(key[..., :1]), key], dim=-1)

    def _realised(self, b: int, rows: Tensor, ends: list[int], expected: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """Return values ``(s, n, p)`` and weights ``(s, n)`` that block ``b`` writes, of what was expected its delay ago."""
        start, end = self.blocks[b]
        back = self.delays[b] * self.patch_length
        truth = _rows_before(rows, [at - back + end for at in ends], end - start)
        weight = (size > 0) & ~truth.isnan().any(-1)
        values = truth.nan_to_num(0.0) @ self.directions[self.columns[b], start:end].T - expected
        values = torch.where(weight[..., None], values / torch.where(weight, size, 1)[..., None], 0)
        values, calm = _clipped(values, end - start)
        return values, weight * calm

    def _sums(
        self, decay: float, keys: Tensor, values: Tensor, weight: Tensor, gram: Tensor, cross: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the running sums after each write, ``(s, n, d (d + 1) / 2)`` and ``(s, n, d, p)``."""
        weighted = keys * weight[..., None]
        products = weighted[..., self._lower[0]] * keys[..., self._lower[1]]
        outer = (weighted[..., None] * values[..., None, :]).flatten(2)
        return _running(products, gram, decay), _running(outer, cross.flatten(1), decay).unflatten(-1, cross.shape[1:])

    def _recall(self, b: int, keys: Tensor, gram: Tensor, cross: Tensor) -> Tensor:
        """Return what the block's sums say to the keys, ``(s, n, p)``, in sizes; nothing where it is never heard."""
        if not self.share[b]:
            return keys.new_zeros(*keys.shape[:2], cross.shape[-1])
        penalty = float(self.penalty[b])
        weights = self._weights(keys, gram, penalty)
        return (weights[..., None, :] @ (cross + penalty * self.prior[:, self.columns[b]]))[..., 0, :]

    def _trust(self, said: Tensor, values: Tensor, weight: Tensor, start: Tensor) -> Tensor:
        """Return running sums ``(s, n, 2)`` of how what was said agrees with what came."""
        agreed = torch.stack([(said * values).sum(-1), said.square().sum(-1)], dim=-1) * weight[..., None]
        return _running(agreed, start, 0.5 ** (1 / TRUSTED))

    def _share(self, b: int, trust: Tensor) -> Tensor:
        """Return which share of its memory's words each stream hears: the block's, times its own trust in [0, 1]."""
        return self.share[b] * _own_share(trust, float(self.doubt[b]), float(self.faith[b]))

    def _weights(self, keys: Tensor, gram: Tensor, penalty: float) -> Tensor:
        """Return ``(G + l I)^-1 k``, ``(s, n, d)``."""
        full = gram[..., self._square].unflatten(-1, (self.features, self.features)).contiguous()
        full.diagonal(dim1=-2, dim2=-1).add_(penalty)
        return torch.cholesky_solve(keys[..., None], torch.linalg.cholesky(full))[..., 0]

    @torch.no_grad()
    def learn(self, rows: Tensor, ends: Tensor, expected: Tensor, size: Tensor, *, caution: float = 1.0) -> list[MemoryGain]:
        """Find directions, decay, penalty, prior and share of every block by the base's out-of-block errors.

        ``rows`` ``(s, t)`` start at row 0 of every stream, ``ends`` ``(n,)`` are all boundaries, ``expected`` ``(s, n, f)``
        the out-of-block forecasts there, NaN where there are none. Every boundary is read before its errors are written. A
        prior is judged by what half of the streams knows of the other half. Returned is what each block's share takes off
        the error, the root mean square over the block's rows.
        """
        self._apart, self._halves = [torch.zeros_like(self.prior), torch.zeros_like(self.prior)], []
        if not rows.shape[1] or not len(ends):
            return []
        self._find_directions(rows, ends, expected, size)
        best: tuple[list[MemoryGain], dict[str, Tensor], list[Tensor], list[Tensor]] | None = None
        for whitening, *halves in self._find_keys(rows, ends, expected, size):
            self.whitening.copy_(whitening)
            gains = self._judge_all(rows, ends, expected, size, caution, halves)
            if best is None or sum(one.gain for one in gains) > sum(one.gain for one in best[0]):
                best = gains, {name: x.clone() for name, x in self.state_dict().items()}, self._apart, halves
            self._apart = [torch.zeros_like(self.prior), torch.zeros_like(self.prior)]
        assert best is not None
        gains, learned, self._apart, self._halves = best
        self.load_state_dict(learned)
        return gains

    def _judge_all(
        self, rows: Tensor, ends: Tensor, expected: Tensor, size: Tensor, caution: float, halves: list[Tensor]
    ) -> list[MemoryGain]:
        """Choose what the keys are best used with, block by block; each half of the streams by keys of the other half."""
        some = _evenly(len(rows), WINDOWS // len(ends))
        rows, expected, size, at = rows[some], expected[some, -JUDGED:], size[some, -JUDGED:], ends[-JUDGED:].tolist()
        seen, half = self._seen(rows, at), len(rows) // 2
        if halves:
            keys = torch.cat([self._keys(rows[:half], at, halves[1]), self._keys(rows[half:], at, halves[0])])
        else:
            keys = self._keys(rows, at)
        errors = [self._errors(b, rows, at, expected, size) for b in range(len(self.blocks))]
        pooled = not halves  # keys of two kinds have no weights in common
        return [self._judge(b, keys, seen, *of_block, caution, pooled=pooled) for b, of_block in enumerate(errors)]

    @torch.no_grad()
    def read_apart(self, rows: Tensor, ends: Tensor, expected: Tensor, size: Tensor) -> Tensor:
        """Return what to add ``(s, n, f)`` for the streams of ``learn``, each with prior and keys of the half it is not in.

        So what follows learns from errors that these have not seen. It is called once, right after ``learn``.
        """
        if not bool(self.prior.any()) and not self._halves:
            return self.read(rows, ends, expected, size, self.initial(len(rows)))[0]
        prior, whitening = self.prior.clone(), self.whitening.clone()
        some = _evenly(len(rows), WINDOWS // max(len(ends), 1))
        cut = int(some[len(some) // 2])
        others = self._halves[::-1] or [whitening, whitening]
        said = []
        for part, of_prior, of_keys in zip((slice(cut), slice(cut, None)), self._apart, others, strict=True):
            self.prior.copy_(of_prior)
            self.whitening.copy_(of_keys)
            each = rows[part], ends, expected[part], size[part]
            said.append(self.read(*each, self.initial(len(each[0])))[0])
        self.prior.copy_(prior)
        self.whitening.copy_(whitening)
        self._apart, self._halves = [], []
        return torch.cat(said)

    def _find_keys(self, rows: Tensor, ends: Tensor, expected: Tensor, size: Tensor) -> list[tuple[Tensor, ...]]:
        """Return whitenings to try: the directions of the look-backs that vary most, and those that tell most of errors.

        The latter need streams enough to tell by, and come with what each half of the streams alone says, by which the other
        half judges. What a look-back is centred on is set.
        """
        some, part = _evenly(len(rows), WINDOWS // len(ends)), _evenly(len(ends), WINDOWS // len(rows))
        rows, at = rows[some], ends[part].tolist()
        seen = self._seen(rows, at)
        windows = _windows(rows, at, self.lookback)
        used = windows[seen & (windows.square().sum(-1) > 0)]
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
        return [(plain,), self._telling(found, windows, seen, rows, at, expected[some][:, part], size[some][:, part])]

    def _telling(
        self, whitened: Tensor, windows: Tensor, seen: Tensor, rows: Tensor, at: list[int], expected: Tensor, size: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the directions ``(d - 1, l)``, of whitened ones ``(w, l)``, in which ridges of streams are largest.

        Of all streams, of the first half, and of the second.
        """
        keys = _calm((windows - self.mean) @ whitened.T)
        of_block = [self._errors(b, rows, at, expected, size) for b in range(len(self.blocks))]
        eye = torch.eye(len(whitened), dtype=torch.float64)
        first = 1e-9 * torch.linspace(1, 0, len(whitened), dtype=torch.float64).diag()  # of equal ones those that vary most
        totals = [first.clone(), first]
        for s in range(len(rows)):
            for values, _, weight in of_block:
                weighted = keys[s] * (weight * seen)[s][:, None]
                own = torch.linalg.solve(weighted.T @ keys[s] + POOLED_PENALTY * eye, weighted.T @ values[s])
                totals[s >= len(rows) // 2] += own @ own.T
        each = totals[0] + totals[1], *totals
        return tuple(torch.linalg.eigh(total)[1].flip(1)[:, : self.features - 1].T @ whitened for total in each)

    def _find_directions(self, rows: Tensor, ends: Tensor, expected: Tensor, size: Tensor) -> None:
        """Take the principal directions of each block's errors."""
        self.directions.zero_()
        for (start, end), columns in zip(self.blocks, self.columns, strict=True):
            gram = rows.new_zeros(end - start, end - start)
            for some in torch.arange(len(ends)).split(max(PIECE // max(rows.shape[0] * (end - start), 1), 1)):
                gram += _squares(_block_errors(rows, ends[some].tolist(), expected[:, some], size[:, some], start, end))
            vectors = torch.linalg.eigh(gram)[1].flip(1)[:, : columns.stop - columns.start]
            self.directions[columns, start:end] = vectors.T

    def _errors(
        self, b: int, rows: Tensor, ends: list[int], expected: Tensor, size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the block's projected errors ``(s, n, p)``, its whole squared errors and weights, 0 where unknown."""
        start, end = self.blocks[b]
        errors = _block_errors(rows, ends, expected, size, start, end)
        known = ~errors.isnan().any(-1)
        errors = torch.where(known[..., None], errors, 0)
        values = errors @ self.directions[self.columns[b], start:end].T
        clipped, calm = _clipped(values, end - start)
        rest = (errors.square().sum(-1) - values.square().sum(-1)).clamp(0, LARGEST_ERROR**2 * (end - start))
        return clipped, clipped.square().sum(-1) + rest, known * calm

    def _judge(
        self,
        b: int,
        keys: Tensor,
        seen: Tensor,
        values: Tensor,
        whole: Tensor,
        weight: Tensor,
        caution: float,
        *,
        pooled: bool,
    ) -> MemoryGain:
        """Choose the block's half-life, penalty, prior and doubt, the best of each, and then its share, with caution."""
        delay = self.delays[b]
        if keys.shape[1] <= delay or not weight.any():
            self.share[b] = 0.0
            return memory_gain(whole.new_zeros(1, 0), caution=caution)
        known = keys, values, weight * seen
        priors, some = _priors(*known)[: None if pooled else 1], _evenly(len(keys), JUDGED // keys.shape[1])
        written = tuple(x[some, :-delay] for x in known)
        read, truth, whole = (x[some, delay:] for x in (keys, values, whole))
        heard = (weight[some, delay:] > 0).double()

        def errors(words: Tensor, share: float) -> Tensor:
            """Root mean square over the block, ``(s, n)``: squared over rows, absolute over boundaries."""
            gone = 2 * share * (words * truth).sum(-1) - share**2 * words.square().sum(-1)
            return (whole - gone).clamp_min(0).sqrt() * heard

        best, words, from_panel = math.inf, read.new_zeros(()), False
        for half_life in HALF_LIVES:
            decay = 0.5 ** (1 / half_life)
            tried = self._run(decay, [prior[some] for prior in priors], read, *written)
            for (penalty, prior), found in zip(product(PENALTIES, range(len(priors))), tried, strict=True):
                told = nn.functional.pad(found, (0, 0, delay, 0))[:, :-delay]
                trust = self._trust(told, written[1], written[2], values.new_zeros(len(some), 2))
                for doubt, faith in product(DOUBTS, FAITHS):
                    own = _own_share(trust, doubt, faith)[..., None] * found
                    error = float(errors(own, 1.0).sum())
                    if error < best:
                        best, words, from_panel = error, own, prior > 0
                        self.decay[b], self.penalty[b], self.doubt[b], self.faith[b] = decay, penalty, doubt, faith
        self.prior[:, self.columns[b]] = _pooled(*known) if from_panel else 0.0
        if from_panel:
            for apart, theirs in zip(self._apart, (priors[1][0], priors[1][-1]), strict=True):
                apart[:, self.columns[b]] = theirs
        found = torch.stack([by_stretch(errors(words, share), heard, delay) for share in SHARES])
        gain = memory_gain(found, caution=caution, shares=SHARES)
        self.share[b] = gain.share
        return gain

    def _run(
        self, decay: float, priors: list[Tensor], read: Tensor, keys: Tensor, values: Tensor, weight: Tensor
    ) -> list[Tensor]:
        """Return what the sums say to the keys read after each write, ``(s, n, p)``, by penalty and then by prior."""
        streams, n, d = keys.shape
        gram, cross = keys.new_zeros(streams, d * (d + 1) // 2), keys.new_zeros(streams, d, values.shape[-1])
        said: list[list[Tensor]] = [[] for _ in PENALTIES for _ in priors]
        for some in torch.arange(n).split(max(PIECE // (streams * gram.shape[1]), 1)):
            grams, crosses = self._sums(decay, keys[:, some], values[:, some], weight[:, some], gram, cross)
            gram, cross = grams[:, -1], crosses[:, -1]
            weights = [self._weights(read[:, some], grams, penalty) for penalty in PENALTIES]
            for words, (i, prior) in zip(said, product(range(len(PENALTIES)), priors), strict=True):
                own = weights[i][..., None, :] @ crosses
                words.append(own[..., 0, :] + PENALTIES[i] * weights[i] @ prior)
        return [torch.cat(words, dim=1) for words in said]


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
    fixed = lookback + horizon + delays[-1] + 2 * len(delays)
    fixed += 2 * sum(delay * width for delay, width in zip(delays, widths, strict=True))
    for d in range(MOST_KEYS + 1, FEWEST_KEYS, -1):
        if 8 * (fixed + len(delays) * d * (d + 1) // 2 + d * (sum(widths) + delays[-1])) <= most:
            return d - 1
    return FEWEST_KEYS


def _calm(keys: Tensor) -> Tensor:
    """Return keys scaled down where their root mean square is above :data:`LARGEST_KEY`."""
    return keys / (keys.square().mean(-1, keepdim=True).sqrt() / LARGEST_KEY).clamp_min(1.0)


def _own_share(trust: Tensor, doubt: float, faith: float) -> Tensor:
    """Return the share that would have been best so far, shrunk towards what it is at first."""
    return ((trust[..., 0] + doubt * faith) / (trust[..., 1] + doubt)).clamp(0.0, 1.0)


def _pooled(keys: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """Return what all streams know together, ``(d, p)``."""
    weighted = keys * weight[..., None]
    gram = torch.einsum("snd,sne->de", weighted, keys) + POOLED_PENALTY * torch.eye(keys.shape[-1], dtype=keys.dtype)
    return torch.linalg.solve(gram, torch.einsum("snd,snp->dp", weighted, values))


def _priors(keys: Tensor, values: Tensor, weight: Tensor) -> list[Tensor]:
    """Return priors ``(s, d, p)`` to try: nothing, and for either half of the streams what the other half knows."""
    nothing = keys.new_zeros(len(keys), keys.shape[-1], values.shape[-1])
    if len(keys) < FEWEST_STREAMS:
        return [nothing]
    half = len(keys) // 2
    first, second = (_pooled(keys[some], values[some], weight[some]) for some in (slice(half), slice(half, None)))
    return [nothing, torch.cat([second.expand(half, -1, -1), first.expand(len(keys) - half, -1, -1)])]


def _evenly(n: int, most: int) -> Tensor:
    """Return at most so many of ``n`` places, one at least, evenly spaced."""
    return torch.linspace(0, n - 1, min(n, max(most, 1))).long()


def _usable(size: Tensor) -> tuple[Tensor, Tensor]:
    """Return whether sizes are known, and the sizes, 1 where they are not."""
    known = size.isfinite() & (size > 0)
    return known, torch.where(known, size, 1).double()


def _rows_before(rows: Tensor, ends: list[int], count: int) -> Tensor:
    """Return the ``count`` rows before each end, ``(s, n, count)``, NaN before the first row and after the last."""
    at = np.asarray(ends)[:, None] - count + np.arange(count)
    there = (at >= 0) & (at < rows.shape[1])
    found = rows[:, np.where(there, at, 0)] if rows.shape[1] else rows.new_zeros(rows.shape[0], *at.shape)
    return found if there.all() else torch.where(torch.from_numpy(there), found, math.nan)


def _windows(rows: Tensor, ends: list[int], lookback: int) -> Tensor:
    """Return the look-backs ``(s, n, l)`` less their mean and over their standard deviation, 0 where missing."""
    windows = _rows_before(rows, ends, lookback)
    there = ~windows.isnan()
    count = there.sum(-1, keepdim=True).clamp_min(1)
    centred = torch.where(there, windows - windows.nansum(-1, keepdim=True) / count, 0)
    spread = (centred.square().sum(-1, keepdim=True) / count).sqrt()
    return centred / torch.where(spread > 1e-9, spread, 1)


def _block_errors(rows: Tensor, ends: list[int], expected: Tensor, size: Tensor, start: int, end: int) -> Tensor:
    """Return errors of a block in sizes, ``(s, n, end - start)``, NaN where anything is unknown."""
    truth = _rows_before(rows, [at + end for at in ends], end - start)
    known, unit = _usable(size)
    return torch.where(known, 1 / unit, math.nan)[..., None] * (truth - expected[..., start:end])


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
