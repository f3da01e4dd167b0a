"""The gated feed-forward layer."""

import torch
from memory.cases import shaken, silu, tokens
from tolerances import assert_agree

from titans_ts.blocks.layers import FeedForward


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
