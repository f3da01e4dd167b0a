"""Bounds that streams stay at: cuts, gaps, neighbours, and which extremes count."""

import numpy as np
import pytest
import torch

from titans_ts.series.base.bounds import bounds, initial, read, within


def rain(rows=400, seed=0):
    """Rain, humidity, pressure, a stream of one sign, one that is missing."""
    chance = np.random.default_rng(seed)
    noise = chance.standard_normal((5, rows))
    rows_of = np.stack(
        [noise[0].clip(0), (98 + noise[1] * 3).clip(None, 100), noise[2], 5 + noise[3] / 9, noise[4] * np.nan]
    )
    return torch.from_numpy(rows_of)


ZERO = torch.zeros(5, dtype=torch.float64)
INF = float("inf")
EXPECTED = torch.tensor([[0.0, INF], [0, 100], [-INF, INF], [0, INF], [-INF, INF]], dtype=torch.float64)


def test_extremes_that_are_often_reached_are_bounds():
    found, _ = read(rain(), initial(5), ends=torch.tensor([0, 400]), zero=ZERO)
    assert torch.equal(found[:, 0], torch.tensor([-INF, INF], dtype=torch.float64).expand(5, 2))
    assert torch.equal(found[:, 1], EXPECTED)


def test_zero_is_the_users():
    """On a scale of their own, rows of one sign stop where the user's zero lies."""
    found, _ = read((rain() - 3) / 2, initial(5), ends=torch.tensor([400]), zero=ZERO - 1.5)
    assert torch.equal(found[:, 0], (EXPECTED - 3) / 2)


def test_a_record_makes_old_rows_not_count():
    rows = rain()
    rows[0, 300] = -1.0
    found, _ = read(rows, initial(5), ends=torch.tensor([300, 400]), zero=ZERO)
    assert found[0, :, 0].tolist() == [0.0, -INF]


@pytest.mark.parametrize("cuts", [(1, 2, 3), (200,), (0, 50, 50), tuple(range(100))])
def test_any_cut_gives_the_same_state_and_answers(cuts):
    rows = rain()
    whole, after = read(rows, initial(5), ends=torch.tensor([60, 399, 400]), zero=ZERO)
    carry, begin = initial(5), 0
    for end in (*cuts, 400):
        _, carry = read(rows[:, begin:end], carry, ends=torch.tensor([], dtype=torch.long), zero=ZERO)
        begin = end
    for expected, found in zip(after, carry, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(bounds(carry, zero=ZERO), whole[:, 2])
    assert torch.equal(whole[:, :1], read(rows[:, :60], initial(5), ends=torch.tensor([60]), zero=ZERO)[0])


def test_streams_do_not_know_each_other():
    rows = rain()
    found, carry = read(rows[1:2], initial(1), ends=torch.tensor([400]), zero=ZERO[:1])
    assert torch.equal(found, read(rows, initial(5), ends=torch.tensor([400]), zero=ZERO)[0][1:2])
    assert sum(x.element_size() * x.numel() for x in carry) == 40


def test_values_stop_at_bounds():
    values = torch.tensor([-1.0, 0.5, 200.0], dtype=torch.float64).expand(5, 1, 2, 3)
    found = within(values, EXPECTED[:, None])
    assert found[:, 0, 0].tolist() == [[0, 0.5, 200], [0, 0.5, 100], [-1, 0.5, 200], [0, 0.5, 200], [-1, 0.5, 200]]
