"""DNA classifiers on four sets of GUE: ours, its paths alone, variants, a small CNN, k-mers, and place by place.

    python benchmarks/dna_classification.py                    # what is missing of the main table: 4 sets, seeds 0 to 2
    python benchmarks/dna_classification.py --variants         # other variants and the CNN, two sets, one seed
    python benchmarks/dna_classification.py --regression       # Sort-Seq: mean bin, beside ridge on one-hot

Trained on train, chosen on dev, judged on test by Matthews' correlation (Spearman's for regression). Rows go to
benchmarks/dna_classification.csv as they are made, and a second call makes only what is missing.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import matthews_corrcoef
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from titans_ts import DNAClassifier, DNARegressor, load_dataset

SETS = ("gue/prom_core_all", "gue/prom_300_tata", "gue/tf_0", "gue/mouse_0")
SEEDS = (0, 1, 2)
SMALL_SETS = ("gue/prom_300_tata", "gue/mouse_0")
VARIANTS = ("mac", "mag", "mal", "lmm", "attention")
STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
COLUMNS = ("set", "model", "seed", "dev", "test", "seconds")
OUT = Path(__file__).with_suffix(".csv")
BASES = np.frombuffer(b"ACGT", np.uint8)


def read_rows() -> list[dict[str, str]]:
    if not OUT.exists():
        return []
    with OUT.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(rows: list[dict[str, str]]) -> None:
    with OUT.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def row(name: str, model: str, seed: int, dev: float, test: float, seconds: float) -> dict[str, str]:
    values = (name, model, str(seed), f"{dev:.4f}", f"{test:.4f}", f"{seconds:.0f}")
    return dict(zip(COLUMNS, values, strict=True))


def one_hot(frame: Any) -> np.ndarray:
    """Return sequences of one length as ``(n, t, 4)``."""
    letters = np.array([np.frombuffer(text.encode(), np.uint8) for text in frame["sequence"]])
    return (letters[:, :, None] == BASES).astype(float)


def kmer_rows(name: str) -> list[dict[str, str]]:
    """Logistic regression on counts of 3- to 6-mers, standardised, its penalty chosen on dev by MCC."""
    data, began = load_dataset(name), time.perf_counter()
    models = [
        make_pipeline(
            CountVectorizer(analyzer="char", ngram_range=(3, 6), lowercase=False),
            StandardScaler(with_mean=False),
            LogisticRegression(C=strength, max_iter=300),
        ).fit(data.train["sequence"], data.train["label"])
        for strength in STRENGTHS
    ]
    scores = [[matthews_corrcoef(p["label"], m.predict(p["sequence"])) for p in (data.dev, data.test)] for m in models]
    dev, test = max(scores)
    return [row(name, "k-mer counts", 0, dev, test, time.perf_counter() - began)]


def place_rows(name: str) -> list[dict[str, str]]:
    """Logistic regression on which base stands where (the sequences of a set are of one length)."""
    data, began = load_dataset(name), time.perf_counter()
    X, y = [one_hot(p).reshape(len(p), -1) for p in (data.train, data.dev, data.test)], data.train["label"]
    models = [LogisticRegression(C=strength, max_iter=300).fit(X[0], y) for strength in (*STRENGTHS, 1.0)]
    scores = [
        [matthews_corrcoef(p["label"], m.predict(x)) for p, x in ((data.dev, X[1]), (data.test, X[2]))] for m in models
    ]
    return [row(name, "place by place", 0, *max(scores), time.perf_counter() - began)]


def our_rows(name: str, seed: int, variant: str = "mac") -> list[dict[str, str]]:
    data, began = load_dataset(name), time.perf_counter()
    model = DNAClassifier(variant=variant, random_state=seed)
    model.fit(data.train["sequence"], data.train["label"], X_val=data.dev["sequence"], y_val=data.dev["label"])
    seconds = time.perf_counter() - began
    made = []
    for by, label in (("both", variant), ("memory", f"{variant}, memory alone"), ("linear", "linear path alone")):
        dev, test = (matthews_corrcoef(p["label"], model.predict(p["sequence"], by=by)) for p in (data.dev, data.test))
        made.append(row(name, label, seed, dev, test, seconds))
    return made if variant == "mac" else made[:2]


def cnn_rows(name: str, seed: int) -> list[dict[str, str]]:
    """A small CNN with the same training budget: two convolutions, pooling, two layers; stopped and chosen on dev."""
    import torch
    from torch import nn

    data, began = load_dataset(name), time.perf_counter()
    torch.manual_seed(seed)
    chance = np.random.default_rng(seed)

    parts = [
        (torch.from_numpy(one_hot(p)).transpose(1, 2).float().contiguous(), torch.tensor(p["label"].to_numpy()))
        for p in (data.train, data.dev, data.test)
    ]
    network = nn.Sequential(
        nn.Conv1d(4, 64, 11, padding=5), nn.BatchNorm1d(64), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(64, 64, 7, padding=3), nn.BatchNorm1d(64), nn.ReLU(), nn.AdaptiveMaxPool1d(8), nn.Flatten(),
        nn.Dropout(0.3), nn.Linear(512, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 2),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
    steps, best = DNAClassifier().max_steps, (-1.0, 0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        some = torch.from_numpy(chance.integers(len(parts[0][0]), size=DNAClassifier().batch_size))
        network.train()
        loss = nn.functional.cross_entropy(network(parts[0][0][some]), parts[0][1][some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            network.eval()
            with torch.no_grad():
                best = max(best, tuple(matthews_corrcoef(y, network(x).argmax(1)) for x, y in parts[1:]))
    return [row(name, "small CNN", seed, *best, time.perf_counter() - began)]


def regression_rows(seed: int) -> list[dict[str, str]]:
    data, began = load_dataset("sortseq"), time.perf_counter()
    target = data.target_column
    model = DNARegressor(random_state=seed)
    model.fit(data.train["sequence"], data.train[target], X_val=data.dev["sequence"], y_val=data.dev[target])
    seconds = time.perf_counter() - began
    made = []
    for by, label in (("both", "mac"), ("memory", "mac, memory alone"), ("linear", "linear path alone")):
        dev, test = (spearmanr(p[target], model.predict(p["sequence"], by=by))[0] for p in (data.dev, data.test))
        made.append(row("sortseq", label, seed, dev, test, seconds))
    return made


def ridge_rows() -> list[dict[str, str]]:
    data, began = load_dataset("sortseq"), time.perf_counter()

    X = [one_hot(p).reshape(len(p), -1) for p in (data.train, data.dev, data.test)]
    y = [p[data.target_column] for p in (data.train, data.dev, data.test)]
    models = [Ridge(alpha=alpha).fit(X[0], y[0]) for alpha in (0.01, 0.1, 1, 10, 100, 1000)]
    dev, test = max([spearmanr(y[i], m.predict(X[i]))[0] for i in (1, 2)] for m in models)
    return [row("sortseq", "ridge on one-hot", 0, dev, test, time.perf_counter() - began)]


def print_table(rows: list[dict[str, str]]) -> None:
    sets = list(dict.fromkeys(r["set"] for r in rows))
    print("| model | " + " | ".join(f"{s} dev | test" for s in sets) + " | seconds a fit |")
    print("|---" * (2 * len(sets) + 2) + "|")
    for model in dict.fromkeys(r["model"] for r in rows):
        cells = []
        for name in sets:
            for part in ("dev", "test"):
                found = [float(r[part]) for r in rows if (r["set"], r["model"]) == (name, model)]
                spread = f" ({np.ptp(found):.3f})" if len(found) > 1 else ""
                cells.append(f"{np.mean(found):.3f}{spread}" if found else "-")
        slowest = max(float(r["seconds"]) for r in rows if r["model"] == model)
        print("| " + " | ".join([model, *cells, f"{slowest:.0f}"]) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--regression", action="store_true")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=1, help="fits at a time, each with one thread")
    arguments = parser.parse_args()
    if arguments.regression:
        wanted: list[tuple[Any, ...]] = [(ridge_rows,), *((regression_rows, seed) for seed in arguments.seeds)]
    elif arguments.variants:
        wanted = [(our_rows, name, 0, v) for name in SMALL_SETS for v in VARIANTS] + [
            (cnn_rows, name, 0) for name in SMALL_SETS
        ]
    else:
        wanted = [(our_rows, name, seed) for seed in arguments.seeds for name in arguments.sets]
        wanted = [(make, name) for make in (kmer_rows, place_rows) for name in arguments.sets] + wanted
    done = {(r["set"], r["model"], int(r["seed"])) for r in read_rows()}
    models = {kmer_rows: "k-mer counts", place_rows: "place by place", cnn_rows: "small CNN", ridge_rows: "ridge on one-hot"}

    def is_done(make: Any, *about: Any) -> bool:
        name = "sortseq" if make in (ridge_rows, regression_rows) else about[0]
        seed = about[0] if make is regression_rows else about[1] if len(about) > 1 else 0
        return (name, models.get(make, about[2] if len(about) > 2 else "mac"), seed) in done

    missing = [each for each in wanted if not is_done(*each)]
    for made in Parallel(n_jobs=arguments.jobs, return_as="generator_unordered")(delayed(m)(*a) for m, *a in missing):
        for one in made:
            print(*one.values(), flush=True)
        write_rows(read_rows() + made)
    rows = read_rows()
    names = ("sortseq",) if arguments.regression else SMALL_SETS if arguments.variants else arguments.sets
    print_table([r for r in rows if r["set"] in names])


if __name__ == "__main__":
    main()
