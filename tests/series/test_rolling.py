"""Backtests and scores: the metrics, Nixtla's ``utilsforecast`` as an oracle, ``score``."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from series.estimator_cases import (
    COVARIATES,
    HOURS,
    as_backend,
    covariate_frame,
    everything,
    fitted,
    long_frame,
    wave,
    wide_frame,
)
from sklearn.exceptions import NotFittedError
from sklearn.metrics import mean_pinball_loss
from sklearn.model_selection import TimeSeriesSplit, cross_val_score
from utilsforecast import losses
from utilsforecast.evaluation import evaluate

from titans_ts import TitansForecaster, load
from titans_ts.learn import metrics
from titans_ts.series import forecaster as forecaster_module

# --- backtests beside utilsforecast -----------------------------------------------------------------------------------


LEVELS = [50, 80]
ROWS = 220  # to learn from, of each series of 300
WINDOWS = 3
METRICS = {
    "mae": losses.mae,
    "mse": losses.mse,
    "rmse": losses.rmse,
    "bias": losses.bias,
    "quantile_loss": losses.quantile_loss,
    "mqloss": losses.mqloss,
    "coverage": losses.coverage,
    "winkler_score": losses.winkler_score,
    "scaled_crps": losses.scaled_crps,
}


def panel(backend="pandas", hours=HOURS):
    """Three sites, the last of which begins late."""
    frame = long_frame(hours, ("west", "east", "north"))
    return as_backend(frame[(frame["unique_id"] != "north") | (frame["ds"] >= hours[40])], backend)


def known(frame):
    return frame[frame["ds"] < HOURS[ROWS]]


@pytest.fixture(scope="module")
def forecaster():
    return fitted(known(panel()), layers=0)


def pinball_losses(part):
    """scikit-learn's pinball loss of every quantile that the levels speak of, by quantile."""
    found = {}
    for level in LEVELS:
        for side, quantile in (("lo", (100 - level) / 200), ("hi", (100 + level) / 200)):
            found[quantile] = mean_pinball_loss(part["y"], part[f"forecast-{side}-{level}"], alpha=quantile)
    return found


def scores_of_ours(part):
    """What utilsforecast calls its metrics, by ours, over some rows of a backtest."""
    y, forecast = part["y"].to_numpy(), part["forecast"].to_numpy()
    pinball = pinball_losses(part)
    scores = {
        "mae": metrics.mean_absolute_error(y, forecast),
        "mse": metrics.mean_squared_error(y, forecast),
        "rmse": metrics.mean_squared_error(y, forecast) ** 0.5,
        "bias": np.mean(forecast - y),
        "mqloss": np.mean(list(pinball.values())),
        "scaled_crps": 2 * np.mean(list(pinball.values())) * len(y) / np.abs(y).sum(),
    }
    scores |= {f"quantile_loss_q{quantile}": loss for quantile, loss in pinball.items()}
    for level in LEVELS:
        low, high, alpha = part[f"forecast-lo-{level}"], part[f"forecast-hi-{level}"], 1 - level / 100
        scores[f"coverage_level{level}"] = metrics.interval_coverage(y, low, high)
        outside = np.maximum(low - y, 0) + np.maximum(y - high, 0)
        scores[f"winkler_score_level{level}"] = np.mean(high - low + 2 / alpha * outside)
    return scores


@pytest.mark.parametrize("backend", ["pandas", "polars"])
def test_every_score_of_a_series_and_cutoff_is_ours(forecaster, backend):
    forecasts, _ = forecaster.backtest(panel(backend), windows=WINDOWS, level=LEVELS)
    found = evaluate(forecasts, list(METRICS.values()), models=["forecast"], level=LEVELS)
    assert type(found) is type(forecasts)
    found, rows = (frame if backend == "pandas" else frame.to_pandas() for frame in (found, forecasts))
    parts = list(rows.groupby(["unique_id", "cutoff"]))
    assert len(parts) == 3 * WINDOWS
    for (name, cutoff), part in parts:
        ours = scores_of_ours(part)
        theirs = found[(found["unique_id"] == name) & (found["cutoff"] == cutoff)].set_index("metric")["forecast"]
        assert set(theirs.index) == set(ours)
        for metric, score in ours.items():
            assert theirs[metric] == pytest.approx(score, rel=1e-10), (metric, name, cutoff)
    for metric in ("mae", "mse", "mqloss"):
        assert found.loc[found["metric"] == metric, "forecast"].nunique() == len(parts), "the parts differ"


