"""A folder of shards: read on as a forecaster does, by anybody, each change whole, whatever stops a writer."""

import os
import pickle
import threading
import zipfile
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from series.estimator_cases import fitted, wave
from series.store.store_cases import ARGUMENTS, HOURS, everything

from titans_ts import MemoryStore, load
from titans_ts.series.store import folder, shards
from titans_ts.series.store.connection import StoreInUseError
from titans_ts.series.store.ledger import shard_of

IDS = [f"well {i}" for i in range(11)]
PATCH = ARGUMENTS["patch_length"]


def rows(first, count, ids=IDS):
    """The next rows of some series, as a long frame."""
    parts = [
        pd.DataFrame({"unique_id": name, "ds": HOURS[first : first + count], "y": wave(400, 1, i)[first : first + count, 0]})
        for i, name in enumerate(IDS)
        if name in ids
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def model():
    return fitted(rows(0, 160, IDS[:3]), **ARGUMENTS | {"layers": 0})


@pytest.fixture(scope="module")
def deep():
    """A model whose neural memory is read, too."""
    return fitted(rows(0, 160, IDS[:3]), **ARGUMENTS)


@pytest.fixture
def make(model, tmp_path):
    """Make or open the folder of a name."""
    return partial(lambda name="wells", **more: MemoryStore(tmp_path / name, model, **{"batch_size": 3, **more}))


@pytest.fixture
def store(make):
    with make(shards=4) as store:
        yield store


def files(store, kind):
    return sorted(path.name for path in (store.path / kind).iterdir())


def alone(model, tmp_path, *parts):
    model.save(tmp_path / "model.titans")
    forecaster = load(tmp_path / "model.titans").forget()
    for part in parts:
        forecaster.update(part)
    return forecaster


def assert_same_states(store, forecaster):
    states = {name: state for name, state in forecaster.state_.items() if state.n_seen}
    assert set(store) == set(states)
    for name, true in states.items():
        found = store[name]
        assert (found.id, found.n_seen, found.last_time) == (name, true.n_seen, true.last_time)
        for part, x in true.tensors.items():
            y = found.tensors[part]
            assert torch.equal(x.isnan(), y.isnan())
            x, y = (each.detach().nan_to_num() for each in (x, y))
            np.testing.assert_allclose(y, x, rtol=1e-5, atol=1e-5, err_msg=f"{name}, {part}")


@pytest.mark.parametrize(("which", "step"), [("model", 1), ("deep", 3), ("model", 50)])
def test_a_folder_reads_on_as_a_forecaster_does(which, step, tmp_path, request):
    model = request.getfixturevalue(which)
    parts = [rows(first, min(step, 30 - first)) for first in range(0, 30, step)]
    with MemoryStore(tmp_path / "wells", model, batch_size=3, shards=4) as store:
        for part in parts:
            store.update(part)
    true = alone(model, tmp_path, *parts)
    with MemoryStore(tmp_path / "wells", model) as again:
        assert_same_states(again, true)
        assert list(again) == IDS
        found, expected = again.check().predict(level=[80]), true.predict(level=[80])
        some = again.predict(IDS[7:2:-2])
    assert found.columns.tolist() == expected.columns.tolist()
    assert found.unique_id.tolist() == expected.unique_id.tolist()
    columns = ["y", "y-lo-80", "y-hi-80"]
    np.testing.assert_allclose(found[columns], expected[columns], rtol=1e-4, atol=1e-5)
    assert some.unique_id.drop_duplicates().tolist() == IDS[7:2:-2]
    np.testing.assert_allclose(some["y"], found.set_index("unique_id").loc[IDS[7:2:-2], "y"], rtol=1e-6)


def test_rows_wait_in_the_log_until_they_fill_a_patch(store):
    store.update(rows(0, 20))
    before = files(store, "shards")
    assert len(before) == 4
    assert files(store, "log") == []
    for row in range(20, 20 + PATCH - 1):
        store.update(rows(row, 1))
        assert files(store, "shards") == before
    assert len(files(store, "log")) == PATCH - 1
    store.update(rows(20 + PATCH - 1, 1))
    assert files(store, "log") == []
    assert not {*files(store, "shards")} & {*before}
    assert store.n_seen_ == dict.fromkeys(IDS, 20 + PATCH)


def test_a_shard_waits_for_a_part_of_its_series_but_not_for_ever(store, monkeypatch):
    many = [name for name in IDS if shard_of(name, 4) == 2]
    store.update(rows(0, 20))
    before = files(store, "shards")
    monkeypatch.setattr(folder, "PART_FULL", 0.99)
    store.update(rows(20, 8, many[:1]))
    assert files(store, "shards") == before
    monkeypatch.setattr(folder, "MOST_CHANGES", 2)
    for row in (28, 29):
        store.update(rows(row, 1, many[:1]))
    assert len({*files(store, "shards")} - {*before}) == 1
    monkeypatch.setattr(folder, "BYTES_FULL", 0.0)
    store.update(rows(20, 1, many[1:2]))
    assert files(store, "log") == []


def test_series_come_and_go(store, make, model, tmp_path):
    store.update(rows(0, 9, IDS[:6]))
    state = store[IDS[2]]
    store.update(rows(9, 6, IDS[2:8])).forget([IDS[0], IDS[4]]).remember(state)
    store.update(rows(0, 5, [IDS[0]]))  # begins again, and is the last
    assert list(store) == [IDS[1], IDS[2], IDS[3], IDS[5], IDS[6], IDS[7], IDS[0]]
    assert store.n_seen_[IDS[2]] == 9
    assert (IDS[4] in store, np.str_(IDS[0]) in store, None in store, [] in store) == (False, True, False, False)
    with pytest.raises(KeyError, match="there is no series 'well 4'"):
        store[IDS[4]]
    with pytest.raises(ValueError, match="there is no series 'well 4'"):
        store.predict([IDS[4]])
    with make() as again:
        assert everything(again) == everything(store)
        again.update(rows(5, 6, [IDS[0]])).check()
        again.forget([name for name in again if name != IDS[0]])
        assert_same_states(again, alone(model, tmp_path, rows(0, 11, [IDS[0]])))
        again.forget()
        assert len(again) == len(store) == 0
        assert store.update(rows(0, 3)).n_seen_ == dict.fromkeys(IDS, 3)
        again.check()


def test_states_go_from_one_store_to_another(store, make, tmp_path, model):
    store.update(rows(0, 21))
    with MemoryStore(tmp_path / "one.memory", model) as one, make("other", shards=2) as other:
        one.remember(store[name] for name in store)
        other.remember(one[name] for name in one)
        assert everything(one) == everything(other) == everything(store)
        for each in (one, other):
            each.update(rows(21, 9))
        np.testing.assert_allclose(one.predict()["y"], other.predict()["y"], rtol=1e-6)


def test_a_state_keeps_no_block_in_memory(store):
    store.update(rows(0, 21))
    for x in store[IDS[0]].tensors.values():
        assert x.untyped_storage().nbytes() == x.nbytes


def test_rows_that_overlap_are_refused_and_nothing_is_written(store, make):
    store.update(rows(0, 21))
    before, there = everything(store), files(store, "log") + files(store, "shards")
    with make() as other, pytest.raises(ValueError, match=r"11 series.*\n.*not after the last absorbed"):
        other.update(rows(20, 3))
    late = pd.concat([rows(21, 3, IDS[1:]), rows(20, 3, IDS[:1])])
    with pytest.raises(ValueError, match="well 0.*not after the last absorbed"):
        store.update(late)
    assert everything(store) == before
    assert files(store, "log") + files(store, "shards") == there


def test_streams_are_absorbed_piece_by_piece(store, model, tmp_path):
    pieces = [rows(0, 9), rows(9, 7), rows(16, 30, IDS[4:]), rows(15, 3)]
    with pytest.raises(ValueError, match=r"the rows of X from row \d+ on .*those before are absorbed"):
        store.update(iter(pieces))
    assert_same_states(store, alone(model, tmp_path, *pieces[:3]))


# --- who does the work ------------------------------------------------------------------------------------------------


def work_of(path, model, **config):
    """All that a store answers after some rows, each step of it done by whoever the configuration names."""
    with joblib.parallel_config(**config), MemoryStore(path, model, batch_size=3, shards=4) as store:
        for first, count in ((0, 26), (26, 1), (27, 5), (32, 2)):
            store.update(rows(first, count))
        found = store.predict(level=[80])
        store.rebalance(8).check()
        return everything(store), found


def assert_same_work(tmp_path, model, backend):
    """Two workers find the numbers of one, to the last digit."""
    states, found = work_of(tmp_path / "one", model, backend="threading", n_jobs=1)
    others, others_found = work_of(tmp_path / "two", model, backend=backend, n_jobs=2)
    assert states == others
    assert found.equals(others_found)


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_whoever_works_finds_the_same_numbers(backend, tmp_path, deep):
    assert_same_work(tmp_path, deep, backend)


@pytest.mark.extras
def test_ray_finds_the_same_numbers(tmp_path, deep):
    import ray
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        register_ray()
        assert_same_work(tmp_path, deep, "ray")
    finally:
        ray.shutdown()


@pytest.mark.extras
def test_dask_finds_the_same_numbers(tmp_path, deep):
    import distributed

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        assert_same_work(tmp_path, deep, "dask")


def test_a_store_goes_to_another_process_by_its_path(store):
    store.update(rows(0, 22))
    with pickle.loads(pickle.dumps(store)) as again:
        assert everything(again) == everything(store)
        again.update(rows(22, 1))
    assert store.n_seen_ == dict.fromkeys(IDS, 23)


def test_shards_are_rebalanced(store, make):
    store.update(rows(0, 22))
    before, forecast = everything(store), store.predict()["y"]
    with make() as other:
        for count in (12, 3, 1, 5):
            store.rebalance(count)
            assert len(files(store, "shards")) == count
            assert everything(other) == everything(store) == before
            assert list(store) == IDS
        np.testing.assert_allclose(other.update(rows(22, 9)).check().predict()["y"].shape, forecast.shape)
    with pytest.raises(ValueError, match="shards=3 is neither a multiple nor a part of the 5 there are"):
        store.rebalance(3)
    with pytest.raises(ValueError, match="shards must be a whole number from 1"):
        store.rebalance(0)
    with pytest.raises(ValueError, match=r"shards=4: .*wells' has 5; leave shards out, and rebalance\(\) it"):
        make(shards=4)


# --- what goes wrong --------------------------------------------------------------------------------------------------


class Power(BaseException):
    """It went off."""


def test_power_may_go_off_between_log_and_shards(store, make, model, tmp_path, monkeypatch):
    store.update(rows(0, 21))
    monkeypatch.setattr(folder, "fan_out", lambda *_, **__: (_ for _ in ()).throw(Power()))
    with pytest.raises(Power):
        store.update(rows(21, 9))
    monkeypatch.undo()
    true = alone(model, tmp_path, rows(0, 30))
    with make() as again:
        assert_same_states(again, true)
        assert len(files(again, "log")) == 1
        with pytest.raises(ValueError, match="not after the last absorbed"):
            again.update(rows(21, 9))
        again.update(rows(30, 1))
        assert files(again, "log") == []
        assert_same_states(again, alone(model, tmp_path, rows(0, 31)))


def test_power_may_go_off_before_anything_is_absorbed_and_after_some_shards(store, make, model, tmp_path, monkeypatch):
    store.update(rows(0, 21))
    before, real = everything(store), shards.write_archive
    monkeypatch.setattr(zipfile.ZipFile, "writestr", lambda *_: (_ for _ in ()).throw(Power()))
    with pytest.raises(Power):
        store.update(rows(21, 9))
    monkeypatch.undo()
    assert everything(store) == before
    written = []

    def twice(path, members):
        if len(written) == 2:
            raise Power
        written.append(path)
        real(path, members)

    monkeypatch.setattr(shards, "write_archive", twice)
    with pytest.raises(Power):
        store.update(rows(21, 9))
    monkeypatch.undo()
    assert len(written) == 2
    assert_same_states(store, alone(model, tmp_path, rows(0, 30)))
    with make() as again:
        assert_same_states(again.update(rows(30, 5)).check(), alone(model, tmp_path, rows(0, 35)))
        assert files(again, "log") == []
        assert len(files(again, "shards")) == 4


def test_a_shard_that_fails_is_named_and_taken_up_again(store, model, tmp_path, monkeypatch):
    store.update(rows(0, 21))
    real = shards.write_shard

    def full(path, job, blocks):
        if "-00002-" in path.name:
            raise OSError(28, "No space left on device")
        real(path, job, blocks)

    monkeypatch.setattr(shards, "write_shard", full)
    with pytest.raises(
        folder.ShardError,
        match=r"all rows are absorbed, but .* 1 of 4 shards, .*takes them up again: shard 2: .*No space left",
    ):
        store.update(rows(21, 9))
    monkeypatch.undo()
    assert_same_states(store, alone(model, tmp_path, rows(0, 30)))
    store.update(rows(30, 1))
    assert files(store, "log") == ["000000000003.rows"]
    assert_same_states(store, alone(model, tmp_path, rows(0, 31)))


def test_damage_is_told_by_shard(store, make):
    store.update(rows(0, 21)).update(rows(21, 2))
    shard, log = (store.path / kind / files(store, kind)[0] for kind in ("shards", "log"))
    store.close()
    for path in (shard, log):
        whole = path.read_bytes()
        for place in (len(whole) // 4, len(whole) // 2, 3 * len(whole) // 4):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(ValueError, match=r"wells' is damaged.*(0001-0000|000000002.rows)"):
                make().check()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=r"wells' is damaged.*(0001-0000|000000002.rows)"):
            make().check()
        path.write_bytes(whole)
    make().check()
    log.unlink()
    make().update(rows(21, 2))  # nobody can tell that the last change was ever there
    (store.path / "store.json").write_text("{}")
    with pytest.raises(ValueError, match="store.json is damaged"):
        make()


def test_a_change_that_is_lost_is_missed_by_the_next(store, make):
    for row in (0, 1, 2):
        store.update(rows(row, 1))
    (store.path / "log" / files(store, "log")[1]).unlink()
    with pytest.raises(ValueError, match="rows of series 'well 0' are missing from the log"):
        make()


def test_what_is_no_folder_of_ours_is_refused(store, make, model, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").touch()
    with pytest.raises(IsADirectoryError, match="is a folder; name a file in it"):
        make("notes")
    with pytest.raises(ValueError, match="is a folder with other files in it"):
        make("notes", shards=4)
    with pytest.raises(ValueError, match=r"shards=4: .*todo.txt' is a file, which has none"):
        make("notes/todo.txt", shards=4)
    with pytest.raises(FileNotFoundError, match="does not exist; make it first"):
        make("nowhere/wells", shards=4)
    with pytest.raises(ValueError, match="another model, or of this one with other weights"):
        MemoryStore(store.path, fitted(rows(0, 160, IDS[:3]), **ARGUMENTS, random_state=1))
    with MemoryStore(tmp_path / "one.memory", model) as one, pytest.raises(ValueError, match="is one file; make a folder"):
        one.rebalance(8)
    plan = store.path / "store.json"
    plan.write_text(plan.read_text().replace('"titans_ts": 1', '"titans_ts": 2'))
    with pytest.raises(ValueError, match="newer titans_ts; upgrade"):
        make()
    store.close()
    with pytest.raises(ValueError, match="is closed; open it again"):
        len(store)


# --- many at once -----------------------------------------------------------------------------------------------------


def test_of_threads_that_give_the_same_rows_one_succeeds(store, make):
    store.update(rows(0, 21))
    gate, said = threading.Barrier(3), []

    def give(each):
        gate.wait()
        try:
            each.update(rows(21, 2))
            said.append("absorbed")
        except ValueError as error:
            said.append(str(error))

    threads = [threading.Thread(target=give, args=[each]) for each in (store, store, make())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said.count("absorbed") == 1
    assert sum("not after the last absorbed" in word for word in said) == 2
    assert store.n_seen_ == dict.fromkeys(IDS, 23)


def test_a_reader_sees_one_moment_and_writers_wait_for_each_other(store, make):
    store.update(rows(0, 21))
    before = everything(store)
    with make(timeout=0.05) as other, store._kept.reading() as series:
        other.update(rows(21, 9))
        assert {entry.name: entry.n_seen for entry in series.rows()} == dict.fromkeys(IDS, 21)
        found = {name: series.state(series.find(name)).n_seen for name in IDS}
        assert found == dict.fromkeys(IDS, 21)
        assert len(files(store, "shards")) == 8  # what is read is not taken away
    assert everything(store) != before
    with make(timeout=0.05) as other, store._kept.writing():
        with pytest.raises(StoreInUseError, match=r"being written .* more than the timeout=0.05 seconds"):
            other.update(rows(30, 1))
        assert other.n_seen_ == dict.fromkeys(IDS, 30)
    store.update(rows(30, 1))
    assert len(files(store, "shards")) == 4


def test_a_read_only_folder_is_read(store, make):
    store.update(rows(0, 21)).update(rows(21, 1))
    true = everything(store)
    places = [store.path, store.path / "log", store.path / "shards"]
    if os.getuid() == 0:
        pytest.skip("root may write anywhere")
    for place in places:
        place.chmod(0o555)
    try:
        with make() as other:
            assert everything(other) == true
            with pytest.raises(PermissionError, match="can be read, but not written"):
                other.update(rows(22, 1))
    finally:
        for place in places:
            place.chmod(0o755)
