"""What the history bench runs: models and how they are fitted, series, and where forecasts are made in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from titans_bench.protocol import standardised
from titans_ts.datasets.load import Dataset, load_dataset
from titans_ts.datasets.series import make_recurring

MODELS: dict[str, dict[str, Any]] = {
    "carried": {"variant": "mac"},
    "carried, no recollection": {"variant": "mac", "recollection": 0},
    "attention, growing cache": {"variant": "full_attention", "recollection": 0},
}
"""They have the same width, layers and steps, and differ in how they keep the past. Attention keeps every token. Ours keeps
a memory in its layers, and the first one of its forecast errors too."""

FITS: dict[str, dict[str, Any]] = {
    "recurring": {
        "horizon": 32,
        "patch_length": 8,
        "recollection": 512,
        "width": 16,
        "layers": 1,
        "memory_depth": 1,
        "max_steps": 50,
        "learning_rate": 6e-3,
        "patience": 48,
        "dropout": 0.0,
        "caution": 0,
    },
    "vic_elec": {"horizon": 48, "patch_length": 16, "recollection": 512, "max_steps": 300},
    "ETTm1": {"horizon": 96, "patch_length": 16, "recollection": 512, "max_steps": 300},
    "weather": {"horizon": 96, "patch_length": 16, "recollection": 512, "max_steps": 300},
    "mitbih100": {"horizon": 144, "patch_length": 32, "recollection": 512, "max_steps": 300},
}
"""How the models of each set are fitted. What recurs needs many cases and little else. There `caution` is 0: the series that
is read keeps its pairs longer than the one that is fitted, which would undervalue the memory."""

_VALIDATION_ROWS = 100_000  # of the generated series, at most: enough to choose weights by, and an evaluation stays short

RECURRING: dict[str, Any] = {
    "n_steps": 400_000,
    "lags": (1_000, 10_000, 100_000),
    "slots": (1, 4, 12),
    "smoothness": 8,
}
"""The recurring series that is read: its pairs of cue and response stay, but no weights have ever met them."""


@dataclass(frozen=True)
class Setting:
    """How much of it is done."""

    name: str  # stands in every row; rows of other settings are left alone
    data: tuple[str, ...] = tuple(FITS)
    lengths: tuple[int, ...] = (512, 2_048, 8_192, 32_768)  # rows that cut histories keep; the first is the look-back
    origins: int = 128  # forecasts of a set, or of a lag, evenly spread
    blocks: int = 16  # errors are summed over so many blocks of neighbouring origins
    recurring: Mapping[str, Any] = field(default_factory=lambda: RECURRING)  # arguments of `make_recurring`
    # What is different about the series that is fitted: its pairs do not stay, so that none can be learned by heart.
    recurring_to_fit: Mapping[str, Any] = field(default_factory=lambda: {"n_steps": 220_000, "lifetime": 16})
    rows: int | None = None  # of other sets, only so many rows before the test part are used
    fit: Mapping[str, Any] = field(default_factory=dict)  # arguments that go before those of FITS


SETTINGS = {
    "standard": Setting("standard"),
    "quick": Setting(
        "quick",
        data=("recurring", "vic_elec"),
        lengths=(128, 512, 2_048),
        origins=48,
        blocks=8,
        recurring={**RECURRING, "n_steps": 24_000, "lags": (400, 4_000), "slots": (2, 8)},
        recurring_to_fit={"n_steps": 12_000, "lifetime": 4},
        rows=8_000,
        fit={"max_steps": 60, "batch_size": 4, "width": 32, "recollection": 256},
    ),
}


def with_steps(setting: Setting, max_steps: int) -> Setting:
    """Return a setting of another name, such as ``"quick, 500 steps"``, with so many training steps for every set."""
    return replace(setting, name=f"{setting.name}, {max_steps} steps", fit={**setting.fit, "max_steps": max_steps})


@dataclass(frozen=True)
class History:
    """A series to fit and a series to read, on the scale of the training rows."""

    fitted: Any  # frame or array (t, c): training and validation rows
    validation_fraction: float  # share of them that is for validation, the last ones
    read: Any  # frame or array (t, c): the whole series, absorbed and forecast
    values: NDArray[np.float64]  # (t, c), the same as numbers; NaN where missing
    origins: dict[int, list[int]]  # rows before each forecast, increasing, by lag; 0 where there are no lags


def make_history(name: str, setting: Setting, seed: int, *, data_home: str | Path | None = None) -> History:
    """Return the series of one set, and where forecasts are made.

    ``"recurring"`` makes two series from the seed. One is fitted. The other is read: the weights have never met its cues and
    responses, and forecasts are made right after cues that came before, the last time a lag ago. Of the other sets training
    and validation rows are fitted, and forecasts are made over the test part.
    """
    horizon = {**FITS[name], **setting.fit}["horizon"]
    made = _recurring(setting, seed, horizon) if name == "recurring" else _real(name, setting, horizon, data_home)
    for lag, rows in made.origins.items():
        if not rows:
            about = f"{name} (lag {lag:,})" if lag else name
            raise ValueError(
                f"{about}: no origin has {setting.lengths[-1]:,} rows before it and {horizon} after; take shorter lengths, "
                "or more rows"
            )
    return made


def _recurring(setting: Setting, seed: int, horizon: int) -> History:
    """Return two series of events that recur; a forecast is made of each response."""
    chance = np.random.default_rng([seed, 0])
    fitted = make_recurring(**{**setting.recurring, **setting.recurring_to_fit, "random_state": chance})
    again = np.random.default_rng([seed, 1])
    read, events = make_recurring(**setting.recurring, random_state=again, return_events=True)
    fraction = min(_VALIDATION_ROWS / len(fitted), 0.2)
    training = fitted[: round(len(fitted) * (1 - fraction))]
    level, spread = training.mean(axis=0), training.std(axis=0)
    fitted, read = (fitted - level) / spread, (read - level) / spread
    known = events[(events["occurrence"] > 0) & (events["origin"] >= setting.lengths[-1])]
    known = known[known["origin"] + horizon <= len(read)]
    origins = {
        int(lag): spread_evenly(known["origin"][known["lag"] == lag].tolist(), setting.origins)
        for lag in sorted(setting.recurring["lags"])
    }
    return History(fitted, fraction, read, read, origins)


def _real(name: str, setting: Setting, horizon: int, data_home: str | Path | None) -> History:
    """Return a public set by the standard protocol, its origins in the test part."""
    dataset = load_dataset(name, data_home=data_home)
    assert isinstance(dataset, Dataset)  # every name but "recurring" is a series
    frame, values = standardised(dataset)
    known = dataset.n_train + dataset.n_validation
    first = 0 if setting.rows is None else max(known - setting.rows, 0)
    stop = known + dataset.n_test
    frame, values = frame.iloc[first:stop].reset_index(drop=True), values[first:stop]
    known -= first
    asked = range(max(known, setting.lengths[-1]), len(values) - horizon + 1)
    fraction = min(dataset.n_validation / known, 0.25)
    return History(frame.iloc[:known], fraction, frame, values, {0: spread_evenly(asked, setting.origins)})


def spread_evenly(rows: Sequence[int], count: int) -> list[int]:
    """Return ``count`` of some rows, evenly spread over them; all where there are no more."""
    if len(rows) <= count:
        return list(rows)
    return [rows[i] for i in np.linspace(0, len(rows) - 1, count).round().astype(int)]
