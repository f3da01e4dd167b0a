"""Series as tokens: a slow loop in numpy, hostile numbers, nothing from the future, what followed, the calendar."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from memory.cases import tokens
from series.cases import ALL_COVARIATES, NAN, make_config, make_network, make_series, rows_of
from series.estimator_cases import one_step
from tolerances import assert_agree

from titans_ts import TitansForecaster
from titans_ts.blocks.scale import Scale, long_run_scale, unknown_scale
from titans_ts.frames.read import read_panel
from titans_ts.series.tensors import (
    AUTOMATIC,
    CYCLES,
    SPREAD_FLOOR,
    Foretold,
    Preparation,
    calendar_cycles,
    calendar_features,
    feature_count,
    join,
    look_back,
    read_tokens,
    to_device,
    tokens_at,
    trailing_lookback,
)

F64 = torch.float64


def by_loop(rows: np.ndarray, end: int, level: float, spread: float, lookback: int):
    """Return values, observed, mean and deviation of one window of one channel."""
    window = np.full(lookback, np.nan)
    here = rows[max(end - lookback, 0) : end]
    if len(here):
        window[-len(here) :] = (here - level) / spread
    there = ~np.isnan(window)
    mean = window[there].mean() if there.any() else 0.0
    deviation = max(window[there].std() if there.sum() > 1 else 1.0, SPREAD_FLOOR)
    return np.where(there, (window - mean) / deviation, 0.0), there, mean, deviation


def hostile() -> torch.Tensor:
    rows = tokens(3, 2, 40)
    rows[0, 0, ::3] = NAN
    rows[0, 1, 5:30] = NAN  # whole windows of nothing
    rows[1, 0] = 7.0  # constant
    rows[1, 1, 10:25] = 3.0  # constant for a while
    rows[2, 0, 17] = 1e9  # a spike
    rows[2, 1] += 1e6
    return rows


@pytest.mark.parametrize("lookback", [1, 6, 50])
def test_equals_a_slow_loop(lookback):
    rows = hostile()
    scale = long_run_scale(rows)
    ends = torch.tensor([0, 1, 2, 6, 7, 18, 24, 39, 40, 3, 3])  # in any order, twice too
    found = trailing_lookback(rows, ends, scale, lookback=lookback, dtype=F64)
    for b in range(3):
        for c in range(2):
            for n, end in enumerate(ends.tolist()):
                true = by_loop(rows[b, c].numpy(), end, float(scale.level[b, c]), float(scale.spread[b, c]), lookback)
                for name, x, y in zip(found._fields, found, true, strict=True):
                    assert_agree(x[b, c, n], torch.as_tensor(y, dtype=F64), name=f"{name} of {b, c} at {end}")


def test_a_window_is_undone_by_its_own_level_and_spread():
    rows = tokens(1, 2, 30) * 50 + 1000
    scale = long_run_scale(rows)
    found = trailing_lookback(rows, torch.tensor([20]), scale, lookback=8, dtype=F64)
    relative = found.values * found.spread[..., None] + found.level[..., None]
    back = relative * scale.spread[..., None, None] + scale.level[..., None, None]
    assert_agree(back[:, :, 0], rows[:, :, 12:20])


@pytest.mark.parametrize("offset", [1e6, 1e9, 1e12])
def test_a_big_offset_keeps_the_small_signal(offset):
    signal = (tokens(1, 1, 60) * 1000).round()  # whole numbers: the offset adds no rounding
    plain, shifted = signal, signal + offset
    windows = [
        trailing_lookback(x, torch.tensor([20, 45, 60]), long_run_scale(x), lookback=16, dtype=F64) for x in (plain, shifted)
    ]
    assert (windows[0].values - windows[1].values).abs().max() < 1e-9
    in_units = [w.spread * long_run_scale(x).spread for w, x in zip(windows, (plain, shifted), strict=True)]
    assert_agree(in_units[1], in_units[0])


def test_a_spike_leaves_with_its_window():
    """Statistics come from the window, not from running sums, which would not recover."""
    calm = tokens(1, 1, 60)
    loud = calm.clone()
    loud[0, 0, 20] = 1e9
    scale = long_run_scale(calm)
    ends = torch.arange(1, 61)
    before, after = (trailing_lookback(x, ends, scale, lookback=8, dtype=F64) for x in (calm, loud))
    touched = (ends > 20) & (ends <= 28)
    for a, b in zip(before, after, strict=True):
        assert torch.isfinite(b).all()
        assert torch.equal(a[:, :, ~touched], b[:, :, ~touched])
    assert (before.spread != after.spread)[0, 0].nonzero().flatten().tolist() == touched.nonzero().flatten().tolist()


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("level", [0.0, 1e6, 1e12])
def test_float32_answers_as_float64_does(level, missing):
    """Differences from the long-run level are taken before numbers are shortened."""
    rows = tokens(1, 1, 60) * 3e-6 * max(level, 1.0) + level
    if missing:
        rows[0, 0, ::7] = NAN
    ends = torch.tensor([20, 45, 60])
    short, long = (trailing_lookback(rows, ends, long_run_scale(rows), lookback=16, dtype=d) for d in (torch.float32, F64))
    for name, a, b in zip(short._fields, short, long, strict=True):
        assert a.dtype == torch.float32
        assert_agree(a, b, name=name)


@pytest.mark.parametrize("spike", [1e9, 1e20, 9.96921e36, 1e60, 1e200])
@pytest.mark.parametrize("missing", [False, True])
def test_a_spike_of_any_size_gives_finite_windows(spike, missing):
    """9.97e36 is what netCDF writes where nothing was measured."""
    rows = tokens(1, 1, 60)
    scale = long_run_scale(rows)
    rows[0, 0, 20] = spike
    if missing:
        rows[0, 0, 18] = NAN
    windows = trailing_lookback(rows, torch.arange(1, 61), scale, lookback=16)
    for name, x in zip(windows._fields, windows, strict=True):
        assert torch.isfinite(x).all(), name
    assert torch.isfinite(windows.spread.log()).all()


@pytest.mark.parametrize("variant", ["rows", "windows"])
def test_nothing_leaks_from_after_an_origin(variant):
    config = make_config(**ALL_COVARIATES)
    series = make_series(config, 40, missing=0.2)
    later = make_series(config, 40, missing=0.2)
    end = 23
    later.rows[:, end:] = 1e9
    later.past[end:] = -5
    later.calendar[end:] = 9
    if variant == "rows":
        before, after = (
            trailing_lookback(x.rows[None], torch.tensor([5, 14, end]), series.scale, lookback=12) for x in (series, later)
        )
        pairs = list(zip(before, after, strict=True))
    else:
        before, after = (look_back(x, torch.tensor([5, 14, end]), config) for x in (series, later))
        pairs = [*zip(before[0], after[0], strict=True), *zip(before[1], after[1], strict=True)]
    assert all(torch.equal(a, b) for a, b in pairs)


def test_an_origin_does_not_depend_on_the_others():
    rows = hostile()
    scale = long_run_scale(rows)
    together = trailing_lookback(rows, torch.tensor([3, 17, 40]), scale, lookback=6, dtype=F64)
    for n, end in enumerate([3, 17, 40]):
        alone = trailing_lookback(rows, torch.tensor([end]), scale, lookback=6, dtype=F64)
        assert all(torch.equal(x[:, :, n : n + 1], y) for x, y in zip(together, alone, strict=True))


def test_rows_of_two_axes_are_refused():
    with pytest.raises(ValueError, match=r"rows has shape \(2, 9\); expected 3 axes, \(b, c, t\)"):
        trailing_lookback(torch.zeros(2, 9), torch.tensor([3]), Scale(*torch.zeros(2, 2, 1)), lookback=4)


def test_long_run_scale_is_mean_and_deviation_of_what_was_observed():
    rows = hostile()
    scale = long_run_scale(rows)
    for b, c in ((0, 0), (0, 1), (1, 1), (2, 0), (2, 1)):
        x = rows[b, c].numpy()
        assert float(scale.level[b, c]) == pytest.approx(np.nanmean(x), rel=1e-12)
        assert float(scale.spread[b, c]) == pytest.approx(np.nanstd(x), rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 1e12, NAN])
def test_long_run_scale_of_a_constant_or_nothing_has_spread_one(value):
    scale = long_run_scale(torch.full((1, 1, 30), value, dtype=F64))
    assert scale.spread.item() == 1.0
    assert scale.level.item() == pytest.approx(0.0 if value != value else value)


def test_unknown_scale_says_so():
    scale = unknown_scale(3)
    assert scale.level.shape == scale.spread.shape == (1, 3)
    assert all(x.isnan().all() for x in scale)


# --- tokens -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_token_reads_its_last_patch_and_nothing_before():
    network = make_network()
    series = make_series(network.config, 40)
    windows, extras = look_back(series, torch.tensor([30]), network.config, dtype=F64)
    before = network.embedding(windows, extras)
    older = windows.values.clone()
    older[..., : -network.config.patch_length] = 99.0
    assert torch.equal(network.embedding(windows._replace(values=older), extras), before)
    for name in ("values", "observed", "level", "spread"):
        x = getattr(windows, name).clone()
        x[..., -1] += 0.5
        assert not torch.equal(network.embedding(windows._replace(**{name: x}), extras), before), name


@torch.no_grad()
def test_every_covariate_but_the_future_reaches_the_token():
    network = make_network(**ALL_COVARIATES)
    series = make_series(network.config, 40, beyond=5)
    windows, extras = look_back(series, torch.tensor([30]), network.config, dtype=F64)
    before = network.embedding(windows, extras)
    for name in ("calendar", "past", "static"):
        changed = extras._replace(**{name: getattr(extras, name) + 0.5})
        assert not torch.equal(network.embedding(windows, changed), before), name
    assert torch.equal(network.embedding(windows, extras._replace(future=extras.future + 1)), before)


@torch.no_grad()
def test_channels_are_told_apart():
    network = make_network()
    series = make_series(network.config, 40)
    series.rows[1] = series.rows[0]
    series.scale.level[:, 1], series.scale.spread[:, 1] = series.scale.level[:, 0], series.scale.spread[:, 0]
    embedded = network.embedding(*look_back(series, torch.tensor([30]), network.config, dtype=F64))
    assert (embedded[0] - embedded[1]).abs().max() > 1e-3
    names = network.embedding.names.weight
    assert_agree(embedded[0] - embedded[1], (names[0] - names[1]).expand(1, -1))


@torch.no_grad()
def test_a_mixed_token_holds_all_channels():
    network = make_network(mixed=True)
    series = make_series(network.config, 40)
    windows, extras = look_back(series, torch.tensor([30]), network.config, dtype=F64)
    before = network.embedding(windows, extras)
    assert before.shape == (1, 1, 8)
    for channel in range(2):
        values = windows.values.clone()
        values[:, channel, :, -1] += 1
        assert not torch.equal(network.embedding(windows._replace(values=values), extras), before)


@torch.no_grad()
def test_evaluation_draws_no_chance():
    network = make_network()
    seen = look_back(make_series(network.config, 40), torch.tensor([20, 30]), network.config, dtype=F64)
    state = torch.get_rng_state()
    assert torch.equal(network.embedding(*seen), network.embedding(*seen))
    assert torch.equal(torch.get_rng_state(), state)


# --- tokens with what followed ----------------------------------------------------------------------------------------


def in_units(x, origins, series, mixed):
    """Return targets or values in the series' own units, ``(channels, n, ...)``."""
    extra = x.ndim - origins.lookback.level.ndim
    level, spread = (y.reshape(*y.shape, *[1] * extra) for y in (origins.lookback.level, origins.lookback.spread))
    long_run = x * spread + level  # b c n ...
    long_run = long_run[0] if mixed else long_run[:, 0]
    shape = (-1, *[1] * (long_run.ndim - 1))
    return long_run * series.scale.spread[0].reshape(shape) + series.scale.level[0].reshape(shape)


