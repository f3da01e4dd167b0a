"""P1, P3, P6, P8, P10 and P12 at the forecaster's face: arrays and frames, in models whose memory counts."""

import random
from functools import cache

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from series.estimator_cases import (
    COVARIATES,
    HOURS,
    SMALL,
    as_backend,
    briefly,
    covariate_frame,
    fitted,
    long_frame,
    one_step,
    rows_ahead,
    wave,
    wide_frame,
)

from titans_ts import TitansForecaster, load
from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.series import reading


def close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def numbers(frame):
    return frame.select_dtypes("number").to_numpy()


# --- P1: in pieces or at once ---------------------------------------------------------------------------------------

HISTORIES = {
    "wide": (wide_frame, {}),
    "long": (long_frame, {}),
    "with covariates": (covariate_frame, COVARIATES),
    "on local time": (lambda: wide_frame(HOURS.tz_localize("UTC").tz_convert("Europe/Paris")), {}),
    "with a gap": (lambda: wide_frame().drop(range(120, 130)).reset_index(drop=True), {}),
}
CUTS = {"row by row": range(1, 50), "a first row": [1], "in odd pieces": [7, 100, 131], "at the gap": [120], "late": [289]}


@cache
def model_of(history, precision):
    """Each history is fitted once: what a test reads, it reads into a copy that came from a file."""
    make, arguments = HISTORIES[history]
    return fitted(make(), precision=precision, layers=1, **arguments)


@pytest.mark.filterwarnings("ignore:X. .* missing rows:UserWarning")
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_a_frame_read_in_pieces_equals_the_whole(history, cut, precision, tolerance, tmp_path):
    make, arguments = HISTORIES[history]
    frame = make()
    forecaster = model_of(history, precision)
    future = rows_ahead(frame) if arguments else None
    whole = forecaster.predict(frame, level=[80], future=future)
    forecaster.forget()
    for number, part in enumerate(np.split(np.arange(len(frame)), CUTS[cut])):
        forecaster.update(frame.iloc[part])
        if number == 0:
            forecaster.save(tmp_path / "on the way.titans")
            forecaster = load(tmp_path / "on the way.titans")
    found = forecaster.predict(level=[80], future=future)
    close(numbers(found), numbers(whole), tolerance)
    assert found.drop(columns=found.select_dtypes("number")).equals(whole.drop(columns=whole.select_dtypes("number")))


# --- P3: alone or in company ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["mac", "mag", "mal", "lmm"])
def test_nothing_else_in_the_batch_counts(variant):
    series = [wave(100 + 37 * i, seed=i) for i in range(4)]
    forecaster = fitted(series, variant=variant)
    together = forecaster.predict(series)
    for i in range(4):
        others = [1e6 * wave(60, seed=9)] * 4
        close(forecaster.predict([*others[:i], series[i], *others[i + 1 :]])[i], together[i])
    alone = series[0].copy()
    alone[:, 1] = 1e6
    close(forecaster.predict([alone, *series[1:]])[0][:, 0], together[0][:, 0])  # its other channel
    for jobs in (2, -1):
        close(np.concatenate(forecaster.set_params(n_jobs=jobs).predict(series)), np.concatenate(together))


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
def test_how_many_tokens_are_worked_on_at_once_does_not_count(chunk_size, monkeypatch):
    X = wave(1000, seed=2)
    forecaster = fitted(wave())
    whole, surprised = forecaster.predict(X), forecaster.surprise(X)
    monkeypatch.setattr(reading, "TOKENS_AT_ONCE", max(chunk_size, 5))
    memories = [part for part in forecaster.network_.modules() if isinstance(part, NeuralMemory)]
    assert memories
    for memory in memories:
        memory.chunk_size = chunk_size
    close(forecaster.predict(X), whole)
    close(forecaster.surprise(X), surprised)


@pytest.mark.filterwarnings("ignore:backtest. the weights were trained on rows after:UserWarning")
def test_how_many_origins_are_forecast_at_once_does_not_count():
    X, forecaster = wave(400, seed=3), fitted(wave())
    many = forecaster.backtest(X, windows=40, step=1)[0]
    for windows in (1, 7):
        few = forecaster.backtest(X, windows=windows, step=1)[0]
        same = many.merge(few, on=["unique_id", "ds", "cutoff"], suffixes=("", "_few"))
        assert len(same) == len(few)
        close(same["forecast_few"], same["forecast"])


# --- P6: chance -----------------------------------------------------------------------------------------------------


def trained(seed, **arguments):
    settings = {**SMALL, "validation_fraction": 0, "callbacks": [briefly], "random_state": seed}
    return TitansForecaster(**{**settings, **arguments}).fit(wave(seed=5))


def test_models_in_any_order_give_the_same_numbers_and_leave_global_chance_alone():
    recipes = {"mac": (0, {}), "lmm": (0, {"variant": "lmm"}), "other": (1, {"layers": 1})}

    def run(order):
        models = {name: trained(recipes[name][0], **recipes[name][1]) for name in order}
        return {name: models[name].update(wave(20)).predict(level=[80]).to_numpy() for name in reversed(order)}

    random.seed(5), torch.manual_seed(5), np.random.seed(5)  # noqa: NPY002
    before = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = run(["mac", "lmm", "other"])
    after = random.getstate(), torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    np.testing.assert_array_equal(before[2], after[2])
    torch.manual_seed(99)
    second = run(["other", "lmm", "mac"])
    for name, found in first.items():
        np.testing.assert_array_equal(second[name], found)
    assert not np.array_equal(first["mac"], first["other"])


