"""What a backbone is, as data: everything needed to build it again."""

from __future__ import annotations

from dataclasses import dataclass

from titans_ts.backbones.variants import BASELINES, WITH_MEMORY
from titans_ts.backbones.variants import VARIANTS as VARIANTS
from titans_ts.memory.presets import PRESETS


@dataclass(frozen=True)
class BackboneConfig:
    """Settings of a backbone.

    Parameters
    ----------
    variant : {"mac", "mag", "mal", "lmm", "attention", "full_attention", "lstm", "hopfield"}, default="mac"
        Where the memory sits: as context of attention, as its gate, as a layer before it, or alone. The last four are
        baselines without a memory (:mod:`titans_ts.backbones.baselines`): attention to a window, attention to everything,
        whose state grows with what was read, an LSTM, and a modern Hopfield layer. They leave every setting of the memory
        unused.
    memory : str, default="titans"
        Which memory, by its name in :data:`titans_ts.memory.presets.PRESETS`; another than the default is refused beside a
        baseline.
    width : int, default=64
        Model width ``d``, a multiple of ``heads``.
    layers : int, default=2
        Sequence layers; 0 is the identity.
    heads : int, default=4
        Heads of memory and attention.
    memory_depth : int, default=2
        Layers of the memory itself.
    memory_expansion : float, default=2.0
        Inner width of a deep memory as a multiple of the head's width.
    refresh_every : int, default=16
        Tokens that share one reading of the memory for their gradients.
    window : int, default=32
        Tokens of a segment (MAC) or of the sliding window (MAG, MAL, attention, hopfield).
    persistent_tokens : int, default=4
        Learned tokens that attention always sees; learned stored patterns (hopfield).
    convolution : int, default=4
        Kernel of the causal convolutions; 1 switches them off.
    momentum, forgetting : bool, default=True
        Parts of the memory's rule.
    damping : bool, default=False
        Whether tokens that share a reading of the memory share the step where their keys are alike
        (:mod:`titans_ts.ops.decay`).
    feedforward_expansion : float, default=2.0
        Inner width of the feed-forward layers as a multiple of ``d``; 0 leaves them out.
    dropout : float, default=0.0
        Share of a layer's output set to zero in training.

    Raises
    ------
    ValueError
        If a setting is out of range or two do not fit; the message names them.

    Examples
    --------
    >>> BackboneConfig(variant="lmm", width=32).heads
    4
    """

    variant: str = "mac"
    memory: str = "titans"
    width: int = 64
    layers: int = 2
    heads: int = 4
    memory_depth: int = 2
    memory_expansion: float = 2.0
    refresh_every: int = 16
    window: int = 32
    persistent_tokens: int = 4
    convolution: int = 4
    momentum: bool = True
    forgetting: bool = True
    damping: bool = False
    feedforward_expansion: float = 2.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant={self.variant!r} is not known; choose one of {', '.join(VARIANTS)}")
        if self.memory not in PRESETS:
            raise ValueError(f"memory={self.memory!r} is not known; choose one of {', '.join(sorted(PRESETS))}")
        for name in ("width", "heads", "memory_depth", "refresh_every", "window", "convolution"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("layers", "persistent_tokens", "feedforward_expansion", "dropout"):
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