@pytest.mark.parametrize("mixed", [False, True])
def test_targets_are_the_rows_that_followed(mixed):
    config = make_config(mixed=mixed, channels=3)
    series = make_series(config, 40, missing=0.1)
    ends = torch.tensor([1, 7, 12, 33, 38, 40])
    origins = read_tokens(series, ends, config, dtype=F64)
    found = in_units(origins.target, origins, series, mixed)
    padded = np.concatenate([series.rows.numpy(), np.full((3, 10), np.nan)], axis=1)
    for n, end in enumerate(ends.tolist()):
        true = torch.from_numpy(padded[:, end : end + 5])
        assert torch.equal(found[:, n].isnan(), true.isnan()), end
        assert_agree(found[:, n].nan_to_num(), true.nan_to_num())


@pytest.mark.parametrize("mixed", [False, True])
def test_windows_are_the_rows_before(mixed):
    config = make_config(mixed=mixed, channels=3)
    series = make_series(config, 40)
    origins = read_tokens(series, torch.tensor([12, 25]), config, dtype=F64)
    found = in_units(origins.lookback.values, origins, series, mixed)
    assert_agree(found[:, 0], series.rows[:, :12])
    assert_agree(found[:, 1], series.rows[:, 13:25])


def test_covariates_are_those_of_their_rows():
    config = make_config(**ALL_COVARIATES)
    series = make_series(config, 40, missing=0.3, beyond=10)
    ends = torch.tensor([2, 9, 36, 40])
    _, extras = look_back(series, ends, config, dtype=F64)
    padded = torch.cat([torch.full((4, 2), NAN, dtype=F64), series.past])
    for n, end in enumerate(ends.tolist()):
        patch = padded[end : end + 4]
        expected = torch.cat([patch.nan_to_num(), patch.isnan().double()], dim=-1).flatten()
        for stream in range(2):
            assert torch.equal(extras.calendar[stream, n], series.calendar[end - 1])
            assert torch.equal(extras.past[stream, n], expected), end
            assert torch.equal(extras.future[stream, n], series.future[end : end + 5])
    assert torch.equal(extras.static, series.static.expand(2, -1))
    assert extras.channel.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("which", "starts"),
    [
        pytest.param([0, 1, 2], [0, 9, 4], id="three series"),
        pytest.param([1, 0, 1, 1], [9, 0, 3, 9], id="one of them three times, near"),
        pytest.param([3, 0, 3], [180, 0, 2], id="one of them twice, far apart"),
    ],
)
def test_several_series_from_several_starts_are_each_as_alone(which, starts):
    config = make_config(**ALL_COVARIATES)
    known = [make_series(config, length, seed=10 * length, beyond=5) for length in (20, 30, 25, 200)]
    many, ends = [known[i] for i in which], torch.tensor([4, 8, 16])
    found = tokens_at(many, starts, ends, config, dtype=F64)
    for i, (one, start) in enumerate(zip(many, starts, strict=True)):
        alone = read_tokens(one, ends + start, config, dtype=F64)
        streams = slice(2 * i, 2 * i + 2)
        assert torch.equal(found.target[streams].isnan(), alone.target.isnan())
        torch.testing.assert_close(found.target[streams].nan_to_num(), alone.target.nan_to_num(), rtol=1e-12, atol=1e-12)
        for a, b in zip([*found.lookback, *found.covariates], [*alone.lookback, *alone.covariates], strict=True):
            torch.testing.assert_close(a[streams], b, rtol=1e-12, atol=1e-12)


