"""A stack of sequence layers and feed-forward layers, each with its own state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from titans_ts.backbones.baselines import AssociationCarry, HopfieldAssociation, LongShortTermMemory, full_attention
from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.memory_as_context import MemoryAsContext
from titans_ts.backbones.memory_beside import MemoryAsGate, MemoryAsLayer, MemoryOnly, build_attention
from titans_ts.backbones.variants import BASELINES, WITH_MEMORY
from titans_ts.blocks.attention import AttentionCarry
from titans_ts.blocks.chance import Dropout
from titans_ts.blocks.layers import FeedForward

LAYERS: dict[str, Callable[[BackboneConfig], nn.Module]] = {
    "mac": MemoryAsContext,
    "mag": MemoryAsGate,
    "mal": MemoryAsLayer,
    "lmm": MemoryOnly,
    "attention": build_attention,
    "full_attention": full_attention,
    "lstm": LongShortTermMemory,
    "hopfield": HopfieldAssociation,
}

State = tuple[Any, ...]
"""One entry a layer: nested tuples of tensors and integers, whatever that layer carries."""


class Block(nn.Module):
    """A sequence layer and a feed-forward layer, each on normalised input and added to what came in."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.sequence_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.sequence_layer: Any = LAYERS[config.variant](config)
        self.dropout = Dropout(config.dropout)
        self.feedforward_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.feedforward = (
            FeedForward(config.width, expansion=config.feedforward_expansion, dropout=config.dropout)
            if config.feedforward_expansion
            else None
        )

    def initial_state(self, batch: int) -> Any:
        """Return what the sequence layer carries before the first token."""
        return self.sequence_layer.initial_state(batch)

    def forward(self, sequence: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Map ``(b, t, d)`` to ``(b, t, d)``."""
        mixed, state = self.sequence_layer(self.sequence_norm(sequence), state)
        sequence = sequence + self.dropout(mixed)
        if self.feedforward is not None:
            sequence = sequence + self.dropout(self.feedforward(self.feedforward_norm(sequence)))
        return sequence, state


class Backbone(nn.Module):
    """A stack of blocks over tokens ``(b, t, d)``, be they series or bases; ``layers=0`` gives the identity."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=1e-6)

    def initial_state(self, batch: int) -> State:
        """Return the state before the first token."""
        return tuple(block.initial_state(batch) for block in self.blocks if isinstance(block, Block))

    def state_after(self, batch: int, tokens: int) -> State:
        """Return a state of the form, though not of the content, that reading so many tokens leaves."""
        kept = tokens if self.config.variant == "full_attention" else min(tokens, self.config.window - 1)

        def read(carry: Any) -> Any:
            if isinstance(carry, int):
                return tokens
            if isinstance(carry, AttentionCarry | AssociationCarry):
                tail, *grown = carry
                return type(carry)(tail, *(x.new_zeros(()).expand(*x.shape[:2], kept, x.shape[3]) for x in grown))
            if isinstance(carry, tuple):
                parts = map(read, carry)
                return type(carry)(*parts) if hasattr(carry, "_fields") else tuple(parts)
            return carry

        found: State = read(self.initial_state(batch))
        return found

    def forward(self, sequence: Tensor, state: State) -> tuple[Tensor, State]:
        """Map ``(b, t, d)`` to ``(b, t, d)``; over a sequence it equals a fold over any cut of it."""
        carried = []
        for block, before in zip(self.blocks, state, strict=True):
            sequence, after = block(sequence, before)
            carried.append(after)
        return self.norm(sequence), tuple(carried)


def require_memory(network: nn.Module, *, to_be: str) -> None:
    """Refuse a network without a memory, before ``to_be``, what only a memory can do; one without layers passes."""
    for module in network.modules():
        if isinstance(module, Backbone) and module.config.layers and module.config.variant in BASELINES:
            raise ValueError(
                f"variant={module.config.variant!r} has no memory to be {to_be}; choose a variant that has one: "
                f"{', '.join(WITH_MEMORY)}"
            )
