"""Two cures for steps that overshoot where keys are alike: damping, and gates bounded by the spectrum (momentum_deltanet).

One layer of memory, 4 heads of 16, gates wide open (the largest steps and momentum there are, nothing forgotten that
need not be), keys of length 1 that are one and the same, nearly so (.001 of noise), or drawn anew at every token; values of
length 1.

    python benchmarks/overshoot.py [--tokens 20000]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.memory.written import distance_between
from titans_ts.ops import memory_chunked

WIDTH, HEADS, SPREADS = 64, 4, {"one key": 0.0, "keys nearly alike": 1e-3, "keys drawn anew": 10.0}
ROWS: dict[str, dict[str, object]] = {
    "titans_linear, refreshed every 16": {"memory": "titans_linear"},
    "titans_linear, refreshed every 16, damped": {"memory": "titans_linear", "damping": True},
    "titans_linear, refreshed every 4": {"memory": "titans_linear", "refresh_every": 4},
    "titans_linear, refreshed every 4, damped": {"memory": "titans_linear", "refresh_every": 4, "damping": True},
    "titans_linear, refreshed every token": {"memory": "titans_linear", "refresh_every": 1},
    "momentum_deltanet": {"memory": "momentum_deltanet"},
}


def opened(arguments: dict[str, object]) -> NeuralMemory:
    """Return a memory whose gates are open."""
    torch.manual_seed(0)
    layer = NeuralMemory(WIDTH, heads=HEADS, **arguments)  # type: ignore[arg-type]
    assert layer.gates.project is not None
    with torch.no_grad():
        layer.gates.project.weight.zero_()
        layer.gates.project.bias.fill_(1e4)
    return layer


@torch.no_grad()
def hostile(layer: NeuralMemory, spread: float, tokens: int) -> tuple[float, float, float]:
    """Return how far a memory went, what it misses of the last values, and how far two cuts came apart."""
    chance = torch.Generator().manual_seed(1)
    one, shape = torch.ones(1, HEADS, 1, WIDTH // HEADS), (1, HEADS, tokens, WIDTH // HEADS)
    k = torch.nn.functional.normalize(one + spread * torch.randn(shape, generator=chance), dim=-1)
    v = torch.nn.functional.normalize(one + torch.randn(shape, generator=chance), dim=-1)
    still = tokens // 10
    v[:, :, -still:] = v[:, :, -still:].mean(2, keepdim=True)  # in the end one value, which can be learned
    whole, far = read(layer, k, v, 1_000)
    pieces, _ = read(layer, k, v, 997)
    last = slice(-still // 2, None)
    missed = (whole[:, :, last] - v[:, :, last]).norm(dim=-1).mean() / v[:, :, last].norm(dim=-1).mean()
    apart = (whole - pieces)[:, :, last].norm(dim=-1).max() / whole[:, :, last].norm(dim=-1).mean()
    return far, float(missed), float(apart)


def read(layer: NeuralMemory, k: Tensor, v: Tensor, piece: int) -> tuple[Tensor, float]:
    """Return what is read at each key after it was written, in pieces, and the farthest distance from the start."""
    carry, said, far = layer.initial_state(1).store, [], 0.0
    for keys, values in zip(k.split(piece, dim=2), v.split(piece, dim=2), strict=True):
        gates = layer.gates(torch.zeros(1, keys.shape[2], WIDTH))
        found, carry = memory_chunked(keys, keys, values, gates, layer.rule, carry, initial=layer.store())
        said.append(found)
        far = max(far, float(distance_between(carry.weights, layer.store()).max()))
    return torch.cat(said, dim=2), far


def microseconds(layer: NeuralMemory, tokens: int = 2_048) -> float:
    """Return the processor's time of a token, forward and backward, without what surrounds the memory."""
    x, taken = torch.randn(1, tokens, WIDTH), []
    for _ in range(5):
        begun = time.process_time()
        layer(x, layer.initial_state(1))[0].square().mean().backward()
        taken.append(time.process_time() - begun)
    return 1e6 * statistics.median(taken) / tokens


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=20_000)
    tokens = parser.parse_args().tokens
    torch.set_num_threads(1)
    print(f"| distance, missed, apart after {tokens:,} tokens | {' | '.join(SPREADS)} | a token, µs |")
    print("|---" * (len(SPREADS) + 2) + "|")
    for name, arguments in ROWS.items():
        layer = opened(arguments)
        cells = [" ".join(f"{x:.2g}" for x in hostile(layer, spread, tokens)) for spread in SPREADS.values()]
        print(f"| {name} | {' | '.join(cells)} | {microseconds(layer):.0f} |", flush=True)


if __name__ == "__main__":
    main()
