"""Wrong calls of everything public, and the facts of their messages: argument, place, remedy; not the wording."""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from frozen.make_frozen import (
    BASES,
    CLASSES,
    DNA,
    LABELLED,
    LANGUAGE,
    LONG,
    MANY,
    OLDER,
    REFERENCE,
    SERIES,
    STATE,
    WINDOWS,
    labelled_windows,
    long_frame,
    path_of,
    rows_ahead,
    store_of,
    waves,
    wide_frame,
    windows,
)
from sklearn.exceptions import NotFittedError

from titans_ts import (
    DNAClassifier,
    DNALanguageModel,
    DNARegressor,
    MemoryState,
    PanelTimeSeriesSplit,
    TitansAnomalyDetector,
    TitansClassifier,
    TitansEmbedder,
    TitansForecaster,
    TitansRegressor,
    list_datasets,
    load,
    load_dataset,
    make_recall,
)
from titans_ts.cli import main

Call = Callable[[Path], Any]


@dataclass(frozen=True)
class Wrong:
    """A wrong call, given a folder of its own; the kind of its error, and what its message must hold."""

    call: Call
    error: type[BaseException]
    facts: tuple[str, ...]


def wrong(error: type[BaseException], call: Call, *facts: str) -> Wrong:
    """Return a wrong call."""
    return Wrong(call, error, facts)


def model(name: str) -> Any:
    """Return a fitted model of its own."""
    return load(path_of(name))


def with_value(frame: pd.DataFrame, row: int, column: str, value: Any) -> pd.DataFrame:
    """Return a frame with one value changed."""
    values = frame[column].astype(object).copy()
    values.iloc[row] = value
    return frame.assign(**{column: values.infer_objects()})


def forecaster(**arguments: Any) -> TitansForecaster:
    """Return a small forecaster that is not fitted."""
    return TitansForecaster(**{**SERIES, **arguments})


def written(path: Path, content: bytes | str) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def flipped(path: Path, source: Path) -> Path:
    """Write a copy of a file with one bit changed."""
    content = source.read_bytes()
    return written(path, content[:-5] + bytes([content[-5] ^ 0x40]) + content[-4:])


def told(*words: str) -> None:
    """Run a command, and raise what it told on standard error if that is how it ended."""
    text = io.StringIO()
    with contextlib.redirect_stderr(text), contextlib.redirect_stdout(io.StringIO()):
        status = main([*words, "--quiet"])
    if status == 2:
        raise SystemExit(text.getvalue())


def csv(folder: Path) -> str:
    """Write a table and return its path."""
    wide_frame().to_csv(folder / "load.csv", index=False)
    return str(folder / "load.csv")


MAC, WIDE, LINEAR = "forecaster, mac", "forecaster, lmm mixed covariates", "forecaster, linear"
LATER = wide_frame(10, begin=120)
TABLE, LABELS = labelled_windows()
LONG_LATER = long_frame(20, begin=90, ids=("west",)).to_pandas()

