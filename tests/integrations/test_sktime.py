"""The forecaster as sktime's: its checks, and that nothing is lost or added on the way."""

import inspect
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from series.estimator_cases import HOURS, SMALL, loosen, one_step, wave
from sktime.forecasting.base import ForecastingHorizon
from sktime.forecasting.compose import TransformedTargetForecaster
from sktime.forecasting.model_evaluation import evaluate
from sktime.split import ExpandingWindowSplitter
from sktime.transformations.series.difference import Differencer
from sktime.utils.estimator_checks import check_estimator

from titans_ts import TitansForecaster
from titans_ts.integrations.sktime import TitansSktimeForecaster

QUICK = {**SMALL, "layers": 1, "random_state": 0, "callbacks": [one_step]}
WITHOUT_HORIZON = {name: value for name, value in QUICK.items() if name != "horizon"}
FH = [1, 2, 6]
NAMES = ("east", "north", "west")

SLOW_CHECKS = ["test_update_predict_predicted_index", "test_doctest_examples"]
SLOW_CHECKS += ["test_predict_time_index", "test_predict_time_index_in_sample_full", "test_predict_time_index_with_X"]
FEWEST_CHECKS, FEWEST_SLOW_CHECKS = 500, 350
"""Of sktime 1.2.0's 890 checks 517 run here and 373 among the slow tests; other versions may have some more or less."""

INDEXES = {
    "dates": HOURS,
    "periods": pd.period_range("1990-01", periods=300, freq="M"),
    "local time": HOURS.tz_localize("UTC").tz_convert("Europe/Paris"),
    "numbers": pd.RangeIndex(7, 307),
}


def column(index=HOURS, seed=0):
    return pd.Series(wave(len(index), 1, seed)[:, 0], index=index, name="load")


def table(index=HOURS):
    return pd.DataFrame(wave(len(index)), index=index, columns=["load", "price"])


def covariate(index=HOURS):
    return pd.DataFrame({"ahead": wave(len(index), 1, seed=4)[:, 0]}, index=index)


def panel(ends=(280, 300, 300), levels=1):
    """Return series of a panel, or with two levels of a hierarchy, that begin at one time and end at different ones."""
    parts = {}
    for number, (name, end) in enumerate(zip(NAMES, ends, strict=True)):
        parts[(name,) if levels == 1 else ("land", name)] = column(HOURS[:end], seed=number).to_frame()
    frame = pd.concat(parts)
    return frame.rename_axis([f"level {j}" for j in range(levels)] + ["time"])


def long(panel):
    """Return a panel as the long frame that the forecaster reads."""
    return panel.reset_index().rename(columns={panel.index.names[-2]: "unique_id", "time": "ds"})


def fitted(y, X=None, fh=None, **arguments):
    """Fit in no time, and let the memory's word count."""
    forecaster = TitansSktimeForecaster(**{**QUICK, **arguments}).fit(y, X=X, fh=fh)
    loosen(forecaster.forecaster_)
    return forecaster


def plain(rows, **arguments):
    return loosen(TitansForecaster(**{**QUICK, **arguments}).fit(rows))


def weights(forecaster):
    return {name: x.clone() for name, x in forecaster.forecaster_.network_.state_dict().items()}


def same(found, expected):
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def close(found, expected):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-5, atol=1e-5)


def passed(results):
    failures = {name: result for name, result in results.items() if result != "PASSED"}
    assert not failures, failures
    return len(results)


# --- sktime's own checks ----------------------------------------------------------------------------------------------


def test_sktime_checks_of_the_first_setting(monkeypatch):
    first = TitansSktimeForecaster.get_test_params()[0]
    monkeypatch.setattr(TitansSktimeForecaster, "get_test_params", classmethod(lambda *_, **__: first))
    excluded = [*SLOW_CHECKS, "test_get_test_params_coverage"]  # which asks for several settings
    results = check_estimator(TitansSktimeForecaster, tests_to_exclude=excluded, verbose=False)
    assert passed(results) >= FEWEST_CHECKS // 2


@pytest.mark.slow
def test_sktime_checks_of_every_setting():
    results = check_estimator(TitansSktimeForecaster, tests_to_exclude=SLOW_CHECKS, verbose=False)
    assert passed(results) >= FEWEST_CHECKS


@pytest.mark.slow
def test_sktime_checks_that_take_longer():
    results = check_estimator(TitansSktimeForecaster, tests_to_run=SLOW_CHECKS, verbose=False)
    assert passed(results) >= FEWEST_SLOW_CHECKS


