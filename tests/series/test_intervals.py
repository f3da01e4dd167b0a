"""Levels in percent to learned quantiles: bounds between them, and what they do not reach."""

import numpy as np
import pytest

from titans_ts.series.intervals import check_levels, interval_bounds

SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
QUANTILES = np.array([[-9.0, -4.0, -1.0, 0.0, 0.5, 3.0, 20.0], [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]])


@pytest.mark.parametrize("level", [1, 33, 50, 60, 80, 87.5, 90])
def test_bounds_lie_between_quantiles_as_numpy_interpolates(level):
    [(low, high)] = interval_bounds(QUANTILES, SHARES, [level]).values()
    for bound, share in ((low, (1 - level / 100) / 2), (high, (1 + level / 100) / 2)):
        np.testing.assert_allclose(bound, [np.interp(share, SHARES, row) for row in QUANTILES], rtol=1e-12, atol=1e-12)


def test_levels_wider_than_the_quantiles_are_refused_with_those_to_fit():
    assert check_levels(90, SHARES) == (90.0,)
    with pytest.raises(ValueError, match=r"level=95 is wider .* \(90 %\): fit with quantiles that include 0.025 and 0.975"):
        check_levels([80, 95], SHARES)
