"""Anomalies in the Numenta benchmark's realKnownCause: surprise beside a rolling z-score and an isolation forest.

    python benchmarks/anomaly.py                    # what is missing of the table: 7 files, seeds 0 to 2
    python benchmarks/anomaly.py --variants         # mag, mal, lmm, attention, no layers; seed 0

The first 15 % of each file is for training, the rest is judged: ROC-AUC and average precision of every row's score against
the benchmark's windows. Nothing is smoothed. Rows go to benchmarks/anomaly.csv as they are made. Reads
$TITANS_TS_DATA/series/nab.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

from titans_ts import TitansAnomalyDetector

OUT = Path(__file__).with_suffix(".csv")
COLUMNS = ("file", "model", "seed", "roc_auc", "average_precision", "seconds")
TRAINED_ON = 0.15
SEEDS = (0, 1, 2)
WINDOWS = (24, 100, 288, 500)
LAGS = (8, 32)
VARIANTS: dict[str, dict[str, Any]] = {
    "surprise": {},
    "surprise, mag": {"variant": "mag"},
    "surprise, mal": {"variant": "mal"},
    "surprise, lmm": {"variant": "lmm"},
    "surprise, attention": {"variant": "attention"},
    "surprise, no layers": {"layers": 0},
}


def read_files() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return values and whether each row lies in a window of an anomaly, by file."""
    folder = Path(os.environ["TITANS_TS_DATA"]) / "series" / "nab"
    windows = json.loads((folder / "combined_windows.json").read_text())
    found = {}
    for path in sorted((folder / "realKnownCause").glob("*.csv")):
        table = pd.read_csv(path, parse_dates=["timestamp"])
        inside = np.zeros(len(table), bool)
        for first, last in windows[f"realKnownCause/{path.name}"]:
            inside |= table["timestamp"].between(pd.Timestamp(first), pd.Timestamp(last)).to_numpy()
        found[path.stem] = table["value"].to_numpy(float), inside
    return found


def rolling_score(values: np.ndarray, _trained: int, window: int) -> np.ndarray:
    """Return how many standard deviations each row is from the mean of a trailing window."""
    rolling = pd.Series(values).rolling(window, min_periods=2)
    spread = rolling.std().clip(lower=1e-9 * max(values.std(), 1e-9))
    return ((values - rolling.mean()).abs() / spread).fillna(0.0).to_numpy()


def forest_score(values: np.ndarray, trained: int, lags: int, seed: int) -> np.ndarray:
    """Return the score of an isolation forest on each row and those before it, trained on the first ones."""
    padded = np.concatenate([np.full(lags - 1, values[0]), values])
    table = np.lib.stride_tricks.sliding_window_view(padded, lags)
    return -IsolationForest(random_state=seed).fit(table[:trained]).score_samples(table)


def surprise_score(values: np.ndarray, trained: int, seed: int, **settings: Any) -> np.ndarray:
    detector = TitansAnomalyDetector(random_state=seed, **settings).fit([values[:trained]])
    return -detector.score_steps([values])[0]


def judged(file: str, model: str, seed: int) -> dict[str, Any]:
    values, inside = read_files()[file]
    trained, began = int(TRAINED_ON * len(values)), time.perf_counter()
    kind, _, setting = model.partition(" of ")
    if kind == "rolling z-score":
        score = rolling_score(values, trained, int(setting))
    elif kind == "isolation forest":
        score = forest_score(values, trained, int(setting), seed)
    else:
        score = surprise_score(values, trained, seed, **VARIANTS[model])
    found = [judge(inside[trained:], score[trained:]) for judge in (roc_auc_score, average_precision_score)]
    return dict(zip(COLUMNS, (file, model, seed, *np.round(found, 4), round(time.perf_counter() - began)), strict=True))


def print_table(rows: list[dict[str, Any]]) -> None:
    files = list(dict.fromkeys(row["file"] for row in rows))
    print("| model | ROC-AUC | average precision | " + " | ".join(files) + " | seconds |")
    print("|---" * (len(files) + 4) + "|")
    table = pd.DataFrame(rows).astype({"roc_auc": float, "average_precision": float, "seconds": float})
    for model, part in table.groupby("model", sort=False):
        cells = []
        for measure in ("roc_auc", "average_precision"):
            means = part.groupby("seed")[measure].mean()
            cells.append(f"{means.mean():.3f}" + (f" ({np.ptp(means):.3f})" if len(means) > 1 else ""))
        cells += [f"{part.loc[part['file'] == file, 'roc_auc'].mean():.2f}" for file in files]
        print("| " + " | ".join([str(model), *cells, f"{part['seconds'].max():.0f}"]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="fits at a time, each with one thread")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if OUT.exists():
        with OUT.open(newline="") as file:
            rows = list(csv.DictReader(file))
    done = {(row["file"], row["model"], int(row["seed"])) for row in rows}
    once = [f"rolling z-score of {window}" for window in WINDOWS]
    several = ["surprise", *(f"isolation forest of {lags}" for lags in LAGS)]
    wanted = [(model, 0) for model in once] + [(model, seed) for model in several for seed in SEEDS]
    if arguments.variants:
        wanted = [(model, 0) for model in VARIANTS]
    missing = [(file, *one) for one in wanted for file in read_files() if (file, *one) not in done]
    for row in Parallel(n_jobs=arguments.jobs, return_as="generator_unordered")(delayed(judged)(*one) for one in missing):
        rows.append(row)
        with OUT.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(sorted(rows, key=lambda x: (x["model"], x["file"], int(x["seed"]))))
    print_table(rows)


if __name__ == "__main__":
    main()
