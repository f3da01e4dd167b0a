"""Speed and peak memory of the neural memory, ours beside titans-pytorch 0.5.5, in one process.

Width 256, 4 heads, memory depth 2, expansion 4, float32, one sequence; forward and backward at 4,096 tokens where gradients
follow the memory every n tokens, the two taking turns; then ours beside itself with autograd's derivatives in place of those
written by hand; then ours without gradients at 4k, 16k and 64k tokens. Peak memory is what a fresh process holds above its
level before the first pass (read from Linux).

    python benchmarks/memory_speed.py [--rounds 8]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from types import SimpleNamespace
from unittest.mock import patch

import psutil
import torch

from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.ops import dual_gradients

TOKENS, WIDTH, HEADS, DEPTH, EXPANSION = 4096, 256, 4, 2, 4.0


def build(name: str, every: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a pass over ``(1, t, d)`` by one of the memories."""
    torch.manual_seed(0)
    if name in ("ours", "autograd"):
        ours = NeuralMemory(WIDTH, heads=HEADS, depth=DEPTH, expansion=EXPANSION, refresh_every=every)
        if name == "autograd":
            return lambda x: by_autograd(ours, x)
        return lambda x: ours(x, ours.initial_state(1))[0]
    from titans_pytorch import NeuralMemory as Rival

    rival = Rival(dim=WIDTH, dim_head=WIDTH // HEADS, heads=HEADS, chunk_size=every, batch_size=every, qk_rmsnorm=True)
    return lambda x: rival(x)[0]


def by_autograd(memory: NeuralMemory, x: torch.Tensor) -> torch.Tensor:
    """Pass as ours does, and let autograd take the derivatives of the same forward."""
    nothing_kept = SimpleNamespace(save_for_backward=lambda *_: None, mark_non_differentiable=lambda _: None)
    forward = partial(dual_gradients._Walk.forward, nothing_kept)
    with patch.object(dual_gradients._Walk, "apply", forward):
        return memory(x, memory.initial_state(1))[0]


def seconds(run: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, *, gradients: bool = True) -> float:
    """Time one pass, forward and, if asked for, backward."""
    begun = time.perf_counter()
    if gradients:
        run(x).square().mean().backward()
    else:
        with torch.no_grad():
            run(x)
    return time.perf_counter() - begun


def peak_of(name: str, every: int, answer: multiprocessing.SimpleQueue) -> None:
    """Answer with the MiB that one pass holds above what the process held before it."""
    torch.set_num_threads(2)
    run, x = build(name, every), torch.randn(1, TOKENS, WIDTH)
    before = psutil.Process().memory_info().rss
    seconds(run, x)
    with open("/proc/self/status") as status:  # getrusage would count the parent's peak too
        highest = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    answer.put((highest - before) / 2**20)


def peak(name: str, every: int) -> float:
    """Return the peak of a fresh process."""
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=peak_of, args=(name, every, answer))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{name} at n={every} ended with {process.exitcode}")
    return float(answer.get())


def compare(rival: str, rounds: int) -> None:
    """Print tokens a second and peak memory of ours and a rival, by how often gradients follow the memory."""
    print(f"\n| n | ours, tokens/s | {rival}, tokens/s | ratio (min - max) | peak MiB, ours | {rival} | ratio |")
    print("|---|---|---|---|---|---|---|")
    x = torch.randn(1, TOKENS, WIDTH)
    for every in (64, 16):
        ours, theirs = build("ours", every), build(rival, every)
        seconds(ours, x), seconds(theirs, x)  # not counted
        pairs = [(seconds(ours, x), seconds(theirs, x)) for _ in range(rounds)]
        rates = [TOKENS / statistics.median(times) for times in zip(*pairs, strict=True)]
        ratios = [b / a for a, b in pairs]
        held = [peak(name, every) for name in ("ours", rival)]
        print(
            f"| {every} | {rates[0]:,.0f} | {rates[1]:,.0f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} - {max(ratios):.2f}) | {held[0]:,.0f} | {held[1]:,.0f} | {held[0] / held[1]:.2f} |",
            flush=True,
        )


def lengths(rounds: int) -> None:
    """Print what a token costs without gradients, by the length of the sequence."""
    print("\n| tokens, no gradients, n = 64 | microseconds a token |")
    print("|---|---|")
    run = build("ours", 64)
    inputs = [torch.randn(1, tokens, WIDTH) for tokens in (4096, 16384, 65536)]
    times = [[seconds(run, x, gradients=False) for x in inputs] for _ in range(rounds + 1)][1:]
    for x, column in zip(inputs, zip(*times, strict=True), strict=True):
        print(f"| {x.shape[1]:,} | {1e6 * statistics.median(column) / x.shape[1]:.1f} |")


def main() -> None:
    """Print the tables, and on what they were made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="paired runs (default: 8)")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(2)
    versions = f"torch {torch.__version__}, titans-pytorch {version('titans-pytorch')}"
    print(f"{versions}, {os.cpu_count()} cores, {platform.machine()}")
    for rival in ("titans-pytorch", "autograd"):
        compare(rival, rounds)
    lengths(rounds)


if __name__ == "__main__":
    main()
