"""Rows that say by their index, or by their order, where they belong."""

import numpy as np
import pandas as pd
import pytest
from series.estimator_cases import long_frame, wave
from sklearn.model_selection import TimeSeriesSplit, cross_val_score

from titans_ts import MemoryState, MemoryStore, TitansForecaster, load

TINY = {"horizon": 3, "lookback": 14, "patch_length": 4, "layers": 0, "max_steps": 1, "random_state": 0}


def fitted(X, **arguments):
    return TitansForecaster(**TINY, **arguments).fit(X)


def table(index):
    return pd.DataFrame({"y": wave(len(index), 1)[:, 0]}, index=index)


@pytest.mark.parametrize("start", [0, 1960])
def test_slices_of_a_frame_of_whole_numbers_are_read_like_the_frame(start):
    frame = table(pd.RangeIndex(start, start + 100))
    forecaster = fitted(frame[:80])
    whole = forecaster.predict(frame)
    assert whole.index.tolist() == [start + 100, start + 101, start + 102]
    pieces = (frame[at : at + 7] for at in range(0, 100, 7))
    others = [forecaster.predict(pieces), forecaster.update(frame[80:93]).update(frame[93:]).predict()]
    forecaster.forget()
    for at in range(0, 100, 13):
        forecaster.update(frame[at : at + 13])
    for other in (*others, forecaster.predict()):
        pd.testing.assert_frame_equal(other, whole, rtol=1e-5)
    assert forecaster.last_times_ == {None: start + 99}
    with pytest.raises(ValueError, match=f"row 0 .{start + 95}. is not after the last absorbed time stamp {start + 99}"):
        forecaster.update(frame[95:])


def test_a_model_of_the_default_index_goes_on_where_another_slice_ends():
    frame = table(pd.RangeIndex(200))
    forecaster = fitted(frame[:80])
    whole = forecaster.predict(frame[120:])
    assert whole.index.tolist() == [200, 201, 202]
    found = forecaster.forget().update(frame[120:150]).update(frame[150:193]).update(frame[193:].to_numpy()).predict()
    np.testing.assert_allclose(found, whole, rtol=1e-5)
    assert found.index.tolist() == [200, 201, 202]


def test_chunks_of_a_file_follow_what_was_read():
    frame = table(pd.RangeIndex(100))
    numbered = [frame[at : at + 15] for at in range(0, 100, 15)]  # as pandas.read_csv(chunksize=15) numbers them
    each_from_0 = [chunk.reset_index(drop=True) for chunk in numbered]
    forecaster = fitted(frame[:80])
    expected = fitted(frame[:80]).update(frame.to_numpy()).predict()
    for chunks in (numbered, each_from_0):
        pd.testing.assert_frame_equal(fitted(frame[:80]).update(iter(chunks)).predict(), expected, rtol=1e-5)
    pd.testing.assert_frame_equal(forecaster.predict(iter(numbered)), forecaster.predict(iter(each_from_0)), rtol=1e-5)


@pytest.mark.parametrize("start", [0, 1900])
def test_folds_of_scikit_learn_are_scored(start):
    frame, forecaster = table(pd.RangeIndex(start, start + 60)), TitansForecaster(**TINY)
    (train, test), *_ = folds = list(TimeSeriesSplit(2).split(frame))
    scores = cross_val_score(forecaster, frame, cv=folds, error_score="raise")
    by_hand = forecaster.fit(frame.to_numpy()[train]).score(frame.to_numpy()[test])
    np.testing.assert_allclose(scores[0], by_hand, rtol=1e-5)
    with pytest.warns(UserWarning, match="5 missing rows"):
        assert forecaster.fit(frame.iloc[train]).score(frame.iloc[test[5:]]) < 0


def test_rows_in_any_order_give_what_rows_in_order_give():
    frame = long_frame(pd.date_range("2024", periods=100, freq="h"))
    first, later = frame[:160].sort_values(["unique_id", "ds"]), frame[160:]
    forecaster = fitted(first)
    expected = forecaster.update(later).predict()
    mixed = fitted(first.sample(frac=1, random_state=0)).update(later.sample(frac=1, random_state=1)).predict()
    for name in ("west", "east"):
        one, other = (x[x["unique_id"] == name].reset_index(drop=True) for x in (expected, mixed))
        pd.testing.assert_frame_equal(one, other, rtol=1e-5)
    with pytest.raises(ValueError, match=r"goes back from .* X is read in pieces.*: sort it by time stamp first"):
        forecaster.predict(iter([frame.sample(frac=1, random_state=0)]))
    with pytest.raises(ValueError, match=r"is not after .* X is read in pieces.*: sort it by time stamp first"):
        forecaster.predict(iter([frame[100:], frame[:100]]))


