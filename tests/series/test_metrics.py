"""The metrics against scikit-learn's and against worked numbers, and what they do about missing values."""

import numpy as np
import pytest
import sklearn.metrics

from titans_ts.series import rolling as metrics

NAN = float("nan")


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return rng.standard_normal((24, 3)), rng.standard_normal((24, 3))


@pytest.mark.parametrize("name", ["mean_squared_error", "mean_absolute_error"])
def test_errors_equal_scikit_learn(pair, name):
    assert getattr(metrics, name)(*pair) == pytest.approx(getattr(sklearn.metrics, name)(*pair), rel=1e-12)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_pinball_loss_equals_scikit_learn(pair, quantile):
    expected = sklearn.metrics.mean_pinball_loss(*pair, alpha=quantile)
    assert metrics.pinball_loss(*pair, quantile=quantile) == pytest.approx(expected, rel=1e-12)


def test_the_true_quantile_has_the_least_pinball_loss():
    y = np.random.default_rng(1).standard_normal(20_000)
    losses = {q: metrics.pinball_loss(y, np.full_like(y, np.quantile(y, q)), quantile=0.8) for q in (0.7, 0.8, 0.9)}
    assert min(losses, key=losses.get) == 0.8


def test_scaled_error_is_a_multiple_of_the_seasonal_naive_forecast():
    train = np.array([[0.0, 10.0], [1.0, 30.0], [2.0, 10.0], [5.0, 90.0]])  # seasonal steps 2, 4 and 0, 60
    truth, forecast = np.zeros((2, 2)), np.array([[6.0, 15.0], [6.0, 15.0]])
    expected = (6 / 3 + 15 / 30) / 2
    assert metrics.mean_absolute_scaled_error(truth, forecast, train, season_length=2) == pytest.approx(expected)


def test_scaled_error_has_no_unit(pair):
    train = np.random.default_rng(2).standard_normal((50, 3))
    units = np.array([1.0, 1000.0, 1e-3])
    plain = metrics.mean_absolute_scaled_error(*pair, train)
    assert metrics.mean_absolute_scaled_error(pair[0] * units, pair[1] * units, train * units) == pytest.approx(plain)


def test_coverage_counts_both_ends():
    assert metrics.interval_coverage([0, 1, 2, 3], lower=[0, 0, 0, 0], upper=[2, 2, 2, 2]) == 0.75


@pytest.mark.parametrize(
    "score",
    [
        metrics.mean_squared_error,
        metrics.mean_absolute_error,
        metrics.pinball_loss,
        lambda y, z: metrics.mean_absolute_scaled_error(y, z, [0.0, NAN, 1.0, 2.0, 4.0]),
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


def test_out_of_range_arguments_are_named():
    with pytest.raises(ValueError, match=r"quantile=1\.0 must lie between 0 and 1"):
        metrics.pinball_loss([1.0], [1.0], quantile=1.0)
    with pytest.raises(ValueError, match=r"season_length=3 must lie in 1 \.\. 2"):
        metrics.mean_absolute_scaled_error([1.0], [1.0], [1.0, 2.0, 3.0], season_length=3)
    with pytest.raises(ValueError, match="y_train column 0 is constant"):
        metrics.mean_absolute_scaled_error([1.0], [1.0], [2.0, 2.0, 2.0])
    with pytest.raises(ValueError, match="y_train has 2 columns and y_true 1"):
        metrics.mean_absolute_scaled_error([1.0], [1.0], [[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(ValueError, match="lower is above upper in 1 of 2"):
        metrics.interval_coverage([1.0, 1.0], [0.0, 3.0], [2.0, 2.0])
