"""Write anew what the library answers: `python tests/frozen/make_frozen.py`, and what the tests beside it share.

``models/`` holds small fitted models, a memory and a store of memories; ``answers.json`` what the loaded ones answer and
the losses of fits at a fixed seed; ``params.json`` names, arguments and signatures. Whatever is moved or renamed inside
is held to these. A later change that means to change numbers writes these files anew, in a commit of its own, and says why:
`make_frozen.py forecaster` writes those of cases that begin so, and leaves all others as they are. ``older/`` holds files of
forecasters without a base and what they answer; it is never written anew.

Nothing but public names of ``titans_ts`` is used here: everything else may move.
"""

import inspect
import json
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import torch

import titans_ts
from titans_ts import (
    DNAClassifier,
    DNALanguageModel,
    DNARegressor,
    MemoryState,
    MemoryStore,
    PanelTimeSeriesSplit,
    TitansAnomalyDetector,
    TitansClassifier,
    TitansEmbedder,
    TitansForecaster,
    TitansRegressor,
    load,
)

HERE = Path(__file__).parent
MODELS, OLDER = HERE / "models", HERE / "older"
STATE, STORE = MODELS / "west.state", MODELS / "many.store"
ANSWERS, PROMISES = HERE / "answers.json", HERE / "params.json"
ESTIMATORS = (
    TitansForecaster,
    TitansClassifier,
    TitansRegressor,
    TitansEmbedder,
    TitansAnomalyDetector,
    DNAClassifier,
    DNARegressor,
    DNALanguageModel,
)
OTHERS = (MemoryState, MemoryStore, PanelTimeSeriesSplit)
HELPERS = {"check_state", "fingerprint", "fit_panel", "fresh_state", "note_features", "ready", "told"}
"""Methods that only the library itself calls: no part of what is promised."""


# --- inputs ---------------------------------------------------------------------------------------------------------


def waves(rows: int, channels: int = 1, *, seed: int = 0, begin: int = 0) -> np.ndarray:
    """Return a daily course with noise, ``(rows, channels)``."""
    hours = begin + np.arange(rows)[:, None] + 5 * np.arange(channels)
    return 10 + np.sin(hours * 2 * np.pi / 24) + 0.2 * np.random.default_rng(seed).normal(size=(rows, channels))


def wide_frame(rows: int = 120, *, begin: int = 0) -> pd.DataFrame:
    """Return hourly rows with two targets, a covariate known up to now and one known in advance, and some gaps."""
    a, b, past, ahead = waves(rows, 4, seed=begin + 1, begin=begin).T
    a[7::50], past[2::60] = np.nan, np.nan
    times = pd.date_range("2024-03-29", periods=begin + rows, freq="h")[begin:]
    return pd.DataFrame({"ds": times, "a": a, "b": 3 * b, "past": past, "ahead": ahead})


def rows_ahead(begin: int, rows: int = 4) -> pd.DataFrame:
    """Return the covariate known in advance of the rows after a wide frame."""
    return wide_frame(12, begin=begin)[["ds", "ahead"]][:rows]


def long_frame(rows: int = 90, *, begin: int = 0, ids: tuple[str, ...] = ("west", "east", "north")) -> pl.DataFrame:
    """Return daily rows of series of unequal lengths, with a number each that never changes."""
    parts = []
    for i, name in enumerate(ids):
        count = rows - 5 * i
        times = pd.date_range("2023-01-01", periods=begin + count, freq="D")[begin:]
        y = (1 + i) * waves(count, seed=10 * i + begin, begin=begin)[:, 0]
        parts.append(pd.DataFrame({"unique_id": name, "ds": times, "y": y, "size": 2.0 + i}))
    return pl.from_pandas(pd.concat(parts, ignore_index=True))


