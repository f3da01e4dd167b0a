"""Scores of forecasts, against plain loops; the seasonal naive forecast and its spread."""

import numpy as np
import pytest
from scipy.stats import norm

from titans_bench.task_scores import ASKED, LEVELS, TaskForecast, TaskScores, score_window, seasonal_naive


def made(n=3, h=5, c=2, seed=0):
    chance = np.random.default_rng(seed)
    truth = 10 + chance.standard_normal((n, h, c))
    point = 10 + chance.standard_normal((n, h, c))
    past = [10 + chance.standard_normal((12 + 3 * k, c)) for k in range(n)]
    return truth, TaskForecast(point, point[..., None] + norm.ppf(ASKED)), past


def by_loops(truth, forecast, past, season):
    """Every series, step, column and level on its own."""
    scales = [[np.mean([abs(x[t, c] - x[t - season, c]) for t in range(season, len(x))]) for c in range(2)] for x in past]
    n, h, _ = truth.shape
    mase, sql, wql = [], [], []
    for c in range(truth.shape[2]):
        errors, losses, plain = [], [], []
        for i in range(n):
            for t in range(h):
                errors.append(abs(truth[i, t, c] - forecast.point[i, t, c]) / scales[i][c])
                for level in LEVELS:
                    gap = truth[i, t, c] - forecast.quantiles[i, t, c, ASKED.index(level)]
                    plain.append(2 * max(level * gap, (level - 1) * gap))
                    losses.append(plain[-1] / scales[i][c])
        mase.append(np.mean(errors))
        sql.append(np.mean(losses))
        wql.append(np.mean(plain) / np.mean(np.abs(truth[:, :, c])))
    return np.mean(mase), np.mean(sql), np.mean(wql)


@pytest.mark.parametrize("season", [1, 4])
def test_scores_are_those_of_plain_loops(season):
    truth, forecast, past = made()
    found = score_window(truth, forecast, past, season)
    assert (found.mase, found.sql, found.wql) == pytest.approx(by_loops(truth, forecast, past, season), rel=1e-12)
    inside = np.abs(truth - forecast.point) <= norm.ppf(0.9)
    assert found.coverage_80 == pytest.approx(inside.mean())
    assert found.coverage_95 >= found.coverage_80


def test_a_point_for_all_quantiles_makes_sql_the_mase():
    truth, forecast, past = made()
    alone = TaskForecast(forecast.point, np.repeat(forecast.point[..., None], len(ASKED), axis=-1))
    found = score_window(truth, alone, past, 1)
    assert found.sql == pytest.approx(found.mase)
    assert found.coverage_95 == 0


def test_a_series_that_never_changed_is_left_out_and_missing_rows_too():
    truth, forecast, past = made()
    past[1][:, 0] = 7.0
    less = [0, 2]
    found = score_window(truth[..., :1], _some(forecast, slice(None)), [rows[:, :1] for rows in past], 1)
    rest = score_window(truth[less][..., :1], _some(forecast, less), [past[k][:, :1] for k in less], 1)
    assert (found.mase, found.sql) == pytest.approx((rest.mase, rest.sql))
    assert found.wql != pytest.approx(rest.wql), "what is not scaled counts it"
    truth[0, 2, 0] = np.nan
    assert np.isfinite(list(vars(score_window(truth, forecast, past, 1)).values())).all()


def _some(forecast, series):
    return TaskForecast(forecast.point[series][..., :1], forecast.quantiles[series][..., :1, :])


def test_wql_of_small_numbers_may_have_a_floor():
    truth, forecast, past = made()
    small = TaskForecast(forecast.point / 1000, forecast.quantiles / 1000)
    found = score_window(truth / 1000, small, past, 1)
    held = score_window(truth / 1000, small, past, 1, least_size=1.0)
    assert held.wql == pytest.approx(found.wql * np.abs(truth).mean() / 1000, rel=0.1)


def test_the_naive_forecast_repeats_a_season_and_widens_by_the_root_of_seasons():
    chance = np.random.default_rng(0)
    past = [chance.standard_normal((40, 2)), chance.standard_normal((23, 2))]
    found = seasonal_naive(past, 9, 4)
    for place, rows in enumerate(past):
        spread = np.sqrt(np.mean((rows[4:] - rows[:-4]) ** 2, axis=0))
        for step in range(9):
            np.testing.assert_array_equal(found.point[place, step], rows[len(rows) - 4 + step % 4])
            expected = rows[len(rows) - 4 + step % 4] + norm.ppf(0.9) * spread * np.sqrt(step // 4 + 1)
            np.testing.assert_allclose(found.quantiles[place, step, :, ASKED.index(0.9)], expected)
    last = seasonal_naive(past, 9, 4, rows=10)
    np.testing.assert_array_equal(last.quantiles, seasonal_naive([rows[-10:] for rows in past], 9, 4).quantiles)
    alone = seasonal_naive(past, 9, 4, spread=False)
    np.testing.assert_array_equal(alone.quantiles, np.repeat(found.point[..., None], len(ASKED), axis=-1))


def test_misfits_are_refused_and_means_taken_over_windows():
    truth, forecast, past = made()
    with pytest.raises(ValueError, match="what came"):
        score_window(truth[:, :3], forecast, past, 1)
    forecast.point[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="point forecast is missing"):
        score_window(truth, forecast, past, 1)
    assert TaskScores.mean([TaskScores(1, 2, 3, 0.5, 1), TaskScores(3, 2, 1, 1, 1)]) == TaskScores(2, 2, 2, 0.75, 1)
