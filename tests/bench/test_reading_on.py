"""Reading on: the split, the rows that are read and forecast, what a silent base is, and the table."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from titans_bench import reading_on
from titans_bench.reading_on import LENGTHS, READS, SILENT, ReadingRow, bench_reading, reading_table, split_profiles
from titans_bench.rows import read_rows
from titans_bench.tasks import TaskSeries
from titans_ts.cli import main

FILE = Path(__file__).parents[2] / "benchmarks" / "reading.csv"
ROWS = 900


def profiles(count=6):
    """Hourly profiles of unlike weeks."""
    chance, hours = np.random.default_rng(0), np.arange(ROWS)
    stamps = np.datetime64("2016-01-01", "ns") + hours * np.timedelta64(3600, "s")
    weeks = chance.normal(size=(count, 168))
    values = 5 + weeks[:, hours % 168] + 0.3 * chance.normal(size=(count, ROWS))
    return [TaskSeries(f"H{i}", stamps, one[:, None], ("y",)) for i, one in enumerate(values)]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(reading_on, "load_profiles", lambda data_home: profiles())
    for name, value in {"LENGTHS": (168, 500), "FROM": 168, "TO": 500, "TARGETS": 60, "FITTED": 3}.items():
        monkeypatch.setattr(reading_on, name, value)


def a_row(model, part, seed, length, each):
    each = np.asarray(each)
    place = ("standard", model, seed, part, length, len(each), 62)
    return ReadingRow(*place, each.mean(), each.std(), 1.0, " ".join(map(str, each)))


def test_profiles_alike_stay_on_one_side():
    chance = np.random.default_rng(0)
    values = chance.normal(size=(96, 300))
    values[[7, 30, 90]] = values[0] + 0.05 * chance.normal(size=(3, 300))
    values[[91, 92]] = 3 * values[90] + 0.1  # alike by way of a third
    for seed in range(4):
        sides = split_profiles(values, seed)
        assert [len(side) for side in sides] == [48, 48]
        assert sorted([*sides[0], *sides[1]]) == list(range(96))
        assert {0, 7, 30, 90, 91, 92} <= set(sides[0]) or not {0, 7, 30, 90, 91, 92} & set(sides[0])
    assert split_profiles(values, 0) != split_profiles(values, 1)
    assert split_profiles(values, 3) == split_profiles(values, 3)


def test_errors_are_those_of_plain_forecasts_and_rows_fill_in(small, tmp_path, monkeypatch):
    seen, fitted = [], []
    fit, predict = reading_on.TitansForecaster.fit, reading_on.TitansForecaster.predict

    def predicting(self, frame):
        seen.append((self.network_.base.memory, frame.groupby("unique_id")["ds"].agg(["min", "max", "count"]), frame))
        return predict(self, frame)

    monkeypatch.setattr(reading_on.TitansForecaster, "fit", lambda self, X: fitted.append(X) or fit(self, X))
    monkeypatch.setattr(reading_on.TitansForecaster, "predict", predicting)
    rows = bench_reading(tmp_path / "rows.csv", seeds=[1], step=30, verbose=0)
    assert Counter((row.model, row.part) for row in rows) == dict.fromkeys(
        [("naive", "a day before"), ("naive", "a week before"), ("titans, layers=0", READS), ("titans, layers=0", SILENT)], 2
    )
    assert {(row.setting, row.origins, row.streams, row.seed) for row in rows} == {("horizon=24, step=30", 2, 3, 1)}
    hour, start = np.timedelta64(3600, "s"), profiles()[0].stamps[0]
    (known,) = fitted
    assert known["ds"].max() == start + (ROWS // 2 - 1) * hour
    assert len(seen) == 2 * 2 * 2
    assert all(memory is None for memory, _, _ in seen[4:])
    for at, (_, spans, frame) in enumerate(seen):
        length, origin = (168, 500)[at // 2 % 2], (840, 870)[at % 2]
        assert set(spans["count"]) == {length}
        assert set(spans["max"]) == {start + (origin - 1) * hour}
        assert not set(frame["unique_id"]) & set(known["unique_id"])
    week = {one.id: one.values[:, 0] for one in profiles() if one.id in set(seen[0][2]["unique_id"])}
    expected = [
        np.mean([np.abs(x[o - 168 : o - 144] - x[o : o + 24]).mean() for o in (840, 870)])
        / np.abs(x[168:840] - x[:672]).mean()
        for x in week.values()
    ]
    naive = [row for row in rows if row.part == "a week before"]
    assert naive[0].each == pytest.approx(expected, rel=1e-5)
    assert (naive[0].error, naive[0].spread) == pytest.approx((np.mean(expected), np.std(expected)), rel=1e-5)
    assert bench_reading(tmp_path / "rows.csv", seeds=[1], step=30, verbose=0) == rows, "nothing is run twice"
    assert len(fitted) == 1
    with pytest.raises(ValueError, match="horizon=61 and step=1"):
        bench_reading(tmp_path / "rows.csv", horizon=61, step=1)


def test_the_table_has_the_fall_of_the_mean_and_of_each_stream():
    rows = [
        a_row("titans, layers=0", READS, seed, length, each)
        for seed, last in ((0, [0.5, 2.7]), (1, [1.0, 3.0]))
        for length, each in ((168, [2, 4]), (336, [2, 4]), (500, [1, 3]), (1000, [1, 3]), (2000, [1, 3]), (4000, last))
    ]
    rows += [a_row("naive", "a week before", 0, length, [1, 2]) for length in LENGTHS]
    lines = reading_table(rows).splitlines()
    assert lines[0].startswith("| rows read | 168 | 336 | 500 | 1,000 | 2,000 | 4,000 | fall, 500 to 4,000, % |")
    assert lines[2].startswith("| titans, layers=0, reads on | 3.0000 (1.000) |")
    assert lines[2].endswith("| 1.8000 (1.050) | 10.0 | 20.0, 0.0 | 15.0 ± 20.6 |")
    assert lines[3].endswith("| 1.5000 (0.500) | - | - | - |")
    assert "over 2 streams that no fit saw and over splits 0, 1" in lines[-1]


def test_the_file_of_rows_is_whole():
    rows = read_rows(FILE, ReadingRow)
    assert {row.part for row in rows} >= {"a day before", "a week before"}
    assert max(Counter((r.setting, r.model, r.part, r.seed, r.length) for r in rows).values()) == 1
    for row in rows:
        assert row.setting == "standard", "quick tries do not belong into the file"
        assert row.length in LENGTHS
        assert len(row.each) == row.streams == 48
        assert (row.error, row.spread) == pytest.approx((row.each.mean(), row.each.std()), rel=1e-4)


def test_what_lies_in_no_folder_is_told(monkeypatch, tmp_path):
    monkeypatch.delenv("TITANS_TS_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="the 96 load profiles of the package simbench"):
        reading_on.load_profiles(tmp_path)


def test_the_command_shows_the_table(monkeypatch, tmp_path, capsys):
    asked = {}
    rows = [a_row("naive", "a week before", 0, length, [1, 2]) for length in LENGTHS]
    monkeypatch.setattr(reading_on, "bench_reading", lambda out, **more: asked.update(more, out=out) or rows)
    words = "bench reading --layers 0 2 --seeds 4 --horizon 12 --step 6 --quiet --out"
    assert main([*words.split(), str(tmp_path / "rows.csv")]) == 0
    assert asked == {
        "out": tmp_path / "rows.csv",
        "layers": [0, 2],
        "seeds": [4],
        "horizon": 12,
        "step": 6,
        "data_home": None,
        "jobs": 1,
        "verbose": 0,
    }
    assert "| naive, a week before | 1.5000 (0.500) |" in capsys.readouterr().out
