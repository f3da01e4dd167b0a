"""Arguments of estimators as fields: written once, with their range and meaning, and inherited."""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, TypeVar, dataclass_transform

from sklearn.utils._param_validation import StrOptions

Kind = TypeVar("Kind", bound=type)

_SECTIONS = ("Parameters", "Attributes", "Methods", "See Also", "Notes", "References", "Examples")
_SECTION = re.compile(rf"^({'|'.join(_SECTIONS)})\n-+$", re.MULTILINE)
_INHERITED = {"Attributes": "\n", "Notes": "\n\n", "References": "\n"}
"""Sections to which those of the base are added, and what stands between them."""
_LINE = 120
_SHORT: dict[type, str] = {Integral: "int", Real: "float"}


def argument(default: Any, *allowed: Any, doc: str) -> Any:
    """Return an argument of an estimator, as a field of its class.

    ``default`` is immutable; ``allowed`` is what scikit-learn's ``_parameter_constraints`` hold; ``doc`` says what it does.
    """
    return field(default=default, kw_only=True, metadata={"allowed": list(allowed), "doc": doc})


def positional(*allowed: Any, default: Any, doc: str) -> Any:
    """Return an :func:`argument` that may be given without its name."""
    return field(default=default, kw_only=False, metadata={"allowed": list(allowed), "doc": doc})


# To a type checker only `positional` is a specifier: what else follows `=` it takes for a default, which it is.
@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(positional,))
def with_arguments(kind: Kind) -> Kind:
    """Make the constructor of an estimator from its fields, and their part of its docstring.

    A field without range and meaning (``width: int = 32``) gives an inherited argument another default. Attributes, notes
    and references of the base are added to the docstring, so that they too are written once.

    >>> from sklearn.base import BaseEstimator
    >>> @with_arguments
    ... class Wide(BaseEstimator):
    ...     'Be wide.'
    ...     width: int = argument(8, int, doc="How wide.")
    >>> @with_arguments
    ... class Wider(Wide):
    ...     'Be wider.'
    ...     width: int = 80
    >>> Wider(), Wider().get_params()
    (Wider(), {'width': 80})
    >>> "width : int, default=80" in Wider.__doc__
    True
    """
    made: Any = dataclass(kw_only=True, eq=False, repr=False)(kind)
    for one in fields(made):
        if not one.metadata:
            bases = (vars(base).get("__dataclass_fields__", {}).get(one.name) for base in made.__mro__[1:])
            one.metadata = next(known.metadata for known in bases if known is not None)
    made.__doc__ = _documented(made)
    return made  # type: ignore[no-any-return]


def constraints(kind: type) -> dict[str, list[Any]]:
    """Return what each argument may be, as scikit-learn checks it."""
    return {one.name: one.metadata["allowed"] for one in fields(kind)}


def _documented(kind: type) -> str:
    """Return the docstring of a class with its arguments after what it says first, and what its base says of itself."""
    own, base = _sections(kind), next((_sections(x) for x in kind.__mro__[1:] if "__dataclass_fields__" in vars(x)), {})
    own["Parameters"] = "\n".join(_entry(one) for one in fields(kind))
    for name, between in _INHERITED.items():
        parts = [part[name] for part in (own, base) if name in part]
        if parts:
            own[name] = between.join(parts)
    bodies = [f"{name}\n{'-' * len(name)}\n{own[name]}" for name in _SECTIONS if name in own]
    return "\n\n".join([own[""], *bodies])


def _sections(kind: type) -> dict[str, str]:
    """Return the sections of a docstring by their names; what comes before them is nameless."""
    first, *others = _SECTION.split(inspect.cleandoc(vars(kind)["__doc__"] or ""))
    return {"": first.strip(), **{name: body.strip("\n") for name, body in zip(others[::2], others[1::2], strict=True)}}


def _entry(one: Any) -> str:
    """Return what a docstring says of one argument."""
    shown = f'"{one.default}"' if isinstance(one.default, str) else repr(one.default)
    body = textwrap.fill(one.metadata["doc"], _LINE, initial_indent="    ", subsequent_indent="    ")
    return f"{one.name} : {_kinds(one)}, default={shown}\n{body}"


def _kinds(one: Any) -> str:
    """Return what an argument may be: its type, or what is allowed where the type says nothing or allows too much."""
    allowed = one.metadata["allowed"]
    options = [", ".join(f'"{x}"' for x in sorted(each.options)) for each in allowed if isinstance(each, StrOptions)]
    if one.type not in ("Any", Any):
        kinds = [f"{{{options[0]}}}" if options else str(getattr(one.type, "__name__", one.type))]
        return " or ".join(kinds + ["None"] * (bool(options) and None in allowed))
    if "random_state" in allowed:
        return "int, RandomState or None"
    kinds = [_SHORT.get(each, each.__name__) for each in allowed if isinstance(each, type) and each is not object] + options
    return " or ".join([", ".join(kinds) or "Any"] + ["None"] * (bool(kinds) and None in allowed))