def test_past_a_series_end_there_is_no_target_and_nothing_that_is_not_finite():
    config = make_config(**ALL_COVARIATES)
    many = [make_series(config, length, seed=length) for length in (20, 40)]
    found = tokens_at(many, [0, 2], torch.tensor([16, 20, 24, 36]), config)
    short, long = found.target[:2], found.target[2:]
    assert short[:, :, 0].isnan().sum() == 2  # rows 20 of 16 ... 20, for each channel
    assert short[:, :, 1:].isnan().all()
    assert torch.isfinite(long[:, :, :3]).all()
    assert all(torch.isfinite(x.double()).all() for x in [*found.lookback, *found.covariates])


def test_the_head_of_a_series_knows_nothing_of_the_rest():
    config = make_config(**ALL_COVARIATES)
    series = make_series(config, 40)
    head = series.head(25)
    assert head.length == 25
    whole = rows_of(series, 0, 25)
    for name in ("rows", "calendar", "past", "future"):
        assert torch.equal(getattr(head, name), getattr(whole, name)), name
    origins = read_tokens(head, torch.tensor([22, 25]), config)
    assert origins.target[:, :, 0].isnan().sum() == 2 * 2
    assert origins.target[:, :, 1].isnan().all()


# --- what a base foretold ---------------------------------------------------------------------------------------------


