"""A store from the shell: rows from parquet folders by id, forecasts back into such a folder."""

import numpy as np
import polars as pl
import pytest

from titans_ts import MemoryStore, TitansForecaster, load
from titans_ts.cli import main

IDS = ["NA", "north/1", "süd", "007", "west = best"]
HOURS = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 9), "1h", eager=True)


def rows(first, last, ids=IDS):
    times = np.arange(first, last)
    parts = [
        pl.DataFrame({"shop": name, "day": HOURS[first:last], "y": np.sin(times / 4 + IDS.index(name))}) for name in ids
    ]
    return pl.concat(parts)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "shops.titans"
    names = {"id_column": "shop", "time_column": "day"}
    forecaster = TitansForecaster(6, lookback=24, patch_length=4, layers=0, random_state=0, **names)
    forecaster.fit(rows(0, 150)).save(path)
    return path


def parted(folder, frame):
    frame.write_parquet(folder, partition_by=["shop"])
    return folder


def run(*words):
    return main([*map(str, words), "--quiet"])


@pytest.mark.parametrize("shards", [(), ("--shards", "4", "--jobs", "2", "--backend", "threading")])
def test_a_store_reads_and_writes_folders_by_id(shards, model, tmp_path, capsys):
    old, new, store, out = (tmp_path / name for name in ("old", "new", "store", "out"))
    parted(old, rows(0, 60))
    assert run("update", store, old, "--model", model, *shards) == 0
    assert capsys.readouterr().out == f"store: {store}, 5 series, 300 rows\n"
    for part in rows(60, 70).partition_by("shop"):  # the folder grows by another file an id
        part.write_parquet(old / f"shop={parent_of(old, part)}" / "1.parquet")
    parted(new, rows(70, 75))
    assert run("update", store, old, "--model", model, "--new") == 0
    assert run("update", store, old, new, "--model", model, "--new") == 0
    assert "5 series, 375 rows" in capsys.readouterr().out
    workers = ("--jobs", "2", "--backend", "threading") if shards else ()
    assert run("predict", store, "--model", model, "--out", out, "--level", "80", *workers) == 0
    found = pl.scan_parquet(sorted(out.rglob("*.parquet")), hive_partitioning=True, glob=False).collect()
    with MemoryStore(store, load(model)) as opened:
        true = opened.predict(level=[80])
    assert found.select(true.columns).sort("shop", "day").equals(true.sort("shop", "day"))
    assert sorted(true["shop"].unique()) == sorted(IDS)
    assert run("predict", store, "--model", model, "--out", out) == 2
    assert "exists; give another name, or --overwrite" in capsys.readouterr().err
    assert run("predict", store, "--model", model, "--out", out, "--overwrite", "--ids", "007", "--horizon", "2") == 0
    assert [path.name for path in out.iterdir()] == ["shop=007"]
    assert run("predict", store, "--model", model, "--out", tmp_path / "all.csv") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.csv", "new", "old", "out", "store"]
    if shards:
        assert run("rebalance", store, "--model", model, "--shards", "8") == 0
        assert "5 series in 8 shards" in capsys.readouterr().out


def parent_of(folder, part):
    """The name under which a folder holds an id."""
    names = {
        pl.scan_parquet(path / "*.parquet", hive_partitioning=True).first().collect()["shop"][0]: path
        for path in folder.iterdir()
    }
    return names[part["shop"][0]].name.removeprefix("shop=")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["update", "{store}", "nowhere"], "nowhere: no such file or folder"),
        (["update", "{store}", "{rows}", "--shards", "0"], "shards must be a whole number from 1"),
        (["update", "{store}", "{empty}"], "is a folder in which there are no parquet files"),
        (["predict", "{store}", "--out", "out"], "no such store; titans-ts update makes one"),
        (["predict", "{store}", "--out", "nowhere/out"], "--out nowhere/out: there is no folder nowhere"),
        (["predict", "{store}", "--out", "{empty}", "--overwrite"], None),
        (["predict", "{store}", "--out", "{rows}/..", "--overwrite"], "exists; give another name"),
        (["rebalance", "{store}", "--shards", "8"], "is no folder of shards; titans-ts update --shards N makes one"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(words, said, model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    parted(tmp_path / "rows", rows(0, 9))
    names = {"store": tmp_path / "store", "rows": tmp_path / "rows", "empty": tmp_path / "empty"}
    assert run(*(word.format(**names) for word in words), "--model", model) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said is None or said in error, error
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "store") == ["empty", "rows"]


def test_a_backend_that_is_not_installed_says_what_to_install(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    parted(tmp_path / "rows", rows(0, 9))
    assert run("update", tmp_path / "store", tmp_path / "rows", "--model", model, "--backend", "ray", "--shards", 4) == 2
    assert "--backend ray needs ray; `pip install 'titans-ts[ray]'`" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
