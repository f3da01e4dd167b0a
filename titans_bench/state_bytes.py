"""What a forecaster keeps of a stream, by part: bytes, with everything switched on, whatever a fit would leave out.

Hourly rows, one channel, all sizes automatic. A stream keeps no more than this however many rows it has read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from titans_bench.rows import markdown_table, write_rows
from titans_ts.backbones.state import pack
from titans_ts.blocks.scale import unknown_scale
from titans_ts.frames.panel import Layout
from titans_ts.series.base.bank import Bank
from titans_ts.series.base.ridge import RidgeSpec
from titans_ts.series.forecaster import TitansForecaster
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.reading import start_state
from titans_ts.series.settings import BaseConfig, ForecastConfig
from titans_ts.series.sizes import Sizes, choose_sizes

HORIZONS, LAYERS = (96, 720), (0, 2)
SEEN = 60_000
"""Rows that a fit would see, from which sizes follow."""
PARTS = {"bank": "bank", "preference": "preference", "memory": "memory", "spread": "spread", "ring": "rows"}
"""Columns, and the parts of a base's carry that they are."""


@dataclass(frozen=True)
class StateRow:
    """Bytes of a stream's state."""

    horizon: int
    season: int  # rows
    layers: int
    lookback: int
    patch_length: int
    bank: int  # smoothed levels, trends, profile
    preference: int  # weights of one's own
    memory: int  # the linear memory
    spread: int  # intervals
    ring: int  # the last rows, as the base sees them
    backbone: int
    rest: int  # the last rows as they came, the scale, extremes
    whole: int


def measure() -> list[StateRow]:
    """Return a row for every horizon, season of a day and of a week, and number of layers."""
    sizes = {horizon: sizes_of(horizon) for horizon in HORIZONS}
    return [_row(h, season, n, sizes[h]) for h in HORIZONS for season in sizes[h].seasons for n in LAYERS]


def sizes_of(horizon: int, frequency: str = "h") -> Sizes:
    """Return the automatic sizes of long series."""
    layout = Layout("long", "pandas", ("y",), frequency=frequency, time_dtype="datetime64[ns]")
    auto: dict[str, Any] = dict.fromkeys(("lookback", "patch_length", "season_length"), "auto")
    return choose_sizes(layout, [SEEN], horizon=horizon, **auto)


def write_state(out: Path) -> list[StateRow]:
    """Measure, write the file, and return its rows."""
    found = measure()
    write_rows(out, found, StateRow)
    return found


def state_table(rows: Sequence[StateRow]) -> str:
    """Return a markdown table: a row a setting, a column a part."""
    facts = ["horizon", "season", "layers", "look-back"]
    parts = ["bank", "preference", "linear memory", "intervals", "ring", "backbone", "rest", "whole"]
    body = [[f"{x:,}" for name, x in asdict(row).items() if name != "patch_length"] for row in rows]
    note = "Bytes of a stream of hourly rows with every candidate kept and both memories at work, whatever was read."
    return f"{markdown_table([*facts, *parts], body)}\n\n{note}"


def _row(horizon: int, season: int, layers: int, sizes: Sizes) -> StateRow:
    network = network_of(horizon, season, layers, sizes)
    state = start_state(network, static=torch.zeros(0), scale=unknown_scale(1))
    bytes_of = {name: _bytes(getattr(state.base, part)) for name, part in PARTS.items()}
    bytes_of["backbone"] = _bytes(state.backbone)
    bytes_of["rest"] = state.nbytes - sum(bytes_of.values())
    return StateRow(horizon, season, layers, sizes.lookback, sizes.patch_length, **bytes_of, whole=state.nbytes)


def network_of(horizon: int, season: int, layers: int, sizes: Sizes) -> ForecastNetwork:
    """Return a blank network that leaves nothing out."""
    plain = RidgeSpec(sizes.lookbacks, centre=sizes.centre)
    base = BaseConfig(horizon, sizes.lookback, sizes.patch_length, season=season, bank=Bank(season).names, ridges=(plain,))
    backbone = TitansForecaster(layers=layers)._backbone_config()
    config = ForecastConfig(horizon, sizes.lookback, sizes.patch_length, level=False, base=base, backbone=backbone)
    return ForecastNetwork(config).eval()


def _bytes(state: Any) -> int:
    return sum(x.numel() * x.element_size() for x in pack(state).values())
