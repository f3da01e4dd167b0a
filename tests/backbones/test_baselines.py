"""The baselines against their equations, and as models: without a memory, and fit for everything that asks for none.

What every backbone promises (any cut, no future, gradients) is asked of them in ``test_stack.py``.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from backbones.cases import SIZES, fold, make_backbone
from backbones.oracles import BY_LETTER, hopfield_by_letter
from memory.cases import shaken, tokens
from series.estimator_cases import everything, fitted, wave
from tolerances import assert_agree

from titans_ts import load
from titans_ts.backbones.baselines import HopfieldAssociation
from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.stack import LAYERS
from titans_ts.backbones.state import pack
from titans_ts.backbones.variants import BASELINES

SETTINGS = [
    {},
    {"window": 1},
    {"window": 100},
    {"persistent_tokens": 0},
    {"persistent_tokens": 30},
    {"convolution": 1, "heads": 1},
]


def layer_of(variant: str, **settings: object) -> torch.nn.Module:
    return make_backbone(variant, layers=1, **settings).blocks[0].sequence_layer


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("variant", BASELINES)
@torch.no_grad()
def test_equals_its_equations(variant, settings):
    layer = layer_of(variant, **settings)
    x = tokens(2, 17, 8)
    assert_agree(layer(x, layer.initial_state(2))[0], BY_LETTER[variant](layer, x))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("variant", BASELINES)
@torch.no_grad()
def test_any_cut_equals_the_whole(variant, settings):
    layer = layer_of(variant, **settings)
    x = tokens(2, 17, 8)
    whole, last = layer(x, layer.initial_state(2))
    for sizes in ([1] * 17, [5, 0, 12], [3, 1, 13], [0, 17]):
        found, state = fold(layer, x, sizes)
        assert_agree(found, whole, name=f"{sizes}")
        for name, part in pack(state).items():
            assert_agree(part, pack(last)[name], name=f"{name} after {sizes}")


@pytest.mark.parametrize("variant", BASELINES)
def test_gradients_go_back_over_a_cut(variant):
    """A state is part of the sum: a later call's loss reaches the tokens and parameters of an earlier one."""
    layer = layer_of(variant)
    x = tokens(2, 9, 8).requires_grad_()
    found = []
    for sizes in ([9], [4, 5]):
        y, _ = fold(layer, x, sizes)
        found.append(torch.autograd.grad((y[:, -2:] * tokens(2, 2, 8, seed=1)).sum(), [x, *layer.parameters()]))
    for whole, cut in zip(*found, strict=True):
        assert whole.abs().max() > 0
        assert_agree(cut, whole)


@pytest.mark.parametrize("variant", BASELINES)
@torch.no_grad()
def test_every_carried_tensor_has_the_batch_first(variant):
    layer = layer_of(variant)
    x = tokens(3, 9, 8)
    for batch, order in ((3, [2, 0, 1]), (1, [1])):
        _, state = layer(x, layer.initial_state(3))
        _, other = layer(x[order], layer.initial_state(batch))
        for name, part in pack(other).items():
            assert_agree(part, pack(state)[name][order], name=name)


@pytest.mark.parametrize("variant", ["attention", "hopfield"])
@torch.no_grad()
def test_a_windowed_layer_carries_its_window_and_no_more(variant):
    layer = layer_of(variant)
    _, state = fold(layer, tokens(2, 40, 8), [1, 4, 1, 6, 13, 15])
    assert {part.shape[2] for part in state[1:]} == {SIZES["window"] - 1}


@torch.no_grad()
def test_full_attention_carries_everything():
    layer = layer_of("full_attention")
    _, state = fold(layer, tokens(2, 40, 8), [1, 39])
    assert state.keys.shape == state.values.shape == (2, 2, 40, 4)


# --- LSTM -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_an_lstm_starts_with_half_lives_of_all_lengths():
    """Left alone, a unit's cell has halved after its half-life: units of 1 to 4,096 tokens."""
    layer = LAYERS["lstm"](BackboneConfig("lstm", width=13, heads=1)).double()
    half_lives = 2.0 ** np.arange(13)
    bias = layer.lstm.bias_ih_l0 + layer.lstm.bias_hh_l0
    forget = torch.sigmoid(bias[13:26]).numpy()
    np.testing.assert_allclose(forget**half_lives, 0.5, rtol=1e-4)
    np.testing.assert_allclose(torch.sigmoid(bias[:13]).numpy(), 1 - forget, rtol=1e-4)


