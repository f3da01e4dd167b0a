"""Norms, unit length, heads."""

import pytest
import torch
from memory.cases import per_head, together, tokens
from tolerances import assert_agree

from titans_ts.blocks.layers import HeadNorm, join_heads, split_heads, unit_length


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
