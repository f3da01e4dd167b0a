"""Other packages in the same contest: statsforecast's seasonal naive forecast is ours, to the digit."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.extras
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "peers.py"


@pytest.fixture(scope="module")
def peers():
    spec = importlib.util.spec_from_file_location("peers", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_peers_enter_and_their_seasonal_naive_is_ours(peers, tmp_path):
    from titans_bench.contest import TaskRow
    from titans_bench.rows import read_rows

    out = tmp_path / "tasks.csv"
    models = ["seasonal naive", "SeasonalNaive", "AutoETS", "AutoTheta", "LightGBM"]
    arguments = ["--tasks", "m1_yearly", "tourism_quarterly", "--limit", "6", "--seeds", "0", "--processes", "1"]
    peers.main([*arguments, "--models", *models, "--out", str(out)])
    rows = read_rows(out, TaskRow)
    assert [row.model for row in rows] == 2 * models
    for task in ("m1_yearly", "tourism_quarterly"):
        ours, theirs = (row for row in rows if row.task == task and row.model.lower().replace(" ", "") == "seasonalnaive")
        for name in ("mase", "sql", "wql", "coverage_80", "coverage_95"):
            assert getattr(theirs, name) == pytest.approx(getattr(ours, name), rel=1e-4)
    assert all(np.isfinite([row.mase, row.sql, row.wql]).all() for row in rows)
    assert {row.made_by.split()[0] for row in rows} == {"titans-ts", "statsforecast", "mlforecast"}


def test_columns_are_series_in_the_order_of_the_task(peers):
    from titans_bench.tasks import TASKS, TaskSeries

    stamps = np.arange("2024-01-01", "2024-01-11", dtype="M8[D]")
    series = [TaskSeries(name, stamps, np.arange(20.0).reshape(10, 2) + k, ("x", "z")) for k, name in enumerate("ba")]
    task = peers.replace(TASKS["jena_weather_1d"], horizon=2, windows=2)
    frame = peers.long_frame(task, series, 0, rows=3)
    assert frame["unique_id"].unique().tolist() == ["b 000", "b 001", "a 000", "a 001"]
    assert len(frame) == 12
    last = frame.groupby("unique_id").tail(2).sort_values(["unique_id", "ds"])
    found = peers.in_windows(last, ["y", "y"], series, 2)
    np.testing.assert_array_equal(found[..., 0], np.stack([each.values[4:6] for each in series]))
