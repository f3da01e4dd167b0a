"""Categories become numbers by what training rows hold, whatever library holds them."""

import json
import time

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from titans_ts.frames.covariates.categories import MOST_VALUES, learn_categories
from titans_ts.frames.future import read_future
from titans_ts.frames.panel import Layout
from titans_ts.frames.read import read_panel

DAYS = pd.date_range("2024-01-01", periods=6)
WORDS = ["b", "a", "b", "c", "b", "a"]


def frame(kind, **more):
    return pd.DataFrame({"ds": DAYS[: len(kind)], "y": 1.0, "kind": kind, **more})


def learned(X, rows=None, **roles):
    panel = read_panel(X, target_columns="y", **(roles or {"past_covariates": "kind"}))
    return learn_categories(panel, [len(one) if rows is None else rows for one in panel])


AS = {
    "objects": lambda x: x,
    "strings of pandas": lambda x: x.astype({"kind": "string"}),
    "a category of pandas": lambda x: x.astype({"kind": "category"}),
    "strings of Arrow in pandas": lambda x: x.astype({"kind": pd.ArrowDtype(pa.large_string())}),
    "strings of polars": pl.from_pandas,
    "a categorical of polars": lambda x: pl.from_pandas(x).with_columns(pl.col("kind").cast(pl.Categorical)),
    "an enumeration of polars": lambda x: pl.from_pandas(x).with_columns(pl.col("kind").cast(pl.Enum(["c", "b", "a"]))),
    "strings of Arrow": lambda x: pa.Table.from_pandas(x),
    "a dictionary of Arrow": lambda x: pa.Table.from_pandas(x).set_column(
        2, "kind", pa.array(x["kind"]).dictionary_encode()
    ),
}


@pytest.mark.parametrize("container", AS)
def test_each_value_has_a_column_in_every_library(container):
    panel = learned(AS[container](frame(WORDS)))
    (known,) = panel.layout.categories
    assert known.values == ("b", "a", "c")  # the commonest first
    assert known.shares == (3 / 6, 2 / 6, 1 / 6)
    np.testing.assert_array_equal(panel[None].past, np.eye(3)[[0, 1, 0, 2, 0, 1]])
    again = read_panel(AS[container](frame(WORDS)), like=panel.layout)
    np.testing.assert_array_equal(again[None].past, panel[None].past)
    assert not again.unseen


@pytest.mark.parametrize("container", AS)
def test_a_missing_past_category_is_missing_in_each_of_its_columns(container):
    panel = learned(AS[container](frame(["b", None, "a"])))
    np.testing.assert_array_equal(panel[None].past, [[0, 1], [np.nan, np.nan], [1, 0]])


def test_numbers_in_a_category_are_categories_and_known_again_as_numbers_or_text():
    panel = learned(frame(pd.Categorical([10, 2, 10])))
    assert panel.layout.categories[0].values == ("10", "2")
    for same in ([10, 2, 10], [10.0, 2.0, 10.0], ["10", "2", "10"]):
        np.testing.assert_array_equal(read_panel(frame(same), like=panel.layout)[None].past, panel[None].past)


def test_booleans_stay_one_column_of_numbers():
    panel = learned(frame([True, False, True]))
    assert panel.layout.categories == ()
    assert panel[None].past.tolist() == [[1], [0], [1]]


def test_only_training_rows_teach_and_the_order_of_series_does_not_count():
    X = pd.concat([frame(WORDS, unique_id=1), frame(["c", "c", "c", "d", "d", "d"], unique_id=2)])
    with pytest.warns(UserWarning, match=r"X has categories that no training row had: 'kind' \('d'\)"):
        panel = learned(X, 3)
    with pytest.warns(UserWarning, match=r"\('d'\)"):
        other = learned(X[::-1].sort_values("ds", kind="stable"), 3)
    assert panel.layout.categories == other.layout.categories
    assert panel.layout.categories[0].values == ("c", "b", "a")
    np.testing.assert_allclose(panel[2].past[3], panel.layout.categories[0].shares)  # an average row


