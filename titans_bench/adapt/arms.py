"""Arms on one base: which parts of a fitted network go on learning, and their forecasts while streams are read."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_bench.adapt.ceiling import refitted
from titans_bench.adapt.panels import Panel
from titans_bench.tasks import task_frame
from titans_ts.backbones.observing import silenced
from titans_ts.blocks.scale import Scale, on_long_run_scale
from titans_ts.series.base.base import Base
from titans_ts.series.forecaster import TitansForecaster
from titans_ts.series.learning.fitting import Plan
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.reading import absorb_together, forecast_together, start_state
from titans_ts.series.tensors import SeriesTensors

LOOKBACK, HORIZON = 168, 24
FROZEN, CEILING = "frozen", "ridge, refitted daily"
PREFERENCE, LINEAR, BOTH = "preference", "linear memory", "preference and linear memory"
NEURAL, ON_TOP, SILENT = "neural memory", "neural memory on top", "neural memory, silent"
RECOLLECTION = "recollection"
ARMS = (FROZEN, CEILING, PREFERENCE, LINEAR, BOTH, NEURAL, SILENT, RECOLLECTION, ON_TOP)
BASE = "base"
MODELS = {
    BASE: (FROZEN, CEILING, PREFERENCE, LINEAR, BOTH),
    NEURAL: (NEURAL, SILENT),
    RECOLLECTION: (RECOLLECTION,),
    ON_TOP: (ON_TOP,),
}
"""What is fitted, and the arms of each."""
_NEURAL: dict[str, Any] = {"variant": "lmm", "layers": 1, "width": 32, "memory_depth": 2}
OPTIONS: dict[str, dict[str, Any]] = {
    BASE: {"layers": 0},
    NEURAL: _NEURAL,
    ON_TOP: _NEURAL,
    RECOLLECTION: {"variant": "lmm", "layers": 1, "width": 16, "memory_depth": 1, "recollection": 64},
}
"""How it is fitted: a neural memory of 13,448 bytes; or one of 1,352 and a recollection, which hears errors, of 13,624."""
TIMED = 20
"""Forecasts, with the rows before and between them, that costs are taken from."""
BYTES_OF_A_ROW = 8


class HeldForecaster(TitansForecaster):
    """A forecaster whose base keeps to what the panel knows, so that its memory learns all that a stream has of its own."""

    def _plan(self) -> Plan:
        return replace(super()._plan(), reads_on=False)


class Read(NamedTuple):
    """What an arm forecast, and what that cost."""

    point: Tensor  # s k f, in the units of the rows
    row_seconds: float  # of the processor, for a row of a stream, its forecasts included
    state_bytes: int  # of a stream


class Streams(NamedTuple):
    """What is read of a panel, as bases read it."""

    series: list[SeriesTensors]
    rows: Tensor  # s 1 t, on the long-run scale
    scale: Scale  # s 1

    @classmethod
    def of(cls, model: TitansForecaster, panel: Panel) -> Streams:
        """Prepare the streams of a panel that are read as a fitted model would."""
        reader = model.reader_
        series = [reader.tensors(one) for one in reader.panel(task_frame(panel.read, [slice(None)] * len(panel.read)))]
        scale = Scale(*(torch.cat([getattr(one.scale, name) for one in series]) for name in Scale._fields))
        return cls(series, torch.stack([on_long_run_scale(one.rows[None], one.scale)[0] for one in series]), scale)


def arms_of(
    model: str, panel: Panel, origins: Sequence[int], *, seed: int, max_steps: int, device: str, verbose: int | None
) -> dict[str, Read]:
    """Fit one of `MODELS` on some streams of a panel, and return what each of its arms forecasts of the others."""
    options: dict[str, Any] = {"lookback": LOOKBACK, "max_steps": max_steps, "random_state": seed}
    options |= {"device": device, "verbose": verbose, **OPTIONS[model]}
    made = (HeldForecaster if model in (NEURAL, RECOLLECTION) else TitansForecaster)(HORIZON, **options)
    made.fit(task_frame(panel.fitted, [slice(None)] * len(panel.fitted)))
    streams, network = Streams.of(made, panel), made.network_
    if model in (ON_TOP, RECOLLECTION):
        return {model: read_on(network, streams.series, origins)}
    if model == NEURAL:
        with silenced(network):
            silent = read_on(network, streams.series, origins)
        return {NEURAL: read_on(network, streams.series, origins), SILENT: silent}
    assert network.base is not None
    bases = {
        FROZEN: held(network.base),
        PREFERENCE: held(network.base, prefers=True),
        LINEAR: held(network.base, remembers=True),
        BOTH: network.base,
    }
    found = {name: _read_base(network, base, streams, origins) for name, base in bases.items()}
    return found | {CEILING: _ceiling(bases[FROZEN], streams, origins, found[FROZEN])}


def read_on(network: ForecastNetwork, series: Sequence[SeriesTensors], origins: Sequence[int]) -> Read:
    """Read series side by side, each from its first row on with a fresh state, and forecast after ``origins`` rows."""
    begun, done, found = time.process_time(), 0, []
    states = [start_state(network, static=one.static, scale=one.scale) for one in series]
    for origin in origins:
        states = absorb_together(network, states, [one.part(done, origin) for one in series])
        told = forecast_together(network, states, [one.future[origin : origin + HORIZON] for one in series], ())
        found.append(torch.stack([one.point[0, :, 0] for one in told]))
        done = origin
    seconds = (time.process_time() - begun) / (len(series) * done)
    return Read(torch.stack(found, dim=1), seconds, states[0].nbytes)


def held(base: Base, *, prefers: bool = False, remembers: bool = False) -> Base:
    """Return a copy of which all but the parts that are named keep to what the panel knows."""
    found = copy.deepcopy(base)
    found.hold()
    if prefers:
        found.pace.copy_(base.pace)
        found.config = replace(found.config, prefers=base.config.prefers)
    if remembers:
        found.memory = copy.deepcopy(base.memory)
        found.config = replace(found.config, reads_on=base.config.reads_on)
    return found


def forecasts_of(base: Base, streams: Streams, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Return forecasts ``(s, n, f)`` after so many rows, as a fresh state makes them, and their bounds ``(s, n, 2)``."""
    start = base.initial_state(len(streams.rows), 1)
    told, _ = base.read(streams.rows[..., : int(ends[-1])], streams.scale, start, first=0, ends=ends)
    return told.point[:, 0], told.bounds[:, 0]


