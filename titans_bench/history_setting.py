"""What the history bench runs: data, models, how they are fitted, and which lengths of history they are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

MODELS: dict[str, dict[str, Any]] = {
    "carried": {"variant": "mac"},
    "carried, no recollection": {"variant": "mac", "recollection": 0},
    "attention, growing cache": {"variant": "full_attention", "recollection": 0},
}
"""The same width, layers and steps. They differ in how they keep the past: attention keeps every token, ours a memory in its
layers and, but for the second, one of its errors."""

FITS: dict[str, dict[str, Any]] = {
    "recurring": {
        "horizon": 32,
        "patch_length": 8,
        "recollection": 2048,
        "width": 16,
        "layers": 1,
        "memory_depth": 1,
        "max_steps": 100,
        "learning_rate": 3e-3,
        "patience": 48,
        "dropout": 0.0,
        "caution": 0,
    },
    "vic_elec": {"horizon": 48, "patch_length": 16, "recollection": 512, "max_steps": 300},
    "ETTm1": {"horizon": 96, "patch_length": 16, "recollection": 512, "max_steps": 300},
    "weather": {"horizon": 96, "patch_length": 16, "recollection": 512, "max_steps": 300},
    "mitbih100": {"horizon": 144, "patch_length": 32, "recollection": 512, "max_steps": 300},
}
"""How the models of each set are fitted. What recurs needs many keys and little else; the series that is read keeps its
pairs longer than the one that is fitted, so that caution by the latter would undervalue the memory."""

RECURRING: dict[str, Any] = {
    "n_steps": 400_000,
    "lags": (1_000, 10_000, 100_000),
    "slots": (1, 4, 12),
    "smoothness": 8,
}
"""The series that recurs and is read: its pairs of cue and response stay, but no weights have ever met them."""


@dataclass(frozen=True)
class Setting:
    """How much of it is done.

    Parameters
    ----------
    name : str
        Stands in every row; rows of other settings are left alone.
    data : tuple of str
        Names of :data:`FITS`.
    lengths : tuple of int
        Rows that cut histories keep, increasing. The first is the look-back of every model: there is nothing beyond it.
    origins : int
        Forecasts of a set, or of a lag, evenly spread.
    blocks : int
        Into so many blocks of neighbouring origins errors are summed.
    recurring : mapping
        Arguments of :func:`titans_ts.make_recurring`, for the series that is read.
    recurring_to_fit : mapping
        What is different about the series that is fitted: its pairs do not stay, so that none can be learned by heart.
    rows : int or None
        Of other sets, only so many rows before the test part are used.
    fit : mapping
        Arguments that go before those of :data:`FITS`.
    """

    name: str
    data: tuple[str, ...] = tuple(FITS)
    lengths: tuple[int, ...] = (512, 2_048, 8_192, 32_768)
    origins: int = 128
    blocks: int = 16
    recurring: Mapping[str, Any] = field(default_factory=lambda: RECURRING)
    recurring_to_fit: Mapping[str, Any] = field(default_factory=lambda: {"n_steps": 2_000_000, "lifetime": 16})
    rows: int | None = None
    fit: Mapping[str, Any] = field(default_factory=dict)


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
    """Return a setting of another name in which every model is trained so many steps, whatever the set.

    Examples
    --------
    >>> with_steps(SETTINGS["quick"], 500).name
    'quick, 500 steps'
    """
    return replace(setting, name=f"{setting.name}, {max_steps} steps", fit={**setting.fit, "max_steps": max_steps})
