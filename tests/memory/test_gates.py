"""Gates: their bounds whatever comes in, their half-lives at the start, the constants that hold a memory finite."""

import math

import numpy as np
import pytest
import torch
from memory.cases import tokens

from titans_ts.memory.gates import (
    FORGETTING_MIN,
    GATE_RATE,
    LAST_LAYER,
    LONGEST_HALF_LIFE,
    MOMENTUM_MAX,
    SHORTEST_HALF_LIFE,
    SPECTRAL_MOMENTUM,
    SPECTRAL_STEP,
    STEP_MAX,
    WRITE_BOUND,
    Store,
    TokenGates,
    gates_apart,
)


@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4])
def test_gates_stay_within_their_bounds(scale):
    torch.manual_seed(0)
    gates = TokenGates(8, 4)
    x = torch.cat([tokens(2, 30, 8, scale=scale).float(), torch.full((2, 2, 8), scale), torch.full((2, 2, 8), -scale)], 1)
    log_step, log_retention, log_momentum = gates(x).floored()[:3]
    for name, log_gate, largest in (
        ("step", log_step, STEP_MAX),
        ("retention", log_retention, 1 - FORGETTING_MIN),
        ("momentum", log_momentum, MOMENTUM_MAX),
    ):
        gate = log_gate.double().exp()
        assert gate.shape == (2, 4, 34)
        assert torch.isfinite(log_gate).all(), name
        assert (gate > 0).all(), name
        assert (gate <= largest * (1 + 1e-6)).all(), name


@pytest.mark.parametrize("raw", [-1e4, 1e4])
def test_bounds_are_reached_and_not_passed(raw):
    gates = TokenGates(8, 2)
    with torch.no_grad():
        gates.project.weight.zero_()
        gates.project.bias.fill_(raw)
    found = [x.double().exp().unique().item() for x in gates(torch.zeros(1, 3, 8)).floored()[:3]]
    expected = [STEP_MAX, 1 - FORGETTING_MIN, MOMENTUM_MAX] if raw > 0 else [math.exp(-60)] * 3
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_spectral_gates_stay_within_their_bounds(scale):
    torch.manual_seed(0)
    gates = TokenGates(8, 4, step="spectral")
    log_step, log_retention, log_momentum, _ = gates(tokens(2, 30, 8, scale=scale).float()).floored()
    assert (log_step.exp() <= SPECTRAL_STEP * (1 + 1e-6)).all()
    share = (log_momentum - log_retention)[log_momentum > -59].exp()
    assert 0 < share.max() <= SPECTRAL_MOMENTUM * (1 + 1e-4)  # a difference of large logarithms
    assert (
        TokenGates(8, 4, step="spectral", retention=None)(tokens(2, 3, 8).float()).log_momentum.exp().max()
        <= SPECTRAL_MOMENTUM
    )


@pytest.mark.parametrize(("times", "grows"), [(1.0, False), (5.0, True)])
def test_the_spectral_step_holds_a_memory_against_an_adversary(times, grows):
    """Of 16 random tokens always the worst; one key for ever would be stable up to nine times the step."""
    rng, m = np.random.default_rng(0), SPECTRAL_MOMENTUM
    state, largest = rng.normal(size=(2, 2)), 0.0  # memory and momentum
    first = np.linalg.norm(state)
    for _ in range(200):
        found = []
        for _ in range(16):
            key, on, off = rng.normal(size=2), *rng.choice([0, 0.5, 1], size=2)
            key /= np.linalg.norm(key)
            momentum = m * on * state[1] - times * SPECTRAL_STEP * off * key * (key @ state[0])
            memory = state[0] + momentum
            rest = memory + m / (1 - m) * momentum
            found.append((rest @ rest + momentum @ momentum * m / (1 - m) ** 2, memory, momentum))
        _, *state = max(found, key=lambda x: x[0])
        largest = max(largest, np.linalg.norm(state))
    assert (largest > 1e3 * first) == grows
    assert grows or largest <= 4 * first


def test_a_gate_comes_from_its_own_token():
    gates = TokenGates(8, 2)
    x = tokens(1, 6, 8).float()
    changed = x.clone()
    changed[:, 3] += 1
    for a, b in zip(gates(x)[:3], gates(changed)[:3], strict=True):
        differs = (a != b).any(1)[0]
        assert differs.tolist() == [False, False, False, True, False, False]


