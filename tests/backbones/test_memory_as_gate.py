"""MAG: attention and memory side by side."""

import pytest
import torch
from backbones.cases import make_backbone
from backbones.oracles import gate_by_letter
from memory.cases import tokens
from tolerances import assert_agree


@pytest.mark.parametrize(
    "settings", [{}, {"window": 1}, {"window": 100}, {"persistent_tokens": 0, "convolution": 1}], ids=str
)
@torch.no_grad()
def test_equals_equations_26_to_28(settings):
    layer = make_backbone("mag", layers=1, **settings).blocks[0].sequence_layer
    x = tokens(2, 17, 8)
    assert_agree(layer(x, layer.initial_state(2))[0], gate_by_letter(layer, x))


@torch.no_grad()
def test_the_branches_do_not_see_each_other():
    """Both are given the same tokens: replacing what the memory writes leaves attention's carry alone."""
    layer = make_backbone("mag", layers=1).blocks[0].sequence_layer
    x = tokens(2, 9, 8)
    _, before = layer(x, layer.initial_state(2))
    layer.memory.project.weight.mul_(2)
    _, after = layer(x, layer.initial_state(2))
    assert torch.equal(before.attention.keys, after.attention.keys)
    assert not torch.equal(before.memory.store.weights[0], after.memory.store.weights[0])
