"""What was found: histories compared pair by pair, as a table and as a picture."""

from dataclasses import replace

import numpy as np
import pytest
from bench.history_cases import ATTENTION, CARRIED, a_row

from titans_bench.history.bench import WHOLE, lengths_in_order
from titans_bench.history.table import compare, history_table, plot_history


def test_histories_are_compared_pair_by_pair():
    """Blocks differ far more from each other than histories do; only pairs show it."""
    rng = np.random.default_rng(0)
    level, gain = 10 * rng.random(6), np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.3])
    rows = []
    for seed in (0, 1):
        luck = 0.1 * seed
        for length, errors in (("64", level + gain + luck), ("128", 9 + level), (WHOLE, level - luck)):
            text = " ".join(f"{x:.9f}/0" for x in errors)
            rows.append(a_row(seed=seed, length=length, blocks=text))
    found = compare(rows)
    differences = np.stack([gain, gain + 0.2])
    assert found.gain == pytest.approx(differences.mean())
    assert found.standard_error == pytest.approx(differences.mean(0).std(ddof=1) / np.sqrt(6))
    assert found.t == pytest.approx(differences.mean() / (differences.ravel().std(ddof=1) / np.sqrt(12)))
    assert found.samples == 12
    assert lengths_in_order(rows) == ["64", "128", "all"]
    assert compare([row for row in rows if row.length != WHOLE]).samples == 0
    unseen = [replace(row, blocks="nan/nan " + row.blocks) for row in rows]
    assert compare(unseen) == found


def test_table_and_picture_show_every_model_and_length(tmp_path):
    rows = [
        a_row(data, model, seed, lag=lag, length=length, rows=read, mse=mse, state_bytes=state, seconds_per_step=2e-6)
        for data, lag in (("recurring", 200), ("recurring", 600), ("vic_elec", 0))
        for model, state in ((CARRIED, 2048), (ATTENTION, 4096))
        for seed in (0, 1)
        for length, read, mse in (("64", 66, 0.5), ("128", 130, 0.25 + 0.1 * seed), (WHOLE, 1000, 0.125))
    ]
    table = history_table(rows)
    lines = table.splitlines()
    assert lines[0] == "| recurring, last seen 200 rows ago | 64 | 128 | all | MSE, 64 less all | t | shares |"
    assert lines[2] == "| carried | 0.5000/0.7500 | 0.3000/0.7500 | 0.1250/0.7500 | +0.0000 ± 0.0000 | - | 1.00, 0.50 |"
    assert "Mean over seeds 0, 1; 4 origins, the same for every length." in lines
    fewer = history_table([row for row in rows if (row.model, row.seed) != (ATTENTION, 1)])
    assert f"Mean over seeds 0, 1 ({CARRIED}); 0 ({ATTENTION}); 4 origins" in fewer
    assert "| vic_elec | 64 | 128 | all | MSE, 64 less all | t | shares |" in lines
    assert "| recurring, rows read |  | 66 | 130 | 1,000 |" in lines
    assert "| attention, growing cache | state, KiB | 4.0 | 4.0 | 4.0 |" in lines
    assert "| carried | absorb a row, µs | 2.0 | 2.0 | 2.0 |" in lines
    assert table.count("rows read |") == 2
    figure = plot_history(rows)
    figure.savefig(tmp_path / "history.png")
    panels = figure.axes
    assert [len(axes.lines) for axes in panels] == [2] * 5
    assert panels[0].lines[0].get_xdata().tolist() == [66, 130, 1000]
    assert panels[0].lines[0].get_ydata() == pytest.approx([0.5, 0.3, 0.125])
    assert panels[4].lines[1].get_ydata().tolist() == [4096] * 3


def test_costs_are_shown_of_the_set_that_most_models_have_run_on():
    rows = [a_row("mitbih100", rows=9000), *(a_row("vic_elec", model, rows=500) for model in (CARRIED, ATTENTION))]
    figure = plot_history(rows)
    assert [panel.get_title() for panel in figure.axes[-2:]] == [
        "vic_elec: seconds a forecast",
        "vic_elec: bytes of the state",
    ]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [CARRIED, ATTENTION]
