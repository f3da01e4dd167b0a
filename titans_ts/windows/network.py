"""The network of a classifier or regressor of numeric sequences: a linear path and a memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from titans_ts.backbones.config import BackboneConfig
from titans_ts.blocks.motifs import MotifStem
from titans_ts.blocks.scale import Scale
from titans_ts.files.facts import fits, require
from titans_ts.learn.two_paths import SilentLinear, TwoPaths
from titans_ts.windows.containers import batch_of_windows
from titans_ts.windows.kernels import SUMMARIES, KernelShares, summary


@dataclass(frozen=True)
class WindowConfig:
    """Everything that is needed to build a :class:`WindowNetwork` again."""

    outputs: int
    channels: int
    steps: int = 0  # from the start, whose values the linear path sees
    dilations: tuple[int, ...] = ()  # of the kernels whose shares it sees
    thresholds: int = 1  # of each kernel
    kernel: int = 11  # steps that a motif spans
    patch_length: int = 8  # steps of a token
    backbone: BackboneConfig = field(default_factory=BackboneConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> WindowConfig:
        """Return the configuration of a model file."""
        values = {**values, "dilations": tuple(values["dilations"])}
        require(all(fits(each, int) and each > 0 for each in values["dilations"]), "dilations must be 1 or more")
        return cls(**{**values, "backbone": BackboneConfig.from_dict(values["backbone"])})


class WindowNetwork(TwoPaths):
    """A linear path of values by their step, a summary and shares of kernels; a memory that reads motifs."""

    level: Tensor  # 1, c, float64: what sequences are standardised by
    spread: Tensor
    linear_parts = ("linear",)

    def __init__(self, config: WindowConfig) -> None:
        backbone = config.backbone
        super().__init__(
            MotifStem(
                2 * config.channels,
                backbone.width,
                kernel=config.kernel,
                patch_length=config.patch_length,
                dropout=backbone.dropout,
            ),
            backbone,
            config.outputs,
        )
        self.config = config
        self.shares = KernelShares(config.channels, dilations=config.dilations, thresholds=config.thresholds)
        self.linear = SilentLinear((config.steps + SUMMARIES) * config.channels + self.shares.features, config.outputs)
        self.register_buffer("level", torch.zeros(1, config.channels, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(1, config.channels, dtype=torch.float64))

    def batch(self, items: Sequence[NDArray[np.float64]]) -> tuple[Tensor, Tensor]:
        """Return sequences ``(t, c)`` as one batch ``(b, 2 c, t)``, standardised, and their lengths ``(b,)``."""
        return batch_of_windows(items, Scale(self.level, self.spread), device=self.device, dtype=self.dtype)

    def linear_features(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return what the linear path sees of each sequence, ``(b, features)``."""
        values = inputs[:, : self.config.channels]
        first = F.pad(values[..., : self.config.steps], (0, max(self.config.steps - values.shape[-1], 0)))
        return torch.cat([first.flatten(1), summary(values, lengths), self.shares(values, lengths)], dim=1)

    def linear_answer(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return what the linear path alone says, ``(b, outputs)``."""
        answers: Tensor = self.linear(self.linear_features(inputs, lengths))
        return answers
