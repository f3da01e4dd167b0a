"""What every backbone promises: the paper's equations, any cut, no future, no neighbours, nothing idle."""

import pytest
import torch
from backbones.cases import fold, make_backbone
from backbones.oracles import backbone_by_letter
from memory.cases import tokens
from tolerances import assert_agree

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.stack import LAYERS, Backbone, require_memory
from titans_ts.backbones.state import pack, unpack_checked
from titans_ts.backbones.variants import BASELINES, VARIANTS, WITH_MEMORY
from titans_ts.memory.neural_memory import NeuralMemory

LENGTH = 26  # four segments of 6 and a bit, six refreshes of 4 and a bit
CUTS = {
    "step by step": [1] * LENGTH,
    "inside refreshes and segments": [3, 2, 5, 7, 9],
    "at segments": [6, 12, 8],
    "uneven, one of nothing": [1, 0, 24, 1],
}


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_equals_the_equations(variant):
    backbone = make_backbone(variant)
    x = tokens(2, LENGTH, 8)
    assert_agree(backbone(x, backbone.initial_state(2))[0], backbone_by_letter(backbone, x))


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_any_cut_equals_the_whole(variant, cut):
    backbone = make_backbone(variant)
    x = tokens(2, LENGTH, 8)
    whole, last = backbone(x, backbone.initial_state(2))
    found, state = fold(backbone, x, CUTS[cut])
    assert_agree(found, whole, name="output")
    after = tokens(2, 9, 8, seed=1)
    assert_agree(backbone(after, state)[0], backbone(after, last)[0], name="what follows")
    sizes = [{name: value.shape for name, value in pack(one).items()} for one in (state, last)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("variant", WITH_MEMORY)
@torch.no_grad()
def test_with_slots_any_cut_equals_the_whole_and_the_state_goes_through_a_file(variant):
    backbone = make_backbone(variant, slots=3)
    x = tokens(2, LENGTH, 8)
    whole, last = backbone(x, backbone.initial_state(2))
    found, state = fold(backbone, x, [3, 2, 5, 7, 9])
    assert_agree(found, whole, name="output")
    parts = {name: part.clone() for name, part in pack(state).items()}
    assert [name for name in parts if "slots" in name]
    state, after = unpack_checked(backbone.state_after(2, LENGTH), parts), tokens(2, 9, 8, seed=1)
    assert_agree(backbone(after, state)[0], backbone(after, last)[0], name="what follows")
    x[1] *= 100
    assert_agree(backbone(x, backbone.initial_state(2))[0][0], whole[0], name="beside another sequence")


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_any_cut_equals_the_whole_in_float32(variant):
    backbone = make_backbone(variant).float()
    x = tokens(2, LENGTH, 8).float()
    assert_agree(fold(backbone, x, [3, 2, 5, 7, 9])[0], backbone(x, backbone.initial_state(2))[0])


@pytest.mark.parametrize("tokens_read", [0, 1, 5, 6, 13, 26])
@pytest.mark.parametrize("settings", [{}, {"convolution": 1}, {"window": 1}], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_the_form_of_a_state_is_known_beforehand(variant, settings, tokens_read):
    backbone = make_backbone(variant, **settings)
    _, state = backbone(tokens(2, tokens_read, 8), backbone.initial_state(2))
    found, told = ({name: x.shape for name, x in pack(one).items()} for one in (state, backbone.state_after(2, tokens_read)))
    assert found == told
    unpack_checked(backbone.state_after(2, tokens_read), pack(state))
    if tokens_read == 1 and not settings and variant != "lstm":  # whose state does not say how much it has read
        with pytest.raises(ValueError, match="its part '.*' is .*, expected"):
            unpack_checked(backbone.state_after(2, 2), pack(state))


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_a_call_leaves_its_state_as_it_was(variant):
    backbone = make_backbone(variant)
    _, state = backbone(tokens(2, 9, 8), backbone.initial_state(2))
    before = {name: x.clone() for name, x in pack(state).items()}
    backbone(tokens(2, 9, 8, seed=1), state)
    assert all(torch.equal(x, before[name]) for name, x in pack(state).items())


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_nothing_sees_the_future_and_the_past_is_seen(variant):
    backbone = make_backbone(variant)
    x = tokens(1, LENGTH, 8)
    before, _ = backbone(x, backbone.initial_state(1))
    for place in (0, 5, 6, 11, 17, LENGTH - 1):
        changed = x.clone()
        changed[:, place:] += tokens(1, LENGTH - place, 8, seed=place)
        after, _ = backbone(changed, backbone.initial_state(1))
        assert torch.equal(after[:, :place], before[:, :place]) or _near(after[:, :place], before[:, :place]), place
        assert ((after - before)[:, place:].abs().amax(-1) > 1e-6).all(), f"a change at {place} is not seen"


def _near(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() < 1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_what_was_read_long_ago_still_counts_where_it_can(variant):
    """One token, farther back than window, segment and convolution, changes what the memory answers."""
    backbone = make_backbone(variant, layers=1)
    x = tokens(1, LENGTH, 8)
    changed = x.clone()
    changed[:, 2] += 1
    found = [backbone(y, backbone.initial_state(1))[0][:, -1] for y in (x, changed)]
    if variant in ("attention", "hopfield"):
        assert torch.equal(*found), "its window had passed"
    else:
        assert (found[0] - found[1]).abs().max() > 1e-6


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_a_sequence_does_not_depend_on_its_batch(variant):
    backbone = make_backbone(variant)
    x = tokens(4, LENGTH, 8)
    x[2] *= 100
    whole, _ = backbone(x, backbone.initial_state(4))
    for row in range(4):
        alone, _ = backbone(x[row : row + 1], backbone.initial_state(1))
        assert_agree(alone, whole[row : row + 1], name=f"row {row}")


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_chunk_size_changes_nothing(variant):
    backbone = make_backbone(variant)
    x = tokens(2, LENGTH, 8)
    answers = []
    for chunk_size in (1, 4, 7, 64):
        for module in backbone.modules():
            if isinstance(module, NeuralMemory):
                module.chunk_size = chunk_size
        answers.append(backbone(x, backbone.initial_state(2))[0])
    for answer in answers[1:]:
        assert_agree(answer, answers[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter(variant):
    backbone = make_backbone(variant)
    y, _ = backbone(tokens(2, LENGTH, 8), backbone.initial_state(2))
    (y * tokens(2, LENGTH, 8, seed=1)).sum().backward()
    without = [name for name, x in backbone.named_parameters() if x.grad is None or not x.grad.abs().max() > 0]
    assert not without, f"no gradient: {without}"


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_under_autocast_it_answers_nearly_the_same(variant):
    backbone = make_backbone(variant).float()
    x = tokens(2, LENGTH, 8).float()
    exact, _ = backbone(x, backbone.initial_state(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, state = fold(backbone, x, [5, 3, 18])
    assert (found.float() - exact).abs().mean() < 0.1 * exact.abs().mean()
    for name, value in pack(state).items():
        if ".store.weights" in name or ".recalled_from" in name:
            assert value.dtype == torch.float32, name


@torch.no_grad()
def test_no_layers_is_the_normalised_identity():
    backbone = make_backbone("mac", layers=0)
    x = tokens(2, 5, 8)
    y, state = backbone(x, backbone.initial_state(2))
    assert state == ()
    assert_agree(y, x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * backbone.norm.weight)


@torch.no_grad()
def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    backbone = Backbone(BackboneConfig("lmm", width=8, heads=2, layers=1, dropout=0.5)).eval()
    x = tokens(1, 9, 8).float()
    answers = [backbone(x, backbone.initial_state(1))[0] for _ in range(2)]
    assert torch.equal(*answers)
    assert not torch.equal(backbone.train()(x, backbone.initial_state(1))[0], answers[0])


@torch.no_grad()
def test_feedforward_layers_can_be_left_out():
    backbone = make_backbone("mag", feedforward_expansion=0)
    assert not any("feedforward.expand" in name for name, _ in backbone.named_parameters())
    x = tokens(2, 9, 8)
    assert_agree(backbone(x, backbone.initial_state(2))[0], backbone_by_letter(backbone, x))


def test_every_variant_has_a_layer():
    assert tuple(LAYERS) == VARIANTS


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_memory_is_where_the_variants_say(variant):
    backbone = make_backbone(variant)
    assert any(isinstance(module, NeuralMemory) for module in backbone.modules()) == (variant in WITH_MEMORY)


@pytest.mark.parametrize("variant", BASELINES)
def test_what_needs_a_memory_refuses_a_variant_without_by_name(variant):
    message = f"variant='{variant}' has no memory to be asked; choose a variant that has one: mac, mag, mal, lmm"
    with pytest.raises(ValueError, match=message):
        require_memory(torch.nn.ModuleList([make_backbone(variant)]), to_be="asked")
    require_memory(make_backbone(variant, layers=0), to_be="asked")


@pytest.mark.parametrize("variant", WITH_MEMORY)
def test_what_needs_a_memory_takes_a_variant_with_one(variant):
    require_memory(make_backbone(variant), to_be="asked")
