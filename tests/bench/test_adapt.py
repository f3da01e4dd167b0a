"""Adaptation: the ridge against plain normal equations, which forecasts belong where, what is held, rows and tables."""

import math
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from titans_bench.adapt import arms, bench, ceiling
from titans_bench.adapt.arms import (
    ARMS,
    BASE,
    BOTH,
    CEILING,
    FROZEN,
    LINEAR,
    MODELS,
    ON_TOP,
    PREFERENCE,
    Read,
    Streams,
    held,
    read_on,
)  # fmt: skip
from titans_bench.adapt.bench import BEGINNING, CHANGE, SETTINGS, AdaptRow, bench_adapt, spans, with_steps
from titans_bench.adapt.panels import PANELS, Amounts, Panel, make_panel
from titans_bench.adapt.table import adapt_table, plot_adapt
from titans_bench.rows import read_rows
from titans_bench.tasks import task_frame
from titans_ts.cli import main
from titans_ts.series.base.base import Base
from titans_ts.series.forecaster import TitansForecaster

SMALL = Amounts(2, 700, 350)


def a_row(arm, seed, first, each, since=BEGINNING, panel="generated", state=100):
    each = np.asarray(each)
    (model,) = [name for name, mine in MODELS.items() if arm in mine]
    place = ("standard", panel, model, seed, arm, since, first, 2 * first + 168, len(each), 9)
    return AdaptRow(*place, each.mean(), each.std(), 1e-4, state, " ".join(map(str, each)))


def test_the_ridge_knows_what_was_there_and_no_more(monkeypatch):
    """One choice alone, so that it is taken as soon as it was better: plain normal equations of the rows before."""
    for name, value in {"TRIED": ((50.0, 3.0),), "HALF_LIVES": (50.0,), "CAUTION": 0.0, "FEWEST": 0}.items():
        monkeypatch.setattr(ceiling, name, value)
    chance, lookback, horizon = np.random.default_rng(0), 6, 3
    rows = torch.tensor(chance.normal(size=(2, 60)))
    rows[1, 20] = math.nan
    missed = torch.tensor(0.3 * chance.normal(size=(2, 40 - lookback - horizon + 1, horizon)))
    missed[0, 5] = math.nan
    origins = [10, 13, 30, 40]
    expected = torch.full((2, 4, horizon), 1e-9, dtype=torch.float64)  # nothing is better than nothing
    none = ceiling.refitted(rows, missed, expected, origins, lookback=lookback)
    assert not none.any()
    monkeypatch.setattr(ceiling, "_chosen", lambda said, expected: said[1])
    found = ceiling.refitted(rows, missed, expected, origins, lookback=lookback)
    for s in range(2):
        for k, origin in enumerate(origins):
            gram, cross = 3.0 * np.eye(lookback + 1), np.zeros((lookback + 1, horizon))
            for n in range(origin - lookback - horizon + 1):
                x, unit = a_look_back(rows[s, n : n + lookback].numpy())
                y = np.clip(missed[s, n].numpy() / unit, -5, 5)
                if np.isnan(y).any():
                    continue
                later = [at for at in origins[: k + 1] if n < at - lookback - horizon + 1]
                age = origins[k] - later[0]
                gram += 0.5 ** (age / 50) * np.outer(x, x)
                cross += 0.5 ** (age / 50) * np.outer(x, y)
            x, unit = a_look_back(rows[s, origin - lookback : origin].numpy())
            np.testing.assert_allclose(found[s, k], unit * (x @ np.linalg.solve(gram, cross)), atol=1e-10)
    again = ceiling.refitted(rows[:, :30], missed[:, :22], expected[:, :3], origins[:3], lookback=lookback)
    torch.testing.assert_close(again, found[:, :3], rtol=0, atol=1e-12)


def a_look_back(rows):
    there = ~np.isnan(rows)
    centred = np.where(there, rows - rows[there].mean(), 0)
    unit = np.sqrt((centred**2).sum() / there.sum())
    return np.append(centred / unit, 1), unit


def test_a_choice_is_taken_once_it_was_surely_better():
    expected = torch.ones(1, 12, 2, dtype=torch.float64)
    said = torch.stack([torch.zeros_like(expected), 0.5 * expected, -expected])
    found = ceiling._chosen(said, expected)
    assert found[0, :2].eq(0).all(), "nothing is chosen by nothing"
    assert found[0, 2:].eq(0.5).all()
    doubtful = said.clone()
    doubtful[1, :, ::2] = -0.499  # as often worse as better, by a hair less
    assert not ceiling._chosen(doubtful, expected)[0, :3].any()


def test_forecasts_over_a_change_belong_to_nothing():
    panel = Panel([], [], np.repeat([0, 350], 350))
    origins = np.arange(168, 677, 24)
    found = spans(panel, origins)
    assert [(since, first) for since, first, _, _ in found] == [(BEGINNING, 168), (CHANGE, 0), (CHANGE, 168)]
    (_, _, _, before), (_, _, _, soon), (_, _, _, later) = found
    assert origins[before].max() + bench.HORIZON <= 350
    assert origins[soon].min() >= 350
    assert origins[soon].max() < 350 + 168 <= origins[later].min()


def test_panels_keep_what_is_read_from_what_is_fitted():
    panel = make_panel("generated", 3, SMALL)
    assert (len(panel.fitted), len(panel.read)) == (2, 2)
    assert set(panel.began) == {0, 350}
    assert not {one.id for one in panel.fitted} & {one.id for one in panel.read}
    again = make_panel("generated", 3, SMALL)
    np.testing.assert_array_equal(panel.read[1].values, again.read[1].values)
    with pytest.raises(KeyError):
        make_panel("nonesuch", 0, SMALL)


def test_the_pedestrians_are_read_after_what_is_fitted():
    panel = make_panel("pedestrians", 0, Amounts(2, 500, 250))
    assert [len(one.values) for one in panel.read] == [500, 500]
    assert not {one.id for one in panel.fitted} & {one.id for one in panel.read}
    assert max(one.stamps[-1] for one in panel.fitted) < min(one.stamps[0] for one in panel.read)
    assert not panel.began.any()


@pytest.fixture(scope="module")
def small():
    """A base that reads on, and streams that it never saw."""
    panel = make_panel("generated", 0, Amounts(2, 1_000, 500))
    model = TitansForecaster(24, lookback=168, layers=0, random_state=0, verbose=0)
    model.fit(task_frame(panel.fitted, [slice(None)] * 2))
    return model, panel


def test_what_is_held_learns_nothing(small):
    network, streams = small[0].network_, Streams.of(*small)
    base = network.base
    assert isinstance(base, Base)
    assert base.config.reads_on or base.config.prefers, "else there is nothing to hold"
    frozen = held(base)
    assert (float(frozen.pace), frozen.memory, frozen.config.prefers, frozen.config.reads_on) == (0.0, None, False, False)
    assert frozen.initial_state(1, 1).preference == frozen.initial_state(1, 1).memory == ()
    assert held(base, prefers=True, remembers=True).config == base.config
    assert base.memory is not None or not base.config.reads_on, "the fitted one stays as it was"
    still, reads = (arms._read_base(network, each, streams, [168, 192, 600]) for each in (frozen, base))
    assert still.point.shape == (2, 3, 24)
    assert still.state_bytes < reads.state_bytes
    assert not torch.equal(still.point, reads.point)
    step_by_step = read_on(network, streams.series, [168, 192, 600])
    torch.testing.assert_close(step_by_step.point, reads.point, rtol=0, atol=1e-5)
    assert step_by_step.state_bytes == reads.state_bytes


def test_the_ridge_stands_on_what_is_held(small, monkeypatch):
    streams, base = Streams.of(*small), held(small[0].network_.base)
    monkeypatch.setattr(arms, "refitted", lambda rows, missed, expected, origins, lookback: 1.5 * expected)
    frozen = arms._read_base(small[0].network_, base, streams, [168, 300])
    found = arms._ceiling(base, streams, [168, 300], frozen)
    truth = torch.stack([torch.from_numpy(one.values[[168, 300]][:, 0]) for one in small[1].read])
    torch.testing.assert_close(found.point[..., 0], frozen.point[..., 0] + 1.5 * (truth - frozen.point[..., 0]))
    assert found.state_bytes == frozen.state_bytes + 8 * 300


def test_a_forecaster_that_is_held_is_fitted_on_what_the_panel_knows():
    panel = make_panel("generated", 0, Amounts(2, 1_000, 500))
    model = arms.HeldForecaster(24, lookback=168, layers=0, random_state=0, verbose=0)
    model.fit(task_frame(panel.fitted, [slice(None)] * 2))
    assert model.network_.base.memory is None
    assert float(model.network_.base.pace) == 0.0
    errors = {one.part: one.error for one in model.earned_}
    assert errors["reads on"] == errors["base"]


def test_rows_fill_in_and_hold_every_arm(tmp_path, monkeypatch):
    asked = []

    def fake(model, panel, origins, *, seed, max_steps, device, verbose):
        asked.append((model, seed, max_steps, device))
        truth = torch.tensor(np.stack([[one.values[o : o + 24, 0] for o in origins] for one in panel.read]))
        return {arm: Read(truth + 1 + ARMS.index(arm), 1e-4, 1_000) for arm in MODELS[model]}

    monkeypatch.setattr(bench, "arms_of", fake)
    setting = bench.Setting("quick", ("generated",), SMALL, 7)
    out = tmp_path / "rows.csv"
    rows = bench_adapt(out, setting=setting, seeds=[0, 1], device="cpu", verbose=0)
    assert asked == [(model, seed, 7, "cpu") for model in MODELS for seed in (0, 1)]
    assert set(Counter((row.arm, row.seed, row.since, row.first) for row in rows).values()) == {1}
    assert {row.arm for row in rows} == set(ARMS)
    unit = {row.seed: row.error for row in rows if row.arm == FROZEN}
    for row in rows:
        assert row.error == pytest.approx((1 + ARMS.index(row.arm)) * unit[row.seed], rel=1e-4), "one off everywhere"
    assert bench_adapt(out, setting=setting, seeds=[0, 1], verbose=0) == rows, "nothing is run twice"
    assert len(asked) == 8
    with pytest.raises(ValueError, match="'nonesuch' is not known"):
        bench_adapt(out, panels=["nonesuch"])
    assert with_steps(setting, 3).name == "quick, 3 steps"


def test_the_table_has_gains_and_their_share_of_the_ceiling():
    rows = [a_row(FROZEN, seed, first, [1, 3]) for seed in (0, 1) for first in (168, 2000)]
    rows += [a_row(CEILING, seed, first, [0.8, 2.4]) for seed in (0, 1) for first in (168, 2000)]
    rows += [a_row(LINEAR, seed, first, [1, 3 - 1.04 * seed], state=160) for seed in (0, 1) for first in (168, 2000)]
    lines = adapt_table(rows).splitlines()
    assert lines[0].startswith("| generated: rows since the beginning | 168 | 2,000 on | by seed | by stream |")
    assert lines[2] == "| frozen: error | 2.0000 | 2.0000 | - | - | - | 100 | 100 | - |"
    assert lines[3] == "| ridge, refitted daily | 20.0 | 20.0 | 20.0, 20.0 | 20.0 ± 0.0 | 100 | 100 | 100 | 0 |"
    assert lines[4] == "| linear memory | 13.0 | 13.0 | 0.0, 26.0 | 8.7 ± 15.0 | 65 | 100 | 160 | 60 |"
    assert "no memory can help" not in lines[-1]
    nothing = [a_row(FROZEN, 0, 2000, [1, 3]), a_row(CEILING, 0, 2000, [1.1, 2.89]), a_row(PREFERENCE, 0, 2000, [1, 2])]
    assert adapt_table(nothing).splitlines()[-1].endswith("no memory can help here.")
    assert adapt_table([a_row(ON_TOP, 0, 2000, [1, 2])]).endswith("run the base first, by which others are judged.")
    figure = plot_adapt([*rows, a_row(FROZEN, 0, 0, [1, 3], since=CHANGE), a_row(CEILING, 0, 0, [1, 2], since=CHANGE)])
    assert [panel.get_title() for panel in figure.axes] == ["generated, since the beginning", "generated, since a change"]


def test_the_command_shows_the_table_and_draws(monkeypatch, tmp_path, capsys):
    asked = {}
    rows = [a_row(arm, 0, 2000, [1, 3]) for arm in (FROZEN, CEILING, BOTH, ON_TOP)]
    monkeypatch.setattr(bench, "bench_adapt", lambda out, **more: asked.update(more, out=out) or rows)
    words = "bench adapt --quick --panels generated --max-steps 3 --quiet --out"
    assert main([*words.split(), str(tmp_path / "rows.csv"), "--plot", str(tmp_path / "rows.png")]) == 0
    assert asked == {
        "out": tmp_path / "rows.csv",
        "setting": with_steps(SETTINGS["quick"], 3),
        "panels": ["generated"],
        "models": tuple(MODELS),
        "seeds": (0,),
        "device": "auto",
        "data_home": None,
        "jobs": 1,
        "verbose": 0,
    }
    assert "| neural memory on top | 0.0 |" in capsys.readouterr().out
    assert (tmp_path / "rows.png").stat().st_size > 1000
    assert set(SETTINGS["standard"].panels) == set(PANELS)


def test_the_file_of_rows_is_whole():
    rows = read_rows(Path(__file__).parents[2] / "benchmarks" / "adapt.csv", AdaptRow)
    assert {(row.panel, row.arm) for row in rows} >= set(product(PANELS, MODELS[BASE]))
    assert max(Counter((row.panel, row.seed, row.arm, row.since, row.first) for row in rows).values()) == 1
    for row in rows:
        assert row.setting == "standard", "quick tries do not belong into the file"
        assert row.arm in MODELS[row.model]
        assert len(row.each) == row.streams
        assert row.error == pytest.approx(np.nanmean(row.each), rel=1e-4)


@pytest.mark.slow
def test_the_quick_bench_runs_whole(tmp_path):
    rows = bench_adapt(tmp_path / "rows.csv", setting=SETTINGS["quick"], seeds=[0], verbose=0)
    ridge = [row for row in rows if row.arm == CEILING and row.since == CHANGE][-1]
    frozen = [row for row in rows if row.arm == FROZEN and row.since == CHANGE][-1]
    assert ridge.error < 0.8 * frozen.error
