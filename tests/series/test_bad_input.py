"""What cannot be used is refused before any work, by name, with the place and the remedy; nothing is changed then."""

import os

import numpy as np
import pandas as pd
import pytest
from series.estimator_cases import (
    COVARIATES,
    HOURS,
    covariate_frame,
    everything,
    fitted,
    long_frame,
    rows_ahead,
    wave,
    wide_frame,
)
from sklearn.exceptions import NotFittedError

from titans_ts import TitansForecaster
from titans_ts.series import reader, reading

LOCAL = HOURS.tz_localize("UTC").tz_convert("Europe/Paris")
NEXT = pd.date_range(LOCAL[-1], periods=51, freq="h")[1:]


@pytest.fixture(scope="module")
def forecaster():
    return fitted(covariate_frame(LOCAL), layers=1, **COVARIATES)


@pytest.fixture
def idle(monkeypatch):
    """Fail if anything is read or trained: a refusal comes before the work."""
    for work in ("absorb_together", "surprise", "rolling_forecasts"):
        monkeypatch.setattr(reading, work, lambda *_args, **_more: pytest.fail("work was done before the refusal"))


# --- a frame that is wrong ------------------------------------------------------------------------------------------


def put(column, value, row=17):
    def change(frame):
        frame[column] = frame[column].astype(object if column == "ds" else float)
        frame.loc[row, column] = value
        return frame

    return change


def restamp(change):
    return lambda frame: frame.assign(ds=change(pd.DatetimeIndex(frame["ds"])))


def late(times):
    return times + pd.to_timedelta(np.where(np.arange(len(times)) == 17, 1, 0), "min")


def two_zones(times):
    return pd.Series([*times[:20], *times[20:].tz_convert("Asia/Tokyo")], dtype=object)


ZONE = "X has time stamps of .* in time zone {}, but the model was fitted on .* in time zone Europe/Paris; convert X"
COLUMNS = "X must have the columns seen at fit: .*{}"
BAD = {
    "inf in a target": (put("y", np.inf), "X has inf in row 17, column 'y'"),
    "-inf in a past covariate": (put("past", -np.inf), "X has -inf in row 17, column 'past'"),
    "inf in a future covariate": (put("ahead", np.inf), "X has inf in row 17, column 'ahead'"),
    "NaN in a future covariate": (put("ahead", np.nan), "X has NaN in row 17, column 'ahead'; .* fill it in"),
    "inf in a static covariate": (put("site", np.inf), "X has inf in row 17, column 'site'"),
    "NaN in a static covariate": (put("site", np.nan, row=0), "X has NaN in row 0, column 'site'; .* fill it in"),
    "a static covariate that changes": (put("site", 3.0), "'site' changes to 3 in row 17"),
    "no time stamp": (
        restamp(lambda t: t.where(np.arange(len(t)) != 17)),
        "no time stamp .* in row 17 of column 'ds'",
    ),
    "time going back": (lambda x: x.iloc[[*range(18), 5, *range(18, len(x))]], "row 18. repeats .*row 5.; drop one"),
    "a time stamp twice": (lambda x: x.iloc[[*range(18), *range(17, len(x))]], "row 18. repeats .*; drop one"),
    "a gap where covariates must be known": (lambda x: x.drop(17), "lacks 1 rows .*'ahead'.* add these rows"),
    "a time off the grid": (
        restamp(lambda t: t + pd.to_timedelta((np.arange(len(t)) == 17).astype(int), "min")),
        "row 17. is no whole",
    ),
    "two time zones": (restamp(two_zones), "mixes time zones: row 0 is in Europe/Paris, row 20 .* in Asia/Tokyo; convert"),
    "text for time": (restamp(lambda t: t.astype(str)), "column 'ds' has dtype String.* parse it to dates"),
    "dates for numbers": (lambda x: x.assign(past=x["ds"]), r"columns \['past'\] (hold no|do not hold) numbers"),
    "no rows": (lambda x: x[:0], "X is empty: 0 sample"),
}
UNLIKE = {
    "text for numbers": (lambda x: x.assign(past="high"), r"columns \['past'\] hold no numbers, as they did at fit"),
    "time without a zone": (restamp(lambda t: t.tz_localize(None)), ZONE.format("None")),
    "another time zone": (restamp(lambda t: t.tz_convert("Asia/Tokyo")), ZONE.format("Asia/Tokyo")),
    "whole numbers for time": (lambda x: x.assign(ds=np.arange(len(x))), "X has time stamps of int64"),
    "no time": (lambda x: x.drop(columns="ds"), "X has no time stamps, .* in column 'ds'; add them"),
    "a column less": (lambda x: x.drop(columns="past"), COLUMNS.format(r"missing \['past'\]")),
    "a column more": (lambda x: x.assign(rain=1.0), COLUMNS.format(r"not seen at fit \['rain'\]")),
    "no columns": (lambda x: x[[]], COLUMNS.format("missing|X has no time stamps")),
    "an array": (lambda x: x[["y"]].to_numpy(), "X is an array, but the model was fitted on another kind"),
}


