"""What errors of forecasts of rows that the base had not seen teach of its spread."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from titans_ts.series.base.spread import (
    DOUBT,
    GRID,
    LAPLACE,
    LARGEST_ERROR,
    LARGEST_FACTOR,
    MISSES,
    REACHES,
    Array,
    Spread,
    SpreadSeen,
    at_of,
    between,
    blank,
    distances_of,
    hear,
    initial,
    knots_of,
    logs_of,
    mean_of,
    near,
    phases,
    quantiles,
    read,
    sizes,
    tracked_steps,
    widened,
)

TEMPLATES = 200
"""Most rank vectors of the copula."""
PACES = (0.02, 0.05, 0.1)
"""How fast factors may move a boundary; errors of the last third choose."""
AT_ONCE = 100_000
"""Most errors that are sorted for one knot."""
FIT_ON = 100_000
"""Most errors that weights are fitted on."""
AGES = 10
"""Ages at which it is learned how much wider intervals of young streams are."""
SHARES = np.linspace(0, 1.25, 6)
"""How much of the second feature the size of a young stream may have in place of the first."""
YOUNGEST = np.log([0.5, 64.0])
"""Bounds of the logarithm by which sizes of young streams are larger."""
FEW_YOUNG = 4.0
"""Young streams that what was learned of mature ones counts for."""


def learn(errors: Tensor, features: Tensor, *, origins: Tensor, season: int, patch: int) -> Spread:
    """Return what errors ``(s, n, f)``, truth less point, of rows that the base had not seen say of its spread.

    ``origins`` ``(n,)``, or ``(s, n)``, are the rows read before each, evenly spaced; features ``(s, n, j)`` are sizes of
    the streams there, the first of which the others correct. What is missing is NaN.
    """
    wrong, logs = errors.numpy(), logs_of(features.numpy())
    streams, count, horizon = wrong.shape
    tracked, knots = tracked_steps(horizon), knots_of(horizon)
    places = np.atleast_2d(origins.numpy())
    stride = int(places[0, 1] - places[0, 0]) if count > 1 else patch
    heard = wrong[..., tracked - 1]
    usual = _size_of(heard / np.exp(logs[..., :1, None]))
    spread = blank(horizon, season, stride, logs.shape[-1], 1)._replace(usual=torch.from_numpy(usual))

    def heard_by(now: Spread) -> tuple[tuple[Array, Array, Array], Array]:
        """Return what was heard at every origin, and sizes there."""
        start = initial(now, streams)
        waits = start.waiting.shape[1]
        values = np.concatenate([start.waiting.numpy(), heard], 1)
        both = np.stack([logs[..., 0], logs @ now.weights.numpy()[3:]], -1)
        both = np.concatenate([np.repeat(both[:, :1], waits, 1), both], 1)
        found, _ = hear(now, values, both, start, rows=places[:, :1])
        level, profile, factors = (x[:, 1:] for x in found)
        known = SpreadSeen(*(torch.from_numpy(x) for x in (level, profile, factors)))
        return (level, profile, factors), sizes(now, known, features, origins=torch.from_numpy(places)).numpy()

    independent = max(float(np.isfinite(wrong[..., -1]).sum()) * min(1.0, stride / horizon), 1.0)
    shares = np.moveaxis(between(horizon)[tracked - 1], -1, 0).reshape(len(tracked), -1)
    phase = np.broadcast_to(phases(spread, places[..., None] + tracked.ravel() - 1), (streams, count, tracked.size))
    for with_profile in (False, True):
        (level, profile, _), _ = heard_by(spread)
        own = np.stack([level @ shares, with_profile * np.take_along_axis(profile, phase, 2)], -1)
        weights = _weights(np.abs(heard / usual).reshape(own.shape[:-1]), own, logs, independent=independent)
        spread = spread._replace(weights=torch.from_numpy(weights))
        scaled = wrong / heard_by(spread)[1]
        spread = spread._replace(distances=torch.from_numpy(_distances(scaled, knots, stride)))
        if not with_profile:
            profile = _common_profile(spread, scaled, places)
            spread = spread._replace(
                typical=torch.from_numpy(_size_of(scaled[..., tracked - 1])), profile=torch.from_numpy(profile)
            )
    spread = spread._replace(ranks=torch.from_numpy(_ranks(scaled)))
    losses = []
    for pace in PACES:
        trial = spread._replace(pace=torch.tensor(pace * stride / patch, dtype=torch.float64))
        losses.append(_loss(trial, heard_by(trial), wrong, logs[..., 0]))
    best = PACES[int(np.argmin(losses))]
    return spread._replace(pace=torch.tensor(best, dtype=torch.float64), patch=patch)


def learn_young(
    spread: Spread, rows: Tensor, points: Tensor, errors: Tensor, features: Tensor, age: Tensor, *, until: int
) -> Spread:
    """Return a spread that knows how much wider intervals are until streams are so many rows old.

    Streams begin with their first of ``rows`` ``(s, t)``; points at tracked steps ``(s, n, b, k)``, errors ``(s, n, f)``,
    features ``(s, n, j)`` and age ``(s, n)`` are those at every boundary.
    """
    ends = spread.patch * torch.arange(1, errors.shape[1] + 1)
    wrong, logs = errors.numpy(), logs_of(features.numpy())
    ages = np.unique(np.round(np.geomspace(spread.patch, max(until, spread.patch + 1), AGES)))
    near_age = np.stack([np.interp(np.log(np.maximum(age.numpy(), 1)), np.log(ages), one) for one in np.eye(len(ages))])
    near_age = near_age * np.isfinite(wrong).any(-1) * (age.numpy() <= until)
    trust = np.array([(shares.max(1) > 0).sum() for shares in near_age])
    trust = trust / (trust + FEW_YOUNG) * (ages < ages[-1])
    table = np.concatenate([np.log(ages)[:, None], np.zeros((len(ages), 5))], 1)

    usual = np.maximum(np.abs(distances_of(spread)).mean(-1), 1e-12)
    weights = spread.weights.numpy()
    large = np.abs(wrong) / usual / np.exp(weights[0] + logs @ weights[3:])[..., None]
    apart = (logs[..., -1] - logs[..., 0])[..., None]
    for i, shares in enumerate(near_age):
        tried = []
        for share in SHARES:
            each = large * np.exp(-share * apart)
            known = np.isfinite(each)
            part = np.broadcast_to(shares[..., None], each.shape)[known]
            if not (part * (each[known] > 0)).any():
                continue
            usual_one = _weighted(each[known], part, 0.9)
            mean = (np.minimum(each[known], 10 * usual_one + 1e-9) * part).sum() / part.sum()
            shift = np.log(max(mean, 1e-9))
            centred = (np.broadcast_to(apart, each.shape)[known] * part).sum() / part.sum()
            tried.append((shift + share * centred, shift, share))
        if tried:
            _, shift, share = min(tried)
            table[i, 1:3] = trust[i] * np.clip(shift, *YOUNGEST), trust[i] * share
    spread = spread._replace(young=torch.from_numpy(table))

    seen, _ = read(spread, initial(spread, len(rows)), rows, points, features, begin=0, ends=ends, age=age)
    size = sizes(spread, seen, features, origins=ends, age=age)
    levels = np.sort(np.concatenate([MISSES, [0.5], 1 - MISSES]))
    bounds = quantiles(spread, seen, torch.zeros_like(size), size, levels).numpy()
    middle = bounds[..., 3, None]
    widths = np.where((wrong < bounds[..., 3])[..., None], middle - bounds[..., 2::-1], bounds[..., 4:] - middle)
    beyond = np.log(np.maximum(np.abs(wrong[..., None] - middle), 1e-12) / np.maximum(widths, 1e-12))
    for i, shares in enumerate(near_age):
        known = np.isfinite(wrong) & (shares[..., None] > 0)
        if known.any():
            part = np.broadcast_to(shares[..., None], wrong.shape)[known]
            stretch = [_weighted(beyond[known, j], part, 2 * reach) for j, reach in enumerate(REACHES)]
            table[i, 3:] = trust[i] * np.clip(np.maximum.accumulate(stretch), *np.log([1 / LARGEST_FACTOR, LARGEST_FACTOR]))
    return spread._replace(young=torch.from_numpy(table))


def _weighted(values: Array, weights: Array, share: float) -> float:
    """Return the quantile of values ``(n,)`` at a share of their weights."""
    order = np.argsort(values, kind="stable")
    places = np.cumsum(weights[order])
    return float(values[order[min(int(np.searchsorted(places, share * places[-1])), len(order) - 1)]])


def _distances(scaled: Array, knots: NDArray[np.int64], stride: int) -> Array:
    """Return weighted quantiles ``(k, L)`` of scaled errors ``(s, n, f)`` near every knot, wider where few are alone."""
    shares = near(knots, scaled.shape[-1])
    found = []
    for i, knot in enumerate(knots):
        steps = np.flatnonzero(shares[:, i])
        some = scaled[..., steps].reshape(-1, len(steps))
        some = some[:: max(some.size // AT_ONCE, 1)]
        known = np.isfinite(some)
        independent = np.isfinite(scaled[..., knot - 1]).sum() * min(1.0, stride / knot)
        found.append(_quantiles(some[known], np.broadcast_to(shares[steps, i], some.shape)[known], float(independent)))
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


def _size_of(errors: Array) -> Array:
    """Return the mean absolute error ``(b, k)`` of errors ``(s, n, b, k)``, outliers cut, 1 where none is known."""
    size = np.abs(errors)
    if not np.isfinite(size).any():
        return np.ones(errors.shape[2:])
    most = LARGEST_ERROR * float(np.nanmean(np.minimum(size, 10 * np.nanmedian(size) + 1e-9)))
    return np.nan_to_num(mean_of(np.minimum(size, most), (0, 1)), nan=1.0).clip(1e-9)


def _weights(wrong: Array, own: Array, logs: Array, *, independent: float) -> Array:
    """Return weights ``(3 + j,)`` of the logarithm of a size, by Laplace likelihood, shrunk to the first feature alone.

    Absolute errors are ``(s, n, i)`` in usual ones, level and profile ``(s, n, i, 2)``, features ``(s, n, j)``.
    """
    known = np.flatnonzero(np.isfinite(wrong))
    known = known[:: max(len(known) // FIT_ON, 1)]
    start = np.zeros(3 + logs.shape[-1])
    start[3] = float(logs[..., 0].any())
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
    negative = now[1:] < 0  # what was large stays large, or says nothing
    if not negative.any():
        return now
    return _weights(wrong, np.where(negative[:2], 0.0, own), np.where(negative[2:], 0.0, logs), independent=independent)


def _common_profile(spread: Spread, scaled: Array, places: NDArray[np.int64]) -> Array:
    """Return the mean size ``(p,)`` of scaled errors ``(s, n, f)`` by phase, in usual ones, shrunk to 1."""
    count = len(spread.profile)
    expected = np.abs(distances_of(spread)).mean(-1)
    large = np.minimum(np.abs(scaled) / np.maximum(expected, 1e-12), LARGEST_ERROR)
    phase = np.broadcast_to(phases(spread, places[..., None] + np.arange(spread.horizon)), large.shape).ravel()
    sums = np.bincount(phase, np.nan_to_num(large).ravel(), count)
    doubt = 4 * DOUBT * spread.horizon / count
    found: Array = (sums + doubt) / (np.bincount(phase, np.isfinite(large).ravel(), count) + doubt)
    return found


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
    last = slice(wrong.shape[1] * 2 // 3, None, max(wrong.size // (10 * FIT_ON), 1))
    steps = tracked_steps(spread.horizon).ravel()
    levels = np.concatenate([MISSES, 1 - MISSES])
    table = distances_of(spread)
    found = at_of(table, np.broadcast_to(levels, (1, 1, spread.horizon, len(levels))))
    found = (size[:, last, :, None] * widened(spread, factors[:, last], table, found))[..., steps - 1, :]
    off = (wrong[:, last][..., steps - 1, None] - found) / np.exp(first[:, last, None, None])
    return float(np.nan_to_num(mean_of(np.minimum(np.maximum(levels * off, (levels - 1) * off), LARGEST_ERROR), None)))
