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
import pyarrow as pa
import pytest

from titans_ts.frames.panel import Layout
from titans_ts.frames.read import read_panel

DAYS = pd.date_range("2024-01-01", periods=4, freq="D")


def wide(times=DAYS, **columns):
    return pd.DataFrame({"ds": times, **(columns or {"a": np.arange(len(times)) * 1.0, "b": 2.0})})


def long():
    """Two interleaved series, "b" first, with hourly stamps."""
    hours = pd.date_range("2024-01-01", periods=3, freq="h")
    return pd.DataFrame(
        {"unique_id": ["b", "a"] * 3, "ds": np.repeat(hours, 2), "y": [10.0, 1.0, 20.0, 2.0, 30.0, 3.0], "x": 1.0}
    )


def as_backend(frame, backend):
    return {"pandas": lambda: frame, "polars": lambda: pl.from_pandas(frame),
            "pyarrow": lambda: pa.Table.from_pandas(frame, preserve_index=False)}[backend]()  # fmt: skip


backends = pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])


@backends
def test_wide_frame(backend):
    panel = read_panel(as_backend(wide(), backend))
    (series,) = panel
    np.testing.assert_array_equal(series.values, [[0, 2], [1, 2], [2, 2], [3, 2]])
    np.testing.assert_array_equal(series.times, DAYS.to_numpy().astype("M8[ns]"))
    assert series.times.dtype == "M8[ns]"
    layout = panel.layout
    assert (layout.kind, layout.backend, layout.target_columns, layout.frequency) == ("wide", backend, ("a", "b"), "D")
    assert Layout.from_dict(json.loads(json.dumps(layout.to_dict()))) == layout


@backends
def test_nulls_booleans_decimals_and_integers_become_floats(backend):
    frame = pl.DataFrame(
        {"i": [1, None, 3], "b": [True, None, False], "d": [Decimal("1.5"), None, Decimal("2")], "n": [None] * 3}
    )
    native = {"polars": frame, "pyarrow": frame.to_arrow(), "pandas": frame.to_pandas(use_pyarrow_extension_array=True)}
    values = read_panel(native[backend])[None].values
    np.testing.assert_array_equal(values, [[1, 1, 1.5, np.nan], [np.nan] * 4, [3, 0, 2, np.nan]])


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
        (wide(), {"past_covariates": ["a"], "future_covariates": ["a"]}, r"\['a'\] have two roles"),
        (wide(), {"past_covariates": ["a", "b"]}, "no column left to forecast"),
        (wide().iloc[:0], {}, r"0 sample\(s\)"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, "several columns named 'a'"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), {}, "named \\('a', 'b'\\)"),
        (wide(a=[1, np.inf, 0, 0]), {}, "X has inf in row 1, column 'a'"),
        (wide(a=1.0, f=[0, 1, np.nan, 0]), {"future_covariates": "f"}, "X has NaN in row 2, column 'f'.*fill it in"),
        (wide(a=1.0, s=[np.nan] * 4), {"static_covariates": "s"}, "X has NaN in row 0, column 's'"),
        (wide(a=1.0, s=[1, 1, 2, 2]), {"static_covariates": "s"}, "'s' changes to 2 in row 2"),
        (wide(a=[1j] * 4), {}, r"hold no numbers: \['a'\]"),
        (long().set_index(["unique_id", "ds"]), {}, r"ids in its index.*reset_index"),
        (long().set_index("unique_id"), {}, r"ids in its index.*reset_index"),
    ],
)
def test_refused_frames(frame, arguments, match):
    with pytest.raises(ValueError, match=match):
        read_panel(frame, **arguments)


def test_all_missing_column_is_refused_at_fit_only():
    frame = wide(a=1.0, b=np.nan)
    assert np.isnan(read_panel(frame)[None].values[:, 1]).all()
    with pytest.raises(ValueError, match=r"column 'b' has no observed value in any of its 4 rows"):
        read_panel(frame, require_observed=True)
    frame = long().assign(y=[1.0, np.nan] * 3)
    with pytest.raises(ValueError, match=r"column 'y', id 'a' has no observed value"):
        read_panel(frame, require_observed=True)


@backends
def test_long_frame_interleaved(backend):
    panel = read_panel(as_backend(long(), backend), future_covariates="x")
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
def test_etth1_reads_alike_from_every_backend():
    path = Path(os.environ["TITANS_TS_DATA"]) / "series" / "ETTh1.csv"
    frame = pd.read_csv(path, parse_dates=["date"])
    for backend in ("pandas", "polars", "pyarrow"):
        panel = read_panel(as_backend(frame, backend), time_column="date", require_observed=True)
        assert (panel.layout.frequency, panel.rows) == ("h", 17_420)
        np.testing.assert_array_equal(panel[None].values, frame.drop(columns="date").to_numpy())
    with pytest.raises(ValueError, match=r"hold no numbers: \['date'\].*time_column='date'"):
        read_panel(pd.read_csv(path))
