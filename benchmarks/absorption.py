"""What it costs to absorb history: throughput, latency, flat memory over two million rows, ten thousand series in one file.

An ECG (mitbih100, two channels) is read by a forecaster with default arguments, fitted on its first 20,000 rows.

    python benchmarks/absorption.py [--parts throughput rival latency soak pieces store]

``rival`` needs titans-pytorch 0.5.5 and times its ``NeuralMemory`` and ours, forward, on as many tokens of one width.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import psutil
import torch

from titans_ts import MemoryStore, TitansForecaster, load_dataset, make_seasonal

FIT, HORIZON = 20_000, 96


def ecg(rows: int) -> np.ndarray:
    """Return the ECG, repeated to so many rows, ``(rows, 2)``."""
    once = load_dataset("mitbih100").frame.drop(columns="ds").to_numpy()
    return np.tile(once, (-(-rows // len(once)), 1))[:rows]


def fitted(rows: np.ndarray, **arguments: object) -> TitansForecaster:
    """Return a forecaster with defaults, fitted on some rows."""
    return TitansForecaster(HORIZON, random_state=0, **arguments).fit(rows)


def seconds(work: Callable[[], object]) -> float:
    """Time a call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def resident() -> float:
    """Return the resident memory in MiB."""
    return psutil.Process().memory_info().rss / 2**20