# --- arguments --------------------------------------------------------------------------------------------------------


def test_arguments_are_those_of_the_forecaster():
    columns = {f"{role}_covariates" for role in ("past", "future", "static")}
    columns |= {"freq", "id_column", "time_column", "target_columns"}  # what y, X and their index say in sktime
    columns |= {"on_error"}  # sktime asks for a forecast of every series
    theirs, ours = (inspect.signature(kind).parameters for kind in (TitansForecaster, TitansSktimeForecaster))
    assert set(ours) == set(theirs) - columns
    different = {name for name in ours if ours[name].default != theirs[name].default}
    assert different == {"horizon"}


def test_arguments_are_set_and_cloned():
    forecaster = TitansSktimeForecaster(**QUICK)
    assert forecaster.clone().get_params() == forecaster.get_params()
    assert not forecaster.get_tag("requires-fh-in-fit")
    assert forecaster.set_params(horizon=None).get_tag("requires-fh-in-fit")


def test_making_one_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TitansSktimeForecaster()


def test_without_sktime_the_remedy_is_named():
    code = "import sys; sys.modules['sktime'] = None; import titans_ts.integrations.sktime"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "ImportError: titans_ts.integrations.sktime needs sktime; `pip install 'titans-ts[sktime]'`" in result.stderr


# --- predictions are the forecaster's ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INDEXES)
@pytest.mark.parametrize("make", [column, table])
def test_predictions_are_those_of_the_forecaster(make, name):
    index = INDEXES[name]
    y = make(index)
    found = fitted(y, fh=FH).predict()
    expected = plain(y.reset_index(drop=True) if name == "numbers" else y).predict()
    same(np.asarray(found).reshape(3, -1), np.asarray(expected).reshape(6, -1)[[0, 1, 5]])
    if name != "numbers":
        same(found.index, expected.index[[0, 1, 5]])
    else:
        assert found.index.tolist() == [307, 308, 312]
    assert isinstance(found, type(y))


def test_the_horizon_is_as_far_as_fh_reaches():
    forecaster = TitansSktimeForecaster(**WITHOUT_HORIZON).fit(column(), fh=[1, 4])
    assert forecaster.forecaster_.horizon == 4
    assert TitansSktimeForecaster(**WITHOUT_HORIZON).fit(column(), fh=[-3, 0]).forecaster_.horizon == 1
    with pytest.raises(ValueError, match="must be passed to `fit`"):
        TitansSktimeForecaster(**WITHOUT_HORIZON).fit(column())


def test_with_a_horizon_fh_may_come_late_and_change():
    forecaster = fitted(column())
    whole = forecaster.predict(fh=[1, 2, 3, 4, 5, 6])
    same(forecaster.predict(fh=[2, 5]), whole.iloc[[1, 4]])
    with pytest.raises(ValueError, match="fh reaches 7 rows past the cutoff, but the forecaster learned horizon=6"):
        forecaster.predict(fh=[1, 7])


@pytest.mark.parametrize("name", INDEXES)
def test_an_absolute_fh_is_the_relative_one(name):
    y = column(INDEXES[name])
    forecaster = fitted(y[:290], fh=[-2, 0, 1, 6])
    expected = forecaster.predict()
    at = ForecastingHorizon(y.index[[287, 289, 290, 295]], is_relative=False)
    found = fitted(y[:290], fh=at).predict()
    same(found, expected)
    same(found.index, y.index[[287, 289, 290, 295]])
    same(expected.index, found.index)


def test_an_fh_of_spans_is_the_relative_one():
    forecaster = fitted(column())
    spans = ForecastingHorizon(pd.to_timedelta([-1, 2], unit="h"), is_relative=True)
    same(forecaster.predict(fh=spans), forecaster.predict(fh=[-1, 2]))


def test_missing_values_are_masked():
    y = table()
    y.iloc[100:120, 0] = np.nan
    found = fitted(y, fh=FH).predict()
    same(found, plain(y).predict().iloc[[0, 1, 5]])
    assert np.isfinite(found).all(axis=None)


@pytest.mark.filterwarnings("ignore:X. 10 missing rows:UserWarning")
def test_missing_rows_are_filled():
    y = column().drop(HOURS[120:130])
    forecaster = fitted(y, fh=[-250, 1, 6])
    found = forecaster.predict()
    same(found[1:], plain(y).predict().iloc[[0, 5]])
    assert found.index.tolist() == [HOURS[49], *pd.date_range(HOURS[-1], periods=7, freq="h")[[1, 6]]]
    assert forecaster.forecaster_.n_seen_ == 300


