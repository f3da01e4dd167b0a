"""The generators: what they promise holds, by the numbers, and they leave the global generators alone."""

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from titans_ts import make_panel, make_recurring, make_regimes, make_seasonal

MAKERS = {
    "make_seasonal": lambda seed: make_seasonal(300, 2, random_state=seed),
    "make_regimes": lambda seed: make_regimes(300, 2, random_state=seed)[0],
    "make_panel": lambda seed: make_panel(3, min_steps=20, max_steps=40, random_state=seed)["y"].to_numpy(),
    "make_recurring": lambda seed: make_recurring(3000, lags=(500,), slots=(3,), random_state=seed),
}
SMALL = {"lags": (200, 1000), "slots": (1, 4), "noise": 0.0, "return_events": True}


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
class TestRandomness:
    def test_the_same_seed_gives_the_same_numbers(self, maker):
        np.testing.assert_array_equal(maker(3), maker(3))
        np.testing.assert_array_equal(maker(3), maker(np.random.default_rng(3)))
        assert not np.array_equal(maker(3)[:20], maker(4)[:20])
        assert not np.array_equal(maker(None)[:20], maker(None)[:20])

    def test_global_generators_are_untouched(self, maker):
        def states():
            return repr(np.random.get_state()), random.getstate(), torch.get_rng_state().tolist()  # noqa: NPY002

        before = states()
        maker(0)
        assert states() == before


def test_seasonal_repeats_with_its_periods():
    series = make_seasonal(24 * 7 * 3, 2, periods=(24, 168), noise=0.0)
    np.testing.assert_allclose(series[168:], series[:-168], atol=1e-12)
    assert np.abs(series[24:] - series[:-24]).max() > 0.1  # the week is there too
    assert np.abs(series[:, 0] - series[:, 1]).max() > 0.1


def test_seasonal_trend_and_noise_have_the_size_asked_for():
    np.testing.assert_allclose(make_seasonal(5, periods=(), trend=2.0, noise=0.0)[:, 0], [0, 0.5, 1, 1.5, 2])
    assert make_seasonal(20_000, periods=(), noise=0.3).std() == pytest.approx(0.3, rel=0.03)


def test_a_motif_returns_exactly_and_only_a_long_memory_can_know_it():
    n_motifs, length, repeats = 5, 20, 2
    series, motif = make_regimes(4000, 2, n_motifs=n_motifs, motif_length=length, n_repeats=repeats, noise=0.0)
    plays, numbers = series.reshape(-1, length, 2), motif.reshape(-1, length)
    assert (numbers == numbers[:, :1]).all()
    for number in range(n_motifs):
        heard = plays[numbers[:, 0] == number]
        np.testing.assert_array_equal(heard, np.broadcast_to(heard[0], heard.shape))
    visits = numbers[::repeats, 0].reshape(-1, n_motifs)  # a round visits every motif once
    assert (np.sort(visits, axis=1) == np.arange(n_motifs)).all()
    assert len(np.unique(visits, axis=0)) > 1  # in a fresh order
    assert series.std(axis=0) == pytest.approx([1.0, 1.0], rel=1e-6)


@pytest.mark.parametrize("return_frame", ["pandas", "polars"])
def test_panel_is_a_long_frame(return_frame):
    panel = make_panel(5, min_steps=10, max_steps=30, minutes_per_step=15, return_frame=return_frame)
    assert type(panel).__module__.split(".")[0] == return_frame
    assert list(panel.columns) == ["unique_id", "ds", "y"]
    frame = pd.DataFrame({name: panel[name].to_numpy() for name in panel.columns})
    lengths = frame.groupby("unique_id").size()
    assert lengths.between(10, 30).all()
    assert lengths.nunique() > 1
    for _, series in frame.groupby("unique_id"):
        assert series["ds"].iloc[0] == pd.Timestamp("2024-01-01")
        assert (series["ds"].diff().dropna() == pd.Timedelta(minutes=15)).all()


