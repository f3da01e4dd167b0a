"""Every memory by name: which rule writes it, how its gates are made, and what surrounds it.

Adding a memory takes a row here, an oracle in ``tests/oracles.py``, its source, and a line in the changelog.

All rows share the layer around them: one projection, the short convolution with SiLU, a normalised output. A row adds what
its paper has besides, so that no baseline is handicapped, and leaves out what the paper does not have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from titans_ts.memory.gates import WRITE_BOUND, Retention, Step
from titans_ts.ops import WriteRule


@dataclass(frozen=True)
class MemoryPreset:
    """One memory of the family."""

    rule: WriteRule  # its refresh_every is replaced by the argument of that name where `anchored` is true
    source: str  # paper and equation
    depth: int | None = 1  # layers of the store; None leaves it to the argument memory_depth
    anchored: bool = False  # whether many tokens may share one reading of the memory for their gradients
    step: Step = "one"  # how a token decides it; see TokenGates
    retention: Retention | None = None  # likewise; None keeps everything
    momentum: bool = False  # whether past surprise is carried on
    features: Literal["unit", "elu", "plain"] = "unit"  # queries and keys: of length 1; elu + 1; queries over root width
    rotations: bool = False  # whether queries and keys turn with their position
    normaliser: bool = False  # whether what is read is divided by the sum of its weights
    norm: bool = False  # whether the store reads x + LN(M(x))
    learned_start: bool = False  # whether the memory starts from learned weights; from zero otherwise
    output_gate: bool = False  # whether the token gates what is read


WINDOW = 4
"""Tokens of an omega rule's window."""

_HEBBIAN = WriteRule(objective="dot", forget_towards="zero", write_bound=None)
_DELTA = WriteRule(loss_factor=1.0, forget_towards="zero", write_bound=None)
_GATED_DELTA = WriteRule(loss_factor=1.0, read_from="decayed", forget_towards="zero", write_bound=None)
_LONGHORN = WriteRule(loss_factor=1.0, step="implicit", forget_towards="zero", write_bound=None)
_RIDGE = WriteRule(objective="ridge", loss_factor=1.0, write_bound=None)
_CLIPPED = WriteRule(write_bound=WRITE_BOUND)

_TITANS = MemoryPreset(
    _CLIPPED,
    "arXiv 2501.00663, eqs 8-15",
    anchored=True,
    step="bounded",
    retention="bounded",
    momentum=True,
    learned_start=True,
    output_gate=True,
)

PRESETS: dict[str, MemoryPreset] = {
    "linear_attention": MemoryPreset(
        _HEBBIAN, "arXiv 2006.16236, section 3 (fast weights: Schmidhuber 1992)", features="elu", normaliser=True
    ),
    "retnet": MemoryPreset(
        _HEBBIAN, "arXiv 2307.08621, eq 5", retention="fixed", features="plain", rotations=True, output_gate=True
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
    "momentum_deltanet": MemoryPreset(
        _GATED_DELTA,
        "arXiv 2605.05838, with the step inside the momentum and gates bounded for all keys, not for one",
        step="spectral",
        retention="bounded",
        momentum=True,
        output_gate=True,
    ),
    "mesa": MemoryPreset(
        _RIDGE,
        "arXiv 2506.05233, with a learned start and systems solved exactly",
        step="sigmoid",
        retention="bounded",
        learned_start=True,
        output_gate=True,
    ),
    "longhorn": MemoryPreset(_LONGHORN, "arXiv 2407.14207, theorem 3.1", step="sigmoid", features="plain", output_gate=True),
    "ttt_linear": MemoryPreset(
        _CLIPPED, "arXiv 2407.04620, section 2", anchored=True, step="by_width", norm=True, learned_start=True
    ),
    "ttt_mlp": MemoryPreset(
        _CLIPPED, "arXiv 2407.04620, section 2", depth=2, anchored=True, step="by_width", norm=True, learned_start=True
    ),
    "titans_linear": _TITANS,
    "titans": replace(_TITANS, depth=None),
    "omega": replace(
        _TITANS,
        depth=None,
        rule=replace(_CLIPPED, window=WINDOW),
        source="arXiv 2505.23735, eqs 9-13: OmegaNet, without its products of keys (key_degree=2)",
    ),
}
"""Released code differs in this: ``longhorn`` keeps the diagonal of the implicit step alone; ``ttt_*`` have biases in the
layers, a factor for a token's place in its mini-batch and rotations, and do not clip; ``mamba2`` has a skip past the memory,
``retnet`` a scale that grows with the position (xPos)."""


def find_preset(name: str) -> MemoryPreset:
    """Return a preset by name; an unknown one is refused with the names there are."""
    if name not in PRESETS:
        raise ValueError(f"memory={name!r} is not known; choose one of {', '.join(sorted(PRESETS))}")
    return PRESETS[name]


def check_key_degree(degree: int, preset: MemoryPreset, name: str) -> None:
    """Refuse a degree of keys that there is not, or that a memory cannot have."""
    if degree not in (1, 2):
        raise ValueError(f"key_degree must be 1 or 2, got {degree!r}")
    if degree == 2 and preset.norm:
        raise ValueError(
            f"key_degree=2 makes keys wider than values, and memory={name!r} adds one to the other; use key_degree=1 or "
            "another memory"
        )
