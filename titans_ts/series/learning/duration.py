"""How long a fit will take, told before it begins: its work, counted from sizes, at the pace that this machine has."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from titans_ts.learn.progress import SHOWN_AFTER, Bar, shows_progress
from titans_ts.series.learning.solving import MOST_BLOCKS, MOST_WINDOWS, MOST_WORK
from titans_ts.series.settings import ForecastConfig, TrainingConfig
from titans_ts.series.sizes import Sizes

PRODUCTS = 3.0
"""How much longer sums and solutions take than so many products in one large matrix product."""
OF_WINDOW, OF_ROW = 260, 6_000
"""Numbers touched in solving for each row of a window's season, and for each row that is read."""
OF_TOKEN, OF_READING = 280, 90
"""Numbers touched for each token, layer and width of a network, in a training step and where it only reads."""
PENALTIES = 6
"""Solutions of every block."""
LEAST = 0.1
"""Seconds of a fit of next to nothing."""


class Pace(NamedTuple):
    """Seconds that this machine takes."""

    product: float  # of one multiplication and addition in a large matrix product, float64
    number: float  # to touch one number of a large array


def measure_pace() -> Pace:
    """Return the pace of this machine, as busy as it is now; takes some hundredths of a second."""
    square, line = torch.ones(256, 256, dtype=torch.float64), torch.ones(200_000, dtype=torch.float64)

    def seconds(work: Callable[[], object]) -> float:
        work()
        taken = []
        for _ in range(5):
            begun = time.perf_counter()
            work()
            taken.append(time.perf_counter() - begun)
        return sorted(taken)[2]

    return Pace(
        seconds(lambda: square @ square) / len(square) ** 3,
        seconds(lambda: (2 * line + 1).abs().clamp_max(3.0)) / len(line),
    )


def expected_seconds(
    lengths: Sequence[int], config: ForecastConfig, sizes: Sizes, training: TrainingConfig, pace: Pace
) -> dict[str, float]:
    """Return the seconds that solving a base, training a memory to the end, and reading are expected to take.

    Series have so many rows each. A guess, good to a factor of two or three.
    """
    rows, width, horizon = sum(lengths) * config.channels, sizes.lookback, config.horizon
    windows = min(rows, MOST_WINDOWS, MOST_WORK / (width * (width + horizon)))
    ridges = len(sizes.seasons) * (2 if sizes.centre == "level" else 1 + (sizes.seasons[0] > 1))
    ridges *= 1 if config.channels == 1 or sizes.centre == "level" else 2
    products = windows * width * (width + horizon) + (MOST_BLOCKS + 1) * PENALTIES * width**3 / 6
    touched = OF_WINDOW * windows * sum(sizes.seasons) + OF_ROW * rows
    found = {"base": LEAST + PRODUCTS * pace.product * ridges * products + pace.number * touched}
    tokens = sum(length // config.patch_length for length in lengths) * config.streams
    backbone = config.backbone
    of_token = pace.number * backbone.layers * backbone.width
    steps = sum(training.steps_of_phases(layers=backbone.layers, recollection=config.recollection).values())
    if steps:
        at_once = training.segment * max(training.batch_size, config.streams)
        evaluations = steps / training.evaluate_every + 2
        found["memory"] = of_token * (OF_TOKEN * steps * at_once + OF_READING * evaluations * tokens)
    found["reading"] = of_token * OF_READING * tokens + pace.number * OF_ROW * rows / 6
    return found


def tell(expected: Mapping[str, float], verbose: int | None) -> None:
    """Say how long a fit will take to whoever sees bars of it, and not of a few seconds to those who did not ask."""
    total = sum(expected.values())
    if shows_progress(verbose) and (verbose or total >= SHOWN_AFTER):
        parts = ", ".join(f"{name} {spelled(seconds)}" for name, seconds in expected.items() if seconds >= 0.05 * total)
        Bar.write(f"fit: about {spelled(total)} ({parts})", file=sys.stderr)


def spelled(seconds: float) -> str:
    """Return a rough time in words.

    >>> spelled(0.3), spelled(42.4), spelled(200), spelled(8000)
    ('1 s', '42 s', '3 min', '2.2 h')
    """
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
