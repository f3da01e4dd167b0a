"""LMM: the memory alone, and how a memory is built from a configuration."""

from __future__ import annotations

from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.memory.neural_memory import MemoryCarry, NeuralMemory


def build_memory(config: BackboneConfig) -> NeuralMemory:
    """Return the memory that a configuration describes."""
    return NeuralMemory(
        config.width,
        heads=config.heads,
        memory=config.memory,
        depth=config.memory_depth,
        expansion=config.memory_expansion,
        refresh_every=config.refresh_every,
        convolution=config.convolution,
        momentum=config.momentum,
        forgetting=config.forgetting,
        damping=config.damping,
    )


class MemoryOnly(nn.Module):
    """``y = M*(x)``: every token is written and read, nothing else mixes tokens.

    References
    ----------
    arXiv 2501.00663, section 4.3, "LMM".
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.memory = build_memory(config)

    def initial_state(self, batch: int) -> MemoryCarry:
        """Return the carry before the first token."""
        return self.memory.initial_state(batch)

    def forward(self, sequence: Tensor, state: MemoryCarry) -> tuple[Tensor, MemoryCarry]:
        """Map ``(b, t, d)`` to ``(b, t, d)``."""
        return self.memory(sequence, state)
