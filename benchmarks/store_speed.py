"""A store of many series: seconds a round of one row each, bytes written beside the disk's speed, bytes a state at rest.

    python benchmarks/store_speed.py --series 2000
    python benchmarks/store_speed.py --series 100000 --jobs 2 --backend loky

Hourly series, look-back 168, horizon 24, all else as it is by default. In 16 rounds every series fills a patch. Some hundred
series are read; the states of the others are theirs under other ids.
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import psutil

from titans_ts import MemoryStore, TitansForecaster
from titans_ts.series.store.archive import Archive, from_bytes

HISTORY, READ = 360, 256
HOURS = pd.date_range("2024-01-01", periods=HISTORY + 64, freq="h").to_numpy()


def values(seed, rows):
    """Days and weeks, a level that drifts, and noise: one row for each of some hundred series, (rows, READ)."""
    chance = np.random.default_rng(seed)
    hours, phase = np.arange(rows)[:, None], chance.uniform(0, 24, READ)
    day, week = (np.sin((hours + phase) * 2 * np.pi / length) for length in (24, 168))
    return 10 + 4 * day + week + chance.normal(size=(rows, READ)).cumsum(0) * 0.1 + chance.normal(size=(rows, READ))


def frame(ids, table, first, last):
    rows = table[first:last]
    repeats = -(-len(ids) // rows.shape[1])
    y = np.tile(rows, (1, repeats))[:, : len(ids)]
    times = np.repeat(HOURS[first:last], len(ids))
    return pd.DataFrame({"unique_id": np.tile(ids, last - first), "ds": times, "y": y.ravel()})


def fill(store, ids, table):
    """Read the history of some hundred series, and put their states under the ids of all."""
    for first in range(0, READ, 32):  # few at once, for little memory
        store.update(frame(ids[first : first + 32], table[:, first : first + 32], 0, HISTORY))
    with store._kept.reading() as series:
        entries = [series.find(name) for name in ids[:READ]]
        states = [series.state(entry) for entry in entries]
    with store._kept.writing() as series:
        for i, name in enumerate(ids[READ:]):
            series.put(str(name), states[i % READ], entries[i % READ].time)


def cpu_seconds():
    """Of this process and its workers."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


class Peak(threading.Thread):
    """The largest resident memory of this process and its workers, together and of one alone, in MB."""

    def __init__(self):
        super().__init__(daemon=True)
        self.together = self.one = 0

    def run(self):
        while True:
            try:
                sizes = [p.memory_info().rss / 2**20 for p in [psutil.Process(), *psutil.Process().children(recursive=True)]]
            except psutil.NoSuchProcess:
                continue
            self.together, self.one = max(self.together, sum(sizes)), max(self.one, *sizes)
            time.sleep(0.2)


def sizes(folder):
    return {path: path.stat().st_size for kind in ("log", "shards") for path in (folder / kind).iterdir()}


def disk_speed(folder, megabytes=256):
    """Return MB a second that are written and really on the disk."""
    began, data = time.perf_counter(), os.urandom(2**20)
    with (folder / "speed").open("wb") as file:
        for _ in range(megabytes):
            file.write(data)
        os.fsync(file.fileno())
    (folder / "speed").unlink()
    return megabytes / (time.perf_counter() - began)


def bytes_by_part(folder):
    """Return the bytes that each part of a state takes at rest, over all series."""
    parts, count, packed = defaultdict(int), 0, 0
    for path in (folder / "shards").iterdir():
        with Archive(path) as archive:
            for name in archive._file.namelist():
                if name.startswith("block-"):
                    facts, arrays = from_bytes(archive.read(name))
                    count += facts["count"]
                    kept = [(part.split("/")[1], x.nbytes) for part, x in arrays.items()]
                    for group in facts["groups"]:
                        kept += [(part, 8 * int(np.prod(shape))) for part, shape in group["doubles"].items()]
                    for part, nbytes in kept:
                        words = part.split(".")
                        if part not in ("high", "low"):
                            parts[".".join(words[: 2 if words[0] == "base" else 1])] += nbytes
                        else:
                            packed += nbytes
    whole = sum(path.stat().st_size for path in (folder / "shards").iterdir())
    doubles = sum(parts[part] for part in parts if part in ("rows", "scale") or part.startswith("base."))
    parts["exponents deflated"] = packed - doubles
    parts["ids and heads"] = whole - sum(parts.values())
    return {part: total / count for part, total in parts.items() if total} | {"whole": whole / count}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--series", type=int, default=2000)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--backend", default="threading", choices=("threading", "loky"))
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--rows", type=int, default=600, help="rows of each series that the model is fitted on")
    parser.add_argument("--layers", type=int, default=2, help="0: a neural memory that is never read")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    ids = np.array([f"meter-{i:07d}" for i in range(arguments.series)])
    learned = values(1, arguments.rows)[:, :20]
    hours = pd.date_range("2023-01-01", periods=arguments.rows, freq="h")
    fit = [pd.DataFrame({"unique_id": f"learned-{i}", "ds": hours, "y": learned[:, i]}) for i in range(20)]
    model = TitansForecaster(horizon=24, lookback=168, layers=arguments.layers, random_state=0, verbose=0)
    model.fit(pd.concat(fit, ignore_index=True))
    table = values(0, HISTORY + arguments.rounds)
    try:
        with (
            joblib.parallel_config(backend=arguments.backend, n_jobs=arguments.jobs),
            MemoryStore(folder / "store", model, shards=arguments.shards) as store,
        ):
            fill(store, ids, table)
            config = model.reader_.network.config
            heard = "read" if config.heard and arguments.layers else "not read"
            print(f"{len(store):,} series in {arguments.shards} shards, patch {config.patch_length}; neural memory {heard}")
            peak = Peak()
            peak.start()
            parts = bytes_by_part(folder / "store")
            print("bytes a state at rest: " + ", ".join(f"{part} {size:,.0f}" for part, size in parts.items()))
            walls, cpus, written, before = [], [], [], sizes(folder / "store")
            for row in range(HISTORY, HISTORY + arguments.rounds):
                rows = frame(ids, table, row, row + 1)
                wall, cpu = time.perf_counter(), cpu_seconds()
                store.update(rows)
                walls.append(time.perf_counter() - wall)
                cpus.append(cpu_seconds() - cpu)
                now = sizes(folder / "store")
                written.append(sum(size for path, size in now.items() if path not in before) / 2**20)
                before = now
            for what, found in (("wall clock", walls), ("processor", cpus)):
                longest, typical = max(found), float(np.median(found))
                print(f"{what}: {np.mean(found):.2f} s a round; without a patch {typical:.2f}, with one {longest:.2f}")
            speed = disk_speed(folder)
            print(f"written: {np.mean(written):.1f} MB a round, at most {max(written):.0f}; disk: {speed:.0f} MB/s")
            wall, cpu = time.perf_counter(), cpu_seconds()
            store.predict()
            print(f"predict all: {time.perf_counter() - wall:.1f} s, processor {cpu_seconds() - cpu:.1f} s")
        print(f"resident: {peak.one:.0f} MB in one process at most, {peak.together:.0f} MB in all together")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
