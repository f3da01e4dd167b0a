"""Streams with dynamics of their own: what was drawn is there, changes are where they are said to be, chance is a seed's."""

import numpy as np
import pytest

from titans_ts import make_streams


def test_a_season_is_a_stream_s_own_and_another_one_after_a_change():
    series, regime = make_streams(960, 3, regime_length=480, seasonal_share=1.0, noise=0.0)
    assert series.shape == (960, 3)
    assert regime.tolist() == [0] * 480 + [1] * 480
    before, after = series[:480].reshape(20, 24, 3), series[480:].reshape(20, 24, 3)
    for part in (before, after):
        np.testing.assert_allclose(part, np.broadcast_to(part[:1], part.shape), atol=1e-12)
        np.testing.assert_allclose(part[0].mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(part[0].std(0), 1)
    assert abs(np.corrcoef(before[0].T) - np.eye(3)).max() < 0.99
    assert max(abs(np.corrcoef(before[0, :, s], after[0, :, s])[0, 1]) for s in range(3)) < 0.99


def test_an_autoregression_holds_until_the_change():
    (series, regime), length = make_streams(6000, 4, regime_length=3000, seasonal_share=0.0, noise=0.0), 3000
    for s in range(4):
        lags = []
        for part in range(2):
            rows = series[regime == part, s]
            past = np.stack([rows[1:-1], rows[:-2]], axis=1)
            fitted, (left,), _, _ = np.linalg.lstsq(past, rows[2:], rcond=None)
            lags.append(fitted)
            roots = np.roots([1, *-fitted])
            assert np.all(np.abs(roots) < 1)
            assert left / (length - 2) < 0.5 * rows.var(), "it is foreseeable"
        assert abs(lags[0] - lags[1]).max() > 0.005
    whole = make_streams(4000, 40, regime_length=500, seasonal_share=0.0, noise=0.0)[0]
    assert whole.var() == pytest.approx(1.0, rel=0.1)


def test_chance_is_a_seed_s():
    one, again, other = (make_streams(300, 2, random_state=seed)[0] for seed in (1, np.random.default_rng(1), 2))
    np.testing.assert_array_equal(one, again)
    assert abs(one - other).max() > 0.1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_steps": 0}, "n_steps=0 must be at least 1"),
        ({"n_streams": 0}, "n_streams=0 must be at least 1"),
        ({"period": 1}, "period=1 must be at least 2"),
        ({"regime_length": 0}, "regime_length=0 must be at least 1"),
        ({"noise": -1.0}, "noise=-1.0 must be at least 0"),
        ({"seasonal_share": 1.5}, "seasonal_share=1.5 must be between 0 and 1"),
        ({"random_state": -1}, "random_state=-1 must be 0 or more"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_streams(**wrong)