def numbered_forecasts(first: int = 6, step: int = 3, count: int = 5, channels: int = 2, horizon: int = 5) -> Foretold:
    """Return forecasts that say after how many rows they were made, of which channel, and for which step."""
    rows = first + step * torch.arange(count, dtype=F64)
    point = rows[:, None] + 1000 * torch.arange(channels)[:, None, None] + 0.1 * torch.arange(horizon, dtype=F64)
    return Foretold(point, first, step)


@pytest.mark.parametrize("passed", [0, 1, 6, 7, 40])
def test_forecasts_are_found_by_the_rows_read_before_them_and_nowhere_else(passed):
    ends = torch.tensor([0, 5, 6, 7, 9, 17, 18, 19, 21, 300, 9])
    found = numbered_forecasts().after(passed).at(ends - passed)
    assert found.shape == (2, len(ends), 5)
    for place, end in enumerate(ends.tolist()):
        if end in (6, 9, 12, 15, 18):
            wanted = end + 1000 * torch.arange(2)[:, None] + 0.1 * torch.arange(5, dtype=F64)
            assert_agree(found[:, place], wanted)
        else:
            assert found[:, place].isnan().all()


def test_of_no_forecasts_none_is_found():
    empty = Foretold(torch.zeros(2, 0, 5), 0, 4)
    assert empty.at(torch.tensor([0, 4, 8])).isnan().all()
    assert empty.at(torch.tensor([0, 4, 8])).shape == (2, 3, 5)