def throughput() -> None:
    """Univariate rows a second, by the number of channels read side by side; no training is needed for that."""
    print("\n| channels | rows a second | univariate rows a second |\n|---|---|---|")
    for channels in (1, 2, 7, 21):
        rows = np.tile(ecg(61_000), (1, -(-channels // 2)))[:, :channels]
        forecaster = fitted(rows[:2_000], max_steps=1).update(rows[2_000:11_000])
        times = [seconds(lambda: forecaster.update(rows[11_000:61_000])) for _ in range(3)]  # noqa: B023
        rate = 50_000 / statistics.median(times)
        print(f"| {channels} | {rate:,.0f} | {channels * rate:,.0f} |", flush=True)


def rival() -> None:
    """The forecaster, and a memory of ours alone, against the rival's memory alone, taking turns.

    The rival's gates are one a token with chunks of 1, as ours are, and one for 16 tokens with chunks of 16; either way its
    weights move every 16 tokens, as by default ours.
    """
    from titans_pytorch import NeuralMemory as Rival

    from titans_ts.memory.neural_memory import NeuralMemory

    rows, x = ecg(11_000 + 16 * 2_048), torch.randn(2, 2_048, 64)
    forecaster = fitted(rows[:2_000], max_steps=1).update(rows[2_000:11_000])
    memory, sizes = NeuralMemory(64).eval(), {"dim": 64, "dim_head": 16, "heads": 4, "batch_size": 16}
    rivals = {
        chunk: Rival(**sizes, chunk_size=chunk, default_model_kwargs={"depth": 2, "expansion_factor": 2.0})
        for chunk in (1, 16)
    }
    runs = {
        "the whole forecaster": lambda: forecaster.update(rows[11_000:]),
        "its `NeuralMemory` alone": lambda: memory(x, memory.initial_state(2)),
        "titans-pytorch's, a gate a token": lambda: rivals[1](x),
        "titans-pytorch's, a gate for 16 tokens": lambda: rivals[16](x),
    }
    with torch.no_grad():
        for run in runs.values():
            run()
        turns = [{name: seconds(run) for name, run in runs.items()} for _ in range(5)]
    print(
        "\n| 2 x 2,048 tokens of width 64 | seconds | as fast as a gate a token, times | a gate for 16 |\n|---|---|---|---|"
    )
    for name in runs:
        ratios = [[turn[other] / turn[name] for turn in turns] for other in list(runs)[2:]]
        told = " | ".join(f"{statistics.median(each):.1f} ({min(each):.1f} - {max(each):.1f})" for each in ratios)
        print(f"| {name} | {statistics.median(turn[name] for turn in turns):.2f} | {told} |", flush=True)


def latency() -> None:
    """One row absorbed and a forecast made, after 20,000 rows."""
    rows = ecg(20_300)
    forecaster = fitted(rows[:2_000], max_steps=1).update(rows[2_000:20_000])
    times = [seconds(lambda: forecaster.update(rows[i : i + 1]).predict()) for i in range(20_000, 20_300)]  # noqa: B023
    print(
        f"\nupdate(one row).predict(): median {1e3 * statistics.median(times):.1f} ms, 95 % within "
        f"{1e3 * sorted(times)[284]:.1f} ms",
        flush=True,
    )


def soak() -> None:
    """Two million rows in one process: seconds a row, resident memory, state."""
    rows, piece = ecg(FIT + 2_000_000), 100_000
    forecaster = fitted(rows[:FIT])
    print("\n| rows absorbed | microseconds a row | resident, MiB | state, bytes |\n|---|---|---|---|")
    for first in range(FIT, FIT + 2_000_000, piece):
        took = seconds(lambda: forecaster.update(rows[first : first + piece]))  # noqa: B023
        done = first + piece - FIT
        if done in (100_000, 500_000, 1_000_000, 1_900_000, 2_000_000):
            nbytes = forecaster.state_.nbytes
            print(f"| {done:,} | {1e6 * took / piece:.1f} | {resident():,.0f} | {nbytes:,} |", flush=True)
    said = forecaster.predict()
    finite = np.isfinite(said).all() and all(x.isfinite().all() for x in forecaster.state_.tensors.values())
    print(f"n_seen_ {forecaster.n_seen_:,}; all finite: {bool(finite)}", flush=True)


def pieces() -> None:
    """The same rows in other pieces: how far apart the forecasts are, beside the largest of them."""
    rows = ecg(FIT + 2_000_000)
    forecaster = fitted(rows[:FIT])
    start = forecaster.state_
    print("\n| rows | pieces of | forecasts apart, relative |\n|---|---|---|")
    for count, sizes in ((20_000, (1, 997)), (200_000, (997, 65_536)), (2_000_000, (997, 65_536))):
        whole = forecaster.remember(start).update(rows[FIT : FIT + count]).predict()
        for size in sizes:
            forecaster.remember(start)
            for first in range(FIT, FIT + count, size):
                forecaster.update(rows[first : min(first + size, FIT + count)])
            apart = np.abs(forecaster.predict() - whole).max() / np.abs(whole).max()
            print(f"| {count:,} | {size:,} | {apart:.1e} |", flush=True)


def store() -> None:
    """Ten thousand series in one file: rounds of one row each."""
    ids, hours = np.array([f"series {i:05d}" for i in range(10_000)]), np.datetime64("2024-01-01", "h")
    chance = np.random.default_rng(0)

    def rows_of(first: int, count: int) -> pl.DataFrame:
        times = (hours + np.arange(first, first + count)).astype("datetime64[us]")
        values = make_seasonal(n_steps=first + count, n_channels=1, random_state=0)[first:, 0]
        y = (chance.normal(size=(len(ids), 1)) + values).ravel()
        return pl.DataFrame({"unique_id": np.repeat(ids, count), "ds": np.tile(times, len(ids)), "y": y})

    few = rows_of(0, 400).filter(pl.col("unique_id").is_in(ids[:4].tolist()))
    forecaster = TitansForecaster(24, lookback=168, width=32, max_steps=5, random_state=0).fit(few)
    with TemporaryDirectory() as folder, MemoryStore(Path(folder, "series.memory"), forecaster) as kept:
        print("\n| round | seconds | resident, MiB |\n|---|---|---|")
        for name, first, count in (
            ("first 176 rows of each", 0, 176),
            ("one row each, which completes a patch in each", 176, 1),
            *((f"one row each ({i})", 176 + i, 1) for i in range(1, 4)),
        ):
            rows = rows_of(first, count)
            print(f"| {name} | {seconds(lambda: kept.update(rows)):.1f} | {resident():,.0f} |", flush=True)  # noqa: B023
        size = (Path(folder, "series.memory").stat().st_size) / 2**20
        print(f"state {kept[ids[0]].nbytes:,} bytes a series; file {size:,.0f} MiB; rows {set(kept.n_seen_.values())}")


PARTS = {part.__name__: part for part in (throughput, rival, latency, soak, pieces, store)}


def main() -> None:
    """Print what was asked for, and on what it was made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[name for name in PARTS if name != "rival"])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads, {os.cpu_count()} cores, {platform.machine()}")
    for part in arguments.parts:
        PARTS[part]()


if __name__ == "__main__":
    main()
