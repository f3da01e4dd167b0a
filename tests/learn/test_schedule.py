"""The learning rate over a phase."""

from itertools import pairwise

import pytest

from titans_ts.learn.run import learning_rate_factor


@pytest.mark.parametrize(("total", "warm_up"), [(100, 10), (1000, 20), (30, 20), (5, 20), (40, 0)])
def test_warms_up_then_falls_to_nothing(total, warm_up):
    factors = [learning_rate_factor(step, total, warm_up=warm_up) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    falling = factors[warm_up:]
    assert all(a > b for a, b in pairwise(falling))
    if total > 2 * warm_up:
        rising = factors[: warm_up // 2]
        assert all(a < b for a, b in pairwise(rising))
        assert max(factors) > 0.8
        assert factors[-1] < 0.1


def test_is_a_cosine_after_the_warm_up():
    assert learning_rate_factor(50, 100, warm_up=10) == pytest.approx(0.5)
    assert learning_rate_factor(25, 100, warm_up=10) == pytest.approx(0.5 + 0.5**1.5)
    assert learning_rate_factor(0, 100, warm_up=10) == pytest.approx(0.1)


def test_no_steps_are_no_division_by_zero():
    assert learning_rate_factor(0, 0) > 0
