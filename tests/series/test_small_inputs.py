"""A few rows, constants, tiny and huge numbers: a finite forecast with intervals, and nothing from the depths."""

import warnings

import numpy as np
import pandas as pd
import pytest

from titans_ts import TitansForecaster

KINDS = {
    "wave": lambda rows: rows,
    "constant": lambda rows: np.full(len(rows), 3.0),
    "zero": lambda rows: np.zeros(len(rows)),
    "tiny": lambda rows: 1e-6 * rows,
    "huge": lambda rows: 1e9 * rows,
    "far from zero": lambda rows: rows + 1e9,
    "below zero": lambda rows: -rows,
    "counts": lambda rows: np.round(np.maximum(rows - 9.5, 0)),
    "a gap": lambda rows: np.where(np.arange(len(rows)) == len(rows) // 2, np.nan, rows),
    "begun late": lambda rows: np.where(np.arange(len(rows)) < len(rows) // 2, np.nan, rows),
}


def course(count, seed=0):
    return 10 + np.sin(np.arange(count) / 2) + 0.1 * np.random.default_rng(seed).normal(size=count)


def finite(found):
    values = found.select_dtypes("number") if isinstance(found, pd.DataFrame) else found
    assert np.isfinite(np.asarray(values, dtype=float)).all()


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("rows", [3, 4, 7, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_one_short_series(kind, rows):
    """With as many rows as the horizon and fewer too; and a single row after all was forgotten."""
    X = KINDS[kind](course(rows))
    model = TitansForecaster(horizon=4, random_state=0).fit(X)
    finite(model.predict())
    finite(model.predict(level=[80, 99]))
    finite(model.update(X[-1:]).predict(level=[90]))
    finite(model.forget().update(X[-1:]).predict(level=[90]))
    finite(model.predict(X[-1:]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_panel_of_short_months(kind):
    stamps = pd.date_range("2020-01-31", periods=24, freq="ME")
    lengths = range(15, 24)
    parts = [pd.DataFrame({"unique_id": n, "ds": stamps[:n], "y": KINDS[kind](course(n, seed=n))}) for n in lengths]
    model = TitansForecaster(horizon=6, random_state=0).fit(pd.concat(parts))
    finite(model.predict(level=[80]))
    later = parts[0].iloc[-1:].assign(ds=stamps[15:16])
    finite(model.update(later).predict(level=[80]))


def test_a_channel_that_was_never_observed_is_refused_by_name():
    X = np.column_stack([course(60), np.full(60, np.nan)])
    with pytest.raises(ValueError, match="no observed value|observed"):
        TitansForecaster(horizon=4, layers=0, random_state=0).fit(X)
