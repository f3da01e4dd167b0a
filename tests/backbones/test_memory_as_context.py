"""MAC: its segments, what each token of one may see, and what it carries."""

import pytest
import torch
from backbones.cases import SIZES, make_backbone
from backbones.oracles import context_by_letter
from memory.cases import tokens
from tolerances import assert_agree

from titans_ts.backbones.memory_as_context import MemoryAsContext


def layer_of(**settings: object) -> MemoryAsContext:
    return make_backbone("mac", layers=1, **settings).blocks[0].sequence_layer


@pytest.mark.parametrize(
    "settings",
    [
        {"window": 1},
        {"window": 5, "refresh_every": 3},
        {"window": 4, "refresh_every": 8},
        {"window": 100},
        {"persistent_tokens": 0},
        {"convolution": 1, "momentum": False},
        {"memory": "titans_linear", "forgetting": False},
        {"memory_depth": 3},
    ],
    ids=str,
)
@torch.no_grad()
def test_equals_equations_21_to_25(settings):
    layer = layer_of(**settings)
    x = tokens(2, 17, 8)
    assert_agree(layer(x, layer.initial_state(2))[0], context_by_letter(layer, x))


@torch.no_grad()
def test_recalls_from_the_segments_start_not_from_now():
    """Within a segment the weights it recalls from stand still while the memory moves; at the next they follow."""
    layer = layer_of()
    x = tokens(1, 14, 8)
    state = layer.initial_state(1)
    recalled, written = [], []
    for piece in x.split(1, dim=1):
        _, state = layer(piece, state)
        recalled.append(state.recalled_from[0].clone())
        written.append(state.memory.store.weights[0].clone())
    window = SIZES["window"]
    for t in range(1, 14):
        assert torch.equal(recalled[t], recalled[t - 1]) == (t % window != 0), t
        assert not torch.equal(written[t], written[t - 1]), t
    assert torch.equal(recalled[window], written[window - 1])


@torch.no_grad()
def test_recalls_from_the_slots_of_the_segments_start_too():
    layer, x, window = layer_of(slots=3), tokens(1, 14, 8), SIZES["window"]
    state = layer.initial_state(1)
    for t, piece in enumerate(x.split(1, dim=1)):
        before = state.memory.slots if t % window == 0 else state.slots
        output, after = layer(piece, state)
        assert all(torch.equal(a, b) for a, b in zip(after.slots, before, strict=True)), t
        if t > window:
            empty = layer.memory.slots.initial_state(1)
            held = state._replace(slots=empty)
            if t % window == 0:  # it takes the memory's
                held = held._replace(memory=state.memory._replace(slots=empty))
            assert (layer(piece, held)[0] - output).abs().max() > 1e-6, t
        state = after


@torch.no_grad()
def test_the_carry_does_not_grow_and_holds_only_the_segment():
    layer = layer_of()
    shapes = []
    state = layer.initial_state(2)
    for piece in tokens(2, 40, 8).split([1, 4, 1, 6, 13, 15], dim=1):
        _, state = layer(piece, state)
        shapes.append(tuple(state.seen.shape))
        done = state.memory.store.position % SIZES["window"]
        if done:
            assert torch.equal(state.seen[..., done:, :], torch.zeros_like(state.seen[..., done:, :]))
    assert set(shapes) == {(2, 4, 2, SIZES["window"], 4)}


@torch.no_grad()
def test_an_empty_call_changes_nothing():
    layer = layer_of()
    _, state = layer(tokens(2, 9, 8), layer.initial_state(2))
    y, after = layer(tokens(2, 0, 8), state)
    assert y.shape == (2, 0, 8)
    assert torch.equal(after.seen, state.seen)
    assert after.memory.store.position == 9
