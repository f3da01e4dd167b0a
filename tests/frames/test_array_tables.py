"""Arrays in: one series or several, and what is refused."""

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

from titans_ts.frames.read import read_panel


@pytest.mark.parametrize(
    ("X", "shape"),
    [(np.arange(5), (5, 1)), (np.ones((5, 2), "f4"), (5, 2)), ([1, 2, 3], (3, 1)), ([[1, 2], [3, 4], [5, 6]], (3, 2))],
)
def test_one_array(X, shape):
    panel = read_panel(X)
    (series,) = panel
    np.testing.assert_array_equal(series.values, np.asarray(X).reshape(shape))
    assert series.values.dtype == np.float64
    assert (series.id, series.times, panel.layout.kind) == (None, None, "array")
    assert panel.layout.was_1d == (np.ndim(X) == 1)
    assert panel.layout.value_dtype == ("float32" if getattr(X, "dtype", None) == np.float32 else "float64")


def test_list_of_arrays_is_several_series():
    panel = read_panel([np.arange(3), np.arange(5) * 2])
    assert [series.id for series in panel] == [0, 1]
    np.testing.assert_array_equal(panel[1].values[:, 0], [0, 2, 4, 6, 8])


def test_anything_with_array_protocol_and_objects_of_numbers():
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            return np.ones((3, 2))

    assert read_panel(Tensor())[None].values.shape == (3, 2)
    values = read_panel(np.array([1, None, Decimal("2.5"), True], dtype=object))[None].values
    np.testing.assert_array_equal(values[:, 0], [1, np.nan, 2.5, 1])


def test_array_covariates_are_indices():
    X = np.column_stack([np.arange(4.0), np.full(4, 7.0), [1, 0, 1, 0], [np.nan, 1, 2, 3]])
    panel = read_panel(X, static_covariates=1, future_covariates=[2], past_covariates=[-1])
    (series,) = panel
    np.testing.assert_array_equal(series.values[:, 0], X[:, 0])
    np.testing.assert_array_equal(series.static, [7.0])
    np.testing.assert_array_equal(series.future[:, 0], X[:, 2])
    np.testing.assert_array_equal(series.past[:, 0], X[:, 3])
    assert panel.layout.past_columns == (3,)


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        (np.ones((2, 3, 4)), ValueError, r"shape \(2, 3, 4\).*list\(X\)"),
        (np.ones((0, 3)), ValueError, r"0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of 1 is required"),
        (np.ones((3, 0)), ValueError, r"0 feature\(s\) \(shape=\(3, 0\)\) while a minimum of 1 is required"),
        ([], (TypeError, ValueError), r"0 sample"),
        (np.ones(3) * 1j, ValueError, "Complex data not supported"),
        (np.array(["a", "b"]), TypeError, "dtype <U1"),
        (np.array([1, "x"], dtype=object), ValueError, r"text 'x' at \(1,\)"),
        (np.array([[{"foo": "bar"}]], dtype=object), TypeError, "argument must be .* string.* number"),
        (np.array(["2024"], "M8[D]"), TypeError, "dtype datetime64"),
        ([[1, 2], [3]], ValueError, "ragged; .*list of arrays"),
        ([np.ones((3, 2)), np.ones((3, 1))], ValueError, "item 1 of X has 1 columns, item 0 has 2.*transposed"),
        ([np.ones(3), np.ones((2, 2, 2))], ValueError, "item 1 of X has shape"),
        ([np.ones(3), np.array([])], ValueError, "item 1 of X is empty"),
        ([pd.DataFrame({"a": [1.0]})] * 2, TypeError, "item 0 of X is a DataFrame.*long frame"),
        ([pl.Series([1.0]), pl.Series([2.0])], TypeError, "item 0 of X is a Series"),
        (3.0, TypeError, "X is a float"),
        (None, TypeError, "X is a NoneType"),
        (pl.LazyFrame({"a": [1.0]}), TypeError, r"X.collect\(\)"),
        (np.array([[0, 1], [np.inf, 0]]), ValueError, "X has inf in row 1, column 0"),
        ([np.zeros(2), np.array([0, 1, -np.inf])], ValueError, "X has -inf in row 2, item 1, column 0"),
    ],
)
def test_refused_arrays(X, error, match):
    with pytest.raises(error, match=match):
        read_panel(X)


def test_refused_sparse_array():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"sparse.*X.toarray\(\)"):
        read_panel(sparse.eye(3).tocsr())


def test_refused_indices():
    with pytest.raises(ValueError, match=r"past_covariates has \[3\], but X is an array of 2 columns"):
        read_panel(np.ones((3, 2)), past_covariates=[3])
    with pytest.raises(ValueError, match=r"future_covariates has \['a'\]"):
        read_panel(np.ones((3, 2)), future_covariates=["a"])
    with pytest.raises(ValueError, match=r"\[1\] have two roles"):
        read_panel(np.ones((3, 2)), past_covariates=[1], static_covariates=[1])
    with pytest.raises(ValueError, match=r"none is left"):
        read_panel(np.ones((3, 1)), past_covariates=[0])
