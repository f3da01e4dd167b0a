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
ARMS = (FROZEN, CEILING, PREFERENCE, LINEAR, BOTH, NEURAL, SILENT, ON_TOP)
NETWORK: dict[str, Any] = {"variant": "lmm", "layers": 1, "width": 32, "memory_depth": 2}
"""A memory of 13,448 bytes."""
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


def read_on(network: ForecastNetwork, streams: Sequence[SeriesTensors], origins: Sequence[int]) -> Read:
    """Read streams side by side, each from its first row on with a fresh state, and forecast after ``origins`` rows."""
    begun, done, found = time.process_time(), 0, []
    states = [start_state(network, static=one.static, scale=one.scale) for one in streams]
    for origin in origins:
        states = absorb_together(network, states, [one.part(done, origin) for one in streams])
        told = forecast_together(network, states, [one.future[origin : origin + HORIZON] for one in streams], ())
        found.append(torch.stack([one.point[0, :, 0] for one in told]))
        done = origin
    seconds = (time.process_time() - begun) / (len(streams) * done)
    return Read(torch.stack(found, dim=1), seconds, states[0].nbytes)


def arms_of(
    panel: Panel, origins: Sequence[int], *, seed: int, max_steps: int, device: str, verbose: int | None
) -> dict[str, Read]:
    """Fit on some streams of a panel, and return what each arm forecasts of the others."""
    options: dict[str, Any] = {"lookback": LOOKBACK, "max_steps": max_steps, "random_state": seed}
    options |= {"device": device, "verbose": verbose}
    fitted = task_frame(panel.fitted, [slice(None)] * len(panel.fitted))
    alone = HeldForecaster(HORIZON, **NETWORK, **options).fit(fitted)
    on_top = TitansForecaster(HORIZON, **NETWORK, **options).fit(fitted)
    reader = on_top.reader_
    streams = [reader.tensors(one) for one in reader.panel(task_frame(panel.read, [slice(None)] * len(panel.read)))]
    base = on_top.network_.base
    assert base is not None
    networks = {
        FROZEN: _without_memory(on_top.network_, held(base)),
        PREFERENCE: _without_memory(on_top.network_, held(base, prefers=True)),
        LINEAR: _without_memory(on_top.network_, held(base, remembers=True)),
        BOTH: _without_memory(on_top.network_, base),
        NEURAL: alone.network_,
        ON_TOP: on_top.network_,
    }
    found = {name: read_on(network, streams, origins) for name, network in networks.items()}
    with silenced(alone.network_):
        found[SILENT] = read_on(alone.network_, streams, origins)
    found[CEILING] = _ceiling(networks[FROZEN], streams, origins, found[FROZEN])
    return found


def held(base: Base, *, prefers: bool = False, remembers: bool = False) -> Base:
    """Return a copy of which some parts keep to what the panel knows."""
    found = copy.deepcopy(base)
    found.hold()
    if prefers:
        found.pace.copy_(base.pace)
        found.config = replace(found.config, prefers=base.config.prefers)
    if remembers:
        found.memory = copy.deepcopy(base.memory)
        found.config = replace(found.config, reads_on=base.config.reads_on)
    return found


def _without_memory(network: ForecastNetwork, base: Base) -> ForecastNetwork:
    """Return a network that is a base alone."""
    config = replace(network.config, base=base.config, backbone=replace(network.config.backbone, layers=0))
    found = ForecastNetwork(config).eval()
    found.base = base
    return found


def _ceiling(network: ForecastNetwork, streams: Sequence[SeriesTensors], origins: Sequence[int], frozen: Read) -> Read:
    """Return the frozen base's forecasts with what a ridge, refitted every day, adds to them."""
    assert network.base is not None
    rows = torch.stack([on_long_run_scale(one.rows[None], one.scale)[0] for one in streams])
    scale = Scale(*(torch.cat([getattr(one.scale, name) for one in streams]) for name in Scale._fields))
    begun, last = time.process_time(), origins[-1]
    ends = torch.arange(LOOKBACK, last + 1)
    start = network.base.initial_state(len(streams), 1)
    told, _ = network.base.read(rows[..., :last], scale, start, first=0, ends=ends)
    truth = rows[:, 0].unfold(-1, HORIZON, 1)[:, LOOKBACK : last + 1]
    missed = truth - told.point[:, 0]
    at = torch.tensor(origins) - LOOKBACK
    said = refitted(rows[:, 0], missed[:, : last - HORIZON - LOOKBACK + 1], missed[:, at], origins, lookback=LOOKBACK)
    seconds = (time.process_time() - begun) / (len(streams) * last)
    return Read(frozen.point + said * scale.spread[..., None], seconds, frozen.state_bytes + BYTES_OF_A_ROW * last)
