"""A whole sequence of numbers in, an answer about it out."""

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
from titans_ts.learn.two_paths import SilentLinear, TwoPaths
from titans_ts.windows.containers import as_windows
from titans_ts.windows.kernels import SUMMARIES, KernelShares, summary


@dataclass(frozen=True)
class WindowConfig:
    """Everything that is needed to build the network of a classifier or regressor of numeric sequences again.

    Parameters
    ----------
    outputs, channels : int
        Numbers answered about a sequence, and channels of it.
    steps : int
        Steps from the start whose values the linear path sees; 0 for none.
    dilations : tuple of int
        Of the kernels whose shares it sees; empty for none.
    thresholds : int
        Of each of them.
    kernel, patch_length : int
        Steps seen by a motif, steps of a token.
    backbone : BackboneConfig
        The middle of the network.
    """

    outputs: int
    channels: int
    steps: int = 0
    dilations: tuple[int, ...] = ()
    thresholds: int = 1
    kernel: int = 11
    patch_length: int = 8
    backbone: BackboneConfig = field(default_factory=BackboneConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> WindowConfig:
        """Return the configuration of a model file."""
        values = {**values, "dilations": tuple(values["dilations"])}
        return cls(**{**values, "backbone": BackboneConfig(**values["backbone"])})


class WindowNetwork(TwoPaths):
    """Values by their step, a summary and shares of kernels by a linear path, motifs by a backbone.

    Parameters
    ----------
    config : WindowConfig
        Settings.

    Attributes
    ----------
    level, spread : Tensor
        ``(1, c)`` float64: what sequences are standardised by.

    Examples
    --------
    >>> network = WindowNetwork(WindowConfig(outputs=3, channels=2, backbone=BackboneConfig(width=16, heads=2, layers=1)))
    >>> network(*network.batch([np.zeros((20, 2)), np.ones((13, 2))])).shape
    torch.Size([2, 3])
    """

    level: Tensor
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
        return as_windows(items, Scale(self.level.double(), self.spread.double()), device=self.device, dtype=self.dtype)

    def described(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return what the linear path sees of each sequence, ``(b, features)``."""
        values = inputs[:, : self.config.channels]
        first = F.pad(values[..., : self.config.steps], (0, max(self.config.steps - values.shape[-1], 0)))
        return torch.cat([first.flatten(1), summary(values, lengths), self.shares(values, lengths)], dim=1)

    def linear_answer(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return what the linear path alone says, ``(b, outputs)``."""
        answers: Tensor = self.linear(self.described(inputs, lengths))
        return answers
