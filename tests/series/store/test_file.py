"""The file of a store: shared by processes and threads, cut, moved, locked, read-only, full; each answered plainly."""

import os
import pickle
import shutil
import tempfile
import threading
import time
from pathlib import Path

import pytest
from series.store.store_cases import asked, ended_well, everything, forked, listed_rows, made, stamped_rows

from titans_ts import MemoryStore, load
from titans_ts.series.store import file as store_file
from titans_ts.series.store.connection import StoreInUseError
from titans_ts.series.store.file import StoreFile

FROZEN = Path(__file__).parents[2] / "frozen" / "older"
WELLS = ["well 0", "well 1", "well 2"]


@pytest.fixture(scope="module")
def listed():
    return made(listed_rows)


@pytest.fixture(scope="module")
def stamped():
    return made(stamped_rows)


@pytest.fixture
def store(listed, tmp_path):
    with MemoryStore(tmp_path / "wells.memory", listed, timeout=0.05) as store:
        yield store.update(listed_rows(30))


# --- many at once -----------------------------------------------------------------------------------------------------


def test_of_two_that_give_the_same_rows_the_second_is_refused(stamped, tmp_path):
    with MemoryStore(tmp_path / "wells.memory", stamped) as one, MemoryStore(tmp_path / "wells.memory", stamped) as other:
        one.update(stamped_rows(30))
        before = everything(other)
        with pytest.raises(ValueError, match="well 0.*not after the last absorbed time stamp 2024-01-02 05:00:00") as error:
            other.update(stamped_rows(30))
        assert all(name in str(error.value) for name in WELLS)
        with pytest.raises(ValueError, match="well 2.*not after the last absorbed"):  # one of three
            other.update(
                stamped_rows(5, first=30).query("unique_id != 'well 2'").merge(stamped_rows(30).tail(1), how="outer")
            )
        assert everything(other) == everything(one) == before


def test_of_threads_that_give_the_same_rows_one_succeeds(stamped, tmp_path):
    path = tmp_path / "wells.memory"
    with MemoryStore(path, stamped) as shared:
        shared.update(stamped_rows(30))
        gate, said, stores = threading.Barrier(4), [], [shared, shared, shared, MemoryStore(path, stamped)]

        def give(store):
            gate.wait()
            try:
                store.update(stamped_rows(2, first=30))
                said.append("absorbed")
            except ValueError as error:
                said.append(str(error))

        threads = [threading.Thread(target=give, args=[store]) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert said.count("absorbed") == 1
        assert sum("not after the last absorbed" in word for word in said) == 3
        assert shared.n_seen_ == dict.fromkeys(WELLS, 32)


def test_a_reader_sees_one_moment_and_waits_for_nobody(store, listed):
    before, forecast = everything(store), [x.tolist() for x in store.predict()]
    with MemoryStore(store.path, listed) as other:
        with store._kept.file.writing() as tables:
            tables.drop(0)
            tables.drop(1)
            assert everything(other) == before
            other._kept.file.timeout = 0.01
            with pytest.raises(StoreInUseError):
                other.forget(0)
        assert other.n_seen_ == {2: 30}
        with other._kept.file.reading() as tables:
            store.update(listed_rows(3))
            assert [(row.name, row.n_seen) for row in tables.rows()] == [(2, 30)]
        assert other.n_seen_ == {2: 33, 0: 3, 1: 3}
    assert [x.tolist() for x in store.predict()] != forecast


def test_another_writer_is_waited_for_and_then_named(store):
    held = store_file.Connection(store.path, at=store.path, mode="rw", identity=(0, 0))
    held.ask("BEGIN IMMEDIATE")
    began = time.monotonic()
    for change in (lambda: store.update(listed_rows(3, first=30)), store.forget, lambda: store.remember([])):
        with pytest.raises(
            TimeoutError, match=r"wells.memory' is being written .* more than the timeout=0.05 seconds"
        ) as error:
            change()
        assert isinstance(error.value, ValueError)
    assert 0.15 < time.monotonic() - began < 5
    assert store.n_seen_ == dict.fromkeys(range(3), 30)
    store._kept.file.timeout = 20
    threading.Timer(0.1, held.ask, ["ROLLBACK"]).start()
    assert store.update(listed_rows(3, first=30)).n_seen_ == dict.fromkeys(range(3), 33)
    held.close()


def test_processes_forked_from_one_that_has_the_store_open(store):
    def update():
        store._kept.file.timeout = 20
        store.update(listed_rows(1))

    children = [forked(update) for _ in range(3)]
    store._kept.file.timeout = 20
    for _ in range(3):
        store.update(listed_rows(1))
    assert ended_well(*children) == [True] * 3
    assert store.n_seen_ == dict.fromkeys(range(3), 36)
    assert store.check() is store


def test_a_process_forked_in_the_middle_of_a_call_is_refused_and_disturbs_nothing(store, listed):
    def use():
        for ask in (tables.rows, lambda: store.n_seen_, lambda: MemoryStore(store.path, listed)):
            with pytest.raises(ValueError, match=r"wells.memory' (is|was) in use by .*fork"):
                ask()

    with store._kept.file.writing() as tables:
        tables.drop(0)
        assert ended_well(forked(use)) == [True]
        assert ended_well(forked(lambda: None)) == [True]
    assert store.n_seen_ == {1: 30, 2: 30}
    assert store.check() is store


def test_a_store_goes_to_another_process_by_its_path(store):
    with pickle.loads(pickle.dumps(store)) as again:
        assert everything(again) == everything(store)
        again.update(listed_rows(1))
    assert store.n_seen_ == dict.fromkeys(range(3), 31)


# --- what lies at the path --------------------------------------------------------------------------------------------


def test_what_is_no_store_is_refused(listed, tmp_path):
    (tmp_path / "empty.memory").touch()
    with pytest.raises(ValueError, match=r"empty.memory' is empty: .* delete it to begin anew"):
        MemoryStore(tmp_path / "empty.memory", listed)
    with pytest.raises(IsADirectoryError, match=r"is a folder; name a file in it"):
        MemoryStore(tmp_path, listed)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"pipe' is no regular file"):
        MemoryStore(tmp_path / "pipe", listed)
    asked(tmp_path / "tables", "CREATE TABLE about (name, value)")
    with pytest.raises(ValueError, match=r"tables' is an SQLite file, but no store"):
        MemoryStore(tmp_path / "tables", listed)
    for timeout in (-1, float("nan"), "3", None):
        with pytest.raises(ValueError, match="timeout must be a number of seconds"):
            MemoryStore(tmp_path / "wells.memory", listed, timeout=timeout)
    assert sorted(os.listdir(tmp_path)) == ["empty.memory", "pipe", "tables"]


