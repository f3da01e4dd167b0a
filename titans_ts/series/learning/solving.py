"""The base of a panel, solved in closed form and judged forward in time.

The rows of every stream are cut into blocks that end with its last row. Ridges are solved on what lies before a block, and
forecast it: so every forecast that others learn from, the weights of the candidates, the linear memory, the intervals and
the neural memory, is out of block. At the end the ridges alone are solved once more, on all rows.

Or on the first rows of every series alone, the training part: then what is left of it is one more block, which ridges solved
on all before it forecast.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from titans_ts.backbones.state import join
from titans_ts.blocks.scale import Scale, on_long_run_scale
from titans_ts.learn import distributed
from titans_ts.series.base import calibration, forward, memory_learning, mixing, preference, ridge
from titans_ts.series.base.bank import NAMES, Bank, BankSeen
from titans_ts.series.base.base import Base, features_of
from titans_ts.series.base.effects import effect_at, learn_effect
from titans_ts.series.base.forward import Learned
from titans_ts.series.base.ridge import RidgeSpec
from titans_ts.series.base.spread import Spread, tracked_steps
from titans_ts.series.learning import earning
from titans_ts.series.learning.earning import Judged
from titans_ts.series.settings import BaseConfig, ForecastConfig
from titans_ts.series.sizes import Sizes
from titans_ts.series.tensors import Foretold, SeriesTensors

MOST_BLOCKS = 8
"""Blocks in which candidates are judged."""
JUDGED_SHARE = 0.7
"""Part of the rows that these blocks take, at most."""
MOST_ROWS = 20_000_000
"""Rows, gaps at the ends of shorter streams included, from which a base is learned; of more streams evenly spaced ones."""
MOST_FORETOLD = 40_000_000
"""Numbers that the base foretells while it is learned; of more series evenly spaced ones, or of a wide series' channels."""
MOST_WORK, FEWEST_WINDOWS, MOST_WINDOWS = 2e10, 2_000, 60_000
"""Products in the sums of one ridge; windows that they are taken over, evenly spaced."""
EFFECT_LOOKBACK = 168
"""Rows, at most, of the look-back beside which the effect of covariates is learned."""
YOUNG_SEASONS, YOUNG_LOOKBACK = 4, 336
"""Seasons, and rows of a look-back, after which a stream is no longer young."""
MOST_YOUNG = 96
"""Streams, at most, that begin once more to tell how wide intervals of the young are."""
GOLDEN = 0.6180339887498949
"""Share of a season between two phases: multiples of it are spread evenly."""
FEWEST_BOUNDARIES = 48
"""Boundaries of a typical stream below which no linear memory is tried."""
FEW_BLOCKS, SURE = 6, ("theta", "theta_log", "damped", "damped_log")
"""Blocks of so few streams below which weights cannot be told, and the candidates that are then left to share them."""
WINDOWS_A_WEIGHT = 10
"""Windows for each input of a ridge of short look-backs, at least, of all streams."""
FEWEST_STREAMS = 8
"""Streams from which on candidates are weighed by stream, and not by time."""
SCORED, WEIGHED_STEPS = 4_000, 48
"""Origins at which candidates are weighed, at so many steps."""
NUMBERS_AT_ONCE = 2**22
"""Numbers of forecasts that are made in one call."""


class Solved(NamedTuple):
    """A base, and what it foretold while it was learned."""

    base: Base
    foretold: dict[int, Foretold]  # of the series that it was learned from, by place
    judged: Judged  # out of block, of the streams of these series
    coverage: dict[int, float]  # share of truths within intervals, by their level in percent


class _Streams(NamedTuple):
    """Streams that a base is learned from, side by side."""

    series: list[int]  # places of their series; each has all its channels
    rows: Tensor  # s t, on the long-run scale; NaN after each one's end
    scale: Scale  # s
    lengths: Tensor  # s

    def of(self, some: Tensor) -> _Streams:
        """Return the streams of some places, and not which series they are of."""
        return _Streams([], self.rows[some], Scale(*(x[some] for x in self.scale)), self.lengths[some])


