"""Metrics of forecasts: each beside another library's, or beside what it approximates."""

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from scipy import stats
from utilsforecast import losses

from titans_ts.learn import metrics

NAN = float("nan")


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return rng.standard_normal((24, 3)), rng.standard_normal((24, 3))


@pytest.mark.parametrize("name", ["mean_squared_error", "mean_absolute_error"])
def test_errors_equal_scikit_learn(pair, name):
    assert getattr(metrics, name)(*pair) == pytest.approx(getattr(sklearn.metrics, name)(*pair), rel=1e-12)


def test_coverage_counts_both_ends():
    assert metrics.interval_coverage([0, 1, 2, 3], lower=[0, 0, 0, 0], upper=[2, 2, 2, 2]) == 0.75


@pytest.mark.parametrize(
    "score",
    [
        metrics.mean_squared_error,
        metrics.mean_absolute_error,
        lambda y, z: metrics.interval_coverage(y, z, [9.0] * len(z)),
    ],
)
class TestMissingValues:
    def test_missing_truth_is_left_out(self, score):
        assert score([1.0, NAN, 3.0], [1.5, 7.0, 2.0]) == pytest.approx(score([1.0, 3.0], [1.5, 2.0]))

    def test_a_missing_forecast_is_refused_where_the_truth_is_known(self, score):
        assert np.isfinite(score([1.0, NAN], [1.0, NAN]))
        with pytest.raises(ValueError, match="is NaN at 1 of 2 observed points"):
            score([1.0, 2.0], [1.0, NAN])

    def test_nothing_observed_is_refused(self, score):
        with pytest.raises(ValueError, match="holds no observed value"):
            score([NAN, NAN], [1.0, 2.0])

    def test_shapes_must_be_the_same(self, score):
        with pytest.raises(ValueError, match=r"shape \(3, ?1?\).*must be the same"):
            score([1.0, 2.0], [1.0, 2.0, 3.0])


def test_crossed_bounds_are_counted():
    with pytest.raises(ValueError, match="lower is above upper in 1 of 2"):
        metrics.interval_coverage([1.0, 1.0], [0.0, 3.0], [2.0, 2.0])


# --- errors beside those of utilsforecast ---------------------------------------------------------------------------


def frames(y, forecast, history=None):
    rows = pd.DataFrame({"unique_id": "a", "ds": np.arange(len(y)), "y": y, "forecast": forecast})
    return rows if history is None else (rows, pd.DataFrame({"unique_id": "a", "ds": np.arange(len(history)), "y": history}))


def test_the_symmetric_percentage_error_is_that_of_utilsforecast(pair):
    y, forecast = (x.ravel() for x in pair)
    y[:3], forecast[:2] = 0, 0
    expected = losses.smape(frames(y, forecast), models=["forecast"])["forecast"].iloc[0]
    assert metrics.symmetric_percentage_error(y, forecast) == pytest.approx(expected, rel=1e-12)
    assert metrics.symmetric_percentage_error([0.0, 2.0, NAN], [0.0, -2.0, 1.0]) == 0.5


@pytest.mark.parametrize("season", [1, 7])
def test_scaled_errors_are_those_of_utilsforecast(pair, season):
    y, forecast = (x[:, 0] for x in pair)
    history = np.random.default_rng(1).standard_normal((50, 1)).cumsum(0)
    absolute, squared = metrics.naive_errors(history, season)
    rows, known = frames(y, forecast, history[:, 0])
    theirs = [of(rows, ["forecast"], season, known)["forecast"].iloc[0] for of in (losses.mase, losses.rmsse)]
    ours = (
        metrics.mean_absolute_error(y, forecast) / absolute[0],
        metrics.mean_squared_error(y, forecast) ** 0.5 / squared[0],
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_naive_error_leaves_out_what_is_missing_and_is_nan_without_two_rows():
    history = np.array([[1.0, 5.0], [2.0, NAN], [4.0, NAN], [NAN, NAN], [8.0, NAN]])
    np.testing.assert_array_equal(metrics.naive_errors(history), [[1.5, NAN], [2.5**0.5, NAN]])
    np.testing.assert_array_equal(metrics.naive_errors(history, 2)[0], [(3 + 4) / 2, NAN])
    assert np.isnan(metrics.naive_errors(history, 5)).all()
    assert np.isnan(metrics.naive_errors(history, 60)).all()
    assert np.isnan(metrics.scaled(1.0, 0.0))
    assert np.isnan(metrics.scaled(1.0, NAN))


# --- quantiles ------------------------------------------------------------------------------------------------------


def test_a_quantile_loss_is_scikit_learns(pair):
    y, quantile = (x.ravel() for x in pair)
    expected = sklearn.metrics.mean_pinball_loss(y, quantile, alpha=0.1)
    assert metrics.quantile_loss(y, quantile, 0.1) == pytest.approx(expected, rel=1e-12)


def test_of_evenly_spread_quantiles_it_is_twice_the_mean_loss_as_of_utilsforecast(pair):
    y = pair[0][:, 0]
    shares = (np.arange(5) + 0.5) / 5
    quantiles = np.sort(np.random.default_rng(2).standard_normal((len(y), 5)), axis=1)
    names = [f"q{j}" for j in range(5)]
    rows = frames(y, y).assign(**dict(zip(names, quantiles.T, strict=True)))
    expected = 2 * losses.mqloss(rows, {"forecast": names}, shares)["forecast"].iloc[0]
    assert metrics.crps(y, quantiles, shares) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shares", [(0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95), np.arange(1, 200) / 200])
def test_it_is_the_score_of_the_distribution_that_the_quantiles_come_from(shares):
    """Of a normal forecast it is known in closed form (Gneiting and Raftery 2007); a plain mean of the losses is .45."""
    y = np.random.default_rng(3).standard_normal(20_000)
    exact = np.mean(y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / np.sqrt(np.pi))
    quantiles = np.tile(stats.norm.ppf(shares), (len(y), 1))
    assert metrics.crps(y, quantiles, shares) == pytest.approx(exact, rel=0.03 if len(shares) < 10 else 0.002)


def test_of_a_median_alone_it_is_the_absolute_error(pair):
    y, median = pair
    assert metrics.crps(y, median[..., None], [0.5]) == pytest.approx(metrics.mean_absolute_error(y, median), rel=1e-12)
    assert metrics.crps([1.0, NAN], [[2.0], [7.0]], [0.5]) == 1.0