def test_a_store_cut_anywhere_is_refused(store, listed):
    before = everything(store)
    store.close()
    whole = store.path.read_bytes()
    for length in (0, 1, 99, 100, 511, 512, 4095, 4096, 8192, len(whole) // 2, len(whole) - 4096, len(whole) - 3000):
        store.path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"wells.memory' is (empty|no store|an SQLite file, but no store|damaged)"):
            MemoryStore(store.path, listed).check()
    store.path.write_bytes(whole)
    assert everything(MemoryStore(store.path, listed)) == before


def test_a_closed_store_says_so(store):
    store.close()
    store.close()
    calls = {
        "len": lambda: len(store),
        "in": lambda: 0 in store,
        "iter": lambda: list(store),
        "item": lambda: store[0],
        "n_seen_": lambda: store.n_seen_,
        "update": lambda: store.update(listed_rows(3)),
        "predict": store.predict,
        "remember": lambda: store.remember([]),
        "forget": store.forget,
        "check": store.check,
    }
    for call in calls.values():
        with pytest.raises(ValueError, match=r"the store '.*wells.memory' is closed; open it again"):
            call()
    assert os.listdir(store.path.parent) == ["wells.memory"]


def test_a_file_that_is_moved_or_replaced_under_an_open_store(store, listed, tmp_path):
    store.close()
    shutil.copy(store.path, tmp_path / "copy")
    with MemoryStore(store.path, listed) as store:
        store.update(listed_rows(3, first=30))
        for end in ("", "-wal", "-shm"):
            Path(f"{store.path}{end}").unlink()
        os.replace(tmp_path / "copy", store.path)
        assert store.n_seen_ == dict.fromkeys(range(3), 30)
        store.update(listed_rows(2, first=30)).check()
        store.path.unlink()
        with pytest.raises(FileNotFoundError, match=r"wells.memory' is gone"):
            store.update(listed_rows(2, first=32))
    assert not store.path.exists()


def test_links_are_followed(listed, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "wells.memory")
    with MemoryStore(tmp_path / "link", listed) as one, MemoryStore(tmp_path / "far" / "wells.memory", listed) as other:
        one.update(listed_rows(30))
        assert other.n_seen_ == one.n_seen_
    assert os.listdir(tmp_path / "far") == ["wells.memory"]
    assert (tmp_path / "link").is_symlink()


def test_making_a_store_leaves_one_that_another_made_and_clears_what_a_dead_one_left(store, tmp_path):
    (tmp_path / ".wells.memory.0.partial").write_bytes(b"half a store")
    store._kept.file._make()
    assert store.n_seen_ == dict.fromkeys(range(3), 30)
    store.close()
    assert os.listdir(tmp_path) == ["wells.memory"]


# --- what cannot be written -------------------------------------------------------------------------------------------