def test_an_index_without_frequency_is_read():
    y = column(pd.DatetimeIndex(list(HOURS)))
    same(fitted(y, fh=FH).predict(), fitted(column(), fh=FH).predict())


# --- update -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INDEXES)
def test_update_reads_into_the_memory_and_leaves_the_weights(name):
    y = table(INDEXES[name])
    rows = y.reset_index(drop=True) if name == "numbers" else y
    forecaster, expected = fitted(y[:250], fh=FH), plain(rows[:250])
    before = weights(forecaster)
    forecaster.update(y[250:], update_params=False)
    same(forecaster.predict(), expected.update(rows[250:]).predict().iloc[[0, 1, 5]])
    assert forecaster.cutoff[0] == y.index[-1]
    assert forecaster.forecaster_.n_seen_ == 300
    for key, weight in weights(forecaster).items():
        assert torch.equal(weight, before[key]), key


def test_rows_already_read_are_passed_over():
    y = column()
    once, twice = fitted(y[:250], fh=FH), fitted(y[:250], fh=FH)
    once.update(y[250:], update_params=False)
    for row in (251, 252, 260, 300):
        twice.update(y[200:row], update_params=False)
    twice.update(y[290:], update_params=False)
    close(twice.predict(), once.predict())
    assert twice.forecaster_.n_seen_ == 300


def test_update_with_parameters_is_a_fit_on_all_rows():
    y, X = table(), covariate()
    found = TitansSktimeForecaster(**QUICK).fit(y[:250], X=X, fh=FH)
    found.update(y[250:290], X=X).update(y[290:], X=X)
    expected = TitansSktimeForecaster(**QUICK).fit(y, X=X, fh=FH)
    for key, weight in weights(expected).items():
        assert torch.equal(weights(found)[key], weight), key
    ahead = covariate(pd.date_range(HOURS[-1], periods=7, freq="h")[1:])
    same(found.predict(X=ahead), expected.predict(X=ahead))


def test_a_warm_start_goes_on_from_the_weights():
    y = column()
    unjudged = {"validation_fraction": 0}  # after a single step the memory would have no share
    cold, warm = (fitted(y[:290], fh=FH, warm_start=warm, **unjudged) for warm in (False, True))
    before = weights(warm)
    cold.update(y[290:])
    warm.update(y[290:])
    one_step_of_training = 0.02
    for found, start in ((warm, before["head.correct.weight"]), (cold, torch.zeros(()))):  # where a fresh one starts
        assert (weights(found)["head.correct.weight"] - start).abs().max() < one_step_of_training
    assert before["head.correct.weight"].abs().max() > one_step_of_training
    expected = plain(y[:290], **unjudged).set_params(warm_start=True).fit(y)
    same(warm.predict(), expected.predict().iloc[[0, 1, 5]])


def test_without_the_history_only_the_memory_is_kept():
    y = column()
    forecaster = TitansSktimeForecaster(**QUICK).set_config(remember_data=False)
    forecaster.fit(y[:250], fh=FH)
    expected = fitted(y[:250], fh=FH).update(y[250:], update_params=False)
    with pytest.warns(UserWarning, match="has no history to learn from"):
        forecaster.update(y[250:])
    assert forecaster._y is None
    loosen(forecaster.forecaster_)
    same(forecaster.predict(), expected.predict())
    with pytest.raises(ValueError, match=r"set_config\(remember_data=True\)"):
        forecaster.predict(fh=[0])


# --- rows already seen ------------------------------------------------------------------------------------------------


def test_in_sample_each_row_is_forecast_from_those_before_it():
    y = table()
    forecaster = fitted(y[:250], fh=[-299, -40, -9, 0, 3])
    forecaster.update(y[250:], update_params=False)
    found, reader = forecaster.predict(), plain(y[:250])
    assert found.iloc[0].isna().all()  # nothing is known before the first row
    for place, row in ((1, 259), (2, 290), (3, 299)):
        close(found.iloc[place], reader.predict(y[:row]).iloc[0])
    close(found.iloc[4], reader.predict(y).iloc[2])


