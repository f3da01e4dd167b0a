"""Windows and tokens of a series: a slow loop in numpy, hostile numbers, nothing from the future."""

import numpy as np
import pytest
import torch
from memory.cases import tokens
from series.cases import ALL_COVARIATES, NAN, make_config, make_network, make_series
from tolerances import assert_agree

from titans_ts.blocks.scale import Scale, long_run_scale, unknown_scale
from titans_ts.series.tensors import SPREAD_FLOOR, look_back, trailing_lookback

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
