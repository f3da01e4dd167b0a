"""Calls that cannot be answered: too few rows, nothing fitted, wrong arguments, an interrupted fit."""

import os

import numpy as np
import pytest
from series.estimator_cases import everything, fitted, wave
from sklearn.exceptions import NotFittedError

from titans_ts import TitansForecaster
from titans_ts.series import reading


@pytest.fixture(scope="module")
def of_arrays():
    return fitted(wave(), layers=1)


def test_too_short_is_told_in_rows(of_arrays):
    with pytest.raises(ValueError, match="X is too short: its longest series has 9 rows, 8 of them .*; fit needs 9 or more"):
        fitted(wave(9), validation_fraction=0.12)
    assert np.isfinite(fitted(wave(9), validation_fraction=0).predict()).all(), "and so many are enough"
    assert np.isfinite(of_arrays.predict(wave(1))).all()
    with pytest.raises(ValueError, match="windows=10, step=6: series has 59 rows, too few"):
        of_arrays.backtest(wave(59))
    with pytest.raises(ValueError, match="start=60 and stop=60 leave no origin in a series of 60 rows"):
        of_arrays.rolling_errors(wave(60), start=60, horizons=[6])
    with pytest.raises(ValueError, match=r"nothing has been read since forget\(\)"):
        fitted(wave(), layers=1).forget().predict()


UNFITTED = {
    "predict": lambda f: f.predict(),
    "update": lambda f: f.update(wave()),
    "forget": lambda f: f.forget(),
    "surprise": lambda f: f.surprise(wave()),
    "backtest": lambda f: f.backtest(wave()),
    "rolling_errors": lambda f: f.rolling_errors(wave(), start=50, horizons=[6]),
    "save": lambda f: f.save("never.titans"),
    "state_": lambda f: f.state_,
    "n_seen_": lambda f: f.n_seen_,
}


@pytest.mark.parametrize("method", UNFITTED)
def test_an_unfitted_forecaster_says_so(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFittedError, match="not fitted yet. Call 'fit'"):
        UNFITTED[method](TitansForecaster())
    assert not os.listdir(tmp_path)


CALLS = {
    "n_jobs=0": (lambda f: TitansForecaster(n_jobs=0, callbacks=[pytest.fail]).fit(wave()), "n_jobs=0"),
    "no callback": (lambda f: TitansForecaster(callbacks=[3]).fit(wave()), "callbacks holds 3"),
    "quantiles of text": (lambda f: TitansForecaster(quantiles=["low"]).fit(wave()), "quantiles must be increasing numbers"),
    "a level of text": (lambda f: f.predict(level="high"), "level must be a number or a list of numbers"),
    "a nested level": (lambda f: f.predict(level=[[80]]), "level must be a number or a list of numbers"),
    "a level of 100": (lambda f: f.predict(level=[100]), "level must be percentages between 0 and 100"),
    "a level not learned": (lambda f: f.predict(level=[99]), "level=99 is wider .* fit with quantiles that include 0.005"),
    "half a window": (lambda f: f.backtest(wave(), windows=2.5), "windows and step must be whole numbers"),
    "no step": (lambda f: f.backtest(wave(), step=0), "windows and step must be whole numbers, 1 or more"),
    "no horizons": (lambda f: f.rolling_errors(wave(), start=50, horizons=[]), "horizons must be whole numbers"),
    "a horizon of 0": (lambda f: f.rolling_errors(wave(), start=50, horizons=[0]), "horizons must be whole numbers"),
    "a far horizon": (lambda f: f.rolling_errors(wave(), start=50, horizons=[7]), "7 is longer than horizon=6"),
    "half a start": (lambda f: f.rolling_errors(wave(), start=0.5, horizons=[6]), "start and stop must be whole numbers"),
    "two series": (
        lambda f: f.rolling_errors([wave()] * 2, start=50, horizons=[6]),
        "X holds 2 series; rolling_errors",
    ),
    "nothing seen": (
        lambda f: f.rolling_errors(np.where(np.arange(90)[:, None] < 60, wave(90), np.nan), start=60, horizons=[6]),
        "no observed value within 6 rows of start=60",
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_argument_is_refused_by_name(call, of_arrays):
    act, message = CALLS[call]
    with pytest.raises((TypeError, ValueError), match=message):
        act(of_arrays)


@pytest.mark.parametrize("warm_start", [False, True])
def test_an_interrupted_fit_leaves_the_fitted_model(warm_start):
    def interrupt(_run, report):
        if report.step == 2:
            raise KeyboardInterrupt

    forecaster = fitted(wave(), layers=1, warm_start=warm_start)
    before = everything(forecaster)
    with pytest.raises(KeyboardInterrupt):
        forecaster.set_params(callbacks=[interrupt]).fit(wave(seed=1))
    assert everything(forecaster) == before


def test_a_fit_that_is_interrupted_while_it_reads_the_history_leaves_the_fitted_model(monkeypatch):
    """Training is at its end by then, and a long history takes as long again."""
    forecaster = fitted([wave(), wave(seed=2)], layers=1)
    before, absorb, read = everything(forecaster), reading.absorb, []

    def interrupted(*series):
        read.append(series)
        if len(read) == 2:
            raise KeyboardInterrupt
        return absorb(*series)

    monkeypatch.setattr(reading, "absorb", interrupted)
    with pytest.raises(KeyboardInterrupt):
        forecaster.set_params(callbacks=[lambda *_: True]).fit([wave(200, seed=1), wave(200, seed=3)])
    assert len(read) == 2
    assert everything(forecaster) == before
