"""The command line, run as a user would: files in, files out, one clear line for a mistake."""

import datetime as dt
import gzip
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

import titans_ts
from titans_bench import contest, protocol
from titans_bench.contest import TaskRow
from titans_bench.protocol import Score
from titans_bench.rows import write_rows
from titans_ts import TitansForecaster, load
from titans_ts.cli import forecast, main
from titans_ts.cli._shared import in_options
from titans_ts.series.learning.earning import Earned

HOURS = [dt.datetime(2024, 1, 1) + dt.timedelta(hours=k) for k in range(400)]
LOAD = 100 + 10 * np.sin(np.arange(400) * 2 * np.pi / 24)


def wide(path: Path, **columns) -> Path:
    """Write a wide CSV file with ISO time stamps."""
    frame = pl.DataFrame({"ds": HOURS, "load": LOAD} | columns)
    frame.write_csv(path, datetime_format="%Y-%m-%d %H:%M")
    return path


def stopped(*_report) -> bool:
    """End each phase of training after one step."""
    return True


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """Save a model that was fitted on hourly ``load``, in no time."""
    folder = tmp_path_factory.mktemp("model")
    frame = pl.DataFrame({"ds": HOURS, "load": LOAD})
    path = folder / "load.titans"
    TitansForecaster(6, lookback=48, layers=0, random_state=0, callbacks=[stopped]).fit(frame).save(path)
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Run a whole fit from a long file with names of its own, everything written."""
    folder = tmp_path_factory.mktemp("fitted")
    series = [pl.DataFrame({"shop": shop, "day": HOURS, "y": LOAD * k}) for k, shop in enumerate(("NA", "north"), 1)]
    pl.concat(series).write_csv(folder / "sales.csv")
    words = "--horizon 5 --level 99 80 --id-column shop --max-steps 1 --max-minutes 0 --seed 3 --quiet --plot"
    status = main(["forecast", str(folder / "sales.csv"), *words.split(), "--save", str(folder / "sales.titans")])
    return SimpleNamespace(folder=folder, status=status)


def test_a_fit_writes_forecast_model_and_picture_beside_the_file(fitted):
    assert fitted.status == 0
    names = sorted(path.name for path in fitted.folder.iterdir())
    assert names == ["sales-forecast.csv", "sales-forecast.png", "sales.csv", "sales.titans"], "and nothing half-written"
    assert (fitted.folder / "sales-forecast.png").read_bytes().startswith(b"\x89PNG")


def test_the_forecast_goes_on_in_ids_and_time_stamps(fitted):
    frame = pl.read_csv(fitted.folder / "sales-forecast.csv", try_parse_dates=True)
    assert frame.columns == ["shop", "day", "y", "y-lo-99", "y-hi-99", "y-lo-80", "y-hi-80"]
    assert frame["shop"].to_list() == ["NA"] * 5 + ["north"] * 5, "an id called NA is an id"
    ahead = [HOURS[-1] + dt.timedelta(hours=k) for k in range(1, 6)]
    assert frame["day"].to_list() == ahead * 2, "the only column of dates was found"
    assert (frame["y-lo-99"] <= frame["y-lo-80"]).all()
    assert (frame["y-lo-80"] <= frame["y-hi-80"]).all()
    assert (frame["y-hi-80"] <= frame["y-hi-99"]).all(), "a level beyond the default quantiles is learned too"


def test_the_saved_model_is_the_one_that_forecast(fitted):
    written = pl.read_csv(fitted.folder / "sales-forecast.csv")["y"].to_numpy()
    assert load(fitted.folder / "sales.titans").predict()["y"].to_numpy() == pytest.approx(written, rel=1e-6)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet"])
def test_a_saved_model_forecasts_a_file_in_its_own_format(model, tmp_path, suffix):
    frame = pl.DataFrame({"ds": HOURS, "load": LOAD})
    path = tmp_path / f"new.v2{suffix}"
    if suffix == ".parquet":
        frame.write_parquet(path)
    else:
        text = frame.write_csv(separator="\t" if suffix == ".tsv" else ",").encode()
        path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    assert main(["forecast", str(path), "--model", str(model), "--level"]) == 0
    out = tmp_path / f"new.v2-forecast{suffix}"
    if suffix == ".parquet":
        found = pl.read_parquet(out)
    else:
        found = pl.read_csv(out, separator="\t" if suffix == ".tsv" else ",", try_parse_dates=True)
    assert found.columns == ["ds", "load"]
    assert found["ds"].to_list() == [HOURS[-1] + dt.timedelta(hours=k) for k in range(1, 7)]
    assert found["load"].to_numpy() == pytest.approx(load(model).predict(frame)["load"].to_numpy(), rel=1e-12)


def test_missing_values_in_a_file_are_no_error(model, tmp_path, capsys):
    gaps = [None if k % 7 == 0 else value for k, value in enumerate(LOAD)]
    path = tmp_path / "gaps.csv"
    text = "\n".join(f"{stamp:%Y-%m-%dT%H:%M:%S},{'NA' if v is None else v}" for stamp, v in zip(HOURS, gaps, strict=True))
    path.write_text("ds,load\n" + text)
    assert main(["forecast", str(path), "--model", str(model), "--out", str(tmp_path / "out.csv")]) == 0
    assert pl.read_csv(tmp_path / "out.csv")["load"].is_finite().all()
    assert str(tmp_path / "out.csv") in capsys.readouterr().out


def test_a_warning_is_one_line_too(model, tmp_path, capsys):
    path = tmp_path / "gap.csv"
    pl.DataFrame({"ds": HOURS, "load": LOAD}).filter(pl.arange(400) != 9).write_csv(path)
    assert main(["forecast", str(path), "--model", str(model)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"titans-ts forecast: warning: {path}: 1 missing rows were filled with NaN")


ERRORS = {
    "absent.csv --horizon 3": "absent.csv: no such file",
    "load.xlsx --horizon 3": "load.xlsx has an unknown suffix; name it with one of .csv, .csv.gz",
    "empty.csv --horizon 3": "empty.csv cannot be read as csv: the file is empty",
    "headed.csv --horizon 3": "headed.csv has no rows, only the columns ['ds', 'load']",
    "load.csv": "--horizon is needed to fit a model",
    "load.csv --horizon 3 --target price": "--target price: {folder}/load.csv has no such column, but ds, load",
    "load.csv --horizon 3 --id-column shop": "--id shop: {folder}/load.csv has no such column",
    "load.csv --horizon 3 --time-column when": "--time when: {folder}/load.csv has no such column",
    "load.csv --horizon 0": "error: --horizon must be an int in the range [1, inf)",
    "load.csv --horizon 3 --level 120": "--level [120.0]: intervals are percentages between 0 and 100",
    "load.csv --horizon 3 --out nowhere/out.csv": "--out nowhere/out.csv: there is no folder nowhere",
    "load.csv --horizon 3 --out out.doc": "--out out.doc: the name must end in one of .csv",
    "load.csv --horizon 3 --plot p.txt": "--plot p.txt: the name must end in one of .png",
    "load.csv --horizon 3 --save {folder}": "--save {folder}: is a folder",
    "two.csv --horizon 3": "has several columns of dates, ['from', 'to']; name one with --time",
    "us.csv --horizon 3": "holds text that is no date, '01/31/2024' in its first row; write time stamps as 2024-01-31",
    "load.csv --model absent.titans": "absent.titans",
    "load.csv --horizon 3 --level 0.8": "--level 0.8: levels are percentages; did you mean --level 80?",
    "load.csv --horizon 3 --target Laod": "has no such column, but ds, load; did you mean 'load'?",
    "load.csv --horizon 3 --past price": "--past price: {folder}/load.csv has no such column",
    "load.csv --horizon 3 --lookback 0": "error: --lookback must be a str among {{'auto'}} or an int in the range [1, inf)",
    "load.csv --horizon 3 --future load": "need load, known in advance; give a file with them: --future-file FILE",
    "load.csv --horizon 3 --future-file two.csv": "name them with --future when it is fitted",
    "load.csv --horizon 3 --past load --target load": "have two roles; name each in one of --id",
    "load.csv --horizon 3 --transform none": "error: --transform must be",
    "load.csv --horizon 3 --minimum 200": "below",
    "load.csv --model {model} --minimum 0": "--minimum belongs to a fit, and {model} was fitted",
    "load.csv --horizon 3 --sep ;": "load.csv cannot be read as csv: between its columns stands ',', not ';'",
    "load.csv --horizon 3 --sep ab": "--sep 'ab' must be one ASCII character",
    "load.csv --horizon 3 --out {folder}/us.csv": "--out {folder}/us.csv: exists; give another name, or --overwrite",
    "load.csv --horizon 3 --save {folder}/us.csv": "--save {folder}/us.csv: exists; give another name, or --overwrite",
    "load.csv --horizon 3 --overwrite --out {folder}/load.csv": "--out {folder}/load.csv: is a file that is read",
    "load.csv --model {model} --lookback 3": "--lookback belongs to a fit, and {model} was fitted",
    "twice.csv --horizon 3": "twice.csv cannot be read as csv: two columns are called 'load'; rename one",
    "latin.csv --horizon 3": "it is no UTF-8 text (byte 0xb0); save it as UTF-8",
    "load.csv --model {model} --horizon 7": "{model} forecasts 6 rows; ask for fewer",
    "other.csv --model {model}": "other.csv must have the columns seen at fit",
}


@pytest.mark.parametrize("command", ERRORS)
def test_a_mistake_is_one_line_and_status_2(command, model, tmp_path, capsys):
    wide(tmp_path / "load.csv")
    (tmp_path / "load.xlsx").write_text("x")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "headed.csv").write_text("ds,load\n")
    (tmp_path / "two.csv").write_text("from,to,y\n2024-01-01,2024-01-02,1\n2024-01-02,2024-01-03,2\n")
    (tmp_path / "us.csv").write_text("ds,load\n01/31/2024,1\n02/01/2024,2\n")
    (tmp_path / "other.csv").write_text("ds,price\n2024-01-01 00:00,1\n2024-01-01 01:00,2\n")
    (tmp_path / "twice.csv").write_text("ds,load,load\n2024-01-01,1,2\n")
    (tmp_path / "latin.csv").write_bytes("ds;Grad °C\n2024-01-01;1,5\n".encode("latin-1"))
    names = {"folder": tmp_path, "model": model}
    file, *options = (word.format(**names) for word in command.split())
    before = sorted(tmp_path.iterdir())
    assert main(["forecast", str(tmp_path / file), *options]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    lines = [line for line in told.err.splitlines() if not line.startswith("read ")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("titans-ts forecast: error: ")
    assert ERRORS[command].format(**names) in lines[0]
    assert sorted(tmp_path.iterdir()) == before, "a failed run leaves nothing behind"


QUICK = ["--horizon", "3", "--lookback", "24", "--layers", "0", "--max-steps", "1", "--quiet"]


def test_semicolons_and_decimal_commas_are_read_and_written_back(tmp_path):
    rows = [f"{stamp:%Y-%m-%d %H:%M};{value:.3f}".replace(".", ",") for stamp, value in zip(HOURS, LOAD, strict=True)]
    path = tmp_path / "last.csv"
    path.write_text("\ufeffZeit;Last\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert main(["forecast", str(path), *QUICK]) == 0
    lines = (tmp_path / "last-forecast.csv").read_text().splitlines()
    assert lines[0] == "Zeit;Last;Last-lo-80;Last-hi-80"
    found = pl.read_csv(tmp_path / "last-forecast.csv", separator=";", decimal_comma=True, try_parse_dates=True)
    wide(tmp_path / "points.csv")
    assert main(["forecast", str(tmp_path / "points.csv"), *QUICK]) == 0
    expected = pl.read_csv(tmp_path / "points-forecast.csv")["load"].to_numpy()
    assert found["Last"].to_numpy() == pytest.approx(expected, rel=1e-3)
    assert found["Zeit"].to_list() == [HOURS[-1] + dt.timedelta(hours=k) for k in (1, 2, 3)]


def test_covariates_and_ids_are_named_by_options_and_a_file_brings_those_to_come(tmp_path):
    parts = [
        pl.DataFrame({"shop": shop, "day": HOURS, "sold": LOAD, "promo": LOAD > 105, "size": k})
        for k, shop in enumerate("ab")
    ]
    pl.concat(parts).write_csv(tmp_path / "shops.tsv", separator="\t")
    ahead = [HOURS[-1] + dt.timedelta(hours=k) for k in (1, 2, 3)]
    future = [pl.DataFrame({"shop": shop, "day": ahead, "promo": [True, False, True]}) for shop in "ab"]
    pl.concat(future).write_csv(tmp_path / "plan.tsv", separator="\t")
    words = ["--id", "shop", "--time", "day", "--target", "sold", "--future", "promo", "--static", "size", "--future-file"]
    assert main(["forecast", str(tmp_path / "shops.tsv"), *QUICK, *words, str(tmp_path / "plan.tsv")]) == 0
    found = pl.read_csv(tmp_path / "shops-forecast.tsv", separator="\t", try_parse_dates=True)
    assert found.columns == ["shop", "day", "sold", "sold-lo-80", "sold-hi-80"]
    assert found["day"].to_list() == ahead * 2


def test_a_look_back_may_be_shorter_than_a_patch_and_text_beside_the_target_is_named(tmp_path, capsys):
    pl.DataFrame({"ds": HOURS, "y": LOAD, "promo": ["tv"] * len(HOURS)}).write_csv(tmp_path / "sold.csv")
    arguments = [
        "forecast",
        str(tmp_path / "sold.csv"),
        "--horizon",
        "3",
        "--lookback",
        "8",
        "--layers",
        "0",
        "--max-steps",
        "2",
    ]
    assert main(arguments) == 2
    assert "text that goes with them in --past, --future or --static" in capsys.readouterr().err
    assert main([*arguments, "--past", "promo"]) == 0
    assert len(pl.read_csv(tmp_path / "sold-forecast.csv")) == 3


def test_rows_that_the_future_file_lacks_are_told_before_the_fit(tmp_path, capsys):
    pl.DataFrame({"ds": HOURS, "y": LOAD, "promo": ["tv"] * len(HOURS)}).write_csv(tmp_path / "sold.csv")
    ahead = [HOURS[-1] + dt.timedelta(hours=k) for k in (1, 2)]
    pl.DataFrame({"ds": ahead, "promo": ["tv"] * 2}).write_csv(tmp_path / "plan.csv")
    words = ["--future", "promo", "--future-file", str(tmp_path / "plan.csv")]
    assert main(["forecast", str(tmp_path / "sold.csv"), *QUICK, *words]) == 2
    told = capsys.readouterr().err
    assert "plan.csv lacks 1 of the 3 rows to forecast; the first missing is" in told
    assert "fitting" not in told


def test_counts_holidays_and_series_to_skip_are_options_too(tmp_path, capsys):
    days = [dt.datetime(2024, 1, 1) + dt.timedelta(days=k) for k in range(120)]
    rows = {"unique_id": ["a"] * 120 + ["none"] * 120, "ds": days * 2, "y": [k % 7 for k in range(120)] + [None] * 120}
    pl.DataFrame(rows).write_csv(tmp_path / "sold.csv")
    words = ["--minimum", "0", "--transform", "log1p", "--holidays", "DE", "--skip"]
    assert main(["forecast", str(tmp_path / "sold.csv"), *QUICK, *words]) == 0
    found = pl.read_csv(tmp_path / "sold-forecast.csv")
    assert found["unique_id"].unique().to_list() == ["a"]
    assert found["y-lo-80"].min() >= 0
    assert "warning: left out 1 series that cannot be used" in capsys.readouterr().err


def test_nothing_is_written_over_unasked_and_with_overwrite_it_is(model, tmp_path, capsys):
    path = wide(tmp_path / "load.csv")
    arguments = ["forecast", str(path), "--model", str(model), "--horizon", "2"]
    assert main(arguments) == 0
    before = (tmp_path / "load-forecast.csv").read_bytes()
    (tmp_path / "load-forecast.csv").write_text("mine")
    assert main(arguments) == 2
    assert "load-forecast.csv: exists; give another name, or --overwrite" in capsys.readouterr().err
    assert (tmp_path / "load-forecast.csv").read_text() == "mine"
    assert main([*arguments, "--overwrite"]) == 0
    assert (tmp_path / "load-forecast.csv").read_bytes() == before
    assert len(pl.read_csv(tmp_path / "load-forecast.csv")) == 2, "fewer rows than the model learned"


def test_messages_speak_of_options_and_leave_what_is_quoted():
    words = {"X": "a.csv", "future": "--future-file b.csv", "level": "--level", "id_column": "--id", "horizon": "--horizon"}
    words["on_error"] = "--skip"
    for said, told in {
        "level=80 is wide; name id_column='X'": "--level 80 is wide; name --id 'X'",
        "The 'horizon' parameter of TitansForecaster must be": "--horizon must be",
        "X has ['level=1', \"X's\"] at a level of the horizon": "a.csv has ['level=1', \"X's\"] at a level of the horizon",
        'is empty (on_error="skip" leaves such series out)': "is empty (--skip leaves such series out)",
        "2 series: 'a': future lacks 2 rows": "2 series: 'a': --future-file b.csv lacks 2 rows",
        "future covariates; see /X/level=3": "future covariates; see /X/level=3",
    }.items():
        assert in_options(said, words) == told


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.csv"):
        main(["forecast", str(tmp_path / "absent.csv"), "--horizon", "3", "--debug"])


def test_a_failed_write_leaves_the_old_file(model, tmp_path, monkeypatch):
    wide(tmp_path / "load.csv")
    (tmp_path / "out.csv").write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("the disk is full")))
    arguments = ["forecast", str(tmp_path / "load.csv"), "--model", str(model), "--out", str(tmp_path / "out.csv")]
    assert main([*arguments, "--overwrite"]) == 2
    assert (tmp_path / "out.csv").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["load.csv", "out.csv"]


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
    monkeypatch.setattr(forecast, "run", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["forecast", "load.csv"]) == 130
    assert capsys.readouterr().err == "titans-ts forecast: interrupted\n"


def test_a_missing_matplotlib_is_told_before_the_fit(tmp_path, monkeypatch, capsys):
    wide(tmp_path / "load.csv")
    monkeypatch.setattr(forecast, "find_spec", lambda name: None)
    assert main(["forecast", str(tmp_path / "load.csv"), "--horizon", "3", "--plot"]) == 2
    assert "--plot needs matplotlib; `pip install 'titans-ts[plot]'`" in capsys.readouterr().err


COMMANDS = [
    ["demo"],
    ["forecast"],
    ["evaluate"],
    ["classify"],
    ["score"],
    ["update"],
    ["predict"],
    ["rebalance"],
    ["bench", "recall"],
    ["bench", "history"],
]
COMMANDS += [["bench", "tasks"], ["bench", "reading"], ["bench", "tables"]]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option_with_a_word_about_it(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    text = capsys.readouterr().out
    options = re.findall(r"^  (?:-\w[^\n]*?, )?(--[a-z-]+)", text, flags=re.M)
    assert len(options) >= 4
    bare = re.findall(r"^  (--[a-z-]+)(?: [A-Z.\[\] _]+)?$(?!\n {10,}\S)", text, flags=re.M)
    assert not bare, f"options without help: {bare}"


@pytest.mark.parametrize("argv", [[], ["classify"], ["evaluate", "nonesuch"], ["forecast"]])
def test_a_wrong_command_is_status_2_with_usage(argv, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    assert "usage: titans-ts" in capsys.readouterr().err


TELLER = SimpleNamespace(earned_=[Earned("seasonal naive", 1.25, 40), Earned("base", 1.0, 40)])


def scores(name, **received):
    """Stand in for the protocol, which has tests of its own; keep what it was asked for."""
    scores.received = {"name": name, **received}
    scores.received.pop("tell")("mac, seed 0", TELLER)
    return [Score(name, "mac", 0, 24, 0.5, 0.25, 1.0, 7), Score(name, "mac", 0, "average", 0.5, 0.25, 1.0, 7)]


@pytest.mark.parametrize("suffix", [".md", ".csv"])
def test_evaluate_hands_on_its_options_and_writes_its_table(suffix, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(protocol, "evaluate", scores)
    words = "evaluate ETTh1 --variant lmm mag --seeds 1 2 --horizons 24 --max-steps 5 --max-minutes 3 --quiet --out"
    assert main([*words.split(), str(tmp_path / f"table{suffix}")]) == 0
    assert scores.received == {
        "name": "ETTh1",
        "variants": ["lmm", "mag"],
        "seeds": [1, 2],
        "horizons": [24],
        "data_home": None,
        "max_minutes": 3.0,
        "keep_markers": False,
        "max_steps": 5,
        "verbose": 0,
    }
    printed = capsys.readouterr().out
    told, printed = printed.split("\n\n", 1)
    assert told.splitlines()[0] == "mac, seed 0: error at 40 origins, in seasonal differences"
    assert told.splitlines()[2].split() == ["base", "1.000", "(80.0", "%)"]
    assert "| mac | 0.5000/0.2500 |" in printed
    if suffix == ".md":
        assert (tmp_path / "table.md").read_text() == printed
    else:
        rows = pl.read_csv(tmp_path / "table.csv").rows(named=True)
        assert [row["horizon"] for row in rows] == ["24", "average"]
        assert rows[0]["mse"] == 0.5


def test_evaluate_fits_the_base_alone(monkeypatch, capsys):
    monkeypatch.setattr(protocol, "evaluate", scores)
    assert main(["evaluate", "ETTh1", "--base-alone", "--quiet"]) == 0
    assert scores.received["variants"] == ()
    assert main(["evaluate", "m3_yearly", "--base-alone"]) == 2
    assert "--base-alone: goes with the protocol, not with m3_yearly" in capsys.readouterr().err


def test_evaluate_refuses_a_table_it_could_not_write(tmp_path, capsys):
    assert main(["evaluate", "ETTh1", "--out", str(tmp_path / "table.xlsx")]) == 2
    assert "the name must end in one of .md, .csv" in capsys.readouterr().err


def task_rows(name, **received):
    """Stand in for the contest, which has tests of its own; keep what it was asked for."""
    task_rows.received = {"name": name, **received}
    if "tell" in received:
        task_rows.received.pop("tell")("titans, mac, seed 0", TELLER)
    return [
        TaskRow("standard", name, "titans", seed, "all", 9, 1, 6, 1.5, 1.2, 0.1, 0.8, 0.9, 1, 2, 3, "") for seed in (1, 2)
    ]


def test_evaluate_takes_tasks_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(contest, "evaluate_task", task_rows)
    words = "evaluate m3_yearly --seeds 1 2 --limit 9 --max-steps 5 --quiet --out"
    assert main([*words.split(), str(tmp_path / "table.csv")]) == 0
    assert task_rows.received == {
        "name": "m3_yearly",
        "variants": ["mac"],
        "seeds": [1, 2],
        "limit": 9,
        "data_home": None,
        "max_minutes": None,
        "max_steps": 5,
        "verbose": 0,
    }
    assert "| titans | 1.5000 (0.0000) | 1.2000 | 0.1000 |" in capsys.readouterr().out
    assert pl.read_csv(tmp_path / "table.csv")["mase"].to_list() == [1.5, 1.5]
    assert main(["evaluate", "m3_yearly", "--horizons", "6"]) == 2
    assert "--horizons: m3_yearly has a horizon of its own, 6" in capsys.readouterr().err
    assert main(["evaluate", "ETTh1", "--limit", "6"]) == 2
    assert "--limit: goes with a task, not with ETTh1" in capsys.readouterr().err
    for name in ("ETTh1", "m3_yearly"):
        assert main(["evaluate", name, "--keep-markers"]) == 2
        assert f"--keep-markers: no number stands for missing in {name}" in capsys.readouterr().err


def test_bench_tasks_hands_on_its_options_and_shows_a_table_a_group(tmp_path, monkeypatch, capsys):
    asked = {}
    monkeypatch.setattr(contest, "bench_tasks", lambda out, **more: asked.update(more, out=out) or task_rows("m3_yearly"))
    out = tmp_path / "tasks.csv"
    words = "bench tasks --tasks m3_yearly --models titans --seeds 1 2 --limit 9 --jobs 2 --quiet --out"
    assert main([*words.split(), str(out)]) == 0
    assert asked == {
        "tasks": ["m3_yearly"],
        "models": ["titans"],
        "seeds": [1, 2],
        "limit": 9,
        "jobs": 2,
        "data_home": None,
        "verbose": 0,
        "out": out,
    }
    printed = capsys.readouterr().out
    assert "| titans | - | - | - | - | - | 1.500/0.1000 |" in printed
    assert "SQL/MASE" not in printed


def test_bench_tables_writes_a_page_anew_or_checks_it(tmp_path, capsys):
    page = tmp_path / "README.md"
    write_rows(tmp_path / "tasks.csv", task_rows("m3_yearly"), TaskRow)
    page.write_text("<!-- table: panels -->\n<!-- end -->\n")
    assert main(["bench", "tables", str(page), "--check"]) == 2
    assert "its tables are not what its files give" in capsys.readouterr().err
    assert main(["bench", "tables", str(page)]) == 0
    assert "| titans |" in page.read_text()
    assert main(["bench", "tables", str(page), "--check"]) == 0
    assert "up to date" in capsys.readouterr().err
    assert main(["bench", "tables", str(tmp_path / "none.md")]) == 2


def test_the_module_is_the_command():
    repository = Path(titans_ts.__file__).parents[1]
    arguments = {"capture_output": True, "text": True, "check": True, "env": os.environ | {"PYTHONPATH": str(repository)}}
    found = subprocess.run([sys.executable, "-m", "titans_ts", "--version"], **arguments)
    assert found.stdout == f"titans-ts {titans_ts.__version__}\n"
    code = "import sys, titans_ts.cli; print({'torch', 'pandas', 'polars', 'matplotlib', 'sklearn'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], **arguments).stdout == "set()\n", "--help must not wait for torch"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="the demo draws: titans-ts[plot]")
def test_the_demo_writes_a_forecast_and_a_picture(data_home, tmp_path, capsys):
    assert main(["demo", "--quick", "--quiet", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "| the last day again |" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["forecast.csv", "forecast.png"]
    frame = pl.read_csv(tmp_path / "forecast.csv")
    assert (frame["Demand-lo-80"] <= frame["Demand-hi-80"]).all()