@pytest.mark.parametrize("heads", [2, 3, 7, 8])
def test_half_lives_start_spread_over_powers(heads):
    gates = TokenGates(16, heads)(torch.zeros(1, 1, 16))
    half_lives = -math.log(2) / gates.log_retention[0, :, 0].detach().double()
    assert half_lives[0] == pytest.approx(SHORTEST_HALF_LIFE, rel=1e-3)
    assert half_lives[-1] == pytest.approx(LONGEST_HALF_LIFE, rel=0.02)  # a logit of float32 holds no more
    assert half_lives.log().diff().diff().abs().max() < 0.03 if heads > 2 else True


def test_one_head_can_remember_too():
    gates = TokenGates(8, 1)(torch.zeros(1, 1, 8))
    half_life = -math.log(2) / gates.log_retention.item()
    assert half_life == pytest.approx(LONGEST_HALF_LIFE, rel=0.02)


def test_heads_that_keep_for_long_start_writing_strongly():
    steps = TokenGates(16, 4)(torch.zeros(1, 1, 16)).log_step[0, :, 0].exp() / STEP_MAX
    assert steps.tolist() == pytest.approx([1 / (1 + math.exp(-x)) for x in (-1.0, 0.0, 1.0, 2.0)], rel=1e-5)


def test_parts_switched_off_are_none():
    x = tokens(1, 4, 8).float()
    assert TokenGates(8, 2, retention=None)(x).log_retention is None
    assert TokenGates(8, 2, momentum=False)(x).log_momentum is None
    only = TokenGates(8, 2, retention=None, momentum=False)
    assert only.project.out_features == 2
    assert only(x).log_step.shape == (1, 2, 4)


def test_the_four_constants_hold_a_memory_below_forty_thousand():
    momentum = STEP_MAX * WRITE_BOUND / (1 - MOMENTUM_MAX)
    assert momentum / FORGETTING_MIN < 4e4
    assert math.log(2) / FORGETTING_MIN >= LONGEST_HALF_LIFE, "the longest half-life must lie inside the bound"


# --- how they learn -----------------------------------------------------------------------------------------------------


def test_gates_stand_in_groups_of_their_own_that_learn_faster():
    network = torch.nn.ModuleDict(
        {"memory": torch.nn.ModuleDict({"gates": TokenGates(8, 2)}), "other": torch.nn.Linear(8, 8)}
    )
    weight, bias = network["memory"]["gates"].project.parameters()
    other, offset = network["other"].parameters()
    groups = [{"params": [weight, other], "peak": 0.5, "weight_decay": 0.1}, {"params": [offset, bias], "peak": 0.2}]
    found = gates_apart(groups, network)
    assert [[id(x) for x in group.pop("params")] for group in found] == [[id(x)] for x in (weight, other, bias, offset)]
    assert found == [
        {"peak": 0.5 * GATE_RATE, "weight_decay": 0.0},
        {"peak": 0.5, "weight_decay": 0.1},
        {"peak": 0.2 * GATE_RATE, "weight_decay": 0.0},
        {"peak": 0.2},
    ]
    assert gates_apart([{"params": [other], "peak": 1.0}], network) == [{"params": [other], "peak": 1.0}]
    cautious = TokenGates(8, 1, eager=False)
    alone = [{"params": list(cautious.parameters()), "peak": 1.0}]
    assert gates_apart(alone, cautious) == alone


# --- the learned start ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "sizes"), [(1, [(3, 5)]), (2, [(3, 6), (6, 5)]), (3, [(3, 6), (6, 6), (6, 5)])])
def test_layers_chain_from_key_to_value(depth, sizes):
    store = Store(2, 3, 5, depth=depth, inner_width=6)
    assert [tuple(w.shape) for w in store()] == [(2, *size) for size in sizes]
    assert all(isinstance(w, torch.nn.Parameter) for w in store())


def test_a_unit_key_meets_weights_of_its_own_size():
    torch.manual_seed(0)
    first, last = Store(4, 64, 64, inner_width=64)()
    assert first.square().mean().item() == pytest.approx(1 / 64, rel=0.05)
    assert last.square().mean().item() == pytest.approx(LAST_LAYER**2 / 64, rel=0.05)


def test_heads_and_seeds_differ():
    torch.manual_seed(0)
    a, b = Store(2, 4, 4, inner_width=8), Store(2, 4, 4, inner_width=8)
    assert not torch.equal(a.layers[0], b.layers[0])
    assert not torch.equal(a.layers[0][0], a.layers[0][1])


def test_no_layers_are_refused():
    with pytest.raises(ValueError, match="depth must be 1 or more layers, got 0"):
        Store(2, 4, 4, depth=0)
