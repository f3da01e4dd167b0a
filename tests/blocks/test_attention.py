"""Windowed attention as a layer: the dense form, any cut, a carry that does not grow."""

import pytest
import torch
from blocks.cases import attention_by_letter
from memory.cases import shaken, tokens
from tolerances import assert_agree

from titans_ts.blocks.attention import WindowAttention


def layer_of(window: int, persistent_tokens: int = 3, **settings: object) -> WindowAttention:
    torch.manual_seed(0)
    return shaken(WindowAttention(8, 2, window=window, persistent_tokens=persistent_tokens, **settings))


@pytest.mark.parametrize("persistent_tokens", [0, 3])
@pytest.mark.parametrize("window", [1, 4, 50])
@torch.no_grad()
def test_equals_dense_attention(window, persistent_tokens):
    layer = layer_of(window, persistent_tokens)
    x = tokens(2, 17, 8)
    assert_agree(layer(x, layer.initial_state(2))[0], attention_by_letter(layer, x))


@pytest.mark.parametrize("window", [1, 4, 50])
@torch.no_grad()
def test_any_cut_equals_the_whole(window):
    layer = layer_of(window)
    x = tokens(2, 17, 8)
    whole, _ = layer(x, layer.initial_state(2))
    for sizes in ([1] * 17, [5, 0, 12], [3, 1, 13]):
        state, outputs = layer.initial_state(2), []
        for piece in x.split(sizes, dim=1):
            output, state = layer(piece, state)
            outputs.append(output)
            assert state.keys.shape[2] <= window - 1, "the carry grows with what was read"
        assert_agree(torch.cat(outputs, 1), whole, name=f"{sizes}")


@torch.no_grad()
def test_sees_its_window_and_not_beyond():
    layer = layer_of(4, convolution=1)
    x = tokens(1, 15, 8)
    changed = x.clone()
    changed[:, 6] += 1
    differs = (layer(x, layer.initial_state(1))[0] != layer(changed, layer.initial_state(1))[0]).any(-1)[0]
    assert differs.nonzero().flatten().tolist() == [6, 7, 8, 9]


def test_gradients_reach_every_parameter():
    layer = layer_of(4)
    layer(tokens(2, 9, 8), layer.initial_state(2))[0].square().sum().backward()
    assert all(x.grad is not None and x.grad.abs().max() > 0 for x in layer.parameters())
