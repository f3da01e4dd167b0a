"""The series of the history bench: what is asked was seen a lag ago, and weights never met it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from bench.history_cases import TINY

from titans_bench.history import data as history_data
from titans_bench.history.data import FITS, MODELS, SETTINGS, make_history, spread_evenly, with_steps
from titans_ts import load_dataset
from titans_ts.datasets.load import Dataset


@pytest.mark.parametrize("seed", [0, 1])
def test_what_recurs_is_asked_where_it_was_seen_a_lag_ago_and_nowhere_nearer(seed):
    made = make_history("recurring", TINY, seed)
    assert set(made.origins) == {200, 600}
    training = made.fitted[: round(0.8 * len(made.fitted))]
    assert (training.mean(), training.std()) == pytest.approx((0, 1), abs=1e-12)
    ahead = np.arange(FITS["recurring"]["horizon"])
    for lag, origins in made.origins.items():
        assert 0 < len(origins) <= TINY.origins
        assert min(origins) >= TINY.lengths[-1]
        assert origins == sorted(set(origins))
        now, before = (made.read[np.array(origins)[:, None] - back + ahead, 0] for back in (0, lag))
        assert np.corrcoef(now.ravel(), before.ravel())[0, 1] > 0.9
        for origin, response in zip(origins, now, strict=True):
            near = made.read[origin - 160 : origin, 0]
            alike = [np.corrcoef(near[k : k + 32], response)[0, 1] for k in range(160 - 32)]
            assert max(alike) < 0.95, "no look-back shorter than the lag holds it"
    other = make_history("recurring", TINY, seed)
    np.testing.assert_array_equal(made.read, other.read)


def test_weights_never_meet_what_is_asked():
    """A pair of cue and response of the series that is read stands nowhere in the series that is fitted."""
    made = make_history("recurring", TINY, 0)
    fitted = np.lib.stride_tricks.sliding_window_view(made.fitted[:, 0], 64)
    fitted = (fitted - fitted.mean(1, keepdims=True)) / fitted.std(1, keepdims=True)
    for origin in made.origins[600]:
        event = made.read[origin - 32 : origin + 32, 0]
        assert (fitted @ (event - event.mean()) / event.std() / 64).max() < 0.9
    assert not np.array_equal(make_history("recurring", TINY, 1).read, made.read)


def tiny_set(name, data_home=None):
    hours = np.arange(1000)
    values = np.sin(hours / 4)[:, None] + np.array([5.0, 9.0])
    values[950, 1] = np.nan
    frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=1000, freq="h"), "a": values[:, 0], "b": values[:, 1]})
    return Dataset(name, frame, ("a", "b"), 700, 100, 150, "1h", "")


def test_real_sets_are_asked_evenly_over_their_test_part(monkeypatch):
    monkeypatch.setattr(history_data, "load_dataset", tiny_set)
    made = make_history("vic_elec", TINY, 0)
    assert len(made.fitted) == 800
    assert len(made.read) == len(made.values) == 950
    assert made.validation_fraction == 100 / 800
    horizon = FITS["vic_elec"]["horizon"]
    assert made.origins == {0: spread_evenly(range(800, 950 - horizon + 1), 5)}
    assert made.values[:700].mean(axis=0) == pytest.approx([0, 0], abs=1e-12)
    short = make_history("vic_elec", replace(TINY, rows=300), 0)
    assert len(short.fitted) == 300
    assert short.validation_fraction == 0.25
    assert short.origins[0] == [origin - 500 for origin in made.origins[0]]
    np.testing.assert_array_equal(short.values, made.values[500:])
    with pytest.raises(ValueError, match="vic_elec: no origin has 905 rows before it and 48 after; take shorter lengths"):
        make_history("vic_elec", replace(TINY, lengths=(64, 905)), 0)


@pytest.mark.parametrize("name", [name for name in FITS if name != "recurring"])
def test_every_set_has_the_longest_history_before_every_origin(name, data_home):
    try:
        load_dataset(name, data_home=data_home)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    setting = SETTINGS["standard"]
    made = make_history(name, setting, 0, data_home=data_home)
    (origins,) = made.origins.values()
    assert len(origins) == setting.origins
    assert origins[0] >= setting.lengths[-1]
    assert origins[0] >= len(made.fitted)
    assert origins[-1] + FITS[name]["horizon"] == len(made.read)


def test_models_differ_in_how_they_keep_the_past_and_every_set_has_a_fit():
    assert all(set(arguments) <= {"variant", "recollection"} for arguments in MODELS.values())
    assert set(SETTINGS["standard"].data) == set(FITS)
    for setting in SETTINGS.values():
        assert list(setting.lengths) == sorted(setting.lengths)
        assert min(setting.recurring["lags"]) - FITS["recurring"]["horizon"] >= setting.lengths[0]
        assert max(setting.recurring["lags"]) > setting.lengths[-1], "one lag is out of reach of every cut"
    longer = with_steps(TINY, 7)
    assert (longer.name, longer.fit["max_steps"], longer.fit["width"]) == ("tiny, 7 steps", 7, 8)
