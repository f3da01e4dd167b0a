"""How far from its point a truth may lie: distances by step and level, in units of a size that follows the stream.

Distances are learned from errors of forecasts of rows that the base had not seen. What a stream hears at every boundary,
rows read that are a multiple of ``patch``, moves a level of its errors, a profile of their size by phase, and two factors,
below and above the median, for each block of the horizon. Sums fade; what is silent returns to what was learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy  # whose parts are imported when they are first used
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

GRID = np.arange(1, 200) / 200
"""Levels of the learned distances."""
LAPLACE = -np.sign(GRID - 0.5) * np.log(1 - np.abs(2 * GRID - 1))
"""Distances where no error is known."""
BLOCKS, TRACKED = 3, 4
"""Most blocks of a horizon, and most steps of each whose errors are heard."""
KNOTS = 12
"""Most steps at which distances are learned; between them they are straight in the logarithm of the step."""
PHASES = 12
"""Most parts of a season with a size of their own."""
LARGEST_FACTOR = 8.0
"""Bound of the factors, and of its inverse."""
MISSES = np.array([0.25, 0.1, 0.025])
"""Shares of truths beyond a bound on one side, towards which a factor works."""
SEASONS, FEWEST = 10, 28
"""Half-life of the level of errors in seasons, and its fewest boundaries; the profile's is four times that."""
DOUBT = 4.0
"""How many boundaries what was learned counts for beside what is heard."""
LARGEST_ERROR = 50.0
"""Most that one error counts for, in usual ones."""
FARTHEST = 1e-12
"""Share of truths beyond the farthest quantile."""
SMALLEST = 1e-4
"""Smallest size, in long-run spreads."""
REACHES = np.array([0.25, 0.4, 0.475])
"""Distances of a share from one half at which distances of young streams are stretched: those of the bounds missed."""
GROWN_UP = torch.zeros(0, 6, dtype=torch.float64)
"""What is known of the young where nothing was learned."""


class Spread(NamedTuple):
    """What is learned of errors: tensors of float64, and whole numbers."""

    horizon: int
    season: int
    patch: int
    knots: Tensor  # k, steps from 1
    distances: Tensor  # k L, in sizes, increasing along levels
    weights: Tensor  # 3 + j: constant, level of own errors, own profile, logarithms of j features
    usual: Tensor  # b k, mean absolute error at tracked steps in units of the first feature
    typical: Tensor  # b k, mean absolute error at tracked steps in sizes without a profile
    profile: Tensor  # p, mean size by phase, about 1
    pace: Tensor  # scalar, of the factors
    ranks: Tensor  # r f, int16, the copula
    young: Tensor = GROWN_UP  # a 6, by age: its logarithm, of the size a constant and a share of its features, 3 stretches


class SpreadCarry(NamedTuple):
    """What a stream keeps: float64 of fixed size, ``w`` boundaries wait for their truths."""

    waiting: Tensor  # s w b k, errors, or points whose truths are awaited
    sizes: Tensor  # s w 2, logarithms of first feature, and of all features weighted
    levels: Tensor  # s w b, logarithms of the level of errors at these origins
    level: Tensor  # s b 2, sums of absolute errors and of usual ones
    profile: Tensor  # s p 2, sum and weight of errors by phase
    factors: Tensor  # s b 2, logarithms, below and above


class SpreadSeen(NamedTuple):
    """What intervals at ``n`` origins need of what was heard."""

    level: Tensor  # s n b, logarithm
    profile: Tensor  # s n p, logarithm
    factors: Tensor  # s n b 2, logarithms


@lru_cache
def tracked_steps(horizon: int) -> NDArray[np.int64]:
    """Return the steps ``(b, k)``, from 1, whose errors are heard, in equal parts of the horizon."""
    blocks = min(BLOCKS, horizon)
    edges = np.round(np.linspace(0, horizon, blocks + 1)).astype(int)
    each = min(TRACKED, int(np.diff(edges).min()))
    return np.stack(
        [np.round(np.linspace(a, b, 2 * each + 1)[1::2] + 0.5).clip(a + 1, b) for a, b in pairwise(edges)]
    ).astype(int)


