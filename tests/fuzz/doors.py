"""Calls of the public face with mutated inputs: what is called, what a refusal may name, what must not change."""

import copy
import functools
import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import torch
from fuzz.mutations import (
    ARGUMENTS,
    ARRAY_OTHER,
    ARRAY_SAME,
    BACKENDS,
    FILE_OTHER,
    FILE_SAME,
    FRAME_OTHER,
    FRAME_SAME,
    NOTHINGS,
    ODD,
    SEQUENCES_OTHER,
    SEQUENCES_SAME,
    changed,
    choose,
    held_by,
)

from titans_ts import (
    DNAClassifier,
    DNALanguageModel,
    DNARegressor,
    PanelTimeSeriesSplit,
    TitansAnomalyDetector,
    TitansClassifier,
    TitansEmbedder,
    TitansForecaster,
    TitansRegressor,
    make_dna_motifs,
    make_panel,
    make_recurring,
    make_regimes,
    make_seasonal,
)
from titans_ts.backbones.state import pack

HOURS = pd.date_range("2024-03-29", periods=72, freq="h")
HISTORY = 60  # rows that models read; the others follow
HORIZON = 4
SMALL = {
    "horizon": HORIZON, "lookback": 16, "patch_length": 8, "width": 8, "heads": 2, "window": 4, "layers": 0,
    "random_state": 0, "callbacks": [lambda *_: True],
}  # fmt: skip
WINDOWS = {"layers": 1, "width": 8, "heads": 2, "max_steps": 1, "patch_length": 4, "random_state": 0}
DNA = {"width": 8, "heads": 2, "max_steps": 1, "random_state": 0}


@dataclass
class Case:
    """One call."""

    what: str
    call: Callable[[], Any]
    names: set[str]  # of arguments: a refusal holds one of them
    owner: Any = None  # what must be left as it was by a refusal
    expected: Any = None  # the answer, where only the way of writing was changed; None where any may come
    twins: list[Callable[[], Any]] = field(default_factory=list)  # the same rows in other containers: if answered, alike
    may_miss: bool = False  # whether the answer may hold missing values


def fingerprint(owner: Any) -> str:
    """Return what tells the state of an estimator from any other."""
    if owner is None:
        return ""
    parts = [repr({k: v for k, v in owner.get_params(deep=False).items() if k != "callbacks"})]
    parts += [x.detach().numpy().tobytes().hex() for x in owner.network_.state_dict().values()]
    for name, state in getattr(owner, "states_", {}).items():
        tensors = pack(state) if not isinstance(state, torch.Tensor) else {"": state}
        parts.append(repr(name) + "".join(x.numpy().tobytes().hex() for x in tensors.values()))
    parts += [repr(getattr(owner, name, None)) for name in ("last_times_", "first_times_", "training_rows_", "layout_")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def numbers_of(answer: Any) -> np.ndarray:
    """Return all numbers of an answer, whatever container holds them, rows of frames sorted by what names them."""
    if isinstance(answer, pl.DataFrame):
        answer = answer.to_pandas()
    if isinstance(answer, pa.Table):
        answer = answer.to_pandas()
    if isinstance(answer, pd.Series):
        answer = answer.to_frame()
    if isinstance(answer, pd.DataFrame):
        frame = answer.reset_index() if isinstance(answer.index, pd.DatetimeIndex | pd.PeriodIndex) else answer
        keys = [name for name in ("unique_id", "ds", "cutoff") if name in frame.columns]
        if keys:
            order = frame[keys].astype(str).sort_values(keys, kind="stable").index if frame.index.is_unique else frame.index
            frame = frame.loc[order]
        frame = frame[sorted((name for name in frame.columns if name not in keys), key=str)]
        return np.concatenate([numbers_of(frame[name].to_numpy()) for name in frame.columns] or [np.empty(0)])
    if isinstance(answer, dict):
        return numbers_of(list(answer.values()))
    if isinstance(answer, list | tuple):
        return np.concatenate([numbers_of(one) for one in answer] or [np.empty(0)])
    if isinstance(answer, torch.Tensor):
        answer = answer.numpy()
    array = np.asarray(answer)
    if array.dtype.kind == "O":
        array = np.array([x for x in array.ravel() if isinstance(x, int | float | np.number)], dtype=float)
    return array.astype(float).ravel() if array.dtype.kind in "fiub" else np.empty(0)


# --- series -----------------------------------------------------------------------------------------------------------


def waves(columns: int) -> np.ndarray:
    hours = np.arange(len(HOURS))[:, None] + 5 * np.arange(columns)
    return np.sin(hours * 2 * np.pi / 24) + 0.1 * np.random.default_rng(0).normal(size=(len(HOURS), columns))


def wide() -> pd.DataFrame:
    return pd.DataFrame({"ds": HOURS, "a": waves(2)[:, 0], "b": waves(2)[:, 1]})


def long() -> pd.DataFrame:
    values = waves(3)
    parts = [
        pd.DataFrame({"unique_id": name, "ds": HOURS, "y": values[:, i]}) for i, name in enumerate(("west", "east", "é"))
    ]
    return pd.concat(parts).sort_values("ds", kind="stable", ignore_index=True)


def with_covariates() -> pd.DataFrame:
    frame = long()
    rows = np.arange(len(frame))
    return frame.assign(past=np.cos(rows / 9), ahead=np.sin(rows // 3 / 7), site=frame["unique_id"].str.len().astype(float))


SERIES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "array": (lambda: waves(1)[:, 0], {}),
    "table": (lambda: waves(2), {}),
    "wide": (wide, {}),
    "index": (lambda: wide().set_index("ds"), {}),
    "rows": (lambda: wide().drop(columns="ds"), {}),
    "long": (long, {}),
    "memory": (long, {"layers": 1}),
    "covariates": (with_covariates, {"past_covariates": "past", "future_covariates": "ahead", "static_covariates": "site"}),
    "skip": (long, {"on_error": "skip"}),
}
SERIES_NAMES = {
    "X", "future", "level", "quantiles", "horizon", "windows", "step", "start", "stop", "horizons", "memory", "ids",
    "checkpoint", "freq", "target_columns", "id_column", "time_column", "past_covariates", "future_covariates",
    "static_covariates", "forget", "y", "layers", "refit",
}  # fmt: skip


def part(x: Any, first: int | None, last: int | None) -> Any:
    """Return hours of a container."""
    if isinstance(x, np.ndarray):
        return x[first:last]
    times = 3 if "unique_id" in x else 1
    first, last = (None if at is None else at * times for at in (first, last))
    return (
        x.iloc[first:last].reset_index(drop=True)
        if "ds" in x or not isinstance(x.index, pd.DatetimeIndex)
        else x.iloc[first:last]
    )


@functools.cache
def fitted_series(kind: str) -> TitansForecaster:
    make, arguments = SERIES[kind]
    return TitansForecaster(**{**SMALL, **arguments}).fit(part(make(), None, HISTORY))


def own(model: Any) -> Any:
    """Return a model that shares weights with another, but no state."""
    one = copy.copy(model)
    for name in ("states_", "last_times_", "skipped_"):
        if hasattr(one, name):
            setattr(one, name, dict(getattr(one, name)))
    return one


def ahead_of(kind: str, first: int = HISTORY) -> Any:
    """Return the covariates known in advance of the hours from one on, where a model needs any."""
    return part(with_covariates(), first, None)[["unique_id", "ds", "ahead"]] if kind == "covariates" else None


def ask(model: TitansForecaster, kind: str, verb: str, X: Any, **more: Any) -> Any:
    """Call one verb; the answer of ``update`` is the next forecast, or without covariates for it the rows read."""
    if verb == "predict":
        return model.predict(X, **{"future": ahead_of(kind), **more})
    if verb == "update":
        return model.update(X, **more).n_seen_ if kind == "covariates" else model.update(X, **more).predict()
    if verb == "backtest":
        return model.backtest(X, **{"windows": 2, **more})[0]
    if verb in ("score", "surprise"):
        return getattr(model, verb)(X, **more)
    raise AssertionError(verb)


@functools.cache
def good_answer(kind: str, verb: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return numbers_of(ask(own(fitted_series(kind)), kind, verb, good_rows(kind, verb)))


def good_rows(kind: str, verb: str) -> Any:
    x = SERIES[kind][0]()
    return part(x, HISTORY, HISTORY + 8) if verb in ("update", "score") else part(x, None, HISTORY)


def series_case(chance: np.random.Generator, folder: Path) -> Case:
    kind = choose(SERIES, chance)
    verbs = ["predict", "predict", "update", "backtest", "score"] + ["surprise"] * (kind == "memory")
    verb = choose(verbs, chance)
    model, x = own(fitted_series(kind)), good_rows(kind, verb)
    tables = (ARRAY_SAME, ARRAY_OTHER) if isinstance(x, np.ndarray) else (FRAME_SAME, FRAME_OTHER)
    same = chance.random() < 0.3
    name = choose(tables[0] if same else tables[1], chance)
    made, words, twins = changed(tables[0 if same else 1], name, x, chance), [kind, verb, name], []
    if not same and chance.random() < 0.2 and type(made) is type(x) and np.shape(made) == np.shape(x):
        second = choose(tables[1], chance)
        made, words = changed(tables[1], second, made, chance), [*words, second]
    expected = good_answer(kind, verb) if same and not (verb == "surprise" and name != "as it is") else None
    if isinstance(made, pd.DataFrame):
        backend = choose(BACKENDS, chance)
        frame = made
        made, words = held_by(backend, made), [*words, backend]
        if verb == "predict" and expected is None and "ds" in frame.columns:
            twins.append(lambda: ask(own(model), kind, verb, held_by("polars", frame)))
    return Case(
        ": ".join(words), lambda: ask(model, kind, verb, made), SERIES_NAMES, model, expected, twins, verb == "backtest"
    )


def series_file_case(chance: np.random.Generator, folder: Path) -> Case:
    kind, verb = choose(("wide", "long", "covariates", "skip"), chance), choose(("predict", "update"), chance)
    model, x = own(fitted_series(kind)), good_rows(kind, verb)
    same, suffix = chance.random() < 0.3, choose((".csv", ".csv", ".tsv", ".parquet", ".csv.gz", ".xlsx", ""), chance)
    path = folder / f"rows{suffix}"
    if suffix == ".parquet":
        x.to_parquet(path)
        data, same = path.read_bytes(), False
        name = choose([one for one in FILE_OTHER if one not in ("in two bytes",)], chance)
        path.write_bytes(changed(FILE_OTHER, name, data, chance))
    else:
        data = x.to_csv(index=False, sep="\t" if suffix == ".tsv" else ",").encode()
        name = choose(FILE_SAME if same else FILE_OTHER, chance)
        data = changed(FILE_SAME if same else FILE_OTHER, name, data, chance)
        if suffix.endswith(".gz"):
            import gzip

            data = gzip.compress(data)
        path.write_bytes(data)
    expected = good_answer(kind, verb) if same and suffix in (".csv", ".tsv", ".csv.gz") else None
    what = f"{kind}: {verb}: a file{suffix}: {name}"
    return Case(what, lambda: ask(model, kind, verb, str(path)), {*SERIES_NAMES, path.name}, model, expected)


VERBS_WITH_ARGUMENTS = [
    ("predict", "level"), ("predict", "quantiles"), ("predict", "horizon"), ("predict", "future"), ("update", "checkpoint"),
    ("backtest", "windows"), ("backtest", "step"), ("backtest", "level"), ("backtest", "quantiles"), ("forget", "ids"),
    ("memory_table", "ids"), ("rolling_errors", "start"), ("rolling_errors", "stop"), ("rolling_errors", "horizons"),
    ("rolling_errors", "memory"), ("remember", "states"), ("fit", None), ("future_frame", "horizon"),
]  # fmt: skip


def argument_case(chance: np.random.Generator, folder: Path) -> Case:
    """Wrong arguments beside good rows."""
    kind = choose(("long", "array", "covariates", "index", "memory"), chance)
    verb, name = choose(VERBS_WITH_ARGUMENTS, chance)
    model, value = own(fitted_series(kind)), choose((*ARGUMENTS, *NOTHINGS), chance)
    names = {*SERIES_NAMES, "states"}
    if verb == "fit":
        allowed = sorted(set(model.get_params()) - {"callbacks", "device", "n_jobs", "random_state"})
        name = choose(allowed, chance)
        large = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) > 100
        odd = {name: 3 if large else value}

        def fit() -> Any:
            return TitansForecaster(**{**SMALL, "width": 4, **odd}).fit(good_rows("long", "predict")).n_seen_

        return Case(f"fit({name}={value!r:.50})", fit, {*names, *allowed})
    more = {name: value}
    if verb == "rolling_errors":
        model, kind = own(fitted_series("index")), "index"
        more = {"start": 30, "horizons": [1, 2], **more}
        return Case(
            f"{kind}: {verb}({more})", lambda: model.rolling_errors(good_rows(kind, "predict"), **more), names, model
        )
    what = f"{kind}: {verb}({name}={value!r:.60})"
    if verb in ("predict", "update", "backtest"):
        if isinstance(value, str) and name == "checkpoint" and value:
            more = {name: str(folder / value)}
        return Case(
            what, lambda: ask(model, kind, verb, good_rows(kind, verb), **more), names, model, may_miss=verb == "backtest"
        )
    if verb == "remember":
        return Case(what, lambda: [model.remember(value), None][1], names, model)
    return Case(what, lambda: [getattr(model, verb)(**more), None][1], names, model, may_miss=True)


def future_case(chance: np.random.Generator, folder: Path) -> Case:
    """Mutated covariates known in advance."""
    model, good = own(fitted_series("covariates")), part(ahead_of("covariates"), None, HORIZON)
    same = chance.random() < 0.4
    name = choose(FRAME_SAME if same else FRAME_OTHER, chance)
    future, backend = changed(FRAME_SAME if same else FRAME_OTHER, name, good, chance), choose(BACKENDS, chance)
    if isinstance(future, pd.DataFrame):
        future = held_by(backend, future)

    def call() -> Any:
        return model.predict(future=future)

    expected = numbers_of(own(fitted_series("covariates")).predict(future=good)) if same else None
    return Case(f"predict(future=...): {name}: {backend}", call, SERIES_NAMES, model, expected)


def fit_case(chance: np.random.Generator, folder: Path) -> Case:
    """Mutated rows to fit on, with the forecast that follows."""
    kind = choose([name for name in SERIES if name not in ("memory", "covariates")], chance)
    x = part(SERIES[kind][0](), None, HISTORY)
    table = ARRAY_OTHER if isinstance(x, np.ndarray) else FRAME_OTHER
    name = choose(table, chance)
    made = changed(table, name, x, chance)
    backend = choose(BACKENDS, chance)
    if isinstance(made, pd.DataFrame):
        made = held_by(backend, made)
    arguments = SERIES[kind][1]
    what = f"fit on {kind}: {name}: {backend}"
    return Case(what, lambda: TitansForecaster(**{**SMALL, **arguments}).fit(made).predict(), SERIES_NAMES)


def split_case(chance: np.random.Generator, folder: Path) -> Case:
    frame, table = long(), FRAME_OTHER
    name = choose(table, chance)
    made = changed(table, name, frame, chance)
    if isinstance(made, pd.DataFrame):
        made = held_by(choose(BACKENDS, chance), made)
    arguments: dict[str, Any] = {"n_splits": 2}
    if chance.random() < 0.4:
        made, name = frame, choose(("n_splits", "test_size", "gap", "max_train_size", "id_column", "time_column"), chance)
        arguments[name] = choose(ARGUMENTS, chance)
    names = {"X", "groups", "times", "n_splits", "test_size", "gap", "max_train_size", "id_column", "time_column"}
    return Case(f"split: {name}: {arguments}", lambda: len(list(PanelTimeSeriesSplit(**arguments).split(made))), names)


def dataset_case(chance: np.random.Generator, folder: Path) -> Case:
    import inspect

    make = choose((make_seasonal, make_panel, make_regimes, make_recurring, make_dna_motifs), chance)
    name = choose(inspect.signature(make).parameters, chance)
    value = choose([x for x in ARGUMENTS if not (isinstance(x, int) and x > 1000)], chance)
    names = set(inspect.signature(make).parameters)
    return Case(f"{make.__name__}({name}={value!r:.60})", lambda: [make(**{name: value}), None][1], names)


# --- windows ----------------------------------------------------------------------------------------------------------

KINDS = {
    "classifier": (TitansClassifier, ("predict", "predict_proba", "decision_function")),
    "regressor": (TitansRegressor, ("predict",)),
    "embedder": (TitansEmbedder, ("transform",)),
    "detector": (TitansAnomalyDetector, ("score_samples", "predict", "score_steps", "predict_steps")),
}
WINDOW_NAMES = {"X", "y", "sample_weight", "X_val", "y_val", "by"}


def rhythms() -> tuple[np.ndarray, np.ndarray]:
    which = np.arange(12) % 2
    turns = np.arange(16) / np.array([5.0, 8.0])[which, None] + np.random.default_rng(0).random((12, 1))
    return np.sin(2 * np.pi * turns), which


@functools.cache
def fitted_windows(kind: str) -> Any:
    X, y = rhythms()
    return KINDS[kind][0](**WINDOWS).fit(X, *([y] if kind in ("classifier", "regressor") else []))


@functools.cache
def good_windows(kind: str, verb: str, form: str) -> np.ndarray:
    return numbers_of(getattr(fitted_windows(kind), verb)(windows_as(form)))


def windows_as(form: str) -> Any:
    X = rhythms()[0][:5]
    return {"table": X, "block": X[:, None], "list": [row[: 16 - i, None] for i, row in enumerate(X)]}[form]


def window_case(chance: np.random.Generator, folder: Path) -> Case:
    kind = choose(KINDS, chance)
    verb, form = choose(KINDS[kind][1], chance), choose(("table", "block", "list"), chance)
    model, X = fitted_windows(kind), windows_as(form)
    same = chance.random() < 0.3
    table = ARRAY_SAME if same else ARRAY_OTHER
    name = choose(table if form != "block" else [one for one in table if one != "nested lists"], chance)  # a list of (t, c)
    if form == "list":
        at = int(chance.integers(len(X)))
        made = [changed(table, name, x, chance) if i == at else x for i, x in enumerate(X)]
        if name == "itself within":
            made = changed(table, name, X[0], chance)
    else:
        made = changed(table, name, X, chance)
    expected = good_windows(kind, verb, form) if same else None
    may_miss = verb in ("score_steps", "predict_steps")
    return Case(
        f"{kind}: {verb}: {form}: {name}",
        lambda: getattr(model, verb)(made),
        WINDOW_NAMES,
        model,
        expected,
        may_miss=may_miss,
    )


def window_fit_case(chance: np.random.Generator, folder: Path) -> Case:
    kind = choose(KINDS, chance)
    (X, y), which = rhythms(), choose(("X", "y", "sample_weight"), chance)
    arguments: dict[str, Any] = {"X": X}
    if kind in ("classifier", "regressor"):
        arguments["y"] = y
    else:
        which = "X"
    name = choose(ARRAY_OTHER, chance)
    made = changed(ARRAY_OTHER, name, arguments.get(which, np.ones(12)).astype(float), chance)
    arguments[which] = made
    model = KINDS[kind][0](**{**WINDOWS, "layers": 0 if kind in ("classifier", "regressor") else 1})
    return Case(f"fit of {kind}: {which}: {name}", lambda: [model.fit(**arguments), None][1], WINDOW_NAMES)


# --- DNA --------------------------------------------------------------------------------------------------------------

TEXTS = make_dna_motifs(12, length=(15, 30), random_state=1)[0]
DNA_NAMES = {
    "X", "y", "sequence", "sequences", "variant", "variants", "reference", "flank", "target", "ids", "prompt", "length",
    "temperature",
}  # fmt: skip


@functools.cache
def fitted_dna(kind: str) -> Any:
    if kind == "language":
        return DNALanguageModel(**DNA, context_orders=(1, 2, 4)).fit(TEXTS)
    y = np.arange(len(TEXTS)) % 2
    return {"classifier": DNAClassifier, "regressor": DNARegressor}[kind](**DNA, word_sizes=(1, 2)).fit(TEXTS, y)


DNA_VERBS = {
    "classifier": ("predict_proba", "predict", "mutagenesis", "attribute"),
    "regressor": ("predict",),
    "language": ("score_samples", "transform", "bits_per_base", "update"),
}


@functools.cache
def good_dna(kind: str, verb: str) -> np.ndarray:
    return numbers_of(getattr(fitted_dna(kind), verb)(TEXTS[:4]))


def asked_dna(model: Any, verb: str, X: Any) -> Any:
    found = getattr(model, verb)(X)
    return None if verb == "update" else found


def dna_case(chance: np.random.Generator, folder: Path) -> Case:
    kind = choose(DNA_VERBS, chance)
    verb = choose(DNA_VERBS[kind], chance)
    model = own(fitted_dna(kind))
    same = chance.random() < 0.3 and verb not in ("mutagenesis", "update")
    name = choose(SEQUENCES_SAME if same else SEQUENCES_OTHER, chance)
    made = changed(SEQUENCES_SAME if same else SEQUENCES_OTHER, name, TEXTS[:4], chance)
    if verb == "mutagenesis" and isinstance(made, list) and made:
        made = made[-1]
    expected = good_dna(kind, verb) if same else None
    return Case(f"{kind}: {verb}: {name}", lambda: asked_dna(model, verb, made), DNA_NAMES, model, expected, may_miss=True)


def fasta(texts: list[str]) -> bytes:
    return "".join(f">r{i} told\n{text}\n" for i, text in enumerate(texts)).encode()


def dna_file_case(chance: np.random.Generator, folder: Path) -> Case:
    kind, verb = choose((("classifier", "predict_proba"), ("language", "score_samples"), ("language", "update")), chance)
    model, same = own(fitted_dna(kind)), chance.random() < 0.3 and verb != "update"
    name = choose(FILE_SAME if same else FILE_OTHER, chance)
    path = folder / f"seqs{choose(('.fa', '.fasta', '.fa.gz', '.gb', '.txt'), chance)}"
    data = changed(FILE_SAME if same else FILE_OTHER, name, fasta(TEXTS[:4]), chance)
    if path.suffix == ".gz" and name not in ("packed", "packed and cut", "packed twice"):
        import gzip

        data = gzip.compress(data)
    path.write_bytes(data)
    expected = good_dna(kind, verb) if same and path.suffix in (".fa", ".fasta", ".gz") else None
    what = f"{kind}: {verb}: {path.name}: {name}"
    return Case(what, lambda: asked_dna(model, verb, str(path)), {*DNA_NAMES, path.name}, model, expected, may_miss=True)


def variant_case(chance: np.random.Generator, folder: Path) -> Case:
    model, reference = fitted_dna("language"), {"chr1": TEXTS[0] * 3, "chr2": TEXTS[1] * 3}
    rows = [("chr1", 5, "r1", reference["chr1"][4], "A"), ("chr2", 7, ".", reference["chr2"][6], "AC")]
    form = choose(("vcf", "tuples", "reference", "flank"), chance)
    path, flank, variants, name = folder / "some.vcf", 8, rows, form
    if form == "vcf":
        body = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        body += "".join(f"{c}\t{p}\t{i}\t{r}\t{a}\t.\t.\t.\n" for c, p, i, r, a in rows)
        name = choose(FILE_OTHER, chance)
        path.write_bytes(changed(FILE_OTHER, name, body.encode(), chance))
        variants = str(path)
    elif form == "tuples":
        at = int(chance.integers(5))
        value = choose((*ODD, "N", "<DEL>", "*", "", 0, -1, 10**9), chance)
        name = f"cell {at}: {value!r:.40}"
        variants = [(*rows[0][:at], value, *rows[0][at + 1 :]), rows[1]]
        variants = [(c, p, r, a) for c, p, _, r, a in variants]
    elif form == "reference":
        reference = choose((*NOTHINGS, {"chr1": None}, {"chr1": ""}, {"chr1": TEXTS[0], "chr2": "xyz"}), chance)
        name, variants = f"reference={reference!r:.40}", [(c, p, r, a) for c, p, _, r, a in rows]
    else:
        flank = choose([x for x in ARGUMENTS if not (isinstance(x, int) and x > 1000)], chance)
        name, variants = f"flank={flank!r:.40}", [(c, p, r, a) for c, p, _, r, a in rows]
    names = {*DNA_NAMES, path.name}
    return Case(
        f"variants: {form}: {name}",
        lambda: model.score_variants(variants, reference, flank=flank),
        names,
        model,
        may_miss=True,
    )


# --- the command line ----------------------------------------------------------------------------------------------

OPTIONS = {
    "--level": ("80", "x", "101", "0.8", "-5"), "--horizon": ("2", "0", "-1", "x", "99"), "--time": ("ds", "no", "a", "y"),
    "--id": ("unique_id", "no", "a"), "--sep": (",", ";", "tab", ";;", ""), "--decimal": (".", ",", "x"),
    "--freq": ("h", "D", "q"), "--target": ("a", "no"), "--past": ("b", "no"), "--future-file": ("no.csv", "rows.csv"),
    "--out": ("no/out.csv", "out.xyz", "."), "--plot": ("p.xyz",), "--lookback": ("3",), "--layers": ("x", "1"),
    "--seed": ("x", "3"), "--max-steps": ("-1", "1"),
}  # fmt: skip
FILES = ("--future-file", "--out", "--plot")


@functools.cache
def model_file(kind: str) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as home:
        model = copy.copy(fitted_series(kind)).set_params(callbacks=None)
        model.save(Path(home, "model"))
        return Path(home, "model").read_bytes()


def command_case(chance: np.random.Generator, folder: Path) -> Case:
    """A file, changed or beside a wrong option, to ``titans-ts forecast`` with a fitted model."""
    from titans_ts.cli import main

    kind, home = choose(("wide", "long"), chance), folder / f"command {chance.integers(2**40)}"
    home.mkdir()
    data = part(SERIES[kind][0](), None, HISTORY).to_csv(index=False).encode()
    (home / "model.titans").write_bytes(model_file(kind))
    options, same = [], chance.random() < 0.2
    if not same and chance.random() < 0.5:
        name = choose(OPTIONS, chance)
        value = choose(OPTIONS[name], chance)
        options, what = [name, str(home / value) if name in FILES else value], f"{name} {value}"
    else:
        what = choose(FILE_SAME if same else FILE_OTHER, chance)
        data = changed(FILE_SAME if same else FILE_OTHER, what, data, chance)
    (home / "rows.csv").write_bytes(data)
    before = {path.name for path in home.iterdir()}
    line = ["forecast", str(home / "rows.csv"), "--model", str(home / "model.titans"), "--quiet", "--debug", *options]

    def call() -> Any:
        code = None
        try:
            code = main(line)
        except SystemExit as told:  # argparse has told of a wrong option
            if told.code != 2:
                raise AssertionError(f"it ends with {told.code}") from told
        finally:
            left = {path.name for path in home.iterdir()} - before
            if bool(left) != (code == 0):
                raise AssertionError(f"it ends with {code}, and leaves {sorted(left)}")
        if not same:
            return None
        frame = pd.read_csv(home / "rows-forecast.csv")
        return frame[["ds", "a", "b"] if kind == "wide" else ["unique_id", "ds", "y"]]

    expected = good_answer(kind, "predict") if same else None
    names = {*SERIES_NAMES, *OPTIONS, "separator", "rows.csv", "--model", "out.xyz", "no", "p.xyz", "no.csv"}
    return Case(f"titans-ts: {kind}: {what}", call, names, None, expected)


DOORS: list[Callable[[np.random.Generator, Path], Case]] = [
    *[series_case] * 7, series_file_case, argument_case, argument_case, future_case, fit_case, split_case, dataset_case,
    *[window_case] * 3, window_fit_case, *[dna_case] * 2, dna_file_case, variant_case, command_case,
]  # fmt: skip
"""A door stands here as often as it is tried in a round."""


def draw(number: int, folder: Path) -> Case:
    """Return the case of a number; the same one every time."""
    chance = np.random.default_rng([22, number])
    return DOORS[number % len(DOORS)](chance, folder)
