"""MAG: sliding-window attention and memory side by side, one gating the other."""

from __future__ import annotations

from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.memory_as_layer import BranchesCarry, build_attention
from titans_ts.backbones.memory_only import build_memory
from titans_ts.blocks.gating import NormalisedGate


class MemoryAsGate(nn.Module):
    """``y = attention(x)``, ``o = y (x) M*(x)``: precise and short beside fading and long.

    References
    ----------
    arXiv 2501.00663, equations 26 to 28.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.attention = build_attention(config)
        self.memory = build_memory(config)
        self.gate = NormalisedGate(config.width)

    def initial_state(self, batch: int) -> BranchesCarry:
        """Return the carry before the first token."""
        return BranchesCarry(self.memory.initial_state(batch), self.attention.initial_state(batch))

    def forward(self, sequence: Tensor, state: BranchesCarry) -> tuple[Tensor, BranchesCarry]:
        """Map ``(b, t, d)`` to ``(b, t, d)``."""
        attended, attention = self.attention(sequence, state.attention)
        remembered, memory = self.memory(sequence, state.memory)
        return self.gate(attended, remembered), BranchesCarry(memory, attention)