def _read_base(network: ForecastNetwork, base: Base, streams: Streams, origins: Sequence[int]) -> Read:
    """Return what a base forecasts, all streams at once, and what it costs to read rows and forecast as they come."""
    point, bounds = forecasts_of(base, streams, torch.tensor(origins))
    alone = ForecastNetwork(replace(network.config, base=base.config)).eval()
    alone.base = base
    return read_on(alone, streams.series, origins[:TIMED])._replace(point=_in_units(point, bounds, streams.scale))


def _in_units(point: Tensor, bounds: Tensor, scale: Scale) -> Tensor:
    """Return forecasts ``(s, k, f)`` within bounds, in the units of the rows."""
    low, high = bounds[..., None].unbind(-2)
    return torch.maximum(torch.minimum(point, high), low) * scale.spread[..., None] + scale.level[..., None]


def _ceiling(base: Base, streams: Streams, origins: Sequence[int], frozen: Read) -> Read:
    """Return the frozen base's forecasts with what a ridge, refitted every day, adds to them."""
    begun, last = time.process_time(), origins[-1]
    point, bounds = forecasts_of(base, streams, torch.arange(LOOKBACK, last + 1))
    truth = streams.rows[:, 0].unfold(-1, HORIZON, 1)[:, LOOKBACK : last + 1]
    missed, at = truth - point, torch.tensor(origins) - LOOKBACK
    known = missed[:, : last - HORIZON - LOOKBACK + 1]
    said = refitted(streams.rows[:, 0], known, missed[:, at], origins, lookback=LOOKBACK)
    seconds = (time.process_time() - begun) / (len(streams.rows) * last)
    return Read(
        _in_units(point[:, at] + said, bounds[:, at], streams.scale), seconds, frozen.state_bytes + BYTES_OF_A_ROW * last
    )
