"""Containers in: every kind is read alike, and what cannot be read is refused by name."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from frames.cases import DAYS, long, wide

from titans_ts.frames.panel import Layout
from titans_ts.frames.read import read_panel

# ---------------------------------------------------------------- frames


def test_wide_frame(library):
    panel = read_panel(library.frame(wide()))
    (series,) = panel
    np.testing.assert_array_equal(series.values, [[0, 2], [1, 2], [2, 2], [3, 2]])
    np.testing.assert_array_equal(series.times, DAYS.to_numpy().astype("M8[ns]"))
    assert series.times.dtype == "M8[ns]"
    layout = panel.layout
    assert (layout.kind, layout.backend, layout.target_columns, layout.frequency) == ("wide", library.name, ("a", "b"), "D")
    assert Layout.from_dict(json.loads(json.dumps(layout.to_dict()))) == layout


def test_nulls_booleans_decimals_and_integers_become_floats(library):
    columns = {"i": [1, None, 3], "b": [True, None, False], "d": [Decimal("1.5"), None, Decimal("2")], "n": [None] * 3}
    values = read_panel(library.frame({name: pd.Series(column, dtype=object) for name, column in columns.items()}))[None]
    np.testing.assert_array_equal(values.values, [[1, 1, 1.5, np.nan], [np.nan] * 4, [3, 0, 2, np.nan]])


def test_pandas_nullable_and_object_numbers():
    frame = pd.DataFrame(
        {
            "i": pd.array([1, None], "Int64"),
            "b": pd.array([True, None], "boolean"),
            "o": [Decimal("1.5"), None],
            "f": [1, 2],
        }
    )
    np.testing.assert_array_equal(read_panel(frame)[None].values, [[1, 1, 1.5, 1], [np.nan, np.nan, np.nan, 2]])


def test_pandas_index_and_plain_numbers():
    frame = wide().set_index("ds").rename_axis("when")
    panel = read_panel(frame)
    assert (panel.layout.time_in_index, panel.layout.time_column, panel.layout.frequency) == (True, "when", "D")
    panel = read_panel(pd.DataFrame(np.ones((3, 2))))
    assert panel[None].times is None
    assert panel.layout.target_columns == (0, 1)


def test_series_are_wide_frames():
    assert read_panel(pd.Series([1.0, 2.0], name="load")).layout.target_columns == ("load",)
    assert read_panel(pd.Series([1.0, 2.0])).layout.target_columns == ("y",)
    assert read_panel(pl.Series([1.0, 2.0])).layout.target_columns == ("y",)
    assert read_panel(pd.Series([1.0, 2.0], index=DAYS[:2])).layout.frequency == "D"


@pytest.mark.parametrize(
    ("frame", "arguments", "match"),
    [
        (wide(a=[1.0] * 4, who=["x"] * 4), {}, r"hold no numbers: \['who'\].*target_columns=.*time_column='who'"),
        (wide(), {"target_columns": ["c"]}, r"target_columns names \['c'\].*\['ds', 'a', 'b'\]"),
        (wide(), {"past_covariates": "z"}, r"past_covariates names \['z'\]"),
        (wide(a=[1.0] * 4, who=["x"] * 4), {"target_columns": ["who"]}, r"\['who'\] hold no numbers"),
        (wide(), {"time_column": "date"}, "time_column='date' is not in X"),
        (wide(), {"id_column": "shop"}, r"id_column='shop' is not in X; its columns: \['ds', 'a', 'b'\]"),
        (wide(), {"past_covariates": ["a"], "future_covariates": ["a"]}, r"\['a'\] have two roles"),
        (
            long(),
            {"past_covariates": ["y", "x"]},
            "past_covariates names 'y', which is the target of a long .*target_columns=",
        ),
        (long(), {"static_covariates": "y"}, "static_covariates names 'y', which is the target"),
        (long(), {"target_columns": "y", "future_covariates": "y"}, r"\['y'\] have two roles"),
        (long(), {"past_covariates": ["unique_id", "x"]}, r"\['unique_id'\] have two roles.*id_column"),
        (long(), {"future_covariates": "ds"}, r"\['ds'\] have two roles.*time_column"),
        (wide(), {"past_covariates": ["a", "b"]}, "no column left to forecast"),
        (wide().iloc[:0], {}, r"0 sample\(s\)"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, "several columns named 'a'"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), {}, "named \\('a', 'b'\\)"),
        (wide(a=[1, np.inf, 0, 0]), {}, "X has inf in row 1, column 'a'"),
        (wide(a=1.0, f=[0, 1, np.nan, 0]), {"future_covariates": "f"}, "X has NaN in row 2, column 'f'.*fill it in"),
        (wide(a=1.0, s=[np.nan] * 4), {"static_covariates": "s"}, "X has NaN in row 0, column 's'"),
        (wide(a=1.0, s=[1, 1, 2, 2]), {"static_covariates": "s"}, "'s' changes to 2 in row 2"),
        (wide(a=[1j] * 4), {}, r"hold no numbers: \['a'\]"),
        (long().set_index(["unique_id", "x"]), {}, r"ids in its index .*, but time stamps in column 'ds'; .*reset_index"),
        (long().set_index("unique_id"), {}, r"ids in its index.*reset_index"),
    ],
)
def test_refused_frames(frame, arguments, match):
    with pytest.raises(ValueError, match=match):
        read_panel(frame, **arguments)


def test_columns_of_other_names_are_offered_their_arguments():
    sales = long()[["unique_id", "ds", "y"]].set_axis(["item_id", "timestamp", "target"], axis="columns")
    offered = r"id_column='item_id', time_column='timestamp', target_columns=\['target'\]"
    for frame in (sales, sales.astype({"timestamp": str}), sales[["timestamp", "item_id", "target"]]):
        with pytest.raises(ValueError, match=offered):
            read_panel(frame)
    with pytest.raises(ValueError, match=r"time_column='timestamp' if it holds the time stamps \(parsed to dates\)$"):
        read_panel(sales.drop(columns="item_id"))
    with pytest.raises(ValueError, match=r"or id_column='item_id' if it holds the ids of several series$"):
        read_panel(sales.drop(columns="timestamp"))
    assert read_panel(sales, id_column="item_id", time_column="timestamp").layout.target_columns == ("target",)


def test_all_missing_column_is_refused_at_fit_only():
    frame = wide(a=1.0, b=np.nan)
    assert np.isnan(read_panel(frame)[None].values[:, 1]).all()
    with pytest.raises(ValueError, match=r"column 'b' has no observed value in any of its 4 rows"):
        read_panel(frame, require_observed=True)
    frame = long().assign(y=[1.0, np.nan] * 3)
    with pytest.raises(ValueError, match=r"column 'y', id 'a' has no observed value"):
        read_panel(frame, require_observed=True)


def test_long_frame_interleaved(library):
    panel = read_panel(library.frame(long()), future_covariates="x")
    assert [series.id for series in panel] == ["b", "a"]
    np.testing.assert_array_equal(panel["a"].values[:, 0], [1, 2, 3])
    np.testing.assert_array_equal(panel["b"].values[:, 0], [10, 20, 30])
    np.testing.assert_array_equal(panel["a"].times, pd.date_range("2024-01-01", periods=3, freq="h").to_numpy())
    layout = panel.layout
    assert (layout.kind, layout.id_column, layout.target_columns, layout.frequency) == (
        "long",
        "unique_id",
        ("y",),
        "h",
    )


def test_long_frame_other_names_several_targets_and_ignored_columns():
    frame = long().rename(columns={"unique_id": "well", "ds": "when"}).assign(note="n")
    arguments = {"id_column": "well", "time_column": "when"}
    panel = read_panel(frame, target_columns=["x", "y"], **arguments)
    np.testing.assert_array_equal(panel["a"].values, [[1, 1], [1, 2], [1, 3]])
    assert panel.layout.ignored_columns == ("note",)
    assert read_panel(frame[["well", "when", "x", "y"]].rename(columns={"y": "z"}), **arguments).layout.target_columns == (
        "x",
        "z",
    )


def test_categorical_and_integer_ids():
    assert [s.id for s in read_panel(long().astype({"unique_id": "category"}))] == ["b", "a"]
    frame = pl.DataFrame({"unique_id": pl.Series([7, 3, 7], dtype=pl.Int32), "y": [1.0, 2.0, 3.0]})
    assert [(s.id, s.values[:, 0].tolist()) for s in read_panel(frame)] == [(7, [1, 3]), (3, [2])]


def test_long_errors_name_row_and_id():
    frame = long()
    frame.loc[4, "y"] = np.inf
    with pytest.raises(ValueError, match=r"X has inf in row 4, id 'b', column 'y'"):
        read_panel(frame)
    frame = long().assign(unique_id=["b", "a", "b", None, "b", "a"])
    with pytest.raises(ValueError, match=r"no id in row 3 of column 'unique_id'"):
        read_panel(frame)
    frame = long().assign(s=[5, 1, 5, 1, 5, 2])
    with pytest.raises(ValueError, match=r"'s' changes to 2 in row 5, id 'a'"):
        read_panel(frame, static_covariates="s")
    assert read_panel(frame.assign(s=[5, 1] * 3), static_covariates="s")["b"].static.tolist() == [5]


def test_importing_the_room_brings_in_numpy_alone():
    modules = ("torch", "sklearn", "pandas", "polars", "pyarrow", "narwhals")
    code = "import sys, titans_ts.frames.read, titans_ts.frames.write, titans_ts.frames.future; "
    code += f"print([name for name in {modules} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.skipif("TITANS_TS_DATA" not in os.environ, reason="TITANS_TS_DATA is not set")
def test_etth1_reads_alike_from_every_library(library):
    path = Path(os.environ["TITANS_TS_DATA"]) / "series" / "ETTh1.csv"
    frame = pd.read_csv(path, parse_dates=["date"])
    panel = read_panel(library.frame(frame), time_column="date", require_observed=True)
    assert (panel.layout.frequency, panel.rows) == ("h", 17_420)
    np.testing.assert_array_equal(panel[None].values, frame.drop(columns="date").to_numpy())
    with pytest.raises(ValueError, match=r"hold no numbers: \['date'\].*time_column='date'"):
        read_panel(pd.read_csv(path))


# ---------------------------------------------------------------- arrays


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


def test_y_may_be_a_covariate_where_another_column_is_forecast():
    panel = read_panel(long(), target_columns="x", past_covariates="y")
    assert panel["b"].past[:, 0].tolist() == [10, 20, 30]


def test_refused_indices():
    with pytest.raises(ValueError, match=r"past_covariates has \[3\], but X is an array of 2 columns"):
        read_panel(np.ones((3, 2)), past_covariates=[3])
    with pytest.raises(ValueError, match=r"future_covariates has \['a'\]"):
        read_panel(np.ones((3, 2)), future_covariates=["a"])
    with pytest.raises(ValueError, match=r"\[1\] have two roles"):
        read_panel(np.ones((3, 2)), past_covariates=[1], static_covariates=[1])
    with pytest.raises(ValueError, match=r"none is left"):
        read_panel(np.ones((3, 1)), past_covariates=[0])


# ---------------------------------------------------------------- new rows for a fitted model


def test_like_reorders_columns_and_names_the_difference():
    layout = read_panel(wide()).layout
    np.testing.assert_array_equal(read_panel(wide()[["b", "ds", "a"]], like=layout)[None].values[3], [3, 2])
    with pytest.raises(ValueError, match=r"expected \['a', 'b'\], got \['a'\]; missing \['b'\]"):
        read_panel(wide().drop(columns="b"), like=layout)
    with pytest.raises(ValueError, match=r"not seen at fit \['c'\]"):
        read_panel(wide().assign(c=1.0), like=layout)
    with pytest.raises(ValueError, match=r"X has 3 columns; expected 2"):
        read_panel(np.ones((4, 3)), like=layout)
    panel = read_panel(np.ones((4, 2)), like=layout)
    assert (panel.layout.kind, panel.layout.target_columns) == ("array", ("a", "b"))
    panel = read_panel(pl.from_pandas(wide()), like=layout)
    assert (panel.layout.backend, panel.layout.time_dtype) == ("polars", "datetime[us]")


def test_like_of_arrays():
    layout = read_panel(np.ones((4, 3)), past_covariates=2).layout
    assert read_panel([np.ones((4, 3))] * 2, like=layout)[1].past.shape == (4, 1)
    with pytest.raises(ValueError, match=r"X has 2 columns; expected 3"):
        read_panel(np.ones((4, 2)), like=layout)
    with pytest.raises(ValueError, match=r"X is a frame.*covariates \[2\]"):
        read_panel(wide(), like=layout)
    layout = read_panel(np.ones((4, 2))).layout
    assert read_panel(wide(), like=layout).layout.target_columns == ("a", "b")
    with pytest.raises(ValueError, match=r"X has 1 columns \['a'\]; expected 2"):
        read_panel(wide()[["ds", "a"]], like=layout)


def test_like_holds_time_stamps_to_their_kind():
    zoned = read_panel(wide(DAYS.tz_localize("UTC"), a=1.0)).layout
    with pytest.raises(ValueError, match=r"in time zone None, but the model was fitted on .* in time zone UTC"):
        read_panel(wide(DAYS, a=1.0), like=zoned)
    with pytest.raises(ValueError, match=r"X has no time stamps.*column 'ds'"):
        read_panel(pd.DataFrame({"a": [1.0]}), like=zoned)
    with pytest.raises(ValueError, match=r"X has time stamps of int64"):
        read_panel(wide([1, 2], a=1.0), like=zoned)
    one = read_panel(wide(DAYS[:1].tz_localize("UTC"), a=1.0), like=zoned)
    assert one.layout.frequency == "D"
    assert read_panel(wide(DAYS[:1], a=1.0)).layout.frequency is None


def test_follow_continues_fills_and_refuses_overlap():
    panel = read_panel(wide(a=1.0))
    follow = {None: panel[None].times[-1]}  # 2024-01-04
    after = pd.date_range("2024-01-05", periods=3, freq="D")
    new = read_panel(wide(after, a=1.0), like=panel.layout, follow=follow)
    np.testing.assert_array_equal(new[None].times, after.to_numpy())
    with pytest.warns(UserWarning, match=r"1 missing rows.*the first gap: 1 before 2024-01-06.*row 0"):
        new = read_panel(wide(after[1:], a=1.0), like=panel.layout, follow=follow)
    np.testing.assert_array_equal(new[None].values[:, 0], [np.nan, 1, 1])
    np.testing.assert_array_equal(new[None].times, after.to_numpy())
    with pytest.raises(ValueError, match=r"row 0 \(2024-01-04.*\) is not after the last absorbed time stamp 2024-01-04"):
        read_panel(wide(after - pd.Timedelta(days=1), a=1.0), like=panel.layout, follow=follow)
    with pytest.raises(ValueError, match=r"no whole number of steps of 'D'"):
        read_panel(wide(after + pd.Timedelta(hours=1), a=1.0), like=panel.layout, follow=follow)
    np.testing.assert_array_equal(read_panel(np.ones(3), like=panel.layout, follow=follow)[None].times, after.to_numpy())


def test_follow_of_a_panel_names_the_id_and_starts_new_series():
    panel = read_panel(long())
    follow = {series.id: series.times[-1] for series in panel}
    new = long().assign(ds=long()["ds"] + pd.Timedelta(hours=3))
    new.loc[new["unique_id"] == "b", "unique_id"] = "new"
    assert [series.id for series in read_panel(new, like=panel.layout, follow=follow)] == ["new", "a"]
    with pytest.raises(ValueError, match=r"row 1, id 'a' \(2024-01-01 00:00:00\) is not after"):
        read_panel(long(), like=panel.layout, follow={"a": follow["a"]})
    with pytest.raises(ValueError, match=r"of kind 'array', but the model was fitted on kind 'long'.*'unique_id'"):
        read_panel(np.ones(3), like=panel.layout, follow=follow)


def test_array_cannot_follow_without_a_frequency():
    panel = read_panel(wide(DAYS[:1], a=1.0))
    with pytest.raises(ValueError, match=r"carries no time stamps and freq=None is unknown"):
        read_panel(np.ones(2), like=panel.layout, follow={None: panel[None].times[-1]})
