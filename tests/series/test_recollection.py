"""The memory of errors: by hand, and within a forecaster."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from series.estimator_cases import SMALL, briefly, fitted, one_step, wave
from tolerances import assert_agree

from titans_ts import MemoryState, TitansForecaster, load, make_recurring
from titans_ts.backbones.observing import silenced
from titans_ts.backbones.state import pack
from titans_ts.blocks.scale import long_run_scale
from titans_ts.series.reading import absorb, forecast, forecast_together, rolling_forecasts, start_state
from titans_ts.series.recollection import (
    CASE_DOUBT,
    CASE_HALF_LIFE,
    CASE_SHARPNESS,
    CASE_STEP,
    HEADS,
    QUIET,
    SAME_CASE,
    Recollection,
)
from titans_ts.series.tensors import look_back, trailing_lookback
from titans_ts.series.watching import direct_only

LOOKBACK, HORIZON, PATCH, ROWS = 24, 10, 4, 240


def memory(*, channels=1, horizon=HORIZON, cases=0):
    torch.manual_seed(0)
    made = Recollection(LOOKBACK, horizon, PATCH, features=16, cases=cases, channels=channels).double()
    made.look_at([seen(series(channels))[0]])
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


def keys_and_gates_by_hand(made, values, unit):
    """Cosines of the last four patches and of all of the look-back, these in directions, and gates by how loud they are."""
    keys, places = [], []
    for i, (drawn, rows) in enumerate(zip(made.features_of, (4 * PATCH, LOOKBACK), strict=True)):
        seen_rows = (values / unit[..., None])[..., -rows:].swapaxes(0, 1).reshape(values.shape[1], -1)
        features = np.cos(seen_rows @ drawn.weight.T.numpy() + drawn.bias.numpy())
        keys.append(features / np.linalg.norm(features, axis=-1, keepdims=True))
        if made.cases is not None:
            mean, directions = (getattr(made.cases, f"{name}_{i}").numpy() for name in ("mean", "directions"))
            places.append((seen_rows - mean) @ directions.T)
    loud = (values.reshape(*values.shape[:2], LOOKBACK // PATCH, PATCH) ** 2).mean(axis=(0, 3))
    inner = np.log(loud + QUIET) @ made.gates[0].weight.T.numpy() + made.gates[0].bias.numpy()
    inner = inner / (1 + np.exp(-inner)) @ made.gates[2].weight.T.numpy() + made.gates[2].bias.numpy()
    steps, heard = np.split(1 / (1 + np.exp(-inner.T)), [HEADS])
    return np.stack(keys), steps, 2 * heard, places


class CasesByHand:
    """A list of pairs, each a mean of its own."""

    def __init__(self, most):
        self.most, self.kept = most, []  # [key, value, pairs, idle]

    def write(self, key, value):
        for one in self.kept:
            one[3] += 1
        near = min(self.kept, key=lambda one: ((one[0] - key) ** 2).sum(), default=None)
        if near is not None and ((near[0] - key) ** 2).sum() < SAME_CASE:
            near[2:] = near[2] + 1, 0
            share = max(1 / near[2], CASE_STEP)
            near[0], near[1] = near[0] + share * (key - near[0]), near[1] + share * (value - near[1])
        elif len(self.kept) < self.most:
            self.kept.append([key, value, 1, 0])
        else:
            worth = [min(one[2], 1 / CASE_STEP) * (1 + np.sqrt((one[1] ** 2).mean())) for one in self.kept]
            worth = [x * 0.5 ** (one[3] / CASE_HALF_LIFE) for x, one in zip(worth, self.kept, strict=True)]
            if 1 + np.sqrt((value**2).mean()) > min(worth):
                self.kept[int(np.argmin(worth))] = [key, value, 1, 0]

    def read(self, key):
        pairs = [min(one[2], 1 / CASE_STEP) for one in self.kept]
        weights = [
            n * np.exp(-CASE_SHARPNESS * ((one[0] - key) ** 2).sum()) for n, one in zip(pairs, self.kept, strict=True)
        ]
        return sum(w * one[1] for w, one in zip(weights, self.kept, strict=True)) / (sum(weights) + CASE_DOUBT)


@torch.no_grad()
def by_hand(made, rows):
    """The delta rule, one write after the other: each patch when the last row that was foretold from it is there."""
    windows, direct = seen(rows)
    scale, n = long_run_scale(rows[None]), direct.shape[2]
    on_scale = ((rows - scale.level[0][:, None]) / scale.spread[0][:, None]).numpy()
    level, spread, direct = windows.level[0].numpy(), windows.spread[0].numpy(), direct[0].numpy()
    unit = spread if made.cases is None else np.maximum(spread, 1)
    keys, steps, heard, places = keys_and_gates_by_hand(made, windows.values[0].numpy(), unit / spread)
    trust, further = made.trust.numpy(), 0 if made.cases is None else PATCH
    stores = np.zeros((HEADS, keys.shape[-1], len(rows) * (HORIZON + further)))
    kept = [CasesByHand(made.cases.places) for _ in places]
    expected = direct * spread[..., None] + level[..., None]
    said = np.zeros(direct.shape)
    for token in range(n):
        old = token - made.waiting
        if old >= 0:
            foretold = expected[:, old]
            if further:
                foretold = np.concatenate([foretold, expected[:, old + 1, -further:]], axis=-1)
            came = on_scale[:, (old + 1) * PATCH :][:, : HORIZON + further]
            value = np.clip((came - foretold) / unit[:, old, None], -made.largest, made.largest).ravel()
            for h in range(HEADS):
                k = keys[h, old]
                stores[h] += steps[h, old] * np.outer(k, value - k @ stores[h])
            for one, place in zip(kept, places, strict=True):
                one.write(place[old], value)
        read = [keys[h, token] @ stores[h] for h in range(HEADS)]
        read += [one.read(place[token]) + 0 * stores[0][0] for one, place in zip(kept, places, strict=True)]
        for h, words in enumerate(read):
            words = (trust[h] * words.reshape(len(rows), -1))[:, :HORIZON]
            said[:, token] += heard[h, token] * words * (unit / spread)[:, token, None]
    return said


@pytest.mark.parametrize("cases", [0, 3, 9])
@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_it_says_what_a_loop_says(channels, cases):
    rows, made = series(channels), memory(channels=channels, cases=cases)
    windows, direct = seen(rows)
    said, _ = made(windows, direct, made.initial_state(1))
    assert said.abs().max() > 0.1
    assert_agree(said[0], torch.from_numpy(by_hand(made, rows)))


@pytest.mark.parametrize("cases", [0, 5])
@pytest.mark.parametrize("cuts", [(1,), (7, 8, 31), tuple(range(1, 60))])
@torch.no_grad()
def test_any_cut_says_the_same(cuts, cases):
    made = memory(cases=cases)
    windows, direct = seen(series())
    whole, after = made(windows, direct, made.initial_state(1))
    state, pieces = made.initial_state(1), []
    for first, last in zip((0, *cuts), (*cuts, direct.shape[2]), strict=True):
        said, state = made(part(windows, first, last), direct[:, :, first:last], state)
        pieces.append(said)
    assert_agree(torch.cat(pieces, dim=2), whole)
    for name, wanted in pack(after).items():
        assert_agree(pack(state)[name], wanted, name=name)


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
def test_beside_cases_what_was_recollected_reaches_a_patch_further():
    rows, made = series(), memory(cases=5)
    windows, direct = seen(rows)
    last, state = made(windows, direct, made.initial_state(1))
    assert state.said.shape[-1] == HORIZON + PATCH
    assert_agree(state.said[..., :HORIZON], (last * windows.spread[..., None])[:, :, -1])
    three_on, direct = seen(torch.cat([rows, rows[:, :3]], dim=1), [ROWS + 3])
    said, _ = made(three_on, direct, state, torch.tensor([3]))
    assert_agree((said * three_on.spread[..., None])[:, :, 0], state.said[..., 3 : HORIZON + 3])
    assert said[..., HORIZON - 3 :].all()


@torch.no_grad()
def test_errors_of_rows_that_are_missing_are_not_written():
    rows, made = series(), memory(cases=5)
    rows[:, 100:] = torch.nan
    windows, direct = seen(rows)
    _, before = made(part(windows, 0, 25), direct[:, :, :25], made.initial_state(1))
    _, after = made(windows, direct, made.initial_state(1))
    for name in ("memory", "cases.keys", "cases.values", "cases.counts"):
        assert pack(before)[name].abs().max() > 0.1
        assert_agree(pack(after)[name], pack(before)[name], name=name)


@torch.no_grad()
def test_it_foretells_no_further_than_a_window_reaches():
    made = memory(horizon=LOOKBACK + 7)
    windows, _ = seen(series())
    said, _ = made(windows, torch.zeros(1, 1, ROWS // PATCH, LOOKBACK + 7, dtype=torch.float64), made.initial_state(1))
    assert said.shape[-1] == LOOKBACK + 7
    assert said[..., LOOKBACK - 1].any()
    assert not said[..., LOOKBACK:].any()


@pytest.mark.slow
@torch.no_grad()
def test_a_million_hostile_rows_in_any_cut_leave_it_bounded():
    made, chance = memory(cases=6), np.random.default_rng(0)
    rows = chance.standard_normal(1_000_000)
    rows[200_000:300_000] = np.sin(np.arange(100_000) / 3)
    rows[300_000:400_000], rows[400_000:450_000] = 7.0, np.nan
    rows[chance.integers(0, len(rows), 2000)] *= 1e15
    rows = torch.from_numpy(rows)[None]
    scale, states = long_run_scale(rows[None, :, :1000]), []
    for piece in (1000, 777):
        state = made.initial_state(1)
        for ends in (torch.arange(1, rows.shape[1] // PATCH + 1) * PATCH).split(piece):
            windows = trailing_lookback(rows[None], ends, scale, lookback=LOOKBACK, dtype=torch.float64)
            said, state = made(windows, 0.3 * windows.values[..., :HORIZON].flip(-1), state)
            assert said.isfinite().all()
        states.append(pack(state))
    assert states[0]["cases.values"].abs().max() <= made.largest
    assert states[0]["cases.counts"].max() <= 1 / CASE_STEP
    assert states[0]["memory"].abs().max() < 10 * made.largest
    for name, wanted in states[0].items():
        assert_agree(states[1][name], wanted, name=name)


# --- within a forecaster ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forecaster():
    return opened(fitted(wave(400), recollection=16))


@pytest.fixture
def fresh(forecaster, tmp_path):
    """A copy that a test may change."""
    forecaster.save(tmp_path / "model.titans")
    return load(tmp_path / "model.titans")


def opened(forecaster, *, trust=(0.5, 0.5, 0.5, 0.5), step=2.0):
    """Let what is recollected count in full."""
    memory = forecaster.network_.recollection
    with torch.no_grad():
        memory.trust.copy_(torch.tensor(trust)[:, None])
        memory.gates[2].bias[:HEADS] = step
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
            states.extend(state[-1] for state in run.states.values())

    settings = {**SMALL, "recollection": 16, "precision": precision, "random_state": 0, "validation_fraction": 0}
    untrained = TitansForecaster(**settings, callbacks=[one_step]).fit(wave(400)).network_.recollection
    found = TitansForecaster(**settings, max_steps=3, callbacks=[briefly, keep]).fit(wave(400)).network_.recollection
    assert {x.dtype for x in pack(states[-1]).values()} == {torch.float64 if precision == "float64" else torch.float32}
    for (name, before), after in zip(untrained.named_parameters(), found.parameters(), strict=True):
        assert not torch.equal(before, after), name


def test_what_validation_cannot_tell_from_luck_is_not_recollected():
    X = np.random.default_rng(0).standard_normal(600)
    forecaster = TitansForecaster(**SMALL, recollection=16, caution=1e9, max_steps=3, random_state=0, callbacks=[briefly])
    assert forecaster.fit(X).recollection_gain_.share == 0
    assert not forecaster.network_.recollection.trust.any()


@pytest.mark.parametrize(("trust", "most"), [((1.0, 0.0, 0.0, 0.0), 0.5), ((0.0, 0.0, 1.0, 0.0), 0.25)])
def test_it_finds_again_what_followed_a_cue_thousands_of_rows_ago(trust, most):
    """Weights that were hardly trained: what is recollected was read, not learned by heart. Origins lie anywhere."""
    X, events = make_recurring(12_000, lags=(3_000,), slots=(6,), random_state=3, return_events=True)
    settings = {"horizon": 32, "lookback": 512, "recollection": 256, "layers": 1, "heads": 1, "width": 8, "patch_length": 8}
    forecaster = TitansForecaster(**settings, max_steps=1, random_state=0, callbacks=[one_step]).fit(X[:1000])
    rows = forecaster.reader_.tensors(next(iter(forecaster.reader_.panel(X))))
    windows, _ = look_back(rows, torch.arange(8, 4000, 8), forecaster.network_.config)
    opened(forecaster, trust=trust).network_.recollection.look_at([windows])
    origins = [int(row) for row in events["origin"][events["occurrence"] > 1]]
    carried = [said.point[0].numpy() for _, said in rolling_forecasts(forecaster.network_, rows, origins)]
    fresh = [forecaster.predict(X[origin - 512 : origin]) for origin in origins]
    truth = [X[origin : origin + 32] for origin in origins]
    assert len(origins) >= 8
    assert np.mean(np.subtract(carried, truth) ** 2) < most * np.mean(np.subtract(fresh, truth) ** 2)


def test_it_is_refused_without_layers():
    with pytest.raises(ValueError, match="recollection=8 beside layers=0"):
        TitansForecaster(recollection=8, layers=0).fit(wave(400))
