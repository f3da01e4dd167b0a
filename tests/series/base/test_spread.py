"""Distances, what moves them, and paths: cuts, gaps, neighbours, size, an oracle of plain loops, coverage."""

import numpy as np
import pytest
import torch

from titans_ts.series.base import calibration
from titans_ts.series.base import spread as spreads
from titans_ts.series.base.calibration import learn, learn_young
from titans_ts.series.base.spread import GRID, MISSES, draw_levels, initial, quantiles, read, sizes, tracked_steps

HORIZON, PATCH, SEASON = 20, 4, 12
FINE = [0.0001, 0.004, *GRID[::9], 0.9961, 0.9999]


def sample(spread, seen, point, size, paths, *, chance):
    """Return joint paths ``(s, n, f, paths)``, those of all origins of a stream at the same levels."""
    levels = draw_levels(spread, len(point), paths, chance=chance)
    return quantiles(spread, seen, point, size, levels[:, None])


def made(streams=3, rows=1200, seed=0):
    """Rows of noise whose size depends on the phase, and of a point 0: features know the stream's size only."""
    chance = np.random.default_rng(seed)
    own = chance.uniform(0.5, 4.0, (streams, 1))
    phase = 1 + 0.8 * np.sin(2 * np.pi * np.arange(rows) / SEASON)
    return torch.from_numpy(own * phase * (chance.standard_exponential((streams, rows)) - 1)), torch.from_numpy(own)


def learned(streams=8, rows=1200, seed=1):
    found, own = made(streams, rows, seed)
    origins = np.arange(PATCH, rows - HORIZON + 1, PATCH)
    errors = found.numpy()[:, origins[:, None] + np.arange(HORIZON)]
    features = own[:, None].expand(-1, len(origins), -1)
    return learn(torch.from_numpy(errors), features, origins=torch.from_numpy(origins), season=SEASON, patch=PATCH)


SPREAD = learned()


def heard(rows, own, *, cuts=(), spread=SPREAD, ends=None):
    """Read rows in pieces with points of 0; return what was seen at the end and the carry."""
    carry, begin = initial(spread, len(rows)), 0
    for end in (*cuts, rows.shape[1]):
        piece, count = rows[:, begin:end], end // spread.patch - begin // spread.patch
        points = torch.zeros(len(rows), count, *tracked_steps(spread.horizon).shape, dtype=torch.float64)
        asked = torch.tensor([piece.shape[1]]) if ends is None else ends
        seen, carry = read(spread, carry, piece, points, own[:, None].expand(-1, count, -1), begin=begin, ends=asked)
        begin = end
    return seen, carry


@pytest.mark.parametrize("cuts", [(1, 2, 3), (40, 41, 300), (7, 7, 500), tuple(range(1, 120))])
def test_any_cut_gives_the_same_state(cuts):
    rows, own = made()
    whole, pieces = heard(rows, own), heard(rows, own, cuts=cuts)
    for expected, found in zip((*whole[0], *whole[1]), (*pieces[0], *pieces[1]), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10, equal_nan=True)


def test_streams_do_not_know_each_other():
    rows, own = made()
    together, _ = heard(rows, own)
    alone, _ = heard(rows[1:2], own[1:2])
    for expected, found in zip(together, alone, strict=True):
        torch.testing.assert_close(found, expected[1:2], rtol=0, atol=1e-10)


def test_what_is_missing_is_not_heard():
    rows, own = made()
    gaps = rows.clone()
    gaps[0, 100:400] = float("nan")
    gaps[1] = float("nan")
    seen, carry = heard(gaps, own)
    assert all(bool(x.isfinite().all()) for x in seen)
    assert all(bool(x.isfinite().all()) for x in (carry.level, carry.profile, carry.factors))
    nothing = heard(rows[:, :0], own)[0]
    assert torch.equal(seen.factors[1], nothing.factors[1])
    assert torch.equal(seen.level[1], nothing.level[1])
    torch.testing.assert_close(seen.profile[1], nothing.profile[1])
    torch.testing.assert_close(seen.factors[2], heard(rows, own)[0].factors[2])


