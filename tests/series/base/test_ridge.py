"""The ridge: sums against plain windows, shorter look-backs out of the longest, gaps, neighbours, forward blocks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from series.base.ridge_cases import Seen, seen_of, waves
from torch import Tensor

from titans_ts.blocks.scale import Scale
from titans_ts.series.base.forward import learn, running_sums
from titans_ts.series.base.ridge import (
    Ridge,
    RidgeSpec,
    add_up,
    answers,
    automatic_lookbacks,
    design,
    solve,
    targets,
)
from titans_ts.series.tensors import trailing_lookback

LONG = RidgeSpec((4, 8, 16))
SPECS = [LONG, replace(LONG, profile=True), RidgeSpec((5, 9), "level"), RidgeSpec((5, 9), "level", logs=True)]


def all_of(rows: Tensor, ends: Tensor) -> Tensor:
    return torch.ones(len(rows), ends.shape[-1], dtype=torch.bool)


def test_a_window_is_that_of_the_token():
    rows, ends = waves(), torch.tensor([3, 20, 160])
    rows[0, 12] = float("nan")
    found = design(LONG, rows, ends, seen_of(rows, ends))
    unit = Scale(torch.zeros(1, 3, dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64))
    token = trailing_lookback(rows[None], ends, unit, lookback=16, dtype=torch.float64)
    torch.testing.assert_close(found.inputs, token.values[0])
    torch.testing.assert_close(found.centre, token.level[0])
    torch.testing.assert_close(found.unit, token.spread[0])


@pytest.mark.parametrize("lookback", [4, 16])
def test_weights_are_those_of_plain_ridge_regression_on_the_shorter_window(lookback):
    """Windows of the shorter look-back, centred on their own mean, solved by augmented least squares."""
    rows, ends = waves(), torch.arange(16, 155)
    spec, penalty = RidgeSpec((lookback, 16) if lookback < 16 else (16,)), 0.1
    seen = seen_of(rows, ends)
    sums = add_up(spec, rows, ends, seen, 6, all_of(rows, ends))
    mine = solve(replace(spec, lookbacks=(16,)), sums, penalty)
    if lookback < 16:
        mine = 2 * solve(spec, sums, penalty) - mine
    windows = design(spec, rows, ends, seen)
    x, y, w = [], [], []
    for s in range(3):
        for i, end in enumerate(ends.tolist()):
            if end + 6 <= 160:
                part = rows[s, end - lookback : end]
                x.append((part - part.mean()) / windows.unit[s, i])
                y.append((rows[s, end : end + 6] - part.mean()) / windows.unit[s, i])
                w.append(windows.weight[s, i])
    x, y, w = torch.stack(x).numpy(), torch.stack(y).numpy(), torch.stack(w).numpy()[:, None]
    mean = ((x * w) ** 2).sum(0).mean()
    augmented = np.vstack([x * w, np.sqrt(penalty * mean) * np.eye(lookback)])
    plain = np.linalg.lstsq(augmented, np.vstack([y * w, np.zeros((lookback, 6))]), rcond=None)[0]
    expected = rows[:, 40:56][:, -lookback:]
    level = expected.mean(-1, keepdim=True)
    expected = (expected - level) @ torch.from_numpy(plain) + level
    at = torch.tensor([56])
    there = seen_of(rows, at)
    torch.testing.assert_close(answers(spec, mine, design(spec, rows, at, there), there)[:, 0], expected)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_line_of_sums_is_all_of_them(spec):
    """Sums of blocks, and of each stream, add up; targets that are missing are not counted."""
    rows, ends = waves(), torch.arange(16, 160)
    seen = seen_of(rows, ends)
    whole = add_up(spec, rows, ends, seen, 6, all_of(rows, ends))
    pieces = running_sums(spec, rows, ends, seen, 6, torch.tensor([0, 60, 100, 160]))[-1]
    each = add_up(spec, rows, ends, seen, 6, all_of(rows, ends), groups=3).together()
    for one in (pieces, each):
        for a, b in zip(one, whole, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    assert whole.total[0] == pytest.approx(
        float(design(spec, rows, ends[:-5], seen_of(rows, ends[:-5])).weight.square().sum())
    )


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_forecasts_need_the_last_rows_only_and_no_neighbours(spec):
    rows, ends = waves(), torch.tensor([60, 61, 100])
    rows[1, 50] = float("nan")
    seen = seen_of(rows, ends)
    ridge = Ridge(spec, 6)
    ridge.weights.copy_(
        torch.randn(ridge.weights.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64) / 9
    )
    whole = ridge.forecasts(rows, ends, seen)
    assert whole.shape == (3, 3, 6)
    assert not whole.isnan().any()
    late = ridge.forecasts(rows[:, 40:], ends - 40, seen)
    torch.testing.assert_close(late, whole, rtol=1e-10, atol=1e-10)
    alone = ridge.forecasts(rows[1:2], ends, Seen(*(x[1:2] for x in seen)))
    torch.testing.assert_close(alone, whole[1:2], rtol=1e-10, atol=1e-10)
    each = ridge.forecasts(rows, ends.expand(3, 3), seen)
    torch.testing.assert_close(each, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_rows_without_any_value_give_numbers(spec):
    rows, ends = torch.full((2, 20), float("nan"), dtype=torch.float64), torch.tensor([0, 20])
    seen = seen_of(torch.zeros(2, 20, dtype=torch.float64), ends)
    assert Ridge(spec, 3).forecasts(rows, ends, seen).isfinite().all()


def test_a_young_stream_is_answered_by_the_look_backs_that_it_fills():
    spec = RidgeSpec((4, 8, 16))
    rows = waves(streams=4)[:, :40]
    edges = torch.tensor([0, 60, 160])
    many = torch.arange(16, 160)
    learned = learn([spec], waves(streams=4), many, seen_of(waves(streams=4), many), 3, edges)
    at = torch.arange(3, 20)
    found = learned.ridge.forecasts(rows, at, seen_of(rows, at))
    for age, lookbacks in ((3, (4,)), (7, (4,)), (8, (4, 8)), (15, (4, 8)), (16, (4, 8, 16))):
        one = Ridge(RidgeSpec(lookbacks), 3)
        parts = {2: learned.weights, 1: learned.younger[0], 0: learned.younger[1]}
        one.weights.copy_(parts[len(lookbacks) - 1])
        one.younger = None
        here = torch.tensor([age])
        torch.testing.assert_close(found[:, age - 3], one.forecasts(rows, here, seen_of(rows, here))[:, 0])


def test_a_short_stream_is_filled_up_with_its_first_row():
    spec = RidgeSpec((5,), "level")
    rows, ends = torch.tensor([[2.0, 3.0]], dtype=torch.float64), torch.tensor([2])
    seen = Seen(
        torch.full((1, 1, 3), 1.0, dtype=torch.float64),
        *(torch.zeros(1, 1, 1), torch.ones(1, 1), torch.zeros(1, 1, 3), torch.ones(1, 1)),
    )
    found = design(spec, rows, ends, seen)
    assert found.centre.item() == 2.0
    assert found.inputs[0, 0].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0, -1.0, -1.0, -1.0, 0.3]


def test_missing_targets_do_not_pull_to_the_mean():
    """A step of which one window in four was not seen has its sums divided by three quarters."""
    rows, ends = waves(), torch.arange(16, 150)
    sums = add_up(LONG, rows, ends, seen_of(rows, ends), 3, all_of(rows, ends))
    share = torch.tensor([1.0, 0.75, 0.5], dtype=torch.float64)
    fewer = sums._replace(cross=sums.cross * share, seen=sums.seen * share)
    torch.testing.assert_close(solve(LONG, fewer, 0.1), solve(LONG, sums, 0.1))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_targets_are_what_answers_take_back(spec):
    rows, ends = waves(1), torch.tensor([90])
    seen = seen_of(rows, ends)
    windows = design(spec, rows, ends, seen)
    x, goal = windows.inputs[0, 0], targets(spec, rows, ends, seen, windows, 6)[0, 0]
    said = answers(spec, (goal[:, None] * x / x.square().sum())[None], windows, seen)
    torch.testing.assert_close(said[0, 0], rows[0, 90:96], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("season", "horizon", "rows", "lookbacks"),
    [
        (24, 720, 8_640, (168, 336, 672)),
        (48, 336, 36_825, (336, 672, 1_344)),
        (96, 720, 34_560, (336, 672, 1_344)),
        (12, 18, 120, (13, 25)),
        (1, 6, 30, (2, 4)),
    ],
)
def test_lookbacks_follow_the_data(season, horizon, rows, lookbacks):
    assert automatic_lookbacks(season, horizon, rows)[0] == lookbacks


@pytest.mark.parametrize(
    "wrong",
    [
        {"lookbacks": ()},
        {"lookbacks": (5, 3)},
        {"lookbacks": (5,), "logs": True},
        {"lookbacks": (5,), "centre": "level", "profile": True},
    ],
)
def test_a_spec_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"lookbacks|logs|profile"):
        RidgeSpec(**wrong)
