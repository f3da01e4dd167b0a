"""Targets that cannot be negative, and targets that are learned on another scale: forecasts are in the user's units."""

import warnings

import numpy as np
import pandas as pd
import pytest
from series.estimator_cases import SMALL, fitted, loosen, one_step
from sklearn import preprocessing as pre
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

from titans_ts import MemoryState, MemoryStore, TitansForecaster, load
from titans_ts.frames.read import read_panel
from titans_ts.series.targets import Targets, original_transformer, plain_transformer

TRANSFORMS = {
    "log1p": "log1p",
    "sqrt": "sqrt",
    "yeo-johnson": pre.PowerTransformer(),
    "raw yeo-johnson": pre.PowerTransformer(standardize=False),
    "quantiles": pre.QuantileTransformer(n_quantiles=40),
    "normal quantiles": pre.QuantileTransformer(n_quantiles=40, output_distribution="normal"),
    "standard": pre.StandardScaler(),
    "min and max": pre.MinMaxScaler((-2, 3)),
    "clipped": pre.MinMaxScaler(clip=True),
    "largest": pre.MaxAbsScaler(),
    "robust": pre.RobustScaler(quantile_range=(10, 90)),
    "functions": pre.FunctionTransformer(np.arcsinh, np.sinh),
}
KNOWN = 280


def counts(rows=300, channels=2, seed=0):
    """Sales an hour: most often none in one channel."""
    hours = np.arange(rows)[:, None] * 2 * np.pi / 24
    return np.random.default_rng(seed).poisson(np.exp(np.sin(hours) + np.arange(channels) - 0.5)).astype(float)


def long_counts(rows=300, ids=("a", "b"), start=0):
    times = pd.date_range("2024-01-01", periods=rows + start, freq="h")[start:]
    parts = [
        pd.DataFrame({"unique_id": x, "ds": times, "y": counts(rows + start, 1, i)[start:, 0]}) for i, x in enumerate(ids)
    ]
    return pd.concat(parts, ignore_index=True)


def learned(transform, X=None, *, minimum=None, rows=KNOWN):
    X = counts() if X is None else X
    return Targets.learn(read_panel(X), [rows], minimum=minimum, transform=transform)


# --- the minimum ----------------------------------------------------------------------------------------------------


FLOOR = 5.0


def above_a_floor():
    """Numbers that come near a floor and never lie at it: nothing but ``minimum`` tells it."""
    found = counts()
    return found + FLOOR + np.random.default_rng(1).random(found.shape)


@pytest.fixture(scope="module")
def bounded():
    return loosen(loosen(loosen(fitted(above_a_floor()[:KNOWN], layers=1, minimum=FLOOR))))  # points, too, go far down


@pytest.fixture(scope="module")
def free():
    return loosen(loosen(loosen(fitted(above_a_floor()[:KNOWN], layers=1))))


def test_nothing_that_is_forecast_falls_below_the_minimum(bounded, free):
    X = above_a_floor()
    asked = {"level": [80], "quantiles": [0.05, 0.4]}
    found, raw = (model.predict(**asked).drop(columns=["unique_id", "ds"]) for model in (bounded, free))
    assert (raw < FLOOR).any(axis=None), "or nothing is tested"
    pd.testing.assert_frame_equal(found, raw.clip(lower=FLOOR))
    tested = [model.backtest(X, windows=3, **asked)[0].filter(like="forecast") for model in (bounded, free)]
    assert (tested[1] < FLOOR).any(axis=None)
    pd.testing.assert_frame_equal(tested[0], tested[1].clip(lower=FLOOR))
    assert bounded.score(X[KNOWN:]) > free.score(X[KNOWN:])
    for horizon in (1, 6):
        errors = [model.rolling_errors(X, start=KNOWN, horizons=[horizon])[horizon] for model in (bounded, free)]
        assert errors[0] < errors[1]
    np.testing.assert_array_equal(bounded.surprise(X), free.surprise(X))


def test_a_store_and_streams_keep_to_the_minimum(tmp_path):
    frame = long_counts()
    model = fitted(frame, layers=1, minimum=0)
    expected = model.predict(level=[80])
    assert (expected["y-lo-80"] == 0).any()
    with MemoryStore(tmp_path / "counts.memory", model) as store:
        pd.testing.assert_frame_equal(store.update(frame).predict(level=[80]), expected, rtol=1e-4, atol=1e-6)
    pieces = [part for _, part in frame.groupby(frame["ds"].dt.day, sort=True)]
    assert (model.predict(iter(pieces), level=[80])["y-lo-80"] >= 0).all()


