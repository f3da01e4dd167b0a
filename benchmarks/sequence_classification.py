"""TitansClassifier on the small sets that ship with aeon, beside 1-nearest-neighbour DTW and MiniRocket of the same package.

    pip install "aeon>=1.6"
    python benchmarks/sequence_classification.py                    # what is missing of the table: 8 sets, seeds 0 to 2
    python benchmarks/sequence_classification.py --variants         # mag, mal, lmm, attention; seed 0

Trained on each set's training part with the defaults, judged by accuracy on its test part. Rows go to
benchmarks/sequence_classification.csv as they are made, and a second call makes only what is missing.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from titans_ts import TitansClassifier

OUT = Path(__file__).with_suffix(".csv")
COLUMNS = ("set", "model", "seed", "accuracy", "seconds")
SETS = (
    "ACSF1",
    "ArrowHead",
    "BasicMotions",
    "GunPoint",
    "ItalyPowerDemand",
    "JapaneseVowels",
    "OSULeaf",
    "PickupGestureWiimoteZ",
)
SEEDS = (0, 1, 2)
VARIANTS = ("mag", "mal", "lmm", "attention")


def read_set(name: str, *, padded: bool = False) -> list[tuple[list[np.ndarray], np.ndarray]]:
    """Return sequences ``(c, t)``, and labels, of both parts; padded to one length by aeon if asked for."""
    from aeon.datasets import load_classification

    parts = [load_classification(name, split=part, load_equal_length=padded) for part in ("train", "test")]
    return [([np.asarray(one) for one in X], np.asarray(y)) for X, y in parts]


def our_rows(name: str, seed: int, variant: str = "mac") -> list[tuple[Any, ...]]:
    (X, y), (asked, truth) = read_set(name)
    X, asked = ([one.T for one in part] for part in (X, asked))
    began = time.perf_counter()
    model = TitansClassifier(variant=variant, random_state=seed).fit(X, y)
    seconds = time.perf_counter() - began
    label = "titans" if variant == "mac" else f"titans, {variant}"
    paths = (("both", label), ("memory", f"{label}, memory alone"), ("linear", "linear path alone"))
    made = [(name, said, seed, np.mean(model.predict(asked, by=by) == truth), seconds) for by, said in paths]
    return made if variant == "mac" else made[:2]


def rival_rows(name: str, seed: int, rival: str) -> list[tuple[Any, ...]]:
    from aeon.classification.convolution_based import MiniRocketClassifier
    from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier

    nearest = rival == "1-NN DTW"
    (X, y), (asked, truth) = read_set(name, padded=not nearest)  # aeon's MiniRocket refuses unequal lengths
    if len({one.shape for one in (*X, *asked)}) == 1:
        X, asked = np.stack(X), np.stack(asked)
    began = time.perf_counter()
    model = KNeighborsTimeSeriesClassifier(distance="dtw") if nearest else MiniRocketClassifier(random_state=seed)
    found = np.mean(model.fit(X, y).predict(asked) == truth)
    return [(name, rival, seed, found, time.perf_counter() - began)]


def print_table(rows: list[dict[str, str]]) -> None:
    print("| model | mean | " + " | ".join(SETS) + " | seconds |")
    print("|---" * (len(SETS) + 3) + "|")
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        cells, means = [], []
        for name in SETS:
            found = [float(row["accuracy"]) for row in own if row["set"] == name]
            means.append(np.mean(found) if found else np.nan)
            spread = f" ({np.ptp(found):.3f})" if len(found) > 1 else ""
            cells.append(f"{np.mean(found):.3f}{spread}" if found else "-")
        slowest = max(float(row["seconds"]) for row in own)
        print("| " + " | ".join([model, f"{np.mean(means):.3f}", *cells, f"{slowest:.0f}"]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="fits at a time, each with one thread")
    arguments = parser.parse_args()
    rows: list[dict[str, str]] = []
    if OUT.exists():
        with OUT.open(newline="") as file:
            rows = list(csv.DictReader(file))
    wanted: list[tuple[str, int, str]] = [(name, 0, "1-NN DTW") for name in SETS]
    wanted += [(name, seed, model) for model in ("MiniRocket", "mac") for name in SETS for seed in SEEDS]
    if arguments.variants:
        wanted = [(name, 0, variant) for variant in VARIANTS for name in SETS]
    done = {(row["set"], int(row["seed"]), row["model"]) for row in rows}
    labels = {"mac": "titans", **{variant: f"titans, {variant}" for variant in VARIANTS}}
    missing = [one for one in wanted if (*one[:2], labels.get(one[2], one[2])) not in done]
    tasks = (delayed(our_rows if one[2] in labels else rival_rows)(*one) for one in missing)
    for made in Parallel(n_jobs=arguments.jobs, return_as="generator_unordered")(tasks):
        for name, model, seed, accuracy, seconds in made:
            values = (name, model, str(seed), f"{accuracy:.4f}", f"{seconds:.1f}")
            rows.append(dict(zip(COLUMNS, values, strict=True)))
        with OUT.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    print_table(rows)


if __name__ == "__main__":
    main()
