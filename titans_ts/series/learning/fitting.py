"""From a panel to a fitted reader: preparation, the base solved, the memory trained on what it missed, everything read."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from titans_ts.backbones.config import BackboneConfig
from titans_ts.frames.covariates.categories import learn_categories
from titans_ts.frames.panel import Panel
from titans_ts.learn import distributed
from titans_ts.learn.acceptance import MemoryGain
from titans_ts.learn.estimator import validation_rows
from titans_ts.learn.progress import shows_progress
from titans_ts.series.learning.duration import expected_seconds, measure_pace, tell
from titans_ts.series.learning.earning import Earned, Judged, judge_memory, table
from titans_ts.series.learning.solving import Solved, solve_base
from titans_ts.series.learning.training import Training
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.reader import Reader, Reading
from titans_ts.series.recollection import FEATURES_PER_CASE
from titans_ts.series.settings import ForecastConfig, TrainingConfig
from titans_ts.series.sizes import Sizes, choose_sizes
from titans_ts.series.targets import Targets
from titans_ts.series.tensors import Preparation, SeriesTensors, learn_scale

FEWEST_TOKENS = 16
"""Tokens of the longest series below which a memory has too little to read for it to be worth a training."""
FEWEST_BLOCKS = 3
"""Blocks of validation rows as long as the horizon, of all streams, below which a memory cannot be judged."""


@dataclass(frozen=True)
class Plan:
    """What is asked of a fit."""

    horizon: int
    lookback: int | str  # rows, or "auto"
    patch_length: int | str
    season_length: int | str
    mixed: bool
    quantiles: tuple[float, ...]
    recollection: int
    backbone: BackboneConfig
    validation_fraction: float
    minimum: float | None
    target_transform: Any
    cycles: str | tuple[str, ...] | None
    solve_on: str  # "all" rows, or those of "training" alone
    reads_on: bool = True  # whether streams move the base's weights and linear memory while they are read


class Fitted(NamedTuple):
    """What a fit leaves."""

    reader: Reader
    read: Reading
    gain: MemoryGain | None  # of the memory's correction
    recollection_gain: MemoryGain | None
    history: list[dict[str, Any]]  # of the training
    earned: list[Earned]  # errors out of block, by the last part that answers
    coverage: dict[int, float]  # share of truths within intervals out of block, by their level in percent
    seconds: dict[str, float]  # by what was done


def fit_panel(
    panel: Panel,
    plan: Plan,
    config: TrainingConfig,
    *,
    start: Callable[[ForecastConfig, Targets], ForecastNetwork],
    watching: Mapping[str, Any],
    n_jobs: int | None = None,
) -> Fitted:
    """Solve a base, train the memory that ``start`` begins on what the base missed, and let both read the panel."""
    clock = [time.perf_counter()]
    if distributed.in_group():
        distributed.check_alike(_identity(panel, plan, config))
    training_rows = [len(one) - validation_rows(len(one), plan.validation_fraction) for one in panel]
    sizes = _sizes(panel, training_rows, plan)
    panel = learn_categories(panel, training_rows)
    targets = Targets.learn(panel, training_rows, minimum=plan.minimum, transform=plan.target_transform)
    preparation = Preparation.learn(panel, training_rows, targets, calendar=plan.cycles)
    parts = [(one, max(rows, 1)) for one, rows in zip(panel, training_rows, strict=True)]
    scales = {one.id: preparation.scale(one, rows) for one, rows in parts}
    series = {one.id: preparation.tensors(one, scales[one.id]) for one in panel}
    shape = ForecastConfig(
        horizon=plan.horizon,
        lookback=sizes.lookback,
        patch_length=sizes.patch_length,
        channels=len(panel.layout.target_columns),
        mixed=plan.mixed,
        quantiles=plan.quantiles,
        calendar=preparation.calendar,
        past=panel.layout.n_past,
        future=panel.layout.n_future,
        static=panel.layout.n_static,
        recollection=plan.recollection,
        cases=-(-plan.recollection // FEATURES_PER_CASE),
        level=False,
        backbone=plan.backbone,
    )
    if not _can_be_judged(shape, training_rows, list(map(len, panel))):
        shape = replace(shape, backbone=replace(shape.backbone, layers=0), recollection=0, cases=0)
    if shows_progress(watching["verbose"]):
        tell(expected_seconds(list(map(len, panel)), shape, sizes, config, measure_pace()), watching["verbose"])
    clock.append(time.perf_counter())
    first_rows = None if plan.solve_on == "all" else training_rows
    options: dict[str, Any] = {"zero": targets.are_plain, "first_rows": first_rows, "reads_on": plan.reads_on}
    solved = solve_base(list(series.values()), shape, sizes, **options)
    base = distributed.decided(lambda: solved.base)
    clock.append(time.perf_counter())
    network = start(replace(shape, base=base.config), targets)
    network.base = base
    clock.append(time.perf_counter())
    training = _train(network, list(series.values()), training_rows, solved, config, watching)
    network.eval()
    judged = _judged(network, list(series.values()), training_rows, solved, training)
    clock.append(time.perf_counter())
    rows = {one.id: count for one, count in zip(panel, training_rows, strict=True)}
    firsts = {one.id: None if one.times is None else one.times[0] for one in panel}
    spreads = {one.id: learn_scale(one.values[:count]).spread[0].numpy() for one, count in parts}
    statics = {one.id: one.static for one in panel} if panel.layout.static_apart else {}
    facts = (network, preparation, panel.layout, scales, rows, firsts, spreads)
    reader = Reader(*facts, n_jobs=n_jobs, verbose=watching["verbose"], statics=statics)
    read = _read(reader, panel, series)
    clock.append(time.perf_counter())
    return Fitted(
        reader,
        read,
        None if training is None else training.gain,
        None if training is None else training.recollection_gain,
        [] if training is None else training.told(),
        table(judged),
        solved.coverage,
        _seconds(clock),
    )


def _identity(panel: Panel, plan: Plan, config: TrainingConfig) -> str:
    """Return a digest of what is fitted, and how."""
    found = hashlib.sha256(f"{replace(plan, target_transform=None)} {config}".encode())
    for one in panel:
        found.update(f"{one.id!r} {one.values.shape}".encode())
        found.update(np.ascontiguousarray(one.values).data)
    return found.hexdigest()


def _read(reader: Reader, panel: Panel, series: Mapping[Hashable, SeriesTensors]) -> Reading:
    """Return the states of a panel's series."""
    parts = distributed.shared(lambda some: reader.read(replace(panel, series=panel.series[some]), {}, series), len(panel))
    read, *others = parts
    for part in others:
        read.states.update(part.states)
        read.last_times.update(part.last_times)
    return read


