"""A memory of whose correction nothing is used is not read: the same forecasts to the bit, and a state of the base alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from series.estimator_cases import SMALL, one_step, wave

import titans_ts
from titans_ts import TitansForecaster
from titans_ts.backbones.state import pack
from titans_ts.learn.acceptance import MemoryGain
from titans_ts.series.learning import fitting
from titans_ts.series.settings import ForecastConfig
from titans_ts.series.store.memory_store import MemoryStore

X = wave(200)
SETTINGS = {"alone": {}, "with a recollection": {"recollection": 4}}


def fit(**arguments):
    return TitansForecaster(**{**SMALL, "random_state": 0, "max_steps": 2, **arguments}).fit(X)


@pytest.fixture(scope="module", params=SETTINGS)
def read(request):
    """Return a forecaster of whose memory nothing is used, and which reads it all the same."""
    model = fit(**SETTINGS[request.param])
    with torch.no_grad():  # training may have found luck
        for x in model.network_.head.parameters():
            x.zero_()
    return model


@pytest.fixture(scope="module")
def unread(request, read):
    """Return the same, as fits leave it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "is_heard", lambda gain: False)
        return fit(recollection=read.recollection)


def test_what_is_used_is_heard(heard):
    gain = MemoryGain(0.1, 0.0, 0.0, None, 3)
    assert heard(gain)
    assert heard(None), "without validation all is used"
    assert not heard(replace(gain, share=0.0))


def test_a_fit_that_uses_nothing_of_its_memory_does_not_read_it(heard, monkeypatch):
    monkeypatch.setattr(fitting, "is_heard", heard)
    monkeypatch.setattr("titans_ts.series.learning.training.memory_gain", lambda *_, **__: MemoryGain(0.0, 0, 0, None, 1))
    model = fit(callbacks=[one_step])
    assert not model.network_.config.heard
    assert model.states_[None].backbone == ()


def test_forecasts_are_those_of_the_memory_that_is_read(read, unread):
    new = wave(37, seed=1)
    for ask in (
        lambda model: model.predict(level=[80], quantiles=[0.3]),
        lambda model: model.predict(new),
        lambda model: model.update(new).predict(),
        lambda model: model.backtest(X, windows=3)[1],
        lambda model: model.sample(3),
        lambda model: pd.DataFrame(model.rolling_errors(X, start=150, horizons=[3])),
    ):
        np.testing.assert_array_equal(np.asarray(ask(unread)), np.asarray(ask(read)))


def test_the_state_is_that_of_the_base(read, unread):
    assert len(read.states_[None].backbone) == 2 + bool(read.recollection)
    assert len(unread.states_[None].backbone) == bool(read.recollection)
    assert unread.state_.nbytes < read.state_.nbytes


def test_the_cut_of_the_rows_changes_nothing(unread):
    new = wave(60, seed=2)
    whole = pack(unread.forget().update(new).states_[None])
    for cut in (1, 33):
        again = pack(unread.forget().update(new[:cut]).update(new[cut:]).states_[None])
        for name, x in whole.items():
            tolerance = 1e-10 if x.dtype == torch.float64 else 1e-5
            torch.testing.assert_close(again[name], x, rtol=tolerance, atol=tolerance, equal_nan=True, msg=name)


def test_it_is_watched_and_surprised_as_if_it_were_read(read, unread):
    new = wave(90, seed=3)
    np.testing.assert_array_equal(unread.surprise(new), read.surprise(new))
    pd.testing.assert_frame_equal(unread.watch(new), read.watch(new))
    table = unread.memory_table()
    assert (table["distance"] == 0).all()
    np.testing.assert_array_equal(table["start_norm"], read.memory_table()["start_norm"])


def test_a_file_keeps_that_it_is_not_read(unread, tmp_path):
    unread.save(tmp_path / "model.titans")
    loaded = titans_ts.load(tmp_path / "model.titans")
    assert not loaded.network_.config.heard
    np.testing.assert_array_equal(loaded.predict(), unread.predict())
    unread.state_.save(tmp_path / "state")
    loaded.remember(titans_ts.MemoryState.load(tmp_path / "state"))
    np.testing.assert_array_equal(loaded.predict(), unread.predict())


def test_a_config_that_does_not_say_is_heard(read, unread):
    assert "heard" not in read.network_.config.to_dict()
    assert ForecastConfig.from_dict(read.network_.config.to_dict()).heard
    assert not ForecastConfig.from_dict(unread.network_.config.to_dict()).heard


def test_a_later_fit_trains_it_on(unread):
    again = unread.set_params(warm_start=True).fit(X)
    assert again.network_.config.heard
    assert again.states_[None].backbone


def test_a_store_keeps_its_state(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "is_heard", lambda gain: False)
    frame = pd.DataFrame({"unique_id": np.repeat(["a", "b"], 200), "ds": np.tile(np.arange(200), 2), "y": X.T.ravel()})
    model = TitansForecaster(**SMALL, random_state=0, max_steps=2).fit(frame)
    with MemoryStore(tmp_path / "some.memory", model) as store:
        store.update(frame[frame["ds"] < 90])
        store.update(frame[frame["ds"] >= 90])
        pd.testing.assert_frame_equal(store.predict(), model.predict(), check_dtype=False)