def test_newest_first_gives_what_oldest_first_gives():
    frame = table(pd.date_range("2024", periods=60))
    with pytest.warns(UserWarning, match="they were sorted by its index") as told:
        found = fitted(frame[::-1]).predict()
    assert len(told) == 1
    pd.testing.assert_frame_equal(found, fitted(frame).predict())


def panel_of(first, rows, ids=(("north", 1), ("south", 2)), names=("region", "shop", "day")):
    days = pd.date_range(first, periods=rows)
    parts = [pd.DataFrame({"target": wave(rows, 1, seed)[:, 0], "price": 1.0}) for seed, _ in enumerate(ids)]
    index = pd.MultiIndex.from_tuples([(*id_, day) for id_ in ids for day in days], names=names)
    return pd.concat(parts).set_axis(index)


@pytest.fixture(scope="module")
def shops():
    return fitted(panel_of("2024-01-01", 60))


def test_every_answer_about_a_hierarchy_speaks_of_its_levels(shops, tmp_path):
    later = panel_of("2024-03-01", 30)
    assert shops.layout_.target_columns == ("target",)
    forecast = shops.predict()
    assert forecast.index.names == later.index.names
    pd.testing.assert_index_equal(forecast.index, panel_of("2024-03-01", 3).index)
    pd.testing.assert_frame_equal(shops.predict(panel_of("2024-01-01", 60)), forecast, rtol=1e-5)
    shops.save(tmp_path / "shops.titans")
    again = load(tmp_path / "shops.titans")
    assert list(again.states_) == [("north", 1), ("south", 2)]
    pd.testing.assert_frame_equal(again.predict(), forecast)
    state = again.state_["north", 1]
    state.save(tmp_path / "north.state")
    assert MemoryState.load(tmp_path / "north.state").id == ("north", 1)
    expected = again.update(later).predict()
    assert expected.index[0] == ("north", 1, pd.Timestamp("2024-03-31"))
    with pytest.raises(ValueError, match=r"row 0, id \('north', 1\) .* is not after"):
        again.update(later)
    forecasts, metrics = again.backtest(panel_of("2024-01-01", 60), windows=2)
    assert set(forecasts["unique_id"]) == set(metrics["unique_id"]) == {("north", 1), ("south", 2)}
    assert again.forget(("north", 1)).n_seen_ == {("north", 1): 0, ("south", 2): 90}
    again.remember(state).forget([("south", 2)])
    assert again.n_seen_ == {("north", 1): 60, ("south", 2): 0}


def test_a_store_keeps_series_of_a_hierarchy(shops, tmp_path):
    with MemoryStore(tmp_path / "shops.memory", shops) as store:
        store.update(panel_of("2024-01-01", 60)).update(panel_of("2024-03-01", 30)[::-1])
    with MemoryStore(tmp_path / "shops.memory", shops) as store:
        assert store.n_seen_ == {("north", 1): 90, ("south", 2): 90}
        found = store.predict(("south", 2))
    assert found.index.tolist() == [("south", 2, day) for day in pd.date_range("2024-03-31", periods=3)]


class Items(pd.DataFrame):
    """A frame like AutoGluon's TimeSeriesDataFrame."""

    @property
    def _constructor(self):
        return Items


def test_a_panel_as_autogluon_has_it_needs_no_argument():
    names, ids = ("item_id", "timestamp"), (("a",), ("b",))
    frame = Items(panel_of("2024-01-01", 60, ids, names))
    forecaster = fitted(frame, future_covariates="price")
    out = forecaster.predict(future=forecaster.future_frame().assign(price=1.0))
    pd.testing.assert_index_equal(out.index, panel_of("2024-03-01", 3, ids, names).index)
    assert (list(out), forecaster.layout_.id_column) == (["target"], "item_id")
