"""Folds that are cut in time: held to scikit-learn's ``TimeSeriesSplit`` on the time stamps of all series together."""

from datetime import timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from series.estimator_cases import wave
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, check_cv, cross_val_score, cross_validate

from titans_ts import TitansForecaster, make_panel
from titans_ts.frames.splits import PanelTimeSeriesSplit

at_leisure = settings(deadline=None)  # a machine may be busy
DAYS = pd.date_range("2024-01-01", periods=40, freq="D")

sizes = st.fixed_dictionaries(
    {
        "n_splits": st.integers(1, 4),
        "test_size": st.none() | st.integers(1, 3),
        "gap": st.integers(0, 3),
        "max_train_size": st.none() | st.integers(1, 6),
    }
)


@st.composite
def panels(draw):
    """Series of some of the days each, their rows in any order."""
    observed = draw(st.lists(st.sets(st.integers(0, 17), min_size=1), min_size=1, max_size=3))
    rows = [(f"series {i}", DAYS[day], 100.0 * i + day) for i, days in enumerate(observed) for day in sorted(days)]
    return pd.DataFrame(draw(st.permutations(rows)), columns=["unique_id", "ds", "y"])


def periods_of_scikit_learn(stamps, *, n_splits, **arguments):
    """The stamps of every fold by ``TimeSeriesSplit``, or None where it refuses them.

    It refuses a single split and takes too short ones for none; a single one is the last of two in which it would fit.
    """
    stamps = np.asarray(stamps)
    size = arguments.pop("test_size") or len(stamps) // (n_splits + 1)
    if not size or len(stamps) - arguments["gap"] - size * n_splits <= 0:
        return None
    padded = np.concatenate([np.repeat(stamps[:1], size), stamps]) if n_splits == 1 else stamps
    folds = list(TimeSeriesSplit(max(n_splits, 2), test_size=size, **arguments).split(padded))[-n_splits:]
    return [(set(padded[train]), set(padded[test])) for train, test in folds]


def picked(frame, rows):
    return list(frame.iloc[rows][["unique_id", "ds"]].itertuples(index=False, name=None))


@at_leisure
@given(panels(), sizes)
def test_folds_of_a_panel_are_those_of_scikit_learn_on_all_time_stamps(panel, arguments):
    expected = periods_of_scikit_learn(sorted(panel["ds"].unique()), **arguments)
    splitter = PanelTimeSeriesSplit(**arguments)
    if expected is None:
        with pytest.raises(ValueError, match=f"n_splits={arguments['n_splits']}"):
            splitter.split(panel)
        return
    folds = list(splitter.split(panel))
    assert len(folds) == splitter.get_n_splits(panel) == arguments["n_splits"]
    for (train, test), (known, asked) in zip(folds, expected, strict=True):
        np.testing.assert_array_equal(np.sort(train), np.flatnonzero(panel["ds"].isin(known)))
        np.testing.assert_array_equal(np.sort(test), np.flatnonzero(panel["ds"].isin(asked)))


@at_leisure
@given(panels(), sizes)
def test_no_series_is_trained_on_what_another_is_tested_on_or_later(panel, arguments):
    if periods_of_scikit_learn(sorted(panel["ds"].unique()), **arguments) is None:
        return
    stamps, seen = np.sort(panel["ds"].unique()), []
    for train, test in PanelTimeSeriesSplit(**arguments).split(panel):
        last, first = panel["ds"].iloc[train].max(), panel["ds"].iloc[test].min()
        assert ((last < stamps) & (stamps < first)).sum() == arguments["gap"]
        for part in (train, test):
            for _, days in panel.iloc[part].groupby("unique_id")["ds"]:
                assert days.is_monotonic_increasing, "the forecaster asks for rows in order"
        seen.append(test)
    assert len(np.unique(np.concatenate(seen))) == sum(map(len, seen)), "no row is tested twice"
    assert all(panel["ds"].iloc[a].max() < panel["ds"].iloc[b].min() for a, b in pairwise(seen))


