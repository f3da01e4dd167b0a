"""The generators: what they promise holds, by the numbers, and they leave the global generators alone."""

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from titans_ts import make_panel, make_regimes, make_seasonal

MAKERS = {
    "make_seasonal": lambda seed: make_seasonal(300, 2, random_state=seed),
    "make_regimes": lambda seed: make_regimes(300, 2, random_state=seed)[0],
    "make_panel": lambda seed: make_panel(3, min_steps=20, max_steps=40, random_state=seed)["y"].to_numpy(),
}


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
        (make_seasonal, {"noise": -1.0}, "noise=-1.0 must be 0 or more"),
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
