"""Levels in percent to learned quantiles: bounds between them, and what they do not reach."""

import numpy as np
import pytest

from titans_ts import TitansForecaster
from titans_ts.series.intervals import Asked, check_levels, check_quantiles, quantiles_at

SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
QUANTILES = np.array([[-9.0, -4.0, -1.0, 0.0, 0.5, 3.0, 20.0], [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]])


@pytest.mark.parametrize("level", [1, 33, 50, 60, 80, 87.5, 90])
def test_bounds_lie_between_quantiles_as_numpy_interpolates(level):
    asked = Asked((level,))
    [(low, high)] = asked.parted(quantiles_at(QUANTILES, SHARES, asked.shares))[0].values()
    for bound, share in ((low, (1 - level / 100) / 2), (high, (1 + level / 100) / 2)):
        np.testing.assert_allclose(bound, [np.interp(share, SHARES, row) for row in QUANTILES], rtol=1e-12, atol=1e-12)


def test_levels_wider_than_the_quantiles_are_refused_with_those_to_fit():
    assert check_levels(90, SHARES) == (90.0,)
    with pytest.raises(ValueError, match=r"level=95 is wider .* \(90 %\): fit with quantiles that include 0.025 and 0.975"):
        check_levels([80, 95], SHARES)


@pytest.mark.parametrize("share", [0.05, 0.07, 0.25, 1 / 3, 0.5, 0.93, 0.95])
def test_a_quantile_lies_between_those_learned_as_numpy_interpolates(share):
    asked = Asked((80.0,), (share,))
    [found] = asked.parted(quantiles_at(QUANTILES, SHARES, asked.shares))[1].values()
    np.testing.assert_allclose(found, [np.interp(share, SHARES, row) for row in QUANTILES], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("level", "meant"), [(0.8, "80"), ([80, 0.95], "95"), ([0.005], "0.5")])
def test_a_share_is_no_level(level, meant):
    with pytest.raises(ValueError, match=f"less than one percent: levels are percentages; did you mean {meant}\\?"):
        check_levels(level, SHARES)


@pytest.mark.parametrize("level", [0, -80, 100, 180, np.nan, np.inf])
def test_a_level_is_a_percentage(level):
    with pytest.raises(ValueError, match="level must be percentages between 0 and 100, got"):
        check_levels([50, level], SHARES)


@pytest.mark.parametrize(("share", "meant"), [(90, "0.9"), ([0.5, 5], "0.05"), (1, "0.01")])
def test_a_percentage_is_no_quantile(share, meant):
    with pytest.raises(ValueError, match=rf"quantiles must lie between 0 and 1, got .*; did you mean {meant}\?"):
        check_quantiles(share, SHARES)


@pytest.mark.parametrize("share", [0, -0.1, 100, np.nan, np.inf])
def test_a_quantile_is_a_share(share):
    with pytest.raises(ValueError, match=r"quantiles must lie between 0 and 1, got .*; for example quantiles=\[0.1, 0.9\]"):
        check_quantiles([0.5, share], SHARES)


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_a_quantile_beyond_those_learned_is_refused_with_that_to_fit(share):
    with pytest.raises(ValueError, match=rf"{share} lies beyond those learned .0.05 to 0.95.: fit with .* include {share}"):
        check_quantiles([0.5, share], SHARES)


@pytest.mark.parametrize("asked", ["high", [[0.5]], [None, "x"], {0.5}])
def test_what_is_no_number_is_no_quantile(asked):
    with pytest.raises(ValueError, match="quantiles must be a number or a list of numbers between 0 and 1, got"):
        check_quantiles(asked, SHARES)


def test_any_level_may_be_asked_of_what_learned_none():
    assert Asked.checked([99.99, 1], [1e-6, 0.999]) == ((99.99, 1.0), (1e-6, 0.999))
    with pytest.raises(ValueError, match="between 0 and 100"):
        Asked.checked([100], None)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Asked.checked(None, [1.0])


def test_what_is_asked_twice_is_given_once_in_the_order_of_asking():
    assert Asked.checked([80, 50, 80.0], (0.9, 0.1, 0.9), SHARES) == ((80.0, 50.0), (0.9, 0.1))
    assert Asked.checked(None, None, SHARES) == Asked()
    assert Asked.checked(50, 0.5, SHARES) == ((50.0,), (0.5,))


def test_quantiles_that_stop_at_a_bound_are_that_bound_to_the_last_digit():
    """A quantile of rain that is a rounding error above 0 would miss every dry hour."""
    chance = np.random.default_rng(0)
    values = 0.1 * np.maximum(chance.normal(size=(300, 2)), 0) * [1, 37]
    top = 100.123456789
    values[:, 1] = top - values[:, 1]
    model = TitansForecaster(horizon=4, layers=0).fit(values)
    answer = model.predict(quantiles=[0.05, 0.95])
    found = answer[[name for name in answer if "-q-" in str(name)]].to_numpy()
    assert (found == 0).sum() >= 4
    assert (found == top).sum() >= 4
    assert found.min() == 0
    assert found.max() == top
