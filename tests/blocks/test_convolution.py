"""The causal convolution: a product a tap, any cut, nothing from the future."""

import pytest
import torch
from memory.cases import by_convolving, shaken, tokens
from tolerances import assert_agree

from titans_ts.blocks.convolution import CausalConvolution


@pytest.mark.parametrize("kernel", [1, 2, 4, 9])
@torch.no_grad()
def test_equals_one_product_a_tap(kernel):
    layer = shaken(CausalConvolution(3, kernel=kernel))
    x = tokens(2, 7, 3)
    y, _ = layer(x, layer.initial_tail(2))
    assert_agree(y, by_convolving(x, layer.filters))


@pytest.mark.parametrize("kernel", [1, 2, 4, 9])
def test_gradients_are_those_of_one_product_a_tap(kernel):
    """Its derivative is written by hand; the letter's is autograd's. A tail takes part, and gets its share."""
    layer = shaken(CausalConvolution(3, kernel=kernel))
    x, before = tokens(2, 7, 3).requires_grad_(), tokens(2, kernel - 1, 3, seed=1).requires_grad_()
    weigh = tokens(2, 7, 3, seed=2)
    inputs = (x, before, layer.filters) if kernel > 1 else (x, layer.filters)
    found = torch.autograd.grad((layer(x, before)[0] * weigh).sum(), inputs)
    by_letter = by_convolving(torch.cat([before, x], 1), layer.filters)[:, kernel - 1 :]
    true = torch.autograd.grad((by_letter * weigh).sum(), inputs)
    for a, b in zip(found, true, strict=True):
        assert_agree(a, b)


@pytest.mark.parametrize("kernel", [1, 2, 4])
@torch.no_grad()
def test_any_cut_equals_the_whole(kernel):
    layer = shaken(CausalConvolution(3, kernel=kernel))
    x = tokens(2, 7, 3)
    whole, last = layer(x, layer.initial_tail(2))
    for sizes in ([1] * 7, [2, 0, 5], [6, 1]):
        tail, outputs = layer.initial_tail(2), []
        for piece in x.split(sizes, dim=1):
            output, tail = layer(piece, tail)
            assert tail.shape == (2, kernel - 1, 3)
            outputs.append(output)
        assert_agree(torch.cat(outputs, 1), whole)
        assert torch.equal(tail, last)


@torch.no_grad()
def test_sees_kernel_tokens_of_its_own_channel():
    layer = shaken(CausalConvolution(3, kernel=4))
    x = tokens(1, 12, 3)
    changed = x.clone()
    changed[:, 5, 1] += 1
    differs = layer(x, layer.initial_tail(1))[0] != layer(changed, layer.initial_tail(1))[0]
    assert differs.nonzero()[:, 1:].tolist() == [[t, 1] for t in (5, 6, 7, 8)]


@torch.no_grad()
def test_starts_near_the_identity():
    torch.manual_seed(0)
    layer = CausalConvolution(64)
    x = tokens(2, 20, 64).float()
    y, _ = layer(x, layer.initial_tail(2))
    assert (y - torch.nn.functional.silu(x)).square().mean() < 0.05 * y.square().mean()


def test_a_kernel_of_nothing_is_refused():
    with pytest.raises(ValueError, match="kernel must be 1 or more tokens, got 0"):
        CausalConvolution(3, kernel=0)