@pytest.mark.parametrize("mixed", [False, True])
def test_a_token_holds_what_was_foretold_on_its_look_backs_scale(mixed):
    config = make_config(mixed=mixed)
    plain = make_series(config, 60, missing=0.1)
    one = replace(plain, foretold=numbered_forecasts(first=8, step=4, count=9))
    ends = torch.tensor([4, 8, 12, 14, 40, 44, 60])
    known = torch.tensor([end in range(8, 44, 4) for end in ends.tolist()])
    without, found = (read_tokens(x, ends, config, dtype=F64) for x in (plain, one))
    assert without.base is None
    long_run = (found.base * found.lookback.spread[..., None] + found.lookback.level[..., None]).flatten(0, 1)
    assert_agree(long_run[:, known], one.foretold.at(ends)[:, known])
    assert (found.base[:, :, ~known] == 0).all(), "no number that is not finite comes near a network"
    assert found.target[:, :, ~known].isnan().all(), "nothing is to be learned where nothing was foretold"
    assert torch.equal(found.target[:, :, known].nan_to_num(7.0), without.target[:, :, known].nan_to_num(7.0))


def test_a_forecast_of_some_steps_only_leaves_the_others_without_a_target():
    config = make_config()
    said = numbered_forecasts(first=8, step=4, count=9)
    said.point[0, 2, 3:] = NAN
    found = read_tokens(replace(make_series(config, 60), foretold=said), torch.tensor([16]), config, dtype=F64)
    assert found.target[0, 0, 0].isnan().tolist() == [False] * 3 + [True] * 2
    assert not found.target[1].isnan().any()
    assert torch.isfinite(found.base).all()


