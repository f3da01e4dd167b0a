"""Arguments of the functions that make data, held against what their signatures say they are."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np

Made = TypeVar("Made", bound=Callable[..., Any])

_WORDS = {int: "a whole number", float: "a finite number", str: "text", bool: "True or False", type(None): "None"}


def typed(make: Made) -> Made:
    """Let a function refuse, by name, what is not of the type that its signature says; bounds are its own business.

    >>> @typed
    ... def make(n_steps: int, periods: Sequence[float] = ()) -> None: ...
    >>> make(3, periods=[2.0, "x"])
    Traceback (most recent call last):
        ...
    TypeError: periods=[2.0, 'x'] must be a sequence of a finite number
    """
    signature = inspect.signature(make)

    @functools.wraps(make)
    def checked(*args: Any, **more: Any) -> Any:
        hints = typing.get_type_hints(make)
        for name, value in signature.bind(*args, **more).arguments.items():
            if not _is(value, hints[name]):
                kind = ValueError if isinstance(value, Real) else TypeError
                raise kind(f"{name}={value!r:.80} must be {_words(hints[name])}")
            if name == "random_state" and isinstance(value, Integral) and value < 0:
                raise ValueError(f"random_state={value!r:.80} must be 0 or more")
        return make(*args, **more)

    return typing.cast(Made, checked)


def _is(value: Any, kind: Any) -> bool:
    """Tell whether a value is of an annotated type; a whole number is a number, truth is none."""
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return isinstance(value, str)
    if typing.get_origin(kind) is Sequence:
        if isinstance(value, str):  # each function has a better word for it
            return parts[0] is str
        listed = isinstance(value, list | tuple | range) or (isinstance(value, np.ndarray) and value.ndim == 1)
        return listed and all(_is(one, parts[0]) for one in value)
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple | list) and len(value) == len(parts) and all(map(_is, value, parts))
    if parts:
        return any(_is(value, part) for part in parts)
    if kind in (int, float):
        number = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool | np.bool_)
        return number and bool(np.isfinite(float(value)))
    return isinstance(value, (kind, np.bool_) if kind is bool else kind)


def _words(kind: Any) -> str:
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is Sequence:
        return f"a sequence of {_words(parts[0])}"
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(map(repr, parts))
    if typing.get_origin(kind) is tuple:
        return f"a pair ({', '.join(map(_words, parts))})"
    if parts:
        return " or ".join(map(_words, parts))
    return _WORDS.get(kind, f"a {kind.__module__}.{kind.__qualname__}")