def test_a_cutoff_before_the_last_row_read_is_not_looked_past():
    y = column()
    forecaster, reader = fitted(y[:280], fh=[1, 3]), plain(y[:280])
    splitter = ExpandingWindowSplitter(fh=[1, 3], initial_window=5, step_length=12)
    found = forecaster.update_predict(y[240:], cv=splitter, update_params=False)
    for cut in (245, 257, 269, 281):
        close(found.loc[y.index[[cut, cut + 2]], y.index[cut - 1]], reader.predict(y[:cut]).iloc[[0, 2]])


# --- intervals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fh", [FH, [-30, -1, 0]], ids=["ahead", "in sample"])
def test_intervals_are_ordered(fh):
    forecaster = fitted(table(), fh=fh)
    alpha = [0.05, 0.1, 0.33, 0.5, 0.66, 0.9, 0.95]
    quantiles = forecaster.predict_quantiles(alpha=alpha)
    for name in ("load", "price"):
        assert (np.diff(quantiles[name], axis=1) >= 0).all()
        same(quantiles[name, 0.5], forecaster.predict()[name])
        assert (quantiles[name, 0.05] < quantiles[name, 0.95]).all()
    interval = forecaster.predict_interval(coverage=[0.8, 0.9])
    for bound, quantile in ((("price", 0.9, "lower"), ("price", 0.05)), (("load", 0.8, "upper"), ("load", 0.9))):
        np.testing.assert_allclose(interval[bound], quantiles[quantile], rtol=1e-12, err_msg="(1 - .9) / 2 is not quite .05")


def test_intervals_are_those_of_the_forecaster():
    found = fitted(table(), fh=FH).predict_interval(coverage=0.8)
    expected = plain(table()).predict(level=[80]).iloc[[0, 1, 5]]
    same(found, expected[["load-lo-80", "load-hi-80", "price-lo-80", "price-hi-80"]])


def test_an_interval_may_be_of_any_width():
    found = fitted(column(), fh=FH).predict_interval(coverage=[0.5, 0.999])["load"]
    assert (found[0.999, "lower"] < found[0.5, "lower"]).all()
    assert (found[0.999, "upper"] > found[0.5, "upper"]).all()


# --- exogenous data ---------------------------------------------------------------------------------------------------


def test_exogenous_data_are_covariates_known_in_advance():
    y, X = column()[:290], covariate()
    found = fitted(y, X=X, fh=FH).predict(X=X)
    rows = X[:290].assign(load=y)
    expected = plain(rows, future_covariates="ahead").predict(future=X[290:296])
    same(found, expected["load"].iloc[[0, 1, 5]])


def test_a_forecast_needs_its_own_row_of_exogenous_data_and_no_other():
    y, X = column()[:290], covariate()
    forecaster = fitted(y, X=X, fh=[2, 6])
    with torch.no_grad():
        forecaster.forecaster_.network_.base.effect += 1.0
    whole = forecaster.predict(X=X)
    same(forecaster.predict(X=X.iloc[[291, 295]]), whole)
    assert not np.isclose(forecaster.predict(X=X.iloc[[291, 295]] + 1.0), whole).any()


