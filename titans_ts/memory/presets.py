"""Every memory by name: which rule writes it and which parts it has.

Adding a memory: a row here, an oracle in ``tests/ops/test_oracles.py``, its source, a line in the changelog.
"""

from __future__ import annotations

from dataclasses import dataclass

from titans_ts.memory.gates import WRITE_BOUND
from titans_ts.ops import WriteRule


@dataclass(frozen=True)
class MemoryPreset:
    """One memory of the family.

    Parameters
    ----------
    rule : WriteRule
        How it is written; ``refresh_every`` is replaced by the estimator's argument where ``anchored`` is true.
    depth : int or None
        Layers of the store; ``None`` leaves it to the argument ``memory_depth``.
    forgetting, momentum : bool
        Which gates it has.
    source : str
        Where it is defined.
    """

    rule: WriteRule
    depth: int | None
    forgetting: bool
    momentum: bool
    source: str


PRESETS: dict[str, MemoryPreset] = {
    "titans": MemoryPreset(
        WriteRule(write_bound=WRITE_BOUND), None, forgetting=True, momentum=True, source="arXiv 2501.00663, eqs 8-15"
    ),
    "titans_linear": MemoryPreset(
        WriteRule(write_bound=WRITE_BOUND), 1, forgetting=True, momentum=True, source="arXiv 2501.00663, eqs 8-15"
    ),
}


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
