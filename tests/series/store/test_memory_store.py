"""Many series' memories in one file: read on as each alone, whole or not at all, only what is asked for."""

import dataclasses
import sqlite3
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from series.estimator_cases import fitted, wave
from series.store.store_cases import asked

from titans_ts import MemoryStore, TitansForecaster, load
from titans_ts.frames.faults import SkippedSeries
from titans_ts.series import reader
from titans_ts.series.store import one_file
from titans_ts.series.store.tables import Tables

ARGUMENTS = {"horizon": 4, "lookback": 24, "patch_length": 4, "width": 16}
IDS = [f"well {i}" for i in range(7)]


def frame(first: int, rows: int, ids=IDS) -> pl.DataFrame:
    times = pd.date_range("2024-01-01", periods=400, freq="h").to_numpy()[first : first + rows]
    parts = [
        pl.DataFrame({"unique_id": name, "ds": times, "y": wave(400, 1)[first : first + rows, 0] * (1 + len(name) + i)})
        for i, name in enumerate(ids)
    ]
    return pl.concat(parts).sort("ds", maintain_order=True)


@pytest.fixture(scope="module")
def forecaster() -> TitansForecaster:
    return fitted(frame(0, 160, IDS[:3]), **ARGUMENTS)


@pytest.fixture
def store(forecaster, tmp_path):
    with MemoryStore(tmp_path / "wells.memory", forecaster, batch_size=3) as store:
        yield store


def assert_same_states(store, forecaster, ids=IDS) -> None:
    true = forecaster.state_
    for name in ids:
        found = store[name]
        assert (found.id, found.n_seen, found.last_time) == (name, true[name].n_seen, true[name].last_time)
        for part, x in true[name].tensors.items():
            y = found.tensors[part]
            assert torch.equal(x.isnan(), y.isnan())
            np.testing.assert_allclose(y.nan_to_num(), x.nan_to_num(), rtol=1e-5, atol=1e-5, err_msg=f"{name}, {part}")


@pytest.mark.parametrize("step", [1, 3, 4, 50])
def test_a_store_reads_on_as_a_forecaster_does(step, store, forecaster, tmp_path):
    forecaster.save(tmp_path / "model.titans")
    alone = load(tmp_path / "model.titans").forget()
    for first in range(0, 50, step):
        rows = frame(first, min(step, 50 - first))
        assert store.update(rows) is store
        alone.update(rows)
    assert list(store) == IDS
    assert store.n_seen_ == dict.fromkeys(IDS, 50)
    assert_same_states(store, alone)
    found, true = store.predict(IDS[2:5], level=[80]), alone.predict(level=[80]).filter(pl.col("unique_id").is_in(IDS[2:5]))
    assert found.columns == true.columns
    assert found["ds"].to_list() == true.sort("unique_id", maintain_order=True)["ds"].to_list()
    for column in ("y", "y-lo-80", "y-hi-80"):
        true_values = true.sort("unique_id", maintain_order=True)[column]
        np.testing.assert_allclose(found.sort("unique_id", maintain_order=True)[column], true_values, rtol=1e-4, atol=1e-4)


def test_a_row_that_completes_no_patch_leaves_the_memory_untouched(store, monkeypatch):
    store.update(frame(0, 50))
    memories = partial(asked, store.path, "SELECT place, tensors FROM memory ORDER BY place")
    before, read, real = memories(), [], Tables._tensors
    monkeypatch.setattr(Tables, "_tensors", lambda tables, name, *rest: read.append(name) or real(tables, name, *rest))
    store.update(frame(50, 1))
    assert memories() == before
    assert set(read) == {"waiting"}
    store.update(frame(51, 2))  # row 53 follows the patch of rows 48 .. 51
    assert all(new != old for new, old in zip(memories(), before, strict=True))


def test_streams_and_strangers(store, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "ROWS_AT_ONCE", 40)
    frame(0, 50).write_parquet(tmp_path / "rows.parquet")
    store.update(tmp_path / "rows.parquet").update(frame(0, 9, ["new one"]))
    assert store.n_seen_ == {**dict.fromkeys(IDS, 50), "new one": 9}
    assert "new one" in store
    assert "another" not in store
    assert len(store) == 8
    with pytest.raises(KeyError, match="there is no series 'another'"):
        store["another"]


def test_a_stream_that_is_refused_later_keeps_what_came_before_and_says_where_to_go_on(store):
    pieces = [frame(0, 50), frame(50, 9), frame(58, 9), frame(67, 9)]
    with pytest.raises(
        ValueError, match=r"(?s)the rows of X from row 413 on .*those before are absorbed.*'well 0'.*after the last"
    ):
        store.update(iter(pieces))
    assert store.n_seen_ == dict.fromkeys(IDS, 59)
    assert store.update(frame(59, 8)).n_seen_ == dict.fromkeys(IDS, 67)


