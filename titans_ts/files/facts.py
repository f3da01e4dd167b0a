"""Facts from a file, held against the types that the code says they have."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

Kind = TypeVar("Kind")


def checked(found: Kind) -> Kind:
    """Return a dataclass made of a file's facts, if every field holds what its annotation says, and numbers are finite.

    >>> from titans_ts.backbones.config import BackboneConfig
    >>> checked(BackboneConfig(width=8.0))
    Traceback (most recent call last):
        ...
    ValueError: width must be int, got 8.0
    """
    its_kind: Any = type(found)
    for name, kind in _kinds(its_kind).items():
        value = getattr(found, name)
        if not fits(value, kind):
            shown = repr(value)
            raise ValueError(
                f"{name} must be {getattr(kind, '__name__', kind)}, got {shown if len(shown) < 80 else shown[:77] + '...'}"
            )
        if is_dataclass(value):
            checked(value)
    return found


def fits(value: Any, kind: Any) -> bool:
    """Tell whether a plain value is of a type; a whole number is a number; truth, NaN and infinity are none."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is typing.Literal:
        return value in parts
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        each = parts[:1] * len(value) if parts[1:] == (...,) else parts
        return len(each) == len(value) and all(fits(one, part) for one, part in zip(value, each, strict=True))
    if kind is float:
        return (type(value) is float and math.isfinite(value)) or fits(value, int)
    if kind is int:
        return type(value) is int and abs(value) < 2**63
    return type(value) is type(None) if kind in (None, type(None)) else isinstance(value, origin or kind)


@cache
def _kinds(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind)}


def require(true: bool, what: str) -> None:
    """Refuse facts of a file that do not fit each other."""
    if not true:
        raise ValueError(what)


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Refuse facts of a file with which what is tried fails, however it does."""
    try:
        yield
    except Exception:
        raise ValueError(what) from None


def finite(values: Any, count: int | None = None, *, positive: bool = False) -> list[float]:
    """Return a list of a file if it holds finite numbers, so many and above 0 where that is asked for."""
    fine = isinstance(values, list) and len(values) == (len(values) if count is None else count)
    if not fine or not all(fits(x, float) and (x > 0 or not positive) for x in values):
        raise ValueError(f"expected {'' if count is None else f'{count} '}finite numbers{' above 0' * positive}")
    return values  # type: ignore[no-any-return]


def history(found: Any) -> list[dict[str, Any]]:
    """Return what a file keeps of a training's evaluations, if it is a list of tables."""
    tables = isinstance(found, list) and all(isinstance(one, dict) for one in found)
    require(tables, "its training history is no list of tables")
    return found  # type: ignore[no-any-return]


def same(given: Any, kept: Any) -> bool:
    """Tell whether plain values say the same; tables may have more than was given, since older files say less.

    >>> same({"a": [1, 2.0]}, {"a": [1.0, 2], "b": None}), same({"a": 1}, {"a": True}), same({"a": 1}, {})
    (True, False, False)
    """
    if isinstance(given, dict) and isinstance(kept, dict):
        return all(name in kept and same(value, kept[name]) for name, value in given.items())
    if isinstance(given, list) and isinstance(kept, list):
        return len(given) == len(kept) and all(map(same, given, kept))
    if isinstance(given, bool) or isinstance(kept, bool):
        return given is kept
    return bool(given == kept or (given != given and kept != kept))