def blank(horizon: int, season: int, patch: int, features: int, templates: int) -> Spread:
    """Return what is believed of errors of which nothing was learned."""
    knots, tracked = knots_of(horizon), tracked_steps(horizon)
    return Spread(
        horizon=horizon,
        season=season,
        patch=patch,
        knots=torch.from_numpy(knots),
        distances=torch.from_numpy(np.tile(LAPLACE, (len(knots), 1))),
        weights=torch.tensor([0.0, 0.0, 0.0, 1.0, *[0.0] * (features - 1)], dtype=torch.float64),
        usual=torch.ones(tracked.shape, dtype=torch.float64),
        typical=torch.ones(tracked.shape, dtype=torch.float64),
        profile=torch.ones(max(min(PHASES, season), 1), dtype=torch.float64),
        pace=torch.tensor(0.0, dtype=torch.float64),
        ranks=torch.zeros(templates, horizon, dtype=torch.int16),
    )


def initial(spread: Spread, streams: int) -> SpreadCarry:
    """Return what streams ``s`` of which nothing was heard keep."""
    tracked = tracked_steps(spread.horizon)
    waits, blocks = int(_delays(tracked, spread.patch).max()), len(tracked)
    nan, none = float("nan"), torch.zeros(streams, dtype=torch.float64)
    return SpreadCarry(
        waiting=none.new_full((streams, waits, *tracked.shape), nan),
        sizes=none.new_zeros(streams, waits, 2),
        levels=none.new_zeros(streams, waits, blocks),
        level=none.new_zeros(streams, blocks, 2),
        profile=none.new_zeros(streams, len(spread.profile), 2),
        factors=none.new_zeros(streams, blocks, 2),
    )


def read(
    spread: Spread,
    carry: SpreadCarry,
    rows: Tensor,
    points: Tensor,
    features: Tensor,
    *,
    begin: int,
    ends: Tensor,
    age: Tensor | None = None,
) -> tuple[SpreadSeen, SpreadCarry]:
    """Hear rows ``(s, t)`` after ``begin`` others; return what was heard after ``ends`` ``(o,)`` of them, and the carry.

    The ``n`` boundaries are those in ``begin + 1 ... begin + t``; points ``(s, n, b, k)`` are the forecasts of tracked steps
    from there, features ``(s, n, j)`` the sizes there, NaN where there is no forecast. Age ``(s, n)`` is the rows since the
    stream's first; none is young by default.
    """
    tracked, patch = tracked_steps(spread.horizon), spread.patch
    first, last = begin // patch + 1, (begin + rows.shape[1]) // patch
    waits = carry.waiting.shape[1]
    values = np.concatenate([carry.waiting.numpy(), points.numpy()], 1)
    if rows.shape[1]:
        places = np.arange(first - waits, last + 1)[:, None, None] * patch + tracked - 1 - begin
        fresh = (places >= 0) & (places < rows.shape[1])
        values = np.where(fresh, rows.numpy()[:, places.clip(0, rows.shape[1] - 1)] - values, values)
    if last < first:
        heard, after = _unmoved(carry, spread), carry._replace(waiting=torch.from_numpy(values))
    else:
        logs = logs_of(features.numpy())
        both = np.stack([logs[..., 0], logs @ spread.weights.numpy()[3:]], -1) + _larger(spread, logs, age)[..., None]
        sizes_of = np.concatenate([carry.sizes.numpy(), both], 1)
        heard, after = hear(spread, values, sizes_of, carry, rows=np.array([[first * patch]]))
    which = (begin + ends.numpy()) // patch - first + 1
    seen = SpreadSeen(*(torch.from_numpy(x[:, which].copy()) for x in heard))
    return seen, after


def sizes(spread: Spread, seen: SpreadSeen, features: Tensor, *, origins: Tensor, age: Tensor | None = None) -> Tensor:
    """Return the size ``(s, n, f)`` of errors after ``origins`` rows, ``(n,)`` or ``(s, n)``, by features and age there."""
    weights, steps = spread.weights.numpy(), np.arange(1, spread.horizon + 1)
    logs = logs_of(features.numpy())
    plain = weights[0] + logs @ weights[3:] + _larger(spread, logs, age)
    level = seen.level.numpy() @ between(spread.horizon).T
    phase = phases(spread, np.atleast_2d(origins.numpy())[..., None] + steps - 1)
    profile = np.take_along_axis(seen.profile.numpy(), np.broadcast_to(phase, (len(plain), *phase.shape[1:])), 2)
    return torch.from_numpy(np.exp(plain[..., None] + weights[1] * level + weights[2] * profile))