WRONG: dict[str, Wrong] = {
    # --- the forecaster's arguments and rows -----------------------------------------------------------------------
    "not fitted": wrong(NotFittedError, lambda _: TitansForecaster().predict(), "TitansForecaster", "fit"),
    "an unknown variant": wrong(ValueError, lambda _: forecaster(variant="gru").fit(waves(90)), "variant", "gru", "mac"),
    "an unknown memory": wrong(ValueError, lambda _: forecaster(memory="elephant").fit(waves(90)), "memory", "deltanet"),
    "a memory in a baseline": wrong(
        ValueError, lambda _: forecaster(variant="lstm", memory="deltanet").fit(waves(90)), "lstm", "memory", "deltanet"
    ),
    "width and heads": wrong(
        ValueError, lambda _: forecaster(width=9, heads=2).fit(waves(90)), "width", "heads", "9", "multiple"
    ),
    "a long patch": wrong(
        ValueError, lambda _: forecaster(patch_length=20).fit(waves(90)), "patch_length=20", "lookback=16"
    ),
    "quantiles out of order": wrong(
        ValueError, lambda _: forecaster(quantiles=(0.9, 0.1)).fit(waves(90)), "quantiles", "increasing", "0.9"
    ),
    "recollection without a memory": wrong(
        ValueError, lambda _: forecaster(layers=0, recollection=8).fit(waves(90)), "recollection", "layers=0", "layers=1"
    ),
    "no device": wrong(ValueError, lambda _: forecaster(device="abacus").fit(waves(90)), "device", "abacus", "cpu"),
    "no callback": wrong(TypeError, lambda _: forecaster(callbacks=[3]).fit(waves(90)), "callbacks", "3"),
    "no job": wrong(ValueError, lambda _: forecaster(n_jobs=0).fit(waves(90)), "n_jobs=0", "-1"),
    "too few rows": wrong(ValueError, lambda _: forecaster().fit(waves(4)), "4 rows", "5", "patch_length"),
    "a column that is not there": wrong(
        ValueError, lambda _: forecaster(past_covariates="wind").fit(wide_frame()), "past_covariates", "wind", "ahead"
    ),
    "inf in a frame": wrong(
        ValueError, lambda _: forecaster().fit(with_value(wide_frame(), 17, "a", np.inf)), "inf", "row 17", "'a'"
    ),
    "nothing observed": wrong(
        ValueError, lambda _: forecaster().fit(wide_frame().assign(b=np.nan)), "'b'", "observed", "120 rows", "drop"
    ),
    "inf in an array": wrong(
        ValueError, lambda _: model(MAC).predict(np.where(np.arange(40) == 5, -np.inf, 0.0)), "-inf", "row 5", "column 0"
    ),
    "a channel more": wrong(ValueError, lambda _: model(MAC).update(waves(9, 2)), "2 columns", "1"),
    "time going back": wrong(
        ValueError,
        lambda _: model(WIDE).predict(iter([wide_frame(40).iloc[[0, 1, 2, 5, 4, 6]]])),
        "2024-03-29 04:00",
        "row 4",
        "sort",
    ),
    "a time twice": wrong(
        ValueError, lambda _: model(WIDE).predict(wide_frame(40).iloc[[0, 1, 2, 2, 3]]), "2024-03-29", "row 3", "row 2"
    ),
    "rows read before": wrong(
        ValueError, lambda _: model(WIDE).update(wide_frame(10, begin=110)), "2024-04-02", "after", "row 0"
    ),
    "a column less": wrong(ValueError, lambda _: model(WIDE).update(LATER.drop(columns="past")), "past", "missing"),
    "another zone": wrong(
        ValueError,
        lambda _: model(WIDE).update(LATER.assign(ds=LATER["ds"].dt.tz_localize("Asia/Tokyo"))),
        "Asia/Tokyo",
        "None",
        "convert",
    ),
    "no future": wrong(ValueError, lambda _: model(WIDE).predict(), "future", "ahead"),
    "too little future": wrong(
        ValueError, lambda _: model(WIDE).predict(future=rows_ahead(120, 3)), "future", "1 of the 4 rows", "2024-04-03"
    ),
    "NaN in the future": wrong(
        ValueError,
        lambda _: model(WIDE).predict(future=with_value(rows_ahead(120), 2, "ahead", np.nan)),
        "future",
        "nan",
        "row 2",
        "'ahead'",
    ),
    "a level not learned before there was a base": wrong(
        ValueError, lambda _: load(path_of(MAC, OLDER)).predict(level=[99]), "level=99", "quantiles", "0.005"
    ),
    "a level of 100": wrong(ValueError, lambda _: model(MAC).predict(level=[100]), "level", "between 0 and 100"),
    "inf in one of many": wrong(
        ValueError, lambda _: model(LONG).update(with_value(LONG_LATER, 7, "y", np.inf)), "inf", "row 7", "'west'", "'y'"
    ),
    "another static covariate": wrong(
        ValueError, lambda _: model(LONG).update(LONG_LATER.assign(size=9.0)), "'size'", "9", "'west'", "forget()"
    ),
    "an unknown id": wrong(ValueError, lambda _: model(LONG).forget(["west", "south"]), "ids", "'south'", "'west'"),
    "nothing read": wrong(ValueError, lambda _: model(MAC).forget().predict(), "forget()", "update(", "predict(X)"),
    "no memory": wrong(ValueError, lambda _: model(LINEAR).surprise(waves(40)), "layers=0", "memory"),
    "too short a backtest": wrong(
        ValueError, lambda _: model(MAC).backtest(waves(39), windows=10), "windows=10", "step=4", "39 rows"
    ),
    "a far horizon": wrong(
        ValueError, lambda _: model(MAC).rolling_errors(waves(50), start=20, horizons=[9]), "horizons", "9", "horizon=4"
    ),
    "no such part": wrong(
        ValueError,
        lambda _: model(MAC).rolling_errors(waves(50), start=20, horizons=[4], memory="loud"),
        "memory",
        "'loud'",
        "'silent'",
    ),
    "a stranger's score": wrong(
        ValueError, lambda _: model(LONG).score(LONG_LATER.assign(unique_id="south")), "'south'", "fit", "'west'"
    ),
    # --- windows ----------------------------------------------------------------------------------------------------
    "an even kernel": wrong(
        ValueError, lambda _: TitansClassifier(**{**LABELLED, "kernel": 4}).fit(TABLE, LABELS), "kernel", "odd", "4"
    ),
    "one class": wrong(
        ValueError, lambda _: TitansClassifier(**LABELLED).fit(TABLE, ["fast"] * 24), "y", "'fast'", "one class", "two"
    ),
    "a label too few": wrong(
        ValueError, lambda _: TitansClassifier(**LABELLED).fit(TABLE, LABELS[:23]), "y", "23 labels", "24 sequences"
    ),
    "an unknown label": wrong(
        ValueError,
        lambda _: TitansClassifier(**LABELLED).fit(TABLE, LABELS, X_val=TABLE[:1], y_val=["still"]),
        "y_val",
        "'still'",
        "'fast', 'slow'",
    ),
    "NaN among numbers": wrong(
        ValueError, lambda _: TitansRegressor(**LABELLED).fit(TABLE, [np.nan, *range(23)]), "y", "NaN", "finite"
    ),
    "half a validation part": wrong(
        ValueError, lambda _: TitansRegressor(**LABELLED).fit(TABLE, TABLE[:, 0], X_val=TABLE), "X_val", "y_val", "both"
    ),
    "inf in a sequence": wrong(
        ValueError,
        lambda _: model("embedder").transform([TABLE[0], np.where(np.arange(9) == 2, np.inf, 0.0)]),
        "X[1]",
        "inf",
        "step 2",
        "channel 0",
        "finite",
    ),
    "one axis": wrong(ValueError, lambda _: TitansEmbedder(**WINDOWS).fit(TABLE[0]), "2D", "Reshape"),
    "contamination": wrong(
        ValueError, lambda _: TitansAnomalyDetector(**WINDOWS, contamination=0.7).fit(TABLE), "contamination", "0.5", "0.7"
    ),
    "other channels": wrong(ValueError, lambda _: model("detector").score_steps([windows(1)[0].T]), "X", "1 channels", "2"),
    # --- DNA --------------------------------------------------------------------------------------------------------
    "no letter of DNA": wrong(
        ValueError, lambda _: model("DNA regressor").predict(["ACGT", "AC-T"]), "X[1]", "'-'", "position 3", "remove"
    ),
    "a single sequence": wrong(
        ValueError, lambda _: model("DNA classifier, average").predict("ACGT"), "X='ACGT'", "single", "list"
    ),
    "long words": wrong(
        ValueError, lambda _: DNAClassifier(**{**DNA, "word_sizes": (9,)}).fit(BASES, CLASSES), "word_sizes", "8", "9"
    ),
    "no language model": wrong(
        TypeError, lambda _: DNARegressor(**DNA, init_from="genome").fit(BASES, CLASSES), "init_from", "DNALanguageModel"
    ),
    "a target needed": wrong(
        ValueError, lambda _: model("DNA classifier, equivariant").attribute(BASES[:1]), "target", "class", "2"
    ),
    "a path there is not": wrong(
        ValueError, lambda _: model("DNA regressor").predict(BASES[:1], by="letters"), "by", "'letters'", "'linear'"
    ),
    "contexts out of order": wrong(
        ValueError,
        lambda _: DNALanguageModel(**{**LANGUAGE, "context_orders": (2, 1)}).fit(BASES),
        "context_orders",
        "increasing",
        "24",
    ),
    "a masked model cannot write": wrong(
        ValueError, lambda _: model("language model, masked").sample(), "sample", "objective='causal'"
    ),
    "no heat": wrong(ValueError, lambda _: model("language model").sample(temperature=0), "temperature", "above 0", "0"),
    "a variant outside": wrong(
        ValueError,
        lambda _: model("language model").score_variants([("II", 40, "A", "C")], REFERENCE),
        "II:40 A>C",
        "'II'",
        "17",
    ),
    "an unknown contig": wrong(
        ValueError, lambda _: model("language model").score_variants([("IX", 1, "A", "C")], REFERENCE), "IX:1 A>C", "'IX'"
    ),
    # --- files ------------------------------------------------------------------------------------------------------
    "no file": wrong(FileNotFoundError, lambda folder: load(folder / "none.titans"), "none.titans"),
    "no model": wrong(ValueError, lambda folder: load(written(folder / "a.titans", "text")), "a.titans", "titans_ts"),
    "a flipped bit": wrong(
        ValueError, lambda folder: load(flipped(folder / "a.titans", path_of(MAC))), "a.titans", "damaged", "save"
    ),
    "a memory is no model": wrong(ValueError, lambda _: load(STATE), "west.state", "model"),
    "a model is no memory": wrong(
        ValueError, lambda _: MemoryState.load(path_of(MAC)), "forecaster-mac.titans", "memory", "load"
    ),
    "saved into a folder": wrong(IsADirectoryError, lambda folder: model(MAC).save(folder), "path", "folder", "file"),
    "saved nowhere": wrong(
        FileNotFoundError, lambda folder: model(MAC).save(folder / "no" / "a.titans"), "a.titans", "folder", "make"
    ),
    "another model's memory": wrong(
        ValueError, lambda _: model(MANY).remember(MemoryState.load(STATE)), "states", "'west'", "weights", "update()"
    ),
    "no memory to remember": wrong(TypeError, lambda _: model(MAC).remember([3]), "states", "int", "MemoryState"),
    "a store of one series": wrong(
        ValueError, lambda folder: store_of(folder / "a.store", model(MAC)), "forecaster", "id", "long frame"
    ),
    "no store": wrong(
        ValueError, lambda folder: store_of(written(folder / "notes.txt", "x" * 999), model(MANY)), "notes.txt", "store"
    ),
    "another model's store": wrong(
        ValueError,
        lambda folder: store_of(store_of(folder / "a.store", model(MANY)).path, model(LONG)),
        "a.store",
        "weights",
    ),
    "not in the store": wrong(KeyError, lambda folder: store_of(folder / "a.store", model(MANY))[7], "7", "a.store"),
    "an empty store": wrong(
        ValueError, lambda folder: store_of(folder / "a.store", model(MANY)).predict(), "series", "update()"
    ),
    # --- data sets, folds, the command line -------------------------------------------------------------------------
    "no data set": wrong(ValueError, lambda _: load_dataset("ETTh9"), "name='ETTh9'", "ETTh1"),
    "no frame": wrong(ValueError, lambda _: load_dataset("ETTh1", return_frame="arrow"), "return_frame", "polars"),
    "no kind": wrong(ValueError, lambda _: list_datasets("protein"), "kind='protein'", "'genome'"),
    "no task": wrong(ValueError, lambda _: make_recall("dates"), "task", "dates", "needle"),
    "no split": wrong(ValueError, lambda _: PanelTimeSeriesSplit(0).split(np.zeros(9)), "n_splits=0", "1"),
    "too many splits": wrong(
        ValueError, lambda _: PanelTimeSeriesSplit(9).split(np.zeros(5)), "n_splits=9", "10", "5", "fewer"
    ),
    "series in a list": wrong(
        ValueError, lambda _: PanelTimeSeriesSplit(2).split([np.zeros((9, 1))] * 5), "groups", "times", "long frame"
    ),
    "a span of rows": wrong(
        ValueError,
        lambda _: PanelTimeSeriesSplit(2, gap=pd.Timedelta("1D")).split(np.zeros(9)),
        "gap",
        "whole numbers",
        "dates",
    ),
    "a command about nothing": wrong(
        SystemExit, lambda folder: told("forecast", str(folder / "absent.csv"), "--horizon", "3"), "error", "absent.csv"
    ),
    "a command without a horizon": wrong(SystemExit, lambda folder: told("forecast", csv(folder)), "forecast", "--horizon"),
    "a command about no column": wrong(
        SystemExit,
        lambda folder: told("forecast", csv(folder), "--horizon", "3", "--target", "price"),
        "--target price",
        "ahead",
    ),
    "a command with another horizon": wrong(
        SystemExit,
        lambda folder: told("forecast", csv(folder), "--model", str(path_of(MAC)), "--horizon", "7"),
        "forecaster-mac.titans",
        "4 rows",
        "--horizon",
    ),
    "a command without a model": wrong(SystemExit, lambda folder: told("score", str(folder / "x.fa")), "--train", "--model"),
    "a command with another model": wrong(
        SystemExit,
        lambda folder: told("score", str(written(folder / "x.fa", ">a\nACGT\n")), "--model", str(path_of(MAC))),
        "forecaster-mac.titans",
        "DNALanguageModel",
        "TitansForecaster",
    ),
}
