"""States as trees of tensors: nested tuples that are mapped, written to a file and read from one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def map_tensors(change: Callable[[Tensor], Tensor], state: Any) -> Any:
    """Return a state of the same form with a function applied to every tensor."""
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, tuple):
        parts = [map_tensors(change, part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


def pack(state: Any, *, prefix: str = "") -> dict[str, Tensor]:
    """Return every tensor and whole number of a state by its path (``prefix.0``, ``prefix.1.0``), as it goes into a file."""
    if isinstance(state, Tensor):
        return {prefix: state.contiguous()}
    if isinstance(state, int):
        return {prefix: torch.tensor(state)}
    found: dict[str, Tensor] = {}
    for name, part in zip(getattr(state, "_fields", range(len(state or ()))), state or (), strict=True):
        found |= pack(part, prefix=f"{prefix}.{name}" if prefix else str(name))
    return found


def unpack(like: Any, tensors: Mapping[str, Tensor], *, prefix: str = "") -> Any:
    """Return the state that :func:`pack` wrote, of the same form as ``like``; a missing part raises KeyError."""
    if isinstance(like, Tensor):
        return tensors[prefix]
    if isinstance(like, int):
        return int(tensors[prefix])
    if like is None:
        return None
    names = getattr(like, "_fields", range(len(like)))
    parts = [
        unpack(part, tensors, prefix=f"{prefix}.{name}" if prefix else str(name))
        for name, part in zip(names, like, strict=True)
    ]
    return type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)
