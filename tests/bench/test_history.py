"""The history bench: errors of the same origins after every length, rows that fill in and are never run twice."""

from types import SimpleNamespace

import numpy as np
import pytest
from bench.history_cases import ATTENTION, CARRIED, TINY, a_row

from titans_bench.history import bench as history
from titans_bench.history import data as history_data
from titans_bench.history.bench import WHOLE, HistoryRow, bench_history
from titans_bench.history.data import MODELS, make_history
from titans_bench.history.reading import Cost
from titans_bench.rows import read_rows, write_rows
from titans_ts.cli import main

MEASURED = {"seconds_per_step", "seconds_per_forecast", "resident_mib"}


@pytest.fixture
def counted(monkeypatch):
    """Count the runs that are really made."""
    runs = []
    run_of = history._run

    def counting(setting, run, **options):
        runs.append(run)
        return run_of(setting, run, **options)

    monkeypatch.setattr(history, "_run", counting)
    return runs


@pytest.fixture
def believed(monkeypatch):
    """Stand in for a fit, which other tests make: rows as they would be, at once."""
    runs = []

    def at_once(setting, run, **_):
        runs.append(run)
        lags = setting.recurring["lags"] if run.data == "recurring" else (0,)
        lengths = (*map(str, setting.lengths), WHOLE)
        return [a_row(*run, lag=lag, length=length, setting=setting.name) for lag in lags for length in lengths]

    monkeypatch.setattr(history, "_run", at_once)
    return runs


def test_errors_are_of_what_was_observed_and_blocks_make_up_the_whole():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((40, 2))
    values[20:23, 1] = np.nan
    origins = [3, 10, 18, 21, 30]
    points = rng.standard_normal((5, 4, 2))
    mse, mae, blocks = history._errors(points, values, origins, 2)
    wrong = [points[i] - values[o : o + 4] for i, o in enumerate(origins)]
    assert mse == pytest.approx(np.nanmean(np.square(wrong)))
    assert mae == pytest.approx(np.nanmean(np.abs(wrong)))
    assert blocks[0] == pytest.approx([np.nanmean(np.square(wrong[:3])), np.nanmean(np.abs(wrong[:3]))])
    assert blocks[1] == pytest.approx([np.nanmean(np.square(wrong[3:])), np.nanmean(np.abs(wrong[3:]))])


def test_every_lag_is_scored_by_its_own_forecasts(monkeypatch):
    made = make_history("recurring", TINY, 0)

    def told(_network, _series, origins, _length):
        truth = made.values[np.array(origins)[:, None] + np.arange(32)]
        return truth + np.where(np.isin(origins, made.origins[600]), 3.0, 1.0)[:, None, None]

    monkeypatch.setattr(history, "forecasts_after", told)
    monkeypatch.setattr(history, "cost_after", lambda *_: Cost(1e-5, 1e-2, 2048, 300.0))
    network = SimpleNamespace(config=SimpleNamespace(patch_length=8))
    forecaster = SimpleNamespace(network_=network, memory_gain_=None, recollection_gain_=None)
    run = history.Run("recurring", CARRIED, 0)
    rows = history._rows_of_length(TINY, run, forecaster, None, made, 64)
    assert [(row.lag, row.mse, row.mae, row.length) for row in rows] == [(200, 1, 1, "64"), (600, 9, 3, "64")]
    assert all(64 <= row.rows < 72 for row in rows)


@pytest.mark.parametrize("model", [CARRIED, ATTENTION])
def test_a_run_has_a_row_for_every_lag_and_length_and_the_same_again(model, tmp_path, counted):
    out = tmp_path / "rows.csv"
    found = bench_history(out, setting=TINY, models=(model,), seeds=(0,))
    assert [(row.length, row.lag) for row in found] == [
        (length, lag) for length in ("64", "128", "all") for lag in (200, 600)
    ]
    assert read_rows(out, HistoryRow) == found
    for lag in (200, 600):
        here = [row for row in found if row.lag == lag]
        assert len({row.origins for row in here}) == 1
        assert here[0].rows < here[1].rows < here[2].rows
        for row in here:
            assert row.block_errors.shape == (min(3, row.origins), 2)
            assert row.block_errors[:, 0].min() <= row.mse <= row.block_errors[:, 0].max()
            assert 0 <= row.share <= 1
            assert 0 <= row.recollected <= (row.model == CARRIED)
    assert bench_history(out, setting=TINY, models=(model,), seeds=(0,)) == found
    assert len(counted) == 1
    if model == ATTENTION:
        return
    again = bench_history(tmp_path / "again.csv", setting=TINY, models=(model,), seeds=(0,))
    for first, second in zip(found, again, strict=True):
        assert {k: v for k, v in vars(first).items() if k not in MEASURED} == {
            k: v for k, v in vars(second).items() if k not in MEASURED
        }


