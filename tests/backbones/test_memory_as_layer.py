"""MAL: memory below, attention above."""

import pytest
import torch
from backbones.cases import make_backbone
from backbones.oracles import layer_by_letter
from memory.cases import tokens
from tolerances import assert_agree


@pytest.mark.parametrize(
    "settings", [{}, {"window": 1}, {"window": 100}, {"persistent_tokens": 0, "convolution": 1}], ids=str
)
@torch.no_grad()
def test_equals_equations_29_to_31(settings):
    layer = make_backbone("mal", layers=1, **settings).blocks[0].sequence_layer
    x = tokens(2, 17, 8)
    assert_agree(layer(x, layer.initial_state(2))[0], layer_by_letter(layer, x))


@torch.no_grad()
def test_attention_sees_what_the_memory_returned():
    layer = make_backbone("mal", layers=1).blocks[0].sequence_layer
    x = tokens(2, 9, 8)
    _, before = layer(x, layer.initial_state(2))
    layer.memory.output.weight.neg_()
    _, after = layer(x, layer.initial_state(2))
    assert not torch.equal(before.attention.keys, after.attention.keys)
    assert torch.equal(before.memory.store.weights[0], after.memory.store.weights[0])
