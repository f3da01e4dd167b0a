"""How much sooner a fit ends on two processes: rows a second, the same panel and the same weights, in one run.

    OMP_NUM_THREADS=1 python benchmarks/distributed.py [--processes 1 2] [--series 256] [--rows 1000] [--batch-size 32]

Each process has one thread. ``alone`` is the fit without a group, which keeps its batches whole. Rows a second are by the
clock, and by the processor time of the process that took most, which tells the same where other work shares the cores. The
seconds of the parts are the first process's processor time.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import tempfile
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from titans_ts import TitansForecaster
from titans_ts.series.learning import fitting


def panel(series: int, rows: int) -> list[np.ndarray]:
    """Return hourly courses with noise."""
    chance, hours = np.random.default_rng(0), np.arange(rows)
    return [np.sin(2 * np.pi * hours / 24 + i) * (1 + i % 3) + 0.3 * chance.normal(size=rows) for i in range(series)]


def fit(rank: int, size: int, folder: str, X: list[np.ndarray], arguments: dict[str, Any], told: Any) -> None:
    """Fit, in a group if ``size`` is not 0; tell the seconds, by part too, and a digest of the weights and of the errors."""
    torch.set_num_threads(1)
    fitting.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    TitansForecaster(4, lookback=8, max_steps=2, verbose=0).fit(X[0][:200])  # what a first fit imports
    if size:
        dist.init_process_group("gloo", init_method=f"file://{folder}/{size}", rank=rank, world_size=size)
        dist.barrier()
    wall, cpu = time.perf_counter(), time.process_time()
    model = TitansForecaster(24, random_state=0, verbose=0, **arguments).fit(X)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found = hashlib.sha256(b"".join(x.numpy().tobytes() for x in model.network_.state_dict().values()))
    found.update(repr(model.training_history_).encode())
    weights = found.hexdigest()[:8]
    told.put((wall, cpu, model.fit_seconds_, weights))
    if size:
        dist.destroy_process_group()


def measured(size: int, X: list[np.ndarray], arguments: dict[str, Any]) -> tuple[float, float, dict[str, float], str]:
    """Return the most seconds of any process, by the clock and by the processor, those of the parts, and the digest."""
    context = multiprocessing.get_context("spawn")
    told = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        members = [context.Process(target=fit, args=(i, size, folder, X, arguments, told)) for i in range(max(size, 1))]
        for one in members:
            one.start()
        found = [told.get() for _ in members]
        for one in members:
            one.join()
    assert len({weights for *_, weights in found}) == 1
    return max(one[0] for one in found), max(one[1] for one in found), found[0][2], found[0][3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--series", type=int, default=256)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-steps", type=int, default=100)
    parser.add_argument("--layers", type=int, default=1)
    given = parser.parse_args()
    X, rows = panel(given.series, given.rows), given.series * given.rows
    arguments = {"batch_size": given.batch_size, "max_steps": given.max_steps, "layers": given.layers, "patience": 99}
    print(f"{platform.machine()}, torch {torch.__version__}; {given.series} series of {given.rows} rows\n")
    print("| processes | rows a second | by processor | base | memory | reading | weights |\n|---|---|---|---|---|---|---|")
    for size in (0, *given.processes):
        wall, cpu, parts, weights = measured(size, X, arguments)
        shown = " | ".join(f"{parts.get(name, 0.0):.1f} s" for name in ("base", "memory", "reading"))
        print(f"| {size or 'alone'} | {rows / wall:,.0f} | {rows / cpu:,.0f} | {shown} | {weights} |", flush=True)


if __name__ == "__main__":
    main()