BELOW = {
    "fit": lambda X: TitansForecaster(minimum=0, callbacks=[pytest.fail]).fit(X),
    "update": lambda X: fitted(counts(), layers=0, minimum=0).update(X),
    "predict": lambda X: fitted(counts(), layers=0, minimum=0).predict(X),
    "a stream": lambda X: fitted(counts(), layers=0, minimum=0).predict(iter([counts(9), X])),
    "score": lambda X: fitted(counts(), layers=0, minimum=0).score(X),
    "backtest": lambda X: fitted(counts(), layers=0, minimum=0).backtest(X),
}


@pytest.mark.parametrize("method", BELOW)
def test_a_value_below_the_minimum_is_refused_by_its_row(method):
    X = counts(200)
    X[17, 1] = -0.5
    with pytest.raises(
        ValueError, match=r"X has -0.5 in row 17, column 1, which is below minimum=0; .* NaN, or lower minimum"
    ):
        BELOW[method](X)


def test_every_series_with_values_below_is_named():
    frame = long_counts(200, ("a", "b", "c"))
    frame.loc[[3, 430], "y"] = -1.0
    with pytest.raises(ValueError, match=r"2 series .*\n  'a': X has -1 in row 3, .*\n  'c': X has -1 in row 430, "):
        TitansForecaster(minimum=0).fit(frame)


@pytest.mark.parametrize("minimum", [np.nan, np.inf, "0", [0]])
def test_the_minimum_is_a_number(minimum):
    with pytest.raises(ValueError, match="'minimum' parameter"):
        TitansForecaster(minimum=minimum, callbacks=[pytest.fail]).fit(counts())