def as_nobody(call):
    """Run in a child that has no rights but those of all."""

    def without_rights():
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        call()

    assert ended_well(forked(without_rights)) == [True]


@pytest.mark.parametrize(("file", "folder"), [(0o444, 0o755), (0o644, 0o555), (0o444, 0o777)])
def test_a_read_only_store_is_read_and_says_why_it_is_not_written(listed, file, folder):
    place = Path(tempfile.mkdtemp(prefix="titans_store_"))  # every user may come here, unlike pytest's folder
    path = place / "wells.memory"
    with MemoryStore(path, listed) as store:
        store.update(listed_rows(30))
        true = everything(store)
    path.chmod(file)
    place.chmod(folder)

    def read():
        with MemoryStore(path, listed) as store:
            assert everything(store) == true
            assert len(store.predict([1])) == 1
            store.check()
            for change in (lambda: store.update(listed_rows(3, first=30)), store.forget):
                with pytest.raises(PermissionError, match=r"wells.memory' can be read, but not written: .* is read-only"):
                    change()

    def read_wrongly():
        with pytest.raises(PermissionError, match="wells.memory' cannot be read"):
            MemoryStore(path, listed)
        with pytest.raises(PermissionError, match="new.memory could not be written"):
            MemoryStore(place / "new.memory", listed)

    as_nobody(read)
    assert os.listdir(place) == ["wells.memory"], "reading leaves nothing"
    path.chmod(0)
    place.chmod(0o555)
    as_nobody(read_wrongly)
    place.chmod(0o755)
    shutil.rmtree(place)


def test_a_read_only_store_that_changes_while_it_is_read_is_refused(store, monkeypatch):
    store.close()
    monkeypatch.setattr(store_file.os, "access", lambda path, mode: mode == os.R_OK)
    reader = StoreFile(store.path, store._kept.file.model, 1.0)
    with reader.reading() as tables:
        assert len(tables) == 3

    def read():
        with reader.reading():
            monkeypatch.undo()
            writer = StoreFile(store.path, store._kept.file.model, 1.0)
            with writer.writing() as other:
                other.drop(1)
            writer.close()

    with pytest.raises(StoreInUseError, match="was written while it was read"):
        read()
    reader.close()


def test_a_full_disk_keeps_what_was_there(store, monkeypatch):
    real = StoreFile._set_up

    def full(file, connection):
        real(file, connection)
        ((pages,),) = connection.ask("PRAGMA page_count")
        connection.ask(f"PRAGMA max_page_count = {pages + 1}")

    store._kept.file._close_idle()
    monkeypatch.setattr(StoreFile, "_set_up", full)
    before = everything(store)
    with pytest.raises(OSError, match=r"wells.memory': the disk is full; nothing of the rows was kept"):
        store.update(listed_rows(30, series=40, first=30))
    assert everything(store) == before
    monkeypatch.undo()
    store._kept.file._close_idle()
    assert len(store.update(listed_rows(30, series=40, first=30))) == 40


def test_the_log_beside_the_file_is_emptied(store, monkeypatch):
    log = Path(f"{store.path}-wal")
    assert log.stat().st_size > 50_000
    monkeypatch.setattr(store_file, "LOG_BYTES", 50_000)
    store.update(listed_rows(9, first=30))
    assert log.stat().st_size == 0


# --- older files ------------------------------------------------------------------------------------------------------


def test_a_store_of_version_1_is_brought_up_to_date(tmp_path):
    many, path = load(FROZEN / "forecaster-deltanet-list.titans"), Path(shutil.copy(FROZEN / "many.store", tmp_path))
    assert asked(path, "SELECT value FROM about WHERE name = 'titans_ts'") == [("1",)]
    blobs = dict(asked(path, "SELECT place, waiting FROM series")), dict(asked(path, "SELECT place, tensors FROM memory"))
    with MemoryStore(path, many) as store, MemoryStore(path, many) as other:
        assert store.check().n_seen_ == other.n_seen_ == {0: 80, 1: 60}
    found = dict(asked(path, "SELECT place, tensors FROM waiting")), dict(asked(path, "SELECT place, tensors FROM memory"))
    assert found == blobs
    path = Path(shutil.copy(FROZEN / "many.store", tmp_path))
    asked(path, "UPDATE series SET n_seen = 81 WHERE place = 2")
    with MemoryStore(path, many) as store, pytest.raises(ValueError, match=r"many.store' is damaged at series 1"):
        store.predict()
    path = Path(shutil.copy(FROZEN / "many.store", tmp_path))
    asked(path, "UPDATE series SET id = 'no json' WHERE place = 1")
    with pytest.raises(
        ValueError, match=r"many.store' is no store of titans_ts, or damaged|many.store' is damaged at series"
    ):
        MemoryStore(path, many)
