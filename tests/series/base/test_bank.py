import numpy as np
import pytest
import torch

from titans_ts.blocks.scale import Scale, long_run_scale
from titans_ts.series.base.bank import DAMPED, NAMES, STEPS, Bank, BankCarry, BankSeen

HORIZON = 9


def made(streams: int, rows: int, season: int, seed: int = 0) -> tuple[torch.Tensor, Scale]:
    chance = np.random.default_rng(seed)
    t = np.arange(rows)
    raw = 50 + 0.05 * t + 8 * np.sin(2 * np.pi * t / season) + chance.normal(0, 2, (streams, rows)).cumsum(1) / 2
    raw = torch.from_numpy(raw + chance.normal(0, 2, raw.shape))
    level, spread = (each[:, 0] for each in long_run_scale(raw[:, None]))
    return (raw - level[:, None]) / spread[:, None], Scale(level, spread)


def read_in(bank: Bank, rows: torch.Tensor, scale: Scale, cuts: list[int], ends: list[int]) -> tuple[BankSeen, BankCarry]:
    """Read rows in pieces, and join what is seen at ``ends``."""
    carry, found, at = bank.initial(len(rows)), [], 0
    for stop in [*cuts, rows.shape[1]]:
        here = torch.tensor([end - at for end in ends if at < end <= stop or end == at == 0], dtype=torch.int64)
        seen, carry = bank.read(rows[:, at:stop], scale, carry, here)
        found.append(seen)
        at = stop
    return BankSeen(*(torch.cat(parts, 1) for parts in zip(*found, strict=True))), carry


def close(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...], tolerance: float = 1e-10) -> None:
    for name, a, b in zip(one._fields if hasattr(one, "_fields") else range(9), one, other, strict=True):
        assert not a.isnan().any(), name
        assert torch.allclose(a, b, atol=tolerance, rtol=tolerance), (name, (a - b).abs().max())


@pytest.mark.parametrize("season", [1, 2, 5, 12, 30])
@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_any_cut_gives_the_same(season, gaps):
    rows, scale = made(3, 90, season)
    chance = np.random.default_rng(1)
    rows[torch.from_numpy(chance.random(rows.shape) < gaps)] = float("nan")
    rows[1, :17] = float("nan")
    rows[2, 40:80] = float("nan") if gaps else rows[2, 40:80]
    bank, ends = Bank(season), [0, 1, 2, 7, 13, 25, 26, 50, 89, 90]
    whole, carry = read_in(bank, rows, scale, [], ends)
    for cuts in ([1], [25, 26, 60], list(range(1, 90)), [16, 17, 18, 19]):
        seen, end = read_in(bank, rows, scale, cuts, ends)
        close(seen, whole)
        close(end, carry)
    assert bank.forecasts(whole, HORIZON).isfinite().all()


def test_pieces_inside_a_call_do_not_show(monkeypatch):
    rows, scale = made(3, 90, 5)
    whole = read_in(Bank(5), rows, scale, [], [0, 4, 44, 90])
    monkeypatch.setattr("titans_ts.series.base.bank.MOST_NUMBERS", 1000)
    for one, other in zip(read_in(Bank(5), rows, scale, [], [0, 4, 44, 90]), whole, strict=True):
        close(one, other)