@pytest.mark.parametrize("backend", ["pandas", "polars"])
def test_the_table_of_a_backtest_is_what_utilsforecast_makes_of_its_forecasts(forecaster, backend):
    X = panel(backend)
    forecasts, table = forecaster.backtest(X, windows=WINDOWS, level=LEVELS)
    rows, table = (frame if backend == "pandas" else frame.to_pandas() for frame in (forecasts, table))
    history = panel()
    history = history[history["ds"] <= rows["cutoff"].min()]
    if backend == "polars":
        history = as_backend(history, backend)
    by_step = [partial(loss, seasonality=1) for loss in (losses.mase, losses.rmsse)]
    theirs, by_day = (
        evaluate(
            forecasts.drop(columns="cutoff") if backend == "pandas" else forecasts.drop("cutoff"),
            scores,
            models=["forecast"],
            train_df=history,
            level=LEVELS,
        )
        for scores in (
            [losses.mae, losses.mse, losses.coverage, losses.smape, *by_step],
            [partial(losses.mase, seasonality=24)],
        )
    )
    theirs, by_day = (
        (found if backend == "pandas" else found.to_pandas())
        .pivot(index="unique_id", columns="metric", values="forecast")
        .loc[table["unique_id"]]
        for found in (theirs, by_day)
    )
    theirs["seasonal"] = by_day["mase"]
    columns = {
        "mae": "mae",
        "mse": "mse",
        "mase": "mase",
        "seasonal_mase": "seasonal",
        "rmsse": "rmsse",
        "smape": "smape",
        "coverage-50": "coverage_level50",
        "coverage-80": "coverage_level80",
    }
    for ours, name in columns.items():
        np.testing.assert_allclose(table[ours], theirs[name], rtol=1e-10, err_msg=ours)
    assert (table["windows"] == WINDOWS).all()
    assert (table["season_length"] == 24).all()


def test_the_score_of_quantiles_is_that_of_those_learned(forecaster):
    learned = list(forecaster.quantiles)
    forecasts, table = forecaster.backtest(panel(), windows=WINDOWS, quantiles=learned)
    names = [f"forecast-q-{100 * share:g}" for share in learned]
    for name, rows in forecasts.groupby("unique_id"):
        expected = metrics.crps(rows["y"], rows[names], learned)
        close(table.loc[table["unique_id"] == name, "crps"], expected, 1e-9)
    _, alone = forecaster.backtest(panel(), windows=WINDOWS)
    pd.testing.assert_frame_equal(alone, table)


def test_a_season_is_that_of_the_frequency_or_as_asked():
    X = wave()
    model = fitted(X[:KNOWN], layers=0)
    _, table = model.backtest(X, windows=2)
    assert (table["season_length"] == 1).all(), "arrays have no frequency"
    np.testing.assert_array_equal(table["seasonal_mase"], table["mase"])
    _, table = model.backtest(X, windows=2, season_length=24)
    history = X[: 300 - 12]
    close(table["seasonal_mase"], table["mae"] / np.abs(history[24:] - history[:-24]).mean(0), 1e-12)
    _, table = model.backtest(X, windows=2, season_length=500)
    assert table["seasonal_mase"].isna().all()
    assert table["mase"].notna().all()
    for wrong in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="season_length must be a whole number of rows, 1 or more, got"):
            model.backtest(X, windows=2, season_length=wrong)


def test_what_cannot_be_said_of_a_constant_is_nan_and_never_infinite():
    X = np.full((300, 2), 3.0)
    X[:, 1] = 0.0
    _, table = fitted(X[:KNOWN], layers=0).backtest(X, windows=2)
    assert table[["mase", "seasonal_mase", "rmsse"]].isna().all(axis=None)
    assert np.isfinite(table[["mae", "mse", "smape", "crps"]]).all(axis=None)


# --- fits in between --------------------------------------------------------------------------------------------------


def backtest_by_hand(X, windows, every):
    """Fit before every so many windows, and forecast each window from all rows before it."""
    found = []
    for k in range(windows):
        origin = 300 - HORIZON * (windows - k)
        if k % every == 0:
            model = TitansForecaster(**REFITTED, callbacks=[few_steps]).fit(X[:origin])
        found.append(model.predict(X[:origin]))
    return np.stack(found)


REFITTED = {"horizon": 6, "lookback": 24, "patch_length": 8, "layers": 0, "random_state": 0, "target_transform": "sqrt"}