# --- transforms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRANSFORMS)
def test_there_and_back_again(name):
    X = counts()
    X[40:60, 0] = np.nan
    targets = learned(TRANSFORMS[name], X)
    there = targets.forward(X[:KNOWN])
    np.testing.assert_array_equal(np.isnan(there), np.isnan(X[:KNOWN]))
    np.testing.assert_allclose(targets.back(there), X[:KNOWN], rtol=1e-9, atol=1e-9)
    for j in (0, 1):
        seen = ~np.isnan(X[:KNOWN, j])
        order = np.argsort(X[:KNOWN, j][seen], kind="stable")
        assert (np.diff(there[:, j][seen][order]) >= -1e-12).all()
    np.testing.assert_array_equal(targets.forward(X[100:103]), targets.forward(X)[100:103])


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.filterwarnings("error")
def test_what_is_far_away_comes_back_finite_and_in_order(name):
    far = np.concatenate([-np.logspace(9, -3, 60), np.logspace(-3, 9, 60)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*forecasts or bounds are larger than any number")
        back = learned(TRANSFORMS[name]).back(np.stack([far, far], axis=1))
    assert np.isfinite(back).all()
    assert (np.diff(back, axis=0) >= 0).all()


def test_a_forecast_that_no_number_holds_is_told_and_finite():
    targets = learned("log", counts() + 1)
    with pytest.warns(
        UserWarning, match="target_transform='log': 2 forecasts or bounds are larger than any number, and are given as"
    ):
        found = targets.back(np.array([[1.0, 710.0], [1e9, 2.0]]))
    np.testing.assert_allclose(found, [[np.e, 1.7976931348623157e308], [1.7976931348623157e308, np.exp(2)]])
    single = learned("log", (counts() + 1).astype(np.float32))
    with pytest.warns(UserWarning, match="given as 3.40282e\\+38"):
        assert np.isfinite(single.back(np.array([[100.0]])).astype(np.float32)).all()


def test_box_cox_is_learned_where_its_end_is_near():
    """Its inverse is NaN below -1 / lambda, where a lower quantile easily lies."""
    model = fitted(counts() + 0.5, layers=0, target_transform=pre.PowerTransformer(method="box-cox"))
    found = model.predict(level=[90])
    assert np.isfinite(found.to_numpy(dtype=float)).all()
    assert (found.filter(like="y") >= 0).all(axis=None)


@pytest.mark.parametrize("name", ["log1p", "normal quantiles", "yeo-johnson"])
def test_forecasts_are_those_of_a_model_of_transformed_rows_turned_back(name):
    """An oracle: who transforms by hand, before and after, gets the same."""
    X, transform = counts(), TRANSFORMS[name]
    targets = learned(transform, rows=252)
    model = fitted(X[:KNOWN], layers=1, target_transform=transform)
    by_hand = fitted(targets.forward(X[:KNOWN]), layers=1)
    for history in (None, X[:100]):
        found = model.predict(history, quantiles=[0.1, 0.9])
        inner = by_hand.predict(None if history is None else targets.forward(history), quantiles=[0.1, 0.9])
        for end in ("", "-q-10", "-q-90"):
            names = [f"y0{end}", f"y1{end}"]
            np.testing.assert_allclose(found[names], targets.back(inner[names].to_numpy()), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.surprise(X), by_hand.surprise(targets.forward(X)), rtol=1e-5)
    rows, table = model.backtest(X, windows=2)
    np.testing.assert_array_equal(rows["y"][:12], np.tile(X[-12:, 0], 1))
    mae = (rows["y"] - rows["forecast"]).abs().groupby(rows["unique_id"]).mean()
    np.testing.assert_allclose(table["mae"], mae)


def test_a_score_is_in_spreads_of_the_users_own_rows():
    X = counts()
    model = fitted(X[:KNOWN], layers=0, target_transform="log1p")
    np.testing.assert_allclose(model.spreads_[None], X[:252].std(0), rtol=1e-12)
    ahead = model.predict()
    np.testing.assert_allclose(
        model.score(X[KNOWN : KNOWN + 6]), -np.mean(np.abs(ahead - X[KNOWN : KNOWN + 6]) / X[:252].std(0))
    )
    search = GridSearchCV(
        TitansForecaster(**SMALL, callbacks=[one_step], random_state=0, layers=0),
        {"target_transform": [None, "log1p", pre.QuantileTransformer(n_quantiles=20)]},
        cv=TimeSeriesSplit(2, test_size=6),
        error_score="raise",
    ).fit(X)
    assert len(set(search.cv_results_["mean_test_score"])) == 3


def test_any_cut_of_the_rows_gives_the_same():
    X = counts()
    model = fitted(X[:200], layers=1, target_transform=pre.PowerTransformer(), minimum=0)
    expected = model.update(X[200:]).predict(level=[80])
    model.forget()
    for first in range(0, 300, 37):
        model.update(X[first : first + 37])
    cut = model.predict(level=[80])
    pd.testing.assert_frame_equal(cut, model.predict(X, level=[80]), rtol=1e-5)
    pd.testing.assert_frame_equal(cut, expected, rtol=1e-5)


def test_a_series_of_its_own_joins_on_the_learned_scale(tmp_path):
    model = fitted(long_counts(), layers=1, target_transform="log1p", minimum=0)
    new = long_counts(200, ("new",))
    alone = model.predict(new)
    model.update(new)
    found = model.predict()
    pd.testing.assert_frame_equal(found[found["unique_id"] == "new"].reset_index(drop=True), alone, rtol=1e-5)
    with MemoryStore(tmp_path / "series.memory", model) as store:
        pd.testing.assert_frame_equal(store.update(new).predict(), alone, rtol=1e-5)


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_model_comes_back_from_its_file_with_its_transform(name, tmp_path):
    X = counts()
    model = fitted(X[:KNOWN], layers=0, target_transform=TRANSFORMS[name], minimum=0)
    model.save(tmp_path / "model.titans")
    again = load(tmp_path / "model.titans")
    pd.testing.assert_frame_equal(again.predict(level=[80]), model.predict(level=[80]))
    assert again.score(X[KNOWN:]) == model.score(X[KNOWN:])
    assert repr(again.get_params()["target_transform"]) == repr(TRANSFORMS[name])
    model.state_.save(tmp_path / "a.state")
    again.forget().remember(MemoryState.load(tmp_path / "a.state"))
    np.testing.assert_array_equal(again.predict(), model.predict())
    again.save(tmp_path / "again.titans")
    assert (tmp_path / "again.titans").read_bytes() == (tmp_path / "model.titans").read_bytes()


def test_a_memory_belongs_to_its_transform():
    X = counts()
    state = fitted(X, layers=0, target_transform=pre.MinMaxScaler()).state_
    with pytest.raises(ValueError, match="was written by another model"):
        fitted(X, layers=0, target_transform=pre.MinMaxScaler((0, 2))).remember(state)


class Doubling(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return 2 * X

    def inverse_transform(self, X):
        return X / 2


OUTSIDE = {
    "a class of one's own": Doubling(),
    "a function of one's own": pre.FunctionTransformer(lambda x: 2 * x, lambda x: x / 2),
    "a generator": pre.QuantileTransformer(n_quantiles=20, random_state=np.random.RandomState(0)),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_transformer_that_is_code_works_but_is_not_saved(name, tmp_path):
    model = fitted(counts(), layers=0, target_transform=OUTSIDE[name])
    assert np.isfinite(model.predict()).all()
    np.testing.assert_array_equal(model.forget().remember(model.update(counts()).state_).predict(), model.predict())
    with pytest.raises(ValueError, match=r"save: target_transform=(.|\n)* cannot be kept in a file, which holds no code"):
        model.save(tmp_path / "model.titans")
    assert not list(tmp_path.iterdir())


def test_a_file_makes_no_other_class_or_function():
    kept = plain_transformer(pre.FunctionTransformer(np.log1p, np.expm1))
    assert original_transformer(kept).func is np.log1p
    for name, bad in {"kind": "OneHotEncoder", "arguments": {**kept["arguments"], "func": {"ufunc": "load"}}}.items():
        with pytest.raises(ValueError, match="is none of FunctionTransformer|is no function of numpy"):
            original_transformer({**kept, name: bad})


# --- what is no transform -------------------------------------------------------------------------------------------

WRONG = {
    "falls": (
        pre.FunctionTransformer(np.negative, np.negative),
        "must not turn the order of values round: it makes less of 1",
    ),
    "bends": (pre.FunctionTransformer(np.square, np.sqrt), "must not turn the order of values round"),
    "no inverse": (pre.FunctionTransformer(np.log1p), "does not lead back: .* takes inverse_func"),
    "steps": (pre.KBinsDiscretizer(3, encode="ordinal", quantile_method="averaged_inverted_cdf"), "does not lead back"),
    "another inverse": (pre.FunctionTransformer(np.log1p, np.exp), "does not lead back"),
    "not of these": (pre.PowerTransformer(method="box-cox"), "cannot be fitted to the training rows: .* positive"),
    "into nothing": (pre.FunctionTransformer(np.log, np.exp), "into no number"),
}


@pytest.mark.filterwarnings(
    "ignore:Bins whose width are too small", "ignore:The provided functions are not strictly inverse"
)
@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_undone_is_refused_before_training(name):
    transform, message = WRONG[name]
    X = counts()
    if name == "bends":
        X = X - 1
    with pytest.raises(ValueError, match=f"target_transform=.*, column 0.* {message}"), np.errstate(all="ignore"):
        TitansForecaster(target_transform=transform, layers=0, callbacks=[pytest.fail]).fit(X)


NAMES = {
    "log": (0.0, "numbers above 0; target_transform='log1p' takes 0 too"),
    "log1p": (-1.0, "numbers above -1"),
    "sqrt": (-0.1, "numbers from 0 on"),
}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_name_does_not_take_is_refused_by_its_row(name):
    value, message = NAMES[name]
    X = counts() + 1
    model = fitted(X, layers=0, target_transform=name)
    X[23, 1] = value
    for ask in (TitansForecaster(target_transform=name, callbacks=[pytest.fail]).fit, model.update, model.predict):
        with pytest.raises(
            ValueError, match=f"X has {value:g} in row 23, column 1, but target_transform='{name}' takes {message}"
        ):
            ask(X)


def test_what_a_fitted_transformer_loses_is_refused_by_its_row():
    X = counts() + 1
    model = fitted(X, layers=0, target_transform=pre.PowerTransformer(method="box-cox"))
    X[23, 1] = -3.0
    with pytest.raises(ValueError, match="X has -3 in row 23, column 1, which target_transform turns into no number"):
        model.predict(X)


@pytest.mark.parametrize("transform", ["exp", 3, np.log1p])
def test_what_is_no_transformer_is_refused(transform):
    with pytest.raises(ValueError, match="'target_transform' parameter"):
        TitansForecaster(target_transform=transform).fit(counts())


def test_it_is_fitted_to_the_training_rows_alone_and_the_argument_stays_unfitted():
    X = counts()
    X[290:] = 1e6
    transform = pre.MinMaxScaler()
    model = fitted(X, target_transform=transform, layers=0)
    assert not hasattr(transform, "scale_")
    assert [one.transformer.data_max_[0] for one in model.preparation_.targets.channels] == X[:270].max(0).tolist()
    assert clone(model).set_params(target_transform__feature_range=(0, 5)).target_transform.feature_range == (0, 5)
    assert "target_transform__clip" in model.get_params()


def test_a_warm_start_goes_on_with_the_same_transform_only():
    X = counts()
    model = fitted(X, layers=0, target_transform=pre.MinMaxScaler(), warm_start=True)
    assert model.set_params(minimum=0, callbacks=[one_step]).fit(X[:200]).predict().shape == (6, 2)
    for other in (None, "log1p", pre.MinMaxScaler((0, 2))):
        with pytest.raises(ValueError, match="warm_start=True goes on from the fitted network, but arguments or data have"):
            model.set_params(target_transform=other).fit(X)


def test_a_column_without_a_training_row_has_nothing_to_fit_to():
    X = counts()
    X[:290, 1] = np.nan
    with pytest.raises(ValueError, match="column 1: there is no observed training row to fit it to; leave the column out"):
        TitansForecaster(**SMALL, target_transform=pre.MinMaxScaler(), callbacks=[pytest.fail]).fit(X)


def test_series_with_values_below_are_left_out_if_that_is_asked():
    frame = long_counts(200, ("a", "b"))
    frame.loc[3, "y"] = -1.0
    with pytest.warns(UserWarning, match="left out 1 series that cannot be used"):
        model = fitted(frame, layers=0, minimum=0, on_error="skip")
    assert list(model.states_) == ["b"]
