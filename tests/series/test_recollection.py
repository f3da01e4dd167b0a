"""The memory of errors: a loop in NumPy that writes what has become known, any cut, origins between patches."""

import numpy as np
import pytest
import torch
from tolerances import assert_agree

from titans_ts.blocks.scale import long_run_scale
from titans_ts.series.recollection import HEADS, LARGEST_ERROR, QUIET, Recollection, RecollectionCarry
from titans_ts.series.tensors import trailing_lookback

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
