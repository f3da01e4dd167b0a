"""States as trees of tensors: nested tuples that are mapped, written to a file and read from one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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


def join(parts: Sequence[Any]) -> Any:
    """Concatenate states, or tokens, of one form along the batch axis; what is no tensor is the first's."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, tuple):
        joined = [join(same) for same in zip(*parts, strict=True)]
        return type(first)(*joined) if hasattr(first, "_fields") else tuple(joined)
    return first


def parted(state: Any, streams: int) -> Iterator[Any]:
    """Return the states of a batch, ``streams`` of it at a time, each a copy of its own, which keeps no larger tensor."""
    if isinstance(state, Tensor):
        return (x.clone() for x in state.split(streams))
    if not isinstance(state, tuple) or not state:
        return iter(lambda: state, object())  # the same for all
    columns = zip(*(parted(part, streams) for part in state), strict=False)
    return (type(state)(*parts) if hasattr(state, "_fields") else parts for parts in columns)


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


def unpack_checked(like: Any, tensors: Mapping[str, Tensor], *, gaps: Collection[str] = ()) -> Any:
    """Return the state that :func:`pack` wrote if its parts are those of ``like``, and finite; else ValueError names one.

    Shapes, kinds of number and the value of whole numbers must agree; under the names of ``gaps`` NaN may stand.
    """
    asked = pack(like)
    for name in [*asked, *tensors]:
        if name not in tensors:
            raise ValueError(f"it lacks the part {name!r}")
        if name not in asked:
            raise ValueError(f"it has a part {name!r}, which no such memory has")
    for name, x in asked.items():
        found = tensors[name]
        if not isinstance(found, Tensor):
            raise ValueError(f"its part {name!r} is a {type(found).__name__}, expected a tensor")
        if (found.shape, found.dtype) != (x.shape, x.dtype):
            want, have = (f"{one.dtype} of shape {tuple(one.shape)}" for one in (x, found))
            raise ValueError(f"its part {name!r} is {have}, expected {want}")
        if x.is_floating_point():
            wrong = found.isinf() if name in gaps else ~found.isfinite()
            if wrong.any():
                raise ValueError(f"its part {name!r} holds numbers that are not finite")
    state = unpack(like, tensors)
    for name, value in _whole_numbers(like).items():
        if int(tensors[name]) != value:
            raise ValueError(f"its part {name!r} is {int(tensors[name])}, expected {value}")
    return state


def _whole_numbers(state: Any, prefix: str = "") -> dict[str, int]:
    """Return the whole numbers of a state by their paths."""
    if isinstance(state, int):
        return {prefix: state}
    found: dict[str, int] = {}
    if isinstance(state, tuple):
        for name, part in zip(getattr(state, "_fields", range(len(state))), state, strict=True):
            found |= _whole_numbers(part, f"{prefix}.{name}" if prefix else str(name))
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
