"""Speed and peak memory of the neural memory, ours beside titans-pytorch 0.5.5, in one process.

Width 256, 4 heads, memory depth 2, expansion 4, float32, one sequence; forward and backward at 4,096 tokens where gradients
follow the memory every n tokens, the two taking turns; then ours beside itself with autograd's derivatives in place of those
written by hand; then what share of one large product's speed ours reaches, and how long its products take alone, in
their own shapes and with nothing in between; then ours without gradients at 4k, 16k and 64k tokens. Peak memory is what a
fresh process holds above its level before the first pass (read from Linux).

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
from typing import Any
from unittest.mock import patch

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.ops import dual_gradients

TOKENS, WIDTH, HEADS, DEPTH, EXPANSION = 4096, 256, 4, 2, 4.0


def build(name: str, every: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a pass over ``(1, t, d)`` by one of the memories."""
    return memory_of(name, every, width=WIDTH, heads=HEADS, device=torch.device("cpu"))


def memory_of(
    name: str, every: int, *, width: int, heads: int, device: torch.device
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a pass over ``(b, t, d)`` by one of the memories, on a device."""
    torch.manual_seed(0)
    if name in ("ours", "autograd"):
        ours = NeuralMemory(width, heads=heads, depth=DEPTH, expansion=EXPANSION, refresh_every=every).to(device)
        if name == "autograd":
            return lambda x: by_autograd(ours, x)
        return lambda x: ours(x, ours.initial_state(len(x)))[0]
    from titans_pytorch import NeuralMemory as Rival

    rival = Rival(dim=width, dim_head=width // heads, heads=heads, chunk_size=every, batch_size=every, qk_rmsnorm=True)
    rival.to(device)
    return lambda x: rival(x)[0]


def operations(work: Callable[[], Any]) -> int:
    """Return the operations of all matrix products that some work takes; two for every multiplication."""

    def of_sum(_: Any, left: torch.Size, right: torch.Size, **more: Any) -> int:
        return 2 * left.numel() * right[-1]

    in_place = {torch.ops.aten.baddbmm_: of_sum, torch.ops.aten.addmm_: of_sum}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        work()
    return int(counter.get_total_flops())


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


def share_of_products(rounds: int) -> None:
    """Print what part of a large product's speed ours reaches, and what the products alone would, in their own shapes."""
    size = 2048
    square = torch.randn(size, size)
    best = 2 * size**3 / min(timed(lambda: square @ square) for _ in range(rounds + 1))
    print(f"\none large product: {best / 1e9:,.0f} GFLOP/s")
    print("\n| n | GFLOP in products | GFLOP/s | share | products alone, of the time | other operations |")
    print("|---|---|---|---|---|---|")
    x = torch.randn(1, TOKENS, WIDTH)
    for every in (64, 16):
        run = build("ours", every)
        with Products() as products:
            seconds(run, x)
        work = operations(lambda: seconds(run, x))  # noqa: B023
        whole = statistics.median(seconds(run, x) for _ in range(rounds))
        alone = min(timed(products.again) for _ in range(max(rounds // 2, 1)))
        print(
            f"| {every} | {work / 1e9:.1f} | {work / whole / 1e9:.1f} | {work / whole / best:.0%} | {alone / whole:.0%} | "
            f"{products.others:,} |",
            flush=True,
        )


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that some work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


class Products(TorchDispatchMode):
    """Note the shapes of the matrix products inside the block, and count the operations that are none and make numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[torch.Size, torch.Size, tuple[int, ...], tuple[int, ...]]] = []
        self.others = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Note an operation."""
        name = func._schema.name.removeprefix("aten::").rstrip("_")
        if name in ("mm", "bmm", "baddbmm", "addmm"):
            left, right = args[-2:]
            self.shapes.append((left.shape, right.shape, left.stride(), right.stride()))
        elif not func.is_view:
            self.others += 1
        return func(*args, **(kwargs or {}))

    def again(self) -> None:
        """Take all products once more, of other numbers, with nothing in between."""
        made: dict[Any, torch.Tensor] = {}
        for left, right, *strides in self.shapes:
            pair = []
            for shape, stride in zip((left, right), strides, strict=True):
                if (shape, stride) not in made:
                    made[shape, stride] = torch.empty_strided(shape, stride).fill_(0.5)
                pair.append(made[shape, stride])
            torch.matmul(*pair)


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
    share_of_products(rounds)
    lengths(rounds)


if __name__ == "__main__":
    main()
