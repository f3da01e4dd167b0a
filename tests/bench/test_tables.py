"""Tables of the benchmarks' page: the files they come from are whole, and the page is what its command renders."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from titans_bench import tables
from titans_bench.contest import ALL, NAIVE, OURS, POINT_NAIVE, TaskRow
from titans_bench.protocol import BASE, DEFAULT_HORIZONS, HORIZONS, Score
from titans_bench.recall import MODELS, SETTINGS, RecallRow
from titans_bench.rows import read_rows, write_rows
from titans_bench.tables import TABLES, panels_table, render, rendered, rolling_table, score_table
from titans_bench.tasks import GROUPS, TASKS
from titans_ts.datasets.recall import NEEDLES

FOLDER = Path(__file__).parents[2] / "benchmarks"


def row(task, model=OURS, seed=0, history=ALL, *, mase=1.0, sql=0.8, wql=0.1, seconds=1.0):
    asked = TASKS[task]
    place = ("standard", task, model, seed, history, 10, asked.windows, asked.horizon)
    return TaskRow(*place, mase, sql, wql, 0.8, 0.95, seconds, seconds, 3 * seconds, "a package 1.0")


def test_the_file_of_tasks_is_whole():
    """Columns and their types by reading them; then what no type tells."""
    rows = read_rows(FOLDER / "tasks.csv", TaskRow)
    assert rows
    assert not [
        each for each, count in Counter((r.setting, r.task, r.model, r.seed, r.history) for r in rows).items() if count > 1
    ]
    for each in rows:
        asked = TASKS[each.task]
        assert each.setting == "standard", "quick tries do not belong into the file"
        assert (each.windows, each.horizon) == (asked.windows, asked.horizon)
        assert each.history == ALL or int(each.history) > 0
        assert np.isfinite([each.mase, each.sql, each.wql, each.cpu_seconds]).all()
        assert 0 < each.mase < 100
        assert 0 <= each.coverage_80 <= 1
        assert each.made_by
    naive = {each.task: each for each in rows if each.model == NAIVE}
    assert set(naive) == set(TASKS)
    for name, each in naive.items():
        assert each.mase == pytest.approx(TASKS[name].published.mase, rel=5e-4)


def test_the_file_of_recall_is_whole():
    """Every run has a row for each length and kind, and shares between 0 and 1."""
    rows = read_rows(FOLDER / "recall.csv", RecallRow)
    runs = {}
    for each in rows:
        assert each.setting.split(",")[0] == "standard", "quick tries do not belong into the file"
        assert each.model in MODELS
        assert 0 <= each.score <= 1
        assert each.parameters > 0 < each.steps
        assert each.state >= 0
        run = runs.setdefault((each.setting, each.task, each.model, each.learning_rate, each.seed), Counter())
        run[each.part, each.length, each.kind] += 1
    kinds = {"needle": ("all", *NEEDLES)}
    places = [("validation", 128), *(("test", 128 * times) for times in SETTINGS["standard"].longer)]
    for (_, task, *_), found in runs.items():
        assert found == Counter((*place, kind) for place in places for kind in kinds.get(task, ("all",)))


@pytest.mark.parametrize("name", tables.PROTOCOL)
def test_files_of_the_protocol_are_whole(name):
    rows = read_rows(FOLDER / "protocol" / f"{name}.csv", Score)
    data = "weather, -9999 kept" if name == "weather_markers" else name
    assert {row.dataset for row in rows} == {data}
    horizons = (*HORIZONS.get(name, DEFAULT_HORIZONS), "average")
    for model in {row.model for row in rows}:
        mine = [row for row in rows if row.model == model]
        assert tuple(dict.fromkeys(row.horizon for row in mine)) == horizons
        assert len(mine) == len(horizons) * len({row.seed for row in mine})
        assert all(0 < row.mae < 2 and 0 < row.mse < 2 for row in mine)
    assert {BASE, f"{BASE}, refitted"} < {row.model for row in rows}


def test_the_page_is_what_its_command_renders():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert rendered(text, FOLDER) == text, "run `titans-ts bench tables`"
    assert all(f"<!-- table: {name} -->" in text for name in TABLES)


def test_only_what_is_between_marks_is_made_anew(tmp_path):
    rows = [row(task, model) for task in TASKS for model in (NAIVE, POINT_NAIVE)]
    write_rows(tmp_path / "tasks.csv", rows, TaskRow)
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- table: panels -->\nold\n<!-- end -->\nafter | old |\n")
    assert render(page)
    text = page.read_text()
    assert text.startswith("before\n<!-- table: panels -->\n| MASE/WQL | m1_monthly |")
    assert text.endswith("\n<!-- end -->\nafter | old |\n")
    assert not render(page)
    with pytest.raises(ValueError, match="there is no table 'nonesuch'"):
        rendered("<!-- table: nonesuch -->\n<!-- end -->", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"recall\.csv has no rows"):
        rendered("<!-- table: recall, needle -->\n<!-- end -->", tmp_path)


def test_panels_are_beside_the_naive_forecast():
    rows = [row(task, POINT_NAIVE, mase=2.0, wql=0.2) for task in GROUPS["panels"]]
    rows += [row(task, OURS, seed, mase=1.0 + seed, wql=0.1) for task in GROUPS["panels"] for seed in (0, 1)]
    lines = panels_table(rows).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:5]] == [
        *("| seasonal naive, as published", "| seasonal naive, point only", "| titans"),
    ]
    assert lines[4].split(" | ")[1:] == [
        *["1.500/0.1000"] * 8, "0.750", "1.00", "0.500", "80.0", "95.0", "16", "24 |",
    ]  # fmt: skip
    assert "| 0.750 |" not in panels_table(rows[:-2]), "a mean of fewer tasks is another figure"


def test_rolling_tasks_have_a_row_a_history():
    rows = [row(task, NAIVE, sql=1.0) for task in GROUPS["rolling"]]
    rows += [row(GROUPS["rolling"][0], OURS, history=history, seconds=2.0) for history in (ALL, "8192")]
    lines = rolling_table([*rows, replace(rows[0], model=POINT_NAIVE)]).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:6]] == [
        *("| seasonal naive, as published", "| seasonal naive", "| titans", "| titans, 8,192 rows read"),
    ]
    assert lines[5].split(" | ")[1:] == ["0.8000/1.0000", "-", "-", "-", "80.0", "95.0", "6.0 |"]


def test_one_task_has_mean_and_spread_over_seeds():
    rows = [row("m3_yearly", NAIVE), *(row("m3_yearly", OURS, seed, mase=1.0 + seed / 10) for seed in (0, 1, 2))]
    lines = score_table(rows).splitlines()
    assert lines[2].startswith("| seasonal naive, as published | 3.1717 | - | 0.1665 |")
    assert lines[4].startswith("| titans | 1.1000 (0.2000) | 0.8000 | 0.1000 | 80.0 | 95.0 | 1.0 | 1.0 | 3.0 | 3 |")
    assert lines[-1] == "10 series; windows of 6 rows: 1."


def test_recall_is_shown_at_the_rate_that_validation_chose():
    def rows(model, rate, validation, test):
        place = "standard", "needle", model, rate, 0
        return [
            RecallRow(*place, part, 128, "all", score, 140_000, 5_000, 400, 60.0)
            for part, score in (("validation", validation), ("test", test))
        ]

    made = [*rows("mamba2", 3e-3, 0.5, 0.9), *rows("mamba2", 1e-3, 0.6, 0.4), *rows("linear memory", 3e-3, 0.5, 0.9)]
    lines = tables.TABLES["recall, needle"].table(made).splitlines()
    assert lines[2].startswith("| mamba2 | 40.0 |")
    assert lines[2].split(" | ")[-3] == "0.001"
    assert len(lines) == 3, "switches of one model are no memories to compare"
