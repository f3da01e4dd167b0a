"""Choices of the default recipe, made without the test part.

Training and validation rows of each set are cut at several places, since a single stretch of validation rows seldom tells a
season from a trend. Each setting is fitted on the rows before a cut (their last fifth is its validation part) and scored on
the next sixth, every window at stride 1, at the horizons of its table. No row of the test part is read.

The rule: the first setting stays unless another lowers the geometric mean of the MSE, over sets and cuts, by 1 % or more.

    python benchmarks/recipe.py [--datasets ETTh1 exchange_rate vic_elec] [--seeds 0] [--settings ...]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from titans_bench.protocol import DEFAULT_HORIZONS, HORIZONS, standardised
from titans_ts import TitansForecaster, load_dataset
from titans_ts.memory import gates
from titans_ts.series import tensors as preparation
from titans_ts.series.tensors import Covariates, Lookback, SeriesEmbedding


def jittered(forward: Callable[..., Tensor], *, size: float) -> Callable[..., Tensor]:
    """Return an embedding's forward that in training shifts the level of each stream by a normal draw.

    Where a series stood in the training years is no reason to expect it back there.
    """

    def shifted(embedding: SeriesEmbedding, windows: Lookback, extras: Covariates) -> Tensor:
        if embedding.training:
            level = torch.asinh(windows.level)
            windows = windows._replace(level=torch.sinh(level + size * torch.randn_like(level[:, :, :1])))
        return forward(embedding, windows, extras)

    return shifted


Constants = dict[tuple[ModuleType | type, str], object]
JITTER: Constants = {(SeriesEmbedding, "forward"): jittered(SeriesEmbedding.forward, size=1.0)}
SETTINGS: dict[str, tuple[Constants, dict[str, Any]]] = {
    "as it is": ({}, {}),
    "linear path alone": ({}, {"layers": 0}),
    "steps not damped": ({}, {"damping": False}),
    "year if half seen": ({(preparation, "TIMES_SEEN"): 0.5}, {}),
    "level jitter 1": (JITTER, {}),
    "caution 0": ({}, {"caution": 0.0}),
    "caution 2": ({}, {"caution": 2.0}),
    "writes weak": ({(gates, "STEP_START"): (-1.0, -1.0), (gates, "MOMENTUM_START"): 0.0}, {}),
    "writes even": ({(gates, "STEP_START"): (0.0, 0.0)}, {}),
    "writes strong": ({(gates, "STEP_START"): (1.0, 1.0)}, {}),
}
"""Constants and arguments that differ from those of the library."""
DATASETS = ("ETTh1", "exchange_rate", "vic_elec")
CUTS = (1 / 2, 2 / 3, 5 / 6)
"""Where training and validation rows are cut."""
SCORED = 1 / 6
"""Share of them that is scored after a cut."""


@contextmanager
def recipe(constants: Constants) -> Iterator[None]:
    """Hold constants at other values."""
    before = {place: getattr(*place) for place in constants}
    try:
        for (module, name), value in constants.items():
            setattr(module, name, value)
        yield
    finally:
        for (module, name), value in before.items():
            setattr(module, name, value)


def score(name: str, setting: str, seed: int) -> NDArray[np.float64]:
    """Return MSE and MAE after each cut, averaged over horizons, ``(cuts, 2)``, and print each when it is there."""
    dataset = load_dataset(name)
    known = dataset.n_train + dataset.n_validation
    horizons = HORIZONS.get(name, DEFAULT_HORIZONS)
    frame, _ = standardised(dataset)
    constants, arguments = SETTINGS[setting]
    found = []
    for cut in (round(share * known) for share in CUTS):
        with recipe(constants):
            forecaster = TitansForecaster(horizon=max(horizons), validation_fraction=0.2, random_state=seed, **arguments)
            forecaster.fit(frame.iloc[:cut])
            errors = forecaster.rolling_errors(frame.iloc[: cut + round(SCORED * known)], start=cut, horizons=horizons)
        found.append(np.mean(list(errors.values()), axis=0))
        print(f"{setting}, {name}, seed {seed}, cut at {cut}: {found[-1][0]:.4f}/{found[-1][1]:.4f}", file=sys.stderr)
    return np.array(found)


def main() -> None:
    """Print a table: a row a setting, a cell a set: mean MSE/MAE, and in brackets the MSE after each cut.

    The last columns: the geometric mean, over sets and cuts, of the MSE beside the first setting's, and minutes.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=DATASETS, help=f"data sets (default: {' '.join(DATASETS)})")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="seeds (default: 0)")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="rows (default: all)")
    chosen = parser.parse_args()
    print("| setting | " + " | ".join(chosen.datasets) + " | ratio | minutes |")
    print("|---|" + "---|" * (len(chosen.datasets) + 2))
    first: list[float] = []  # of every set and cut
    for setting in chosen.settings:
        begun, cells, errors = time.perf_counter(), [], []
        for name in chosen.datasets:
            after_cuts = np.mean([score(name, setting, seed) for seed in chosen.seeds], axis=0)
            mse, mae = after_cuts.mean(axis=0)
            errors += list(after_cuts[:, 0])
            cells.append(f"{mse:.4f}/{mae:.4f} ({' '.join(f'{x:.3f}' for x in after_cuts[:, 0])})")
        minutes = (time.perf_counter() - begun) / 60
        first = first or errors
        ratio = float(np.exp(np.mean(np.log(np.divide(errors, first)))))
        print(f"| {setting} | " + " | ".join(cells) + f" | {ratio:.3f} | {minutes:.1f} |", flush=True)


if __name__ == "__main__":
    main()
