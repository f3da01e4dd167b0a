"""The neural memory on a card: training speed beside titans-pytorch 0.5.5 and attention, absorption, equality with the CPU.

Width 256, 4 heads, memory depth 2, expansion 4; forward and backward of 8 sequences of 2,048, 8,192 and 32,768 tokens, in
float32 and as ``precision="auto"`` trains (bfloat16 products outside the memory). Attention is causal
``scaled_dot_product_attention`` between projections of the same width. Products are counted as they run, and their share is
one of what the card reaches in one large product of that type. Without a card it says so and ends.

    pip install titans-pytorch==0.5.5
    python benchmarks/gpu.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

Pass = Callable[[Tensor], Tensor]

LENGTHS = (2048, 8192, 32768)
BATCH = 8
MEMORIES = (("ours", 64), ("ours", 16), ("titans-pytorch", 64))
ROWS = 200_000  # that a forecaster absorbs
EXACT = 1e-9  # largest relative difference from the CPU in float64


class Attention(nn.Module):
    """Causal attention between projections."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.project, self.output = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, t, d)`` to ``(b, t, d)``."""
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in self.project(x).chunk(3, dim=-1))
        read = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(read.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def waited(device: torch.device) -> float:
    """Return the time once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(work: Callable[[], Any], device: torch.device, rounds: int) -> float:
    """Return the median time of some rounds after one that is not counted."""
    work()
    times = []
    for _ in range(rounds):
        begun = waited(device)
        work()
        times.append(waited(device) - begun)
    return statistics.median(times)


def peak(kind: torch.dtype, device: torch.device, size: int, rounds: int) -> float:
    """Return operations a second of one large product."""
    x = torch.randn(size, size, device=device).to(kind)
    return 2 * size**3 / seconds(lambda: x @ x, device, rounds)


def contestants(width: int, heads: int, device: torch.device, *, rival: bool) -> Iterator[tuple[str, Pass]]:
    """Yield what is timed, each as a pass over ``(b, t, d)``."""
    from memory_speed import memory_of

    for name, every in MEMORIES if rival else MEMORIES[:-1]:
        yield f"{name}, n = {every}", memory_of(name, every, width=width, heads=heads, device=device)
    yield "attention", Attention(width, heads).to(device)


def training(run: Pass, x: Tensor, precision: str, rounds: int) -> tuple[float, float]:
    """Return tokens and operations of products a second, forward and backward."""
    from memory_speed import operations

    from titans_ts.learn.run import mixed_precision

    def once() -> None:
        with mixed_precision(precision, x.device):
            loss = run(x).float().square().mean()
        loss.backward()

    time_taken = seconds(once, x.device, rounds)
    return x.shape[0] * x.shape[1] / time_taken, operations(once) / time_taken


def speeds(device: torch.device, sizes: argparse.Namespace) -> None:
    """Print the table of training speeds."""
    peaks = {
        precision: peak(kind, device, sizes.product, sizes.rounds)
        for precision, kind in (("float32", torch.float32), ("auto", torch.bfloat16))
    }
    print("one large product:", ", ".join(f"{each / 1e12:.2f} TFLOP/s ({name})" for name, each in peaks.items()))
    print("\n| tokens | precision | what | tokens/s | TFLOP/s | share of the product |")
    print("|---|---|---|---|---|---|")
    for length in sizes.lengths:
        for precision, most in peaks.items():
            for name, run in contestants(sizes.width, sizes.heads, device, rival=sizes.rival):
                x = torch.randn(sizes.batch, length, sizes.width, device=device)
                try:
                    tokens, done = training(run, x, precision, sizes.rounds)
                    found = f"{tokens:,.0f} | {done / 1e12:.3f} | {done / most:.1%}"
                except torch.OutOfMemoryError:
                    found = "out of memory | | "
                print(f"| {length:,} | {precision} | {name} | {found} |", flush=True)


def absorption(device: torch.device, rows: int) -> None:
    """Print how fast a forecaster with defaults reads one channel."""
    import numpy as np

    from titans_ts import TitansForecaster

    x = np.sin(np.arange(rows + 3000) / 8) + np.random.default_rng(0).normal(0, 0.3, rows + 3000)
    model = TitansForecaster(24, max_steps=20, device=str(device), random_state=0).fit(x[:3000])
    begun = waited(device)
    model.update(x[3000:])
    print(f"\nabsorption, horizon 24, one channel: {rows / (waited(device) - begun):,.0f} rows/s")


def largest_difference(device: torch.device, width: int, heads: int) -> float:
    """Return the largest relative difference from the CPU, in float64, of an output, a loss's gradients, and a state."""
    from titans_ts.memory.neural_memory import NeuralMemory

    torch.manual_seed(0)
    memory, x, found = NeuralMemory(width, heads=heads).double(), torch.randn(2, 300, width, dtype=torch.float64), []
    for place in (torch.device("cpu"), device):
        memory.to(place).zero_grad(set_to_none=True)
        output, carry = memory(x.to(place), memory.initial_state(2))
        output.square().mean().backward()
        slopes = [y.grad for y in memory.parameters() if y.grad is not None]
        found.append([y.detach().cpu() for y in (output, *carry.store.weights, *slopes)])
    return max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-30)) for a, b in zip(*found, strict=True))


def main(arguments: list[str] | None = None) -> int:
    """Print the card, the versions and all tables; returns 1 if the card's numbers are not the CPU's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="timed passes of each (default: 5)")
    parser.add_argument("--device", default="cuda", help=argparse.SUPPRESS)
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(lengths=LENGTHS, batch=BATCH, width=256, heads=4, product=8192, rows=ROWS, rival=True)
    sizes = parser.parse_args(arguments)
    if sizes.tiny:
        tiny = {
            "lengths": (64,),
            "batch": 2,
            "width": 16,
            "heads": 2,
            "product": 64,
            "rows": 200,
            "rounds": 1,
            "rival": False,
        }
        vars(sizes).update(tiny)
    if sizes.device == "cuda" and not torch.cuda.is_available():
        print("no card: torch sees no CUDA device here, and nothing was measured")
        return 0
    device = torch.device(sizes.device)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "no card, this is a trial on the CPU"
    try:
        rival = version("titans-pytorch")
    except PackageNotFoundError:
        rival, sizes.rival = "not installed", False
    print(f"{card}; torch {torch.__version__}, CUDA {torch.version.cuda}, titans-pytorch {rival}, Python {sys.version}")
    difference = largest_difference(device, sizes.width, sizes.heads)
    print(f"largest relative difference from the CPU in float64: {difference:.1e} (asked: {EXACT:.0e})")
    speeds(device, sizes)
    absorption(device, sizes.rows)
    return int(not difference <= EXACT)


if __name__ == "__main__":
    sys.exit(main())
