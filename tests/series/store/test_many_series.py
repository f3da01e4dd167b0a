"""The page on many series runs as it stands, but for Spark: from the shell, and in Python on this machine, Ray and Dask."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import titans_ts
from titans_ts import MemoryStore, TitansForecaster, load
from titans_ts.cli import main

PAGE = Path(titans_ts.__file__).parents[1] / "tutorials" / "many_series.md"
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE))
HOURS = pd.date_range("2024-01-01", periods=200, freq="h")


def blocks(section, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTIONS[section], flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with what the page takes for granted: rows of the past, and those of today."""
    monkeypatch.chdir(tmp_path)
    parts = [
        pl.DataFrame({"unique_id": name, "ds": HOURS, "y": np.sin(np.arange(200) / 4 + i)}) for i, name in enumerate("ABC")
    ]
    rows = pl.concat(parts)
    for name, part in (("rows", rows.filter(pl.col("ds") < HOURS[190])), ("today", rows.filter(pl.col("ds") >= HOURS[190]))):
        part.write_parquet(tmp_path / name, partition_by=["unique_id"])
    return tmp_path


def prepare(folder):
    """Fit the model, and let a store read the past."""
    model = TitansForecaster(24, lookback=48, layers=0, random_state=0).fit(pl.read_parquet(folder / "rows"))
    model.save(folder / "wells.titans")
    with MemoryStore(folder / "wells", model, shards=8) as store:
        return store.update(folder / "rows").update(folder / "today").predict(level=[80])


def lines():
    (block,) = blocks("From the shell", "sh")
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines()]


@pytest.mark.slow
def test_the_lines_of_the_shell_run(folder):
    for line in lines():
        fast = ["--lookback", "48", "--layers", "0"] if line[0] == "fit" else []
        line = [word if word != "4" else "1" for word in line]
        assert main([*line, *fast, "--quiet"]) == 0
    written = pl.scan_parquet(sorted(Path("forecasts").rglob("*.parquet")), glob=False, hive_partitioning=True).collect()
    assert written.height == 72
    assert written["ds"].min() == HOURS[-1] + pd.Timedelta("1h")


def ran(section):
    """Run the block of a section; returns what it forecast."""
    (block,) = blocks(section, "python")
    names = {}
    exec(compile(block, str(PAGE), "exec"), names)
    return names["forecasts"]


def assert_same_as_here(section, folder):
    true = prepare(folder)
    shutil.rmtree(folder / "wells")
    with MemoryStore(folder / "wells", load(folder / "wells.titans"), shards=8) as store:
        store.update(folder / "rows")
    assert ran(section).equals(true)


@pytest.mark.slow
def test_the_block_for_this_machine_runs(folder):
    prepare(folder)
    shutil.rmtree(folder / "wells")
    assert ran("From Python").height == 72


@pytest.mark.extras
@pytest.mark.parametrize("section", ["Ray", "Dask"])
def test_the_blocks_of_other_engines_run(section, folder):
    assert_same_as_here(section, folder)


@pytest.mark.extras
@pytest.mark.parametrize("backend", ["ray", "dask"])
def test_the_shell_starts_other_engines(backend, folder):
    true = prepare(folder)
    words = f"predict wells --model wells.titans --out found.parquet --level 80 --jobs 2 --backend {backend} --quiet"
    assert main(words.split()) == 0
    assert pl.read_parquet("found.parquet").equals(true)


def test_spark_is_given_python_that_reads():
    for block in blocks("Spark", "python"):
        compile(block, str(PAGE), "exec")