@pytest.mark.parametrize("verb", ["fit", "predict", "update", "surprise", "backtest", "rolling_errors"])
@pytest.mark.parametrize("fault", [*BAD, *UNLIKE])
def test_a_wrong_frame_is_refused_by_place_before_any_work(fault, verb, forecaster, idle, monkeypatch):
    if verb == "fit" and fault in UNLIKE:
        return  # another model, then
    change, message = (BAD | UNLIKE)[fault]
    X = change(covariate_frame(NEXT if verb == "update" else LOCAL))
    before = everything(forecaster)
    monkeypatch.setattr(forecaster, "callbacks", [lambda *_: pytest.fail("training began before the refusal")])
    more = {"rolling_errors": {"start": 200, "horizons": [6]}}.get(verb, {})
    with pytest.raises(ValueError, match=message):
        getattr(forecaster, verb)(X, **more)
    assert everything(forecaster) == before


ASKED = {"target_columns": ["load"], "past_covariates": "wind", "future_covariates": ["wind"], "static_covariates": "wind"}


@pytest.mark.parametrize("argument", [*ASKED, "time_column"])
def test_an_unknown_column_is_named(argument):
    asked = {**ASKED, "time_column": "when"}[argument]
    with pytest.raises(ValueError, match=rf"{argument}.*({'|'.join(np.atleast_1d(asked))}).*columns: \['ds', 'a', 'b'\]"):
        fitted(wide_frame(), **{argument: asked})


FUTURE = {
    "none": (lambda x: None, r"future=None: the model needs the future covariates \['ahead'\]"),
    "too few rows": (lambda x: x[:5], "future lacks 1 of the 6 rows to forecast; the first missing is 2024-04-10"),
    "NaN": (put("ahead", np.nan, row=3), "future has nan in row 3, column 'ahead'"),
    "inf": (put("ahead", np.inf, row=3), "future has inf in row 3, column 'ahead'"),
    "another column": (lambda x: x.rename(columns={"ahead": "wind"}), r"\['ahead'\], which future does not have"),
    "another zone": (
        restamp(lambda t: t.tz_convert("Asia/Tokyo")),
        "future has time stamps .* in time zone Asia/Tokyo; exp",
    ),
    "no zone": (restamp(lambda t: t.tz_localize(None)), "future has time stamps .* in time zone None; expected"),
    "a time twice": (lambda x: x.iloc[[0, 1, *range(len(x))]], "future: the time stamp .* repeats"),
    "no rows": (lambda x: x[:0], "future is empty"),
}


@pytest.mark.parametrize("fault", FUTURE)
def test_wrong_covariates_of_the_rows_ahead_are_refused(fault, forecaster):
    change, message = FUTURE[fault]
    future = rows_ahead(covariate_frame(LOCAL))
    assert np.isfinite(forecaster.predict(future=future)["y"]).all()
    with pytest.raises(ValueError, match=message):
        forecaster.predict(future=change(future))


# --- arrays and many series -----------------------------------------------------------------------------------------