def test_states_go_in_and_out(store, forecaster):
    store.update(frame(0, 50))
    state = store["well 3"]
    store.update(frame(50, 20)).remember(state)
    assert (store.n_seen_["well 3"], store.n_seen_["well 4"]) == (50, 70)
    before = forecaster.state_
    forecaster.remember(store["well 1"])
    assert forecaster.n_seen_["well 1"] == 70
    forecaster.remember(before)
    store.forget("well 3")
    assert "well 3" not in store
    assert len(store) == 6
    store.forget()
    assert len(store) == 0
    with pytest.raises(ValueError, match=r"there is no series to forecast; update\(\)"):
        store.predict()


def test_bad_rows_change_nothing(store):
    store.update(frame(0, 50))
    before = store["well 0"]
    with pytest.raises(ValueError, match="well 0"):
        store.update(frame(40, 20))
    bad = frame(50, 4).with_columns(y=pl.when(pl.col("unique_id") == "well 6").then(float("inf")).otherwise(pl.col("y")))
    with pytest.raises(ValueError, match=r"inf in row \d+, id 'well 6'"):
        store.update(bad)
    assert store.n_seen_ == dict.fromkeys(IDS, 50)
    assert torch.equal(store["well 0"].tensors["rows"].nan_to_num(), before.tensors["rows"].nan_to_num())
    for call in (store.predict, store.forget):
        with pytest.raises(ValueError, match="there is no series 'nobody'"):
            call(["nobody"])


def test_an_error_half_way_through_is_rolled_back(store, monkeypatch):
    store.update(frame(0, 50))
    calls, real = [], one_file.absorb_together

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(one_file, "absorb_together", failing)
    with pytest.raises(KeyboardInterrupt):
        store.update(frame(50, 9))
    assert store.n_seen_ == dict.fromkeys(IDS, 50)
    assert store.update(frame(50, 9)).n_seen_ == dict.fromkeys(IDS, 59)


def test_files_of_others_are_refused(store, forecaster, tmp_path):
    store.update(frame(0, 50))
    other = fitted(frame(0, 160, IDS[:3]), **ARGUMENTS, random_state=1)
    with pytest.raises(ValueError, match="holds memories of another model, or of this one with other weights"):
        MemoryStore(store.path, other)
    (tmp_path / "notes.txt").write_text("no store at all, but long enough to be taken for one " * 9)
    with pytest.raises(ValueError, match=r"notes.txt' is no store of titans_ts, or damaged"):
        MemoryStore(tmp_path / "notes.txt", forecaster)
    sqlite3.connect(tmp_path / "else.db").execute("CREATE TABLE rooms (id)").connection.close()
    with pytest.raises(ValueError, match="is an SQLite file, but no store of titans_ts"):
        MemoryStore(tmp_path / "else.db", forecaster)
    with pytest.raises(FileNotFoundError, match="does not exist; make it first"):
        MemoryStore(tmp_path / "nowhere" / "wells.memory", forecaster)
    with pytest.raises(ValueError, match="batch_size must be 1 or more"):
        MemoryStore(tmp_path / "wells.memory", forecaster, batch_size=0)
    with pytest.raises(ValueError, match="fitted on one series without an id"):
        MemoryStore(tmp_path / "one.memory", fitted(wave(160, 1), **ARGUMENTS))
    asked(store.path, "UPDATE memory SET tensors = substr(tensors, 1, 900) WHERE place = 2")
    with pytest.raises(ValueError, match=r"damaged at series 'well 1': forget\(\) it and read its rows again"):
        store["well 1"]


@pytest.mark.parametrize("streamed", [False, True])
def test_series_that_cannot_be_used_are_left_out(store, forecaster, tmp_path, streamed):
    """All at once, or from the piece on where they have a fault; the others read what they read without them."""
    good, bad = IDS[1:], IDS[0]

    def only(ids, first, rows):
        return frame(first, rows).filter(pl.col("unique_id").is_in(ids))

    store.update(frame(0, 20))
    store.reader = dataclasses.replace(store.reader, on_error="skip")
    pieces = [frame(20, 7), only(good, 27, 5).vstack(only([bad], 26, 5)), frame(32, 3)]
    with pytest.warns(SkippedSeries, match="left out 1 series.*\n.*is not after the last absorbed") as told:
        store.update(iter(pieces) if streamed else only(good, 20, 15).vstack(only([bad], 19, 3)))
    assert list(told[0].message.skipped) == [bad]
    assert store.n_seen_ == {bad: 27 if streamed else 20, **dict.fromkeys(good, 35)}
    with MemoryStore(tmp_path / "other", forecaster) as other:
        other.update(frame(0, 20)).update(only(good, 20, 15))
        found, expected = (each.predict(good)["y"].to_numpy() for each in (store, other))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_if_no_series_is_left_the_store_stays_as_it_is(store):
    store.update(frame(0, 20))
    store.reader = dataclasses.replace(store.reader, on_error="skip")
    with pytest.raises(ValueError, match="series cannot be used; no other is left"):
        store.update(iter([frame(0, 5), frame(5, 5)]))
    assert set(store.n_seen_.values()) == {20}
