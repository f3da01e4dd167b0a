"""A store whose writers are killed at moments of chance, one or two at once: nothing lost, twice, torn or left over."""

import os

import numpy as np
import pytest
from learn.killing import KILLS, kill_at_random
from series.store.store_cases import made, stamped_rows

from titans_ts import MemoryStore, load

HOURS = 40
BEFORE = """
from series.store.store_cases import stamped_rows
import shutil
model, path, log, shards = load(arguments[0]), arguments[1], arguments[2], {shards}
rows = stamped_rows({hours}, series=4)
hours = [part for _, part in rows.groupby("ds")]

def rows_told():  # of the updates that were told to be done
    with open(log, "a+") as file:
        file.seek(0)
        return max([int(line) for line in file.read().split("\\n")[:-1]], default=0)
"""
WORK = """
with MemoryStore(path, model, batch_size=2, shards=shards) as store:
    while (done := max(store.n_seen_.values(), default=0)) < len(hours):
        try:
            store.update(hours[done])
        except ValueError as error:
            assert "not after the last absorbed" in str(error), error
            continue
        with open(log, "a") as file:
            file.write(f"{done + 1}\\n")
"""
AFTER = """
with MemoryStore(path, model, shards=shards) as store:
    counts = set(store.check().n_seen_.values())
    assert len(counts) <= 1 and len(store) in (0, 4), store.n_seen_
    done = max(counts, default=0)
    assert done >= rows_told(), (done, rows_told())
assert set(os.listdir(os.path.dirname(path))) <= {os.path.basename(path), os.path.basename(log)}, os.listdir()
if done == len(hours):  # it was done before it could be killed: begin anew
    (os.unlink if shards is None else shutil.rmtree)(path)
    os.unlink(log)
"""


@KILLS
@pytest.mark.parametrize(("workers", "shards"), [pytest.param(1, None, marks=pytest.mark.slow), (2, None), (2, 3)])
def test_killed_writers_of_a_store_lose_nothing_and_absorb_nothing_twice(workers, shards, kills, tmp_path):
    (tmp_path / "store").mkdir()
    paths = [tmp_path / "model.titans", tmp_path / "store" / "wells.memory", tmp_path / "store" / "told"]
    made(stamped_rows).save(paths[0])
    lines = {"before": BEFORE.format(hours=HOURS, shards=shards), "after": AFTER}
    kill_at_random(WORK, *paths, kills=kills, longest=0.1 * workers, workers=workers, **lines)
    model = load(paths[0])
    alone = model.forget().update(stamped_rows(HOURS, series=4)).state_
    with MemoryStore(paths[1], model) as store:
        assert store.check().n_seen_ == dict.fromkeys(alone, HOURS)
        for name, state in alone.items():
            for part, x in state.tensors.items():
                np.testing.assert_allclose(store[name].tensors[part].nan_to_num(), x.nan_to_num(), rtol=1e-5, atol=1e-5)
    assert set(os.listdir(paths[1].parent)) == {"wells.memory", "told"}