class _Found(NamedTuple):
    """Candidates in one season, as forward blocks judged them."""

    bank: Bank
    ridges: list[Learned]
    scored: Tensor  # s n, the origins at which they are weighed
    forecasts: Tensor  # s n k f, out of block; NaN where no ridge was solved before
    seen: BankSeen  # s n


def solve_base(
    series: Sequence[SeriesTensors],
    config: ForecastConfig,
    sizes: Sizes,
    *,
    zero: bool = True,
    first_rows: Sequence[int] | None = None,
    reads_on: bool = True,
) -> Solved:
    """Return a base for the series of one panel, solved on all their rows or on the first ones of each.

    Unless it ``reads_on``, every stream keeps to what the panel knows (:meth:`Base.hold`).

    The other rows then say how fast a stream learns, what its linear memory begins with, and how wide intervals are; ridges
    and weights of candidates are not solved on them.
    """
    whole = _chosen(series, config)
    if distributed.in_group() and len(whole.series) < distributed.PIECES:  # too few to be shared out
        with distributed.alone():
            return solve_base(series, config, sizes, zero=zero, first_rows=first_rows, reads_on=reads_on)
    streams = whole if first_rows is None else _first(whole, first_rows, config.channels)
    edges = block_edges(streams.lengths, config.horizon)
    effect = _effect(series, streams, edges, config, sizes)
    if config.future:
        whole, streams = (x._replace(rows=x.rows - effect_at(_future(series, x), effect)) for x in (whole, streams))
    found = _judged(streams, edges, config, sizes)
    base, ridges = _assembled(found, distributed.decided(lambda: _weights(found, streams)), config, zero=zero)
    base.effect.copy_(effect)
    if first_rows is not None:  # what is left is one more block
        edges = torch.cat([edges, whole.lengths[:, None]], dim=1)
        ridges = [one._replace(forward=(*one.forward, one.weights)) for one in ridges]
    patch = config.patch_length
    boundaries = torch.arange(patch, whole.rows.shape[1] + 1, patch)
    some = _learned_from(whole, len(boundaries) * (config.horizon + 2 * base.config.season))
    if not reads_on:
        base.hold()
    heard = _heard(base, ridges, whole, some, boundaries, edges, learns=reads_on)
    known = {"season": base.config.season, "patch": patch}
    learned = calibration.learn(heard.truth - heard.point, heard.features, origins=boundaries, **known)
    covered = earning.coverage(learned, whole.rows[some], heard.point, heard.truth, heard.features, boundaries)
    base.config = replace(base.config, templates=len(learned.ranks))
    base.set_spread(learned)
    learned = _of_the_young(base, ridges, whole, edges)
    base.config = replace(base.config, ages=len(learned.young))
    base.set_spread(learned)
    if not (config.backbone.layers or config.recollection):  # nobody else learns from what was foretold
        return Solved(base, {}, heard.judged, covered)
    points, judged = [heard.point.float()], [heard.judged]
    rest = torch.tensor(sorted(set(range(len(whole.rows))) - set(some.tolist())), dtype=torch.long)
    for part in rest.split(len(some)) if len(rest) else ():
        del heard  # what one set of streams needs is all that is held
        heard = _heard(base, ridges, whole, part, boundaries, edges, learns=False)
        points.append(heard.point.float())
        judged.append(heard.judged)
    back = torch.cat([some, rest]).argsort()
    foretold = zip(whole.series, torch.cat(points)[back].unflatten(0, (-1, config.channels)), strict=True)
    return Solved(base, {i: Foretold(x, patch, patch) for i, x in foretold}, Judged.of(judged, back), covered)


class _Heard(NamedTuple):
    """What the base foretold at ``n`` boundaries of some streams, and what came."""

    point: Tensor  # s n f
    truth: Tensor  # s n f
    features: Tensor  # s n j, sizes
    judged: Judged


