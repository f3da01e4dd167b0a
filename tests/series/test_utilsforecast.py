"""Forecasts of a backtest go through Nixtla's ``utilsforecast`` as they are, and its scores are ours."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from series.estimator_cases import HOURS, as_backend, fitted, long_frame, wave, wide_frame
from sklearn.metrics import mean_pinball_loss
from utilsforecast import losses
from utilsforecast.evaluation import evaluate

from titans_ts.series import rolling as metrics

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
    theirs = evaluate(
        forecasts.drop(columns="cutoff") if backend == "pandas" else forecasts.drop("cutoff"),
        [losses.mae, losses.mse, losses.coverage, partial(losses.mase, seasonality=1)],
        models=["forecast"],
        train_df=history,
        level=LEVELS,
    )
    theirs = theirs if backend == "pandas" else theirs.to_pandas()
    theirs = theirs.pivot(index="unique_id", columns="metric", values="forecast").loc[table["unique_id"]]
    columns = {
        "mae": "mae",
        "mse": "mse",
        "mase": "mase",
        "coverage-50": "coverage_level50",
        "coverage-80": "coverage_level80",
    }
    for ours, name in columns.items():
        np.testing.assert_allclose(table[ours], theirs[name], rtol=1e-10, err_msg=ours)
    assert (table["windows"] == WINDOWS).all()


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
