"""Streams made to order, each with dynamics of its own that change at known rows.

Like all data that is made here they carry no licence and need no download, and randomness comes from `random_state` alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from titans_ts.datasets.arguments import typed
from titans_ts.datasets.series import Seed

HARMONICS = 4
"""Waves of a season's shape."""
CYCLES, HALF_LIVES = (8.0, 120.0), (24.0, 240.0)
"""Rows of the cycle that an autoregression draws, and rows after which it has half faded."""
SETTLING = 2_000
"""Rows that run before the first one, so that nothing begins at rest."""


@typed
def make_streams(
    n_steps: int = 8000,
    n_streams: int = 16,
    *,
    period: int = 24,
    regime_length: int = 4000,
    seasonal_share: float = 0.5,
    noise: float = 0.1,
    random_state: Seed = 0,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Make streams that no weights can know: each draws its own season and autoregression, and later draws them anew.

    What follows a look-back depends on the stream. Weights that all streams share are right on average; a memory that
    learns while it reads can be right for each. At a change of regime, which all streams have at the same rows, what was
    learned until then is wrong.

    The season is a curve of random waves. The autoregression is one of order 2 whose cycle and half-life are drawn for each
    stream: it swings about the season, the longer foreseeable the longer its half-life. Neither goes on over a change.

    Parameters
    ----------
    n_steps, n_streams : int, default=8000 and 16
        Length t and number of streams s, at least 1.
    period : int, default=24
        Rows of the season, at least 2.
    regime_length : int, default=4000
        Rows between two changes, at least 1; the first is after so many rows.
    seasonal_share : float, default=0.5
        Share of the season in the variance of 1 that season and autoregression have together, 0 to 1.
    noise : float, default=0.1
        Standard deviation of the white noise beside them, at least 0.
    random_state : int, numpy.random.Generator or None, default=0
        As in :func:`titans_ts.datasets.make_seasonal`.

    Returns
    -------
    series : ndarray of float64, shape (t, s)
        The streams, in time order.
    regime : ndarray of int64, shape (t,)
        How many changes came before each row.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or of another type; the message names it.

    Examples
    --------
    >>> series, regime = make_streams(n_steps=300, n_streams=2, regime_length=200, noise=0.0, seasonal_share=1.0)
    >>> series.shape, regime[[199, 200]].tolist()
    ((300, 2), [0, 1])
    >>> bool(abs(series[24:200] - series[:176]).max() < 1e-12)
    True
    """
    for name, value, least in (
        ("n_steps", n_steps, 1),
        ("n_streams", n_streams, 1),
        ("period", period, 2),
        ("regime_length", regime_length, 1),
        ("noise", noise, 0),
    ):
        if value < least:
            raise ValueError(f"{name}={value!r} must be at least {least}")
    if not 0 <= seasonal_share <= 1:
        raise ValueError(f"seasonal_share={seasonal_share!r} must be between 0 and 1")
    rng = np.random.default_rng(random_state)
    regime = np.arange(n_steps) // regime_length
    series = np.stack([_stream(rng, regime, period, seasonal_share) for _ in range(n_streams)], axis=1)
    return series + noise * rng.standard_normal(series.shape), regime


def _stream(rng: np.random.Generator, regime: NDArray[np.int64], period: int, seasonal_share: float) -> NDArray[np.float64]:
    """Return one stream without noise, ``(t,)``."""
    phase, parts = np.arange(len(regime)) % period, []
    for place, length in enumerate(np.bincount(regime)):
        season = _season(rng, period)[phase[regime == place]]
        lags = _autoregression(rng)
        size = np.sqrt(np.square(lfilter([1.0], lags, np.eye(1, SETTLING)[0])).sum())
        swing = lfilter([1.0], lags, rng.standard_normal(SETTLING + length))[SETTLING:] / size
        parts.append(np.sqrt(seasonal_share) * season + np.sqrt(1 - seasonal_share) * swing)
    return np.concatenate(parts)


def _season(rng: np.random.Generator, period: int) -> NDArray[np.float64]:
    """Draw a season's curve of mean 0 and variance 1, the shorter its waves the weaker."""
    waves = np.arange(1, min(HARMONICS, period // 2) + 1)
    angle = 2 * np.pi * waves * np.arange(period)[:, None] / period
    curve = (np.cos(angle + rng.uniform(0, 2 * np.pi, len(waves))) * rng.exponential(size=len(waves)) / waves).sum(1)
    curve -= curve.mean()
    found: NDArray[np.float64] = curve / curve.std()
    return found


def _autoregression(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw the coefficients of a value, of the last one and of the one before it, all on the left."""
    cycle, half_life = (float(np.exp(rng.uniform(*np.log(ends)))) for ends in (CYCLES, HALF_LIVES))
    radius = 0.5 ** (1 / half_life)
    return 1.0, -2 * radius * float(np.cos(2 * np.pi / cycle)), radius**2
