"""Every memory by name: which rule writes it, how its gates come about, and what surrounds it.

Adding a memory: a row here, an oracle in ``tests/oracles.py``, its source, a line in the changelog.

All rows share the layer around them: one projection, the short convolution with SiLU, a normalised output. A row adds what
its paper has besides, so that no baseline is handicapped, and leaves out what it has not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from titans_ts.memory.gates import WRITE_BOUND, Retention, Step
from titans_ts.ops import WriteRule


@dataclass(frozen=True)
class MemoryPreset:
    """One memory of the family.

    Parameters
    ----------
    rule : WriteRule
        How it is written; ``refresh_every`` is replaced by the argument of that name where ``anchored`` is true.
    source : str
        Where it is defined.
    depth : int or None, default=1
        Layers of the store; ``None`` leaves it to the argument ``memory_depth``.
    anchored : bool, default=False
        Whether many tokens may share one reading of the memory for their gradients.
    step, retention : str
        How a token decides them; see :class:`titans_ts.memory.gates.TokenGates`. No retention keeps everything.
    momentum : bool, default=False
        Whether past surprise carries on.
    features : {"unit", "elu", "plain"}, default="unit"
        What queries and keys go through: scaled to length 1, ``elu + 1``, or queries divided by the root of their width.
    rotations : bool, default=False
        Whether queries and keys turn with their position.
    normaliser : bool, default=False
        Whether what is read is divided by the sum of its weights.
    norm : bool, default=False
        Whether the store reads ``x + LN(M(x))``.
    learned_start : bool, default=False
        Whether the memory starts from learned weights; from zero otherwise.
    output_gate : bool, default=False
        Whether the token gates what is read.
    """

    rule: WriteRule
    source: str
    depth: int | None = 1
    anchored: bool = False
    step: Step = "one"
    retention: Retention | None = None
    momentum: bool = False
    features: Literal["unit", "elu", "plain"] = "unit"
    rotations: bool = False
    normaliser: bool = False
    norm: bool = False
    learned_start: bool = False
    output_gate: bool = False

    @property
    def forgetting(self) -> bool:
        """Whether anything is forgotten."""
        return self.retention is not None


_HEBBIAN = WriteRule(objective="dot", forget_towards="zero", write_bound=None)
_DELTA = WriteRule(loss_factor=1.0, forget_towards="zero", write_bound=None)
_GATED_DELTA = WriteRule(loss_factor=1.0, read_from="decayed", forget_towards="zero", write_bound=None)
_LONGHORN = WriteRule(loss_factor=1.0, step="implicit", forget_towards="zero", write_bound=None)
_CLIPPED = WriteRule(write_bound=WRITE_BOUND)

PRESETS: dict[str, MemoryPreset] = {
    "linear_attention": MemoryPreset(
        _HEBBIAN, "arXiv 2006.16236, section 3 (fast weights: Schmidhuber 1992)", features="elu", normaliser=True
    ),
    "retnet": MemoryPreset(
        _HEBBIAN,
        "arXiv 2307.08621, eq 5",
        retention="fixed",
        features="plain",
        rotations=True,
        output_gate=True,
    ),
    "mamba2": MemoryPreset(
        _HEBBIAN,
        "arXiv 2405.21060, with a scalar A a head",
        step="softplus",
        retention="from_step",
        features="plain",
        output_gate=True,
    ),
    "deltanet": MemoryPreset(_DELTA, "arXiv 2406.06484 (2102.11174)", step="sigmoid"),
    "gated_deltanet": MemoryPreset(
        _GATED_DELTA, "arXiv 2412.06464, eq 10", step="sigmoid", retention="decay", output_gate=True
    ),
    "longhorn": MemoryPreset(_LONGHORN, "arXiv 2407.14207, theorem 3.1", step="sigmoid", features="plain", output_gate=True),
    "ttt_linear": MemoryPreset(
        _CLIPPED, "arXiv 2407.04620, section 2", anchored=True, step="by_width", norm=True, learned_start=True
    ),
    "ttt_mlp": MemoryPreset(
        _CLIPPED, "arXiv 2407.04620, section 2", depth=2, anchored=True, step="by_width", norm=True, learned_start=True
    ),
    "titans_linear": MemoryPreset(
        _CLIPPED,
        "arXiv 2501.00663, eqs 8-15",
        anchored=True,
        step="bounded",
        retention="bounded",
        momentum=True,
        learned_start=True,
        output_gate=True,
    ),
    "titans": MemoryPreset(
        _CLIPPED,
        "arXiv 2501.00663, eqs 8-15",
        depth=None,
        anchored=True,
        step="bounded",
        retention="bounded",
        momentum=True,
        learned_start=True,
        output_gate=True,
    ),
}
"""What differs from released code: ``longhorn`` takes the implicit step exactly, not its diagonal alone; ``ttt_*`` leave out
the layers' biases, the factor of a token's place in its mini-batch and the rotations, and clip writes as Titans does;
``mamba2`` has no skip past the memory, ``retnet`` no scale that grows with the position (xPos)."""


def find_preset(name: str) -> MemoryPreset:
    """Return a preset by name.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists those there are.

    Examples
    --------
    >>> find_preset("titans_linear").depth
    1
    """
    if name not in PRESETS:
        raise ValueError(f"memory={name!r} is not known; choose one of {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
