"""The series of the history bench: what is fitted, what is read, and from where it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from titans_bench.history_setting import FITS, Setting
from titans_bench.protocol import standardised
from titans_ts.datasets.load import Dataset, load_dataset
from titans_ts.datasets.series import make_recurring

_VALIDATION_ROWS = 100_000
"""Of the generated series, at most: enough to choose weights by, and an evaluation stays short."""


@dataclass(frozen=True)
class History:
    """A series to fit and a series to read, on the scale of the training rows.

    Attributes
    ----------
    fitted : frame or ndarray (t, c)
        Training and validation rows.
    validation_fraction : float
        Share of them that is for validation, the last ones.
    read : frame or ndarray (t, c)
        The whole series: what is absorbed, and what is to be foretold.
    values : ndarray (t, c)
        The same as numbers, NaN where missing.
    origins : dict of int to list of int
        Rows before each forecast, increasing, by lag; under 0 where there are no lags.
    """

    fitted: Any
    validation_fraction: float
    read: Any
    values: NDArray[np.float64]
    origins: dict[int, list[int]]


def make_history(name: str, setting: Setting, seed: int, *, data_home: str | Path | None = None) -> History:
    """Return the series of one set.

    ``"recurring"`` is generated, by the seed: one series is fitted, and another of the same kind read, whose cues and
    responses the weights have never met. It is asked right after cues that were there before, the last time a lag ago.
    Of the other sets training and validation rows are fitted, the whole series is read, and asked over its test part.

    Parameters
    ----------
    name : str
        A name of :data:`titans_bench.history_setting.FITS`.
    setting : Setting
        Sizes.
    seed : int
        Of generated data.
    data_home : str or Path, optional
        Folder with the data.

    Raises
    ------
    ValueError
        If no origin is left that has the longest of the cut histories before it.

    Examples
    --------
    >>> from titans_bench.history_setting import SETTINGS
    >>> made = make_history("recurring", SETTINGS["quick"], seed=0)
    >>> len(made.fitted), len(made.read), {lag: len(rows) for lag, rows in made.origins.items()}
    (12000, 24000, {400: 48, 4000: 40})
    """
    horizon = FITS[name]["horizon"] if "horizon" not in setting.fit else setting.fit["horizon"]
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
    """Return two series of events that recur; errors are asked of responses, and of as many rows as one has."""
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
    """Return a public set by the protocol of :mod:`titans_bench.protocol`, its origins in the test part."""
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
    """Return so many of some rows, evenly spread over them; all, where there are no more.

    Examples
    --------
    >>> spread_evenly(range(100, 201), 3), spread_evenly([4, 9], 3)
    ([100, 150, 200], [4, 9])
    """
    if len(rows) <= count:
        return list(rows)
    return [rows[i] for i in np.linspace(0, len(rows) - 1, count).round().astype(int)]
