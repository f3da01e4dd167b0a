"""A ridge judged forward in time: solved on blocks 1 ... j, scored on block j + 1, by running sums.

It chooses the penalty, whether the profile is taken off, and whether channels have weights of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from titans_ts.learn import distributed
from titans_ts.series.base.bank import BankSeen
from titans_ts.series.base.ridge import (
    FARTHEST_TARGET,
    Ridge,
    RidgeSpec,
    Sums,
    add_up,
    answers,
    cut,
    design,
    part_of,
    pieces,
    solve,
    solve_each,
    sums_of,
    younger_spec,
)

PENALTIES = (0.01, 0.04, 0.15, 0.6, 2.5)
"""Penalties tried, as shares of the mean diagonal of the sums."""
OWN_PENALTIES = (0.1,)
"""Penalties on the distance of a channel's own weights from the shared ones."""
OWN_BYTES = 2**30
"""Most bytes of sums by channel and block; where there would be more, no weights of one's own are tried."""
ENOUGH = 3
"""Judged blocks after which a candidate that was worse in each is given up."""
JUDGED_STEPS, JUDGED_WINDOWS = 24, 2_000
"""Steps of the horizon, and windows of a block, by which penalties are judged."""


class Learned(NamedTuple):
    """A ridge as forward blocks judged it."""

    spec: RidgeSpec
    penalty: float
    own_penalty: float | None
    weights: Tensor  # g f d, solved on all blocks
    younger: tuple[Tensor, ...]  # 1 f d each, those of the ridges that answer for younger streams
    forward: tuple[Tensor | None, ...]  # of each block: weights solved on the blocks before it, None where there are too few
    losses: dict[str, list[float]]  # log loss of each judged block, by what was tried

    def of_channels(self, some: Tensor) -> Learned:
        """Return the same with the weights of some channels alone, where channels have their own."""
        if self.own_penalty is None:
            return self
        forward = tuple(None if weights is None else weights[some] for weights in self.forward)
        return self._replace(weights=self.weights[some], forward=forward)

    @property
    def ridge(self) -> Ridge:
        """What a model keeps: the weights solved on all blocks."""
        g, f, _ = self.weights.shape
        made = Ridge(self.spec, f, channels=g)
        into: Ridge | None = made
        for weights in (self.weights, *self.younger):
            assert into is not None
            into.weights.copy_(weights)
            into = into.younger
        return made


def learn(
    specs: Sequence[RidgeSpec],
    rows: Tensor,
    ends: Tensor,
    seen: BankSeen,
    horizon: int,
    edges: Tensor,
    penalties: Sequence[float] = PENALTIES,
    *,
    channels: int = 1,
) -> Learned | None:
    """Solve each of ``specs`` on blocks 1 ... j, score block j + 1, and return the one that forward blocks prefer.

    None where no window has enough of its rows and targets observed for any weights to be solved.

    The first spec is the simplest; a later one must be better by more than one standard error of the blocks' paired
    differences. Weights of one's own are tried only for the best shared spec before them; streams are those of ``channels``
    in turn, and all streams of a channel have the same. Block j is the rows from
    ``edges[j]`` to ``edges[j + 1]``, of all streams ``(k,)`` or of each ``(s, k)``. A window belongs to the block in which
    it begins to foretell, and counts in solving once all its targets are before the block to be scored.
    """
    best, best_sums = None, None
    losses: dict[str, list[float]] = {}
    kept: dict[RidgeSpec, list[Sums]] = {}
    for spec in specs:
        size = 8 * (edges.shape[-1] - 1) * channels * spec.width * (spec.width + horizon)
        if spec.own and (size > OWN_BYTES or best is None or replace(spec, own=False) != best.spec):
            continue
        shared = replace(spec, own=False)
        if shared not in kept:
            groups = channels if size <= OWN_BYTES and replace(spec, own=True) in specs else 1
            sums = running_sums(spec, rows, ends, seen, horizon, edges, groups=groups, channels=channels)
            kept = {shared: sums} | _only(kept, best)
        if float(kept[shared][-1].total.sum()) <= 0:
            continue
        found = _judge(spec, kept[shared], rows, ends, seen, horizon, edges, penalties, best, channels=channels)
        losses |= {f"{spec} {key}": value for key, value in found.losses.items()}
        if best is None or clearly_better(_loss_of(found), _loss_of(best)):
            best, best_sums = found, kept[shared]
    if best is None or best_sums is None:
        return None
    final, forward = _solutions(best, best_sums)
    younger = _younger(best, best_sums[-1])
    return best._replace(weights=final, younger=younger, forward=forward, losses={**losses, "chosen": _loss_of(best)})


def _only(kept: dict[RidgeSpec, list[Sums]], best: Learned | None) -> dict[RidgeSpec, list[Sums]]:
    """Return the sums that the best spec so far needs."""
    return {} if best is None else {key: sums for key, sums in kept.items() if key == replace(best.spec, own=False)}