ARRAYS = {
    "a channel less": (wave(50, 1), "X has 1 columns; expected 2"),
    "a channel more": (wave(50, 3), "X has 3 columns; expected 2"),
    "inf": (np.where(np.arange(100).reshape(50, 2) == 35, np.inf, 0), "X has inf in row 17, column 1"),
    "no rows": (wave(0), r"X is empty: 0 sample.* minimum of 1"),
    "no columns": (wave(50, 0), r"X is empty: 0 feature"),
    "three axes": (np.ones((3, 4, 2)), r"expected \(t,\) or \(t, c\)"),
    "ragged": ([[1.0, 2.0], [3.0]], "X is ragged"),
    "text": ([["a", "b"]], "X is a list of dtype <U1; expected an array of numbers"),
}


@pytest.fixture(scope="module")
def of_arrays():
    return fitted(wave(), layers=1)


@pytest.mark.parametrize("verb", ["predict", "update", "surprise", "backtest"])
@pytest.mark.parametrize("fault", ARRAYS)
def test_a_wrong_array_is_refused(fault, verb, of_arrays, idle):
    X, message = ARRAYS[fault]
    before = everything(of_arrays)
    with pytest.raises((TypeError, ValueError), match=message):
        getattr(of_arrays, verb)(X)
    assert everything(of_arrays) == before


def test_one_wrong_series_of_many_is_named_and_leaves_all_as_they_were():
    forecaster = fitted(long_frame(), layers=1)
    before = everything(forecaster)
    later = long_frame(HOURS + pd.Timedelta(hours=300))
    overlap = later.assign(ds=later["ds"].where(later["unique_id"] == "west", later["ds"] - pd.Timedelta(hours=1)))
    twice = later.iloc[[0, 1, 3, *range(2, 600)]]
    for X, message in (
        (overlap, r"row 1, id 'east' .* is not after the last absorbed time stamp .*; pass only rows that come after"),
        (twice, r"row 4, id 'east'|row 5, id 'east'"),
        (later.assign(y=later["y"].where(later.index != 7, -np.inf)), "X has -inf in row 7, id 'east', column 'y'"),
        (later.assign(unique_id=later["unique_id"].where(later.index != 7)), "no id in row 7 of column 'unique_id'"),
        (later[["ds", "y"]].iloc[::2], "it is not clear which series the rows belong to; pass a long frame with the ids"),
    ):
        with pytest.raises(ValueError, match=message):
            forecaster.update(X)
        assert everything(forecaster) == before
    with pytest.raises(ValueError, match="no series 'north'; there are 'west', 'east'"):
        forecaster.forget(["west", "north"])
    assert everything(forecaster) == before, "west is not forgotten either"


def test_a_static_covariate_cannot_change_between_two_updates(forecaster):
    before = everything(forecaster)
    with pytest.raises(ValueError, match=r"static covariate 'site' is 3 now, .* forget\(\)"):
        forecaster.update(covariate_frame(NEXT).assign(site=3.0))
    assert everything(forecaster) == before


# --- what is missing is masked --------------------------------------------------------------------------------------