@pytest.mark.parametrize(("refit", "every"), [(True, 1), (1, 1), (2, 2), (np.int64(3), 3), (9, 9)])
def test_it_is_fitted_anew_before_every_so_many_windows(refit, every, monkeypatch):
    X = wave(channels=1) + 2
    model = TitansForecaster(**REFITTED, callbacks=[few_steps]).fit(X[:200])
    fits, fit = [], forecaster_module.fit_panel
    monkeypatch.setattr(forecaster_module, "fit_panel", lambda *asked, **more: fits.append(asked) or fit(*asked, **more))
    found = model.backtest(X, windows=4, refit=refit)[0]["forecast"].to_numpy().reshape(4, 6, 1)
    assert len(fits) == -(-4 // every)
    close(found, backtest_by_hand(X, 4, every), 1e-5)
    assert model.n_seen_ == 200, "the fitted model stays as it is"


@pytest.mark.parametrize("refit", [-1, 2.0, "often", None])
def test_a_refit_is_yes_or_no_or_a_number(refit):
    with pytest.raises(ValueError, match=r"refit=.* must be True, False, or a number of windows .* for example refit=5"):
        fitted(wave(), layers=0).backtest(wave(), refit=refit)


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_a_loss_of_utilsforecast_alone_takes_every_kind_of_frame(forecaster, backend):
    forecasts, _ = forecaster.backtest(panel(backend), windows=WINDOWS)
    forecasts = forecasts.drop(columns="cutoff") if backend == "pandas" else forecasts.drop(["cutoff"])
    found = losses.smape(forecasts, models=["forecast"])
    assert type(found) is type(forecasts)
    rows, found = (frame if backend == "pandas" else frame.to_pandas() for frame in (forecasts, found))
    terms = np.abs(rows["y"] - rows["forecast"]) / (np.abs(rows["y"]) + np.abs(rows["forecast"]))
    expected = terms.groupby(rows["unique_id"]).mean()
    np.testing.assert_allclose(found.set_index("unique_id")["forecast"].loc[expected.index], expected, rtol=1e-10)


@pytest.mark.parametrize("kind", ["wide frame", "array", "list of arrays"])
def test_channels_and_items_are_series_to_utilsforecast(kind):
    history, X = {
        "wide frame": lambda: (wide_frame(HOURS[:ROWS]), wide_frame()),
        "array": lambda: (wave()[:ROWS], wave()),
        "list of arrays": lambda: ([wave(300, 1)[:ROWS], wave(300, 1, 1)[:ROWS]], [wave(300, 1), wave(300, 1, 1)]),
    }[kind]()
    forecasts, table = fitted(history, layers=0).backtest(X, windows=WINDOWS, level=80)
    found = evaluate(forecasts.drop(columns="cutoff"), [losses.mae, losses.coverage], models=["forecast"], level=[80])
    for ours, name in (("mae", "mae"), ("coverage-80", "coverage_level80")):
        theirs = found[found["metric"] == name].set_index("unique_id")["forecast"]
        np.testing.assert_allclose(table[ours], theirs.loc[table["unique_id"]], rtol=1e-10)
    assert len(table) == 2
    assert table["mae"].nunique() == 2


def test_forecasts_beside_another_model_are_compared(forecaster):
    """The frame is Nixtla's: a column of another model is scored beside ours, and so is an average over the series."""
    forecasts, _ = forecaster.backtest(panel(), windows=WINDOWS)
    last = panel().rename(columns={"ds": "cutoff", "y": "last value"})
    both = forecasts.merge(last, on=["unique_id", "cutoff"])
    assert len(both) == len(forecasts)
    found = evaluate(both, [losses.mae], agg_fn="mean")
    expected = [np.abs(both["y"] - both[name]).groupby(both["cutoff"]).mean() for name in ("forecast", "last value")]
    np.testing.assert_allclose(found[["forecast", "last value"]].to_numpy().T, expected, rtol=1e-10)
    assert isinstance(found["cutoff"].iloc[0], pd.Timestamp)


# --- score ------------------------------------------------------------------------------------------------------------


KNOWN, HORIZON = 280, 6  # of 300 rows; 20 follow: three horizons and two rows
TRAINED = 252  # a tenth of the rows is for validation


def close(found, expected, tolerance=1e-6):
    np.testing.assert_allclose(found, expected, rtol=tolerance)


def by_hand(forecaster, values, spread):
    """Return the score of rows ``(t, c)`` of one series by forecasts that are asked for one after the other."""
    errors = []
    for first in range(0, len(values), HORIZON):
        part = values[first : first + HORIZON]
        errors.append((forecaster.predict()[: len(part)] - part) / spread)
        forecaster.update(part)
    return -np.nanmean(np.abs(np.concatenate(errors)))


def test_it_is_the_error_of_one_horizon_after_the_other_in_spreads():
    X = wave() * [1.0, 50.0] + [0.0, 1000.0]
    found = fitted(X[:KNOWN]).score(X[KNOWN:])
    close(found, by_hand(fitted(X[:KNOWN]), X[KNOWN:], X[:TRAINED].std(0)))
    assert found < -0.01


@pytest.mark.parametrize("rows", [1, 5, 6, 7, 12])
def test_every_row_counts_however_many_there_are(rows):
    X = wave()
    forecaster = fitted(X[:KNOWN], layers=1)
    found = [forecaster.score(X[KNOWN : KNOWN + n]) * n for n in (rows - 1, rows) if n]
    last = found[-1] - (found[0] if len(found) == 2 else 0)
    expected = np.abs(forecast_of_row(forecaster, X, rows - 1) - X[KNOWN + rows - 1]) / X[:TRAINED].std(0)
    close(last, -expected.mean())


def forecast_of_row(forecaster, X, row):
    """Return what is forecast of a row after those that were known."""
    origin = KNOWN + row // HORIZON * HORIZON
    return forecaster.predict(X[:origin])[row % HORIZON]


def test_its_own_forecast_is_perfect_and_what_is_farther_from_it_scores_less():
    forecaster = fitted(wave(KNOWN))
    ahead = forecaster.predict()
    scores = [forecaster.score(ahead + distance) for distance in (0.0, 0.1, -0.5, 2.0)]
    assert scores[0] == pytest.approx(0, abs=1e-12)
    assert sorted(scores, reverse=True) == scores
    close(scores[2], -np.mean(0.5 / wave(KNOWN)[:TRAINED].std(0)))


def test_no_unit_outweighs_another():
    X = wave()
    units = X * [2.0**20, 2.0**-20] + [2.0**21, 0.0]
    close(fitted(units[:KNOWN]).score(units[KNOWN:]), fitted(X[:KNOWN]).score(X[KNOWN:]), 1e-4)


CONTAINERS = {
    "wide": (wide_frame(), 1, {}),
    "long": (long_frame(), 2, {}),
    "with covariates": (covariate_frame(), 1, COVARIATES),
    "by index": (wide_frame().set_index("ds"), 1, {}),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_it_reads_what_fit_reads(container):
    """Series of a frame, by themselves and from their first row on, score what they score together."""
    frame, series, arguments = CONTAINERS[container]
    known, asked = frame.iloc[: KNOWN * series], frame.iloc[KNOWN * series :]
    forecaster = fitted(known, layers=1, **arguments)
    before = everything(forecaster)
    found = forecaster.score(asked)
    assert everything(forecaster) == before, "state, weights and all"
    errors = []
    for first in range(0, len(asked), HORIZON * series):
        part = asked.iloc[first : first + HORIZON * series]
        future = {"future": rows_known(part)} if arguments else {}
        ahead = forecaster.predict(**future)
        keys = [name for name in ("unique_id", "ds") if name in part]
        both = part.merge(ahead, on=keys or "ds", suffixes=("", "_ahead"))
        assert len(both) == len(part)
        for name in ("a", "b", "y"):
            if name in part:
                spreads = known.groupby("unique_id")["y"].apply(spread) if series > 1 else spread(known[name])
                spreads = both["unique_id"].map(spreads) if series > 1 else spreads
                errors.append((both[name] - both[f"{name}_ahead"]).abs() / spreads)
        forecaster.update(part)
    close(found, -np.mean(np.concatenate(errors)))


def spread(values):
    return values.iloc[:TRAINED].std(ddof=0)


def rows_known(part):
    """Return the covariates of a part, and made-up ones for the rows of the horizon that X does not reach."""
    times = pd.date_range(part["ds"].iloc[0], periods=HORIZON, freq="h")
    return part[["ds", "ahead"]].set_index("ds").reindex(times, fill_value=1e3).rename_axis("ds").reset_index()


def test_a_list_of_arrays_is_scored_value_by_value_whatever_the_threads():
    series = [wave(seed=i) * 10.0**i for i in range(3)]
    ends = [300, 290, KNOWN + 1]
    forecaster = fitted([one[:KNOWN] for one in series], layers=1)
    errors = []
    for first in range(KNOWN, 300, HORIZON):
        ahead = forecaster.predict([one[:first] for one in series])
        for found, one, end in zip(ahead, series, ends, strict=True):
            part = one[first : min(first + HORIZON, end)]
            errors.append((found[: len(part)] - part) / one[:TRAINED].std(0))
    parts = [one[KNOWN:end] for one, end in zip(series, ends, strict=True)]
    found = forecaster.score(parts)
    close(found, -np.abs(np.concatenate(errors)).mean(), 1e-5)
    for jobs in (2, -1):
        assert forecaster.set_params(n_jobs=jobs).score(parts) == found


def test_missing_values_are_left_out():
    X = wave()
    asked = X[KNOWN:].copy()
    asked[3], asked[8, 1] = np.nan, np.nan
    forecaster = fitted(X[:KNOWN], layers=1)
    close(forecaster.score(asked), by_hand(fitted(X[:KNOWN], layers=1), asked, X[:TRAINED].std(0)))


@pytest.mark.filterwarnings("ignore:X. 4 missing rows were filled:UserWarning")
def test_rows_after_what_was_read_and_before_those_given_are_missing_ones():
    frame = wide_frame()
    with_nan = frame.iloc[KNOWN:].copy()
    with_nan.iloc[:4, 1:] = np.nan
    forecaster = fitted(frame.iloc[:KNOWN], layers=1)
    assert forecaster.score(frame.iloc[KNOWN + 4 :]) == forecaster.score(with_nan)


def test_it_scores_from_where_update_left_off():
    X = wave()
    forecaster = fitted(X[:250], layers=1).update(X[250:KNOWN])
    before = everything(forecaster)
    spreads = X[:225].std(0)
    found = forecaster.score(X[KNOWN:])
    assert everything(forecaster) == before
    close(found, by_hand(forecaster, X[KNOWN:], spreads))


def test_a_loaded_model_scores_the_same(tmp_path):
    X = wave()
    forecaster = fitted(X[:KNOWN], layers=1)
    forecaster.save(tmp_path / "model.titans")
    assert load(tmp_path / "model.titans").score(X[KNOWN:]) == forecaster.score(X[KNOWN:])


def test_cross_validation_needs_no_scoring():
    X = wave(channels=1)
    forecaster = TitansForecaster(horizon=6, lookback=24, patch_length=8, layers=0, random_state=0, callbacks=[few_steps])
    found = cross_val_score(forecaster, X, cv=TimeSeriesSplit(2, test_size=8), error_score="raise")
    for k, rows in enumerate((284, 292)):
        expected = forecaster.fit(X[:rows]).score(X[rows : rows + 8])
        assert found[k] == expected
    assert len(set(found)) == 2


def few_steps(_run, report):
    return report.step >= 20


LONG = long_frame()
WRONG = {
    "a series fit never saw": (
        lambda: fitted(LONG[:560], layers=0),
        LONG[561::2].assign(unique_id="north"),
        "X holds the series 'north', which fit never saw, .*; leave it out, or fit with it: fit saw 'west', 'east'",
    ),
    "a third array": (
        lambda: fitted([wave(), wave()], layers=0),
        [wave(9)] * 3,
        "X holds the series 2, which fit never saw",
    ),
    "rows that were read": (
        lambda: fitted(LONG[:560], layers=0),
        LONG[550:],
        "X: row 0.* is not after the last absorbed time stamp",
    ),
    "nothing read": (
        lambda: fitted(wave(), layers=0).forget(),
        wave(9),
        r"nothing has been read of series since forget\(\), so there is nothing to forecast X from: call update\(rows\)",
    ),
    "nothing read of one": (
        lambda: fitted(LONG[:560], layers=0).forget("east"),
        LONG[560:],
        r"nothing has been read of series 'east' since forget\(\)",
    ),
    "nothing measured": (
        lambda: fitted(wave(), layers=0),
        np.full((9, 2), np.nan),
        "X has no observed value, so there is nothing to score; give rows that were measured",
    ),
    "no row": (lambda: fitted(wave(), layers=0), np.zeros((0, 2)), "X is empty"),
    "other columns": (lambda: fitted(wave(), layers=0), wave(9, 3), "X has 3 columns"),
    "another site": (
        lambda: fitted(covariate_frame(), layers=0, **COVARIATES),
        covariate_frame(HOURS + pd.Timedelta("300h"))[:9].assign(site=3.0),
        "X: the static covariate 'site' is 3 now, but was another",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_scored_is_refused_by_name(case):
    make, X, message = WRONG[case]
    forecaster = make()
    before = everything(forecaster)
    with pytest.raises(ValueError, match=message):
        forecaster.score(X)
    assert everything(forecaster) == before


def test_an_unfitted_forecaster_says_so():
    with pytest.raises(NotFittedError, match="not fitted yet"):
        TitansForecaster().score(wave())
