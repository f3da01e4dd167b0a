"""How long each memory holds: models are trained on short sequences and asked on ever longer ones, on equal terms.

Every run gives a row for each length in a file, written when it is done, and a second call runs only what is missing.

Equal terms are the same width, layers and heads, parameters within a tenth of each other (by the feed-forward layers), the
same curriculum of the same sequences and the same most steps, and a learning rate each from one small grid. The rate is
chosen on validation sequences of the training length with the first seed, from the largest down until one answers enough.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from titans_bench.recall_model import TEST, VALIDATION, RecallNetwork, matched, parameters, score
from titans_bench.recall_training import Curriculum, train
from titans_bench.rows import check_names, draw_runs, fill_in, markdown_table, read_rows, rows_of
from titans_ts.backbones.config import BackboneConfig
from titans_ts.blocks.chance import drawing
from titans_ts.datasets.recall import NEEDLES, TASKS, Task
from titans_ts.learn.run import choose_device

MODELS: dict[str, dict[str, object]] = {
    "titans (LMM)": {"variant": "lmm"},
    "titans (MAC)": {"variant": "mac"},
    "titans (MAG)": {"variant": "mag"},
    "linear_attention": {"variant": "lmm", "memory": "linear_attention"},
    "retnet": {"variant": "lmm", "memory": "retnet"},
    "mamba2": {"variant": "lmm", "memory": "mamba2"},
    "deltanet": {"variant": "lmm", "memory": "deltanet"},
    "attention (window)": {"variant": "attention"},
    "titans (MAL)": {"variant": "mal"},
    "titans_linear (LMM)": {"variant": "lmm", "memory": "titans_linear"},
    "gated_deltanet": {"variant": "lmm", "memory": "gated_deltanet"},
    "longhorn": {"variant": "lmm", "memory": "longhorn"},
    "ttt_linear": {"variant": "lmm", "memory": "ttt_linear"},
    "ttt_mlp": {"variant": "lmm", "memory": "ttt_mlp"},
    "momentum_deltanet": {"variant": "lmm", "memory": "momentum_deltanet"},
    "mesa": {"variant": "lmm", "memory": "mesa"},
    "omega": {"variant": "lmm", "memory": "omega"},
    "titans (LMM), 64 slots": {"variant": "lmm", "slots": 64},
    "titans (MAC), 64 slots": {"variant": "mac", "slots": 64},
    "attention (full)": {"variant": "full_attention"},
    "lstm": {"variant": "lstm"},
    "hopfield (window)": {"variant": "hopfield"},
}
SWITCHES: dict[str, dict[str, object]] = {  # the paper's, each one change from MAC
    "without convolution": {"variant": "mac", "convolution": 1},
    "without momentum": {"variant": "mac", "momentum": False},
    "without forgetting": {"variant": "mac", "forgetting": False},
    "without persistent tokens": {"variant": "mac", "persistent_tokens": 0},
    "linear memory": {"variant": "mac", "memory": "titans_linear"},
    "memory of 1 layer": {"variant": "mac", "memory_depth": 1},
    "memory of 3 layers": {"variant": "mac", "memory_depth": 3},
    "memory of 4 layers": {"variant": "mac", "memory_depth": 4},
}
MODELS |= SWITCHES
ENOUGH = 0.99  # share of validation answers at which no smaller learning rate is tried
CORE = tuple(MODELS)[:8]
ABLATION = ("titans (MAC)", *SWITCHES)


@dataclass(frozen=True)
class Setting:
    """How models are made, trained and scored."""

    name: str  # stands in every row; rows of other settings are left alone
    tasks: tuple[Task, ...] = ("associative", "needle")
    models: tuple[str, ...] = CORE
    seeds: tuple[int, ...] = (0, 1, 2)
    width: int = 64
    layers: int = 2
    heads: int = 4
    window: int = 32
    refresh_every: int = 4
    parameters: int = 140_000  # each model is brought to this, within a tenth
    length: int = 128  # tokens of a training sequence
    longer: tuple[int, ...] = (1, 4, 16, 64)  # multiples of the length that are scored
    sequences: tuple[int, ...] = (192, 96, 48, 24)  # scored at each multiple
    batch_size: int = 32
    steps: int = 500  # at most; see `recall_training.Curriculum`
    learning_rates: tuple[float, ...] = (1e-3, 3e-3)


SETTINGS = {
    "standard": Setting("standard"),
    "quick": Setting(
        "quick",
        tasks=("associative",),
        models=("titans (LMM)", "linear_attention", "deltanet"),
        seeds=(0,),
        length=64,
        longer=(1, 4, 16),
        sequences=(96, 48, 24),
        steps=300,
        learning_rates=(3e-3,),
    ),
    "large": Setting(  # for a GPU
        "large",
        width=256,
        layers=4,
        parameters=5_000_000,
        length=512,
        batch_size=64,
        steps=10_000,
        learning_rates=(3e-4, 1e-3, 3e-3),
    ),
}


def with_steps(setting: Setting, steps: int) -> Setting:
    """Return a setting of another name, such as ``"standard, 2400 steps"``, with so many training steps."""
    if steps < 1:
        raise ValueError(f"max_steps must be 1 or more, got {steps}: a memory that was not trained holds nothing")
    return replace(setting, name=f"{setting.name}, {steps} steps", steps=steps)


class Run(NamedTuple):
    """One training."""

    task: Task
    model: str
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class RecallRow:
    """The score of one run at one length."""

    setting: str
    task: str
    model: str
    learning_rate: float
    seed: int  # of the first weights and of the sequences
    part: str  # "validation", at the training length, chooses the learning rate; or "test"
    length: int  # tokens
    kind: str  # "all", or which needle
    score: float  # 0 to 1; see `recall_model.score`
    parameters: int  # learned numbers
    state: int  # numbers that the state of one sequence holds at this length
    steps: int  # of training, before it ended
    cpu_seconds: float = field(compare=False)  # the processor's, of training


def bench_recall(
    out: Path,
    *,
    setting: Setting = SETTINGS["standard"],
    tasks: Sequence[Task] | None = None,
    models: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    device: str = "auto",
    jobs: int = 1,
    verbose: int | None = 0,
) -> list[RecallRow]:
    """Run what is missing in a CSV file, and return the rows asked for, at the learning rates that the first seed chose.

    Tasks, models and seeds are those of the setting where they are not given. Several jobs train at a time, each with one
    thread: models this small gain nothing from more.
    """
    tasks, models, seeds = tasks or setting.tasks, models or setting.models, seeds or setting.seeds
    check_names(tasks=(tasks, TASKS), models=(models, MODELS))
    rows = read_rows(out, RecallRow)

    def run_all(rows: list[RecallRow], runs: Sequence[Run]) -> list[RecallRow]:
        missing = [run for run in runs if not rows_of(rows, setting.name, run)]
        work = partial(_run, setting, device=device)
        return fill_in(out, rows, missing, work, kind=RecallRow, setting=setting.name, jobs=jobs, verbose=verbose)

    def validated(run: Run) -> float:
        return next(row.score for row in rows_of(rows, setting.name, run) if row.part == "validation")

    pairs = [(task, model) for task in tasks for model in models]
    tried: dict[tuple[Task, str], list[Run]] = {pair: [] for pair in pairs}
    for rate in sorted(setting.learning_rates, reverse=True):
        # where validation answers nearly all, a smaller rate has nothing left to win
        trying = [Run(*pair, rate, seeds[0]) for pair in pairs if all(validated(run) < ENOUGH for run in tried[pair])]
        rows = run_all(rows, trying)
        for run in trying:
            tried[run[:2]].append(run)
    best = {pair: max(tried[pair], key=lambda run: (validated(run), run.learning_rate)).learning_rate for pair in pairs}
    rows = run_all(rows, [Run(*pair, best[pair], seed) for pair in pairs for seed in seeds[1:]])
    chosen = [Run(*pair, best[pair], seed) for pair in pairs for seed in seeds]
    return [row for run in chosen for row in rows_of(rows, setting.name, run)]


def backbone_of(setting: Setting, task: Task, model: str) -> BackboneConfig:
    """Return the backbone of a model, with as many parameters as the setting says."""
    plain = BackboneConfig(
        width=setting.width,
        layers=setting.layers,
        heads=setting.heads,
        window=setting.window,
        refresh_every=setting.refresh_every,
    )
    return matched(replace(plain, **MODELS[model]), task, setting.parameters)  # type: ignore[arg-type]


def _run(setting: Setting, run: Run, *, device: str, verbose: int | None) -> list[RecallRow]:
    """Train one model and score it at every length."""
    task, model, rate, seed = run
    where = choose_device(device)
    config = backbone_of(setting, task, model)
    with drawing(seed):
        network = RecallNetwork(config, task).to(where)
    curriculum, began = Curriculum(setting.length, setting.steps), time.process_time()
    train(
        network,
        task,
        curriculum,
        batch_size=setting.batch_size,
        learning_rate=rate,
        seed=seed,
        label=f"{task}, {model}, {rate:g}, seed {seed}",
        verbose=verbose,
    )
    taken = time.process_time() - began
    made = []
    lengths = [("validation", 1, setting.sequences[0], VALIDATION)]
    lengths += [("test", times, count, TEST) for times, count in zip(setting.longer, setting.sequences, strict=True)]
    for part, times, count, offset in lengths:
        length = times * setting.length
        shares = np.array(score(network, task, length=length, sequences=count, seed=seed + offset))
        state = network.state_floats(length)
        kinds = {"all": shares}
        if task == "needle":
            kinds |= {name: shares[i :: len(NEEDLES)] for i, name in enumerate(NEEDLES)}
        for kind, of_kind in kinds.items():
            found = round(float(of_kind.mean()), 4)
            sizes = parameters(network), state, curriculum.step, round(taken, 1)
            made.append(RecallRow(setting.name, task, model, rate, seed, part, length, kind, found, *sizes))
    return made


def recall_table(rows: Sequence[RecallRow], *, kind: str = "all") -> str:
    """Return scores as a markdown table a task: a row a model, mean and spread (max - min) over seeds a length."""
    blocks = []
    for task in dict.fromkeys(row.task for row in rows):
        here = [row for row in rows if (row.task, row.part, row.kind) == (task, "test", kind)]
        lengths = sorted({row.length for row in here})
        body = []
        for model in dict.fromkeys(row.model for row in here):
            mine = [row for row in here if row.model == model]
            cells = [_cell([row.score for row in mine if row.length == length]) for length in lengths]
            last = max(mine, key=lambda row: row.length)
            cells += [f"{last.parameters:,}", f"{last.state:,}", f"{last.learning_rate:g}"]
            means = (np.mean([getattr(row, name) for row in mine]) for name in ("steps", "cpu_seconds"))
            cells += ["-" if np.isnan(mean) else f"{mean:.0f}" for mean in means]
            body.append([model, *cells])
        head = [task, *(f"{length:,}" for length in lengths), "parameters", "state", "rate", "steps", "processor, s"]
        blocks.append(markdown_table(head, body))
    return "\n\n".join(blocks)


def _cell(scores: Sequence[float]) -> str:
    if not scores:
        return "-"
    return f"{100 * np.mean(scores):.1f}" + (f" ({100 * np.ptp(scores):.1f})" if len(scores) > 1 else "")


def plot_recall(rows: Sequence[RecallRow], *, kind: str = "all") -> Any:
    """Return a figure of scores against length, a panel a task and a line a model, the range over seeds shaded."""
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(row.task for row in rows))
    models = list(dict.fromkeys(row.model for row in rows))
    figure = Figure(figsize=(4.8 * len(tasks) + 2.4, 4.2), layout="constrained")
    panels = figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
    for panel, task in zip(panels, tasks, strict=True):
        for place, model in enumerate(models):
            mine = [row for row in rows if (row.task, row.model, row.part, row.kind) == (task, model, "test", kind)]
            lengths = sorted({row.length for row in mine})
            scores = [[100 * row.score for row in mine if row.length == length] for length in lengths]
            style = "-" if model.startswith("titans") else "--"
            draw_runs(panel, lengths, scores, color=f"C{place % 10}", label=model, style=style)
        panel.set_xscale("log", base=2)
        ticks = sorted({row.length for row in rows if row.task == task})
        panel.set_xticks(ticks, [f"{length:,}" for length in ticks])
        panel.set_title({"motif": "motif: variance explained, %"}.get(task, f"{task}: answers right, %"))
        panel.set_xlabel(f"tokens (trained at {ticks[0]:,})" if ticks else "tokens")
        panel.grid(alpha=0.25)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure
