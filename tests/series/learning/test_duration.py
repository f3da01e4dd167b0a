"""What is expected of the time of a fit, and who hears of it."""

import time

import pandas as pd
import pytest
from series.estimator_cases import wide_frame

from titans_ts import TitansForecaster
from titans_ts.backbones.config import BackboneConfig
from titans_ts.series.learning import duration
from titans_ts.series.learning.duration import Pace, expected_seconds, measure_pace, tell
from titans_ts.series.settings import ForecastConfig, TrainingConfig
from titans_ts.series.sizes import Sizes

PACE = Pace(1.3e-11, 3e-9)


def expected(lengths, *, layers=1, horizon=24, lookback=336, steps=100):
    config = ForecastConfig(horizon, lookback, backbone=BackboneConfig(layers=layers))
    sizes = Sizes((24, 168), (lookback // 4, lookback // 2, lookback), "mean", 16)
    return expected_seconds(lengths, config, sizes, TrainingConfig(max_steps=steps), PACE)


def test_more_work_takes_longer():
    base = expected([3000])
    assert set(base) == {"base", "memory", "reading"}
    assert set(expected([3000], layers=0)) == {"base", "reading"}
    for more in (expected([9000]), expected([3000] * 3), expected([3000], lookback=672), expected([3000], horizon=336)):
        assert sum(more.values()) > sum(base.values())
    assert expected([3000], steps=200)["memory"] > 1.8 * base["memory"]


def test_a_slower_machine_is_given_more_time():
    pace = measure_pace()
    assert 0 < pace.product < pace.number < 1e-5


def test_it_is_right_to_an_order_of_magnitude(monkeypatch):
    found = []
    monkeypatch.setattr("titans_ts.series.learning.fitting.shows_progress", lambda verbose: True)
    monkeypatch.setattr("titans_ts.series.learning.fitting.tell", lambda seconds, verbose: found.append(seconds))
    X = wide_frame(pd.date_range("2024-01-01", periods=3000, freq="h"))
    begun = time.process_time()  # a clock on the wall would count what else the machine has to do
    TitansForecaster(24, layers=0, random_state=0, target_columns="a").fit(X)
    taken = time.process_time() - begun
    assert taken / 10 < found[0]["base"] < 10 * taken


@pytest.mark.parametrize(("verbose", "seconds", "said"), [(1, 1.0, True), (0, 90.0, False), (None, 90.0, False)])
def test_it_is_said_where_bars_are_shown(verbose, seconds, said, capsys):
    tell({"base": seconds, "reading": 0.01}, verbose)
    printed = capsys.readouterr().err
    assert ("fit: about" in printed) == said
    assert "reading" not in printed


def test_a_terminal_hears_of_what_takes_longer_than_a_few_seconds(monkeypatch, capsys):
    monkeypatch.setattr(duration, "shows_progress", lambda verbose: True)
    tell({"base": 2.0}, None)
    assert not capsys.readouterr().err
    tell({"base": 30.0, "memory": 40.0}, None)
    assert capsys.readouterr().err == "fit: about 70 s (base 30 s, memory 40 s)\n"