def _sizes(panel: Panel, training_rows: Sequence[int], plan: Plan) -> Sizes:
    """Return the sizes of a fit; series too short for them are refused."""
    sizes = choose_sizes(
        panel.layout,
        training_rows,
        horizon=plan.horizon,
        lookback=plan.lookback,
        patch_length=plan.patch_length,
        season_length=plan.season_length,
    )
    if max(training_rows) <= sizes.patch_length:
        longest, most, chosen = max(map(len, panel)), max(training_rows), ""
        remedies = ["give more rows"]
        if isinstance(plan.patch_length, str):
            chosen = f"; patch_length='auto' is {sizes.patch_length} for a look-back of {sizes.lookback} rows"
        if most > 1:
            remedies.append(f"set patch_length={most - 1}" if chosen else f"a patch_length of at most {most - 1}")
        if longest > most:
            remedies.append("a smaller validation_fraction")
        raise ValueError(
            f"X is too short: its longest series has {longest} rows, {most} of them for training; fit needs "
            f"{sizes.patch_length + 1} or more (patch_length + 1), not n_samples={longest}{chosen}: {', or '.join(remedies)}"
        )
    return sizes


def _train(
    network: ForecastNetwork,
    series: Sequence[SeriesTensors],
    training_rows: Sequence[int],
    solved: Solved,
    config: TrainingConfig,
    watching: Mapping[str, Any],
) -> Training | None:
    """Train the memory on what the base missed out of block; nothing is done where there is none."""
    phases = config.steps_of_phases(layers=network.config.backbone.layers, recollection=network.config.recollection)
    if not phases:
        return None
    missed = [replace(series[place], foretold=foretold) for place, foretold in solved.foretold.items()]
    training = Training(network, missed, [training_rows[place] for place in solved.foretold], config, **watching)
    training.run()
    if not is_heard(training.gain):
        network.config = replace(network.config, heard=False)
    return training


def is_heard(gain: MemoryGain | None) -> bool:
    """Tell whether any of the memory's correction is used; where none is, it need not be read."""
    return gain is None or gain.share > 0


def _judged(
    network: ForecastNetwork,
    series: Sequence[SeriesTensors],
    training_rows: Sequence[int],
    solved: Solved,
    training: Training | None,
) -> Judged:
    """Return the errors of all parts: of the memory too, on validation rows, where one was trained."""
    if training is None or not training.validated:
        return solved.judged
    starts = [training_rows[place] for place in solved.foretold]
    share = 1.0 if training.gain is None else training.gain.share
    return judge_memory(network, training.series, starts, solved.judged, share=share)


def _seconds(clock: Sequence[float]) -> dict[str, float]:
    """Return the seconds of each part of a fit, by the clock before and after each."""
    found: dict[str, float] = {}
    for name, begin, end in zip(("preparing", "base", "preparing", "memory", "reading"), clock, clock[1:], strict=False):
        found[name] = found.get(name, 0.0) + end - begin
    return found


def _can_be_judged(config: ForecastConfig, training_rows: Sequence[int], lengths: Sequence[int]) -> bool:
    """Tell whether a typical series has a whole block of validation rows, and all of them enough; or none has any."""
    blocks = [(length - rows) // config.horizon for length, rows in zip(lengths, training_rows, strict=True)]
    if list(training_rows) == list(lengths):
        return max(lengths) >= FEWEST_TOKENS * config.patch_length
    enough = sorted(blocks)[len(blocks) // 2] >= 1 and config.streams * sum(blocks) >= FEWEST_BLOCKS
    return enough and max(training_rows) >= FEWEST_TOKENS * config.patch_length