def quantiles(
    spread: Spread,
    seen: SpreadSeen,
    point: Tensor,
    size: Tensor,
    levels: Sequence[float] | Array,
    *,
    age: Tensor | None = None,
) -> Tensor:
    """Return quantiles ``(s, n, f, q)`` of any levels in (0, 1), round points ``(s, n, f)`` of a size ``(s, n, f)``.

    Levels are ``(q,)``, or of each step ``(s, n, f, q)``; age ``(s, n)`` is the rows since the stream's first.
    """
    table, shares = distances_of(spread), np.clip(np.asarray(levels, dtype=np.float64), FARTHEST, 1 - FARTHEST)
    found = widened(spread, seen.factors.numpy(), table, at_of(table, shares))
    if age is not None and len(spread.young):
        stretch = np.exp((_at_reaches(shares) * by_age(spread, age)[:, :, None, None, 2:]).sum(-1))
        middle = table[:, len(GRID) // 2, None]
        found = middle + (found - middle) * stretch
    return point[..., None] + size[..., None] * torch.from_numpy(found)


def draw_levels(spread: Spread, streams: int, paths: int, *, chance: np.random.Generator) -> Array:
    """Return the levels ``(s, f, paths)`` of joint paths: even at every step, together along the steps as errors were."""
    ranks = spread.ranks.numpy().astype(np.float64)
    turns = -(-paths // len(ranks))
    order = np.argsort(chance.random((streams, turns, len(ranks))), axis=-1).reshape(streams, -1)[:, :paths]
    levels: Array = (ranks[order] + chance.random((*order.shape, 1))) / len(ranks)  # s paths f
    return np.swapaxes(levels, 1, 2)


# --- hearing ----------------------------------------------------------------------------------------------------------


def hear(
    spread: Spread, values: Array, logs: Array, carry: SpreadCarry, *, rows: NDArray[np.int64]
) -> tuple[tuple[Array, Array, Array], SpreadCarry]:
    """Return level, profile and factors before the first of ``n`` boundaries and after each, and the carry.

    Errors ``(s, w + n, b, k)`` and sizes ``(s, w + n, 2)`` begin with the ``w`` boundaries that waited; ``rows``, ``(s, 1)``
    or ``(1, 1)``, were read at the first new one.
    """
    tracked, streams, waits = tracked_steps(spread.horizon), len(values), carry.waiting.shape[1]
    blocks, new = len(tracked), values.shape[1] - waits
    at = np.arange(new)[:, None] - _delays(tracked, spread.patch)  # n b, whose errors are heard at a boundary
    errors = values[:, waits + at, np.arange(blocks)]  # s n b k
    fade = 0.5 ** (spread.patch / max(SEASONS * spread.season, FEWEST * spread.patch))

    unit = np.exp(logs[:, waits + at, 0])[..., None] * spread.usual.numpy()
    sums = np.stack([mean_of(np.minimum(np.abs(errors), LARGEST_ERROR * unit), -1), mean_of(unit + 0 * errors, -1)], -1)
    sums = _fading(np.nan_to_num(sums), carry.level.numpy(), fade)
    level = _level(spread, sums, np.concatenate([carry.sizes[:, -1:, 0].numpy(), logs[:, waits:, 0]], 1))

    levels = np.concatenate([carry.levels.numpy(), level[:, 1:]], 1)  # s (w + n) b
    weights, shares = spread.weights.numpy(), between(spread.horizon)[tracked - 1]
    at_steps = np.einsum("snbj,bkj->snbk", levels[:, waits + at], shares)
    scaled = errors / np.exp(weights[0] + logs[:, waits + at, 1][..., None] + weights[1] * at_steps)

    places = rows[..., None, None] + at[..., None] * spread.patch + tracked - 1
    phase = np.broadcast_to(phases(spread, places), scaled.shape).reshape(streams, new, -1)
    large = np.minimum(np.abs(scaled) / spread.typical.numpy(), LARGEST_ERROR).reshape(phase.shape)
    cells = (np.arange(streams * new)[:, None] * len(spread.profile) + phase.reshape(streams * new, -1)).ravel()
    by_phase = [
        np.bincount(cells, x.ravel(), streams * new * len(spread.profile)).reshape(streams, new, -1)
        for x in (np.nan_to_num(large), np.isfinite(large))
    ]
    phase_sums = _fading(np.stack(by_phase, -1), carry.profile.numpy(), fade**0.25)
    profile = _profile(spread, phase_sums)

    here = np.take_along_axis(profile[:, :-1], phase, 2).reshape(scaled.shape)
    factors = _factors(spread, scaled / np.exp(weights[2] * here), carry.factors.numpy())
    kept = slice(values.shape[1] - waits, None)
    after = (values[:, kept], logs[:, kept], levels[:, kept], sums[:, -1], phase_sums[:, -1], factors[:, -1])
    return (level, profile, factors), SpreadCarry(*(torch.from_numpy(x.copy()) for x in after))


def _unmoved(carry: SpreadCarry, spread: Spread) -> tuple[Array, Array, Array]:
    """Return level, profile and factors of a carry, one boundary."""
    level = _level(spread, carry.level.numpy()[:, None], carry.sizes[:, -1:, 0].numpy())
    return level, _profile(spread, carry.profile.numpy()[:, None]), carry.factors.numpy()[:, None]


def _level(spread: Spread, sums: Array, first: Array) -> Array:
    """Return the logarithm of the level of errors ``(s, n, b)``, with what is usual for a feature ``(s, n)`` as a doubt."""
    doubt = DOUBT * np.exp(first)[..., None] * spread.usual.numpy().mean(-1)
    found: Array = np.log((sums[..., 0] + doubt) / (sums[..., 1] + doubt))
    return found


def _profile(spread: Spread, sums: Array) -> Array:
    """Return the logarithm of the profile ``(s, n, p)``, with the learned one as a doubt."""
    doubt = 4 * DOUBT
    found: Array = np.log((sums[..., 0] + doubt * spread.profile.numpy()) / (sums[..., 1] + doubt))
    return found


def _factors(spread: Spread, scaled: Array, start: Array) -> Array:
    """Return logarithms of the factors ``(s, n + 1, b, 2)`` by online quantile steps on scaled errors ``(s, n, b, k)``."""
    streams, count, blocks, each = scaled.shape
    found = np.empty((streams, count + 1, blocks, 2))
    found[:] = start[:, None]
    pace, most = float(spread.pace), np.log(LARGEST_FACTOR)
    if pace <= 0:
        return found
    steps = tracked_steps(spread.horizon).ravel() - 1
    table = near(spread.knots.numpy(), spread.horizon)[steps] @ spread.distances.numpy()  # bk L
    middle = table[:, len(GRID) // 2, None]
    low, high = (np.round(x * (len(GRID) + 1)).astype(int) - 1 for x in (MISSES, 1 - MISSES))
    widths = np.stack([middle - table[:, low], table[:, high] - middle], 1)  # bk 2 l
    off = scaled.reshape(streams, count, -1) - middle[:, 0]
    known = np.isfinite(scaled)
    share = (known / np.maximum(known.sum(-1, keepdims=True), 1) * pace / len(MISSES)).reshape(*off.shape, 1)
    beyond = np.log(np.maximum(np.nan_to_num(np.stack([-off, off], -1))[..., None] / np.maximum(widths, 1e-12), 1e-12))
    shares, aim = between(spread.horizon)[steps], MISSES.sum()
    now = start
    for i in range(count):
        missed = (beyond[:, i] > np.matmul(shares, now)[..., None]).sum(-1) - aim
        moved = (missed * share[:, i]).reshape(streams, blocks, each, 2).sum(2)
        now = np.minimum(np.maximum(now + moved, -most), most)
        found[:, i + 1] = now
    return found


def _fading(new: Array, start: Array, fade: float) -> Array:
    """Return fading sums along the second axis, before the first new value and after each: ``(s, n + 1, ...)``."""
    if not new.shape[1]:
        return start[:, None].copy()
    after, _ = scipy.signal.lfilter([1.0], [1.0, -fade], new, axis=1, zi=fade * start[:, None])
    return np.concatenate([start[:, None], after], 1)


def _delays(tracked: NDArray[np.int64], patch: int) -> NDArray[np.int64]:
    """Return how many boundaries after an origin ``(b,)`` all errors of a block are known."""
    return -(-tracked[:, -1] // patch)


def phases(spread: Spread, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which part of the season rows, counted from 0, belong to."""
    return (rows % spread.season) * len(spread.profile) // spread.season


@lru_cache
def between(horizon: int) -> Array:
    """Return shares ``(f, b)`` of the blocks in every step, straight between the middles of blocks."""
    middles = tracked_steps(horizon).mean(-1)
    return np.stack([np.interp(np.arange(1, horizon + 1), middles, one) for one in np.eye(len(middles))], -1)


def logs_of(features: Array) -> Array:
    """Return logarithms of sizes, none below the smallest."""
    return np.log(np.maximum(np.nan_to_num(features), SMALLEST))


# --- the young --------------------------------------------------------------------------------------------------------


def by_age(spread: Spread, age: Tensor) -> Array:
    """Return what was learned of young streams at ages ``(s, n)``: 2 numbers of the size and 3 stretches, ``(s, n, 5)``."""
    table = spread.young.numpy()
    logs = np.log(np.maximum(age.numpy(), 1.0))
    return np.stack([np.interp(logs, table[:, 0], column) for column in table[:, 1:].T], -1)


def _larger(spread: Spread, logs: Array, age: Tensor | None) -> Array:
    """Return what the logarithm of a size ``(s, n)`` has more because of its stream's age: 0 for all but the young."""
    if age is None or not len(spread.young):
        return np.zeros(logs.shape[:-1])
    found = by_age(spread, age)
    return found[..., 0] + found[..., 1] * (logs[..., -1] - logs[..., 0])


def _at_reaches(shares: Array) -> Array:
    """Return how much of each stretch a share has, ``(..., 3)``: straight between the reaches, the ends' beyond."""
    reach = np.abs(shares - 0.5)
    return np.stack([np.interp(reach, REACHES, one) for one in np.eye(len(REACHES))], -1)


# --- distances --------------------------------------------------------------------------------------------------------


def knots_of(horizon: int) -> NDArray[np.int64]:
    """Return the steps at which distances are learned, even in the logarithm."""
    return np.unique(np.round(np.geomspace(1, horizon, KNOTS)).astype(np.int64))


def near(knots: NDArray[np.int64], horizon: int) -> Array:
    """Return shares ``(f, k)`` of the knots in every step."""
    steps, places = np.log(np.arange(1, horizon + 1)), np.log(knots)
    return np.stack([np.interp(steps, places, one) for one in np.eye(len(knots))], -1)


def distances_of(spread: Spread) -> Array:
    """Return distances ``(f, L)``: no level crosses another, since shares are positive."""
    return near(spread.knots.numpy(), spread.horizon) @ spread.distances.numpy()


def at_of(table: Array, shares: Array) -> Array:
    """Return distances ``(..., f, q)`` at shares ``(..., f, q)``: straight in the grid, exponential tails beyond it."""
    place = shares * (len(GRID) + 1) - 1
    left = np.clip(np.floor(place), 0, len(GRID) - 2).astype(int)
    part = np.clip(place - left, 0, 1)
    steps = np.arange(len(table))[:, None]
    low, high = table[steps, left], table[steps, left + 1]
    inner, far = len(GRID) // 20, GRID[0]
    below = (table[:, inner] - table[:, 0]) / np.log(GRID[inner] / far)
    above = (table[:, -1] - table[:, -1 - inner]) / np.log(GRID[inner] / far)
    found = low + part * (high - low)
    found = found - below[:, None] * np.log(np.maximum(far / shares, 1.0))
    return found + above[:, None] * np.log(np.maximum(far / (1 - shares), 1.0))


def widened(spread: Spread, factors: Array, table: Array, found: Array) -> Array:
    """Return distances ``(..., f, q)`` with those from the median scaled by factors ``(s, n, b, 2)``."""
    middle = table[:, len(GRID) // 2, None]
    factor = np.exp(np.einsum("snjd,fj->snfd", factors, between(spread.horizon)))
    off = found - middle
    return middle + off * np.where(off < 0, factor[..., :1], factor[..., 1:])


def mean_of(values: Array, axis: int | tuple[int, ...] | None) -> Array:
    """Return the mean of what is known, NaN where nothing is."""
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(axis) / np.where(known.any(axis), known.sum(axis), np.nan)
