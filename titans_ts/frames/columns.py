"""Which column of a container plays which role, and whether it is what the model was fitted on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from titans_ts.frames.panel import Column, Layout

_TIME = re.compile("time|date|stamp", re.IGNORECASE)  # in the name of a column: it may hold time stamps, not yet parsed


@dataclass(frozen=True)
class Roles:
    """Column names (indices for arrays) by role."""

    target: tuple[Column, ...] = ()
    past: tuple[Column, ...] = ()
    future: tuple[Column, ...] = ()
    static: tuple[Column, ...] = ()
    ignored: tuple[Column, ...] = ()

    @property
    def used(self) -> tuple[Column, ...]:
        """All columns that are read."""
        return self.target + self.past + self.future + self.static


@dataclass(frozen=True)
class Request:
    """Columns as the user asks for them; `target` is None for the default."""

    id_column: str = "unique_id"
    time_column: str = "ds"
    target: tuple[Column, ...] | None = None
    past: tuple[Column, ...] = ()
    future: tuple[Column, ...] = ()
    static: tuple[Column, ...] = ()
    categorical: tuple[Column, ...] | None = None  # covariates that hold categories, where that is known beforehand

    @property
    def covariates(self) -> tuple[Column, ...]:
        """All covariates asked for."""
        return self.past + self.future + self.static


def column_names(columns: Any, argument: str) -> tuple[Column, ...]:
    """Return `columns` as a tuple: a lone name or index is one column, None is none."""
    if columns is None:
        return ()
    if isinstance(columns, (str, int, np.integer)):
        columns = (columns,)
    names = tuple(int(c) if isinstance(c, np.integer) else c for c in columns)
    for name in names:
        if isinstance(name, bool) or not isinstance(name, (str, int)):
            raise TypeError(f"{argument} has {name!r}; expected column names (or indices for arrays)")
    return names


def frame_roles(
    columns: Sequence[Column],
    reserved: set[Any],
    is_numeric: Callable[[Column], bool],
    request: Request,
    long: bool,
    *,
    target: bool = True,
    is_time: Callable[[Column], bool] = lambda name: False,
    is_category: Callable[[Column], bool] = lambda name: False,
) -> Roles:
    """Give each column of a frame its role; without `target` it holds covariates alone.

    `reserved` are its id and time columns; `is_time` tells a column of dates, `is_category` one that may be a covariate
    without numbers. A `long` frame has an id column, and "y" alone is its target, if it is there.
    """
    for argument, names in _asked(request):
        absent = [name for name in names if name not in columns]
        if absent:
            raise ValueError(f"{argument} names {absent}, which X does not have; its columns: {list(columns)}")
    if target and long and request.target is None and "y" in columns and "y" not in reserved:
        _refuse_target_as_covariate(request)
    left = [name for name in columns if name not in reserved and name not in request.covariates]
    targets = _targets(left, is_numeric, is_time, request, long) if target else ()
    if target and not targets:
        raise ValueError(f"X has no column left to forecast; its columns: {list(columns)}; pass target_columns=[...]")
    roles = Roles(targets, request.past, request.future, request.static)
    _refuse_two_roles(roles.used + tuple(reserved))
    wrong = [name for name in roles.target if not is_numeric(name)]
    if wrong:
        raise ValueError(
            f"X: the columns {wrong} hold no numbers; parse them, for example with pandas.to_numeric, or leave them out"
        )
    wrong = [name for name in request.covariates if not (is_numeric(name) or is_category(name))]
    if wrong:
        if request.categorical is not None:
            raise ValueError(f"X: the columns {wrong} do not hold numbers or text, as they did at fit")
        raise ValueError(f"X: the columns {wrong} do not hold numbers, text or categories; make them that or leave them out")
    return _with_ignored(roles, [name for name in columns if name not in reserved])


def _targets(
    left: Sequence[Column],
    is_numeric: Callable[[Column], bool],
    is_time: Callable[[Column], bool],
    request: Request,
    long: bool,
) -> tuple[Column, ...]:
    """Return the targets asked for, else "y" in a long frame, else all that is left, if all of it is numbers."""
    if request.target is not None:
        return request.target
    if long and "y" in left:
        return ("y",)
    words = [name for name in left if not is_numeric(name)]
    if words:
        dates = [name for name in words if is_time(name)] or [name for name in words if _TIME.search(str(name))]
        numbers = [name for name in left if name not in words]
        raise ValueError(f"X has columns that hold no numbers: {words}; {_advice(words, dates, numbers, long)}")
    return tuple(left)


def _advice(words: list[Column], dates: list[Column], numbers: list[Column], long: bool) -> str:
    """Say which arguments would give columns without numbers their roles."""
    rest = [name for name in words if name not in dates[:1]]
    if dates and rest and not long:
        return (
            f"for several series, one below the other, pass id_column={rest[0]!r}, time_column={dates[0]!r}, "
            f"target_columns={numbers}; for one series pass target_columns=[...] to say which columns to forecast"
        )
    advice = (
        "pass target_columns=[...] to say which columns to forecast, or name text that goes with them in past_covariates, "
        "future_covariates or static_covariates"
    )
    if dates or not long:
        advice += f", or time_column={words[0]!r} if it holds the time stamps (parsed to dates)"
    return advice if dates or long else f"{advice}, or id_column={words[0]!r} if it holds the ids of several series"


def array_roles(count: int, request: Request) -> Roles:
    """Give each of the `count` columns of an array its role, by index; negative indices count from the end."""

    def indices(argument: str, names: Iterable[Column]) -> tuple[int, ...]:
        wrong = [name for name in names if isinstance(name, str) or not -count <= name < count]
        if wrong:
            raise ValueError(f"{argument} has {wrong}, but X is an array of {count} columns; use indices from 0")
        return tuple(name % count for name in names if not isinstance(name, str))

    target, past, future, static = (indices(argument, names) for argument, names in _asked(request))
    if request.target is None:
        target = tuple(c for c in range(count) if c not in past + future + static)
    if not target:
        raise ValueError(f"X has {count} columns and none is left to forecast; pass target_columns=[...]")
    roles = Roles(target, past, future, static)
    _refuse_two_roles(roles.used)
    return _with_ignored(roles, range(count))


def fitted_frame_roles(
    columns: Sequence[Column],
    reserved: set[Any],
    is_numeric: Callable[[Column], bool],
    request: Request,
    like: Layout,
    *,
    is_category: Callable[[Column], bool] = lambda name: False,
) -> Roles:
    """Give the columns of a frame, in any order, the roles they had at fit; refuse other columns."""
    if like.backend == "numpy":  # fitted on arrays: there are no names to compare, only a count
        _refuse_fitted_covariates(like, "a frame")
        bare = Request(request.id_column, request.time_column)
        roles = frame_roles(columns, reserved, is_numeric, bare, long=request.id_column in reserved)
        if len(roles.target) != len(like.target_columns):
            raise ValueError(
                f"X has {len(roles.target)} columns {list(roles.target)}; expected {len(like.target_columns)} as at fit"
            )
        return roles
    roles = _roles_of(like)
    expected = [*roles.used]
    found = [name for name in columns if name not in reserved]
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected and name not in roles.ignored]
    if missing or extra:
        raise ValueError(
            f"X must have the columns seen at fit: expected {expected}, got {found}"
            + (f"; missing {missing}" if missing else "")
            + (f"; not seen at fit {extra}" if extra else "")
        )
    wrong = [name for name in roles.used if not (is_numeric(name) or is_category(name))]
    if wrong:
        raise ValueError(f"X: the columns {wrong} hold no numbers, as they did at fit")
    return roles


def fitted_array_roles(count: int, like: Layout) -> tuple[Roles, Roles]:
    """Return the roles seen at fit and the indices of the same columns in an array of `count` columns."""
    roles = _roles_of(like)
    if like.backend != "numpy":
        _refuse_fitted_covariates(like, "an array")
        roles = Roles(target=roles.target)
        indices = Roles(target=tuple(range(len(roles.target))))
    else:
        indices = roles
    expected = len(indices.used) + len(indices.ignored)
    if count != expected:
        raise ValueError(f"X has {count} columns; expected {expected}, as at fit (targets {list(like.target_columns)})")
    return roles, indices


def _roles_of(like: Layout) -> Roles:
    static = () if like.static_apart else like.static_columns
    return Roles(like.target_columns, like.past_columns, like.future_columns, static, like.ignored_columns)


def _asked(request: Request) -> tuple[tuple[str, tuple[Column, ...]], ...]:
    return (
        ("target_columns", request.target or ()),
        ("past_covariates", request.past),
        ("future_covariates", request.future),
        ("static_covariates", request.static),
    )


def _with_ignored(roles: Roles, columns: Iterable[Column]) -> Roles:
    ignored = tuple(name for name in columns if name not in roles.used)
    return Roles(roles.target, roles.past, roles.future, roles.static, ignored)


def _refuse_two_roles(names: Sequence[Any]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1}, key=str)
    if twice:
        raise ValueError(
            f"the columns {twice} have two roles; name each in one of id_column, time_column, target_columns, "
            "past_covariates, future_covariates, static_covariates"
        )


def _refuse_target_as_covariate(request: Request) -> None:
    """Refuse "y", which a long frame forecasts, as a covariate: the rest of the columns would silently be forecast."""
    for argument, names in _asked(request):
        if "y" in names:
            raise ValueError(
                f"{argument} names 'y', which is the target of a long frame; its own past is read in any case: leave 'y' "
                "out, or pass target_columns=[...] to forecast other columns"
            )


def _refuse_fitted_covariates(like: Layout, what: str) -> None:
    if like.covariates:
        raise ValueError(
            f"X is {what}, but the model was fitted on another kind of container with the covariates "
            f"{list(like.covariates)}; pass the kind of container seen at fit"
        )
