"""What a linear memory begins with: its directions, keys, half-life, paces, priors and shares, by out-of-block errors."""

from __future__ import annotations

import math
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from titans_ts.backbones.state import join
from titans_ts.learn import distributed
from titans_ts.learn.acceptance import MemoryGain, by_stretch, memory_gain
from titans_ts.series.base.linear_memory import (
    BEGUN,
    LARGEST_ERROR,
    PIECE,
    REMEMBERED,
    LinearMemory,
    Looks,
    calmed,
    clipped,
    look_backs,
    rows_before,
    running,
    units_of,
    weighed,
)

HALF_LIVES = (64.0, 256.0, 1024.0)
"""Boundaries after which a write counts half; ``learn`` judges."""
PACES = (0.3, 1.0, 3.0)
"""How fast answers that err more than others are left, in units of the errors; ``learn`` judges."""
FEWEST_STREAMS = 8
"""Streams from which on one half can tell what the other knows, so that a prior can be judged."""
POOLED_PENALTY = 100.0
"""Weight of no prior, in writes of the whole panel."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of what is read that are said; ``learn`` judges."""
WIDEST = 4
"""Whitened directions from which keys are taken, of each key, where there are streams enough to tell by."""
SMALLEST_SHARE_OF_VARIANCE = 1e-6
"""Directions of the look-back with less than this of the largest variance are no keys."""
JUDGED = 3_000
"""Boundaries that ``learn`` judges by: the latest of every stream, of streams evenly spaced."""
WINDOWS = 20_000
"""Look-backs that the directions are taken from, evenly spaced."""


class Half(NamedTuple):
    """What a half of the streams hears while others learn: what the other half knows."""

    whitening: Tensor
    prior: Tensor


class Learned(NamedTuple):
    """What learning found."""

    gains: list[MemoryGain]  # of each block: what its share takes off the error, the root mean square over its rows
    apart: tuple[Half, ...]  # for either half of the streams, where they hear anything of the panel's


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


@torch.no_grad()
def learn(
    memory: LinearMemory, rows: Tensor, ends: Tensor, expected: Tensor, size: Tensor, *, caution: float = 1.0
) -> Learned:
    """Find directions, keys, half-life, and pace, prior and share of every block by the base's out-of-block errors.

    ``rows`` ``(s, t)`` start at row 0 of every stream, ``ends`` ``(n,)`` are all boundaries, ``expected`` ``(s, n, f)``
    the out-of-block forecasts there, NaN where there are none. Every boundary is read before its errors are written. A
    prior is judged by what half of the streams knows of the other half.
    """
    if not rows.shape[1] or not len(ends):
        return Learned([], ())
    unit = _measured(memory, rows, ends, size)
    _find_directions(memory, rows, ends, expected, unit)
    best: tuple[Learned, dict[str, Tensor]] | None = None
    for whitening, *halves in _find_keys(memory, rows, ends, expected, unit):
        memory.whitening.copy_(whitening)
        found = _judge_all(memory, rows, ends, expected, unit, caution, halves)
        if best is None or sum(one.gain for one in found.gains) > sum(one.gain for one in best[0].gains):
            best = found, {name: x.clone() for name, x in memory.state_dict().items()}
    assert best is not None
    memory.load_state_dict(best[1])
    return best[0]