def months(rows: int = 50, *, begin: int = 0) -> pd.DataFrame:
    """Return monthly rows of ten series that grow by shares, with a season of a year."""
    parts = []
    for i in range(10):
        at = begin + np.arange(rows + i)
        noise = np.random.default_rng(100 * i + begin).normal(size=len(at)).cumsum()
        y = (5 + i) * np.exp(0.01 * (1 + i % 3) * at + 0.2 * np.sin(at * np.pi / 6) + 0.02 * noise)
        ds = pd.date_range("2001-01-01", periods=begin + len(at), freq="MS")[begin:]
        parts.append(pd.DataFrame({"unique_id": f"shop {i}", "ds": ds, "y": y}))
    return pd.concat(parts, ignore_index=True)


def windows(n: int = 24, length: int = 20, *, kinds: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return windows ``(n, length)`` of sines, and which period each has."""
    chance = np.random.default_rng(seed)
    which = np.arange(n) % kinds
    turns = np.arange(length) / (5.0 + 3 * which[:, None]) + chance.random((n, 1))
    return 5 + np.sin(2 * np.pi * turns) + 0.3 * chance.normal(size=(n, length)), which


def pieces(n: int = 24, *, kinds: int = 3, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Return sequences ``(t, 2)`` of unequal lengths, some values missing, and the kind of each."""
    table, which = windows(n, 30, kinds=kinds, seed=seed)
    found = [np.column_stack([row, row[::-1] ** 2])[: 30 - i % 13] for i, row in enumerate(table)]
    for one in found[::4]:
        one[3, 1] = np.nan
    return found, which


def bases(n: int = 24, *, shortest: int = 12, longest: int = 40, seed: int = 0) -> list[str]:
    """Return sequences of bases, one letter in forty unknown."""
    chance = np.random.default_rng(seed)
    lengths = chance.integers(shortest, longest, size=n)
    return ["".join(np.array(list("ACGTN"))[chance.choice(5, size=k, p=[0.3, 0.2, 0.2, 0.275, 0.025])]) for k in lengths]


def shares(sequences: list[str], letter: str = "A") -> np.ndarray:
    """Return the share of a letter."""
    return np.array([text.count(letter) / len(text) for text in sequences])


# --- what is asked --------------------------------------------------------------------------------------------------

Answers = dict[str, Any]


def about_series(*, others: Any, later: Any, whole: Any, future: Any = None, level: bool = True) -> Callable:
    """Return what asks a forecaster everything.

    `others` is another history, `later` the rows after the training rows, and `whole` both of these.
    """
    before, after, elsewhere = future or (None, None, None)

    def ask(model: Any, folder: Path) -> Answers:
        found: Answers = {
            "n_seen": model.n_seen_,
            "n_features_in": model.n_features_in_,
            "memory_gain": gain(model.memory_gain_),
            "recollection_gain": gain(model.recollection_gain_),
            "bytes": {str(name): state.nbytes for name, state in by_id(model.state_).items()},
            "predict": model.predict(future=before),
            "predict(X)": model.predict(others, future=elsewhere),
            "score": model.score(later),
            "backtest": model.backtest(whole, windows=3, step=2, level=[80] if level else None),
        }
        if level:
            found["predict(level)"] = model.predict(level=[50, 88.5], future=before)
        has_memory = model.layers and model.variant in ("mac", "mag", "mal", "lmm")
        if has_memory:
            found["surprise"] = model.surprise(others)
            found["watch"] = model.watch(others)
            found["memory_table"] = model.memory_table()
        if model.n_features_in_ < 3 and not isinstance(model.n_seen_, dict):
            for memory in ("written", "silent", "linear") if has_memory else ("written", "linear"):
                rolled = model.rolling_errors(whole, start=len(whole) - 30, horizons=[1, 4], memory=memory)
                found[f"rolling_errors({memory})"] = rolled
        state = model.state_
        model.update(later)
        found["update.predict"] = model.predict(future=after)
        found["update.n_seen"] = model.n_seen_
        model.save(folder / "again.titans")
        found["saved again"] = load(folder / "again.titans").predict(future=after)
        found["remember.predict"] = model.remember(by_id(state).values()).predict(future=before)
        found["forget.n_seen"] = model.forget().n_seen_
        if has_memory:
            found["forget.memory_table"] = model.memory_table()
        return found

    return ask


def about_labels(X: Any, y: Any) -> Callable:
    """Return what asks a classifier everything."""

    def ask(model: Any, _: Path) -> Answers:
        return {
            "classes": model.classes_,
            "memory_gain": gain(model.memory_gain_),
            "predict": model.predict(X),
            "score": model.score(X, model.classes_[y]),
            **{f"decision_function({by})": model.decision_function(X, by=by) for by in ("both", "linear", "memory")},
            "predict_proba": model.predict_proba(X),
            "predict_proba(one)": model.predict_proba(X[:1]),
        }

    return ask


def about_numbers(X: Any, y: Any) -> Callable:
    """Return what asks a regressor everything."""

    def ask(model: Any, _: Path) -> Answers:
        return {
            "memory_gain": gain(model.memory_gain_),
            "targets": model.target_names_,
            **{f"predict({by})": model.predict(X, by=by) for by in ("both", "linear", "memory")},
            "score": model.score(X, y),
        }

    return ask


def about_bases(ask_first: Callable, X: list[str], **attributed: Any) -> Callable:
    """Return what asks an estimator of DNA everything, explanations of its answers included."""

    def ask(model: Any, folder: Path) -> Answers:
        hot = torch.zeros(1, 4, len("ACGTTGCATT"))
        for i, letter in enumerate("ACGTTGCATT"):
            hot[0, "ACGT".index(letter), i] = 1.0
        with torch.no_grad():
            plain = model.as_module()(hot)
        return {
            **ask_first(model, folder),
            "mutagenesis": model.mutagenesis("ACGTTGCNAA"),
            "attribute": model.attribute(X[:2], **attributed),
            "as_module": plain.double().numpy(),
        }

    return ask


def ask_embedder(model: Any, _: Path) -> Answers:
    """Ask an embedder everything."""
    X = windows(6, seed=5)[0]
    return {
        "transform": model.transform(X),
        "names": model.get_feature_names_out().tolist(),
        "n_channels": model.n_channels_,
        "of one step": model.transform([X[0, :1], np.full((9, 1), np.nan)]),
    }


def ask_detector(model: Any, _: Path) -> Answers:
    """Ask an anomaly detector everything."""
    X = [*pieces(5, seed=5)[0], 30 - pieces(1, seed=6)[0][0]]
    return {
        "score_samples": model.score_samples(X),
        "score_steps": model.score_steps(X),
        "decision_function": model.decision_function(X),
        "predict": model.predict(X),
        "predict_steps": model.predict_steps(X),
        "offset": [model.offset_, model.step_offset_],
    }


REFERENCE = {"I": "ACGTTGCAACGTNNACGGTTCATTGCAGGTACC", "II": "TTGACATTTATAATGCC"}
VCF = """##fileformat=VCFv4.2
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
I\t3\trs1\tG\tA\t.\t.\t.
I\t20\t.\tTC\tT\t.\t.\t.
II\t5\t.\tC\tCGG,T\t.\t.\t.
II\t9\twrong\tG\tA\t.\t.\t.
"""


def write_dna(folder: Path) -> tuple[Path, Path]:
    """Write the reference and the variants; returns both paths."""
    (folder / "reference.fa").write_text("".join(f">{name}\n{text[:20]}\n{text[20:]}\n" for name, text in REFERENCE.items()))
    (folder / "variants.vcf").write_text(VCF)
    return folder / "reference.fa", folder / "variants.vcf"


def ask_language_model(model: Any, folder: Path) -> Answers:
    """Ask a language model everything."""
    X = ["ACGTTGCAACGT", *bases(3, seed=5), "NNN", "A"]
    reference, variants = write_dna(folder)
    found = {
        "log_likelihood": model.log_likelihood(X),
        "score_samples": model.score_samples(X),
        "score_samples(file)": model.score_samples(reference),
        "score": model.score(X),
        "bits_per_base": model.bits_per_base(X),
        "transform": model.transform(X),
        "score_variants": model.score_variants(variants, REFERENCE, flank=6),
        "score_variants(file)": model.score_variants([("I", 3, "G", "A")], reference),
        "n_seen": model.n_seen_,
    }
    if model.objective == "causal":
        found["sample"] = model.sample(2, length=30, prompt="ACG", temperature=0.8, random_state=3)
        found["update"] = [model.update(reference).n_seen_, model.update(["ACGTT"]).n_seen_, model.state_["I"].nbytes]
        found["mean"] = {name: state.mean for name, state in model.state_.items()}
        model.save(folder / "again.titans")
        found["saved again"] = load(folder / "again.titans").update(["GCA"]).n_seen_
        found["forget"] = model.forget("I").n_seen_
    return found


def gain(found: Any) -> Any:
    """Return what a memory gained, as plain values."""
    names = ("share", "gain", "best_gain", "standard_error", "blocks")
    return None if found is None else {name: getattr(found, name) for name in names}


def by_id(state: Any) -> dict[Any, Any]:
    """Return states by id, also where there is one series without."""
    return state if isinstance(state, dict) else {None: state}


# --- the models -----------------------------------------------------------------------------------------------------


def four_steps(run: Any, _report: Any) -> None:
    """Shorten each phase of a forecaster's training."""
    run.steps = min(run.steps, 4)


BACKBONE = {"layers": 1, "width": 8, "heads": 2, "window": 4, "refresh_every": 2, "persistent_tokens": 2}
# A head begins at zero; at this learning rate a few steps are enough for the memory's word to count.
TRAINING = {"max_steps": 4, "learning_rate": 0.1, "batch_size": 8, "validation_fraction": 0, "random_state": 0}
SERIES = {**BACKBONE, **TRAINING, "horizon": 4, "lookback": 16, "patch_length": 4, "callbacks": [four_steps]}
WINDOWS = {**BACKBONE, **TRAINING, "patch_length": 4}
LABELLED = {**WINDOWS, "kernel": 5}
DNA = {**LABELLED, "word_sizes": (1, 2)}
LANGUAGE = {**BACKBONE, **TRAINING, "context_orders": (1, 2, 4)}


@dataclass(frozen=True)
class Case:
    """An estimator that is not fitted, what it learns from, and what asks it everything.

    ``exact`` says that it computes in float64.
    """

    make: Callable[[], Any]
    learn: Callable[[], tuple]
    ask: Callable[[Any, Path], Answers]
    exact: bool = False

    def fitted(self) -> tuple[Any, list[list[Any]]]:
        """Return the fitted model, and phase, step, loss and validation loss of every step."""
        told: list[list[Any]] = []

        def note(_run: Any, report: Any) -> None:
            told.append([getattr(report, "phase", None), report.step, report.loss, report.validation])

        model = self.make()
        before = model.callbacks
        model.set_params(callbacks=[*(before or ()), note])
        with quiet():
            model.fit(*self.learn())
        model.set_params(callbacks=None)
        return model, told


ARRAY = waves(130)
TWO = waves(110, 2, seed=3)
LIST = [waves(80, 2, seed=4), waves(60, 2, seed=5)]
OF_ARRAY = about_series(others=waves(45, seed=9), later=waves(11, seed=8, begin=130), whole=waves(141, seed=7))
OF_TWO = about_series(others=waves(45, 2, seed=9), later=waves(11, 2, seed=8, begin=110), whole=waves(121, 2, seed=7))
OF_LIST = about_series(
    others=[waves(45, 2, seed=9), waves(30, 2, seed=6)],
    later=[waves(11, 2, seed=8), waves(4, 2, seed=7)],
    whole=[waves(90, 2, seed=9), waves(70, 2, seed=6)],
)
OF_WIDE = about_series(
    others=wide_frame(45),
    later=wide_frame(10, begin=120),
    whole=wide_frame(130),
    future=(rows_ahead(120), rows_ahead(130), rows_ahead(45)),
)
LATER_LONG = long_frame(20, begin=90, ids=("west",)).vstack(
    long_frame(12, begin=85, ids=("east",)).with_columns(size=pl.lit(3.0))
)
OF_LONG = about_series(
    others=long_frame(45),
    later=LATER_LONG,
    whole=long_frame(100),
)


LATER_MONTHS = pd.concat([one.iloc[len(one) - 20 : len(one) - 15] for _, one in months(70).groupby("unique_id", sort=False)])
OF_MONTHS = about_series(others=months(30), later=LATER_MONTHS, whole=months(56))


def forecaster(ask: Callable, X: Any, *, exact: bool = False, **arguments: Any) -> Case:
    """Return a case of a forecaster."""
    return Case(lambda: TitansForecaster(**{**SERIES, **arguments}), lambda: (X,), ask, exact)


def labelled_windows() -> tuple:
    """Return a table of windows with labels."""
    X, which = windows()
    return X, np.where(which == 1, "slow", "fast")


def labelled_pieces() -> tuple:
    """Return sequences of unequal lengths with three labels."""
    X, which = pieces(36)
    return X, which * 10


def two_targets() -> tuple:
    """Return sequences of unequal lengths with a frame of two targets."""
    X, which = pieces(36)
    return [one[:, 0] for one in X], pd.DataFrame({"last": [one[-1, 0] for one in X], "kind": which * 2.0})


BASES = bases(36)
CLASSES = np.argsort(np.argsort(shares(BASES))) * 3 // len(BASES)
ASKED = bases(5, seed=2)
PAIRS = np.column_stack([shares(BASES), 5 * shares(BASES, "G")])
CAUSAL = Case(lambda: DNALanguageModel(**LANGUAGE), lambda: (BASES,), ask_language_model)

CASES: dict[str, Case] = {
    "forecaster, mac": forecaster(OF_ARRAY, ARRAY[:, 0]),
    "forecaster, mac judged": forecaster(OF_ARRAY, ARRAY, validation_fraction=0.25, caution=0.5, layers=2),
    "forecaster, lmm mixed covariates": forecaster(
        OF_WIDE,
        wide_frame(),
        variant="lmm",
        channels="mixed",
        past_covariates="past",
        future_covariates=["ahead"],
        validation_fraction=0.2,
        caution=0.0,
    ),
    "forecaster, mag long recollection": forecaster(
        OF_LONG, long_frame(), variant="mag", static_covariates="size", recollection=8
    ),
    "forecaster, mal float64": forecaster(OF_TWO, TWO, exact=True, variant="mal", precision="float64", memory_depth=1),
    "forecaster, float64 judged recollection": forecaster(
        OF_TWO,
        TWO,
        exact=True,
        precision="float64",
        recollection=8,
        validation_fraction=0.25,
        caution=0.0,
        momentum=False,
        damping=False,
    ),
    "forecaster, deltanet list": forecaster(OF_LIST, LIST, variant="lmm", memory="gated_deltanet", forgetting=False),
    "forecaster, linear": forecaster(OF_ARRAY, ARRAY, layers=0, quantiles=(0.01, 0.25, 0.75, 0.99)),
    "forecaster, reading on": forecaster(OF_TWO, waves(400, 2, seed=3), layers=0),
    "forecaster, months": forecaster(OF_MONTHS, months(), layers=0, lookback="auto", patch_length="auto"),
    "forecaster, attention": forecaster(OF_ARRAY, ARRAY, variant="attention", convolution=1),
    "forecaster, full_attention": forecaster(OF_ARRAY, ARRAY, variant="full_attention"),
    "forecaster, lstm": forecaster(OF_ARRAY, ARRAY, variant="lstm"),
    "forecaster, hopfield": forecaster(OF_ARRAY, ARRAY, variant="hopfield"),
    "classifier, two classes": Case(
        lambda: TitansClassifier(**LABELLED), labelled_windows, about_labels(*windows(6, seed=5)), exact=True
    ),
    "classifier, three classes": Case(
        lambda: TitansClassifier(
            **{**LABELLED, "validation_fraction": 0.3, "caution": 0.2, "variant": "mag"}, class_weight="balanced"
        ),
        labelled_pieces,
        about_labels(*pieces(6, seed=5)),
        exact=True,
    ),
    "regressor, one target": Case(
        lambda: TitansRegressor(**LABELLED),
        lambda: (windows()[0], windows()[0][:, -5:].mean(1)),
        about_numbers(windows(6, seed=5)[0], windows(6, seed=5)[0].mean(1)),
        exact=True,
    ),
    "regressor, two targets": Case(
        lambda: TitansRegressor(**{**LABELLED, "validation_fraction": 0.3, "caution": 0.2, "variant": "lmm"}),
        two_targets,
        about_numbers([one[:, 0] for one in pieces(6, seed=5)[0]], np.arange(12.0).reshape(6, 2)),
        exact=True,
    ),
    "embedder": Case(
        lambda: TitansEmbedder(**{**WINDOWS, "validation_fraction": 0.2}), lambda: (windows()[0],), ask_embedder, exact=True
    ),
    "detector": Case(
        lambda: TitansAnomalyDetector(**WINDOWS, contamination=0.2), lambda: (pieces()[0],), ask_detector, exact=True
    ),
    "detector, lmm": Case(
        lambda: TitansAnomalyDetector(**{**WINDOWS, "variant": "lmm", "validation_fraction": 0.2}, adapt=False),
        lambda: (pieces()[0],),
        ask_detector,
        exact=True,
    ),
    "DNA classifier, average": Case(
        lambda: DNAClassifier(**DNA, reverse_complement="average"),
        lambda: (BASES, np.where(CLASSES > 0, "promoter", "other")),
        about_bases(about_labels(ASKED, np.arange(5) % 2), ASKED),
    ),
    "DNA classifier, equivariant": Case(
        lambda: DNAClassifier(**{**DNA, "validation_fraction": 0.3, "caution": 0.2}, reverse_complement="equivariant"),
        lambda: (BASES, CLASSES),
        about_bases(about_labels(ASKED, np.arange(5) % 3), ASKED, target=2),
    ),
    "DNA classifier, on a language model": Case(
        lambda: DNAClassifier(**DNA, init_from=CAUSAL.fitted()[0]),
        lambda: (BASES, CLASSES > 0),
        about_bases(about_labels(ASKED, np.arange(5) % 2), ASKED),
    ),
    "DNA regressor": Case(
        lambda: DNARegressor(**{**DNA, "variant": "lmm"}),
        lambda: (BASES, shares(BASES)),
        about_bases(about_numbers(ASKED, shares(ASKED)), ASKED),
    ),
    "DNA regressor, two targets": Case(
        lambda: DNARegressor(**{**DNA, "validation_fraction": 0.3, "caution": 0.2}, reverse_complement="augment"),
        lambda: (BASES, PAIRS),
        about_bases(about_numbers(ASKED, PAIRS[:5]), ASKED, target="y1"),
    ),
    "language model": CAUSAL,
    "language model, masked": Case(
        lambda: DNALanguageModel(**{**LANGUAGE, "validation_fraction": 0.2}, objective="masked"),
        lambda: (BASES,),
        ask_language_model,
    ),
}
MANY = "forecaster, deltanet list"
LONG = "forecaster, mag long recollection"


@contextmanager
def quiet() -> Iterator[None]:
    """Leave warnings out: rows of these inputs have gaps and are asked about twice, which is said elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def path_of(name: str, models: Path = MODELS) -> Path:
    """Return the file of a model."""
    return models / (name.replace(",", "").replace(" ", "-") + ".titans")


def answers_of(name: str, models: Path = MODELS) -> Any:
    """Return all that a loaded model answers, as JSON holds it."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        return plain(CASES[name].ask(load(path_of(name, models)), Path(folder)))


def losses_of(name: str) -> Any:
    """Return the losses of a fit at a fixed seed, as JSON holds them."""
    model, told = CASES[name].fitted()
    history = [[each[key] for key in ("step", "loss", "validation")] for each in model.training_history_]
    return plain({"steps": told, "history": history})


def partial_answers() -> Any:
    """Return what is answered after learning from one part after another, and after a fit that goes on from the last."""
    X, y = labelled_windows()
    classifier, regressor = TitansClassifier(**LABELLED), TitansRegressor(**LABELLED)
    for part in (slice(0, 14), slice(14, 24)):
        classifier.partial_fit(X[part], y[part])
        regressor.partial_fit(X[part], X[part].mean(1))
    going_on, dna = CASES["forecaster, mac"].make(), CASES["DNA regressor"].make()
    for _ in range(2):
        going_on.set_params(warm_start=True).fit(ARRAY)
        dna.set_params(warm_start=True).fit(BASES, shares(BASES), sample_weight=np.arange(36) % 3)
    return plain(
        {
            "classifier": classifier.decision_function(X[:4]),
            "regressor": regressor.predict(X[:4]),
            "forecaster, warm start": going_on.predict(),
            "DNA regressor, warm start": dna.predict(ASKED),
        }
    )


def store_of(path: Path, model: Any) -> MemoryStore:
    """Return an opened store."""
    return MemoryStore(path, model, batch_size=2)


def memory_answers(models: Path = MODELS) -> Any:
    """Return what a memory and a store of memories answer that were read from their files."""
    model, state = load(path_of(LONG, models)), MemoryState.load(models / STATE.name)
    with quiet():
        model.update(LATER_LONG).remember(state)
    found = {
        "state": [state.id, state.n_seen, state.last_time, state.nbytes, len(state.tensors)],
        "remember.predict": model.predict(level=[80]),
        "remember.n_seen": model.n_seen_,
    }
    with tempfile.TemporaryDirectory() as folder, quiet():
        copied = Path(shutil.copy(models / STORE.name, folder))
        many = load(path_of(MANY, models))
        with store_of(copied, many) as store:
            found["store"] = [list(store), store.n_seen_]
            found["store.predict"] = store.predict()
            found["store.predict(level)"] = store.predict([1], level=[80])
            found["store.update"] = store.update([waves(7, 2, seed=1), waves(3, 2, seed=2)]).predict()
            found["store.n_seen"] = store.n_seen_
            found["store.state"] = [store[0].nbytes, store[0].last_time]
    return plain(found)


def recalled(task: str) -> list[Any]:
    """Return where answers stand in a set of recall, and their sum."""
    made = titans_ts.make_recall(task, length=96, sequences=2)
    return [float(np.asarray(x, dtype=float).sum()) for x in (made.inputs, made.targets, made.distances)]


def other_answers() -> Any:
    """Return what the functions answer that need no model."""
    long = long_frame(20).to_pandas()
    panel = titans_ts.make_panel(2, min_steps=20, max_steps=30)
    recurring, events = titans_ts.make_recurring(3000, lags=(200, 600), slots=(1, 1), return_events=True)
    folds = {
        "long": PanelTimeSeriesSplit(3, test_size=2, gap=1).split(long),
        "long, by spans": PanelTimeSeriesSplit(2, test_size=timedelta(days=3), max_train_size=timedelta(days=9)).split(long),
        "array": PanelTimeSeriesSplit(2).split(np.zeros((10, 2))),
        "groups": PanelTimeSeriesSplit(2).split([np.zeros((3, 1))] * 7, groups=list("aaaabbb")),
    }
    first_folds = {name: [[train, test] for train, test in found] for name, found in folds.items()}
    return plain(
        {
            "make_seasonal": titans_ts.make_seasonal(9, 2),
            "make_regimes": titans_ts.make_regimes(60, n_motifs=2, motif_length=5),
            "make_panel": panel.head(9),
            "make_recall": {task: recalled(task) for task in ("associative", "needle", "motif")},
            "make_recurring": [recurring[:40], len(events)],
            "make_dna_motifs": titans_ts.make_dna_motifs(4, length=(14, 30)),
            "list_datasets": titans_ts.list_datasets(),
            "folds": first_folds,
        }
    )


# --- as JSON --------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """Return a value as JSON holds it: containers with their kind, NaN as text, every digit of a number."""
    if isinstance(value, pd.DataFrame | pl.DataFrame):
        kind = "pandas" if isinstance(value, pd.DataFrame) else "polars"
        return {"frame": kind, "columns": {str(name): plain(np.asarray(value[name])) for name in value.columns}}
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        return plain(value.tolist() if value.dtype.kind != "M" else value.astype("M8[s]").astype(str).tolist())
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = str(value.astype("M8[s]")) if value.dtype.kind == "M" else value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def signature(function: Any) -> list[list[str]]:
    """Return name, kind and default of every parameter."""
    return [
        [name, each.kind.name, "" if each.default is each.empty else repr(each.default)]
        for name, each in inspect.signature(function).parameters.items()
    ]


def methods(kind: type) -> dict[str, Any]:
    """Return the signatures of the public methods that this library gives a class; of a property, its name."""
    found: dict[str, Any] = {}
    for name in sorted(set(dir(kind)) - HELPERS):
        value = inspect.getattr_static(kind, name)
        if name.startswith("_"):
            continue
        if isinstance(value, property):
            found[name] = "property"
        elif getattr(getattr(kind, name), "__module__", "").startswith("titans_ts"):
            found[name] = signature(getattr(kind, name))
    return found


def promises() -> Any:
    """Return public names, arguments and signatures."""
    functions = [name for name in titans_ts.__all__ if inspect.isfunction(getattr(titans_ts, name))]
    return {
        "names": sorted(titans_ts.__all__),
        "params": {kind.__name__: {name: repr(x) for name, x in kind().get_params().items()} for kind in ESTIMATORS},
        "methods": {kind.__name__: methods(kind) for kind in (*ESTIMATORS, *OTHERS)},
        "functions": {name: signature(getattr(titans_ts, name)) for name in functions},
        "constructors": {kind.__name__: signature(kind) for kind in OTHERS},
    }


def shortened(value: Any, digits: int) -> Any:
    """Return numbers of so many digits, more than any test compares."""
    if isinstance(value, dict):
        return {name: shortened(each, digits) for name, each in value.items()}
    if isinstance(value, list):
        return [shortened(each, digits) for each in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def write(path: Path, value: Any) -> None:
    """Write JSON, a line an entry of the first two levels, so that a change can be read."""
    lines = ["{"]
    for i, (name, part) in enumerate(value.items()):
        closing = "," if i + 1 < len(value) else ""
        if isinstance(part, dict) and part:
            inner = [f"  {json.dumps(key)}: {json.dumps(each)}" for key, each in part.items()]
            lines.append(f" {json.dumps(name)}: {{\n" + ",\n".join(inner) + f"\n }}{closing}")
        else:
            lines.append(f" {json.dumps(name)}: {json.dumps(part)}{closing}")
    path.write_text("\n".join([*lines, "}", ""]))


def main(begin: str = "") -> None:
    """Write the frozen files of all cases whose names begin so, and leave the others as they are."""
    torch.set_num_threads(1)
    cases = {name: case for name, case in CASES.items() if name.startswith(begin)}
    MODELS.mkdir(exist_ok=True)
    for name, case in cases.items():
        case.fitted()[0].save(path_of(name))
    if LONG in cases:
        load(path_of(LONG)).state_["west"].save(STATE)
        STORE.unlink(missing_ok=True)
        with quiet(), store_of(STORE, load(path_of(MANY))) as store:
            store.update(LIST)
    found, promised = (json.loads(path.read_text()) if begin else {} for path in (ANSWERS, PROMISES))
    found |= {f"answers of {name}": shortened(answers_of(name), 13 if case.exact else 8) for name, case in cases.items()}
    found["memories"], found["others"] = shortened(memory_answers(), 8), shortened(other_answers(), 13)
    losses = shortened({name: losses_of(name) for name in cases}, 8)
    found["losses"] = {**found.get("losses", {}), **losses, "partial_fit": shortened(partial_answers(), 8)}
    write(ANSWERS, found)
    fresh, kinds = promises(), {type(case.make()).__name__ for case in cases.values()}
    for part in ("params", "methods") if begin else ():
        promised[part] |= {kind: each for kind, each in fresh[part].items() if kind in kinds}
    write(PROMISES, promised or fresh)


if __name__ == "__main__":
    main(*sys.argv[1:])
