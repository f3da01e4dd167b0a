"""What is carried from one call to the next: the state of a series, and trees of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_ts.backbones.stack import State
from titans_ts.inputs.series import Scale


class SeriesState(NamedTuple):
    """Everything a model keeps of one series, of a size that does not grow with what was read.

    Attributes
    ----------
    backbone : State
        The memory of every layer, written up to the last whole patch that a row has followed. Full attention, a baseline,
        keeps two vectors of every token instead, and alone breaks the promise of a fixed size.
    rows : Tensor
        ``(c, lookback)`` float64: the last raw rows, NaN where missing or before the first.
    past : Tensor
        ``(lookback, k)``: the past covariates beside them.
    calendar : Tensor
        ``(lookback, k)``: calendar features of those rows.
    static : Tensor
        ``(s,)``.
    scale : Scale
        Long-run level and spread.
    n_seen : int
        Rows read.
    """

    backbone: State
    rows: Tensor
    past: Tensor
    calendar: Tensor
    static: Tensor
    scale: Scale
    n_seen: int

    @property
    def nbytes(self) -> int:
        """Size in bytes of all that is carried."""
        return sum(x.numel() * x.element_size() for x in pack(self).values())


def map_tensors(change: Callable[[Tensor], Tensor], state: Any) -> Any:
    """Return a state of the same form with every tensor changed.

    Examples
    --------
    >>> map_tensors(lambda x: x + 1, (torch.zeros(1), 3))
    (tensor([1.]), 3)
    """
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, tuple):
        parts = [map_tensors(change, part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state


def pack(state: Any, *, prefix: str = "") -> dict[str, Tensor]:
    """Return every tensor and whole number of a state by its path, as it goes into a file.

    Examples
    --------
    >>> sorted(pack((torch.zeros(1), (7,)), prefix="state"))
    ['state.0', 'state.1.0']
    """
    if isinstance(state, Tensor):
        return {prefix: state.contiguous()}
    if isinstance(state, int):
        return {prefix: torch.tensor(state)}
    found: dict[str, Tensor] = {}
    for name, part in zip(getattr(state, "_fields", range(len(state or ()))), state or (), strict=True):
        found |= pack(part, prefix=f"{prefix}.{name}" if prefix else str(name))
    return found


def unpack(like: Any, tensors: Mapping[str, Tensor], *, prefix: str = "") -> Any:
    """Return the state that :func:`pack` wrote, of the same form as ``like``.

    Raises
    ------
    KeyError
        If a part is missing.
    """
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
