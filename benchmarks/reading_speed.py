"""What a row costs: of an array, a frame, a series among 256, and absorbed; compiled loops beside the modules they follow.

Every model has horizon 24 and defaults otherwise (the panel's look-back is 168 rows), fitted for a few steps: what is
learned changes no cost, but for whether validation lets the memory be heard, which is set here, once yes and once no. Both
roads take turns in one process; times are of the processor, the best of some rounds.

    python benchmarks/reading_speed.py [--rounds 3] [--parts one batch absorb]

Without a library (``make compiled``) only the modules are measured.
"""

from __future__ import annotations

import argparse
import gc
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch

from titans_ts import TitansForecaster
from titans_ts.series import reading
from titans_ts.series.base.compiled import reading as compiled
from titans_ts.series.learning import fitting

HORIZON, FITTED, ROWS, SERIES = 24, 1_500, 4_000, 256
STAMPS = pd.date_range("2020-01-01", periods=ROWS, freq="h")
LIBRARY = compiled.library()
ROADS = ("compiled", "modules") if LIBRARY is not None else ("modules",)
MEMORY = {True: "heard", False: "not heard"}


def rows(channels: int) -> np.ndarray:
    """Return hourly rows with a season of a day, ``(t, c)``."""
    at, noise = np.arange(ROWS)[:, None] + 3 * np.arange(channels), np.random.default_rng(0)
    return 10 + np.sin(2 * np.pi * at / 24) + 0.3 * noise.standard_normal((ROWS, channels))


def long(values: np.ndarray, first: int, last: int) -> pd.DataFrame:
    """Return rows ``(t, n)`` of many series as a long frame, series by series."""
    stamps, count = STAMPS[first:last], values.shape[1]
    ids = np.repeat([f"s{i}" for i in range(count)], last - first)
    return pd.DataFrame({"unique_id": ids, "ds": np.tile(stamps, count), "y": values[first:last].T.ravel()})


def fitted(X: Any, *, heard: bool, **arguments: Any) -> TitansForecaster:
    """Return a forecaster whose memory is heard or not, whatever validation says after so few steps."""
    with patch.object(fitting, "is_heard", lambda gain: heard):
        return TitansForecaster(HORIZON, max_steps=2, random_state=0, **arguments).fit(X)


@contextmanager
def road(name: str) -> Iterator[None]:
    """Read by the compiled loops, or by the modules."""
    with patch.object(compiled, "library", lambda: LIBRARY if name == "compiled" else None):
        yield


def seconds(work: Callable[[], object]) -> float:
    """Return the processor's time of a call."""
    gc.collect()
    begun = time.process_time()
    work()
    return time.process_time() - begun


def best_of(rounds: int, work: Callable[[], object]) -> dict[str, float]:
    """Return the least time of each road, which take turns."""
    found = {name: float("inf") for name in ROADS}
    for _ in range(rounds):
        for name in ROADS:
            with road(name):
                found[name] = min(found[name], seconds(work))
    return found


def show(what: str, unit: str, found: dict[str, float]) -> None:
    """Print a line of the table."""
    ratio = "" if len(found) < 2 else f"{max(found.values()) / min(found.values()):.1f}"
    print(f"| {what} | {unit} | " + " | ".join(f"{found[name]:,.4g}" for name in ROADS) + f" | {ratio} |", flush=True)


def one(rounds: int) -> None:
    """Print what one row and its forecast cost, mean over 16 rows."""
    values = rows(1)
    kinds: dict[str, Callable[[int], Any]] = {
        "array row": lambda i: values[i : i + 1, 0],
        "frame of one row": lambda i: pd.DataFrame({"y": values[i : i + 1, 0]}, index=STAMPS[i : i + 1]),
    }
    for what, row in kinds.items():
        X = values[:FITTED, 0] if what == "array row" else pd.DataFrame({"y": values[:FITTED, 0]}, index=STAMPS[:FITTED])
        for heard, said in MEMORY.items():
            forecaster = fitted(X, heard=heard)
            given = iter([row(i) for i in range(FITTED, ROWS)])

            def sixteen(forecaster: TitansForecaster = forecaster, given: Iterator[Any] = given) -> None:
                for _ in range(16):
                    forecaster.update(next(given)).predict()

            sixteen()
            found = best_of(rounds, sixteen)
            show(f"{what}, `update` and `predict`, memory {said}", "ms", {name: x / 16e-3 for name, x in found.items()})


def batch(rounds: int) -> None:
    """Print what a row of one of many series costs, read and forecast side by side."""
    values = rows(SERIES)
    for heard, said in MEMORY.items():
        forecaster = fitted(long(values[:, :8], 0, FITTED), heard=heard, lookback=168)
        reader = forecaster.reader_
        begun = reader.read(reader.panel(long(values, 0, FITTED - 1)), {})
        last, patch_length = FITTED - 1, reader.network.config.patch_length
        firsts = {"no patch completed": last, "every one a patch": last + -last % patch_length}  # by the row that follows it
        for what, first in firsts.items():
            state = begun
            if first > last:
                state = reader.read(reader.panel(long(values, last, first), follow=begun.last_times), begun.states)
            panel = reader.panel(long(values, first, first + 1), follow=state.last_times)
            found = best_of(rounds, lambda panel=panel, state=state: reader.read(panel, state.states))  # noqa: B023
            show(f"series-row, memory {said}, {what}", "ms", {name: x / SERIES * 1e3 for name, x in found.items()})
        states, futures = list(begun.states.values()), [torch.zeros(HORIZON, 0)] * SERIES
        found = best_of(rounds, lambda: reading.forecast_together(reader.network, states, futures, ()))  # noqa: B023
        show(f"forecast of a series, memory {said}", "ms", {name: x / SERIES * 1e3 for name, x in found.items()})


def absorb(rounds: int) -> None:
    """Print univariate rows absorbed a second."""
    for channels in (1, 7):
        values, count = rows(channels), 100_000 // channels
        new = np.tile(values, (-(-count // ROWS), 1))[:count]
        kinds = {"array": values[:FITTED]} | ({} if channels > 1 else {"hourly frame": None})
        for what, X in kinds.items():
            for heard, said in MEMORY.items():
                history, more = X, new
                if history is None:
                    history = pd.DataFrame({"y": values[:FITTED, 0]}, index=STAMPS[:FITTED])
                    stamps = pd.date_range(STAMPS[FITTED], periods=count, freq="h")
                    more = pd.DataFrame({"y": new[:, 0]}, index=stamps)
                forecaster = fitted(history, heard=heard)
                reader = forecaster.reader_
                panel = reader.panel(more, follow=forecaster.last_times_)
                found = best_of(rounds, lambda: reader.read(panel, forecaster.states_))  # noqa: B023
                name = f"{what} of {channels} channel{'s' * (channels > 1)}, memory {said}"
                show(name, "univariate rows/s", {road: count * channels / x for road, x in found.items()})


PARTS: dict[str, Callable[[int], None]] = {"one": one, "batch": batch, "absorb": absorb}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.machine()}, one thread\n")
    print("| what | unit | " + " | ".join(ROADS) + " | ratio |\n|---|---|" + "---|" * (len(ROADS) + 1))
    for part in asked.parts:
        PARTS[part](asked.rounds)


if __name__ == "__main__":
    main()
