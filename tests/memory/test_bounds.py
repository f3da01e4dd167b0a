"""P5 for rows with a bound of their own: that of their docstrings, whatever keys come, and what silence leaves."""

import pytest
import torch
from memory.cases import tokens

from titans_ts.backbones.state import pack
from titans_ts.memory.gates import FORGETTING_MIN, MOMENTUM_MAX, PENALTY_MIN, SPECTRAL_MOMENTUM, STEP_MAX, WRITE_BOUND
from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.memory.written import distance_between
from titans_ts.ops import memory_chunked

CALL = 1_000
BOUNDS = {
    "momentum_deltanet": 2 * (1 - SPECTRAL_MOMENTUM) / FORGETTING_MIN,
    "mesa": 1.25 * (1 / FORGETTING_MIN / PENALTY_MIN) ** 0.5 / 2,  # of values of length 1, and |M_0| below .25
    "omega": 2**0.5 * STEP_MAX * WRITE_BOUND / (1 - MOMENTUM_MAX) / FORGETTING_MIN,  # of two layers
}


def hostile(memory: str, length: int) -> float:
    """Return how near the bound a memory came whose gates are open, of keys that turn, stand still and are nearly alike."""
    torch.manual_seed(0)
    layer = NeuralMemory(8, heads=2, memory=memory)
    layer.gates.project.weight.zero_()
    layer.gates.project.bias.fill_(1e4)
    if layer.gates.penalty is not None:
        layer.gates.penalty.fill_(-1e4)
        assert layer.store()[0].norm(dim=(-1, -2)).max() < 0.25
    carry, reached = layer.initial_state(1).store, 0.0
    gates, one = layer.gates(torch.zeros(1, CALL, 8)), torch.ones(1, 2, 1, 4)
    for call in range(length // CALL):
        spread = (1.0, 0.0, 1e-3)[call % 3]
        k = torch.nn.functional.normalize(one + spread * torch.randn(1, 2, CALL, 4), dim=-1)
        v = torch.nn.functional.normalize(one + (call % 2) * torch.randn(1, 2, CALL, 4), dim=-1)
        v = v * (1 if call % 5 else (-1) ** torch.arange(CALL)[:, None])
        read, carry = memory_chunked(k, k, v, gates, layer.rule, carry, initial=layer.store())
        assert torch.isfinite(read).all()
        reached = max(reached, distance_between(carry.weights, layer.store()).max().item() / BOUNDS[memory])
    return reached


@pytest.mark.parametrize("memory", BOUNDS)
@torch.no_grad()
def test_stays_within_its_bound(memory):
    assert 0 < hostile(memory, 15_000) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("memory", BOUNDS)
@torch.no_grad()
def test_stays_within_its_bound_for_a_million_tokens(memory):
    assert 0 < hostile(memory, 1_000_000) <= 1


@pytest.mark.parametrize("memory", BOUNDS)
@torch.no_grad()
def test_silence_leads_back_and_takes_nothing_of_what_can_be_learned(memory):
    torch.manual_seed(0)
    layer = NeuralMemory(8, heads=2, memory=memory).double()
    layer.gates.project.weight.zero_()
    layer.gates.project.bias[2:4] = 3.0  # retention .95
    busy, quiet = tokens(1, 60, 8), torch.zeros(1, 3_000, 8, dtype=torch.float64)
    _, before = layer(busy, layer.initial_state(1))
    _, after = layer(quiet, before)
    assert distance_between(before.store.weights, layer.store()).min() > 0.05
    assert distance_between(after.store.weights, layer.store()).max() < 1e-10
    fresh = layer.initial_state(1)._replace(tail=after.tail)
    again, first = layer(busy, after)[0], layer(busy, fresh._replace(store=fresh.store._replace(position=3_060)))[0]
    assert (again - first).abs().max() < 1e-9


@pytest.mark.parametrize("memory", BOUNDS)
@pytest.mark.parametrize("loud", [1e-30, 1e6, 1e18])
@torch.no_grad()
def test_tokens_of_any_size_stay_finite(memory, loud):
    layer = NeuralMemory(8, heads=2, memory=memory)
    y, carry = layer(tokens(2, 40, 8).float() * loud, layer.initial_state(2))
    assert torch.isfinite(y).all()
    assert all(torch.isfinite(w).all() for w in pack(carry.store).values())
