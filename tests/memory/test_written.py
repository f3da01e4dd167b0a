"""What is seen of a memory's writes, against reading token by token and the gates by their letter."""

import pytest
import torch
from memory.cases import gates_of, shaken, tokens
from tolerances import assert_agree

from titans_ts.memory import written
from titans_ts.memory.neural_memory import MemoryCarry, NeuralMemory
from titans_ts.memory.presets import PRESETS
from titans_ts.memory.written import Observation

FORMS = {
    **{name: {"memory": name} for name in sorted(PRESETS)},
    "one layer": {"depth": 1},
    "three layers": {"depth": 3},
    "clipped": {"write_bound": 0.05},
    "clipped, linear": {"memory": "titans_linear", "write_bound": 0.05},
    "without momentum": {"momentum": False},
    "without forgetting": {"forgetting": False},
}
BEFORE, TOKENS = 5, 37


def make_memory(**settings: object) -> NeuralMemory:
    torch.manual_seed(0)
    return shaken(NeuralMemory(8, heads=2, refresh_every=6, **settings))


def distance_of(carry: MemoryCarry, memory: NeuralMemory) -> torch.Tensor:
    changes = [now - first for now, first in zip(carry.store.weights, memory.store(), strict=True)]
    return sum(x.square().sum((-1, -2)) for x in changes).sqrt()


def observe(memory: NeuralMemory, x: torch.Tensor, carry: MemoryCarry) -> tuple[Observation, MemoryCarry]:
    """Return what is seen of the tokens, and the carry after them."""
    seen: list[Observation] = []
    memory.observer = seen.append
    _, carry = memory(x, carry)
    memory.observer = None
    assert len(seen) == 1
    return seen[0], carry


def begun(memory: NeuralMemory) -> tuple[Observation, MemoryCarry, torch.Tensor]:
    """Return what is seen of tokens that begin inside a refresh, the carry before them, and the tokens."""
    x = 2 * tokens(2, BEFORE + TOKENS, 8)
    _, before = memory(x[:, :BEFORE], memory.initial_state(2))
    return observe(memory, x[:, BEFORE:], before)[0], before, x[:, BEFORE:]


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_distances_are_those_of_reading_token_by_token(form):
    memory = make_memory(**FORMS[form])
    seen, carry, x = begun(memory)
    expected = []
    for token in x.split(1, dim=1):
        _, carry = memory(token, carry)
        expected.append(distance_of(carry, memory))
    assert_agree(seen.distances(), torch.stack(expected, dim=-1))


@torch.no_grad()
def test_distances_in_float32():
    memory = make_memory().float()
    seen, carry = observe(memory, tokens(2, 300, 8).float(), memory.initial_state(2))
    assert_agree(seen.distances()[..., -1], distance_of(carry, memory))


@torch.no_grad()
@pytest.mark.parametrize("memory", ["titans", "gated_deltanet"])
def test_the_size_of_pieces_changes_nothing(monkeypatch, memory):
    seen, *_ = begun(make_memory(memory=memory))
    whole = seen.distances()
    for name, value in (("BEGINNINGS", 1), ("BEGINNINGS", 7), ("BEGINNINGS", 64), ("NUMBERS_AT_ONCE", 1)):
        monkeypatch.setattr(written, name, value)
        assert_agree(seen.distances(), whole, name=f"{name}={value}")


@torch.no_grad()
def test_looking_leaves_the_memory_as_it_was():
    memory = make_memory()
    x = tokens(2, 20, 8)
    plain, _ = memory(x, memory.initial_state(2))
    memory.observer = Observation.distances
    watched, _ = memory(x, memory.initial_state(2))
    assert torch.equal(watched, plain)


@torch.no_grad()
@pytest.mark.parametrize("switches", [{}, {"momentum": False}, {"forgetting": False}], ids=str)
def test_factors_are_the_gates_and_no_logarithms(switches):
    memory = make_memory(**switches)
    seen, _, x = begun(memory)
    found, expected = seen.factors(), gates_of(memory, x)
    ones = torch.ones_like(expected.log_step)
    assert_agree(found.step_size, expected.log_step.exp())
    assert_agree(found.retention, expected.log_retention.exp() if memory.gates.forgetting else ones)
    assert_agree(found.momentum, expected.log_momentum.exp() if memory.gates.momentum else 0 * ones)


@torch.no_grad()
def test_an_implicit_step_is_told_as_it_acts():
    seen, *_ = begun(make_memory(memory="longhorn"))
    plain = seen.gates.log_step.exp()
    expected = plain / (1 + plain * seen.keys.square().sum(-1))
    assert_agree(seen.factors().step_size, expected)
    assert (expected < 0.9 * plain).any(), "the two must be told apart"


@torch.no_grad()
def test_nothing_is_told_of_no_tokens():
    memory, seen = make_memory(), []
    memory.observer = seen.append
    memory(tokens(2, 0, 8), memory.initial_state(2))
    assert not seen
