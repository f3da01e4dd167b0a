"""A sequence of numbers read in order, each patch foretold from what was read before: trained by the sequence itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.stack import Backbone, State
from titans_ts.inputs.series import Scale
from titans_ts.inputs.windows import as_windows


@dataclass(frozen=True)
class ReaderConfig:
    """Everything that is needed to build a reader again.

    Parameters
    ----------
    channels, patch_length : int
        Channels of a sequence, steps of a token.
    backbone : BackboneConfig
        The middle of the network.
    """

    channels: int
    patch_length: int = 8
    backbone: BackboneConfig = field(default_factory=BackboneConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ReaderConfig:
        """Return the configuration of a model file."""
        return cls(**{**values, "backbone": BackboneConfig(**values["backbone"])})


class ReaderNetwork(nn.Module):
    """Patches to tokens, tokens through a backbone, and from what it says of each the patch that comes next.

    Parameters
    ----------
    config : ReaderConfig
        Settings.

    Attributes
    ----------
    level, spread : Tensor
        ``(1, c)`` float64: what sequences are standardised by.

    Examples
    --------
    >>> network = ReaderNetwork(ReaderConfig(channels=2, backbone=BackboneConfig(width=16, heads=2, layers=1)))
    >>> inputs, lengths = network.batch([np.zeros((20, 2))])
    >>> hidden, _ = network.read(inputs, lengths, network.initial_state(1))
    >>> hidden.shape, network.foretold(hidden).shape
    (torch.Size([1, 3, 16]), torch.Size([1, 3, 2, 8]))
    """

    level: Tensor
    spread: Tensor

    def __init__(self, config: ReaderConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.backbone.width, config.channels * config.patch_length
        self.embed = nn.Linear(2 * patch, width)
        self.backbone = Backbone(config.backbone)
        self.dropout = nn.Dropout(config.backbone.dropout)
        self.next_patch = nn.Linear(width, patch)
        self.first_patch = nn.Parameter(torch.zeros(config.channels, config.patch_length))
        self.register_buffer("level", torch.zeros(1, config.channels, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(1, config.channels, dtype=torch.float64))

    @property
    def dtype(self) -> torch.dtype:
        """Kind of number that the network computes in."""
        return self.embed.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return self.embed.weight.device

    def initial_state(self, batch: int) -> State:
        """Return the backbone's state before the first token."""
        return self.backbone.initial_state(batch)

    def batch(self, items: Sequence[NDArray[np.float64]]) -> tuple[Tensor, Tensor]:
        """Return sequences ``(t, c)`` as one batch ``(b, 2 c, t)``, standardised, and their lengths ``(b,)``."""
        return as_windows(items, Scale(self.level.double(), self.spread.double()), device=self.device, dtype=self.dtype)

    def patches(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return values and what is missing of them, ``(b, n, c, p)`` each; past the end of a sequence all is missing."""
        outside = (torch.arange(inputs.shape[-1], device=inputs.device) >= lengths[:, None])[:, None]
        values, missing = inputs.chunk(2, dim=1)
        missing = torch.where(outside, 1, missing)
        over = -inputs.shape[-1] % self.config.patch_length
        cut = [F.pad(x, (0, over), value=fill) for x, fill in ((values, 0.0), (missing, 1.0))]
        values, missing = (x.unflatten(-1, (-1, self.config.patch_length)).movedim(2, 1) for x in cut)
        return values, missing

    def read(self, inputs: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """Absorb ``(b, 2 c, t)``; returns what is held after each patch, ``(b, n, d)``, and the state."""
        values, missing = self.patches(inputs, lengths)
        tokens = self.embed(torch.cat([values.flatten(2), missing.flatten(2)], dim=-1))
        hidden, state = self.backbone(tokens, state)
        return hidden, state

    def foretold(self, hidden: Tensor) -> Tensor:
        """Return the patch that follows each, ``(b, n, c, p)``."""
        found: Tensor = self.next_patch(self.dropout(hidden))
        return found.unflatten(-1, (self.config.channels, self.config.patch_length))

    def losses(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return the error of what was foretold of each sequence, ``(b,)``, averaged over what was measured.

        Squared up to one spread, and linear beyond (Huber 1964): one spike says no more than it must.
        """
        values, missing = self.patches(inputs, lengths)
        hidden, _ = self.read(inputs, lengths, self.initial_state(len(inputs)))
        first = self.first_patch.expand(len(inputs), 1, -1, -1)
        said = torch.cat([first, self.foretold(hidden[:, :-1])], dim=1)
        errors = F.huber_loss(said, values, reduction="none") * (1 - missing)
        return errors.flatten(1).sum(1) / (1 - missing).flatten(1).sum(1).clamp_min(1)