@pytest.mark.slow
def test_an_lstm_learns_to_hold_a_token_over_fifty_others():
    torch.manual_seed(0)
    layer, head = LAYERS["lstm"](BackboneConfig("lstm", width=32)), torch.nn.Linear(32, 1)
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=3e-3)
    for step in range(600):
        x, sign = tokens(32, 51, 32, seed=step).float(), tokens(32, seed=1000 + step).sign().float()
        x[:, 0] = 0
        x[:, 0, 0] = 4 * sign
        y, _ = layer(x, layer.initial_state(32))
        loss = torch.nn.functional.softplus(-sign * head(y[:, -1])[:, 0]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


@torch.no_grad()
def test_the_cell_of_an_lstm_is_never_below_float32():
    layer = layer_of("lstm").float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = layer(tokens(1, 9, 8).bfloat16(), layer.initial_state(1))
    assert y.dtype == torch.bfloat16
    assert state.hidden.dtype == state.cell.dtype == torch.float32


# --- Hopfield ---------------------------------------------------------------------------------------------------------


def hopfield_of(updates: int) -> HopfieldAssociation:
    torch.manual_seed(0)
    return shaken(HopfieldAssociation(BackboneConfig("hopfield", **SIZES), updates=updates))


@pytest.mark.parametrize("updates", [1, 2, 3, 7])
@torch.no_grad()
def test_every_number_of_updates_equals_the_iteration(updates):
    layer = hopfield_of(updates)
    x = tokens(2, 17, 8)
    assert_agree(layer(x, layer.initial_state(2))[0], hopfield_by_letter(layer, x))


@torch.no_grad()
def test_updates_go_on_moving_the_state_until_it_rests():
    x = tokens(2, 17, 8)
    outputs = [(layer := hopfield_of(n))(x, layer.initial_state(2))[0] for n in (1, 2, 3, 500, 501)]
    moves = [(b - a).abs().max().item() for a, b in pairwise(outputs)]
    assert moves[0] > 1e-2
    assert moves[1] > 1e-3
    assert moves[3] < 1e-6, "a fixed point"


def test_the_temperature_starts_at_attentions():
    layer = HopfieldAssociation(BackboneConfig("hopfield", width=32, heads=2))
    assert layer.log_beta.exp().tolist() == pytest.approx([1 / math.sqrt(16)] * 2)
    assert layer.updates == 3


def test_no_updates_are_refused_by_name():
    with pytest.raises(ValueError, match="updates must be 1 or more, got 0"):
        HopfieldAssociation(BackboneConfig("hopfield"), updates=0)


# --- as models --------------------------------------------------------------------------------------------------------


def briefly(run, _report):
    """Shorten each phase of training to three steps."""
    run.steps = min(run.steps, 3)


@pytest.fixture(scope="module", params=BASELINES)
def forecaster(request):
    return fitted(wave(), variant=request.param, layers=1, precision="float64", callbacks=[briefly])


def test_a_forecaster_fits_predicts_updates_saves_and_loads(forecaster, tmp_path):
    history, later = wave(330)[:300], wave(330)[300:]
    assert {step["phase"] for step in forecaster.training_history_} == {"memory"}
    before = forecaster.forget().update(history).predict()
    forecaster.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert everything(again) == everything(forecaster)
    whole = forecaster.predict(wave(330))
    for piece in (later[:1], later[1:20], later[20:]):
        forecaster.update(piece)
        again.update(piece)
    np.testing.assert_array_equal(again.predict(), forecaster.predict())
    np.testing.assert_allclose(forecaster.predict(), whole, rtol=1e-10, atol=1e-10)
    assert not np.allclose(before, whole), "what was read counts"


def test_a_series_does_not_depend_on_the_others(forecaster):
    X = wave()
    alone = forecaster.predict(X)
    X[:, 1] = 1e6
    np.testing.assert_allclose(forecaster.predict(X)[:, 0], alone[:, 0], rtol=1e-10, atol=1e-10)
    first, both = forecaster.predict([wave()])[0], forecaster.predict([wave(), X[:150]])
    np.testing.assert_allclose(both[0], first, rtol=1e-10, atol=1e-10)


def test_rolling_errors_are_those_of_plain_forecasts(forecaster):
    X = wave(70)
    found = forecaster.rolling_errors(X, start=60, horizons=[6])[6]
    errors = np.array([forecaster.predict(X[:origin]) - X[origin : origin + 6] for origin in range(60, 65)])
    np.testing.assert_allclose(found, [np.mean(errors**2), np.mean(np.abs(errors))])


def test_what_only_a_memory_can_do_is_refused_by_name(forecaster):
    message = f"variant='{forecaster.variant}' has no memory to be "
    with pytest.raises(ValueError, match=message + "surprised; choose a variant that has one: mac, mag, mal, lmm"):
        forecaster.surprise("never read")
    with pytest.raises(ValueError, match=message + "silenced"):
        forecaster.rolling_errors(wave(), start=60, horizons=[6], memory="silent")
    assert forecaster.rolling_errors(wave(70), start=60, horizons=[6], memory="linear")[6][0] > 0


@pytest.mark.parametrize("variant", BASELINES)
def test_a_memory_beside_a_baseline_is_refused_before_any_work(variant):
    with pytest.raises(ValueError, match=f"variant='{variant}' has no memory, got memory='titans_linear'"):
        fitted("never read", variant=variant, memory="titans_linear")
