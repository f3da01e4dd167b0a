"""Small runs of training: seconds, every phase, every kind of chance."""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from memory.cases import tokens
from series.cases import BACKBONE, make_series

from titans_ts.backbones.config import BackboneConfig
from titans_ts.blocks.scale import Scale, long_run_scale, on_long_run_scale
from titans_ts.series.learning.training import Training
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.settings import BaseConfig, ForecastConfig, TrainingConfig
from titans_ts.series.tensors import Foretold, SeriesTensors

STEPS = {
    "max_steps": 6, "evaluate_every": 2, "patience": 100, "batch_size": 4, "segment": 5, "overlap": 0.3, "average": 0.9,
    "precision": "float32",
}  # fmt: skip


def config_of(variant: str = "mag", layers: int = 1, dropout: float = 0.1, **settings: object) -> ForecastConfig:
    """Return a small configuration with a base."""
    sizes = {"horizon": 3, "lookback": 8, "patch_length": 4, "channels": 1, "quantiles": (0.1, 0.5, 0.9)}
    sizes |= {"level": False, **settings}
    of_base = ("horizon", "lookback", "patch_length", "channels", "mixed", "future")
    base = BaseConfig(**{name: sizes[name] for name in of_base if name in sizes}, bank=("naive",))
    backbone = BackboneConfig(variant, **{**BACKBONE, "layers": layers, "dropout": dropout})
    return ForecastConfig(**{"base": base, **sizes}, backbone=backbone)


def foretold(one: SeriesTensors, config: ForecastConfig, *, step: int = 2) -> SeriesTensors:
    """Return a series with what a linear path of its first half foretells, from a whole look-back on."""
    rows, lookback = on_long_run_scale(one.rows[None], one.scale)[0].nan_to_num(0.0), config.lookback
    pairs = rows.unfold(-1, lookback + config.horizon, 1)
    pairs = pairs[:, : pairs.shape[1] // 2].flatten(0, 1)
    weights = torch.linalg.lstsq(pairs[:, :lookback], pairs[:, lookback:], driver="gelsd").solution
    ends = torch.arange(0, one.length + 1, step)
    point = F.pad(rows, (lookback, 0)).unfold(-1, lookback, 1)[:, ends] @ weights
    point[:, ends < lookback] = float("nan")
    return replace(one, foretold=Foretold(point, 0, step))


def make_run(
    config: ForecastConfig | None = None, *, data: int = 0, network_seed: int = 0, callbacks=(), **settings: object
) -> Training:
    """Return a run of three short series that has not begun; ``data`` chooses other rows."""
    config = config_of() if config is None else config
    torch.manual_seed(network_seed)
    network = ForecastNetwork(config)
    many = [make_series(config, length, missing=0.1, seed=100 * data + length, beyond=3) for length in (90, 120, 70)]
    many = [foretold(one, config) for one in many]
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
