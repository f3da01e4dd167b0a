"""Static covariates from a frame of their own, by id."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from frames.cases import long

from titans_ts.frames.covariates.categories import learn_categories
from titans_ts.frames.covariates.static import read_static
from titans_ts.frames.faults import Faults
from titans_ts.frames.read import read_panel

STATIC = pd.DataFrame({"unique_id": ["a", "z", "b"], "size": [1.0, 3.0, 2.0], "kind": ["x", "w", "y"]})


def learned(static=STATIC, **more):
    panel = read_panel(long(), static=static, **more)
    return learn_categories(panel, [len(one) for one in panel])


@pytest.mark.parametrize(
    "static",
    [STATIC, STATIC.set_index("unique_id"), pl.from_pandas(STATIC), pa.Table.from_pandas(STATIC)],
    ids=lambda x: type(x).__module__,
)
def test_each_series_has_what_its_row_says(static):
    panel = learned(static)
    assert panel["a"].static.tolist() == [1, 1, 0]
    assert panel["b"].static.tolist() == [2, 0, 1]
    assert panel.layout.static_columns == ("size", "kind")
    with pytest.warns(UserWarning, match=r"static has categories that no training row had: 'kind' \('w'\)"):
        known = read_static(static, panel.layout)
    assert known["a"].tolist() == [1, 1, 0]
    assert known["z"].tolist() == [3, 0.5, 0.5]


def test_columns_may_be_chosen_and_a_list_of_arrays_has_numbers_for_ids():
    assert learned(static_covariates="kind")["b"].static.tolist() == [0, 1]
    panel = read_panel([np.ones(3), np.ones(4)], static=pd.DataFrame({"size": [5.0, 6.0]}))
    assert [one.static.tolist() for one in panel] == [[5], [6]]


def test_ids_of_a_multiindex_are_found_in_the_column_that_is_called_as_their_level():
    X = long().rename(columns={"unique_id": "item_id"}).set_index(["item_id", "ds"])
    panel = read_panel(X, static=STATIC.rename(columns={"unique_id": "item_id"}))
    assert panel.layout.static_columns == ("size", "kind")
    assert (panel["a"].static[0], panel["b"].static[0]) == (1, 2)


def test_rows_for_a_fitted_model_wait_for_their_static_covariates():
    like = learned().layout
    assert np.isnan(read_panel(long(), like=like)["a"].static).all()
    assert len(read_panel(long(), like=like)["a"].static) == 3


@pytest.mark.parametrize(
    ("static", "more", "message"),
    [
        (STATIC[:1], {}, "static has no row for the ids 'b' of X; add them"),
        (
            STATIC.assign(unique_id=[1, 2, 3]),
            {},
            "no row for the ids 'b', 'a' of X .ids are of type str in X, not so in static",
        ),
        (
            STATIC.drop(columns="unique_id"),
            {},
            "static has no column 'unique_id', and no id of X in its index; .*'size', 'kind'.: name the column of its ids",
        ),
        (pd.concat([STATIC, STATIC[:1]]), {}, "static has the id 'a' twice, in rows 0 and 3"),
        (
            STATIC.assign(size=[np.nan, 1, 3]),
            {},
            "static has nan in column 'size', id 'a'; a static covariate must be known",
        ),
        (STATIC.assign(kind=["x", "y", None]), {}, "static has nan in column 'kind', id 'b'"),
        (STATIC.assign(unique_id=["a", None, "b"]), {}, "static has no id in row 1"),
        (STATIC.assign(size=[[1], [2], [3]]), {}, r"static: the columns \['size'\] hold neither numbers nor text"),
        (STATIC, {"static_covariates": "x"}, r"static_covariates names \['x'\], which static does not have"),
        (STATIC[["unique_id"]], {}, "static has no column beside 'unique_id'"),
        (pl.from_pandas(STATIC).drop("unique_id"), {}, "static has no column 'unique_id' of ids"),
    ],
)
def test_a_wrong_static_frame_is_refused_by_id(static, more, message):
    with pytest.raises(ValueError, match=message):
        read_panel(long(), static=static, **more)


def test_what_is_no_frame_and_a_single_series_are_refused():
    with pytest.raises(TypeError, match="static is a dict; expected a frame of pandas, polars or pyarrow"):
        read_panel(long(), static={"a": 1})
    with pytest.raises(ValueError, match="X holds one series alone; leave static out"):
        read_panel(np.ones(5), static=STATIC)
    with pytest.raises(ValueError, match="static was given, but the model was fitted without"):
        read_static(STATIC, read_panel(long()).layout)
    with pytest.raises(ValueError, match=r"static lacks the columns \['kind'\] seen at fit"):
        read_static(STATIC.drop(columns="kind"), learned().layout)
    with pytest.raises(ValueError, match=r"static: the columns \['size'\] hold no numbers, as they did at fit"):
        read_static(STATIC.assign(size="big"), learned().layout)


def test_series_without_a_row_may_be_left_out():
    faults = Faults(skip=True)
    panel = read_panel(long(), static=STATIC[:1], faults=faults)
    assert [one.id for one in panel] == ["a"]
    assert faults.reasons == {"b": "static has no row for the ids 'b' of X; add them"}