def _heard(
    base: Base, ridges: Sequence[Learned], whole: _Streams, some: Tensor, ends: Tensor, edges: Tensor, *, learns: bool
) -> _Heard:
    """Let the base foretell streams of ``some`` places out of block; where it ``learns``, of them first."""
    streams = whole.of(some)
    if len(some) < len(whole.rows):
        ridges = [one.of_channels(some) for one in ridges]
    channels = base.config.channels
    seen = _seen(base.bank, streams, ends, channels)
    size, features = _shared(lambda some: (seen.size[some], features_of(forward.seen_of(seen, some))), len(some), channels)
    alone, expected = _out_of_block(base, ridges, streams, ends, seen, size, edges[some], learns=learns)
    point = expected + _reading_on(base, streams, ends, expected, size, learns=learns)
    truth = _truth(streams.rows, ends.expand(len(some), -1), point.shape[-1])

    def judge(some: slice) -> tuple[Tensor, ...]:
        given = alone[some], point[some], truth[some], forward.seen_of(seen, some)
        judged = earning.judge(*given, season=base.config.season)
        return (*judged.errors.values(), judged.size)

    *errors, settled = _shared(judge, len(some), channels)
    return _Heard(point, truth, features, Judged(dict(zip(earning.BY_BASE, errors, strict=True)), settled))


