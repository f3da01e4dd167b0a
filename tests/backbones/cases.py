"""Small backbones whose every part does something."""

import torch
from memory.cases import shaken

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.stack import Backbone

SIZES = {
    "width": 8, "heads": 2, "layers": 2, "refresh_every": 4, "window": 6, "persistent_tokens": 3, "convolution": 3,
}  # fmt: skip


def make_backbone(variant: str, **settings: object) -> Backbone:
    """Return a float64 backbone in evaluation mode, moved off its start."""
    torch.manual_seed(0)
    return shaken(Backbone(BackboneConfig(variant=variant, **{**SIZES, **settings})))


def fold(backbone: torch.nn.Module, x: torch.Tensor, sizes: list[int]):
    """Read a sequence piece by piece."""
    state, outputs = backbone.initial_state(len(x)), []
    for piece in x.split(sizes, dim=1):
        output, state = backbone(piece, state)
        outputs.append(output)
    return torch.cat(outputs, 1), state