def test_what_was_never_seen_counts_as_average_and_is_noted_by_column():
    like = learned(
        frame(WORDS, size=list("xyxyxy")), past_covariates=["kind"], static_covariates=[], future_covariates="size"
    ).layout
    panel = read_panel(frame(["b", "new"], size=["z", "x"]), like=like)
    assert panel.unseen == {"kind": ("new",), "size": ("z",)}
    np.testing.assert_allclose(panel[None].past, [[1, 0, 0], [3 / 6, 2 / 6, 1 / 6]])
    np.testing.assert_allclose(panel[None].future, [[0.5, 0.5], [1, 0]])


def test_of_many_values_the_rarer_share_a_column():
    words = [f"w{i:02}" for i in range(40)]
    rows = words + words[:35]
    X = pd.DataFrame({"ds": pd.date_range("2024", periods=75), "y": 1.0, "kind": rows})
    (known,) = learned(X).layout.categories
    assert known.width == MOST_VALUES == 32
    assert (known.values[0], known.values[-1], known.rare[0], known.rare[-1]) == ("w00", "w30", "w31", "w39")
    assert sum(known.shares) == pytest.approx(1)
    panel = read_panel(frame(["w39", "w31", "w00"]), like=learned(X).layout)
    assert panel[None].past.argmax(1).tolist() == [31, 31, 0]
    assert not panel.unseen


def test_what_training_learned_goes_through_json():
    layout = learned(frame(WORDS)).layout
    assert Layout.from_dict(json.loads(json.dumps(layout.to_dict()))) == layout
    old = {key: value for key, value in layout.to_dict().items() if key not in ("categories", "holidays", "static_apart")}
    assert Layout.from_dict(old).categories == ()


@pytest.mark.parametrize(
    ("X", "roles", "message"),
    [
        (
            frame(["a", None, "b"]),
            {"future_covariates": "kind"},
            "NaN in row 1, column 'kind'; a future covariate must be known",
        ),
        (frame(["a", "a", "b"]), {"static_covariates": "kind"}, "static covariate 'kind' changes to 'b' in row 2"),
        (frame(["a", 1, "b"]), {"past_covariates": "kind"}, r"\['kind'\] do not hold numbers, text or categories"),
        (frame([["a"], ["b"]]), {"past_covariates": "kind"}, r"\['kind'\] do not hold numbers, text or categories"),
    ],
)
def test_categories_that_cannot_be_used_are_refused_by_place(X, roles, message):
    with pytest.raises(ValueError, match=message):
        read_panel(X, target_columns="y", **roles)


def test_future_categories_are_those_of_fit():
    layout = learned(frame(WORDS), future_covariates="kind").layout
    later = frame(["c", "new", "b"]).assign(ds=DAYS[-1] + pd.to_timedelta([1, 2, 3], "D"))
    last = {None: np.datetime64(DAYS[-1], "ns")}
    with pytest.warns(UserWarning, match=r"future has categories that no training row had: 'kind' \('new'\)"):
        found = read_future(later.drop(columns="y"), layout, last, 3)[None]
    np.testing.assert_allclose(found, [[0, 0, 1], layout.categories[0].shares, [1, 0, 0]])
    with pytest.raises(ValueError, match="future has nan in row 1, column 'kind'; a future covariate must be known"):
        read_future(later.assign(kind=["c", None, "b"]), layout, last, 3)
    with pytest.raises(ValueError, match=r"future: the columns \['kind'\] do not hold numbers or text, as they did at fit"):
        read_future(later.assign(kind=later["ds"]), layout, last, 3)
    with pytest.raises(TypeError, match=r"future is no frame, but \['kind'\] hold categories; pass a frame"):
        read_future(np.ones((3, 1)), layout, last, 3)


def test_a_category_for_each_of_many_series_is_learned_in_no_time():
    """A store's name, held by one series each: labels are looked up once, not once a series."""
    names = [f"store {i}" for i in range(3000)]
    frame = pd.DataFrame(
        {"unique_id": np.repeat(names, 2), "ds": np.tile([1, 2], 3000), "y": 1.0, "name": np.repeat(names, 2)}
    )
    panel = read_panel(frame, static_covariates="name")
    began = time.process_time()
    found = learn_categories(panel, [2] * len(names))
    assert time.process_time() - began < 1
    assert found.layout.n_static == len(found.series[-1].static) == 32