MISSING = {
    "the first rows": slice(0, 60),
    "longer than the look-back": slice(100, 160),
    "the last rows": slice(240, 299),
    "every other row": slice(0, 299, 2),
    "all rows": slice(0, 299),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("column", ["y", "past"])
@pytest.mark.parametrize("missing", MISSING)
def test_missing_values_never_give_nan_or_a_warning(missing, column, forecaster):
    frame = covariate_frame(LOCAL)
    frame.loc[MISSING[missing], column] = np.nan
    future = rows_ahead(frame)
    models = [forecaster]
    if (missing, column) == ("all rows", "y"):  # loc takes both ends: no target is left to learn from
        with pytest.raises(ValueError, match="column 'y' has no observed value in any of its 300 rows; drop it"):
            fitted(frame, **COVARIATES)
    else:
        models.append(fitted(frame, layers=1, **COVARIATES))
    for model in models:
        found = [model.predict(frame, level=[80], future=future), model.surprise(frame), model.backtest(frame, windows=2)[0]]
        found.append(model.forget().update(frame).predict(level=[80], future=future))
        for out in found:
            assert np.isfinite(out.select_dtypes("number").drop(columns="y" if "cutoff" in out else [])).all(axis=None)
    forecaster.forget().update(covariate_frame(LOCAL))


@pytest.mark.parametrize("size", [1e20, 9.96921e36, 1e60, 1e300])
def test_a_covariate_of_any_size_never_gives_nan(size, forecaster):
    frame = covariate_frame(LOCAL)
    future = rows_ahead(frame)
    future.loc[future.index[2], "ahead"] = size
    assert np.isfinite(forecaster.predict(frame, future=future)["y"]).all()
    frame.loc[17, ["past", "ahead"]] = size
    assert np.isfinite(forecaster.predict(frame, future=rows_ahead(covariate_frame(LOCAL)))["y"]).all()


def test_a_gap_is_filled_counted_and_told():
    forecaster = fitted(wide_frame(), layers=1)
    gapped = wide_frame(HOURS + pd.Timedelta(hours=310)).drop(range(20, 25))
    with pytest.warns(UserWarning, match="X: 15 missing rows were filled with NaN .* the first gap: 10 before .* .row 0"):
        forecaster.update(gapped)
    assert forecaster.n_seen_ == 300 + 10 + 300
    assert forecaster.predict()["ds"].iloc[0] == gapped["ds"].iloc[-1] + pd.Timedelta(hours=1)


@pytest.mark.parametrize("value", [0.0, 5.0, -1e-300, 1e300])
def test_a_constant_has_finite_forecasts_in_order(value):
    X = np.full((200, 2), value)
    forecaster = fitted(X, layers=1)
    found = forecaster.update(X).predict(level=[50, 80])
    low, middle, high = (found[f"y1{side}"].to_numpy() for side in ("-lo-80", "", "-hi-80"))
    assert np.isfinite([low, middle, high, forecaster.surprise(X)[:6, 0]]).all()
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert np.isfinite(forecaster.backtest(X, windows=3)[0]["forecast"]).all()


# --- wrong calls ------------------------------------------------------------------------------------------------------


def test_too_short_is_told_in_rows(of_arrays):
    with pytest.raises(ValueError, match="X is too short: its longest series has 9 rows, 8 of them .*; fit needs 9 or more"):
        fitted(wave(9), validation_fraction=0.12)
    assert np.isfinite(fitted(wave(9), validation_fraction=0).predict()).all(), "and so many are enough"
    told = r"patch_length='auto' is 8 for a look-back of 49 rows: give more rows, or set patch_length=7$"
    with pytest.raises(ValueError, match=told):
        fitted(wave(8), patch_length="auto", lookback="auto", season_length=24)
    assert np.isfinite(fitted(wave(8), patch_length=7, lookback="auto", season_length=24).predict()).all()
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
    "quantiles in percent": (
        lambda f: TitansForecaster(quantiles=[10, 50, 90]).fit(wave()),
        r"quantiles must be increasing numbers between 0 and 1, got \[10, 50, 90\]; did you mean 0.1\?",
    ),
    "a level of text": (lambda f: f.predict(level="high"), "level must be a number or a list of numbers"),
    "a nested level": (lambda f: f.predict(level=[[80]]), "level must be a number or a list of numbers"),
    "a level of 100": (lambda f: f.predict(level=[100]), "level must be percentages between 0 and 100"),
    "a level of a share": (lambda f: f.predict(level=[0.8]), "levels are percentages; did you mean 80"),
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
    before, absorb, read = everything(forecaster), reading.absorb_together, []

    def interrupted(*series, **more):
        read.append(series)
        if len(read) == 2:
            raise KeyboardInterrupt
        return absorb(*series, **more)

    monkeypatch.setattr(reading, "absorb_together", interrupted)
    monkeypatch.setattr(reader, "SERIES_AT_ONCE", 1)
    with pytest.raises(KeyboardInterrupt):
        forecaster.set_params(callbacks=[lambda *_: True]).fit([wave(200, seed=1), wave(200, seed=3)])
    assert len(read) == 2
    assert everything(forecaster) == before
