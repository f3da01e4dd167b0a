"""A break in level: intervals hold again three weeks after it, on every stream of half-hourly demand."""

import numpy as np
import pytest

from titans_ts import TitansForecaster, load_dataset

DAY, YEAR, AFTER = 48, 17_520, 21
LEVELS = (80, 95)


@pytest.fixture(scope="module")
def demand(data_home):
    """Return a forecaster of a day, its columns, the year that it was fitted on and all rows from there, without a break."""
    data = load_dataset("vic_elec", data_home=data_home)
    columns = list(data.target_columns)
    last_quarter = 3 * len(data.frame) // 4
    rows = data.frame[["ds", *columns]].iloc[last_quarter - YEAR :].reset_index(drop=True)
    model = TitansForecaster(DAY, layers=0, random_state=0, verbose=0).fit(rows[:YEAR])
    return model, columns, rows


@pytest.mark.slow
@pytest.mark.parametrize("size", [1.0, 3.0, -2.0])
def test_coverage_is_within_5_points_three_weeks_after_a_break_in_level(size, demand):
    """``size`` is in standard deviations of the fitted year; a forecast every midnight, one day after another."""
    model, columns, rows = demand
    broken = rows.copy()
    broken.loc[YEAR:, columns] += size * rows.loc[: YEAR - 1, columns].std()
    windows = (len(rows) - YEAR) // DAY - AFTER
    found, metrics = model.backtest(broken, windows=windows, step=DAY, level=LEVELS)
    assert found["cutoff"].min() == rows["ds"][YEAR + AFTER * DAY - 1]
    assert windows > 200
    for level in LEVELS:
        coverage = 100 * metrics.set_index("unique_id")[f"coverage-{level}"]
        assert list(coverage.index) == columns
        assert (coverage - level).abs().max() < 5, coverage


@pytest.mark.slow
def test_a_backtest_has_the_bounds_of_one_who_updates_and_predicts(demand):
    model, columns, rows = demand
    found, _ = model.backtest(rows, windows=3, step=DAY, level=LEVELS)
    (last,) = [part for cutoff, part in found.groupby("cutoff") if cutoff == found["cutoff"].max()]
    begin, known = YEAR, len(rows) - DAY
    for end in (begin + 500, begin + 4_001, known):
        model.update(rows[begin:end])
        begin = end
    said = model.predict(level=LEVELS)
    for column in columns:
        mine = last[last["unique_id"] == column]
        for side in ("lo-80", "hi-80", "lo-95", "hi-95"):
            np.testing.assert_allclose(said[f"{column}-{side}"], mine[f"forecast-{side}"], rtol=1e-6)
