"""Calendar features: periodic, smooth, and able to tell a Saturday from a Monday."""

import numpy as np
import pytest

from titans_ts.series.tensors import CYCLES, calendar_cycles, calendar_features, feature_count

START = np.datetime64("2023-12-30T00:00", "s")


def at(*stamps: str, cycles=("day", "week", "year")) -> np.ndarray:
    return calendar_features(np.array(stamps, dtype="datetime64[s]"), cycles, len(stamps))


@pytest.mark.parametrize("cycle", CYCLES)
def test_a_cycle_returns_after_its_length_and_not_before(cycle):
    length = np.timedelta64(int(CYCLES[cycle]), "s")
    first = calendar_features(np.array([START]), (cycle,), 1)
    assert np.abs(calendar_features(np.array([START + length]), (cycle,), 1) - first).max() < 1e-5
    for share in (2, 3, 7):
        assert np.abs(calendar_features(np.array([START + length // share]), (cycle,), 1) - first).max() > 0.2


@pytest.mark.parametrize("cycle", CYCLES)
def test_features_move_little_from_hour_to_hour(cycle):
    times = START + np.arange(24 * 400) * np.timedelta64(1, "h")
    features = calendar_features(times, (cycle,), len(times))
    waves = feature_count((cycle,)) // 2
    step = 2 * np.pi * waves * 3600 / CYCLES[cycle]
    assert np.abs(np.diff(features, axis=0)).max() <= step * 1.01 + 1e-5, "a jump at a midnight, a Monday or a new year"


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