def test_parts_and_several_starts_find_the_same_forecasts():
    config = make_config()
    one = replace(make_series(config, 60), foretold=numbered_forecasts(first=8, step=4, count=9))
    ends = torch.tensor([4, 8, 12])
    whole = read_tokens(one, ends + 20, config, dtype=F64)
    side_by_side = tokens_at([one, one.part(16, 60)], [20, 4], ends, config, dtype=F64)
    assert_agree(side_by_side.base[:2], whole.base)
    there = one.foretold.at(ends + 20)
    assert_agree(one.part(20, 60).foretold.at(ends), there)
    assert_agree(one.part(8, 60).part(12, 52).foretold.at(ends), there)
    assert one.head(30).foretold.at(torch.tensor([28])).equal(one.foretold.at(torch.tensor([28])))
    assert_agree(side_by_side.target[:2], whole.target)


def test_join_and_to_device_keep_order_and_kind():
    config = make_config()
    parts = [read_tokens(make_series(config, 30, seed=s), torch.tensor([10, 20]), config) for s in (0, 50)]
    both = to_device(join(parts), torch.device("cpu"))
    assert type(both) is type(parts[0])
    assert torch.equal(both.target[2:], parts[1].target)
    assert torch.equal(both.lookback.values[:2], parts[0].lookback.values)
    assert both.covariates.channel.tolist() == [0, 1, 0, 1]


def test_a_part_of_a_series_holds_the_same_rows_of_everything():
    config = make_config(**ALL_COVARIATES)
    series = make_series(config, 30)
    whole, part = rows_of(series, 0, 30), series.part(7, 50)
    assert (part.length, series.head(4).length) == (23, 4)
    for found, expected in ((part, rows_of(series, 7, 30)), (series.head(4), rows_of(series, 0, 4))):
        assert whole.length == 30
        for name in ("rows", "calendar", "past", "future", "static"):
            assert torch.equal(getattr(found, name).nan_to_num(), getattr(expected, name).nan_to_num()), name
        assert found.scale is series.scale


# --- the calendar -----------------------------------------------------------------------------------------------------


START = np.datetime64("2023-12-30T00:00", "s")


def at(*stamps: str, cycles=("day", "week", "year")) -> np.ndarray:
    return calendar_features(np.array(stamps, dtype="datetime64[s]"), cycles, len(stamps))


