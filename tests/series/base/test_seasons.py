import numpy as np
import pytest

from titans_ts.series.base.seasons import fill_gaps, season_sums, sums_by_phase

NAN = np.nan


def test_gaps_hold_the_season_before_and_at_first_the_row_before():
    rows = np.array([[NAN, 1.0, NAN, 3.0, NAN, NAN, 6.0, NAN, NAN]])
    filled = fill_gaps(rows, np.zeros((1, 3)), np.array([1]))
    assert filled[0, 3:].tolist() == [1, 1, 1, 3, 1, 1, 6, 1, 1]
    later = fill_gaps(rows[:, 5:], filled[:, 5:8], np.array([-4]))
    assert later[0, 3:].tolist() == [1, 6, 1, 1]


def test_nothing_observed_is_0():
    assert not fill_gaps(np.full((1, 4), NAN), np.zeros((1, 2)), np.array([4])).any()


@pytest.mark.parametrize("keep", [1.0, 0.8])
@pytest.mark.parametrize("t", [0, 1, 4, 11])
def test_sums_by_phase(keep, t):
    chance = np.random.default_rng(0)
    start, parts = chance.random((2, 4)), chance.random((2, t))
    wanted = start.copy()
    for i in range(t):
        wanted[:, i % 4] = keep * wanted[:, i % 4] + parts[:, i]
    sums = sums_by_phase(start, parts, keep)
    assert np.allclose(sums[:, t:], np.roll(wanted, -t, axis=1))


@pytest.mark.parametrize("season", [1, 3, 8])
def test_season_sums_are_not_rounded_by_other_rows(season):
    rows = np.random.default_rng(0).random((2, 30))
    rows[:, 10] = 1e20
    wanted = np.lib.stride_tricks.sliding_window_view(rows, season, axis=1).sum(-1)
    assert np.allclose(season_sums(rows, season), wanted, rtol=1e-14)
