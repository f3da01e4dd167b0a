"""A network that reads numeric sequences patch by patch and forecasts each patch from those before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.stack import Backbone, State
from titans_ts.blocks.scale import Scale
from titans_ts.learn.batches import batches_by_length
from titans_ts.learn.two_paths import Pooled
from titans_ts.memory.foretelling import ForetellingCarry, ForetellingMemory
from titans_ts.windows.containers import batch_of_windows


@dataclass(frozen=True)
class ReaderConfig:
    """Everything that is needed to build a :class:`ReaderNetwork` again."""

    channels: int
    patch_length: int = 8  # steps of a token
    adapts: bool = False  # whether the memory that forecasts is written while sequences are read
    backbone: BackboneConfig = field(default_factory=BackboneConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ReaderConfig:
        """Return the configuration of a model file."""
        return cls(**{**values, "backbone": BackboneConfig.from_dict(values["backbone"])})


class ReaderCarry(NamedTuple):
    """What is carried from one piece of a sequence to the next."""

    backbone: State
    top: ForetellingCarry


class Reading(NamedTuple):
    """What a reader made of ``n`` patches."""

    hidden: Tensor  # b, n, d: what it holds after each
    foretold: Tensor  # b, n, c, p: the patch that it forecasts after each
    errors: Tensor  # b, n, c, p: of each patch's forecast; 0 where nothing was measured
    measured: Tensor  # b, n, c, p: 1 where something was
    state: ReaderCarry

    @property
    def surprise(self) -> Tensor:
        """Return how much each patch surprised the memory that forecast it, ``(b, n)``: the root mean square of the errors.

        It is the norm ``|x||g|`` of what is to be written, before any clipping, over the root of the numbers measured.
        """
        squares, measured = (x.flatten(2).sum(-1) for x in (self.errors.square(), self.measured))
        return (squares / measured.clamp_min(1)).sqrt()


class ReaderNetwork(nn.Module):
    """Patches to tokens, tokens through a backbone, and above it a memory that forecasts the next patch."""

    level: Tensor  # 1, c, float64: what sequences are standardised by
    spread: Tensor

    def __init__(self, config: ReaderConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.backbone.width, config.channels * config.patch_length
        self.embed = nn.Linear(2 * patch, width)
        self.backbone = Backbone(config.backbone)
        self.top = ForetellingMemory(width, patch, adapts=config.adapts)
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

    def initial_state(self, batch: int) -> ReaderCarry:
        """Return the state before the first patch."""
        return ReaderCarry(self.backbone.initial_state(batch), self.top.initial_state(batch))

    def batch(self, items: Sequence[NDArray[np.float64]]) -> tuple[Tensor, Tensor]:
        """Return sequences ``(t, c)`` as one batch ``(b, 2 c, t)``, standardised, and their lengths ``(b,)``."""
        return batch_of_windows(items, Scale(self.level, self.spread), device=self.device, dtype=self.dtype)

    def patches(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return values and 1 where they were measured, ``(b, n, c, p)`` each; nothing is past the end of a sequence."""
        outside = (torch.arange(inputs.shape[-1], device=inputs.device) >= lengths[:, None])[:, None]
        values, missing = inputs.chunk(2, dim=1)
        measured = torch.where(outside, 0, 1 - missing)
        over = -inputs.shape[-1] % self.config.patch_length
        found = (F.pad(x, (0, over)).unflatten(-1, (-1, self.config.patch_length)).movedim(2, 1) for x in (values, measured))
        return next(found), next(found)

    def forward(self, inputs: Tensor, lengths: Tensor, state: ReaderCarry) -> Reading:
        """Read ``(b, 2 c, t)``, of which the first ``lengths`` steps count; a piece ends where a patch does."""
        values, measured = self.patches(inputs, lengths)
        flat, known = values.flatten(2), measured.flatten(2)
        hidden, backbone = self.backbone(self.embed(torch.cat([flat, 1 - known], dim=-1)), state.backbone)
        said, errors, top = self.top(hidden, flat, known.amin(-1), state.top)
        foretold, errors = (x.unflatten(-1, values.shape[2:]) for x in (said, errors))
        return Reading(hidden, foretold, errors * measured, measured, ReaderCarry(backbone, top))

    def losses(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return the loss of the forecasts of each sequence, ``(b,)``, averaged over what was measured.

        It is squared up to one spread and linear beyond (Huber 1964), so that one spike does not dominate.
        """
        reading = self(inputs, lengths, self.initial_state(len(inputs)))
        losses = F.huber_loss(reading.errors, torch.zeros_like(reading.errors), reduction="none")
        return losses.flatten(1).sum(1) / reading.measured.flatten(1).sum(1).clamp_min(1)


TOKENS_AT_ONCE = 4096  # read in one call; bounds the memory that a long sequence takes and changes no answer
SIDE_BY_SIDE = 64  # sequences of a batch; changes no answer


@torch.no_grad()
def embeddings(network: ReaderNetwork, items: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return mean, maximum and last of what a reader holds after the patches of each sequence, ``(n, 3 d)``."""
    width, patch = network.config.backbone.width, network.config.patch_length
    found = np.zeros((len(items), 3 * width))
    for places in batches_by_length([len(one) for one in items], SIDE_BY_SIDE):
        pooled = Pooled.nothing(torch.zeros(len(places), width, dtype=network.dtype, device=network.device))
        tokens = torch.tensor([-(-len(items[i]) // patch) for i in places], device=network.device)
        for reading in readings(network, [items[i] for i in places]):
            inside = tokens.clamp(0, reading.hidden.shape[1])
            pooled, tokens = pooled.add(reading.hidden, inside), tokens - inside
        found[places] = pooled.features().cpu().numpy()
    return found


@torch.no_grad()
def surprises(network: ReaderNetwork, items: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Return how much each step of each sequence surprised the memory, ``(t,)`` each; a step has its patch's surprise."""
    found: list[NDArray[np.float64]] = [np.zeros(0)] * len(items)
    for places in batches_by_length([len(one) for one in items], SIDE_BY_SIDE):
        values = torch.cat([reading.surprise for reading in readings(network, [items[i] for i in places])], dim=1)
        rows = values.cpu().numpy().repeat(network.config.patch_length, axis=1)
        for place, row in zip(places, rows, strict=True):
            found[place] = row[: len(items[place])]
    return found


def readings(network: ReaderNetwork, items: Sequence[NDArray[np.float64]]) -> Iterator[Reading]:
    """Read sequences side by side from the learned start, part by part, the state carried along."""
    network.eval()
    inputs, lengths = network.batch(items)
    state, step = network.initial_state(len(items)), TOKENS_AT_ONCE * network.config.patch_length
    for first in range(0, inputs.shape[-1], step):
        reading = network(inputs[..., first : first + step], lengths - first, state)
        state = reading.state
        yield reading
