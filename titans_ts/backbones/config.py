"""What a backbone is, as data: everything needed to build it again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from titans_ts.backbones.variants import BASELINES, VARIANTS, WITH_MEMORY
from titans_ts.memory.presets import PRESETS, check_key_degree

LATER: dict[str, Any] = {"key_degree": 1, "slots": 0, "passes": False}
"""Settings that older files lack, with what they mean there: left out where they say that, so that a model's mark stays."""


@dataclass(frozen=True)
class BackboneConfig:
    """Settings of a backbone; what is out of range or does not fit is refused by name.

    Baselines without a memory (:mod:`titans_ts.backbones.baselines`) leave every setting of the memory unused.
    """

    variant: str = "mac"
    memory: str = "titans"  # a name in memory.presets.PRESETS; only the default beside a baseline
    width: int = 64  # model width d, a multiple of heads
    layers: int = 2  # sequence layers; 0 is the identity
    heads: int = 4  # of memory and attention
    memory_depth: int = 2  # layers of the memory itself
    memory_expansion: float = 2.0  # inner width of a deep memory as a multiple of the head's width
    refresh_every: int = 16  # tokens that share one reading of the memory for their gradients
    window: int = 32  # tokens of a segment (mac) or of the sliding window (mag, mal, attention, hopfield)
    persistent_tokens: int = 4  # learned tokens that attention always sees; learned stored patterns (hopfield)
    convolution: int = 4  # kernel of the causal convolutions; 1 switches them off
    momentum: bool = True
    forgetting: bool = True
    damping: bool = False  # whether tokens that share a reading share the step where their keys are alike
    key_degree: int = 1  # 2 adds to a memory's queries and keys the products of two of their entries
    slots: int = 0  # pairs of key and value that every memory keeps exactly beside its store
    passes: bool = True  # whether what the memory says also passes beside the gate that joins it to attention (mac, mag)
    feedforward_expansion: float = 2.0  # inner width of the feed-forward layers as a multiple of d; 0 leaves them out
    dropout: float = 0.0  # share of a layer's output set to zero in training

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into a model file."""
        return {name: value for name, value in asdict(self).items() if name not in LATER or value != LATER[name]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BackboneConfig:
        """Return the backbone of a model file, which may be an older one."""
        return cls(**LATER | values)

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant={self.variant!r} is not known; choose one of {', '.join(VARIANTS)}")
        if self.memory not in PRESETS:
            raise ValueError(f"memory={self.memory!r} is not known; choose one of {', '.join(sorted(PRESETS))}")
        check_key_degree(self.key_degree, PRESETS[self.memory], self.memory)
        for name in ("width", "heads", "memory_depth", "refresh_every", "window", "convolution"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("layers", "persistent_tokens", "slots", "feedforward_expansion", "dropout"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width={self.width} and heads={self.heads}")
        if self.variant in BASELINES and self.memory != BackboneConfig.memory:
            raise ValueError(
                f"variant={self.variant!r} has no memory, got memory={self.memory!r}; leave memory at its default or choose "
                f"a variant that has one: {', '.join(WITH_MEMORY)}"
            )
        if self.variant == "hopfield" and self.width == self.heads:
            raise ValueError(
                "variant='hopfield' centres the patterns of each head, which must be 2 or more wide, got "
                f"width={self.width} and heads={self.heads}; use fewer heads"
            )