@pytest.mark.parametrize("cycle", AUTOMATIC)
def test_a_cycle_returns_after_its_length_and_not_before(cycle):
    length = np.timedelta64(int(CYCLES[cycle]), "s")
    first = calendar_features(np.array([START]), (cycle,), 1)
    assert np.abs(calendar_features(np.array([START + length]), (cycle,), 1) - first).max() < 1e-5
    for share in (2, 3, 7):
        assert np.abs(calendar_features(np.array([START + length // share]), (cycle,), 1) - first).max() > 0.2


@pytest.mark.parametrize("cycle", AUTOMATIC)
def test_features_move_little_from_hour_to_hour(cycle):
    times = START + np.arange(24 * 400) * np.timedelta64(1, "h")
    features = calendar_features(times, (cycle,), len(times))
    waves = feature_count((cycle,)) // 2
    step = 2 * np.pi * waves * 3600 / CYCLES[cycle]
    assert np.abs(np.diff(features, axis=0)).max() <= step * 1.01 + 1e-5, "a jump at a midnight, a Monday or a new year"


def test_a_month_begins_anew_on_its_first_day_however_long_it_is():
    february, march, april = (at(day, cycles=("month",)) for day in ("2023-02-01", "2023-03-01", "2023-04-01"))
    np.testing.assert_allclose(february, march, atol=1e-6)
    np.testing.assert_allclose(march, april, atol=1e-6)
    assert np.abs(at("2023-02-15", cycles=("month",)) - march).max() > 0.5


def test_every_day_of_the_week_is_told_from_every_other():
    days = calendar_features(START + np.arange(7) * np.timedelta64(1, "D"), ("week",), 7)
    apart = np.linalg.norm(days[:, None] - days[None], axis=-1)
    assert apart[~np.eye(7, dtype=bool)].min() > 0.5


def test_weeks_begin_on_mondays():
    monday = at("2024-01-01T00:00", cycles=("week",))[0]
    assert monday == pytest.approx([0.0, 1.0] * (len(monday) // 2), abs=1e-6)


def test_midnight_is_the_start_of_the_day_in_any_decade():
    for stamp in ("1950-03-01T00:00", "1970-01-01T00:00", "2024-02-29T00:00"):
        features = at(stamp, cycles=("day",))[0]
        assert features == pytest.approx([0.0, 1.0] * (len(features) // 2), abs=1e-6)


def test_units_of_the_stamps_do_not_matter():
    stamps = START + np.arange(50) * np.timedelta64(37, "m")
    features = [calendar_features(stamps.astype(f"datetime64[{unit}]"), ("day", "week"), 50) for unit in ("s", "ms", "ns")]
    assert np.array_equal(features[0], features[1])
    assert np.array_equal(features[0], features[2])


def test_no_stamps_give_zeros_and_no_cycles_no_columns():
    assert not calendar_features(None, ("day",), 9).any()
    assert calendar_features(None, ("day",), 9).shape == (9, 4)
    assert calendar_features(np.array([START]), (), 1).shape == (1, 0)


@pytest.mark.parametrize("cycles", [(), ("day",), ("week", "year"), ("day", "week", "year")])
def test_the_count_is_the_width(cycles):
    assert calendar_features(np.array([START]), cycles, 1).shape[1] == feature_count(cycles)


@pytest.mark.parametrize(
    ("seconds", "cycles"),
    [
        (60.0, ("day", "week", "year")),
        (43_200.0, ("day", "week", "year")),  # two a day
        (43_201.0, ("week", "year")),
        (7 * 86_400.0, ("year",)),
        (200 * 86_400.0, ()),
        (None, ()),
    ],
)
def test_only_cycles_of_two_steps_or_more_are_used(seconds, cycles):
    assert calendar_cycles(seconds) == cycles


# --- what training rows say -------------------------------------------------------------------------------------------


SMALL = {"horizon": 4, "lookback": 24, "patch_length": 8, "layers": 0, "max_steps": 2, "validation_fraction": 0.2}


@pytest.mark.parametrize(("days", "cycles"), [(10, ("day",)), (900, ("day", "week")), (912, ("day", "week", "year"))])
def test_a_cycle_counts_once_training_has_seen_it_twice(days, cycles):
    """Of 900 days, 720 are for training, less than two years; of 912, 729.6."""
    times = pd.date_range("2023-01-01", periods=4 * days, freq="6h")
    frame = pd.DataFrame({"load": np.sin(np.arange(4 * days))}, index=times)
    assert TitansForecaster(**SMALL, callbacks=[one_step]).fit(frame).preparation_.cycles == cycles


def test_a_series_in_a_time_zone_is_read_on_the_clock_of_its_wall():
    """Summer time included: the hours of two days around the change of clocks in Melbourne."""
    times = pd.date_range("2024-04-06", periods=48, freq="h", tz="Australia/Melbourne")
    panel = read_panel(pd.DataFrame({"load": np.arange(48.0)}, index=times))
    [series] = panel
    preparation = replace(Preparation.learn(panel, [48]), cycles=("day",))
    found = preparation.tensors(series, unknown_scale(1)).calendar
    np.testing.assert_array_equal(found, calendar_features(times.tz_localize(None).to_numpy(), ("day",), 48))
    assert not np.allclose(found, calendar_features(times.tz_convert("UTC").tz_localize(None).to_numpy(), ("day",), 48))