def test_a_gap_is_filled_and_other_settings_are_left_alone(tmp_path, believed):
    out = tmp_path / "rows.csv"
    other = a_row(setting="other")
    write_rows(out, [other], HistoryRow)
    first = bench_history(out, setting=TINY, seeds=(0, 1))
    assert len(believed) == len(MODELS) * 2
    assert len(first) == len(believed) * 2 * 3
    write_rows(
        out,
        [row for row in read_rows(out, HistoryRow) if (row.model, row.seed, row.length) != (CARRIED, 1, "64")],
        HistoryRow,
    )
    assert bench_history(out, setting=TINY, seeds=(0, 1)) == first
    assert believed[len(MODELS) * 2 :] == [history.Run("recurring", CARRIED, 1)]
    rows = read_rows(out, HistoryRow)
    assert rows[0] == other
    assert len(rows) == 1 + len(first)


def test_a_run_that_breaks_off_leaves_what_was_done(tmp_path, believed, monkeypatch):
    out = tmp_path / "rows.csv"
    bench_history(out, setting=TINY, models=(CARRIED,), seeds=(0,))
    done = out.read_bytes()
    monkeypatch.setattr(history, "_run", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        bench_history(out, setting=TINY, seeds=(0,))
    assert out.read_bytes() == done
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.slow  # recall runs two at a time by the same road
def test_two_runs_at_a_time_find_what_one_finds(tmp_path):
    asked = {"setting": TINY, "models": (ATTENTION,), "seeds": (0, 1)}
    one = bench_history(tmp_path / "one.csv", **asked)
    two = bench_history(tmp_path / "two.csv", **asked, jobs=2)
    assert [(row.seed, row.length, row.lag) for row in one] == [(row.seed, row.length, row.lag) for row in two]
    np.testing.assert_allclose([row.mse for row in one], [row.mse for row in two], rtol=1e-4)


def test_unknown_names_and_foreign_files_are_refused_before_any_work(tmp_path, believed):
    out = tmp_path / "rows.csv"
    with pytest.raises(ValueError, match="data: 'ETTh9' is not known; choose from recurring; vic_elec; ETTm1"):
        bench_history(out, setting=TINY, data=("ETTh9",))
    with pytest.raises(ValueError, match="models: 'mac' is not known; choose from carried; carried, no recollection; att"):
        bench_history(out, setting=TINY, models=("mac",))
    with pytest.raises(ValueError, match="jobs must be 1 or more, got 0"):
        bench_history(out, setting=TINY, jobs=0)
    out.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="is no file of this bench: expected the columns setting, data, lag"):
        bench_history(out, setting=TINY)
    assert not believed


def test_the_command_prints_tables_and_writes_rows_and_picture(tmp_path, monkeypatch, capsys, believed):
    monkeypatch.setattr(history_data, "SETTINGS", {"quick": TINY, "standard": TINY})
    out, picture = tmp_path / "history.csv", tmp_path / "history.png"
    words = ["bench", "history", "--quick", "--quiet", "--models", CARRIED, "--out", str(out), "--plot", str(picture)]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "| recurring, last seen 200 rows ago | 64 | 128 | all |" in told.out
    assert f"rows: {out}" in told.err
    assert picture.stat().st_size > 1000
    assert believed == [history.Run("recurring", CARRIED, 0)]
    assert main([*words, "--max-steps", "9", "--seeds", "4", "--overwrite"]) == 0
    assert {row.setting for row in read_rows(out, HistoryRow)} == {"tiny", "tiny, 9 steps"}
    assert main(["bench", "history", "--out", str(tmp_path / "rows.txt")]) == 2
    assert "the name must end in one of .csv" in capsys.readouterr().err
