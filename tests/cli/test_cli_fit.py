"""``titans-ts fit``: files or a folder in, a model out, by one process or by several."""

import datetime as dt
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from titans_ts import load
from titans_ts.cli import main

HOURS = [dt.datetime(2024, 1, 1) + dt.timedelta(hours=k) for k in range(300)]
WORDS = ["--horizon", "5", "--layers", "0", "--seed", "1", "--quiet"]


@pytest.fixture
def files(tmp_path):
    """Write a panel of four series as two files, and as a folder with a part an id."""
    waves = [100 + 10 * np.sin(np.arange(300) * 2 * np.pi / 24 + k) for k in range(4)]
    series = [pl.DataFrame({"unique_id": f"s {k}", "ds": HOURS, "y": wave}) for k, wave in enumerate(waves)]
    pl.concat(series).write_parquet(tmp_path / "parts", partition_by="unique_id", mkdir=True)
    pl.concat(series[:2]).write_csv(tmp_path / "a.csv")
    pl.concat(series[2:]).write_parquet(tmp_path / "b.parquet")
    return tmp_path


def test_files_and_a_folder_of_the_same_rows_give_the_same_model(files, capsys):
    assert main(["fit", str(files / "a.csv"), str(files / "b.parquet"), "--out", str(files / "one.titans"), *WORDS]) == 0
    assert main(["fit", str(files / "parts"), "--out", str(files / "two.titans"), *WORDS]) == 0
    assert f"model: {files / 'two.titans'}" in capsys.readouterr().out
    one, two = (load(files / name).predict().sort("unique_id") for name in ("one.titans", "two.titans"))
    assert one["unique_id"].unique().sort().to_list() == [f"s {k}" for k in range(4)]
    assert two["y"].to_numpy() == pytest.approx(one["y"].to_numpy(), rel=1e-9)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("absent.csv", "absent.csv: no such file"),
        ("empty", "empty: is a folder in which there are no parquet files"),
        ("a.csv other.csv", "other.csv has the columns ds, y, a.csv unique_id, ds, y; give files with the same columns"),
        ("a.csv --target z", "--target z: a.csv has no such column, but unique_id, ds, y"),
        ("a.csv --level 0.8", "--level 0.8: levels are percentages; did you mean --level 80?"),
        ("a.csv --checkpoint a.csv", "--checkpoint a.csv: is a file that is read; give another name"),
        ("a.csv --out there.titans", "--out there.titans: exists; give another name, or --overwrite to write over it"),
        ("a.csv --out nowhere/x.titans", "--out nowhere/x.titans: there is no folder nowhere"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_leaves_nothing(files, monkeypatch, capsys, words, message):
    monkeypatch.chdir(files)
    (files / "empty").mkdir()
    (files / "there.titans").write_bytes(b"")
    pl.DataFrame({"ds": HOURS, "y": HOURS}).write_csv("other.csv")
    before = sorted(files.rglob("*"))
    assert main(["fit", *words.split(), *([] if "--out" in words else ["--out", "x.titans"]), *WORDS]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("titans-ts fit: error: ")
    assert message in line
    assert sorted(files.rglob("*")) == before


@pytest.mark.slow
def test_processes_that_torchrun_starts_write_the_same_model(files):
    words = ["parts", "--horizon", "5", "--max-steps", "3", "--seed", "1", "--checkpoint", "run", "--out"]
    told = []
    for size in (1, 2):
        run = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={size}", "-m", "titans_ts", "fit"]
        done = subprocess.run(
            [*run, *words, f"{size}.titans"], cwd=files, check=True, capture_output=True, text=True, env={**os.environ}
        )
        told.append(done.stdout)
        (files / "run").unlink()
    assert told == ["model: 1.titans\n", "model: 2.titans\n"], "once"
    assert (files / "1.titans").read_bytes() == (files / "2.titans").read_bytes()
