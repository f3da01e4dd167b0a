"""Forward blocks: what is solved before a block knows nothing of it; weights of one's own only where streams differ."""

from dataclasses import replace

import pytest
import torch
from series.base.ridge_cases import seen_of, waves

from titans_ts.series.base.forward import learn, out_of_block, running_sums
from titans_ts.series.base.ridge import RidgeSpec

LONG = RidgeSpec((4, 8, 16))


def test_weights_of_ones_own_are_found_where_streams_differ():
    generator = torch.Generator().manual_seed(3)
    rows = torch.zeros(2, 600, dtype=torch.float64)
    for t in range(1, 600):
        rows[:, t] = torch.tensor([0.95, -0.95], dtype=torch.float64) * rows[:, t - 1]
        rows[:, t] += torch.randn(2, generator=generator, dtype=torch.float64)
    ends, edges = torch.arange(16, 601), torch.linspace(0, 600, 9).long()
    shared = RidgeSpec((8, 16))
    found = learn([shared, replace(shared, own=True)], rows, ends, seen_of(rows, ends), 3, edges, channels=2)
    assert found.spec.own
    assert found.weights.shape == (2, 3, 16)
    whole, seen = torch.cat([rows, rows]), seen_of(torch.cat([rows, rows]), ends)
    panel = learn([shared, replace(shared, own=True)], whole, ends, seen, 3, edges, channels=2)
    assert panel.weights.shape == (2, 3, 16)  # a channel's, of all series
    torch.testing.assert_close(panel.weights, found.weights)
    alike = rows[:1].expand(2, 600)
    both = learn([shared, replace(shared, own=True)], alike, ends, seen_of(rows, ends), 3, edges, channels=2)
    assert not both.spec.own
    first = out_of_block(found, rows, ends, seen_of(rows, ends), edges)[1:]
    alone = out_of_block(found.of_channels(torch.tensor([1])), rows[1:], ends, seen_of(rows[1:], ends), edges)
    torch.testing.assert_close(first, alone, equal_nan=True)
    ridge = found.ridge
    twice = ridge.forecasts(torch.cat([rows, rows]), ends[-2:], seen_of(torch.cat([rows, rows]), ends[-2:]))
    torch.testing.assert_close(twice[:2], twice[2:])


def test_a_forward_block_knows_nothing_of_what_follows():
    """Changing rows from a block on leaves the forecasts of the blocks before, and of its first origin, as they were."""
    rows, ends, edges = waves(rows=200), torch.arange(16, 201), torch.tensor([0, 50, 100, 150, 200])
    seen = seen_of(rows, ends)
    found = learn([LONG], rows, ends, seen, 6, edges, penalties=(0.1,))
    other = rows.clone()
    other[:, 100:] *= -3
    later = learn([LONG], other, ends, seen, 6, edges, penalties=(0.1,))
    a, b = out_of_block(found, rows, ends, seen, edges), out_of_block(later, other, ends, seen, edges)
    before = ends <= 100
    torch.testing.assert_close(a[:, before], b[:, before], equal_nan=True)
    assert a[:, ends < 50].isnan().all()
    assert not a[:, ends >= 50][:, :-1].isnan().any()
    assert not torch.allclose(a[:, ends > 150], b[:, ends > 150], equal_nan=True)


@pytest.mark.parametrize(("length", "seen_from"), [(12, 0), (60, 50)])
def test_no_ridge_stands_where_no_window_has_its_targets(length, seen_from):
    rows, ends = waves(rows=length), torch.arange(5, length + 1)
    rows[:, :seen_from] = float("nan")
    assert learn([LONG], rows, ends, seen_of(rows, ends), 30, torch.tensor([0, length // 2, length])) is None


def test_windows_of_a_block_are_measured_by_the_size_at_its_end():
    """The first sizes of a stream stand on a few rows; they would rule the sums."""
    rows, ends, edges = waves(rows=60), torch.arange(3, 61), torch.tensor([0, 30, 60])
    spec, seen = RidgeSpec((5,), "level"), seen_of(rows, ends)
    wild = seen._replace(size=torch.where(ends < 30, 1e-3, seen.size))
    for one, other in zip(
        running_sums(spec, rows, ends, seen, 4, edges)[-1], running_sums(spec, rows, ends, wild, 4, edges)[-1], strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("logs", [False, True])
def test_streams_of_different_lengths_are_judged_by_their_own_blocks(logs):
    """Rows that end together, of which some streams have few."""
    rows, ends, edges = waves(6, 60) + 3, torch.arange(3, 61), torch.tensor([0, 48, 54, 60])
    rows[0, :40], rows[1, :52], rows[2, :59] = float("nan"), float("nan"), float("nan")
    found = learn([RidgeSpec((9,), "level", logs=logs)], rows, ends, seen_of(rows, ends), 6, edges)
    assert found.weights.isfinite().all()
    assert found.forward[0] is None
    said = out_of_block(found, rows, ends, seen_of(rows, ends), edges)
    assert said[:, ends >= 48][:, :-1].isfinite().all()
