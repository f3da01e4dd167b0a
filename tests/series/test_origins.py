"""Origins: what a network sees of a series, and what followed, on the same scale."""

import numpy as np
import pytest
import torch
from series.cases import ALL_COVARIATES, NAN, make_config, make_series, rows_of
from tolerances import assert_agree

from titans_ts.series.tensors import join, look_back, read_tokens, to_device, tokens_at

F64 = torch.float64


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