@pytest.mark.parametrize(
    ("maker", "arguments", "message"),
    [
        (make_seasonal, {"n_steps": 0}, "n_steps=0 must be at least 1"),
        (make_seasonal, {"periods": (24, 0)}, r"periods=\(24, 0\) must all be above 0"),
        (make_seasonal, {"noise": -1.0}, "noise=-1.0 must be at least 0"),
        (make_regimes, {"n_motifs": 0}, "n_motifs=0 must be at least 1"),
        (make_regimes, {"motif_length": 1}, "motif_length=1 must be at least 2"),
        (make_panel, {"min_steps": 9, "max_steps": 8}, "max_steps=8 is below min_steps=9"),
        (make_panel, {"return_frame": "arrow"}, "return_frame='arrow' is unknown; take 'pandas' or 'polars'"),
    ],
)
def test_bad_arguments_are_named(maker, arguments, message):
    with pytest.raises(ValueError, match=message):
        maker(**arguments)


def test_committed_samples_are_what_the_script_makes(tmp_path, monkeypatch):
    folder = Path(__file__).parents[2] / "datasets"
    monkeypatch.syspath_prepend(str(folder))
    import make_samples

    make_samples.main(tmp_path)
    committed = sorted((folder / "samples").glob("*.csv"))
    assert [path.name for path in committed] == sorted(path.name for path in tmp_path.iterdir())
    for path in committed:
        pd.testing.assert_frame_equal(pd.read_csv(path), pd.read_csv(tmp_path / path.name), atol=0.011)


def pieces(series, events, *, length=64):
    """Return each event's rows, ``(n, length)``."""
    return series[events["start"][:, None] + np.arange(length), 0]


def correlations(first, second):
    """Return how alike each of some curves is to each of others; all have mean 0 and variance 1."""
    return first @ second.T / first.shape[1]


@pytest.mark.parametrize("lifetime", [None, 3])
def test_an_event_recurs_exactly_a_lag_later(lifetime):
    series, events = make_recurring(12_000, **SMALL, lifetime=lifetime)
    played = pieces(series, events)
    for lag, count in zip(SMALL["lags"], SMALL["slots"], strict=True):
        assert set(events["slot"][events["lag"] == lag]) == set(range(count))
        for slot in range(count):
            mine = (events["lag"] == lag) & (events["slot"] == slot)
            starts, occurrence = events["start"][mine], events["occurrence"][mine]
            assert starts[0] < lag
            assert (np.diff(starts) == lag).all()
            assert starts[-1] + lag + 64 > 12_000, "it goes on to the end"
            assert (occurrence == np.arange(len(starts)) % (lifetime or len(starts))).all()
            again = np.flatnonzero(occurrence > 0)
            np.testing.assert_array_equal(played[mine][again], played[mine][again - 1])
            fresh = np.flatnonzero(occurrence[1:] == 0) + 1
            assert (np.abs(played[mine][fresh] - played[mine][fresh - 1]).max(axis=1, initial=9) > 0.5).all()
    assert (events["origin"] == events["start"] + 32).all()
    assert (np.unique(events["pair"], return_counts=True)[1] <= (lifetime or 60)).all()


@pytest.mark.parametrize("seed", range(5))
def test_no_two_events_overlap_and_between_them_it_is_quiet(seed):
    series, events = make_recurring(20_000, lags=(500, 2000), slots=(4, 6), noise=0.0, random_state=seed, return_events=True)
    assert (np.diff(events["start"]) >= 64).all()
    busy = np.zeros(20_000, dtype=bool)
    busy[events["start"][:, None] + np.arange(64)] = True
    assert not series[~busy].any()
    assert busy.sum() == 64 * len(events)


def test_what_a_look_back_holds_tells_nothing_of_the_response():
    """Over many pairs a response is no more like its own cue than like another's: only having seen the pair tells."""
    series, events = make_recurring(
        60_000, lags=(300,), slots=(2,), lifetime=2, noise=0.0, cue_length=32, response_length=32, return_events=True
    )
    played = pieces(series, events[events["occurrence"] == 0])
    assert len(played) > 150
    alike = correlations(played[:, :32], played[:, 32:])
    own, other = np.diag(alike), alike[~np.eye(len(alike), dtype=bool)]
    assert abs(own.mean()) < 3 * other.std() / np.sqrt(len(own))
    assert own.std() == pytest.approx(other.std(), rel=0.25)
    assert other.std() < 0.4


