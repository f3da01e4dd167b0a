"""Small layers: norms, heads, the gated feed-forward layer, the gate of two branches, persistent tokens."""

import pytest
import torch
from memory.cases import per_head, shaken, silu, to_mean_square_one, together, tokens
from tolerances import assert_agree

from titans_ts.blocks.layers import (
    FeedForward,
    HeadNorm,
    NormalisedGate,
    PersistentTokens,
    join_heads,
    split_heads,
    unit_length,
)

# --- norms and heads ------------------------------------------------------------------------------------------------


def test_each_head_is_brought_to_mean_square_one_and_scaled_by_its_own_weight():
    norm = HeadNorm(3, 16).double()
    with torch.no_grad():
        norm.weight.mul_(torch.tensor([1.0, 2.0, 0.5]).reshape(3, 1, 1))
    x = tokens(2, 3, 5, 16) * torch.tensor([1e-2, 1.0, 1e3]).reshape(3, 1, 1)
    size = norm(x).square().mean(-1).sqrt().mean((0, 2))
    assert size.tolist() == pytest.approx([1.0, 2.0, 0.5], rel=0.02)
    assert_agree(norm(x)[:, 1:], (x / x.square().mean(-1, keepdim=True).add(1e-6).sqrt() * norm.weight)[:, 1:])


def test_norm_of_nothing_is_nothing():
    assert torch.equal(HeadNorm(2, 4)(torch.zeros(1, 2, 3, 4)), torch.zeros(1, 2, 3, 4))


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e15])
def test_unit_length(scale):
    x = tokens(4, 7, scale=scale)
    assert_agree(unit_length(x).norm(dim=-1), torch.ones(4, dtype=torch.float64))
    assert_agree(unit_length(x) * x.norm(dim=-1, keepdim=True), x)


def test_zero_stays_zero_with_a_finite_gradient():
    x = torch.zeros(2, 3, requires_grad=True)
    y = unit_length(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros(2, 3))
    assert torch.isfinite(x.grad).all()


def test_heads_are_neighbouring_columns_and_come_back():
    x = tokens(2, 5, 12)
    assert torch.equal(split_heads(x, 3), per_head(x, 3))
    assert torch.equal(join_heads(split_heads(x, 3)), x)
    assert torch.equal(join_heads(split_heads(x, 3)), together(per_head(x, 3)))


# --- feed-forward ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_is_swiglu_token_by_token():
    layer = shaken(FeedForward(6, expansion=1.5))
    x = tokens(2, 5, 6)
    gate, inner = layer.expand.weight[:9], layer.expand.weight[9:]
    assert_agree(layer(x), (silu(x @ gate.T) * (x @ inner.T)) @ layer.contract.weight.T)


@torch.no_grad()
def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    layer = FeedForward(6, dropout=0.5)
    x = tokens(2, 5, 6).float()
    assert torch.equal(layer.eval()(x), layer(x))
    assert not torch.equal(layer.train()(x), layer(x))


# --- the gate -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passes", [True, False])
@torch.no_grad()
def test_is_the_product_of_its_normalised_branches_and_the_second_beside_it(passes):
    gate = shaken(NormalisedGate(6, passes=passes))
    y, m = tokens(2, 5, 6), tokens(2, 5, 6, seed=1)
    attended = to_mean_square_one(y) * gate.attended_norm.weight
    remembered = to_mean_square_one(m) * gate.remembered_norm.weight
    joined = attended * silu(remembered + gate.opening) + (remembered if passes else 0)
    assert_agree(gate(y, m), joined @ gate.output.weight.T)


@pytest.mark.parametrize("branch", [0, 1])
@torch.no_grad()
def test_the_size_of_a_branch_does_not_matter(branch):
    gate = shaken(NormalisedGate(6))
    both = [tokens(2, 5, 6, scale=1e3), tokens(2, 5, 6, seed=1, scale=1e3)]
    before = gate(*both)
    both[branch] = 1e4 * both[branch]
    assert (gate(*both) - before).abs().max() < 1e-9 * before.abs().max()


@torch.no_grad()
def test_a_silent_memory_leaves_the_gate_as_far_open_as_was_learned():
    gate = shaken(NormalisedGate(6))
    y = tokens(2, 5, 6)
    attended = to_mean_square_one(y) * gate.attended_norm.weight
    assert_agree(gate(y, torch.zeros_like(y)), (attended * silu(gate.opening)) @ gate.output.weight.T)


# --- persistent tokens ----------------------------------------------------------------------------------------------


def test_every_sequence_sees_the_same_learned_tokens():
    torch.manual_seed(0)
    tokens = PersistentTokens(3, 2, 4)
    keys, values = tokens(5)
    for found, learned in ((keys, tokens.keys), (values, tokens.values)):
        assert found.shape == (5, 2, 3, 4)
        assert all(torch.equal(one, learned) for one in found)
    assert not torch.equal(keys, values)
    keys.sum().backward()
    assert torch.equal(tokens.keys.grad, torch.full((2, 3, 4), 5.0)), "all sequences teach the same tokens"


def test_none_is_allowed():
    keys, values = PersistentTokens(0, 2, 4)(5)
    assert keys.shape == values.shape == (5, 2, 0, 4)
