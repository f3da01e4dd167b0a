"""The recall bench: equal terms, rows that fill in and are never run twice, a table and a picture of what was found."""

import math
from dataclasses import replace

import pytest
import torch

from titans_bench import recall
from titans_bench.recall import (
    ABLATION,
    CORE,
    ENOUGH,
    MODELS,
    SETTINGS,
    RecallRow,
    Setting,
    backbone_of,
    bench_recall,
    plot_recall,
    recall_table,
)
from titans_bench.recall_model import RecallNetwork, loss_of, parameters, score
from titans_bench.recall_training import LEARNED, MASTERED, SETTLED, Curriculum, train
from titans_bench.rows import read_rows, write_rows
from titans_ts.cli import main
from titans_ts.datasets.recall import TASKS, VOCABULARY, make_recall

TINY = Setting(
    "tiny",
    width=8,
    heads=2,
    layers=1,
    parameters=2200,
    length=64,
    longer=(1, 2),
    sequences=(6, 3),
    batch_size=4,
    steps=2,
    seeds=(0,),
)
TWO = ("deltanet", "attention (window)")


@pytest.fixture
def counted(monkeypatch):
    """Count the trainings that are really run."""
    runs = []

    def counting(*arguments, **settings):
        runs.append((settings["learning_rate"], settings["seed"]))
        train(*arguments, **settings)

    monkeypatch.setattr(recall, "train", counting)
    return runs


@pytest.mark.parametrize("task", {words: task for task, words in VOCABULARY.items()}.values())
@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_the_same_number_of_parameters_within_a_tenth(model, task):
    setting = SETTINGS["standard"]
    found = parameters(RecallNetwork(backbone_of(setting, task, model), task))
    assert abs(found - setting.parameters) <= 0.1 * setting.parameters


def test_core_and_ablation_hold_what_the_claims_are_about():
    assert {"titans (LMM)", "titans (MAC)", "titans (MAG)", "linear_attention", "retnet", "mamba2"} <= set(CORE)
    assert len(CORE) == 8
    switches = {"convolution", "momentum", "forgetting", "persistent_tokens", "memory", "memory_depth"}
    changed = [set(MODELS[name]) - {"variant"} for name in ABLATION]
    assert changed[0] == set()
    assert {name for names in changed for name in names} == switches
    assert all(len(names) <= 1 for names in changed), "one switch at a time"


def test_a_second_call_runs_nothing_and_a_gap_is_filled(tmp_path, counted):
    out = tmp_path / "rows.csv"
    first = bench_recall(out, setting=TINY, tasks=("needle",), models=TWO, seeds=(0, 1))
    rates = len(TINY.learning_rates)
    assert len(counted) == len(TWO) * (rates + 1)
    assert bench_recall(out, setting=TINY, tasks=("needle",), models=TWO, seeds=(0, 1)) == first
    assert len(counted) == len(TWO) * (rates + 1)
    write_rows(out, [row for row in read_rows(out, RecallRow) if (row.model, row.seed) != ("deltanet", 1)], RecallRow)
    assert sorted(map(str, bench_recall(out, setting=TINY, tasks=("needle",), models=TWO, seeds=(0, 1)))) == sorted(
        map(str, first)
    )
    assert [seed for _, seed in counted[len(TWO) * (rates + 1) :]] == [1]


def test_two_trainings_at_a_time_find_what_one_finds(tmp_path):
    asked = {"setting": TINY, "tasks": ("needle",), "models": TWO, "seeds": (0, 1)}
    one = bench_recall(tmp_path / "one.csv", **asked, jobs=1)
    assert bench_recall(tmp_path / "two.csv", **asked, jobs=2) == one
    assert len(read_rows(tmp_path / "two.csv", RecallRow)) == len(read_rows(tmp_path / "one.csv", RecallRow))
    with pytest.raises(ValueError, match="jobs must be 1 or more, got 0"):
        bench_recall(tmp_path / "three.csv", **asked, jobs=0)


