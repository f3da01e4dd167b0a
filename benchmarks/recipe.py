"""Two choices of the default recipe, made without the test part: level jitter, and when the place in the year is a feature.

Each setting is fitted on the training rows alone (their last fifth is its validation part) and scored on the official
validation rows, every window at stride 1. No row of the test part is read.

    python benchmarks/recipe.py [--datasets ETTh1 ETTm1] [--seeds 0 1]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from titans_ts import TitansForecaster, load_dataset
from titans_ts.bench.protocol import DEFAULT_HORIZONS, standardised
from titans_ts.inputs import series
from titans_ts.training import preparation

SETTINGS = {
    "no jitter": (0.0, 2),
    "no jitter, year always": (0.0, 0),
    "jitter 1 (the default)": (1.0, 2),
    "jitter 1, year always": (1.0, 0),
    "jitter 2": (2.0, 2),
}
"""Size of the level jitter, and how often training must have seen a year."""


@contextmanager
def recipe(jitter: float, times_seen: int) -> Iterator[None]:
    """Hold the two constants at other values."""
    before = series.LEVEL_JITTER, preparation.TIMES_SEEN
    series.LEVEL_JITTER, preparation.TIMES_SEEN = jitter, times_seen
    try:
        yield
    finally:
        series.LEVEL_JITTER, preparation.TIMES_SEEN = before


def score(name: str, setting: str, seed: int) -> tuple[float, float]:
    """Return MSE and MAE on the validation rows, averaged over horizons, of one setting."""
    dataset = load_dataset(name)
    known = dataset.n_train + dataset.n_validation
    frame, _ = standardised(dataset)
    with recipe(*SETTINGS[setting]):
        forecaster = TitansForecaster(horizon=max(DEFAULT_HORIZONS), validation_fraction=0.2, random_state=seed)
        forecaster.fit(frame.iloc[: dataset.n_train])
        found = forecaster.rolling_errors(frame.iloc[:known], start=dataset.n_train, horizons=DEFAULT_HORIZONS)
    mse, mae = np.mean(list(found.values()), axis=0)
    return float(mse), float(mae)


def main() -> None:
    """Print a table: a row a setting, MSE/MAE a data set, mean over seeds and (in brackets) max - min of the MSE."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["ETTh1", "ETTm1"], help="data sets (default: ETTh1 ETTm1)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="seeds (default: 0 1)")
    chosen = parser.parse_args()
    print("| setting | " + " | ".join(chosen.datasets) + " | minutes |")
    print("|---|" + "---|" * (len(chosen.datasets) + 1))
    for setting in SETTINGS:
        begun, cells = time.perf_counter(), []
        for name in chosen.datasets:
            found = np.array([score(name, setting, seed) for seed in chosen.seeds])
            mse, mae = found.mean(axis=0)
            cells.append(f"{mse:.4f}/{mae:.4f} ({np.ptp(found[:, 0]):.4f})")
        minutes = (time.perf_counter() - begun) / 60
        print(f"| {setting} | " + " | ".join(cells) + f" | {minutes:.1f} |", flush=True)


if __name__ == "__main__":
    main()
