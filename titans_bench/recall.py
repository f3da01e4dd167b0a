"""Which memory holds how long: trained on short sequences, asked on ever longer ones, on equal terms.

Every run is a row a length in a file, written when it is done, and a second call runs only what is missing. Equal terms:
the same width, layers and heads, parameters within a tenth of each other (by the feed-forward layers), the same steps on the
same sequences, a learning rate each from one small grid, chosen on validation sequences of the training length with the
first seed; from the largest down, until one answers all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from titans_bench.recall_model import TEST, VALIDATION, RecallNetwork, matched, parameters, score, train
from titans_bench.rows import RecallRow, read_recall_rows, write_recall_rows
from titans_ts.backbones.config import BackboneConfig
from titans_ts.datasets.recall import NEEDLES, TASKS, Task
from titans_ts.learn.run import choose_device, seeded


@dataclass(frozen=True)
class Setting:
    """How models are made, trained and scored.

    Parameters
    ----------
    name : str
        Stands in every row; rows of other settings are left alone.
    width, layers, heads, window, refresh_every : int
        Of every backbone.
    parameters : int
        That each is brought to, within a tenth.
    length : int
        Tokens of a training sequence.
    longer : tuple of int
        Multiples of it that are scored.
    sequences : tuple of int
        Scored at each.
    batch_size, steps : int
        Of training.
    learning_rates : tuple of float
        The grid.
    """

    name: str
    width: int = 64
    layers: int = 2
    heads: int = 4
    window: int = 32
    refresh_every: int = 4
    parameters: int = 140_000
    length: int = 128
    longer: tuple[int, ...] = (1, 4, 16, 64)
    sequences: tuple[int, ...] = (192, 96, 48, 24)
    batch_size: int = 32
    steps: int = 1200
    learning_rates: tuple[float, ...] = (1e-3, 3e-3)


SETTINGS = {
    "standard": Setting("standard"),
    "quick": Setting("quick", steps=40, longer=(1, 4), sequences=(48, 24), learning_rates=(3e-3,)),
    "large": Setting(
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
"""``large`` is for a GPU."""


def with_steps(setting: Setting, steps: int) -> Setting:
    """Return a setting of another name in which every model is trained so many steps.

    Raises
    ------
    ValueError
        If there is less than one.

    Examples
    --------
    >>> with_steps(SETTINGS["standard"], 2400).name
    'standard, 2400 steps'
    """
    if steps < 1:
        raise ValueError(f"max_steps must be 1 or more, got {steps}: a memory that was not trained holds nothing")
    return replace(setting, name=f"{setting.name}, {steps} steps", steps=steps)


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
    "attention (full)": {"variant": "full_attention"},
    "lstm": {"variant": "lstm"},
    "hopfield (window)": {"variant": "hopfield"},
    "without convolution": {"variant": "mac", "convolution": 1},
    "without momentum": {"variant": "mac", "momentum": False},
    "without forgetting": {"variant": "mac", "forgetting": False},
    "without persistent tokens": {"variant": "mac", "persistent_tokens": 0},
    "linear memory": {"variant": "mac", "memory": "titans_linear"},
    "memory of 1 layer": {"variant": "mac", "memory_depth": 1},
    "memory of 3 layers": {"variant": "mac", "memory_depth": 3},
    "memory of 4 layers": {"variant": "mac", "memory_depth": 4},
}
CORE = tuple(MODELS)[:8]
ABLATION = ("titans (MAC)", *list(MODELS)[17:])
"""The paper's switches, each one change from MAC."""


