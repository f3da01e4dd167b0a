"""How far from its point a truth may lie: distances by step and level, in units of a size that follows the stream.

Distances are learned from errors of forecasts of rows that the base had not seen. What a stream hears at every boundary,
rows read that are a multiple of ``patch``, moves a level of its errors, a profile of their size by phase, and two factors,
below and above the median, for each block of the horizon. Sums fade; what is silent returns to what was learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import lfilter
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
TEMPLATES = 200
"""Most rank vectors of the copula."""
LARGEST_FACTOR = 8.0
"""Bound of the factors, and of its inverse."""
MISSES = np.array([0.25, 0.1, 0.025])
"""Shares of truths beyond a bound on one side, towards which a factor works."""
PACES = (0.02, 0.05, 0.1)
"""How fast factors may move a boundary; errors of the last third choose."""
SEASONS, FEWEST = 10, 28
"""Half-life of the level of errors in seasons, and its fewest boundaries; the profile's is four times that."""
DOUBT = 4.0
"""How many boundaries what was learned counts for beside what is heard."""
LARGEST_ERROR = 50.0
"""Most that one error counts for, in usual ones."""
SMALLEST = 1e-4
"""Smallest size, in long-run spreads."""
AT_ONCE = 100_000
"""Most errors that are sorted for one knot."""
FIT_ON = 100_000
"""Most errors that weights are fitted on."""


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
    knots, tracked = _knots(horizon), tracked_steps(horizon)
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
    spread: Spread, carry: SpreadCarry, rows: Tensor, points: Tensor, features: Tensor, *, begin: int, ends: Tensor
) -> tuple[SpreadSeen, SpreadCarry]:
    """Hear rows ``(s, t)`` after ``begin`` others; return what was heard after ``ends`` ``(o,)`` of them, and the carry.

    The ``n`` boundaries are those in ``begin + 1 ... begin + t``; points ``(s, n, b, k)`` are the forecasts of tracked steps
    from there, features ``(s, n, j)`` the sizes there, NaN where there is no forecast.
    """
    tracked, patch = tracked_steps(spread.horizon), spread.patch
    first, last = begin // patch + 1, (begin + rows.shape[1]) // patch
    waits = carry.waiting.shape[1]
    values = np.concatenate([carry.waiting.numpy(), points.numpy()], 1)
    if rows.shape[1]:
        places = np.arange(first - waits, last + 1)[:, None, None] * patch + tracked - 1 - begin
        fresh = (places >= 0) & (places < rows.shape[1])
        values = np.where(fresh, rows.numpy()[:, places.clip(0, rows.shape[1] - 1)] - values, values)
    logs = _logs(features.numpy())
    sizes = np.concatenate([carry.sizes.numpy(), np.stack([logs[..., 0], logs @ spread.weights.numpy()[3:]], -1)], 1)
    heard, after = _hear(spread, values, sizes, carry, first=first)
    which = (begin + ends.numpy()) // patch - first + 1
    seen = SpreadSeen(*(torch.from_numpy(x[:, which].copy()) for x in heard))
    return seen, after


def sizes(spread: Spread, seen: SpreadSeen, features: Tensor, *, origins: Tensor) -> Tensor:
    """Return the size ``(s, n, f)`` of errors after ``origins`` ``(n,)`` rows of which features ``(s, n, j)`` are known."""
    weights, steps = spread.weights.numpy(), np.arange(1, spread.horizon + 1)
    plain = weights[0] + _logs(features.numpy()) @ weights[3:]
    level = seen.level.numpy() @ _between(spread.horizon, steps).T
    phase = _phases(spread, origins.numpy()[:, None] + steps - 1)
    profile = np.take_along_axis(seen.profile.numpy(), np.broadcast_to(phase, (len(plain), *phase.shape)), 2)
    return torch.from_numpy(np.exp(plain[..., None] + weights[1] * level + weights[2] * profile))


def quantiles(spread: Spread, seen: SpreadSeen, point: Tensor, size: Tensor, levels: Sequence[float]) -> Tensor:
    """Return quantiles ``(s, n, f, q)`` of any levels in (0, 1), round points ``(s, n, f)`` of a size ``(s, n, f)``."""
    table = _table(spread)
    found = _at(table, np.broadcast_to(np.asarray(levels, dtype=np.float64), (1, 1, spread.horizon, len(levels))))
    return point[..., None] + size[..., None] * torch.from_numpy(_widened(spread, seen.factors.numpy(), table, found))


def sample(
    spread: Spread, seen: SpreadSeen, point: Tensor, size: Tensor, paths: int, *, chance: np.random.Generator
) -> Tensor:
    """Return joint paths ``(s, n, f, paths)``: every step follows the quantiles, steps hang together as errors did."""
    streams, origins = point.shape[:2]
    ranks = spread.ranks.numpy().astype(np.float64)
    turns = -(-paths // len(ranks))
    order = np.argsort(chance.random((streams, origins, turns, len(ranks))), axis=-1).reshape(streams, origins, -1)[
        ..., :paths
    ]
    shares = (ranks[order] + chance.random((*order.shape, 1))) / len(ranks)  # s n paths f
    table = _table(spread)
    found = _at(table, np.clip(np.swapaxes(shares, 2, 3), 1e-6, 1 - 1e-6))
    return point[..., None] + size[..., None] * torch.from_numpy(_widened(spread, seen.factors.numpy(), table, found))


# --- learning ---------------------------------------------------------------------------------------------------------


def learn(errors: Tensor, features: Tensor, *, origins: Tensor, season: int, patch: int) -> Spread:
    """Return what errors ``(s, n, f)``, truth less point, of rows that the base had not seen say of its spread.

    ``origins`` ``(n,)`` are the rows read before each, evenly spaced; features ``(s, n, j)`` are sizes of the streams there,
    the first of which the others correct. What is missing is NaN.
    """
    wrong, logs = errors.numpy(), _logs(features.numpy())
    streams, count, horizon = wrong.shape
    tracked, knots = tracked_steps(horizon), _knots(horizon)
    stride = int(origins[1] - origins[0]) if count > 1 else patch
    first = int(origins[0]) // stride if count else 1
    heard = wrong[..., tracked - 1]
    usual = _size_of(heard / np.exp(logs[..., :1, None]))
    spread = blank(horizon, season, stride, logs.shape[-1], 1)._replace(usual=torch.from_numpy(usual))

    def hear(now: Spread) -> tuple[tuple[Array, Array, Array], Array]:
        """Return what was heard at every origin, and sizes there."""
        start = initial(now, streams)
        waits = start.waiting.shape[1]
        values = np.concatenate([start.waiting.numpy(), heard], 1)
        both = np.stack([logs[..., 0], logs @ now.weights.numpy()[3:]], -1)
        found, _ = _hear(now, values, np.concatenate([np.zeros((streams, waits, 2)), both], 1), start, first=first)
        known = SpreadSeen(*(torch.from_numpy(x[:, 1:]) for x in found))
        return (found[0][:, 1:], found[1][:, 1:], found[2][:, 1:]), sizes(now, known, features, origins=origins).numpy()

    independent = max(float(np.isfinite(wrong[..., -1]).sum()) * min(1.0, stride / horizon), 1.0)
    shares = np.moveaxis(_between(horizon, tracked), -1, 0).reshape(len(tracked), -1)
    phase = np.broadcast_to(_phases(spread, origins.numpy()[:, None] + tracked.ravel() - 1), (streams, count, tracked.size))
    for with_profile in (False, True):
        (level, profile, _), _ = hear(spread)
        own = np.stack([level @ shares, with_profile * np.take_along_axis(profile, phase, 2)], -1)
        weights = _weights(np.abs(heard / usual).reshape(own.shape[:-1]), own, logs, independent=independent)
        spread = spread._replace(weights=torch.from_numpy(weights))
        scaled = wrong / hear(spread)[1]
        spread = spread._replace(distances=torch.from_numpy(_distances(scaled, knots, stride)))
        if not with_profile:
            profile = _common_profile(spread, scaled, origins.numpy())
            spread = spread._replace(
                typical=torch.from_numpy(_size_of(scaled[..., tracked - 1])), profile=torch.from_numpy(profile)
            )
    spread = spread._replace(ranks=torch.from_numpy(_ranks(scaled)))
    losses = []
    for pace in PACES:
        trial = spread._replace(pace=torch.tensor(pace * stride / patch, dtype=torch.float64))
        losses.append(_loss(trial, hear(trial), wrong, logs[..., 0]))
    best = PACES[int(np.argmin(losses))]
    return spread._replace(pace=torch.tensor(best, dtype=torch.float64), patch=patch)


# --- hearing ----------------------------------------------------------------------------------------------------------


def _hear(
    spread: Spread, values: Array, logs: Array, carry: SpreadCarry, *, first: int
) -> tuple[tuple[Array, Array, Array], SpreadCarry]:
    """Return level, profile and factors before the first of ``n`` boundaries and after each, and the carry.

    Errors ``(s, w + n, b, k)`` and sizes ``(s, w + n, 2)`` begin with the ``w`` boundaries that waited; ``first`` counts the
    first new one.
    """
    tracked, streams, waits = tracked_steps(spread.horizon), len(values), carry.waiting.shape[1]
    blocks, new = len(tracked), values.shape[1] - waits
    at = waits + np.arange(new)[:, None] - _delays(tracked, spread.patch)  # n b, whose errors are heard at a boundary
    errors = values[:, at, np.arange(blocks)]  # s n b k
    fade = 0.5 ** (spread.patch / max(SEASONS * spread.season, FEWEST * spread.patch))

    unit = np.exp(logs[:, at, 0])[..., None] * spread.usual.numpy()
    sums = np.stack([_mean(np.minimum(np.abs(errors), LARGEST_ERROR * unit), -1), _mean(unit + 0 * errors, -1)], -1)
    sums = _fading(np.nan_to_num(sums), carry.level.numpy(), fade)
    doubt = (
        DOUBT
        * np.exp(np.concatenate([carry.sizes[:, -1:, :1].numpy(), logs[:, waits:, :1]], 1))
        * spread.usual.numpy().mean(-1)
    )
    level = np.log((sums[..., 0] + doubt) / (sums[..., 1] + doubt))

    levels = np.concatenate([carry.levels.numpy(), level[:, 1:]], 1)  # s (w + n) b
    weights, between = spread.weights.numpy(), _between(spread.horizon, tracked)
    at_steps = np.einsum("snbj,bkj->snbk", levels[:, at], between)
    scaled = errors / np.exp(weights[0] + logs[:, at, 1][..., None] + weights[1] * at_steps)

    table = _table(spread)[tracked - 1]  # b k L
    phase = _phases(spread, (first - waits + at)[..., None] * spread.patch + tracked - 1)  # n b k
    one_hot = (
        (phase[..., None] == np.arange(len(spread.profile))).reshape(new, tracked.size, len(spread.profile)).astype(float)
    )
    large = np.minimum(np.abs(scaled) / spread.typical.numpy(), LARGEST_ERROR).reshape(streams, new, tracked.size)
    both = np.stack([np.einsum("sni,nip->snp", x, one_hot) for x in (np.nan_to_num(large), np.isfinite(large) * 1.0)], -1)
    sums_by_phase = _fading(both, carry.profile.numpy(), fade**0.25)
    prior = 4 * DOUBT
    profile = np.log((sums_by_phase[..., 0] + prior * spread.profile.numpy()) / (sums_by_phase[..., 1] + prior))

    here = np.take_along_axis(
        profile[:, :-1], np.broadcast_to(phase.reshape(new, tracked.size), (streams, new, tracked.size)), 2
    )
    factors = _factors(
        spread, scaled / np.exp(weights[2] * here.reshape(scaled.shape)), table, between, carry.factors.numpy()
    )
    kept = slice(values.shape[1] - waits, None)
    after = (values[:, kept], logs[:, kept], levels[:, kept], sums[:, -1], sums_by_phase[:, -1], factors[:, -1])
    return (level, profile, factors), SpreadCarry(*(torch.from_numpy(x.copy()) for x in after))


def _factors(spread: Spread, scaled: Array, table: Array, between: Array, start: Array) -> Array:
    """Return logarithms of the factors ``(s, n + 1, b, 2)`` by online quantile steps on scaled errors ``(s, n, b, k)``."""
    middle = table[..., len(GRID) // 2]
    low, high = (np.round(x * (len(GRID) + 1)).astype(int) - 1 for x in (MISSES, 1 - MISSES))
    widths = np.stack([middle[..., None] - table[..., low], table[..., high] - middle[..., None]], -2)  # b k 2 l
    off = scaled - middle
    beyond = np.stack([-off, off], -1)[..., None] / np.maximum(widths, 1e-12)
    with np.errstate(invalid="ignore"):
        beyond = np.log(np.maximum(beyond, 1e-12))  # s n b k 2 l
    known = np.isfinite(scaled).astype(float)
    known /= np.maximum(known.sum(-1, keepdims=True), 1.0)
    bound, pace = np.log(LARGEST_FACTOR), float(spread.pace)
    found = np.empty((len(scaled), scaled.shape[1] + 1, *start.shape[1:]))
    found[:, 0] = now = start
    for i in range(scaled.shape[1]) if pace > 0 else ():
        factor = np.einsum("sjd,bkj->sbkd", now, between)
        missed = (beyond[:, i] > factor[..., None]).mean(-1) - MISSES.mean()
        now = np.clip(now + pace * np.einsum("sbkd,sbk->sbd", missed, known[:, i]), -bound, bound)
        found[:, i + 1] = now
    if pace <= 0:
        found[:] = start[:, None]
    return found


def _fading(new: Array, start: Array, fade: float) -> Array:
    """Return fading sums along the second axis, before the first new value and after each: ``(s, n + 1, ...)``."""
    if not new.shape[1]:
        return start[:, None].copy()
    after, _ = lfilter([1.0], [1.0, -fade], new, axis=1, zi=fade * start[:, None])
    return np.concatenate([start[:, None], after], 1)


def _delays(tracked: NDArray[np.int64], patch: int) -> NDArray[np.int64]:
    """Return how many boundaries after an origin ``(b,)`` all errors of a block are known."""
    return -(-tracked[:, -1] // patch)


def _phases(spread: Spread, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which part of the season rows, counted from 0, belong to."""
    return (rows % spread.season) * len(spread.profile) // spread.season


def _between(horizon: int, steps: NDArray[np.int64]) -> Array:
    """Return shares ``(..., b)`` of the blocks in some steps, straight between the middles of blocks."""
    tracked = tracked_steps(horizon)
    middles = tracked.mean(-1)
    return np.stack([np.interp(steps, middles, one) for one in np.eye(len(middles))], -1)


def _logs(features: Array) -> Array:
    """Return logarithms of sizes, none below the smallest."""
    return np.log(np.maximum(np.nan_to_num(features), SMALLEST))


# --- distances --------------------------------------------------------------------------------------------------------


def _knots(horizon: int) -> NDArray[np.int64]:
    """Return the steps at which distances are learned, even in the logarithm."""
    return np.unique(np.round(np.geomspace(1, horizon, KNOTS)).astype(np.int64))


def _near(knots: NDArray[np.int64], horizon: int) -> Array:
    """Return shares ``(f, k)`` of the knots in every step."""
    steps, places = np.log(np.arange(1, horizon + 1)), np.log(knots)
    return np.stack([np.interp(steps, places, one) for one in np.eye(len(knots))], -1)


def _table(spread: Spread) -> Array:
    """Return distances ``(f, L)``: no level crosses another, since shares are positive."""
    return _near(spread.knots.numpy(), spread.horizon) @ spread.distances.numpy()


def _distances(scaled: Array, knots: NDArray[np.int64], stride: int) -> Array:
    """Return weighted quantiles ``(k, L)`` of scaled errors ``(s, n, f)`` near every knot, wider where few are alone."""
    near = _near(knots, scaled.shape[-1])
    found = []
    for i, knot in enumerate(knots):
        steps = np.flatnonzero(near[:, i])
        some = scaled[..., steps].reshape(-1, len(steps))
        some = some[:: max(some.size // AT_ONCE, 1)]
        known = np.isfinite(some)
        independent = np.isfinite(scaled[..., knot - 1]).sum() * min(1.0, stride / knot)
        found.append(_quantiles(some[known], np.broadcast_to(near[steps, i], some.shape)[known], float(independent)))
    return np.stack(found)


def _quantiles(values: Array, weights: Array, independent: float) -> Array:
    """Return quantiles of weighted values at the grid by Weibull's positions of ``independent`` ones, tails beyond."""
    if len(values) < 2:
        return LAPLACE.copy()
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    places = (np.cumsum(weights) - weights / 2) / weights.sum()
    independent = max(independent, 2.0)
    reach = min(independent / (independent + 1), float(GRID[-1]))
    within = np.clip(GRID, 1 - reach, reach)
    found = np.interp(within + (within - 0.5) / independent, places, values)
    inner = np.interp([0.25, 0.75], places, values)
    rates = (
        (inner[0] - found[0], found[-1] - inner[1]) / np.log(0.25 / (1 - reach))
        if reach > 0.75
        else np.diff(inner).repeat(2)
    )
    found = found - np.where(reach < 1 - GRID, max(rates[0], 0.0) * np.log((1 - reach) / GRID), 0.0)
    found = found + np.where(reach < GRID, max(rates[1], 0.0) * np.log((1 - reach) / (1 - GRID)), 0.0)
    return np.maximum.accumulate(found)


def _at(table: Array, shares: Array) -> Array:
    """Return distances ``(..., f, q)`` at shares ``(..., f, q)``: straight in the grid, exponential tails beyond it."""
    place = shares * (len(GRID) + 1) - 1
    left = np.clip(np.floor(place), 0, len(GRID) - 2).astype(int)
    part = np.clip(place - left, 0, 1)
    steps = np.arange(len(table))[:, None]
    low, high = table[steps, left], table[steps, left + 1]
    near, far = len(GRID) // 20, GRID[0]
    below = (table[:, near] - table[:, 0]) / np.log(GRID[near] / far)
    above = (table[:, -1] - table[:, -1 - near]) / np.log(GRID[near] / far)
    found = low + part * (high - low)
    found = found - below[:, None] * np.log(np.maximum(far / shares, 1.0))
    return found + above[:, None] * np.log(np.maximum(far / (1 - shares), 1.0))


def _widened(spread: Spread, factors: Array, table: Array, found: Array) -> Array:
    """Return distances ``(..., f, q)`` with those from the median scaled by factors ``(s, n, b, 2)``."""
    middle = table[:, len(GRID) // 2, None]
    factor = np.exp(np.einsum("snjd,fj->snfd", factors, _between(spread.horizon, np.arange(1, spread.horizon + 1))))
    off = found - middle
    return middle + off * np.where(off < 0, factor[..., :1], factor[..., 1:])


# --- what errors teach ------------------------------------------------------------------------------------------------


def _size_of(errors: Array) -> Array:
    """Return the mean absolute error ``(b, k)`` of errors ``(s, n, b, k)``, outliers cut, 1 where none is known."""
    size = np.abs(errors)
    if not np.isfinite(size).any():
        return np.ones(errors.shape[2:])
    most = LARGEST_ERROR * float(np.nanmean(np.minimum(size, 10 * np.nanmedian(size) + 1e-9)))
    return np.nan_to_num(_mean(np.minimum(size, most), (0, 1)), nan=1.0).clip(1e-9)


def _weights(wrong: Array, own: Array, logs: Array, *, independent: float) -> Array:
    """Return weights ``(3 + j,)`` of the logarithm of a size, by Laplace likelihood, shrunk to the first feature alone.

    Absolute errors are ``(s, n, i)`` in usual ones, level and profile ``(s, n, i, 2)``, features ``(s, n, j)``.
    """
    known = np.flatnonzero(np.isfinite(wrong))
    known = known[:: max(len(known) // FIT_ON, 1)]
    start = np.zeros(3 + logs.shape[-1])
    start[3] = 1.0
    start[2] = float(own[..., 1].any())
    if not len(known):
        return start
    features = logs.reshape(-1, logs.shape[-1])[known // wrong.shape[-1]]
    design = np.concatenate([np.ones((len(known), 1)), own.reshape(-1, 2)[known], features], 1)
    seen = wrong.reshape(-1)[known]
    start[0] = np.log(max(float(np.minimum(seen / np.exp(design @ start), LARGEST_ERROR).mean()), 1e-9))
    penalty = np.full(len(start), 4 / independent)

    def shares(now: Array) -> Array:
        return np.minimum(seen * np.exp(-np.clip(design @ now, -60, 60)), LARGEST_ERROR)

    def loss(now: Array) -> float:
        return float((design @ now + shares(now)).mean() + penalty @ (now - start) ** 2 / 2)

    now, best = start, loss(start)
    for _ in range(20):
        share = shares(now)
        slope = design.T @ (1 - share) / len(known) + penalty * (now - start)
        curve = (design * np.clip(share, 0.1, 10)[:, None]).T @ design / len(known) + np.diag(penalty + 1e-9)
        step = np.linalg.solve(curve, slope)
        found, part = min((loss(now - part * step), part) for part in (1.0, 0.3, 0.1))
        if found > best - 1e-9:
            break
        now, best = now - part * step, found
    negative = np.flatnonzero(now[1:3] < 0)  # what was large stays large, or says nothing
    if len(negative):
        return _weights(wrong, np.where(np.isin([0, 1], negative), 0.0, own), logs, independent=independent)
    return now


def _common_profile(spread: Spread, scaled: Array, origins: NDArray[np.int64]) -> Array:
    """Return the mean size ``(p,)`` of scaled errors ``(s, n, f)`` by phase, in usual ones, shrunk to 1."""
    count = len(spread.profile)
    phase = _phases(spread, origins[:, None] + np.arange(spread.horizon))
    expected = np.abs(_table(spread)).mean(-1)
    large = np.minimum(np.abs(scaled) / np.maximum(expected, 1e-12), LARGEST_ERROR)
    known = np.isfinite(large)
    sums = np.bincount(phase.ravel(), np.nan_to_num(large).sum(0).ravel(), count)
    doubt = 4 * DOUBT * spread.horizon / count
    return (sums + doubt) / (np.bincount(phase.ravel(), known.sum(0).ravel(), count) + doubt)


def _ranks(scaled: Array) -> NDArray[np.int16]:
    """Return ranks ``(r, f)`` of whole error vectors among themselves, evenly chosen; one of zeros where there are none."""
    whole = np.swapaxes(scaled, 0, 1).reshape(-1, scaled.shape[-1])
    whole = whole[np.isfinite(whole).all(-1)]
    if not len(whole):
        return np.zeros((1, scaled.shape[-1]), np.int16)
    whole = whole[np.unique(np.round(np.linspace(0, len(whole) - 1, TEMPLATES)).astype(int))]
    return np.argsort(np.argsort(whole, axis=0, kind="stable"), axis=0).astype(np.int16)


def _loss(spread: Spread, heard: tuple[tuple[Array, Array, Array], Array], wrong: Array, first: Array) -> float:
    """Return the pinball loss of a spread's bounds over the last third of the origins, in units of the first feature."""
    (_, _, factors), size = heard
    last = slice(wrong.shape[1] * 2 // 3, None)
    steps = tracked_steps(spread.horizon).ravel()
    levels = np.concatenate([MISSES, 1 - MISSES])
    table = _table(spread)
    found = _at(table, np.broadcast_to(levels, (1, 1, spread.horizon, len(levels))))
    found = (size[:, last, :, None] * _widened(spread, factors[:, last], table, found))[..., steps - 1, :]
    off = (wrong[:, last][..., steps - 1, None] - found) / np.exp(first[:, last, None, None])
    return float(np.nan_to_num(_mean(np.minimum(np.maximum(levels * off, (levels - 1) * off), LARGEST_ERROR), None)))


def _mean(values: Array, axis: int | tuple[int, ...] | None) -> Array:
    """Return the mean of what is known, NaN where nothing is."""
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(axis) / np.where(known.any(axis), known.sum(axis), np.nan)
