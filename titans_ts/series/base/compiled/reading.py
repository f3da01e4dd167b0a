"""The compiled reading of a base: one call for any number of series, each with a state of its own."""

from __future__ import annotations

import ctypes
import os
from array import array
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from titans_ts.series.base.compiled.build import LIBRARY
from titans_ts.series.base.compiled.facts import PARTS, Facts

SWITCH = "TITANS_TS_COMPILED"
"""Variable of the environment that switches the library off where it is 0."""
VERSION = 2
"""Of the library that this module can call."""


class Found(NamedTuple):
    """What is known at ``n`` origins of ``s`` streams, float64; the last ones are None unless they are asked for."""

    point: Tensor  # s n f
    limits: Tensor  # s n 2
    level: Tensor | None  # s n b, logarithm, as the others of titans_ts.series.base.spread.SpreadSeen
    profile: Tensor | None  # s n p
    factors: Tensor | None  # s n b 2
    features: Tensor | None  # s n 2
    age: Tensor | None  # s n


@cache
def library() -> Any:
    """Return the library, or None where it was not built, is of another version, or is switched off."""
    if os.environ.get(SWITCH) == "0" or not LIBRARY.exists():
        return None
    return loaded(str(LIBRARY))


def loaded(path: str) -> Any:
    """Return the library at a place; None where it cannot be used."""
    try:
        found = ctypes.CDLL(path)
        found.titans_base_version.restype = ctypes.c_int64
        if found.titans_base_version() != VERSION:
            return None
    except (OSError, AttributeError):  # made for another processor, or not by this source
        return None
    whole, place = ctypes.c_int64, ctypes.c_void_p
    found.titans_base_read.argtypes = [place, *[whole] * 4, *[place] * 15]
    return found


def read(
    code: Any,
    facts: Facts,
    carries: Sequence[Any],
    rows: Tensor,
    *,
    actual: Tensor,
    level: Tensor,
    spread: Tensor,
    firsts: Sequence[int],
    ends: Sequence[int],
    heard: bool = True,
    keep: bool = True,
) -> tuple[Found, list[Any]]:
    """Read rows ``(s, t)`` of the streams of some series on, and forecast after ``ends`` ``(n,)`` of them.

    ``level`` and ``spread`` ``(s,)`` are their long-run scale; ``firsts`` says what each series has read before. Without
    ``heard`` nothing is told of errors, without ``keep`` the carries are not made. All tensors are float64.
    """
    (s, t), n, blocks = rows.shape, len(ends), facts.blocks_heard
    shapes = ((blocks,), (facts.phases,), (blocks, 2), (2,), ())
    told = [rows.new_empty(s, n, *shape) for shape in shapes] if heard else [None] * len(shapes)
    found = Found(rows.new_empty(s, n, facts.horizon), rows.new_empty(s, n, 2), *told)
    before = [_parts(carry) for carry in carries]
    after = [[None if x is None else torch.empty_like(x) for x in parts] for parts in before] if keep else []
    given = [x.contiguous() for x in (rows, actual, level, spread)]
    at, to, begun, asked = _places(before), _places(after), array("q", firsts), array("q", ends)
    short = code.titans_base_read(
        facts.place,
        s,
        s // max(len(carries), 1),
        t,
        n,
        begun.buffer_info()[0],
        *[x.data_ptr() for x in given],
        at.buffer_info()[0],
        to.buffer_info()[0] if keep else None,
        asked.buffer_info()[0],
        *[None if x is None else x.data_ptr() for x in found],
    )
    if short:
        raise MemoryError(f"there is no room for {t} rows of a stream; read fewer at once")
    return found, [_joined(carry, parts) for carry, parts in zip(carries, after, strict=False)]


def _parts(carry: Any) -> list[Tensor | None]:
    """Return the tensors of a carry in the order of :data:`PARTS`, None where there is none."""
    found: list[Tensor | None] = [carry[0]]
    for part, width in zip(carry[1:], _WIDTHS, strict=True):
        found += part or [None] * width
    return [x if x is None or x.is_contiguous() else x.contiguous() for x in found]


def _joined(like: Any, parts: list[Tensor | None]) -> Any:
    """Return a carry of the form of another, of new tensors."""
    done, found = 1, []
    for part, width in zip(like[1:], _WIDTHS, strict=True):
        found.append(type(part)(*parts[done : done + width]) if part else ())
        done += width
    return type(like)(parts[0], *found)


def _places(parts: Sequence[Sequence[Tensor | None]]) -> array[int]:
    """Return where tensors lie, 0 where there is none."""
    return array("Q", [0 if x is None else x.data_ptr() for each in parts for x in each])


_WIDTHS = [
    sum(name.startswith(part) for name in PARTS) for part in ("bank.", "preference.", "memory.", "spread.", "bounds.")
]