# --- P8: nothing on disk --------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:backtest. the weights were trained on rows after:UserWarning")
def test_no_method_but_save_writes_to_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    forecaster = trained(0, n_jobs=2)
    forecaster.update(wave(30)).predict(level=[80])
    forecaster.backtest(wave(), windows=2), forecaster.surprise(wave()), forecaster.forget()
    assert list(tmp_path.rglob("*")) == []


# --- P10: the same container out ------------------------------------------------------------------------------------

STAMPS = {
    "naive": HOURS,
    "zoned, in milliseconds": HOURS.tz_localize("UTC").tz_convert("Europe/Paris").as_unit("ms"),
    "daily at nine": pd.date_range("2024-03-02 09:00", periods=300, freq="D", tz="Europe/Paris"),
    "month ends": pd.date_range("1990-01-31", periods=300, freq="ME"),
    "whole numbers": pd.RangeIndex(100, 1000, 3),
}


def dtypes(frame):
    """Return the dtype of each column."""
    schema = frame.dtypes if isinstance(frame, pd.DataFrame) else frame.schema
    return dict(schema) if isinstance(frame, pd.DataFrame | pl.DataFrame) else {field.name: field.type for field in schema}


KINDS = [
    (backend, ("wide", "long")[(i + j) % 2], stamps)  # every pair of two of them
    for i, backend in enumerate(("pandas", "polars", "pyarrow"))
    for j, stamps in enumerate(STAMPS)
]


@pytest.mark.parametrize(("backend", "shape", "stamps"), KINDS)
def test_frames_come_back_in_kind_with_their_time_going_on(backend, shape, stamps):
    times, ids = STAMPS[stamps], [] if shape == "wide" else ["unique_id"]
    frame = (wide_frame if shape == "wide" else long_frame)(times)
    series = 2 if ids else 1
    X, later = (as_backend(frame[a:b], backend) for a, b in ((0, 280 * series), (280 * series, 290 * series)))
    forecaster = fitted(X, layers=1)
    other = as_backend(frame[: 280 * series], "polars" if backend == "pandas" else "pandas")
    assert type(forecaster.predict(other)) is type(other), "the kind of X, not that of fit"
    for found, first in (
        (forecaster.predict(X), 280),
        (forecaster.predict(), 280),
        (forecaster.update(later).predict(), 290),
    ):
        assert type(found) is type(X)
        assert found.shape == (6 * series, len(frame.columns))
        assert dtypes(found) == dtypes(X), "names, unit and zone too"
        stamped = found["ds"].to_pylist() if backend == "pyarrow" else found["ds"].to_list()
        assert list(map(str, stamped)) == list(map(str, times[first : first + 6])) * series
    surprised, (forecasts, metrics) = forecaster.surprise(X), forecaster.backtest(X, windows=2)
    assert {type(surprised), type(forecasts), type(metrics)} == {type(X)}
    assert surprised.shape == X.shape, "ids and stamps beside the values"
    assert dtypes(forecasts)["cutoff"] == dtypes(forecasts)["ds"] == dtypes(X)["ds"]


# --- P12: honest evaluation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("refit", [False, True])
def test_a_backtest_drops_no_window_and_scores_them_all(refit):
    frame = covariate_frame()
    forecaster = fitted(frame[:200], **COVARIATES, layers=1).set_params(callbacks=[one_step])
    found, metrics = forecaster.backtest(frame, windows=5, step=11, refit=refit)
    assert found["cutoff"].unique().tolist() == frame["ds"].iloc[[293 - 11 * k for k in (4, 3, 2, 1, 0)]].tolist()
    assert len(found) == 5 * 6
    actual = frame.set_index("ds")["y"]
    np.testing.assert_array_equal(found["y"], actual[found["ds"]])
    close(metrics["mse"], [np.mean((found["y"] - found["forecast"]) ** 2)])
    close(metrics["mae"], [np.mean(abs(found["y"] - found["forecast"]))])
    assert found["ds"].iloc[-1] == frame["ds"].iloc[-1], "the last row there is was forecast"
    every = forecaster.backtest(frame, windows=None, step=1)[1]
    assert every["windows"].tolist() == [300 - 6 - 180 + 1], "each origin after the 180 rows of training"


@pytest.mark.parametrize("refit", [False, True])
def test_a_backtest_never_looks_ahead(refit):
    frame = covariate_frame()
    forecaster = fitted(frame[:200], **COVARIATES, layers=1).set_params(callbacks=[one_step])
    changed = frame.copy()
    changed.loc[278:, ["y", "past"]] = 50.0
    changed.loc[284:, "ahead"] = 50.0  # up to six rows ahead it may be known
    found, again = (forecaster.backtest(x, windows=5, step=8, refit=refit, level=[80])[0] for x in (frame, changed))
    early = found["cutoff"] <= frame["ds"][277]
    assert early.sum() == 3 * 6
    columns = ["forecast", "forecast-lo-80", "forecast-hi-80"]
    np.testing.assert_array_equal(found.loc[early, columns], again.loc[early, columns])
    assert not np.array_equal(found.loc[~early, columns], again.loc[~early, columns])
    for cutoff in found["cutoff"].unique() if not refit else ():
        known = frame["ds"] <= cutoff
        future = frame.loc[~known, ["ds", "ahead"]][:6]
        expected = forecaster.predict(frame[known], future=future)["y"]
        close(found.loc[found["cutoff"] == cutoff, "forecast"], expected)
