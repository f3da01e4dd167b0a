"""Small series and networks for whatever reads series."""

import torch
from memory.cases import shaken, tokens

from titans_ts.backbones.config import BackboneConfig
from titans_ts.blocks.scale import long_run_scale
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.settings import ForecastConfig
from titans_ts.series.tensors import SeriesTensors

NAN = float("nan")
BACKBONE = {
    "width": 8, "heads": 2, "layers": 2, "refresh_every": 4, "window": 6, "persistent_tokens": 2, "convolution": 3,
}  # fmt: skip
ALL_COVARIATES = {"calendar": 2, "past": 2, "future": 3, "static": 2}


def make_config(variant: str = "mac", layers: int = 2, **settings: object) -> ForecastConfig:
    """Return a small configuration of two independent channels."""
    sizes = {"horizon": 5, "lookback": 12, "patch_length": 4, "channels": 2, "quantiles": (0.1, 0.5, 0.9)}
    return ForecastConfig(**{**sizes, **settings}, backbone=BackboneConfig(variant, **{**BACKBONE, "layers": layers}))


def make_network(variant: str = "mac", **settings: object) -> ForecastNetwork:
    """Return a float64 network in evaluation mode whose every part does something."""
    torch.manual_seed(0)
    return shaken(ForecastNetwork(make_config(variant, **settings)))


def make_series(
    config: ForecastConfig, length: int, *, missing: float = 0.0, seed: int = 0, beyond: int = 0
) -> SeriesTensors:
    """Return a wandering series with every covariate that a configuration names; ``beyond`` rows of the future's."""
    rows = tokens(config.channels, length, seed=seed).cumsum(-1) + 10
    rows[tokens(config.channels, length, seed=seed + 1).abs() < missing] = NAN
    past = tokens(length, config.past, seed=seed + 2)
    past[tokens(length, config.past, seed=seed + 3).abs() < missing] = NAN
    return SeriesTensors(
        rows=rows,
        calendar=tokens(length, config.calendar, seed=seed + 4),
        past=past,
        future=tokens(length + beyond, config.future, seed=seed + 5),
        static=tokens(config.static, seed=seed + 6),
        scale=long_run_scale(rows[None]),
    )


def rows_of(series: SeriesTensors, start: int, stop: int) -> SeriesTensors:
    """Return some rows of a series."""
    part = slice(start, stop)
    return SeriesTensors(
        series.rows[:, part], series.calendar[part], series.past[part], series.future[part], series.static, series.scale
    )
