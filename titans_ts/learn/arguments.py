"""Arguments of estimators as fields: written once, with their range and meaning, and inherited."""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

from sklearn.utils._param_validation import StrOptions

Kind = TypeVar("Kind", bound=type)

_SECTION = re.compile(r"^(Attributes|Methods|See Also|Notes|References|Examples)\n-+$", re.MULTILINE)
_LINE = 120


def argument(default: Any, *allowed: Any, doc: str) -> Any:
    """Return an argument of an estimator, as a field of its class.

    Parameters
    ----------
    default : Any
        Its default; nothing that can be changed in place.
    *allowed
        What it may be, in the terms of scikit-learn's ``_parameter_constraints``.
    doc : str
        What it does; it becomes part of the docstring.

    Examples
    --------
    >>> from numbers import Integral
    >>> argument(3, Integral, doc="Rows.").default
    3
    """
    return field(default=default, kw_only=True, metadata={"allowed": list(allowed), "doc": doc})


def positional(*allowed: Any, default: Any, doc: str) -> Any:
    """Return an :func:`argument` that may be given without its name."""
    return field(default=default, kw_only=False, metadata={"allowed": list(allowed), "doc": doc})


# To a type checker only `positional` is a specifier: what else follows `=` it takes for a default, which it is.
@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(positional,))
def with_arguments(kind: Kind) -> Kind:
    """Make the constructor of an estimator from its fields, and their part of its docstring.

    A field without range and meaning (``width: int = 32``) gives an inherited argument another default.

    Examples
    --------
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
    """Return the docstring of a class with its arguments after what it says first."""
    text = inspect.cleandoc(kind.__doc__ or "")
    section = _SECTION.search(text)
    first, rest = (text, "") if section is None else (text[: section.start()], text[section.start() :])
    entries = "\n".join(_entry(one) for one in fields(kind))
    return f"{first.rstrip()}\n\nParameters\n----------\n{entries}" + (f"\n\n{rest}" if rest else "")


def _entry(one: Any) -> str:
    """Return what a docstring says of one argument."""
    options = next((x.options for x in one.metadata["allowed"] if isinstance(x, StrOptions)), None)
    what = (
        str(getattr(one.type, "__name__", one.type))
        if options is None
        else "{" + ", ".join(f'"{x}"' for x in sorted(options)) + "}"
    )
    if options is not None and None in one.metadata["allowed"]:
        what += " or None"
    shown = f'"{one.default}"' if isinstance(one.default, str) else repr(one.default)
    body = textwrap.fill(one.metadata["doc"], _LINE, initial_indent="    ", subsequent_indent="    ")
    return f"{one.name} : {what}, default={shown}\n{body}"
