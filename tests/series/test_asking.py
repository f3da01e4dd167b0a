"""What is asked of a forecast: fewer rows, quantiles, and the frame for the covariates that it needs."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from series.estimator_cases import (
    COVARIATES,
    HOURS,
    as_backend,
    covariate_frame,
    everything,
    fitted,
    long_frame,
    rows_ahead,
    wave,
    wide_frame,
)
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from titans_ts import MemoryStore, TitansForecaster


@pytest.fixture(scope="module")
def of_arrays():
    return fitted(wave())


@pytest.fixture(scope="module")
def of_covariates():
    return fitted(covariate_frame(), layers=1, **COVARIATES)


# --- a y ------------------------------------------------------------------------------------------------------------

Y = wave(300, 1)[:, 0]
WITH_Y = {
    "fit": lambda f: f.fit(wave(), Y),
    "another order of arguments": lambda f: f.fit(Y, wave()),
    "a y of no use": lambda f: f.fit(wave(), 0),
    "score": lambda f: f.score(wave(9), Y[:9]),
    "a pipeline": lambda f: make_pipeline(FunctionTransformer(), f).fit(wave(), Y),
    "a transformed target": lambda f: TransformedTargetRegressor(f, func=np.exp, inverse_func=np.log).fit(wave(), Y),
    "cross validation": lambda f: cross_val_score(f, wave(), Y, cv=TimeSeriesSplit(2), error_score="raise"),
    "scoring": lambda f: cross_val_score(f, wave(), Y, cv=TimeSeriesSplit(2), scoring="r2", error_score="raise"),
    "a search": lambda f: GridSearchCV(f, {"layers": [0]}, cv=TimeSeriesSplit(2), error_score="raise").fit(wave(), Y),
}


@pytest.mark.parametrize("call", WITH_Y)
def test_a_y_is_refused_before_any_work(call, of_arrays):
    """It was thrown away, and whoever compared by it compared the wrong rows."""
    before = everything(of_arrays)
    with pytest.raises(TypeError, match=r"y is a .*; (fit|score).X. takes no y, .* make y one, name it in target_columns"):
        WITH_Y[call](of_arrays)
    assert everything(of_arrays) == before
    assert of_arrays.fit.__doc__.count("Ignored") == 0


# --- fewer rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 4, np.int64(6)])
def test_a_shorter_forecast_is_the_beginning_of_the_longer(rows, of_arrays, of_covariates):
    np.testing.assert_array_equal(of_arrays.predict(horizon=rows), of_arrays.predict()[:rows])
    np.testing.assert_array_equal(of_arrays.predict(wave(50), horizon=rows), of_arrays.predict(wave(50))[:rows])
    whole = of_arrays.predict(level=[80], quantiles=[0.3])
    first = of_arrays.predict(horizon=rows, level=[80], quantiles=[0.3])
    pd.testing.assert_frame_equal(first, whole[:rows])
    frame = covariate_frame()
    whole = of_covariates.predict(future=rows_ahead(frame))
    for given in (rows, 6):  # rows that are not asked for need not be known, and do not count
        first = of_covariates.predict(horizon=rows, future=rows_ahead(frame, rows=given))
        pd.testing.assert_frame_equal(first, whole[:rows])
    later = rows_ahead(frame).assign(ahead=lambda x: x["ahead"].where(x.index < rows, 1e3))
    pd.testing.assert_frame_equal(of_covariates.predict(horizon=rows, future=later), first)


def test_a_store_forecasts_fewer_rows_too(tmp_path):
    frame = long_frame()
    forecaster = fitted(frame, layers=1)
    expected = forecaster.predict(horizon=2, level=[50], quantiles=[0.4])
    assert len(expected) == 4
    with MemoryStore(tmp_path / "series.memory", forecaster) as store:
        found = store.update(frame).predict(horizon=2, level=[50], quantiles=[0.4])
        pd.testing.assert_frame_equal(found, expected, rtol=1e-5)
        with pytest.raises(ValueError, match="horizon=7 is longer than the 6 rows"):
            store.predict(horizon=7)


@pytest.mark.parametrize("horizon", [0, -1, 2.0, True, "6"])
def test_a_horizon_is_a_number_of_rows(horizon, of_arrays):
    for ask in (of_arrays.predict, of_arrays.future_frame):
        with pytest.raises(ValueError, match="horizon must be a whole number of rows, 1 or more, got"):
            ask(horizon=horizon)


def test_a_longer_horizon_must_be_learned(of_arrays):
    for ask in (of_arrays.predict, of_arrays.future_frame):
        with pytest.raises(
            ValueError, match="horizon=7 is longer than the 6 rows .* ask for 6 or fewer, or fit with horizon=7"
        ):
            ask(horizon=7)


# --- quantiles ------------------------------------------------------------------------------------------------------


def test_quantiles_stand_beside_the_bounds_of_their_target(of_arrays):
    found = of_arrays.predict(level=[80], quantiles=[0.9, 0.1, 0.025 + 0.1])
    ends = ["", "-lo-80", "-hi-80", "-q-90", "-q-10", "-q-12.5"]
    assert found.columns.tolist() == ["unique_id", "ds", *(f"y{j}{end}" for j in (0, 1) for end in ends)]
    for j in (0, 1):
        np.testing.assert_array_equal(found[f"y{j}-q-90"], found[f"y{j}-hi-80"])
        np.testing.assert_array_equal(found[f"y{j}-q-10"], found[f"y{j}-lo-80"])
        assert (found[f"y{j}-q-10"] < found[f"y{j}-q-12.5"]).all()
        assert (found[f"y{j}-q-12.5"] < found[f"y{j}-q-90"]).all()


def test_any_level_is_given_and_none_crosses_another(of_arrays):
    levels, shares = [1, 50, 95, 99, 99.9, 100 - 1e-13], [1e-9, 0.001, 0.01, 0.4, 0.6, 0.999]
    found = of_arrays.predict(level=levels, quantiles=shares)
    names = [*(f"y0-lo-{level:g}" for level in levels[::-1]), *(f"y0-hi-{level:g}" for level in levels)]
    assert np.isfinite(found[names].to_numpy()).all()
    assert (np.diff(found[names].to_numpy()) > 0).all()
    assert (np.diff(found[[f"y0-q-{100 * share:g}" for share in shares]].to_numpy()) > 0).all()
    X = wave()
    rows, metrics = of_arrays.backtest(X, windows=2, level=[99.8], quantiles=[0.001])
    assert metrics.columns[-1] == "coverage-99.8"
    np.testing.assert_allclose(
        rows["forecast-q-0.1"], rows["forecast-lo-99.8"], rtol=1e-12
    )  # (1 - .998) / 2 is not quite .001
    alone = of_arrays.predict(X[:294], quantiles=[0.001])[["y0-q-0.1", "y1-q-0.1"]].to_numpy().T.ravel()
    np.testing.assert_allclose(rows[rows["cutoff"] == 293]["forecast-q-0.1"], alone, rtol=1e-5, atol=1e-6)


def test_a_level_is_the_same_whatever_else_is_asked(of_arrays):
    several = of_arrays.predict(level=[37, 80], quantiles=[0.03])
    pd.testing.assert_series_equal(of_arrays.predict(level=[37])["y0-lo-37"], several["y0-lo-37"])


def test_quantiles_of_a_backtest_are_those_of_its_forecasts(of_arrays):
    X = wave()
    rows, _ = of_arrays.backtest(X, windows=2, level=[80], quantiles=[0.1, 0.3])
    assert rows.columns[-4:].tolist() == ["forecast-lo-80", "forecast-hi-80", "forecast-q-10", "forecast-q-30"]
    np.testing.assert_array_equal(rows["forecast-q-10"], rows["forecast-lo-80"])
    alone = of_arrays.predict(X[:294], quantiles=[0.3])
    expected = alone[["y0-q-30", "y1-q-30"]].to_numpy().T.ravel()
    np.testing.assert_allclose(rows[rows["cutoff"] == 293]["forecast-q-30"], expected, rtol=1e-5, atol=1e-6)


# --- the frame to fill ----------------------------------------------------------------------------------------------

KINDS = {
    "a column of stamps": lambda: covariate_frame(),
    "an index of stamps": lambda: covariate_frame().set_index("ds"),
    "neither": lambda: covariate_frame().drop(columns="ds"),
    "of many series": lambda: pd.concat([covariate_frame(HOURS[i:]).assign(unique_id=f"site {i}") for i in range(2)]),
    "polars": lambda: as_backend(covariate_frame(), "polars"),
    "polars of many series": lambda: as_backend(KINDS["of many series"](), "polars"),
    "polars with neither": lambda: as_backend(covariate_frame(), "polars").drop("ds"),
    "pyarrow": lambda: as_backend(covariate_frame(), "pyarrow"),
    "zoned": lambda: covariate_frame(HOURS.tz_localize("UTC").tz_convert("Europe/Paris")),
    "days": lambda: covariate_frame(pd.date_range("2000-01-31", periods=300, freq="ME").to_period("M")),
}


@pytest.mark.filterwarnings("ignore:X. .* missing rows")
@pytest.mark.parametrize("kind", KINDS)
def test_the_frame_to_fill_has_the_ids_and_stamps_of_the_forecast(kind):
    X = KINDS[kind]()
    model = fitted(X, layers=0, **COVARIATES)
    rows = 4 * len(model.states_)
    for horizon in (4, None):
        count = rows if horizon else rows * 6 // 4
        future = model.future_frame(horizon)
        assert type(future) is type(X)
        values = np.linspace(0, 1, count)
        if isinstance(future, pd.DataFrame):
            filled = future.assign(ahead=values)
        elif isinstance(future, pl.DataFrame):
            filled = future.with_columns(ahead=values)
        else:
            filled = future.append_column("ahead", [values])
        found = model.predict(horizon=horizon, future=filled)
        assert len(found) == count
        if isinstance(future, pd.DataFrame):
            if kind == "neither":
                assert future.columns.tolist() == ["ahead"]
                continue
            assert future.columns.isin(["unique_id", "ds"]).all()
            assert found.index.equals(future.index)
            assert found.index.dtype == X.index.dtype
            for name in future:
                pd.testing.assert_series_equal(found[name], future[name])
        elif isinstance(future, pl.DataFrame) and "ds" in X.columns:
            assert found.select(future.columns).equals(future)
            assert future.schema["ds"] == X.schema["ds"]
    with pytest.raises(ValueError, match="future"):
        model.predict(future=model.future_frame())


def test_arrays_are_filled_with_nothing_but_covariates():
    X = wave(200, 3)
    model = fitted(X, layers=0, future_covariates=[2, 1])
    future = model.future_frame(3)
    assert future.shape == (3, 2)
    with pytest.raises(ValueError, match="future has nan"):
        model.predict(horizon=3, future=future)
    future[:] = 0.5
    assert model.predict(horizon=3, future=future).shape == (3, 1)
    several = fitted([X, X[:150]], layers=0, future_covariates=[2]).future_frame()
    assert [one.shape for one in several] == [(6, 1), (6, 1)]


def test_the_frame_to_fill_follows_what_was_read():
    frame = wide_frame()
    model = fitted(frame[:200], layers=0)
    model.update(frame[200:250])
    assert model.future_frame(2)["ds"].tolist() == frame["ds"][250:252].tolist()
    with pytest.raises(ValueError, match=r"nothing has been read since forget\(\): call update\(rows\)"):
        model.forget().future_frame()


def test_a_forecaster_that_is_not_fitted_has_no_frame_to_fill():
    with pytest.raises(Exception, match="not fitted yet"):
        TitansForecaster().future_frame()