KINDS = {
    "truth values": lambda x: x > 0,
    "truth values that may be missing": lambda x: (x > 0).astype("boolean"),
    "whole numbers": lambda x: x.round().astype(int),
    "bytes": lambda x: x.round().clip(0).astype("uint8"),
    "whole numbers that may be missing": lambda x: x.round().astype("Int64"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_exogenous_data_of_any_kind_serve_an_fh_shorter_than_the_horizon(kind):
    y, X = column()[:290], KINDS[kind](covariate())
    forecaster = fitted(y, X=X[:290], fh=[2, 3])
    with torch.no_grad():
        forecaster.forecaster_.network_.base.effect += 1.0
    same(forecaster.predict(X=X[291:293]), forecaster.predict(X=X).to_numpy())
    same(forecaster.predict(X=X[291:293].astype(float)), forecaster.predict(X=X))


def test_truth_values_in_a_panel_serve_a_short_fh():
    y = panel()
    longer = covariate(pd.date_range(HOURS[0], periods=302, freq="h")) > 0
    X = pd.concat(dict.fromkeys(NAMES, longer)).rename_axis(y.index.names)
    forecaster = fitted(y, X=X, fh=[2])
    same(forecaster.predict(X=X), forecaster.predict(X=X.astype(float)))


def test_wrong_exogenous_data_are_refused_by_name():
    y, X = column()[:290], covariate()
    forecaster = fitted(y, X=X, fh=FH)
    with pytest.raises(ValueError, match="X=None: the forecaster was fitted with"):
        forecaster.predict()
    with pytest.raises(ValueError, match=r"X lacks 2 of the 3 rows to forecast; the first is 2024-04-10 03:00:00"):
        forecaster.predict(X=X[:291])
    with pytest.raises(ValueError, match="X was given, but the forecaster was fitted without"):
        fitted(y, fh=FH).predict(X=X)
    with pytest.raises(ValueError, match=r"NaN in row 3, column \"X\['ahead'\]\"; a future covariate must be known"):
        fitted(y, X=X.where(X.index.to_series().ne(X.index[3]), np.nan, axis=0), fh=FH)


# --- panels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [1, 2])
def test_a_panel_is_learned_by_one_network(levels):
    y = panel(levels=levels)
    forecaster = fitted(y, fh=FH)
    expected = plain(long(y), target_columns="load").predict().set_index(["unique_id", "ds"])
    found = forecaster.predict()
    assert not forecaster._is_vectorized
    for name, end in (("east", 280), ("north", 300), ("west", 300)):
        part = found.loc[name if levels == 1 else ("land", name)]
        same(part, expected.loc[name].iloc[[0, 1, 5]])
        same(part.index, pd.date_range(HOURS[end - 1], periods=7, freq="h")[[1, 2, 6]])
    assert found.index.names == y.index.names


def test_series_of_a_panel_are_updated_each_by_itself():
    y = panel((300, 300, 300))
    first = y[y.index.get_level_values(-1) < HOURS[250]].loc[["north", "west"]]
    forecaster, reader = fitted(first, fh=FH), plain(long(first))
    forecaster.update(y.loc[["east", "west"]], update_params=False)  # one is new
    found = forecaster.predict()
    assert found.index.get_level_values(0).unique().tolist() == list(NAMES)
    for name, end in (("east", 300), ("north", 250), ("west", 300)):
        close(found.loc[name, "load"], reader.predict(long(y.loc[[name]][:end]))["load"].iloc[[0, 1, 5]])
        assert found.loc[name].index[0] == HOURS[end - 1] + pd.Timedelta("1h")


def test_a_panel_in_sample_with_intervals_and_exogenous_data():
    y = panel()
    longer = covariate(pd.date_range(HOURS[0], periods=301, freq="h"))
    X = pd.concat(dict.fromkeys(NAMES, longer)).rename_axis(y.index.names)
    forecaster = fitted(y, X=X, fh=[-5, 0])
    found = forecaster.predict_interval(coverage=0.5)
    assert np.isfinite(found).all(axis=None)
    assert found.loc["east"].index.tolist() == [HOURS[274], HOURS[279]]
    ahead = fitted(y, X=X, fh=[1]).predict(X=X)
    assert ahead.index.tolist() == [("east", HOURS[280]), *((name, longer.index[300]) for name in ("north", "west"))]


# --- among sktime's tools ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["refit", "update", "no-update_params"])
def test_evaluate(strategy):
    y = column() + 10
    splitter = ExpandingWindowSplitter(fh=[1, 2, 3], initial_window=270, step_length=9)
    table = evaluate(TitansSktimeForecaster(**QUICK), cv=splitter, y=y, strategy=strategy, error_score="raise")
    errors = table["test_MeanAbsolutePercentageError"]
    assert len(errors) == 4
    assert np.isfinite(errors).all()
    assert (errors < 1).all()


def test_in_a_pipeline():
    y = column()
    steps = [("difference", Differencer()), ("forecast", TitansSktimeForecaster(**QUICK))]
    found = TransformedTargetForecaster(steps).fit(y, fh=[1, 2, 3, 4, 5, 6]).predict()
    steps_ahead = TitansForecaster(**QUICK).fit(y.diff().fillna(0.0)).predict()
    close(found, y.iloc[-1] + steps_ahead.cumsum())


def test_text_and_categories_are_covariates_too():
    index = pd.period_range("2020-01-01", periods=200, freq="D")
    kind = np.random.default_rng(0).choice(["a", "b"], 200)
    y = pd.Series(np.where(kind == "a", 5.0, 9.0), index=index)
    for dtype in ("category", "object"):
        X = pd.DataFrame({"kind": pd.Series(kind, index=index).astype(dtype)})
        forecaster = TitansSktimeForecaster(lookback=24, patch_length=4, layers=0, max_steps=30, random_state=0)
        found = forecaster.fit(y[:190], X=X[:190], fh=range(1, 7)).predict(X=X[190:196])
        assert (found > 7).tolist() == (y[190:196] > 7).tolist()
