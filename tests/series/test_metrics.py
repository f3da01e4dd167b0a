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
