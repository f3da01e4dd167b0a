"""Small runs of training: seconds, every phase, every kind of chance."""

import math

import torch
from memory.cases import tokens
from series.cases import BACKBONE, make_series

from titans_ts.backbones.config import BackboneConfig
from titans_ts.blocks.scale import Scale, long_run_scale
from titans_ts.series.learning.training import Training
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.settings import ForecastConfig, TrainingConfig
from titans_ts.series.tensors import SeriesTensors

STEPS = {
    "max_steps": 6, "direct_steps": 6, "quantile_steps": 6, "evaluate_every": 2, "patience": 100,
    "batch_size": 4, "segment": 5, "overlap": 0.3, "precision": "float32",
}  # fmt: skip


def config_of(variant: str = "mag", layers: int = 1, dropout: float = 0.1, **settings: object) -> ForecastConfig:
    sizes = {"horizon": 3, "lookback": 8, "patch_length": 4, "channels": 1, "quantiles": (0.1, 0.5, 0.9)}
    backbone = BackboneConfig(variant, **{**BACKBONE, "layers": layers, "dropout": dropout})
    return ForecastConfig(**{**sizes, **settings}, backbone=backbone)


def make_run(
    config: ForecastConfig | None = None, *, data: int = 0, network_seed: int = 0, callbacks=(), **settings: object
) -> Training:
    """Return a run of three short series that has not begun; ``data`` chooses other rows."""
    config = config_of() if config is None else config
    torch.manual_seed(network_seed)
    network = ForecastNetwork(config)
    many = [make_series(config, length, missing=0.1, seed=100 * data + length, beyond=3) for length in (90, 120, 70)]
    return Training(network, many, [70, 120, 50], TrainingConfig(**{**STEPS, **settings}), callbacks=callbacks)


def tensors_of(training: Training) -> dict[str, torch.Tensor]:
    return {name: x.detach().clone() for name, x in training.network.state_dict().items()}


def assert_same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    different = [name for name, x in a.items() if not torch.equal(x, b[name])]
    assert not different, f"not the same bits: {different}"


def numbered(length: int, number: int, channels: int = 1) -> SeriesTensors:
    """Return a series whose rows say where they stand: ``10,000 * number + row``, and 1,000 a channel, unscaled."""
    rows = 10_000.0 * number + torch.arange(length, dtype=torch.float64) + 1000 * torch.arange(channels)[:, None]
    nothing = torch.zeros(length, 0)
    scale = Scale(torch.zeros(1, channels).double(), torch.ones(1, channels).double())
    return SeriesTensors(rows, nothing, nothing, nothing, torch.zeros(0), scale)


def motifs(length: int, *, seed: int = 0) -> SeriesTensors:
    """Return a curve of 32 rows that no look-back of 8 holds, played again and again with little noise."""
    curve = tokens(32, seed=seed)
    curve = (curve + curve.roll(1)) / math.sqrt(2)
    rows = curve.repeat(length // 32 + 1)[:length] + 0.02 * tokens(length, seed=seed + 1)
    nothing = torch.zeros(length, 0)
    return SeriesTensors(rows[None], nothing, nothing, nothing, torch.zeros(0), long_run_scale(rows[None, None]))