def test_the_learning_rate_is_chosen_on_validation_alone(tmp_path, counted):
    low, high = TINY.learning_rates
    rows = [
        RecallRow("tiny", "needle", "deltanet", rate, 0, part, length, "all", value, 1, 1, 2, 0.1)
        for rate, validation, test in ((low, 0.9, 0.1), (high, 0.2, 0.8))
        for part, length, value in (("validation", 64, validation), ("test", 64, test), ("test", 128, test))
    ]
    out = tmp_path / "rows.csv"
    write_rows(out, rows, RecallRow)
    found = bench_recall(out, setting=TINY, tasks=("needle",), models=("deltanet",), seeds=(0, 1))
    assert {row.learning_rate for row in found} == {low}
    assert counted == [(low, 1)]


def test_where_the_larger_learning_rate_answers_nearly_all_no_smaller_one_is_tried(tmp_path, counted):
    rows = [
        RecallRow("tiny", "needle", "deltanet", max(TINY.learning_rates), 0, part, 64, "all", ENOUGH, 1, 1, 2, 0.1)
        for part in ("validation", "test")
    ]
    out = tmp_path / "rows.csv"
    write_rows(out, rows, RecallRow)
    found = bench_recall(out, setting=TINY, tasks=("needle",), models=("deltanet",), seeds=(0,))
    assert {row.learning_rate for row in found} == {max(TINY.learning_rates)}
    assert not counted


def test_other_settings_in_the_same_file_are_left_alone(tmp_path):
    out = tmp_path / "rows.csv"
    bench_recall(out, setting=TINY, tasks=("motif",), models=TWO[:1], seeds=(0,))
    before = read_rows(out, RecallRow)
    bench_recall(out, setting=replace(TINY, name="other", steps=1), tasks=("motif",), models=TWO[:1], seeds=(0,))
    after = read_rows(out, RecallRow)
    assert after[: len(before)] == before
    assert {row.setting for row in after} == {"tiny", "other"}


def test_the_command_takes_steps_prints_tables_and_writes_rows_and_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recall, "SETTINGS", {"quick": TINY})
    out, picture = tmp_path / "recall.csv", tmp_path / "recall.png"
    words = ["--quick", "--quiet", "--tasks", "needle", "--models", "deltanet", "--max-steps", "3", "--out", str(out)]
    assert main(["bench", "recall", *words, "--plot", str(picture)]) == 0
    found = {(row.setting, row.model, row.seed, row.steps) for row in read_rows(out, RecallRow)}
    assert found == {("tiny, 3 steps", "deltanet", 0, 3)}
    assert "| deltanet |" in capsys.readouterr().out
    assert picture.stat().st_size > 1000
    written = out.read_bytes()
    assert main(["bench", "recall", *words, "--max-steps", "0"]) == 2
    assert "max_steps must be 1 or more, got 0" in capsys.readouterr().err
    assert out.read_bytes() == written


def test_a_run_that_breaks_off_leaves_what_was_done(tmp_path, monkeypatch):
    out = tmp_path / "rows.csv"
    bench_recall(out, setting=TINY, tasks=("needle",), models=TWO[:1], seeds=(0,))
    done = out.read_bytes()
    monkeypatch.setattr(recall, "train", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        bench_recall(out, setting=TINY, tasks=("needle",), models=TWO, seeds=(0,))
    assert out.read_bytes() == done
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_unknown_names_and_foreign_files_are_refused_before_any_work(tmp_path, counted):
    out = tmp_path / "rows.csv"
    with pytest.raises(ValueError, match="tasks: 'needles' is not known; choose from associative; needle; multikey; motif"):
        bench_recall(out, setting=TINY, tasks=("needles",))
    with pytest.raises(ValueError, match="models: 'titan' is not known; choose from titans"):
        bench_recall(out, setting=TINY, models=("titan",))
    out.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="is no file of this bench: expected the columns setting, task, model"):
        bench_recall(out, setting=TINY)
    assert not counted
    assert out.read_text() == "a,b\n1,2\n"


def taught(right, *, steps=400):
    """Go through a curriculum; returns the distance, tokens and rate of every step."""
    curriculum, seen = Curriculum(128, steps), []
    while curriculum.rate > 0:
        seen.append((curriculum.distance, curriculum.tokens, curriculum.rate))
        curriculum.heard(right(curriculum))
    return seen


