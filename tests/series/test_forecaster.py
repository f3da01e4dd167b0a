"""The promises, at the forecaster's face."""

import warnings
from functools import cache

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from series.estimator_cases import SMALL, briefly, fitted, wave
from sklearn.base import clone

from titans_ts import MemoryState, TitansForecaster, load


def trained(X, **arguments):
    """Fit through all phases; ``fitted`` stops at once, and makes the memory's word count."""
    return TitansForecaster(**{**SMALL, "max_steps": 3, "random_state": 0, **arguments}).fit(X)


@pytest.fixture(scope="module")
def forecaster():
    return fitted(wave(400))


@pytest.fixture
def fresh(forecaster, tmp_path):
    """A copy that a test may change."""
    forecaster.save(tmp_path / "model.titans")
    return load(tmp_path / "model.titans")


@cache
def model_of(variant, precision):
    """Each is fitted once, for tests that forget all that was read."""
    return fitted(wave(400), variant=variant, precision=precision)


@pytest.mark.parametrize("pieces", [[1] * 20 + [180], [7, 93, 100], [199, 1]])
@pytest.mark.parametrize("variant", ["mac", "mag", "mal", "lmm"])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_update_in_pieces_equals_update_at_once_and_predict_of_the_whole(variant, pieces, precision, tolerance):
    X = wave(200, seed=1)
    forecaster = model_of(variant, precision)
    whole = forecaster.predict(X)
    forecaster.forget()
    for part in np.split(X, np.cumsum(pieces)[:-1]):
        forecaster.update(part)
    assert forecaster.n_seen_ == 200
    np.testing.assert_allclose(forecaster.predict(), whole, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "switch",
    [{"convolution": 1}, {"momentum": False}, {"forgetting": False}, {"persistent_tokens": 0}, {"memory_depth": 1}],
    ids=lambda switch: next(iter(switch)),
)
def test_each_part_of_the_paper_can_be_switched_off(switch):
    """The ablation: every switch changes the model, which still reads in pieces as at once."""
    X = wave(120, seed=1)
    forecaster, whole = fitted(wave(400), **switch), model_of("mac", "auto")
    assert sum(x.numel() for x in forecaster.network_.parameters()) < sum(x.numel() for x in whole.network_.parameters())
    forecast = forecaster.predict(X)
    assert np.abs(forecast - whole.predict(X)).max() > 1e-6
    forecaster.forget().update(X[:50]).update(X[50:])
    np.testing.assert_allclose(forecaster.predict(), forecast, rtol=1e-5, atol=1e-6)


