"""A memory layer by the letter: small steps in the open, the reference loop of ``ops``, nothing shared with the layer."""

import torch
from tolerances import assert_agree
from torch import Tensor

from titans_ts.backbones.state import pack
from titans_ts.memory.gates import FORGETTING_MIN, MOMENTUM_MAX, STEP_MAX
from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.ops import Gates, StoreState, memory_recurrent


def tokens(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Return random float64 numbers that no test shares with a network's weights."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def shaken(module: torch.nn.Module, *, seed: int = 0, by: float = 0.3) -> torch.nn.Module:
    """Return the module in float64 with every parameter moved off its start: nothing is zero, one or the identity."""
    module.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for x in module.parameters():
            x += by * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    return module.eval()


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def by_convolving(x: Tensor, filters: Tensor) -> Tensor:
    """Mix ``(b, t, d)`` with its past, one product for every tap that lies in the sequence."""
    kernel = len(filters)
    out = torch.zeros_like(x)
    for t in range(x.shape[1]):
        for back in range(min(kernel, t + 1)):
            out[:, t] += filters[kernel - 1 - back] * x[:, t - back]
    return silu(out)


def per_head(x: Tensor, heads: int) -> Tensor:
    """Turn ``(b, t, d)`` into ``(b, h, t, d / h)``."""
    b, t, d = x.shape
    return x.reshape(b, t, heads, d // heads).permute(0, 2, 1, 3)


def together(x: Tensor) -> Tensor:
    """Turn ``(b, h, t, v)`` into ``(b, t, h v)``."""
    return torch.cat(list(x.unbind(1)), dim=-1)


def to_unit(x: Tensor) -> Tensor:
    return x / x.square().sum(-1, keepdim=True).sqrt().clamp_min(1e-6)


def to_mean_square_one(x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def gates_of(memory: NeuralMemory, x: Tensor) -> Gates:
    """Return the gates in the order step, retention, momentum, by their formulas."""
    raw = (x @ memory.gates.project.weight.T + memory.gates.project.bias).transpose(1, 2)
    raw = list(torch.sigmoid(raw).split(memory.heads, dim=1))
    step = (STEP_MAX * raw.pop(0)).log()
    retention = ((1 - FORGETTING_MIN) * raw.pop(0)).log() if memory.gates.forgetting else None
    momentum = (MOMENTUM_MAX * raw.pop(0)).log() if memory.gates.momentum else None
    return Gates(step, retention, momentum)


def memory_by_letter(memory: NeuralMemory, x: Tensor) -> tuple[Tensor, StoreState]:
    """Return what a memory layer makes of a whole sequence from its fresh state."""
    mixed = by_convolving(x @ memory.project.weight.T, memory.convolution.filters)
    q, k, v = (per_head(part, memory.heads) for part in mixed.split(x.shape[-1], dim=-1))
    start = tuple(w.expand(len(x), *w.shape) for w in memory.store())
    momentum = tuple(torch.zeros_like(w) for w in start) if memory.gates.momentum else None
    fresh = StoreState(start, momentum, start, 0)
    initial = memory.store()
    read, state = memory_recurrent(to_unit(q), to_unit(k), v, gates_of(memory, x), memory.rule, fresh, initial=initial)
    found = together(to_mean_square_one(read) * memory.norm.weight)
    if memory.output_gate is not None:
        found = found * silu(x @ memory.output_gate.weight.T + memory.output_gate.bias)
    return found @ memory.output.weight.T, state


def assert_any_cut_equals_the_whole(layer: torch.nn.Module, x: Tensor) -> None:
    """Hold token by token, uneven pieces (one of them empty) and a late cut to the whole: outputs and carry."""
    whole, last = layer(x, layer.initial_state(len(x)))
    for sizes in ([1] * 19, [3, 0, 1, 9, 6], [18, 1]):
        state, outputs = layer.initial_state(len(x)), []
        for piece in x.split(sizes, dim=1):
            output, state = layer(piece, state)
            outputs.append(output)
        assert_agree(torch.cat(outputs, 1), whole, name=f"output, {sizes}")
        for part, value in pack(state).items():
            assert_agree(value.double(), pack(last)[part].double(), name=part)


def recalled_by_letter(memory: NeuralMemory, queries: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
    """Return what given weights answer to ready queries ``(b, t, d)``."""
    hidden = to_unit(per_head(queries, memory.heads)) @ weights[0]
    for layer in weights[1:]:
        hidden = silu(hidden) @ layer
    return together(to_mean_square_one(hidden) * memory.norm.weight)