def bench_recall(
    out: Path,
    *,
    setting: Setting = SETTINGS["standard"],
    tasks: Sequence[Task] = ("associative", "needle"),
    models: Sequence[str] = CORE,
    seeds: Sequence[int] = (0, 1, 2),
    device: str = "auto",
    jobs: int = 1,
    verbose: int = 0,
) -> list[RecallRow]:
    """Run what is missing in a file of rows, and return all rows that were asked for.

    Parameters
    ----------
    out : Path
        A CSV file; made where there is none.
    setting : Setting, optional
        How models are made, trained and scored.
    tasks : sequence of str, default=("associative", "needle")
        Names of :data:`titans_ts.datasets.recall.TASKS`.
    models : sequence of str, optional
        Names of :data:`MODELS`; the eight of the core by default.
    seeds : sequence of int, default=(0, 1, 2)
        The first chooses the learning rate.
    device : str, default="auto"
        Where to compute.
    jobs : int, default=1
        Trainings at a time, each in a process of its own with one thread: models this small gain nothing from more.
    verbose : int, default=0
        1 shows progress.

    Returns
    -------
    list of RecallRow
        Rows of the chosen learning rates only.

    Raises
    ------
    ValueError
        If a name is not known, ``jobs`` is less than 1, or the file holds other columns.

    Examples
    --------
    >>> rows = bench_recall(Path("recall.csv"), setting=SETTINGS["quick"])  # doctest: +SKIP
    """
    for name, chosen, known in (("tasks", tasks, TASKS), ("models", models, MODELS)):
        unknown = [x for x in chosen if x not in known]
        if unknown:
            raise ValueError(f"{name}: {unknown[0]!r} is not known; choose from {', '.join(known)}")
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more, got {jobs}")
    rows = read_recall_rows(out)
    pairs = [(task, model) for task in tasks for model in models]
    choosing: list[Run] = []
    for rate in sorted(setting.learning_rates, reverse=True):
        trying = [Run(*pair, rate, seeds[0]) for pair in pairs if not _answers_all(rows, setting, pair, choosing)]
        rows = _fill_in(out, rows, setting, trying, device=device, jobs=jobs, verbose=verbose)
        choosing += trying
    best = {pair: _best_rate(rows, setting, [run for run in choosing if run[:2] == pair]) for pair in pairs}
    repeated = [Run(*pair, best[pair], seed) for pair in pairs for seed in seeds[1:]]
    rows = _fill_in(out, rows, setting, repeated, device=device, jobs=jobs, verbose=verbose)
    return [row for pair in pairs for seed in seeds for row in _of(rows, setting, Run(*pair, best[pair], seed))]


class Run(NamedTuple):
    """One training."""

    task: Task
    model: str
    learning_rate: float
    seed: int


def _of(rows: Sequence[RecallRow], setting: Setting, run: Run) -> list[RecallRow]:
    return [row for row in rows if (row.setting, row.task, row.model, row.learning_rate, row.seed) == (setting.name, *run)]


def _validation(rows: Sequence[RecallRow], setting: Setting, run: Run) -> float:
    return next(row.score for row in _of(rows, setting, run) if row.part == "validation")


def _answers_all(rows: Sequence[RecallRow], setting: Setting, pair: tuple[Task, str], runs: Sequence[Run]) -> bool:
    """Tell whether validation has nothing left for a smaller rate to win."""
    return any(_validation(rows, setting, run) == 1 for run in runs if run[:2] == pair)


def _best_rate(rows: Sequence[RecallRow], setting: Setting, runs: Sequence[Run]) -> float:
    """Return the learning rate of the run that validation prefers; the larger one where several answer all."""
    return max(runs, key=lambda run: (_validation(rows, setting, run), run.learning_rate)).learning_rate


def _fill_in(
    out: Path, rows: list[RecallRow], setting: Setting, runs: Sequence[Run], *, device: str, jobs: int, verbose: int
) -> list[RecallRow]:
    """Run what is missing, write the file after each run, and return all rows."""
    missing = [run for run in runs if not _of(rows, setting, run)]
    with parallel_config("loky" if jobs > 1 else "sequential", n_jobs=jobs):
        inner = verbose if jobs == 1 else 0
        done = Parallel(return_as="generator_unordered")(
            delayed(_run)(setting, run, device=device, threads=1 if jobs > 1 else None, verbose=inner) for run in missing
        )
        for made in tqdm(done, total=len(missing), disable=verbose < 1, leave=False, unit="run"):
            rows = [*rows, *made]
            write_recall_rows(out, rows)
    return rows


def backbone_of(setting: Setting, task: Task, model: str) -> BackboneConfig:
    """Return the backbone of a model, brought to the setting's number of parameters."""
    plain = BackboneConfig(
        width=setting.width,
        layers=setting.layers,
        heads=setting.heads,
        window=setting.window,
        refresh_every=setting.refresh_every,
    )
    return matched(replace(plain, **MODELS[model]), task, setting.parameters)  # type: ignore[arg-type]


def _run(setting: Setting, run: Run, *, device: str, threads: int | None, verbose: int) -> list[RecallRow]:
    """Train one model and score it at every length."""
    task, model, rate, seed = run
    where = choose_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    config = backbone_of(setting, task, model)
    with seeded(seed, where):
        network = RecallNetwork(config, task).to(where)
    train(
        network,
        task,
        length=setting.length,
        batch_size=setting.batch_size,
        steps=setting.steps,
        learning_rate=rate,
        seed=seed,
        label=f"{task}, {model}, {rate:g}, seed {seed}",
        verbose=verbose,
    )
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
            made.append(
                RecallRow(setting.name, task, model, rate, seed, part, length, kind, found, parameters(network), state)
            )
    return made
