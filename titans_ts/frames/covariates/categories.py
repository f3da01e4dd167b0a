"""Categories as numbers: a column of a frame becomes a column for each value that training rows held often enough.

Text, categories and enumerations are told apart by their labels, so that it does not matter which library, or which file of
text, holds them. A label that training rows did not hold counts as the average of those they held.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np

from titans_ts.frames.numbers import column_numbers, shown
from titans_ts.frames.panel import Categories, Column, Layout, Panel, Series

MOST_VALUES = 32
"""Columns of one covariate, at most: of more values the commonest have one each, and the others share the last."""
_SHOWN = 5

Labels = Mapping[Column, Sequence[str]]


def holds_categories(frame: Any, name: Column) -> bool:
    """Say whether a column holds text or categories."""
    import narwhals as nw

    column = frame.get_column(name)
    if column.dtype in (nw.String, nw.Categorical, nw.Enum):
        return True
    native = column.to_native()
    if str(getattr(native, "dtype", getattr(native, "type", ""))) == "object":
        import pandas as pd

        return pd.api.types.infer_dtype(native, skipna=True) in ("string", "categorical")
    return str(getattr(native, "type", "")).startswith("dictionary")


def column_values(
    frame: Any, names: Sequence[Column], categorical: Iterable[Column]
) -> tuple[np.ndarray, dict[Column, tuple[str, ...]]]:
    """Return columns side by side ``(t, k)``, of categorical ones a label's place among the labels, which are sorted."""
    categorical, labels = set(categorical), {}
    matrix = np.empty((len(frame), len(names)))
    for j, name in enumerate(names):
        if name in categorical:
            matrix[:, j], labels[name] = _codes(frame.get_column(name))
        else:
            matrix[:, j : j + 1] = column_numbers(frame, [name])
    return matrix, labels


def _codes(column: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the place of each row's label, NaN where missing, and the labels."""
    import pandas as pd

    native = column.to_native()
    if str(getattr(native, "type", "")).startswith("dictionary"):  # numpy would get another value where one is missing
        rows = native.cast(native.type.value_type).to_numpy()
    else:
        rows = column.to_numpy()
    codes, values = pd.factorize(np.asarray(rows))
    each = [label(value) for value in values.tolist()]
    labels = tuple(sorted(set(each)))
    place_of = {one: place for place, one in enumerate(labels)}
    places = np.array([place_of[one] for one in each], dtype=np.float64)
    return np.append(places, np.nan)[codes], labels


def label(value: Any) -> str:
    """Return what a category is called: text as it is, numbers alike whatever type holds them.

    >>> label("B"), label(1), label(1.0), label(1.5), label(True)
    ('B', '1', '1', '1.5', 'True')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        return str(value)
    number: Any = value
    return str(int(number)) if isinstance(value, Integral) or float(number).is_integer() else repr(float(number))


def learn_categories(panel: Panel, training_rows: Sequence[int]) -> Panel:
    """Return a panel as :func:`read_panel` read it with its categories as numbers, by what the first rows of each hold."""
    if not panel.labels:
        return panel
    layout = panel.layout
    learned, others = [], [one for one in layout.categories if one.column not in panel.labels]  # those are numbers already
    for role, columns in _roles(layout):
        for j, name in enumerate(columns):
            if name in panel.labels:
                parts = [_of_role(one, role)[:rows, j] for one, rows in zip(panel, training_rows, strict=True)]
                learned.append(_learn(name, panel.labels[name], np.concatenate(parts)))
    found = encode_panel(replace(panel, layout=replace(layout, categories=(*learned, *others))))
    warn_unseen(found.unseen, "X")
    return found


def _learn(name: Column, labels: Sequence[str], codes: np.ndarray) -> Categories:
    """Return which labels get a column, the commonest first, those as common by their names."""
    known = codes[~np.isnan(codes)].astype(np.int64)
    counts = np.bincount(known, minlength=len(labels))
    order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]]
    kept = order if len(order) <= MOST_VALUES else order[: MOST_VALUES - 1]
    rare = order[len(kept) :]
    shares = [counts[k] for k in kept] + ([counts[rare].sum()] if rare else [])
    total = max(int(counts.sum()), 1)
    values, others = ([labels[k] for k in part] for part in (kept, sorted(rare)))
    return Categories(name, tuple(values), tuple(others), tuple(float(n) / total for n in shares))


def encode_panel(panel: Panel) -> Panel:
    """Return a panel with its categories as numbers, by those of its layout, and what training never held noted."""
    layout, labels = panel.layout, panel.labels
    if not layout.categories:
        return panel
    tables = encodings(labels, layout)
    series = tuple(
        replace(
            one,
            past=encode(one.past, layout.past_columns, tables),
            future=encode(one.future, layout.future_columns, tables),
            static=encode(one.static[None], layout.static_columns, tables)[0],
        )
        for one in panel
    )
    return replace(panel, series=series, labels={}, unseen=unseen_values(labels, layout))


def encodings(labels: Labels, layout: Layout) -> dict[Column, np.ndarray]:
    """Return for each column of ``labels`` what they become: a row of numbers each, and at the end one for the missing."""
    found = {}
    for one in layout.categories:
        if one.column in labels:
            place = {value: k for k, value in enumerate(one.values)} | dict.fromkeys(one.rare, one.width - 1)
            table, own = np.full((len(labels[one.column]) + 1, one.width), np.nan), np.eye(one.width)
            for i, name in enumerate(labels[one.column]):
                table[i] = own[place[name]] if name in place else one.shares
            found[one.column] = table
    return found


def encode(matrix: np.ndarray, columns: Sequence[Column], tables: Mapping[Column, np.ndarray]) -> np.ndarray:
    """Return columns with those of categories made numbers by :func:`encodings`; what stands beyond follows as it is."""
    if not any(name in tables for name in columns):
        return matrix
    parts = [_rows(tables[name], matrix[:, j]) if name in tables else matrix[:, j : j + 1] for j, name in enumerate(columns)]
    return np.concatenate([*parts, matrix[:, len(columns) :]], axis=1)


def _rows(table: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the row of a table that each code names, the last one where there is none, ``(t, k)``."""
    return table[np.where(np.isnan(codes), len(table) - 1, codes).astype(np.int64)]


def unseen_values(labels: Labels, layout: Layout) -> dict[Column, tuple[str, ...]]:
    """Return the labels of each column that training rows did not hold."""
    found: dict[Column, tuple[str, ...]] = {}
    for one in layout.categories:
        known = {*one.values, *one.rare}
        new = tuple(name for name in labels.get(one.column, ()) if name not in known)
        found |= {one.column: new} if new else {}
    return found


def warn_unseen(unseen: Mapping[Column, Sequence[str]], name: str) -> None:
    """Warn of labels that training rows did not hold, all columns together."""
    if not unseen:
        return
    columns = [
        f"{column!r} ({', '.join(map(shown, new[:_SHOWN]))}{f' and {len(new) - _SHOWN} more' if len(new) > _SHOWN else ''})"
        for column, new in unseen.items()
    ]
    warnings.warn(
        f"{name} has categories that no training row had: {', '.join(columns)}; such a row counts as an average one",
        UserWarning,
        stacklevel=4,
    )


def joined_unseen(parts: Iterable[Mapping[Column, Sequence[str]]]) -> dict[Column, tuple[str, ...]]:
    """Return the unseen labels of several pieces as those of one, each once."""
    found: dict[Column, dict[str, None]] = {}
    for part in parts:
        for column, new in part.items():
            found.setdefault(column, {}).update(dict.fromkeys(new))
    return {column: tuple(new) for column, new in found.items()}


def _roles(layout: Layout) -> tuple[tuple[str, tuple[Column, ...]], ...]:
    return ("past", layout.past_columns), ("future", layout.future_columns), ("static", layout.static_columns)


def _of_role(series: Series, role: str) -> np.ndarray:
    """Return a series' covariates of a role, static ones at every row, so that longer series count for more."""
    if role == "static":
        return np.broadcast_to(series.static, (len(series), len(series.static)))
    return series.past if role == "past" else series.future