def test_cues_can_be_told_apart_while_they_are_about():
    series, events = make_recurring(200_000, lags=(2000, 20_000), slots=(12, 12), lifetime=3, noise=0.0, return_events=True)
    cues = pieces(series, events, length=32)
    about: dict[tuple[int, int], np.ndarray] = {}
    for event, cue in zip(events, cues, strict=True):
        others = [each for slot, each in about.items() if slot != (event["lag"], event["slot"])]
        assert not others or correlations(cue[None], np.array(others)).max() < 0.6
        about[event["lag"], event["slot"]] = cue


def test_responses_stand_out_of_a_background_of_the_size_asked_for():
    series, events = make_recurring(60_000, lags=(1000,), slots=(2,), noise=0.2, return_events=True)
    quiet = np.ones(len(series), dtype=bool)
    quiet[events["start"][:, None] + np.arange(64)] = False
    background = series[quiet, 0]
    assert background.std() == pytest.approx(0.2, rel=0.03)
    assert np.corrcoef(background[1:], background[:-1])[0, 1] == pytest.approx(0.5, abs=0.03)
    clean, _ = make_recurring(60_000, lags=(1000,), slots=(2,), noise=0.0, return_events=True)
    responses = clean[events["origin"][:, None] + np.arange(32), 0]
    np.testing.assert_allclose(responses.std(axis=1), 1.0)
    np.testing.assert_allclose(responses.mean(axis=1), 0.0, atol=1e-12)


def test_smoother_curves_turn_more_slowly():
    def step(smoothness):
        series, events = make_recurring(
            30_000, lags=(500,), slots=(2,), smoothness=smoothness, lifetime=2, noise=0.0, return_events=True
        )
        return np.square(np.diff(pieces(series, events, length=32))).mean()

    assert step(1) > 2 * step(4) > 3 * step(12)


def test_the_default_has_all_its_lags():
    series, events = make_recurring(return_events=True)
    assert series.shape == (400_000, 1)
    again = events[events["occurrence"] > 0]
    assert {int(lag): int((again["lag"] == lag).sum()) for lag in (1000, 10_000, 100_000)} == {
        1000: 2 * 399,
        10_000: 6 * 39,
        100_000: 8 * 3,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_steps": 2063}, "n_steps=2063 is too short for every event of lag 1000 to recur; make it 2064 or more"),
        ({"lags": ()}, r"lags=\(\) must be one or more, each once, and at least 64 steps"),
        ({"lags": (1000, 1000)}, r"lags=\(1000, 1000\) must be one or more, each once"),
        ({"lags": (63,)}, r"lags=\(63,\) must be .* at least 64 steps, the length of an event"),
        ({"slots": (2, 3)}, r"slots=\(2, 3\) must hold a number of 1 or more for each of the 1 lags"),
        ({"slots": (0,)}, r"slots=\(0,\) must hold a number of 1 or more"),
        (
            {"slots": (16,)},
            r"slots=\(16,\): no room was found for so many events of 64 steps .* would take 102 % of the series",
        ),
        (
            {"lags": (1000, 1001), "slots": (1, 1), "n_steps": 9000},
            r"no room .* with lags=\(1000, 1001\) .* multiples of each other",
        ),
        ({"cue_length": 7}, "cue_length=7 must be at least 8 steps"),
        ({"response_length": 1}, "response_length=1 must be at least 2 steps"),
        ({"lifetime": 1}, "lifetime=1 must be at least 2 for a pair to recur, or None"),
        ({"smoothness": 0}, "smoothness=0 must be at least 1 step"),
        ({"noise": -0.1}, "noise=-0.1 must be at least 0"),
        ({"noise": float("nan")}, "noise=nan must be a finite number"),
        (
            {"cue_length": 8, "response_length": 2, "lags": (3000,), "slots": (100,), "n_steps": 9000},
            "cue_length=8 with smoothness=4 is too short for [0-9]+ cues and one more to be told apart; make cues longer",
        ),
    ],
)
def test_bad_arguments_of_recurring_events_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_recurring(**{"n_steps": 5000, "lags": (1000,), "slots": (2,), **arguments})