def test_slots_are_a_part_of_the_state_that_is_saved_and_reads_in_pieces(tmp_path):
    X = wave(120, seed=1)
    forecaster = fitted(wave(400), slots=4)
    with torch.no_grad():
        for name, x in forecaster.network_.named_parameters():
            if name.endswith("slots.strength"):
                x += 1
    forecast = forecaster.predict(X)
    forecaster.save(tmp_path / "model.titans")
    again = load(tmp_path / "model.titans").forget().update(X[:50])
    again.state_.save(tmp_path / "state.titans")
    assert [name for name in again.state_.tensors if "slots" in name]
    again.forget().remember(MemoryState.load(tmp_path / "state.titans")).update(X[50:])
    np.testing.assert_allclose(again.predict(), forecast, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("damping", [True, False])
def test_on_quiet_rows_rounding_fades_where_steps_are_damped(damping):
    """A pulse over a silent line: keys of one refresh are alike, and undamped writes overshoot until rounding is seen."""
    rows = np.arange(8000)
    X = np.exp(-(((rows % 90 - 40) / 3) ** 2)) + 1e-5 * np.random.default_rng(0).standard_normal(len(rows))
    forecaster = fitted(X[:400], refresh_every=16, window=16, damping=damping, random_state=1)  # of three seeds one drifts
    whole = forecaster.predict(X)
    forecaster.forget()
    for first in range(0, len(X), 997):
        forecaster.update(X[first : first + 997])
    apart = np.abs(forecaster.predict() - whole).max() / np.abs(whole).max()
    assert apart < 1e-5 if damping else apart > 1e-5


OTHERS = ["linear_attention", "retnet", "mamba2", "gated_deltanet", "momentum_deltanet", "longhorn", "ttt_mlp"]


@pytest.mark.parametrize(
    "settings",
    [*({"memory": name} for name in OTHERS), {"memory": "mesa"}, {"memory": "omega", "key_degree": 2}],
    ids=lambda settings: settings["memory"],
)
def test_every_memory_can_be_chosen_and_comes_back_from_a_file(settings, tmp_path):
    X = wave(120, seed=1)
    forecaster = fitted(wave(400), variant="lmm", **settings)
    forecast = forecaster.predict(X)
    assert np.isfinite(forecast).all()
    forecaster.save(tmp_path / "model.titans")
    again = load(tmp_path / "model.titans")
    np.testing.assert_allclose(again.predict(X), forecast, rtol=1e-6)
    again.forget().update(X[:50]).state_.save(tmp_path / "state.titans")
    again.forget().remember(MemoryState.load(tmp_path / "state.titans")).update(X[50:])
    np.testing.assert_allclose(again.predict(), forecast, rtol=1e-5, atol=1e-6)


def test_state_does_not_grow_and_nothing_is_cut(fresh):
    sizes = []
    for rows in (1000, 8000):
        fresh.forget().update(wave(rows))
        sizes.append(fresh.state_.nbytes)
        assert fresh.n_seen_ == rows
    assert sizes[0] == sizes[1]


def test_a_series_does_not_depend_on_its_neighbours():
    series = [wave(300, 1, seed=i) for i in range(3)]
    forecaster = fitted(series)
    together = forecaster.predict()
    for i in range(3):
        only = [np.full((40, 1), 1e6), np.full((40, 1), 1e6), np.full((40, 1), 1e6)]
        only[i] = series[i]
        np.testing.assert_allclose(forecaster.predict(only)[i], together[i], rtol=1e-5, atol=1e-6)
    forecaster.set_params(n_jobs=2)
    np.testing.assert_array_equal(np.stack(forecaster.predict()), np.stack(together))


@pytest.mark.parametrize("hole", [slice(0, 60), slice(100, 160), slice(340, 400)])
def test_missing_values_never_give_nan(hole):
    X = wave(400)
    X[hole, 0] = np.nan
    forecaster = fitted(X)
    assert np.isfinite(forecaster.predict()).all()
    assert np.isfinite(forecaster.predict(np.where(np.arange(90)[:, None] < 50, np.nan, X[200:290]))).all()
    assert np.isfinite(forecaster.surprise(X)).all()


def test_arrays_that_must_not_be_written_to_are_taken_without_a_word():
    """As pandas hands them out; torch warns of such an array once a process, unless it is told to do so always."""
    X = wave(200, 1)
    X.flags.writeable = False
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fitted(X).update(X).predict()
    finally:
        torch.set_warn_always(False)


@pytest.mark.parametrize("backend", ["pandas", "polars"])
def test_frames_come_back_as_they_went_in_with_time_continued(backend):
    times = pd.date_range("2024-01-01", periods=400, freq="h")
    frame = pd.DataFrame({"ds": times, "a": wave(400)[:, 0], "b": wave(400)[:, 1]})
    X = frame if backend == "pandas" else pl.from_pandas(frame)
    found = fitted(X).predict(level=[80])
    assert type(found) is type(X)
    assert list(found.columns) == ["ds", "a", "a-lo-80", "a-hi-80", "b", "b-lo-80", "b-hi-80"]
    assert pd.DatetimeIndex(found["ds"].to_numpy())[0] == times[-1] + pd.Timedelta("1h")
    low, middle, high = (found[name].to_numpy() for name in ("a-lo-80", "a", "a-hi-80"))
    assert (low <= middle).all()
    assert (middle <= high).all()


def test_long_frames_update_by_id_and_start_new_series():
    times = pd.date_range("2024-01-01", periods=300, freq="h")
    frame = pd.concat(
        [pd.DataFrame({"unique_id": name, "ds": times, "y": wave(300, 1, i)[:, 0]}) for i, name in enumerate("ab")]
    )
    forecaster = fitted(frame)
    later = pd.DataFrame({"unique_id": ["b", "c"], "ds": [times[-1] + pd.Timedelta("1h"), times[0]], "y": [0.1, 0.2]})
    forecaster.update(later)
    assert forecaster.n_seen_ == {"a": 300, "b": 301, "c": 1}
    assert np.isfinite(forecaster.predict()["y"]).all()
    with pytest.raises(ValueError, match="'b'|b"):
        forecaster.update(later.iloc[:1])
    forecaster.forget("b")
    assert forecaster.n_seen_["b"] == 0


def test_an_unknown_series_does_not_depend_on_how_its_rows_came():
    frame = pd.DataFrame({"unique_id": "a", "ds": np.arange(300), "y": wave(300, 1)[:, 0]})
    new = pd.DataFrame({"unique_id": "z", "ds": np.arange(120), "y": 100 + 7 * wave(120, 1, 4)[:, 0]})
    whole, parts = fitted(frame), fitted(frame)
    whole.update(new)
    for first in range(0, 120, 13):
        parts.update(new.iloc[first : first + 13])
    np.testing.assert_allclose(parts.predict()["y"], whole.predict()["y"], rtol=1e-5)


def test_covariates_known_in_advance_matter_and_are_asked_for():
    chance = np.random.default_rng(0)
    push = chance.normal(size=700)
    frame = pd.DataFrame({"y": wave(700, 1)[:, 0] + push, "push": push})
    forecaster = trained(frame, future_covariates="push", layers=0)
    with pytest.raises(ValueError, match="push"):
        forecaster.predict()
    low, high = (forecaster.predict(future=pd.DataFrame({"push": np.full(6, x)})) for x in (-1.0, 1.0))
    assert (high["y"].to_numpy() - low["y"].to_numpy() > 1.0).all()


def test_backtest_never_looks_ahead(forecaster):
    X = wave(500, seed=7)
    found, metrics = forecaster.backtest(X, windows=5, step=11, level=[80])
    changed = X.copy()
    changed[480:] += 100
    again, _ = forecaster.backtest(changed, windows=5, step=11, level=[80])
    early = found["cutoff"] < 480
    assert early.any()
    np.testing.assert_array_equal(found.loc[early, "forecast"], again.loc[early, "forecast"])
    assert metrics["windows"].tolist() == [5, 5]
    for cutoff in found["cutoff"].unique():
        one = found[(found["cutoff"] == cutoff) & (found["unique_id"] == "y0")]
        np.testing.assert_allclose(one["forecast"], forecaster.predict(X[: cutoff + 1])[:, 0], rtol=1e-5, atol=1e-6)


def test_rolling_errors_counts_every_window(forecaster):
    X = wave(460, seed=2)
    found = forecaster.rolling_errors(X, start=445, horizons=[2, 6])
    for horizon, (mse, mae) in found.items():
        errors = [
            forecaster.predict(X[:origin])[:horizon] - X[origin : origin + horizon] for origin in range(445, 461 - horizon)
        ]
        np.testing.assert_allclose(mse, np.mean(np.square(errors)), rtol=1e-5)
        np.testing.assert_allclose(mae, np.mean(np.abs(errors)), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "mcd"}, "variant"),
        ({"memory": "tiatns"}, "memory"),
        ({"width": 30, "heads": 4}, "heads"),
        ({"patch_length": 64}, "patch_length"),
        ({"quantiles": (0.9, 0.1)}, "quantiles"),
        ({"horizon": 0}, "horizon"),
        ({"device": "nowhere"}, "device"),
    ],
)
def test_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        fitted(wave(400), **arguments)


def test_too_short_and_wrong_channels_are_refused(forecaster):
    with pytest.raises(ValueError, match="too short"):
        fitted(wave(5))
    with pytest.raises(ValueError, match="column|channel"):
        forecaster.predict(wave(50, 3))
    with pytest.raises(ValueError, match="level"):
        forecaster.predict(level=[100])


def test_a_constant_series_is_forecast_by_its_constant():
    np.testing.assert_allclose(trained(np.full(300, 5.0), callbacks=[briefly]).predict(), 5.0, rtol=0.02)


def test_clone_and_mixed_channels():
    forecaster = trained(wave(400), channels="mixed", callbacks=[briefly])
    again = clone(forecaster).fit(wave(400))
    np.testing.assert_array_equal(again.predict(), forecaster.predict())
    assert forecaster.surprise(wave(400)).shape == (400, 1)
