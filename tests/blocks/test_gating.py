"""The normalised gate that joins what was attended with what was remembered."""

import pytest
import torch
from memory.cases import shaken, silu, to_mean_square_one, tokens
from tolerances import assert_agree

from titans_ts.blocks.layers import NormalisedGate


@torch.no_grad()
def test_is_the_product_of_its_normalised_branches():
    gate = shaken(NormalisedGate(6))
    y, m = tokens(2, 5, 6), tokens(2, 5, 6, seed=1)
    attended = to_mean_square_one(y) * gate.attended_norm.weight
    remembered = silu(to_mean_square_one(m) * gate.remembered_norm.weight + gate.opening)
    assert_agree(gate(y, m), (attended * remembered) @ gate.output.weight.T)


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