def test_ends_within_a_piece_are_what_shorter_readings_see():
    rows, own = made()
    found, _ = heard(rows, own, ends=torch.tensor([0, 3, 4, 5, 400, 1200]))
    for i, end in enumerate((0, 3, 4, 5, 400, 1200)):
        for several, one in zip(found, heard(rows[:, :end], own)[0], strict=True):
            torch.testing.assert_close(several[:, i], one[:, 0], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("horizon", "patch", "most"), [(96, 16, 1_200), (720, 16, 6_500), (1, 1, 300), (6, 2, 700)])
def test_the_state_is_small(horizon, patch, most):
    spread = SPREAD._replace(horizon=horizon, patch=patch, usual=torch.ones(tracked_steps(horizon).shape))
    assert sum(x.element_size() * x.numel() for x in initial(spread, 1)) <= most


def test_hearing_is_what_plain_loops_say():
    rows, own = made(2, 300, seed=3)
    seen, _ = heard(rows, own)
    tracked, fade = tracked_steps(HORIZON), 0.5 ** (PATCH / max(spreads.SEASONS * SEASON, spreads.FEWEST * PATCH))
    table, weights = spreads.distances_of(SPREAD), SPREAD.weights.numpy()
    middles, usual = tracked.mean(1), SPREAD.usual.numpy()
    for s, line in enumerate(rows.numpy()):
        unit, sums, levels = float(own[s, 0]), np.zeros((len(tracked), 2)), {}
        by_phase, factors = np.zeros((len(SPREAD.profile), 2)), np.zeros((len(tracked), 2))
        for boundary in range(PATCH, len(line) + 1, PATCH):
            prior = 4 * spreads.DOUBT
            profile = (by_phase[:, 0] + prior * SPREAD.profile.numpy()) / (by_phase[:, 1] + prior)
            sums, by_phase, moved = fade * sums, fade**0.25 * by_phase, factors.copy()
            for b, steps in enumerate(tracked):
                origin = boundary - PATCH * -(-steps[-1] // PATCH)
                if origin <= 0:
                    continue
                errors = line[origin + steps - 1]
                most = spreads.LARGEST_ERROR * unit * usual[b]
                sums[b] += np.minimum(abs(errors), most).mean(), (unit * usual[b]).mean()
                for step, error in zip(steps, errors, strict=True):
                    level = np.interp(step, middles, levels[origin])
                    scaled = error / np.exp(weights[0] + weights[3] * np.log(unit) + weights[1] * level)
                    phase = (origin + step - 1) % SEASON * len(profile) // SEASON
                    by_phase[phase] += (
                        min(abs(scaled) / SPREAD.typical[b, list(steps).index(step)], spreads.LARGEST_ERROR),
                        1,
                    )
                    for side, sign in enumerate((-1, 1)):
                        off = sign * (scaled / profile[phase] ** weights[2] - table[step - 1, 99])
                        factor = np.exp(np.interp(step, middles, factors[:, side]))
                        for miss in MISSES:
                            place = round(200 * (miss if sign < 0 else 1 - miss)) - 1
                            width = sign * (table[step - 1, place] - table[step - 1, 99])
                            share = (off > factor * width) - miss
                            moved[b, side] += float(SPREAD.pace) * share / len(MISSES) / len(steps)
            factors = np.clip(moved, -np.log(8), np.log(8))
            doubt = spreads.DOUBT * unit * usual.mean(1)
            levels[boundary] = np.log((sums[:, 0] + doubt) / (sums[:, 1] + doubt))
        np.testing.assert_allclose(seen.level[s, 0], levels[300], atol=1e-10)
        profile = (by_phase[:, 0] + prior * SPREAD.profile.numpy()) / (by_phase[:, 1] + prior)
        np.testing.assert_allclose(seen.profile[s, 0], np.log(profile), atol=1e-10)
        np.testing.assert_allclose(seen.factors[s, 0], factors, atol=1e-10)


def asked(levels, *, rows=1200, seed=5, streams=3):
    found, own = made(streams, rows, seed)
    origins = torch.arange(400, rows - HORIZON, 13)
    seen, _ = heard(found, own, ends=origins)
    size = sizes(SPREAD, seen, own[:, None].expand(-1, len(origins), -1), origins=origins)
    point = torch.zeros_like(size)
    truth = found[:, origins[:, None] + torch.arange(HORIZON)]
    return truth, point, size, seen, quantiles(SPREAD, seen, point, size, levels)


def test_levels_do_not_cross_and_reach_beyond_the_grid():
    seen = asked([0.5])[3]
    wild = seen._replace(factors=torch.full_like(seen.factors, -np.log(8)).index_fill(1, torch.tensor([0]), np.log(8)))
    point = torch.zeros(3, seen.level.shape[1], HORIZON, dtype=torch.float64)
    found = quantiles(SPREAD, wild, point, point + 1, FINE)
    assert bool(found.isfinite().all())
    assert bool((found.diff(dim=-1) >= 0).all())
    assert bool((found[..., -1] > found[..., -2]).all())


def test_intervals_hold_what_they_promise():
    truth, *_, found = asked([0.025, 0.1, 0.5, 0.9, 0.975])
    inside = [float(((found[..., i] <= truth) & (truth <= found[..., 4 - i])).double().mean()) for i in (0, 1)]
    assert inside == pytest.approx([0.95, 0.8], abs=0.04)
    assert float((truth < found[..., 2]).double().mean()) == pytest.approx(0.5, abs=0.05)
    assert float(found[..., 4].mean() + found[..., 0].mean()) > 0  # errors are skewed


def test_few_errors_are_told_wider_than_they_look():
    drawn = np.random.default_rng(0).standard_normal(9)
    few = calibration._quantiles(drawn, np.ones(9), 9)
    many = calibration._quantiles(np.tile(drawn, 100), np.ones(900), 900)
    assert few[-10] > many[-10]
    assert few[9] < many[9]
    assert few[-1] > drawn.max()
    np.testing.assert_allclose(few[99], np.median(drawn))


def test_a_break_is_followed_within_bounds():
    rows, own = made(4, 2400)
    broken = rows.clone()
    broken[:, 1200:] = rows[:, 1200:] * torch.tensor([1.0, 3.0, 1 / 3, 1e9])[:, None]
    seen, _ = heard(broken, own, ends=torch.arange(2000, 2380, PATCH))
    origins = torch.arange(2000, 2380, PATCH)
    size = sizes(SPREAD, seen, own[:, None].expand(-1, len(origins), -1), origins=origins)
    found = quantiles(SPREAD, seen, torch.zeros_like(size), size, [0.1, 0.9])
    truth = broken[:, origins[:, None] + torch.arange(HORIZON)]
    inside = ((found[..., 0] <= truth) & (truth <= found[..., 1])).double().mean((1, 2))
    assert all(0.68 < float(x) < 0.92 for x in inside[:2])
    assert 0.7 < float(inside[2]) < 0.97  # nine tenths lay inside a bound three times too wide
    assert float(seen.factors.abs().max()) <= np.log(8) + 1e-12


def test_paths_follow_the_quantiles_and_hang_together():
    truth, point, size, seen, found = asked([0.1, 0.5, 0.9], rows=460, streams=2)
    paths = sample(SPREAD, seen, point, size, 400, chance=np.random.default_rng(0))
    below = (paths[..., None] <= found[..., None, :]).double().mean((0, 1, 3))
    np.testing.assert_allclose(below, np.broadcast_to([0.1, 0.5, 0.9], below.shape), atol=0.02)
    again = sample(SPREAD, seen, point, size, 400, chance=np.random.default_rng(0))
    assert torch.equal(paths, again)
    few = sample(SPREAD, seen, point, size, 3, chance=np.random.default_rng(0))
    assert few.shape == (*truth.shape, 3)


def test_the_copula_keeps_how_steps_hang_together():
    chance = np.random.default_rng(0)
    walks = chance.standard_normal((4, 150, HORIZON)).cumsum(-1)
    origins = torch.arange(1, 151) * HORIZON
    spread = learn(
        torch.from_numpy(walks), torch.ones(4, 150, 1, dtype=torch.float64), origins=origins, season=1, patch=HORIZON
    )
    seen, _ = heard(torch.zeros(1, 0, dtype=torch.float64), torch.ones(1, 1), spread=spread)
    paths = sample(spread, seen, torch.zeros(1, 1, HORIZON), torch.ones(1, 1, HORIZON), 400, chance=chance)[0, 0].numpy()
    assert np.corrcoef(paths[9], paths[19])[0, 1] == pytest.approx(np.sqrt(0.5), abs=0.1)


def of_the_young(streams=40, until=60):
    """Errors that are four times larger while streams are young, and what is learned of them."""
    found, own = made(streams, until, seed=7)
    larger = 1 + 3 * (torch.arange(until) < until // 2)
    ends = np.arange(PATCH, until + 1, PATCH)
    beside = torch.from_numpy(np.random.default_rng(8).standard_exponential((streams, len(ends), HORIZON)) - 1)
    errors = own[..., None] * larger[ends - 1][:, None] * beside
    points = torch.zeros(streams, len(ends), *tracked_steps(HORIZON).shape, dtype=torch.float64)
    age = torch.from_numpy(ends).double().expand(streams, -1)
    features = own[:, None].expand(-1, len(ends), 2)
    both = SPREAD._replace(weights=torch.cat([SPREAD.weights, torch.zeros(1)]))
    spread = learn_young(both, found * larger, points, errors, features, age, until=until)
    return spread, found * larger, points, errors, features, age


def test_intervals_of_young_streams_are_as_wide_as_theirs_were():
    spread, rows, points, errors, features, age = of_the_young()
    ends = age[0].long()
    mature = spread._replace(young=spreads.GROWN_UP)
    for known, least in ((mature, 0.0), (spread, 0.74)):
        seen, _ = read(known, initial(known, len(rows)), rows, points, features, begin=0, ends=ends, age=age)
        size = sizes(known, seen, features, origins=ends, age=age)
        found = quantiles(known, seen, torch.zeros_like(size), size, [0.1, 0.9], age=age)
        inside = ((found[..., 0] <= errors) & (errors <= found[..., 1])).double().mean((0, 2))[:6].mean()
        assert least < inside < (0.86 if least else 0.6)
    assert not spread.young[-1, 1:].any()
    old = quantiles(spread, seen, size * 0, size, FINE, age=age + 60)
    assert torch.equal(old, quantiles(mature, seen, size * 0, size, FINE))
    young = quantiles(spread, seen, size * 0, size, FINE, age=age)
    assert bool((young.diff(dim=-1) >= 0).all())


def test_young_streams_are_heard_alike_at_any_cut():
    spread, rows, points, _, features, age = of_the_young(3)
    whole = read(spread, initial(spread, 3), rows, points, features, begin=0, ends=torch.tensor([60]), age=age)
    carry, done = initial(spread, 3), 0
    for end in (1, 7, 24, 25, 60):
        some = slice(done // PATCH, end // PATCH)
        given = rows[:, done:end], points[:, some], features[:, some]
        seen, carry = read(spread, carry, *given, begin=done, ends=torch.tensor([end - done]), age=age[:, some])
        done = end
    for expected, found in zip((*whole[0], *whole[1]), (*seen, *carry), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10, equal_nan=True)


def test_nothing_known_gives_finite_intervals():
    errors = torch.full((2, 1, 6), float("nan"), dtype=torch.float64)
    spread = learn(errors, torch.ones(2, 1, 1, dtype=torch.float64), origins=torch.tensor([6]), season=1, patch=6)
    seen, _ = heard(torch.zeros(2, 0, dtype=torch.float64), torch.ones(2, 1), spread=spread)
    point = torch.zeros(2, 1, 6, dtype=torch.float64)
    assert bool(quantiles(spread, seen, point, point + 1, FINE).isfinite().all())
    assert bool(sample(spread, seen, point, point + 1, 5, chance=np.random.default_rng(0)).isfinite().all())