def test_streams_do_not_know_each_other_and_padding_does_not_show():
    rows, scale = made(4, 60, 4)
    lengths = torch.tensor([60, 13, 6, 1])
    padded = rows.clone()
    for i, n in enumerate(lengths):
        padded[i, n:] = float("nan")
    bank = Bank(4)
    ends = torch.stack([lengths - lengths // 2, lengths], 1)
    together = bank.read(padded, scale, bank.initial(4), ends, lengths)
    for i, n in enumerate(lengths):
        own = bank.read(rows[i : i + 1, :n], Scale(*(each[i : i + 1] for each in scale)), bank.initial(1), ends[i])
        for one, other in zip(own, together, strict=True):
            close(one, type(other)(*(each[i : i + 1] for each in other)))


def test_nothing_is_known_of_rows_to_come():
    rows, scale = made(2, 50, 4)
    rows[0, :9] = float("nan")
    changed = rows.clone()
    changed[:, 30:] = 7.0
    one, other = (
        Bank(4).read(each, scale, Bank(4).initial(2), torch.tensor([0, 5, 9, 10, 30]))[0] for each in (rows, changed)
    )
    close(one, other, 0)


def classical(x: np.ndarray, m: int) -> np.ndarray:
    """The profile by classical decomposition, for rows whose season is strong."""
    weights = np.ones(m) / m if m % 2 else np.r_[0.5, np.ones(m - 1), 0.5] / m
    mean = np.convolve(x, weights, "valid")
    rest, phase = x[m // 2 :][: len(mean)] - mean, np.arange(m // 2, m // 2 + len(mean)) % m
    profile = np.array([rest[phase == k].mean() for k in range(m)])
    return profile - profile.mean()


def theta(x: np.ndarray, horizon: int, share: float = 0.5) -> list[tuple[float, np.ndarray]]:
    """Loss and forecast of each step."""
    slope, answers = np.polyfit(np.arange(len(x)), x, 1)[0], []
    for step in STEPS:
        level, loss = x[0], 0.0
        for value in x[1:]:
            loss += (value - level) ** 2
            level += step * (value - level)
        drift = slope * (share * np.arange(horizon) + (1 - (1 - step) ** len(x)) / step / 2)
        answers.append((loss, level + drift))
    return answers


def drift(x: np.ndarray, horizon: int) -> list[tuple[float, np.ndarray]]:
    return theta(x, horizon, 1.0)


def damped(x: np.ndarray, horizon: int) -> list[tuple[float, np.ndarray]]:
    """Loss and forecast of each smoother."""
    answers = []
    for step, lift, keep in DAMPED:
        level, trend, loss = x[0], 0.0, 0.0
        for value in x[1:]:
            error = value - level - keep * trend
            loss += error**2
            level, trend = level + keep * trend + step * error, keep * trend + step * lift * error
        answers.append((loss, level + trend * np.cumsum(keep ** np.arange(1, horizon + 1))))
    return answers


@pytest.mark.parametrize("season", [1, 4, 5])
def test_it_forecasts_as_the_batch_form_does(season):
    rows, scale = made(3, 83, season, seed=4)
    rows = rows + 3 * torch.sin(2 * torch.pi * torch.arange(83) / season)
    bank = Bank(season)
    bank.forgetting = 1 - 1e-9
    seen, _ = bank.read(rows, scale, bank.initial(3), torch.tensor([83]))
    answers = bank.forecasts(seen, HORIZON)[:, 0].numpy()
    for i, x in enumerate(rows.numpy()):
        zero = (scale.level / scale.spread)[i].item()
        for name, method in (("theta", theta), ("drift", drift), ("damped", damped)):
            for form, z in ((name, x), (name + "_log", np.log(x + zero))):
                profile = classical(z, season) if season > 1 else np.zeros(1)
                ways = method(z - profile[np.arange(83) % season], HORIZON)
                ahead = profile[(83 + np.arange(HORIZON)) % season]
                best = min(loss for loss, _ in ways)
                near = [way + ahead for loss, way in ways if loss < best * (1 + 1e-9 if season == 1 else 1.2)]
                wanted = near if form == name else [np.exp(way) - zero for way in near]
                assert any(np.allclose(answers[i, NAMES.index(form)], way, atol=1e-5) for way in wanted), (form, i)
        assert np.allclose(answers[i, 0], x[-1])
        assert np.allclose(answers[i, 1], np.resize(x[83 - season :], HORIZON))
    fading = 0.5 ** (np.arange(83 - season)[::-1] / max(7 * season, 48))
    apart = np.abs(rows.numpy()[:, season:] - rows.numpy()[:, :-season]) @ fading / fading.sum()
    assert np.allclose(seen.size[:, 0], apart)


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0])
@pytest.mark.parametrize("season", [1, 4, 168])
def test_a_constant_goes_on(value, season):
    rows = torch.zeros(1, 40, dtype=torch.float64)
    scale = Scale(torch.tensor([value]), torch.ones(1))
    bank = Bank(season)
    seen, _ = bank.read(rows, scale, bank.initial(1), torch.tensor([1, 2, 6, 40]))
    assert bank.forecasts(seen, HORIZON).abs().max() < 1e-12
    assert (seen.size > 0).all()


def test_before_the_first_row_it_says_the_long_run_level():
    bank = Bank(4)
    rows = torch.full((2, 6), float("nan"), dtype=torch.float64)
    seen, carry = bank.read(rows, Scale(torch.ones(2), torch.ones(2)), bank.initial(2), torch.tensor([0, 6]))
    assert torch.equal(bank.forecasts(seen, 3), torch.zeros(2, 2, len(NAMES), 3, dtype=torch.float64))
    close(carry, bank.initial(2), 0)


def test_noise_has_no_profile_and_a_season_has_one():
    chance = torch.Generator().manual_seed(0)
    noise = torch.randn(200, 60, generator=chance, dtype=torch.float64)
    season = noise + 2 * torch.sin(2 * torch.pi * torch.arange(60) / 12)
    bank, scale = Bank(12), Scale(torch.zeros(200), torch.ones(200))
    quiet, loud = (bank.read(each, scale, bank.initial(200), torch.tensor([60]))[0].profile for each in (noise, season))
    assert quiet.square().mean() < 0.05
    assert (loud != 0).all(-1).double().mean() > 0.95
    assert (loud.mean(0)[0] - 2 * torch.sin(2 * torch.pi * torch.arange(12) / 12)).abs().max() < 0.3


def test_logarithms_only_where_all_rows_are_positive():
    rows, scale = made(2, 40, 1)
    scale = Scale(torch.tensor([10.0, 10.0]), torch.ones(2))
    rows[1, 20] = -10.5
    bank = Bank(1)
    seen, _ = bank.read(rows, scale, bank.initial(2), torch.tensor([20, 40]))
    assert seen.logs[..., 0].tolist() == [[1, 1], [1, 0]]
    answers = bank.forecasts(seen, 4)
    assert torch.equal(answers[1, 1, NAMES.index("theta_log")], answers[1, 1, NAMES.index("theta")])


def test_only_what_is_kept_is_given():
    rows, scale = made(2, 40, 4)
    every = Bank(4)
    some = Bank(4, kept=["theta_log", "naive"])
    assert some.names == ("naive", "theta_log")
    answers = [bank.forecasts(bank.read(rows, scale, bank.initial(2), torch.tensor([40]))[0], 5) for bank in (every, some)]
    assert torch.equal(answers[0][:, :, [0, 3]], answers[1])
    assert some.state_bytes < every.state_bytes
    for kept in (["seasonal_naive"], ["damped"], ["theta"], []):
        few = Bank(4, kept=kept)
        seen, _ = few.read(rows, scale, few.initial(2), torch.tensor([40]))
        assert torch.allclose(few.forecasts(seen, 5)[0, 0], answers[0][0, 0, [NAMES.index(name) for name in kept]])
    with pytest.raises(ValueError, match="no such candidates"):
        Bank(4, kept=["magic"])


def test_the_state_is_small():
    assert Bank(1).state_bytes < 2_000
    assert Bank(12).state_bytes < 7_000
    assert Bank(24).state_bytes < 12_000
    assert Bank(336).state_bytes < 6_000


@pytest.mark.parametrize("unit", [1e-6, 1e9])
def test_units_do_not_matter(unit):
    rows, scale = made(2, 60, 4)
    bank = Bank(4)
    one, other = (
        bank.forecasts(bank.read(rows, each, bank.initial(2), torch.tensor([60]))[0], 5)
        for each in (scale, Scale(scale.level * unit, scale.spread * unit))
    )
    assert torch.allclose(one, other, atol=1e-9)


@pytest.mark.parametrize(("level", "spread"), [(0.0, 1.0), (1e12, 1e-3), (float("nan"), float("nan")), (1e-300, 1e-300)])
def test_whatever_comes_all_is_finite(level, spread):
    rows = torch.randn(3, 120, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows[0, 100], rows[1, 50:], rows[2] = 1e15, -1e15, 0.0
    bank = Bank(12)
    scale = Scale(*torch.tensor([[level] * 3, [spread] * 3], dtype=torch.float64))
    seen, carry = bank.read(rows, scale, bank.initial(3), torch.tensor([0, 1, 2, 101, 120]))
    assert all(each.isfinite().all() for each in (*seen, *carry, bank.forecasts(seen, HORIZON)))


def test_a_young_stream_goes_from_its_last_season_to_its_profile_without_a_jump():
    season, rows = 30, 130
    chance = np.random.default_rng(3)
    wave = np.sin(np.arange(rows) * 2 * np.pi / season) + 0.3 * chance.normal(size=rows)
    ends = list(range(season, rows + 1))
    seen, _ = read_in(Bank(season, faith=0.7), torch.from_numpy(wave)[None], Scale(torch.zeros(1), torch.ones(1)), [], ends)
    at_phase = np.stack([np.roll(x, end % season) for x, end in zip(seen.profile[0].numpy(), ends, strict=True)])
    last = wave[:season] - wave[:season].mean()
    np.testing.assert_allclose(at_phase[0], 0.7 * last)
    moved = np.sqrt(np.square(np.diff(at_phase[season:], axis=0)).mean(1))
    assert moved.max() < 0.15
