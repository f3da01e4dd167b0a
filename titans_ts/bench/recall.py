"""Which memory holds how long: trained on short sequences, asked on ever longer ones, on equal terms.

Every run is a row a length in a file, written when it is done, and a second call runs only what is missing. Equal terms:
the same width, layers and heads, parameters within a tenth of each other (by the feed-forward layers), the same steps on the
same sequences, a learning rate each from one small grid, chosen on validation sequences of the training length with the
first seed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from titans_ts.backbones.config import BackboneConfig
from titans_ts.bench.recall_model import TEST, VALIDATION, RecallNetwork, matched, parameters, score, train
from titans_ts.data.files import replacing
from titans_ts.data.recall import NEEDLES, TASKS, Task
from titans_ts.training.runtime import choose_device, seeded


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
    refresh_every: int = 16
    parameters: int = 140_000
    length: int = 128
    longer: tuple[int, ...] = (1, 4, 16, 64)
    sequences: tuple[int, ...] = (192, 96, 48, 24)
    batch_size: int = 32
    steps: int = 1500
    learning_rates: tuple[float, ...] = (1e-3, 3e-3)


SETTINGS = {
    "standard": Setting("standard"),
    "quick": Setting("quick", steps=60, longer=(1, 4), sequences=(48, 24), learning_rates=(3e-3,)),
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


@dataclass(frozen=True)
class Row:
    """The score of one run at one length.

    Attributes
    ----------
    setting, task, model : str
        What was run.
    learning_rate : float
        Of its training.
    seed : int
        Of its first weights and of its sequences.
    part : {"validation", "test"}
        Validation at the training length chooses the learning rate.
    length : int
        Tokens.
    kind : str
        ``"all"``, or which needle.
    score : float
        0 to 1; see :func:`titans_ts.bench.recall_model.score`.
    parameters, state : int
        Learned numbers, and numbers that the state of one sequence holds at this length.
    """

    setting: str
    task: str
    model: str
    learning_rate: float
    seed: int
    part: str
    length: int
    kind: str
    score: float
    parameters: int
    state: int


def bench_recall(
    out: Path,
    *,
    setting: Setting = SETTINGS["standard"],
    tasks: Sequence[Task] = ("associative", "needle"),
    models: Sequence[str] = CORE,
    seeds: Sequence[int] = (0, 1, 2),
    device: str = "auto",
    verbose: int = 0,
) -> list[Row]:
    """Run what is missing in a file of rows, and return all rows that were asked for.

    Parameters
    ----------
    out : Path
        A CSV file; made where there is none.
    setting : Setting, optional
        How models are made, trained and scored.
    tasks : sequence of str, default=("associative", "needle")
        Names of :data:`titans_ts.data.recall.TASKS`.
    models : sequence of str, optional
        Names of :data:`MODELS`; the eight of the core by default.
    seeds : sequence of int, default=(0, 1, 2)
        The first chooses the learning rate.
    device : str, default="auto"
        Where to compute.
    verbose : int, default=0
        1 shows progress.

    Returns
    -------
    list of Row
        Rows of the chosen learning rates only.

    Raises
    ------
    ValueError
        If a name is not known or the file holds other columns.

    Examples
    --------
    >>> rows = bench_recall(Path("recall.csv"), setting=SETTINGS["quick"])  # doctest: +SKIP
    """
    for name, chosen, known in (("tasks", tasks, TASKS), ("models", models, MODELS)):
        unknown = [x for x in chosen if x not in known]
        if unknown:
            raise ValueError(f"{name}: {unknown[0]!r} is not known; choose from {', '.join(known)}")
    rows = read_rows(out)
    found: list[Row] = []
    for task in tasks:
        for model in models:
            best = None
            for seed in seeds:
                rates = setting.learning_rates if best is None else (best,)
                for rate in rates:
                    if not _of(rows, setting, task, model, rate, seed):
                        rows += _run(setting, task, model, rate, seed, device=device, verbose=verbose)
                        write_rows(out, rows)
                if best is None:
                    reached = {rate: _validation(_of(rows, setting, task, model, rate, seed)) for rate in rates}
                    best = max(rates, key=reached.__getitem__)
                found += _of(rows, setting, task, model, best, seed)
    return found


def _of(rows: Sequence[Row], setting: Setting, task: str, model: str, rate: float, seed: int) -> list[Row]:
    wanted = (setting.name, task, model, rate, seed)
    return [row for row in rows if (row.setting, row.task, row.model, row.learning_rate, row.seed) == wanted]


def _validation(rows: Sequence[Row]) -> float:
    return next(row.score for row in rows if row.part == "validation")


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


def _run(setting: Setting, task: Task, model: str, rate: float, seed: int, *, device: str, verbose: int) -> list[Row]:
    """Train one model and score it at every length."""
    where = choose_device(device)
    config = backbone_of(setting, task, model)
    with seeded(seed, where):
        network = RecallNetwork(config, task).to(where)
    if verbose:
        print(f"{task}, {model}, learning rate {rate:g}, seed {seed}", flush=True)
    train(
        network,
        task,
        length=setting.length,
        batch_size=setting.batch_size,
        steps=setting.steps,
        learning_rate=rate,
        seed=seed,
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
            made.append(Row(setting.name, task, model, rate, seed, part, length, kind, found, parameters(network), state))
    return made


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file; none where there is no file yet.

    Raises
    ------
    ValueError
        If its columns are not those of :class:`Row`.
    """
    if not path.exists():
        return []
    names = [field.name for field in fields(Row)]
    with path.open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(lines)
        if table.fieldnames != names:
            raise ValueError(f"{path} is no file of this bench: expected the columns {', '.join(names)}; name another file")
        numbers = {"learning_rate": float, "score": float, "seed": int, "length": int, "parameters": int, "state": int}
        return [Row(*(numbers.get(name, str)(line[name]) for name in names)) for line in table]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, the old file whole until the new one is."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as lines:
        table = csv.DictWriter(lines, [field.name for field in fields(Row)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in rows)