def test_distances_grow_with_what_is_answered_and_training_ends_once_all_is():
    seen = taught(lambda _: 1.0)
    assert [distance for distance, _, _ in seen[:61]] == [16] * 20 + [32] * 20 + [64] * 20 + [128]
    assert {(distance, tokens) for distance, tokens, _ in seen} == {(16, 64), (32, 64), (64, 64), (128, 128)}
    assert len(seen) == 60 + SETTLED + 80
    rates = [rate for _, _, rate in seen]
    assert rates[:20] == [(step + 1) / 20 for step in range(20)]
    assert set(rates[20 : 60 + SETTLED + 1]) == {1.0}
    assert rates[-80:] == pytest.approx([1 - step / 80 for step in range(80)])


@pytest.mark.parametrize("right", [0.0, LEARNED - 0.01])
def test_who_does_not_learn_sees_every_distance_all_the_same(right):
    seen = taught(lambda _: right)
    assert [distance for distance, _, _ in seen] == [16] * 50 + [32] * 50 + [64] * 50 + [128] * 250
    assert sum(rate < 1 for _, _, rate in seen[20:]) == 79, "the rate falls over the last fifth"


def test_the_end_waits_until_the_whole_length_is_mastered():
    """What was right at near distances, or right in fewer answers, does not end it."""
    assert len(taught(lambda now: 1.0 if now.distance < 128 else MASTERED - 0.01)) == 400
    assert len(taught(lambda now: float(now.step >= 150 or now.distance < 128))) == 150 + SETTLED + 80
    assert len(taught(lambda _: math.nan)) == 400


@pytest.mark.parametrize("task", TASKS)
def test_scores_know_right_from_wrong(task):
    """A network that answers what is asked scores 1, one that answers something else scores 0."""
    made = make_recall(task, length=64, sequences=9, random_state=5)
    targets = torch.from_numpy(made.targets)

    class Oracle(torch.nn.Module):
        def __init__(self, wrong: int) -> None:
            super().__init__()
            self.wrong, self.answer = wrong, torch.nn.Linear(1, 1)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            if task == "motif":
                return targets.nan_to_num() + 10 * self.wrong
            words = int(targets.max()) + 2
            return torch.nn.functional.one_hot((targets.clamp_min(0) + self.wrong) % words, words).float()

    assert score(Oracle(0), task, length=64, sequences=9, seed=5) == [1.0] * 9
    assert score(Oracle(1), task, length=64, sequences=9, seed=5) == [0.0] * 9


def test_training_learns_and_leaves_the_global_generators_alone():
    """The least there is to learn is which words can be answers at all: log 32 of log 80."""
    torch.manual_seed(0)
    config = backbone_of(replace(TINY, width=32, parameters=10_500), "associative", "attention (window)")
    network = RecallNetwork(config, "associative")
    made = make_recall("associative", length=64, sequences=64, random_state=9)
    inputs, targets = torch.from_numpy(made.inputs), torch.from_numpy(made.targets)
    with torch.no_grad():
        fresh = float(loss_of(network(inputs), targets))
    before = torch.get_rng_state()
    train(network, "associative", Curriculum(64, 30), batch_size=16, learning_rate=1e-2, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        learned = float(loss_of(network(inputs), targets))
    assert fresh > math.log(80) - 0.3
    assert learned < math.log(32) + 0.2


def test_table_and_picture_show_every_model_and_length(tmp_path):
    rows = [
        RecallRow("tiny", task, model, 1e-3, seed, "test", length, "all", value, 1234, 5678, 400, 12.4)
        for task in ("associative", "needle")
        for model, value in (("titans (MAC)", 0.75), ("retnet", 0.25))
        for seed in (0, 1)
        for length in (64, 128)
    ]
    rows[0] = replace(rows[0], score=0.5)
    lines = recall_table(rows).splitlines()
    assert lines[0] == "| associative | 64 | 128 | parameters | state | rate | steps | processor, s |"
    assert lines[2] == "| titans (MAC) | 62.5 (25.0) | 75.0 (0.0) | 1,234 | 5,678 | 0.001 | 400 | 12 |"
    assert lines[3].startswith("| retnet | 25.0 (0.0)")
    figure = plot_recall(rows)
    figure.savefig(tmp_path / "recall.png")
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]
    assert figure.axes[0].lines[0].get_ydata().tolist() == [62.5, 75.0]