@at_leisure
@given(panels(), sizes, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(panel, arguments, chance):
    if periods_of_scikit_learn(sorted(panel["ds"].unique()), **arguments) is None:
        return
    shuffled = panel.iloc[chance.sample(range(len(panel)), len(panel))]
    for one, other in zip(
        PanelTimeSeriesSplit(**arguments).split(panel), PanelTimeSeriesSplit(**arguments).split(shuffled), strict=True
    ):
        for before, after in zip(one, other, strict=True):
            assert sorted(picked(panel, before)) == sorted(picked(shuffled, after))


@at_leisure
@given(st.integers(1, 20), sizes.filter(lambda arguments: arguments["n_splits"] > 1))
def test_one_series_is_split_as_scikit_learn_splits_it(rows, arguments):
    try:
        expected = list(TimeSeriesSplit(**arguments).split(np.zeros(rows)))
    except ValueError:
        with pytest.raises(ValueError, match=f"n_splits={arguments['n_splits']}"):
            PanelTimeSeriesSplit(**arguments).split(np.zeros(rows))
        return
    frame = pd.DataFrame({"ds": DAYS[:rows], "load": 1.0})
    for X in (np.zeros(rows), np.zeros((rows, 3)), [0.0] * rows, [[0.0, 1.0]] * rows, frame, frame["load"]):
        found = list(PanelTimeSeriesSplit(**arguments).split(X))
        assert len(found) == len(expected)
        for fold, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(fold[0], wanted[0])
            np.testing.assert_array_equal(fold[1], wanted[1])


def same(one, other):
    one, other = list(one), list(other)
    return len(one) == len(other) and all(
        np.array_equal(a, b) for parts in zip(one, other, strict=True) for a, b in zip(*parts, strict=True)
    )


PANEL = make_panel(3, min_steps=20, max_steps=40, random_state=1).sample(frac=1.0, random_state=1, ignore_index=True)
SPLITTER = PanelTimeSeriesSplit(3, test_size=4, gap=2)


def test_series_by_series_is_how_scikit_learn_leaks():
    """The reason for this class, and that the check above can see it."""
    panel = PANEL.sort_values(["unique_id", "ds"], ignore_index=True)
    leaks = {
        type(splitter).__name__: any(panel["ds"][a].max() >= panel["ds"][b].min() for a, b in splitter.split(panel))
        for splitter in (TimeSeriesSplit(3), PanelTimeSeriesSplit(3))
    }
    assert leaks == {"TimeSeriesSplit": True, "PanelTimeSeriesSplit": False}


def test_every_kind_of_frame_is_split_alike(library):
    expected = list(SPLITTER.split(PANEL))
    assert all(len(train) and len(test) for train, test in expected)
    assert same(SPLITTER.split(library.frame(PANEL)), expected)
    renamed = library.frame(PANEL.rename(columns={"unique_id": "shop", "ds": "hour"}))
    named = PanelTimeSeriesSplit(3, test_size=4, gap=2, id_column="shop", time_column="hour")
    assert same(named.split(renamed), expected)


STAMPS = {
    "index": lambda frame: frame.set_index("ds"),
    "time zone": lambda frame: frame.assign(ds=frame["ds"].dt.tz_localize("Asia/Tokyo")),
    "periods": lambda frame: frame.assign(ds=frame["ds"].dt.to_period("h")),
    "whole numbers": lambda frame: frame.assign(ds=(frame["ds"] - frame["ds"].min()) // pd.Timedelta("1h")),
    "negative numbers": lambda frame: frame.assign(ds=(frame["ds"] - frame["ds"].max()) // pd.Timedelta("1h")),
    "seconds": lambda frame: frame.assign(ds=frame["ds"].astype("datetime64[s]")),
    "categories": lambda frame: frame.assign(unique_id=frame["unique_id"].astype("category")),
}


@pytest.mark.parametrize("kind", STAMPS)
def test_every_kind_of_time_stamp_is_split_alike(kind):
    assert same(SPLITTER.split(STAMPS[kind](PANEL)), SPLITTER.split(PANEL))


def test_a_wide_frame_is_one_series_by_its_time_stamps_or_else_its_rows(library):
    order = np.random.default_rng(0).permutation(30)
    frame = pd.DataFrame({"ds": DAYS[order], "a": 1.0, "b": 2.0})
    for train, test in PanelTimeSeriesSplit(4).split(library.frame(frame)):
        days = [*frame["ds"][train], *frame["ds"][test]]
        assert days == list(DAYS[: len(days)])
        assert len(test) == 6
    rows = library.frame(frame[["a", "b"]])
    assert same(PanelTimeSeriesSplit(4).split(rows), TimeSeriesSplit(4).split(np.zeros(30)))


@at_leisure
@given(panels(), sizes)
def test_spans_of_time_are_numbers_of_stamps_where_these_are_regular(panel, arguments):
    days = DAYS[:18]
    panel = pd.concat([panel, pd.DataFrame({"unique_id": "daily", "ds": days, "y": 0.0})], ignore_index=True)
    arguments["test_size"] = arguments["test_size"] or 3
    spans = {name: pd.Timedelta(days=n) if name != "n_splits" and n is not None else n for name, n in arguments.items()}
    if periods_of_scikit_learn(days, **arguments) is None:
        with pytest.raises(ValueError, match="leave none to train on in fold 0"):
            PanelTimeSeriesSplit(**spans).split(panel)
        return
    expected = list(PanelTimeSeriesSplit(**arguments).split(panel))
    assert same(PanelTimeSeriesSplit(**spans).split(panel), expected)
    one_of_each = {**spans, "gap": arguments["gap"]}
    assert same(PanelTimeSeriesSplit(**one_of_each).split(panel), expected)


def test_a_span_of_time_is_kept_where_days_are_missing():
    days = DAYS[:21].delete([6, 13, 19])  # of three weeks
    series = pd.DataFrame({"ds": days, "y": 1.0})
    found = [
        (days[train[0]].day, days[train[-1]].day, days[test[0]].day, days[test[-1]].day)
        for train, test in PanelTimeSeriesSplit(
            2, test_size=timedelta(days=7), gap=np.timedelta64(36, "h"), max_train_size=timedelta(days=4)
        ).split(series)
    ]
    assert found == [(2, 5, 8, 13), (9, 12, 15, 21)], "weeks that end on the 14th and 21st, known until 36 hours before"


def test_samples_are_split_by_groups_and_times():
    """Samples in any container: groups and times say what columns would."""
    frame = PANEL.assign(ds=PANEL["ds"].dt.tz_localize("Europe/Paris", nonexistent="shift_forward"))
    expected = list(SPLITTER.split(frame))
    ids, times = frame["unique_id"], frame["ds"]
    windows = [np.zeros((5, 2))] * len(frame)
    for X in (windows, np.zeros((len(frame), 2, 5)), np.zeros((len(frame), 5)), ["ACGT"] * len(frame), frame[["y"]]):
        assert same(SPLITTER.split(X, groups=ids, times=times), expected)
    for groups in (list(ids), ids.to_numpy(), pl.Series(list(ids)), pd.factorize(ids)[0]):
        for stamps in (list(times), pl.Series(list(times)), times.dt.tz_localize(None).to_numpy()):
            assert same(SPLITTER.split(windows, None, groups, times=stamps), expected)
    with_times = frame[["ds", "y"]]
    assert same(SPLITTER.split(with_times, groups=ids), expected)


@at_leisure
@given(st.lists(st.integers(0, 4), min_size=6, max_size=40), sizes)
def test_without_times_the_samples_of_a_group_are_in_order(groups, arguments):
    groups = np.array(groups)
    rank = np.array([np.sum(groups[:i] == groups[i]) for i in range(len(groups))])
    windows = [np.zeros((3, 1))] * len(groups)
    expected = periods_of_scikit_learn(np.unique(rank), **arguments)
    splitter = PanelTimeSeriesSplit(**arguments)
    if expected is None:
        with pytest.raises(ValueError, match=f"n_splits={arguments['n_splits']}"):
            splitter.split(windows, groups=groups)
        return
    for (train, test), (known, asked) in zip(splitter.split(windows, groups=groups), expected, strict=True):
        np.testing.assert_array_equal(np.sort(train), np.flatnonzero(np.isin(rank, list(known))))
        np.testing.assert_array_equal(np.sort(test), np.flatnonzero(np.isin(rank, list(asked))))
        for group in np.unique(groups[test]):
            assert (np.flatnonzero(groups == group)[: np.sum(groups[train] == group)] < test[groups[test] == group][0]).all()


@pytest.mark.parametrize(("length", "step"), [(5, 5), (5, 2), (6, 3), (4, 1), (3, 5)])
def test_the_gap_that_is_advised_keeps_windows_apart(length, step):
    """Windows of the training part share no row with those of the test period, and with less of a gap they do."""
    starts = np.arange(0, 60, step)
    windows = [np.arange(start, start + length)[:, None] for start in starts]
    gap = -(-length // step) - 1
    shared = {}
    for size in range(gap + 1):
        folds = PanelTimeSeriesSplit(3, test_size=2, gap=size).split(windows, groups=np.zeros(len(windows)))
        shared[size] = any(np.intersect1d([windows[i] for i in a], [windows[i] for i in b]).size for a, b in folds)
    assert [size for size, leaks in shared.items() if not leaks] == [gap]


def score_of_forecasts(forecaster, X, y=None):
    """The negative mean absolute error over rows that were forecast."""
    forecasts = forecaster.predict()
    if not isinstance(X, pd.DataFrame):
        X, forecasts = X.to_pandas(), forecasts.to_pandas()
    both = X.merge(forecasts, on=["unique_id", "ds"], suffixes=("", "_forecast"))
    assert len(both) == len(X), "the horizon reaches to the end of the test period"
    return -float((both["y"] - both["y_forecast"]).abs().mean())


def hourly(rows=(150, 150, 130)):
    hours = pd.date_range("2024-02-01", periods=max(rows), freq="h")
    parts = [
        pd.DataFrame({"unique_id": f"site {i}", "ds": hours[-n:], "y": wave(n, 1, seed=i)[:, 0]}) for i, n in enumerate(rows)
    ]
    return pd.concat(parts, ignore_index=True)


def quick(**arguments):
    small = {"horizon": 8, "lookback": 24, "patch_length": 8, "layers": 0, "random_state": 0, "callbacks": [few_steps]}
    return TitansForecaster(**{**small, **arguments})


def few_steps(_run, report):
    return report.step >= 30  # by then a forecast is no longer the untrained one


LOOKBACKS = [8, 24]


def spreads_apart(forecaster, known, asked):
    """The negative mean absolute error over rows that were forecast, in spreads of each site's rows of training."""
    forecasts = forecaster.predict()
    both = asked.merge(forecasts, on=["unique_id", "ds"], suffixes=("", "_forecast"))
    assert len(both) == len(asked)
    rows = {name: len(y) - int(len(y) * forecaster.validation_fraction) for name, y in known.groupby("unique_id")["y"]}
    spreads = {name: y.iloc[: rows[name]].std(ddof=0) for name, y in known.groupby("unique_id")["y"]}
    return -float(((both["y"] - both["y_forecast"]).abs() / both["unique_id"].map(spreads)).mean())


@pytest.fixture(scope="module")
def scores_by_hand():
    """What a forecaster scores on the hours 138..143 and 144..149 when it knows what was 2 hours before and earlier."""
    panel, scores = hourly(), {"a function": [], "its own": []}
    hours = np.sort(panel["ds"].unique())
    for first in (138, 144):
        known, asked = panel[panel["ds"] < hours[first - 2]], panel[panel["ds"].isin(hours[first : first + 6])]
        fitted = [quick(lookback=n).fit(known) for n in LOOKBACKS]
        scores["a function"].append([score_of_forecasts(one, asked) for one in fitted])
        scores["its own"].append([spreads_apart(one, known, asked) for one in fitted])
    assert all(len(np.unique(found)) == 4 for found in scores.values())
    return {name: np.array(found) for name, found in scores.items()}


@pytest.mark.filterwarnings("ignore:X. 6 missing rows were filled with NaN:UserWarning")  # the gap, where score reads on
@pytest.mark.parametrize("frame", ["pandas", "polars", "by time", "shuffled"])
def test_a_forecaster_is_searched_on_a_panel(frame, scores_by_hand):
    """By its own score alone as a search does without `scoring`, and in other frames by a function beside it."""
    panel = hourly()
    X = {
        "pandas": lambda: panel,
        "polars": lambda: pl.from_pandas(panel),
        "by time": lambda: panel.sort_values("ds", kind="stable"),
        "shuffled": lambda: panel.sample(frac=1.0, random_state=0).sort_values("unique_id", kind="stable"),
    }[frame]()
    both = {"a function": score_of_forecasts, "its own": TitansForecaster.score}
    search = GridSearchCV(
        quick(),
        {"lookback": LOOKBACKS},
        scoring=None if frame == "pandas" else both,
        cv=PanelTimeSeriesSplit(2, test_size=6, gap=2),
        refit=frame == "pandas",
        error_score="raise",
    ).fit(X)
    for name in ["its own"] if frame == "pandas" else both:
        suffix = "score" if frame == "pandas" else name
        found = np.array([search.cv_results_[f"split{k}_test_{suffix}"] for k in range(2)])
        np.testing.assert_allclose(found, scores_by_hand[name], rtol=1e-6)
    if frame == "pandas":
        best = scores_by_hand["its own"].mean(axis=0).argmax()
        assert search.best_params_ == {"lookback": LOOKBACKS[best]}
        assert search.best_estimator_.n_seen_ == {"site 0": 150, "site 1": 150, "site 2": 130}


def test_what_comes_later_changes_no_forecast_of_a_fold():
    """End to end: a forecaster of a fold cannot know what its test period, or any later row of any series, holds."""
    panel = hourly()
    cutoff = panel["ds"].max() - pd.Timedelta("12h")
    forecasts = []
    for y in (panel["y"], panel["y"].where(panel["ds"] <= cutoff, 1e6)):
        changed = panel.assign(y=y)
        folds = PanelTimeSeriesSplit(2, test_size=6).split(changed)
        fold = cross_validate(
            quick(), changed, cv=[next(folds)], scoring=score_of_forecasts, return_estimator=True, error_score="raise"
        )
        forecasts.append(fold["estimator"][0].predict()["y"].to_numpy())
    np.testing.assert_array_equal(*forecasts)
    assert np.isfinite(forecasts[0]).all()


def test_a_table_of_samples_is_cross_validated_with_groups_and_by_routing_with_times():
    features, target = wave(60, 4), wave(60, 1, seed=5)[:, 0]
    groups, times = np.tile(["a", "b", "c"], 20), np.repeat(np.arange(20), 3)
    shuffled = np.random.default_rng(0).permutation(60)
    expected = []
    for stamps in (range(10), range(15)):
        known, asked = np.isin(times, stamps), np.isin(times, np.arange(len(stamps), len(stamps) + 5))
        expected.append(Ridge().fit(features[known], target[known]).score(features[asked], target[asked]))
    splitter = PanelTimeSeriesSplit(2, test_size=5)
    by_rank = cross_val_score(Ridge(), features, target, groups=groups, cv=splitter)
    np.testing.assert_allclose(by_rank, expected)
    X, y, ids, when = features[shuffled], target[shuffled], groups[shuffled], times[shuffled]
    by_list = cross_val_score(Ridge(), X, y, cv=list(splitter.split(X, groups=ids, times=when)))
    np.testing.assert_allclose(by_list, expected)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = cross_val_score(Ridge(), X, y, params={"groups": ids, "times": when}, cv=splitter)
        search = GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=splitter).fit(X, y, groups=ids, times=when)
    np.testing.assert_allclose(routed, expected)
    np.testing.assert_allclose(search.best_score_, np.mean(expected))


def test_it_is_a_cross_validator():
    splitter = PanelTimeSeriesSplit(3, test_size=2)
    assert check_cv(splitter) is splitter
    assert splitter.get_n_splits() == 3
    arguments = "gap=0, id_column='unique_id', max_train_size=None, n_splits=3, test_size=2, time_column='ds'"
    assert " ".join(repr(splitter).split()) == f"PanelTimeSeriesSplit({arguments})"
    folds = [*splitter.split(PANEL)]
    assert all(part.dtype == np.int64 for fold in folds for part in fold)
    assert same(folds, splitter.split(PANEL)), "the same every time"


DAILY = pd.DataFrame({"ds": DAYS[:10], "y": 1.0})
LONG = pd.concat([DAILY.assign(unique_id=name) for name in "ab"], ignore_index=True)


def with_value(frame, column, row, value):
    changed = frame.copy()
    changed.loc[row, column] = value
    return changed


WRONG = {
    "no split": (lambda: PanelTimeSeriesSplit(0).split(LONG), ValueError, "n_splits=0 must be a whole number, 1 or more"),
    "half a split": (lambda: PanelTimeSeriesSplit(2.5).get_n_splits(), ValueError, "n_splits=2.5 must be a whole number"),
    "a true split": (lambda: PanelTimeSeriesSplit(True).split(LONG), ValueError, "n_splits=True must be a whole number"),
    "a negative gap": (lambda: PanelTimeSeriesSplit(gap=-1).split(LONG), ValueError, "gap=-1 must be a whole number, 0 or"),
    "a gap back in time": (
        lambda: PanelTimeSeriesSplit(gap=timedelta(days=-1)).split(LONG),
        ValueError,
        r"gap=datetime.timedelta\(days=-1\) must be 0 or more",
    ),
    "a gap of text": (
        lambda: PanelTimeSeriesSplit(gap="1D").split(LONG),
        TypeError,
        "gap='1D' is a str; expected a number of time stamps, or a span of time as datetime.timedelta, pandas",
    ),
    "nothing to test": (lambda: PanelTimeSeriesSplit(test_size=0).split(LONG), ValueError, "test_size=0 must be a whole"),
    "no span to test": (
        lambda: PanelTimeSeriesSplit(test_size=np.timedelta64("NaT", "D")).split(LONG),
        ValueError,
        "test_size=np.timedelta64.'NaT','D'. must be positive",
    ),
    "a month": (
        lambda: PanelTimeSeriesSplit(test_size=np.timedelta64(1, "M")).split(LONG),
        ValueError,
        "test_size=np.timedelta64.1,'M'. has no length of its own; give days or hours, or a number",
    ),
    "nothing to train on": (
        lambda: PanelTimeSeriesSplit(max_train_size=0).split(LONG),
        ValueError,
        "max_train_size=0 must be a whole number, 1 or more",
    ),
    "a share to train on": (
        lambda: PanelTimeSeriesSplit(max_train_size=0.5).split(LONG),
        TypeError,
        "max_train_size=0.5 is a float",
    ),
    "a span of numbers": (
        lambda: PanelTimeSeriesSplit(gap=timedelta(days=1)).split(np.zeros(30)),
        ValueError,
        r"gap=datetime.timedelta\(days=1\) is a span of time, but the time stamps of X are whole numbers; give a number",
    ),
    "too few stamps": (
        lambda: PanelTimeSeriesSplit(10).split(LONG),
        ValueError,
        "n_splits=10 needs 11 distinct time stamps or more, .*; X has 10: take fewer splits",
    ),
    "too few stamps for the gap": (
        lambda: PanelTimeSeriesSplit(3, test_size=2, gap=4).split(LONG),
        ValueError,
        r"n_splits=3, test_size=2, gap=4: the 10 distinct time stamps of X, 2024-01-01 00:00:00 to 2024-01-10 00:00:00, "
        "leave none to train on in fold 0; take fewer splits, a smaller test_size or gap, or more rows",
    ),
    "too long a span": (
        lambda: PanelTimeSeriesSplit(3, test_size=timedelta(days=100_000)).split(LONG),
        ValueError,
        "leave none to train on in fold 0",
    ),
    "a span longer than any": (
        lambda: PanelTimeSeriesSplit(max_train_size=timedelta(days=200_000)).split(LONG),
        ValueError,
        r"max_train_size=datetime.timedelta\(days=200000\) is longer than 292 years",
    ),
    "an empty test period": (
        lambda: PanelTimeSeriesSplit(3, test_size=timedelta(days=1)).split(LONG[~LONG["ds"].isin(DAYS[8:9])]),
        ValueError,
        "X has no row in the test period of fold 1, after 2024-01-08 00:00:00 and up to 2024-01-09 00:00:00; make it longer",
    ),
    "an empty training part": (
        lambda: PanelTimeSeriesSplit(1, test_size=1, max_train_size=timedelta(hours=1), gap=timedelta(hours=2)).split(LONG),
        ValueError,
        "leave none to train on in fold 0",
    ),
    "no rows": (lambda: PanelTimeSeriesSplit().split(np.zeros((0, 2))), ValueError, "X is empty"),
    "an empty frame": (lambda: PanelTimeSeriesSplit().split(LONG[:0]), ValueError, "X is empty"),
    "a number": (lambda: PanelTimeSeriesSplit().split(3.0), TypeError, "X is a float; expected a long or wide frame"),
    "a scalar array": (lambda: PanelTimeSeriesSplit().split(np.array(3.0)), TypeError, "X is a ndarray; expected a long"),
    "text": (lambda: PanelTimeSeriesSplit().split("series.csv"), TypeError, "X is a str; expected"),
    "nothing": (lambda: PanelTimeSeriesSplit().split(None), TypeError, "X is a NoneType; expected"),
    "a lazy frame": (
        lambda: PanelTimeSeriesSplit().split(pl.from_pandas(LONG).lazy()),
        TypeError,
        r"X is a lazy LazyFrame; pass X.collect\(\)",
    ),
    "no id column": (
        lambda: PanelTimeSeriesSplit(id_column="shop").split(LONG),
        ValueError,
        r"id_column='shop' is not in X; its columns beside the time stamps: \['y', 'unique_id'\]",
    ),
    "no time column": (
        lambda: PanelTimeSeriesSplit(time_column="day").split(LONG),
        ValueError,
        "time_column='day' is not in X; its columns",
    ),
    "no time stamps": (
        lambda: PanelTimeSeriesSplit().split(LONG.rename(columns={"ds": "day"})),
        ValueError,
        r"X has ids but no time stamps in column 'ds' to be cut by; its other columns: \['day', 'y'\]; name their column",
    ),
    "a missing time": (
        lambda: PanelTimeSeriesSplit().split(with_value(LONG, "ds", 13, pd.NaT)),
        ValueError,
        r"X has no time stamp \(NaT or null\) in row 13 of column 'ds'; drop such rows or fill them in",
    ),
    "a missing id": (
        lambda: PanelTimeSeriesSplit().split(with_value(LONG, "unique_id", 3, None)),
        ValueError,
        "X has no id in row 3 of column 'unique_id'; fill it in or drop the row",
    ),
    "times as text": (
        lambda: PanelTimeSeriesSplit().split(LONG.assign(ds=LONG["ds"].astype(str))),
        ValueError,
        "column 'ds' has dtype String, value '2024-01-01' in row 0; parse it to dates first",
    ),
    "a row twice": (
        lambda: PanelTimeSeriesSplit().split(with_value(LONG, "ds", 17, DAYS[2])),
        ValueError,
        "X has the time stamp 2024-01-03 00:00:00 twice, in row 12, id 'b' and row 17, id 'b'; drop one$",
    ),
    "a panel without ids": (
        lambda: PanelTimeSeriesSplit().split(LONG[["ds", "y"]]),
        ValueError,
        "X has the time stamp 2024-01-01 00:00:00 twice, in row 0 and row 10; drop one; or, if X holds several series, name",
    ),
    "a list of series": (
        lambda: PanelTimeSeriesSplit().split([np.zeros(30), np.zeros(40)]),
        ValueError,
        "X holds arrays, whose inside cannot be cut in time: .* make one long frame of them, .* pass groups=",
    ),
    "a block of series": (lambda: PanelTimeSeriesSplit().split(np.zeros((8, 1, 30))), ValueError, "X holds arrays, whose"),
    "an array of series": (
        lambda: PanelTimeSeriesSplit().split(np.array([np.zeros(30), np.zeros(40)], dtype=object)),
        ValueError,
        "X holds arrays, whose",
    ),
    "ids twice": (
        lambda: PanelTimeSeriesSplit().split(LONG, groups=LONG["unique_id"]),
        ValueError,
        "X has the ids in column 'unique_id', and groups was given too; leave groups out",
    ),
    "times twice": (
        lambda: PanelTimeSeriesSplit().split(LONG, times=LONG["ds"]),
        ValueError,
        "X has time stamps in 'ds', and times was given too; leave it out",
    ),
    "times beside a date index": (
        lambda: PanelTimeSeriesSplit().split(DAILY.set_index("ds").rename_axis(None), times=DAILY["ds"]),
        ValueError,
        "X has time stamps in 'its index', and times was given too",
    ),
    "too few groups": (
        lambda: PanelTimeSeriesSplit().split(np.zeros((10, 2)), groups=[1, 2]),
        ValueError,
        r"groups has shape \(2,\); expected \(10,\), one for each sample of X",
    ),
    "a table of times": (
        lambda: PanelTimeSeriesSplit().split(np.zeros((10, 2)), times=np.zeros((10, 2))),
        ValueError,
        r"times has shape \(10, 2\); expected \(10,\)",
    ),
    "a missing group": (
        lambda: PanelTimeSeriesSplit().split(np.zeros(3), groups=["a", None, "b"]),
        ValueError,
        "no id in row 1 of column 'groups'",
    ),
    "a missing time of a sample": (
        lambda: PanelTimeSeriesSplit().split(np.zeros(3), times=[DAYS[0], pd.NaT, DAYS[1]]),
        ValueError,
        "no time stamp .* in row 1 of column 'times'",
    ),
    "times as fractions": (
        lambda: PanelTimeSeriesSplit().split(np.zeros(3), times=[0.5, 1.5, 2.5]),
        ValueError,
        "column 'times' has dtype Float64.* or pass integers",
    ),
    "a sample twice": (
        lambda: PanelTimeSeriesSplit().split(np.zeros(3), groups=["a", "b", "a"], times=[5, 6, 5]),
        ValueError,
        "X has the time stamp 5 twice, in row 0, id 'a' and row 2, id 'a'; drop one$",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_split_is_told_before_the_first_fold(case):
    call, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        call()
