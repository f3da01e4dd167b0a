"""The memory of errors: by hand, and within a forecaster."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from series.estimator_cases import SMALL, briefly, fitted, one_step, wave
from tolerances import assert_agree

from titans_ts import MemoryState, TitansForecaster, load, make_recurring
from titans_ts.backbones.observing import silenced
from titans_ts.blocks.scale import long_run_scale
from titans_ts.series.reading import absorb, forecast, forecast_together, rolling_forecasts, start_state
from titans_ts.series.recollection import HEADS, LARGEST_ERROR, QUIET, Recollection, RecollectionCarry
from titans_ts.series.tensors import trailing_lookback
from titans_ts.series.watching import direct_only

LOOKBACK, HORIZON, PATCH, ROWS = 24, 10, 4, 240


def memory(*, channels=1, horizon=HORIZON):
    torch.manual_seed(0)
    made = Recollection(LOOKBACK, horizon, PATCH, features=16, channels=channels).double()
    with torch.no_grad():
        made.trust.uniform_(0.5, 1.0)
        made.gates[2].weight.normal_(std=0.5)
    return made


def seen(rows, ends=None):
    """Return windows of ``(c, t)`` at the ends of all patches, and what might be forecast there."""
    ends = torch.arange(1, rows.shape[1] // PATCH + 1) * PATCH if ends is None else torch.as_tensor(ends)
    rows = rows[None]
    windows = trailing_lookback(rows, ends, long_run_scale(rows), lookback=LOOKBACK, dtype=torch.float64)
    return windows, 0.3 * windows.values[..., :HORIZON].flip(-1)


def series(channels=1, rows=ROWS, seed=0):
    chance = np.random.default_rng(seed)
    place = np.arange(rows) % 60
    return torch.from_numpy(np.sin(place / 3) + 0.3 * chance.standard_normal((channels, rows)))


def part(windows, first, last):
    return type(windows)(*(x[:, :, first:last] for x in windows))


def keys_and_gates_by_hand(made, values):
    """Cosines of the last four patches and of all of the look-back; gates by how loud its patches are."""
    keys = []
    for drawn, rows in zip(made.features_of, (4 * PATCH, LOOKBACK), strict=True):
        seen_rows = values[..., -rows:].swapaxes(0, 1).reshape(values.shape[1], -1)
        features = np.cos(seen_rows @ drawn.weight.T.numpy() + drawn.bias.numpy())
        keys.append(features / np.linalg.norm(features, axis=-1, keepdims=True))
    loud = (values.reshape(*values.shape[:2], LOOKBACK // PATCH, PATCH) ** 2).mean(axis=(0, 3))
    inner = np.log(loud + QUIET) @ made.gates[0].weight.T.numpy() + made.gates[0].bias.numpy()
    inner = inner / (1 + np.exp(-inner)) @ made.gates[2].weight.T.numpy() + made.gates[2].bias.numpy()
    steps, heard = np.split(1 / (1 + np.exp(-inner.T)), 2)
    return np.stack(keys), steps, 2 * heard


@torch.no_grad()
def by_hand(made, rows):
    """The delta rule, one write after the other: each patch when the last row that was foretold from it is there."""
    windows, direct = seen(rows)
    scale, n = long_run_scale(rows[None]), direct.shape[2]
    on_scale = ((rows - scale.level[0][:, None]) / scale.spread[0][:, None]).numpy()
    keys, steps, heard = keys_and_gates_by_hand(made, windows.values[0].numpy())
    trust = made.trust.numpy()
    level, spread, direct = windows.level[0].numpy(), windows.spread[0].numpy(), direct[0].numpy()
    stores = np.zeros((HEADS, keys.shape[-1], len(rows) * HORIZON))
    said = np.zeros(direct.shape)
    for token in range(n):
        old = token - made.waiting
        if old >= 0:
            came = on_scale[:, (old + 1) * PATCH :][:, :HORIZON]
            expected = direct[:, old] * spread[:, old, None] + level[:, old, None]
            value = np.clip((came - expected) / spread[:, old, None], -LARGEST_ERROR, LARGEST_ERROR).ravel()
            for h in range(HEADS):
                k = keys[h, old]
                stores[h] += steps[h, old] * np.outer(k, value - k @ stores[h])
        for h in range(HEADS):
            said[:, token] += heard[h, token] * trust[h] * (keys[h, token] @ stores[h]).reshape(len(rows), HORIZON)
    return said


@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_it_says_what_a_loop_says(channels):
    rows, made = series(channels), memory(channels=channels)
    windows, direct = seen(rows)
    said, _ = made(windows, direct, made.initial_state(1))
    assert said.abs().max() > 0.1
    assert_agree(said[0], torch.from_numpy(by_hand(made, rows)))


@pytest.mark.parametrize("cuts", [(1,), (7, 8, 31), tuple(range(1, 60))])
@torch.no_grad()
def test_any_cut_says_the_same(cuts):
    made = memory()
    windows, direct = seen(series())
    whole, after = made(windows, direct, made.initial_state(1))
    state, pieces = made.initial_state(1), []
    for first, last in zip((0, *cuts), (*cuts, direct.shape[2]), strict=True):
        said, state = made(part(windows, first, last), direct[:, :, first:last], state)
        pieces.append(said)
    assert_agree(torch.cat(pieces, dim=2), whole)
    for name, found, wanted in zip(RecollectionCarry._fields, state, after, strict=True):
        assert_agree(found, wanted, name=name)


@torch.no_grad()
def test_between_two_patches_what_was_recollected_holds_without_the_rows_that_came():
    rows, made = series(), memory()
    windows, direct = seen(rows)
    last, state = made(windows, direct, made.initial_state(1))
    three_on, direct = seen(torch.cat([rows, rows[:, :3]], dim=1), [ROWS + 3])
    said, _ = made(three_on, direct, state, torch.tensor([3]))
    now, before = said * three_on.spread[..., None], (last * windows.spread[..., None])[:, :, -1:]
    assert_agree(now[..., : HORIZON - 3], before[..., 3:])
    assert not said[..., HORIZON - 3 :].any()


@torch.no_grad()
def test_errors_of_rows_that_are_missing_are_not_written():
    rows, made = series(), memory()
    rows[:, 100:] = torch.nan
    windows, direct = seen(rows)
    _, before = made(part(windows, 0, 25), direct[:, :, :25], made.initial_state(1))
    _, after = made(windows, direct, made.initial_state(1))
    assert before.memory.abs().max() > 0.1
    assert_agree(after.memory, before.memory)


@torch.no_grad()
def test_it_foretells_no_further_than_a_window_reaches():
    made = memory(horizon=LOOKBACK + 7)
    windows, _ = seen(series())
    said, _ = made(windows, torch.zeros(1, 1, ROWS // PATCH, LOOKBACK + 7, dtype=torch.float64), made.initial_state(1))
    assert said.shape[-1] == LOOKBACK + 7
    assert said[..., LOOKBACK - 1].any()
    assert not said[..., LOOKBACK:].any()


# --- within a forecaster ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forecaster():
    return opened(fitted(wave(400), recollection=16))


@pytest.fixture
def fresh(forecaster, tmp_path):
    """A copy that a test may change."""
    forecaster.save(tmp_path / "model.titans")
    return load(tmp_path / "model.titans")


def opened(forecaster, *, trust=(0.5, 0.5), step=2.0):
    """Let what is recollected count in full."""
    memory = forecaster.network_.recollection
    with torch.no_grad():
        memory.trust.copy_(torch.tensor(trust)[:, None])
        memory.gates[2].bias[: len(memory.trust)] = step
    return forecaster


@pytest.mark.parametrize("pieces", [[1] * 20 + [180], [7, 93, 100], [199, 1]])
def test_pieces_and_the_whole_agree_at_every_origin(forecaster, fresh, pieces):
    X = wave(200, seed=1)
    fresh.forget()
    for end in np.cumsum(pieces):
        fresh.update(X[fresh.n_seen_ : end])
        np.testing.assert_allclose(fresh.predict(), forecaster.predict(X[:end]), rtol=1e-5, atol=1e-6)


def test_rolling_over_a_series_says_what_predict_says_at_each_origin(forecaster):
    X = wave(230, seed=1)
    (one,) = forecaster.reader_.panel(X)
    origins = [3, 8, 64, 101, 160, 161, 167, 168, 230]
    rows = forecaster.reader_.tensors(one)
    rolled = torch.cat([said.point for _, said in rolling_forecasts(forecaster.network_, rows, origins)])
    for origin, found in zip(origins, rolled, strict=True):
        wanted = forecast(forecaster.network_, absorbed(forecaster, one, origin), torch.zeros(6, 0)).point[0]
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def absorbed(forecaster, one, origin):
    """Return the state after some rows of a series, on the scale of all of them."""
    series = forecaster.reader_.tensors(one)
    start = start_state(forecaster.network_, static=series.static, scale=series.scale)
    return absorb(forecaster.network_, start, series.part(0, origin))


def test_many_series_together_say_what_each_says_alone():
    series = [wave(rows, 1, seed=i) for i, rows in enumerate((220, 233, 236, 233))]
    together = opened(fitted(series, recollection=16))
    states = [absorbed(together, one, len(one)) for one in together.reader_.panel(series)]
    futures = [torch.zeros(6, 0)] * len(states)
    for found, state, future in zip(forecast_together(together.network_, states, futures), states, futures, strict=True):
        np.testing.assert_allclose(found.point, forecast(together.network_, state, future).point, rtol=1e-5, atol=1e-6)


def test_its_state_comes_back_from_a_file(fresh, tmp_path):
    fresh.forget().update(wave(203, seed=1))
    wanted = fresh.predict()
    fresh.state_.save(tmp_path / "state")
    fresh.forget().remember(MemoryState.load(tmp_path / "state"))
    np.testing.assert_array_equal(fresh.predict(), wanted)


def test_what_it_adds_can_be_taken_away(forecaster, fresh):
    X = wave(200, seed=1)
    with silenced(forecaster.network_):
        silent = forecaster.predict(X)
    with direct_only(forecaster.network_):
        direct = forecaster.predict(X)
    for without, parts in ((silent, ()), (direct, ("head",))):
        assert np.abs(forecaster.predict(X) - without).max() > 1e-3, "nothing is left silent"
        with torch.no_grad():
            fresh.network_.recollection.trust.zero_()
            for weight in (weight for part in parts for weight in getattr(fresh.network_, part).parameters()):
                weight.zero_()
        with nullcontext() if parts else silenced(fresh.network_):
            np.testing.assert_allclose(fresh.predict(X), without, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_training_reaches_all_of_it_and_keeps_it_in_full_precision(precision):
    states = []

    def keep(run, report):
        if report.phase == "recollection":
            states.append(run.state[-1])

    settings = {**SMALL, "recollection": 16, "precision": precision, "random_state": 0, "validation_fraction": 0}
    untrained = TitansForecaster(**settings, callbacks=[one_step]).fit(wave(400)).network_.recollection
    found = TitansForecaster(**settings, max_steps=3, callbacks=[briefly, keep]).fit(wave(400)).network_.recollection
    assert {x.dtype for x in states[-1]} == {torch.float64 if precision == "float64" else torch.float32}
    for (name, before), after in zip(untrained.named_parameters(), found.parameters(), strict=True):
        assert not torch.equal(before, after), name


def test_what_validation_cannot_tell_from_luck_is_not_recollected():
    X = np.random.default_rng(0).standard_normal(600)
    forecaster = TitansForecaster(**SMALL, recollection=16, caution=1e9, max_steps=3, random_state=0, callbacks=[briefly])
    assert forecaster.fit(X).recollection_gain_.share == 0
    assert not forecaster.network_.recollection.trust.any()


def test_it_finds_again_what_followed_a_cue_thousands_of_rows_ago():
    """Weights that were hardly trained: what is recollected was read, not learned by heart. Origins lie anywhere."""
    X, events = make_recurring(12_000, lags=(3_000,), slots=(6,), random_state=3, return_events=True)
    settings = {"horizon": 32, "lookback": 512, "recollection": 256, "layers": 1, "heads": 1, "width": 8, "patch_length": 8}
    forecaster = TitansForecaster(**settings, max_steps=1, random_state=0, callbacks=[one_step]).fit(X[:1000])
    opened(forecaster, trust=(1.0, 0.0))
    origins = [int(row) for row in events["origin"][events["occurrence"] > 1]]
    errors = {"carried": [], "fresh": []}
    for origin in origins:
        truth = X[origin : origin + 32]
        for name, history in (("carried", X[:origin]), ("fresh", X[origin - 512 : origin])):
            errors[name].append(np.mean((forecaster.predict(history) - truth) ** 2))
    assert len(origins) >= 8
    assert np.mean(errors["carried"]) < 0.5 * np.mean(errors["fresh"])


def test_it_is_refused_without_layers():
    with pytest.raises(ValueError, match="recollection=8 beside layers=0"):
        TitansForecaster(recollection=8, layers=0).fit(wave(400))