@torch.no_grad()
def read_apart(memory: LinearMemory, learned: Learned, rows: Tensor, ends: Tensor, expected: Tensor, size: Tensor) -> Tensor:
    """Return what to add ``(s, n, f)`` for the streams of ``learn``, each with prior and keys of the half it is not in.

    So what follows learns from errors that these have not seen.
    """
    if not learned.apart:
        return _read(memory, rows, ends, expected, size)
    whitening, prior = memory.whitening.clone(), memory.prior.clone()
    some = _evenly(len(rows), WINDOWS // max(len(ends), 1))
    cut, said = int(some[len(some) // 2]), []
    for part, half in zip((slice(cut), slice(cut, None)), learned.apart, strict=True):
        memory.whitening.copy_(half.whitening)
        memory.prior.copy_(half.prior)
        each = rows[part], ends, expected[part], size[part]
        said.append(_read(memory, *each))
    memory.whitening.copy_(whitening)
    memory.prior.copy_(prior)
    return torch.cat(said)


def _read(memory: LinearMemory, rows: Tensor, ends: Tensor, expected: Tensor, size: Tensor) -> Tensor:
    """Return what a memory adds ``(s, n, f)`` to streams that begin."""

    def read(some: slice) -> Tensor:
        given = rows[some], ends, expected[some], size[some]
        return memory.read(*given, memory.initial(len(given[0])))[0]

    found: Tensor = join(distributed.shared(read, len(rows)))
    return found


def _judge_all(
    memory: LinearMemory, rows: Tensor, ends: Tensor, expected: Tensor, unit: Tensor, caution: float, halves: list[Tensor]
) -> Learned:
    """Choose what the keys are best used with; each half of the streams by keys of the other half."""
    some = _evenly(len(rows), WINDOWS // len(ends))
    rows, expected, unit, at = rows[some], expected[some, -JUDGED:], unit[some, -JUDGED:], ends[-JUDGED:].tolist()
    looks, half = look_backs(rows, at, memory.lookback), len(rows) // 2
    keys = memory.keys_of(looks)
    if halves:
        keys = torch.cat([memory.keys_of(looks, halves[1])[:half], memory.keys_of(looks, halves[0])[half:]])
    writable = ~unit.isnan() & expected.isfinite().all(-1) & looks.seen
    blocks = range(len(memory.blocks))
    errors = [_errors(memory, b, rows, at, expected, unit) for b in blocks]
    written = [(keys, values * writable[..., None], known & writable) for values, _, known in errors]
    # keys of two kinds have no weights in common, and few streams no other half
    priors = [[] if halves or len(rows) < FEWEST_STREAMS else [_pooled_by_half(*each)] for each in written]
    kept = _evenly(len(rows), JUDGED // len(at))
    judged = [_Judged(*(x[kept] for x in (*written[b][1:], *errors[b]))) for b in blocks]
    own = [[prior[(kept >= half).long()] for prior in each] for each in priors]
    best: list[_Tried] = []

    def try_some(some: slice) -> list[tuple[float, list[_Tried]]]:
        found = []
        for half_life in list(HALF_LIVES)[some]:
            decay = 0.5 ** (1 / half_life)
            grams = memory.grams(keys[kept], writable[kept], keys.new_zeros(len(kept), len(memory._lower[0])), decay)
            found.append((decay, [_try(memory, b, decay, keys[kept], grams, own[b], judged[b]) for b in blocks]))
        return found

    for decay, tried in chain.from_iterable(distributed.shared(try_some, len(HALF_LIVES))):
        if not best or sum(one.error for one in tried) < sum(one.error for one in best):
            best = tried
            memory.decay.fill_(decay)
    apart = [torch.zeros_like(memory.prior), torch.zeros_like(memory.prior)]
    for b, one in enumerate(best):
        columns = memory.columns[b]
        memory.prior[:, columns] = _pooled(*written[b]) if one.from_panel else 0.0
        if one.from_panel:
            for theirs, prior in zip(apart, priors[b][0], strict=True):
                theirs[:, columns] = prior
        memory.pace[b] = one.pace
        memory.worth[b] = one.worth.mean(0)
    gains = [_settle(memory, b, one, judged[b], caution) for b, one in enumerate(best)]
    if not halves and not bool(memory.prior.any()):
        return Learned(gains, ())
    keyed = halves[::-1] or 2 * [memory.whitening.clone()]
    return Learned(gains, tuple(Half(*each) for each in zip(keyed, apart, strict=True)))


def _try(
    memory: LinearMemory, b: int, decay: float, keys: Tensor, grams: Tensor, priors: list[Tensor], judged: _Judged
) -> _Tried:
    """Find the prior and the pace that do best with one half-life."""
    values, heard, truth, whole, known = judged
    delay, (streams, n, d) = memory.delays[b], keys.shape
    nothing = keys.new_zeros(streams, d, values.shape[-1])
    lost = keys.new_zeros(streams, 1 + len(memory.answers))
    best = _Tried(math.inf, torch.zeros_like(truth), PACES[0], False, lost)
    if n <= delay or not known[:, delay:].any():
        return best._replace(error=0.0)
    weights = memory.weights_of(keys[:, delay:], grams[:, :-delay])
    cross = memory.crosses(keys[:, :-delay], values[:, :-delay], nothing, decay)
    for place, prior in enumerate([nothing, *priors]):
        found = memory.answers_of(weights, cross, prior[:, None])
        told = nn.functional.pad(found, (0, 0, 0, 0, delay, 0))[:, :-delay]
        losses = memory.lost(b, told, values[:, :-delay], heard[:, :-delay])
        worth = _worth(losses, heard[:, :-delay])
        sums = running(losses, lost, 0.5 ** (1 / REMEMBERED))
        for pace in PACES:
            words = nn.functional.pad(weighed(pace, sums + BEGUN * _of_others(worth)[:, None], found), (0, 0, delay, 0))
            error = float(_block_error(words, truth, whole)[:, delay:][known[:, delay:]].sum())
            if error < best.error:
                best = _Tried(error, words, pace, place > 0, worth)
    return best


def _settle(memory: LinearMemory, b: int, tried: _Tried, judged: _Judged, caution: float) -> MemoryGain:
    """Choose the block's share, with caution."""
    *_, truth, whole, known = judged
    delay = memory.delays[b]
    if known.shape[1] <= delay or not known.any():
        memory.share[b] = 0.0
        return memory_gain(whole.new_zeros(1, 0), caution=caution)
    words, truth, whole, heard = (x[:, delay:] for x in (tried.words, truth, whole, known.double()))
    found = [by_stretch(_block_error(share * words, truth, whole) * heard, heard, delay) for share in SHARES]
    gain = memory_gain(torch.stack(found), caution=caution, shares=SHARES)
    memory.share[b] = gain.share
    return gain


def _measured(memory: LinearMemory, rows: Tensor, ends: Tensor, size: Tensor) -> Tensor:
    """Return the unit of errors at every boundary, ``(s, n)``, NaN where unknown."""
    parts = torch.arange(len(ends)).split(max(PIECE // max(rows.shape[0] * memory.lookback, 1), 1))
    looks = (look_backs(rows, ends[some].tolist(), memory.lookback) for some in parts)
    return torch.cat([units_of(each, size[:, some]) for each, some in zip(looks, parts, strict=True)], dim=1)


def _find_directions(memory: LinearMemory, rows: Tensor, ends: Tensor, expected: Tensor, unit: Tensor) -> None:
    """Take the principal directions of each block's errors."""
    memory.directions.zero_()
    for (start, end), columns in zip(memory.blocks, memory.columns, strict=True):
        gram = rows.new_zeros(end - start, end - start)
        for some in torch.arange(len(ends)).split(max(PIECE // max(rows.shape[0] * (end - start), 1), 1)):
            gram += _squares(_block_errors(rows, ends[some].tolist(), expected[:, some], unit[:, some], start, end))
        vectors = torch.linalg.eigh(gram)[1].flip(1)[:, : columns.stop - columns.start]
        memory.directions[columns, start:end] = vectors.T


def _find_keys(memory: LinearMemory, rows: Tensor, ends: Tensor, expected: Tensor, unit: Tensor) -> list[tuple[Tensor, ...]]:
    """Return whitenings to try: the directions of the look-backs that vary most, and those that tell most of errors.

    The latter need streams enough to tell by, and come with what each half of the streams alone says, by which the other
    half judges. What a look-back is centred on is set.
    """
    some, part = _evenly(len(rows), WINDOWS // len(ends)), _evenly(len(ends), WINDOWS // len(rows))
    rows, at = rows[some], ends[part].tolist()
    looks = look_backs(rows, at, memory.lookback)
    used = looks.windows[looks.seen & (looks.windows.square().sum(-1) > 0)]
    plain = torch.zeros_like(memory.whitening)
    if len(used) < 2:
        return [(plain,)]
    memory.mean.copy_(used.mean(0))
    used = used - memory.mean
    variances, vectors = torch.linalg.eigh(used.T @ used / len(used))
    count, most = len(plain), min(WIDEST * len(plain), memory.lookback)
    variances, vectors = variances.flip(0)[:most], vectors.flip(1)[:, :most]
    good = variances > SMALLEST_SHARE_OF_VARIANCE * variances[0]
    found = (vectors[:, good] / variances[good].sqrt()).T
    plain[: len(found)] = found[:count]
    if len(rows) < FEWEST_STREAMS or len(found) <= count:
        return [(plain,)]
    return [(plain,), _telling(memory, found, looks, rows, at, expected[some][:, part], unit[some][:, part])]


def _telling(
    memory: LinearMemory, whitened: Tensor, looks: Looks, rows: Tensor, at: list[int], expected: Tensor, unit: Tensor
) -> tuple[Tensor, ...]:
    """Return the directions ``(d - 1, l)``, of whitened ones ``(w, l)``, in which ridges of streams are largest.

    Of all streams, of the first half, and of the second.
    """
    keys = calmed((looks.windows - memory.mean) @ whitened.T)
    of_block = [_errors(memory, b, rows, at, expected, unit) for b in range(len(memory.blocks))]
    eye = torch.eye(len(whitened), dtype=torch.float64)
    first = 1e-9 * torch.linspace(1, 0, len(whitened), dtype=torch.float64).diag()  # of equal ones those that vary most
    totals = [first.clone(), first]
    for s in range(len(rows)):
        for values, _, known in of_block:
            weighted = keys[s] * (known & looks.seen)[s][:, None]
            own = torch.linalg.solve(weighted.T @ keys[s] + POOLED_PENALTY * eye, weighted.T @ values[s])
            totals[s >= len(rows) // 2] += own @ own.T
    each = totals[0] + totals[1], *totals
    return tuple(torch.linalg.eigh(total)[1].flip(1)[:, : memory.features - 1].T @ whitened for total in each)


def _errors(
    memory: LinearMemory, b: int, rows: Tensor, ends: list[int], expected: Tensor, unit: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the block's projected errors ``(s, n, p)`` and whole squared errors, 0 where unknown, and where known."""
    start, end = memory.blocks[b]
    errors = _block_errors(rows, ends, expected, unit, start, end)
    known = ~errors.isnan().any(-1)
    errors = torch.where(known[..., None], errors, 0)
    values = errors @ memory.directions[memory.columns[b], start:end].T
    calm, _ = clipped(values, end - start)
    rest = (errors.square().sum(-1) - values.square().sum(-1)).clamp(0, LARGEST_ERROR**2 * (end - start))
    return calm, calm.square().sum(-1) + rest, known


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


def _block_errors(rows: Tensor, ends: list[int], expected: Tensor, unit: Tensor, start: int, end: int) -> Tensor:
    """Return errors of a block in units, ``(s, n, end - start)``, NaN where anything is unknown."""
    truth = rows_before(rows, [at + end for at in ends], end - start)
    return (truth - expected[..., start:end]) / unit[..., None]


def _squares(errors: Tensor) -> Tensor:
    """Return the sum of outer products of all errors that are known, each scaled down to :data:`LARGEST_ERROR`."""
    errors = errors.flatten(0, 1)
    errors, calm = clipped(errors[~errors.isnan().any(-1)], errors.shape[-1])
    return errors.T @ (errors * calm[:, None])