def running_sums(
    spec: RidgeSpec,
    rows: Tensor,
    ends: Tensor,
    seen: BankSeen,
    horizon: int,
    edges: Tensor,
    *,
    groups: int = 1,
    channels: int = 1,
) -> list[Sums]:
    """Return, for each block's end, the sums of all windows whose targets are read by then.

    A stream's first sizes are those of a few rows, so a block's windows are measured by the size at its end. Processes of a
    group add up their pieces of the series, which are so many channels each.
    """

    def of_block(j: int, places: slice) -> Sums:
        some = streams_of(places, channels)
        own, at, known = rows[some], of_streams(ends, some), seen_of(seen, some)
        begin, end = (of_streams(edges, some)[..., i, None] for i in (j, j + 1))
        done = _wide(at, own) + horizon
        settled = (_wide(at, own) <= end).sum(-1, keepdim=True).sub(1).clamp_min(0)
        known = known._replace(size=known.size.gather(1, settled).expand_as(known.size))
        return add_up(spec, own, at, known, horizon, (done <= end) & ((done > begin) | (j == 0)), groups=groups)

    found: list[Sums] = []
    for j in range(edges.shape[-1] - 1):
        here = distributed.summed(partial(of_block, j), len(rows) // channels)
        found.append(found[-1].plus(here) if found else here)
    return found


def streams_of(places: slice, channels: int) -> slice:
    """Return the streams that series of so many channels make."""
    return slice(places.start * channels, places.stop * channels)


def seen_of(seen: BankSeen, some: slice) -> BankSeen:
    """Return what is seen of some streams."""
    return type(seen)(*(each[some] for each in seen))


def of_streams(places: Tensor, some: slice) -> Tensor:
    """Return the places of some streams, of ``(k,)``, which are those of all, or of ``(s, k)``."""
    return places if places.ndim == 1 else places[some]


def _wide(ends: Tensor, rows: Tensor) -> Tensor:
    """Return ends of every stream, ``(s, n)``."""
    return ends.expand(len(rows), ends.shape[-1])


def _judge(
    spec: RidgeSpec,
    sums: list[Sums],
    rows: Tensor,
    ends: Tensor,
    seen: BankSeen,
    horizon: int,
    edges: Tensor,
    penalties: Sequence[float],
    before: Learned | None,
    *,
    channels: int = 1,
) -> Learned:
    """Return a spec's best penalty by the mean log loss of its forward blocks; weights are solved later."""
    steps = torch.arange(0, horizon, -(-horizon // JUDGED_STEPS))
    tried: list[tuple[float, float | None]] = [(penalty, None) for penalty in penalties]
    if spec.own:
        shared = (
            before.penalty if before is not None and before.spec.profile == spec.profile else penalties[len(penalties) // 2]
        )
        tried = [(shared, own) for own in OWN_PENALTIES]
    losses: dict[tuple[float, float | None], list[float]] = {each: [] for each in tried}
    start = _wide(ends, rows)

    def of_some(weights: list[Tensor], at: Tensor, counted: Tensor, series: slice) -> tuple[Tensor]:
        some = streams_of(series, channels)
        given = weights, rows[some], of_streams(ends, some), seen_of(seen, some), at, counted[some], steps
        return (_added_losses(spec, *given),)

    for j, known in enumerate(sums[:-1]):
        counted = (start >= edges[..., j + 1, None]) & (start < edges[..., j + 2, None])
        places = counted.any(0).nonzero()[:, 0]
        places = places[:: max(1, len(places) * len(rows) // JUDGED_WINDOWS)]
        if float(known.total.sum()) <= 0 or not len(places):
            continue
        if spec.own:
            some = known.at_steps(steps)
            weights = [own_weights(spec, some, penalty, own or 0.0) for penalty, own in tried]
        else:
            weights = solve_each(spec, known.together().at_steps(steps), [penalty for penalty, _ in tried])
        (total,) = distributed.summed(partial(of_some, weights, places, counted), len(rows) // channels)
        for each, loss in zip(tried, distributed.decided(partial(_mean_logs, total)), strict=True):
            losses[each].append(loss)
        if before is not None and len(losses[tried[0]]) == ENOUGH and _worse(losses.values(), _loss_of(before)):
            break
    chosen = min(tried, key=lambda each: sum(losses[each]))
    report = {f"{a:g}" if b is None else f"{a:g}, own {b:g}": losses[a, b] for a, b in tried}
    empty = torch.zeros(0)
    return Learned(spec, chosen[0], chosen[1], empty, (), (), {**report, "chosen": losses[chosen]})


def _added_losses(
    spec: RidgeSpec,
    weights: Sequence[Tensor],
    rows: Tensor,
    ends: Tensor,
    seen: BankSeen,
    places: Tensor,
    counted: Tensor,
    steps: Tensor,
) -> Tensor:
    """Return squared and absolute errors that were added up, and how many, for each of ``weights`` ``(w, 3)``."""
    total = torch.zeros(len(weights), 3, dtype=torch.float64)
    reach = int(steps[-1]) + 1
    padded = F.pad(rows, (0, reach), value=float("nan"))
    for part in pieces(len(rows), places, spec.width + reach):
        at, here = ends[..., part], part_of(seen, part)
        windows, truth = design(spec, rows, at, here), cut(padded, at, reach)[..., steps]
        for i, each in enumerate(weights):
            error = answers(spec, each, windows, here, steps) - truth
            if spec.centre == "level":  # streams of a panel are unlike: each in its own size
                error = (error / here.size[..., None]).clamp(-FARTHEST_TARGET, FARTHEST_TARGET)
            there = ~error.isnan() & counted[:, part, None]
            error = torch.where(there, error, 0.0)
            total[i] += torch.stack([error.square().sum(), error.abs().sum(), there.sum().double()])
    return total


def _mean_logs(total: Tensor) -> list[float]:
    """Return the mean of the logarithms of mean squared and of squared mean absolute error, of sums ``(w, 3)``."""
    squared, absolute, count = total.unbind(1)
    logs = (torch.stack([squared, absolute]) / count.clamp_min(1.0)).clamp_min(1e-300).log()
    return ((logs[0] + 2 * logs[1]) / 2).tolist()


def _worse(tried: Iterable[list[float]], best: list[float]) -> bool:
    """Tell whether all that was tried was worse in every block so far."""
    return all(mine > its for losses in tried for mine, its in zip(losses, best, strict=False))


def _loss_of(learned: Learned) -> list[float]:
    return learned.losses["chosen"]


def clearly_better(one: list[float], other: list[float]) -> bool:
    """Tell whether the mean difference between blocks is below zero by more than its standard error."""
    if len(one) < max(len(other), 2):  # given up, or not to be judged
        return False
    difference = torch.tensor(one, dtype=torch.float64) - torch.tensor(other, dtype=torch.float64)
    return bool(difference.mean() + difference.std() / len(difference) ** 0.5 < 0)


def _solutions(learned: Learned, sums: list[Sums]) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """Return the weights solved on all blocks, and for each block those solved on the blocks before it."""
    spec = learned.spec
    found: list[Tensor | None] = []
    for known in sums:
        if float(known.total.sum()) <= 0:
            found.append(None)
        elif learned.own_penalty is None:
            found.append(solve(spec, known.together(), learned.penalty))
        else:
            found.append(own_weights(spec, known, learned.penalty, learned.own_penalty))
    final = found.pop()
    assert final is not None
    return final, (None, *found)


def _younger(learned: Learned, sums: Sums) -> tuple[Tensor, ...]:
    """Return the weights of the ridges of shorter look-backs, the longest first."""
    found, spec = [], younger_spec(learned.spec)
    while spec is not None:
        found.append(solve(spec, sums_of(spec, sums, learned.spec.longest), learned.penalty))
        spec = younger_spec(spec)
    return tuple(found)


def own_weights(spec: RidgeSpec, sums: Sums, penalty: float, own_penalty: float) -> Tensor:
    """Return weights of one's own ``(c, f, d)``, each look-back held to the shared solution of the same."""
    found = torch.zeros(0)
    for lookback in spec.lookbacks:
        one = replace(spec, lookbacks=(lookback,))
        first = spec.longest - lookback
        part = sums._replace(gram=sums.gram[:, first:, first:], cross=sums.cross[:, first:])
        shared = solve(one, part.together(), penalty)[0]
        weights = F.pad(solve(one, part, own_penalty, prior=shared), (first, 0)) / len(spec.lookbacks)
        found = weights if not len(found) else found + weights
    return found


def out_of_block(learned: Learned, rows: Tensor, ends: Tensor, seen: BankSeen, edges: Tensor) -> Tensor:
    """Return forecasts ``(s, n, f)`` by weights solved on the blocks before each origin's; NaN where there are none."""
    f = learned.weights.shape[1]
    found = torch.full((*_wide(ends, rows).shape, f), float("nan"), dtype=torch.float64)
    start = _wide(ends, rows)
    for j, weights in enumerate(learned.forward):
        if weights is None:
            continue
        counted = (start >= edges[..., j, None]) & (start < edges[..., j + 1, None])
        for part in pieces(len(rows), counted.any(0).nonzero()[:, 0], learned.spec.width + f):
            here = part_of(seen, part)
            said = answers(learned.spec, weights, design(learned.spec, rows, ends[..., part], here), here)
            found[:, part] = torch.where(counted[:, part, None], said, found[:, part])
    return found