def _shared(work: Callable[[slice], tuple[Tensor, ...]], streams: int, channels: int) -> tuple[Tensor, ...]:
    """Return what work gives for all streams, ``(s, ...)`` each; processes of a group share out the series."""
    if streams % channels:  # some channels of one wide series
        return work(slice(0, streams))
    found: tuple[Tensor, ...] = join(
        distributed.shared(lambda places: work(forward.streams_of(places, channels)), streams // channels)
    )
    return found


def _seen(bank: Bank, streams: _Streams, ends: Tensor, channels: int, lengths: Tensor | None = None) -> BankSeen:
    """Return what a bank sees of streams; a process of a group sees those of its pieces, and of the others zeros."""
    s = len(streams.rows)

    def see(some: slice) -> BankSeen:
        scale = Scale(*(x[some] for x in streams.scale))
        rows, at = streams.rows[some], forward.of_streams(ends, some)
        return bank.read(rows, scale, bank.initial(len(rows)), at, None if lengths is None else lengths[some])[0]

    if not distributed.in_group():
        return see(slice(0, s))
    found: BankSeen | None = None
    for _, places in distributed.mine(s // channels):
        some = forward.streams_of(places, channels)
        part = see(some)
        found = found or BankSeen(*(x.new_zeros(s, *x.shape[1:]) for x in part))
        for into, x in zip(found, part, strict=True):
            into[some] = x
    assert found is not None
    return found


def _learned_from(streams: _Streams, numbers: int) -> Tensor:
    """Return the places of streams to learn from, ``numbers`` to each: all, or of one wide series evenly spaced ones."""
    most = len(streams.rows) if len(streams.series) > 1 else max(MOST_FORETOLD // max(numbers, 1), FEWEST_STREAMS)
    return torch.linspace(0, len(streams.rows) - 1, min(most, len(streams.rows))).long()


def _weights(found: _Found, streams: _Streams) -> Tensor:
    """Return the weights ``(k, f)`` of the candidates, by what they foretold out of block at steps evenly spaced."""
    horizon = found.forecasts.shape[-1]
    steps = torch.linspace(0, horizon - 1, min(horizon, WEIGHED_STEPS)).round().long()
    forecasts, truth = found.forecasts[..., steps], _truth(streams.rows, found.scored, horizon)[..., steps]
    of_stream, of_time = torch.meshgrid(*map(torch.arange, forecasts.shape[:2]), indexing="ij")
    groups = of_stream if len(forecasts) >= FEWEST_STREAMS else of_time
    size = earning.settled_size(found.seen, found.bank.season)
    given = (x.flatten(0, 1) for x in (forecasts, truth, size, groups))
    weights = mixing.choose_weights(*given, most=mixing.farthest(steps + 1, found.bank.season)).weights
    return weights[:, torch.searchsorted(steps, torch.arange(horizon))]


def _faith(found: _Found) -> float:
    """Return how much of a single season is in the profile, over streams that know theirs; 0 where the season is short."""
    if found.bank.judged:
        return 0.0
    last = found.seen.last - found.seen.last.mean(-1, keepdim=True)
    known = (found.seen.age >= 4 * found.bank.season)[..., None]
    both = (torch.where(known, last * found.seen.profile, 0.0) / found.seen.size[..., None] ** 2).sum()
    alone = (torch.where(known, last.square(), 0.0) / found.seen.size[..., None] ** 2).sum()
    return float((both / alone.clamp_min(1e-300)).clamp(0, 1))


def _future(series: Sequence[SeriesTensors], streams: _Streams) -> Tensor:
    """Return what is known in advance of every series ``(b, t, x)``, as long as the streams."""
    longest = streams.rows.shape[1]
    return torch.stack([F.pad(x, (0, 0, 0, longest - len(x))) for x in (series[i].future[:longest] for i in streams.series)])


def _effect(
    series: Sequence[SeriesTensors], streams: _Streams, edges: Tensor, config: ForecastConfig, sizes: Sizes
) -> Tensor:
    """Return the effect ``(c, x)`` of covariates known in advance, 0 where forward blocks find none."""
    if not config.future:
        return torch.zeros(config.channels, 0, dtype=torch.float64)
    lookback = min(sizes.lookback, EFFECT_LOOKBACK)
    longest = int(streams.lengths.argmax())
    future = _future(series, streams)
    return learn_effect(streams.rows, future, lookback=lookback, horizon=config.horizon, edges=edges[longest]).weights


def _assembled(found: _Found, weights: Tensor, config: ForecastConfig, *, zero: bool) -> tuple[Base, list[Learned]]:
    """Return a base of the candidates that have a weight ``(k, f)``, with the ridges solved on all rows, and these."""
    counts = (weights > 0).any(-1).tolist()
    names = [name for name, counted in zip(found.bank.names, counts, strict=False) if counted]
    ridges = [one for one, counted in zip(found.ridges, counts[len(found.bank.names) :], strict=True) if counted]
    base = Base(
        BaseConfig(
            horizon=config.horizon,
            lookback=config.lookback,
            patch_length=config.patch_length,
            season=found.bank.season,
            channels=config.channels,
            mixed=config.mixed,
            future=config.future,
            bank=tuple(names),
            ridges=tuple(one.spec for one in ridges),
            zero=zero,
            faith=_faith(found),
        )
    )
    base.mixing.copy_(weights[torch.tensor(counts)])
    for into, one in zip(base.ridges, ridges, strict=True):
        into.load_state_dict(one.ridge.state_dict())
    return base, ridges


def _out_of_block(
    base: Base,
    ridges: Sequence[Learned],
    streams: _Streams,
    ends: Tensor,
    seen: BankSeen,
    size: Tensor,
    edges: Tensor,
    *,
    learns: bool,
) -> tuple[Tensor, ...]:
    """Return what the base foretells ``(s, n, f)`` with ridges that were solved before each origin's block, NaN without.

    By the weights that all streams share, and by each one's own. How fast these move is judged before, if it ``learns``.
    """
    rows, patch, (k, horizon) = streams.rows, base.config.patch_length, base.mixing.shape
    steps = preference.heard_steps(horizon) - 1
    heard = torch.empty(len(rows), len(ends), k, len(steps), dtype=torch.float64)
    slopes = torch.zeros(len(rows), len(ends), k, dtype=torch.float64)

    def candidates(some: slice) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield places of ends, a few of them at a time, and what all candidates foretell of some streams there."""
        own = rows[some]
        for part in torch.arange(len(ends)).split(max(NUMBERS_AT_ONCE // (len(own) * k * horizon), 1)):
            here = ridge.part_of(forward.seen_of(seen, some), part)
            each = [base.bank.forecasts(here, horizon)]
            each += [forward.out_of_block(one, own, ends[part], here, edges[some])[:, :, None] for one in ridges]
            yield part, torch.cat(each, dim=2)

    def hear(some: slice) -> tuple[Tensor]:
        for part, each in candidates(some):
            heard[some][:, part] = each[..., steps]
        return (heard[some],)

    def mix(some: slice) -> tuple[Tensor, ...]:
        found = torch.empty(len(rows[some]), len(ends), horizon, dtype=torch.float64)
        alike = torch.empty_like(found) if base.pace > 0 else found
        for part, each in candidates(some):
            found[:, part] = (each * preference.weights_of(base.mixing, float(base.pace), slopes[some][:, part])).sum(2)
            if base.pace > 0:
                alike[:, part] = mixing.mix(each, base.mixing)
        return alike, found

    tried = learns and k > 1 and _typical(streams, base) >= FEWEST_BOUNDARIES
    if tried or base.pace > 0:
        (heard,) = _shared(hear, len(rows), base.config.channels)
    if tried:
        base.pace.fill_(preference.learn(base.mixing, rows, ends, heard, size, patch_length=patch))
    if base.pace > 0:
        late = base.waits * patch
        known = F.pad(rows, (late, 0), value=float("nan"))
        start = preference.initial(len(rows), k, horizon, patch)
        given = known, ends + late, heard, size, start
        slopes = preference.read(base.mixing, float(base.pace), *given, patch_length=patch)[0][:, 1:]
    base.config = replace(base.config, prefers=bool(base.pace > 0))
    return _shared(mix, len(rows), base.config.channels)


def _of_the_young(base: Base, ridges: Sequence[Learned], streams: _Streams, edges: Tensor) -> Spread:
    """Return the spread, with what it must know of streams that begin where all whose errors it heard are older.

    Streams begin once more at the beginning of some blocks, and are read by ridges that were solved before.
    """
    learned, config = base.spread, base.config
    until = max(YOUNG_SEASONS * config.season, min(config.lookback, YOUNG_LOOKBACK))
    until = -(-until // config.patch_length) * config.patch_length
    heard, rows = edges[:, 1].double().median(), until + config.horizon
    longest = int(streams.lengths.argmax())
    usable = [j for j in range(1, edges.shape[1] - 1) if edges[longest, j] + rows <= streams.lengths[longest]]
    if not until < heard or not usable:
        return learned
    usable = usable[-max(2 * MOST_YOUNG // config.channels, 1) :]
    groups = len(streams.rows) // config.channels
    each = min(groups, max(MOST_YOUNG // (len(usable) * config.channels), 1))
    parts = []
    trial = copy.deepcopy(base)
    for j in usable:
        if any(one.forward[j] is None for one in ridges):
            continue
        for into, one in zip(trial.ridges, ridges, strict=True):
            into.weights.copy_(one.forward[j])
        which = (torch.arange(each) * groups // each + j) % groups
        some = (which[:, None] * config.channels + torch.arange(config.channels)).flatten()
        phase = (j + len(usable) * torch.arange(each)) * GOLDEN % 1 * config.season  # they begin at all phases of a season
        begin = edges[some, j] + phase.long().repeat_interleave(config.channels)
        begin = torch.minimum(begin, (streams.lengths[some] - rows).clamp_min(edges[some, j]))
        places = begin[:, None] + torch.arange(rows)
        begun = F.pad(streams.rows[some], (0, rows + config.season), value=float("nan")).gather(1, places)
        scale = Scale(*(x.flatten()[some] for x in streams.scale))
        ends = torch.arange(config.patch_length, until + 1, config.patch_length)
        shape = (len(which), config.channels)
        found, _ = trial.read(
            begun.unflatten(0, shape),
            Scale(*(x.unflatten(0, shape) for x in scale)),
            trial.initial_state(*shape),
            first=0,
            ends=ends,
        )
        seen, _ = base.bank.read(begun, scale, base.bank.initial(len(begun)), ends)
        point = found.point.flatten(0, 1)
        error = _truth(begun, ends.expand(len(begun), -1), config.horizon) - point
        kept = torch.linspace(0, len(begun) - 1, min(len(begun), MOST_YOUNG)).long()  # of a wide series some channels
        parts.append(tuple(x[kept] for x in (begun[:, :until], point, error, features_of(seen), seen.age)))
    if not parts:
        return learned
    begun, point, error, features, age = (torch.cat(each) for each in zip(*parts, strict=True))
    tracked = torch.from_numpy(tracked_steps(config.horizon)) - 1
    return calibration.learn_young(learned, begun, point[..., tracked], error, features, age, until=until)


def _typical(streams: _Streams, base: Base) -> float:
    """Return the boundaries of a typical stream."""
    return float(streams.lengths.double().median()) / base.config.patch_length


def _reading_on(
    base: Base, streams: _Streams, boundaries: Tensor, expected: Tensor, size: Tensor, *, learns: bool
) -> Tensor:
    """Return what the linear memory adds ``(s, n, f)``; where it ``learns`` before, it is left out if that is nothing."""
    memory, rows = base.memory, streams.rows
    if not learns:
        none = torch.zeros_like(expected)
        return none if memory is None else memory.read(rows, boundaries, expected, size, memory.initial(len(rows)))[0]
    if memory is not None and _typical(streams, base) >= FEWEST_BOUNDARIES:
        learned = memory_learning.learn(memory, rows, boundaries, expected, size)
        if bool((memory.share > 0).any()):
            return memory_learning.read_apart(memory, learned, rows, boundaries, expected, size)
    base.memory, base.config = None, replace(base.config, reads_on=False)
    return torch.zeros_like(expected)


def _judged(streams: _Streams, edges: Tensor, config: ForecastConfig, sizes: Sizes) -> _Found:
    """Return the candidates of the season that forward blocks prefer; the first unless another is clearly better."""
    best: _Found | None = None
    for season in sizes.seasons:
        found = _candidates(streams, edges, config, season, sizes)
        if best is None or (
            found.ridges
            and best.ridges
            and forward.clearly_better(found.ridges[-1].losses["chosen"], best.ridges[-1].losses["chosen"])
        ):
            best = found
    assert best is not None
    return best


def _candidates(streams: _Streams, edges: Tensor, config: ForecastConfig, season: int, sizes: Sizes) -> _Found:
    """Solve and judge the ridges beside the bank of one season."""
    horizon, rows = config.horizon, streams.rows
    few = len(rows) < FEWEST_STREAMS and edges.shape[-1] - 2 < FEW_BLOCKS
    offered = [name for name in NAMES if season > 1 or name != "seasonal_naive"]  # which would be the naive one once more
    bank = Bank(season, SURE if few else offered)
    specs = _specs(sizes, season, config)
    width = max(one.width for one in specs[0])
    most = max(MOST_WORK // (width * (width + horizon)), FEWEST_WINDOWS)
    step = -(-rows.numel() // int(min(most, MOST_WINDOWS)))
    solved = torch.arange(max(rows.shape[1] - horizon, 0), 0, -step).flip(0)
    scored = _scored(edges, horizon)
    both = torch.cat([solved.expand(len(rows), -1), scored], dim=1)
    seen = _seen(bank, streams, both, config.channels, streams.lengths)
    part = ridge.part_of(seen, torch.arange(len(solved)))
    ridges = []
    windows = float((streams.lengths - horizon).clamp_min(0).sum())
    enough = windows >= (WINDOWS_A_WEIGHT * width if sizes.centre == "level" else 1)
    for alternatives in specs if len(solved) and enough else ():
        found = forward.learn(alternatives, rows, solved, part, horizon, edges, channels=config.channels)
        ridges += [found] if found else []
    late = torch.arange(len(solved), both.shape[1])

    def foretell(some: slice) -> tuple[Tensor, ...]:
        there = ridge.part_of(forward.seen_of(seen, some), late)
        forecasts = [bank.forecasts(there, horizon)]
        forecasts += [forward.out_of_block(one, rows[some], scored[some], there, edges[some])[:, :, None] for one in ridges]
        return torch.cat(forecasts, dim=2), *there

    forecasts, *there = _shared(foretell, len(rows), config.channels)
    return _Found(bank, ridges, scored, forecasts, BankSeen(*there))


def _specs(sizes: Sizes, season: int, config: ForecastConfig) -> list[list[RidgeSpec]]:
    """Return the ridges beside the bank, each with its alternatives, the simplest first."""
    if sizes.centre == "level":
        plain = RidgeSpec(sizes.lookbacks, centre="level")
        return [[plain], [replace(plain, logs=True)]]
    plain = RidgeSpec(sizes.lookbacks)
    found = [[plain], [replace(plain, profile=True)]] if season > 1 else [[plain]]
    return [[one, replace(one, own=True)] for (one,) in found] if config.channels > 1 else found


def _scored(edges: Tensor, horizon: int) -> Tensor:
    """Return the origins at which candidates are weighed, ``(s, n)``: evenly spaced in every block but the first."""
    begin, end = edges[:, 1:-1], edges[:, 2:]
    each = max(SCORED // begin.numel(), 1)
    room = (end - begin - horizon).clamp_min(0)
    each = min(each, int(room.max()) + 1)
    share = torch.linspace(0, 1, each) if each > 1 else torch.zeros(1)
    return (begin[..., None] + (room[..., None] * share).long()).flatten(1)


def _truth(rows: Tensor, ends: Tensor, horizon: int) -> Tensor:
    """Return the rows ``(s, n, f)`` that follow ``ends`` ``(s, n)``; NaN where missing."""
    return F.pad(rows, (0, horizon), value=float("nan")).unfold(-1, horizon, 1)[torch.arange(len(rows))[:, None], ends]


def block_edges(lengths: Tensor, horizon: int) -> Tensor:
    """Return where the blocks of streams begin and end, ``(s, blocks + 1)``: the first is only learned from.

    The others end with the last row, and are as long as the horizon or longer.

    >>> block_edges(torch.tensor([100, 100, 30]), 12)[1:]
    tensor([[  0,  30,  44,  58,  72,  86, 100],
            [  0,   0,   0,   0,   6,  18,  30]])
    """
    typical = float(lengths.double().median())
    blocks = int(np.clip(JUDGED_SHARE * typical / horizon, 1, MOST_BLOCKS))
    width = (JUDGED_SHARE * lengths / blocks).long().clamp_min(horizon)
    back = torch.arange(blocks, -1, -1)
    return F.pad((lengths[:, None] - width[:, None] * back).clamp_min(0), (1, 0))


def _chosen(series: Sequence[SeriesTensors], config: ForecastConfig) -> _Streams:
    """Return the series that a base is learned from: all, or evenly spaced ones by length where that would be too much."""
    lengths = np.array([one.length for one in series])
    order = np.argsort(lengths, kind="stable")
    longest = int(lengths.max())
    numbers = max(longest, longest // config.patch_length * config.horizon * MOST_ROWS // MOST_FORETOLD)
    most = max(MOST_ROWS // (numbers * config.channels), 1)
    if len(order) > most:
        order = order[np.unique(np.linspace(0, len(order) - 1, most).round().astype(int))]
    which = sorted(order.tolist())
    longest = int(lengths[which].max())
    rows = [on_long_run_scale(series[i].rows[None], series[i].scale)[0] for i in which]
    padded = torch.cat([F.pad(x, (0, longest - x.shape[1]), value=float("nan")) for x in rows])
    scale = Scale(*(torch.cat([series[i].scale[part].flatten() for i in which]) for part in (0, 1)))
    return _Streams(which, padded, scale, torch.from_numpy(lengths[which]).repeat_interleave(config.channels))


def _first(streams: _Streams, first_rows: Sequence[int], channels: int) -> _Streams:
    """Return streams of which only the first rows are there; ``first_rows`` are those of each series of the panel."""
    lengths = torch.tensor([first_rows[place] for place in streams.series]).repeat_interleave(channels)
    longest = int(lengths.max())
    there = torch.arange(longest) < lengths[:, None]
    return streams._replace(rows=torch.where(there, streams.rows[:, :longest], float("nan")), lengths=lengths)
