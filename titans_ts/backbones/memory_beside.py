"""The memory beside or below sliding-window attention (MAG, MAL), and alone (LMM): arXiv 2501.00663, section 4."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from titans_ts.backbones.config import BackboneConfig
from titans_ts.blocks.attention import AttentionCarry, WindowAttention
from titans_ts.blocks.layers import NormalisedGate
from titans_ts.memory.neural_memory import MemoryCarry, NeuralMemory


class BranchesCarry(NamedTuple):
    """What a memory and an attention carry side by side."""

    memory: MemoryCarry
    attention: AttentionCarry


class MemoryAsGate(nn.Module):
    """MAG: ``y = attention(x)``, ``o = y (x) M*(x)``; precise and short beside fading and long (equations 26 to 28)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.attention = build_attention(config)
        self.memory = build_memory(config)
        self.gate = NormalisedGate(config.width, passes=config.passes)

    def initial_state(self, batch: int) -> BranchesCarry:
        """Return the carry before the first token."""
        return BranchesCarry(self.memory.initial_state(batch), self.attention.initial_state(batch))

    def forward(self, sequence: Tensor, state: BranchesCarry) -> tuple[Tensor, BranchesCarry]:
        """Map ``(b, t, d)`` to ``(b, t, d)``."""
        attended, attention = self.attention(sequence, state.attention)
        remembered, memory = self.memory(sequence, state.memory)
        return self.gate(attended, remembered), BranchesCarry(memory, attention)


class MemoryAsLayer(nn.Module):
    """MAL: ``y = M*(x)``, ``o = attention(y)``, persistent tokens always visible (equations 29 to 31)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.memory = build_memory(config)
        self.attention = build_attention(config)
        self.norm = nn.RMSNorm(config.width, eps=1e-6)

    def initial_state(self, batch: int) -> BranchesCarry:
        """Return the carry before the first token."""
        return BranchesCarry(self.memory.initial_state(batch), self.attention.initial_state(batch))

    def forward(self, sequence: Tensor, state: BranchesCarry) -> tuple[Tensor, BranchesCarry]:
        """Map ``(b, t, d)`` to ``(b, t, d)``."""
        remembered, memory = self.memory(sequence, state.memory)
        output, attention = self.attention(self.norm(remembered), state.attention)
        return output, BranchesCarry(memory, attention)


class MemoryOnly(nn.Module):
    """LMM: ``y = M*(x)``; every token is written and read, and nothing else mixes tokens (section 4.3)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.memory = build_memory(config)

    def initial_state(self, batch: int) -> MemoryCarry:
        """Return the carry before the first token."""
        return self.memory.initial_state(batch)

    def forward(self, sequence: Tensor, state: MemoryCarry) -> tuple[Tensor, MemoryCarry]:
        """Map ``(b, t, d)`` to ``(b, t, d)``."""
        return self.memory(sequence, state)


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
        key_degree=config.key_degree,
        slots=config.slots,
    )


def build_attention(config: BackboneConfig) -> WindowAttention:
    """Return the sliding-window attention that a configuration describes."""
    return WindowAttention(
        config.width,
        config.heads,
        window=config.window,
        persistent_tokens=config.persistent_tokens,
        convolution=config.convolution,
    )
