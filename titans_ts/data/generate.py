"""Series made to order: seasonal curves, motifs that return after a long absence, and panels of many series.

They carry no licence and need no download, so examples and tests can start from them. Randomness comes from
`random_state` alone; the global generators are neither read nor moved.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Seed = int | np.random.Generator | None


def make_seasonal(
    n_steps: int = 2000,
    n_channels: int = 1,
    *,
    periods: Sequence[float] = (24, 168),
    trend: float = 0.0,
    noise: float = 0.1,
    random_state: Seed = 0,
) -> NDArray[np.float64]:
    """Make seasonal series: for every period a wave and its overtone, a straight trend and white noise.

    A look-back of the longest period holds all there is to know: the easy case that every forecaster must solve.

    Parameters
    ----------
    n_steps : int, default=2000
        Length t, at least 1.
    n_channels : int, default=1
        Number of series c, at least 1; each has its own amplitudes and phases.
    periods : sequence of float, default=(24, 168)
        Seasons, in steps, each above 0; an empty sequence leaves trend and noise.
    trend : float, default=0.0
        What the level gains from the first row to the last.
    noise : float, default=0.1
        Standard deviation of the noise, at least 0.
    random_state : int, numpy.random.Generator or None, default=0
        Seed or generator; None draws a fresh seed.

    Returns
    -------
    ndarray of float64, shape (t, c)
        The series, in time order.

    Raises
    ------
    ValueError
        If an argument is out of range; the message names it.

    Examples
    --------
    >>> series = make_seasonal(n_steps=96, periods=(24,), noise=0.0)
    >>> bool(abs(series[24:] - series[:-24]).max() < 1e-12)
    True
    """
    _require(n_steps=n_steps, n_channels=n_channels)
    _require_not_negative(noise=noise)
    if any(period <= 0 for period in periods):
        raise ValueError(f"periods={tuple(periods)!r} must all be above 0 steps")
    rng = np.random.default_rng(random_state)
    time = np.arange(n_steps)[:, None]  # t 1
    series = trend * time / max(n_steps - 1, 1) + np.zeros((n_steps, n_channels))  # t c
    for period in periods:
        amplitude, phase = rng.uniform(0.5, 1.5, n_channels), rng.uniform(0, 2 * np.pi, n_channels)
        angle = 2 * np.pi * time / period + phase  # t c
        series += amplitude * (np.sin(angle) + 0.3 * np.sin(2 * angle + phase))
    return series + noise * rng.standard_normal(series.shape)


def make_regimes(
    n_steps: int = 4000,
    n_channels: int = 1,
    *,
    n_motifs: int = 8,
    motif_length: int = 48,
    n_repeats: int = 2,
    noise: float = 0.05,
    random_state: Seed = 0,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Make series of recurring motifs, where only a long memory can know what follows.

    A motif, a fixed smooth curve, plays `n_repeats` times; then another takes over. Each round visits all of them in a
    fresh order, so one that returns was last heard about ``n_motifs * n_repeats * motif_length`` steps ago: its first
    steps say which one it is, and no shorter look-back holds what follows.

    Parameters
    ----------
    n_steps, n_channels : int, default=4000 and 1
        Length t and number of series c, at least 1; the series switch together.
    n_motifs : int, default=8
        How many motifs there are, at least 1.
    motif_length, n_repeats : int, default=48 and 2
        Steps of one motif, at least 2, and how often it plays in a row, at least 1.
    noise : float, default=0.05
        Standard deviation of the noise; a motif has unit variance.
    random_state : int, numpy.random.Generator or None, default=0
        As in `make_seasonal`.

    Returns
    -------
    series : ndarray of float64, shape (t, c)
        The series, in time order.
    motif : ndarray of int64, shape (t,)
        Which motif plays at each step, in ``range(n_motifs)``.

    Raises
    ------
    ValueError
        If an argument is out of range; the message names it.

    Examples
    --------
    >>> series, motif = make_regimes(n_steps=400, n_motifs=2, motif_length=10, n_repeats=1, noise=0.0)
    >>> first, second = (series[motif == number].reshape(-1, 10) for number in (0, 1))
    >>> bool((first == first[0]).all() and (second == second[0]).all())
    True
    """
    _require(n_steps=n_steps, n_channels=n_channels, n_motifs=n_motifs, n_repeats=n_repeats)
    _require_not_negative(noise=noise)
    if motif_length < 2:
        raise ValueError(f"motif_length={motif_length!r} must be at least 2 steps: one value is no curve")
    rng = np.random.default_rng(random_state)
    motifs = _smooth_curves(rng, n_motifs, motif_length, n_channels)  # n_motifs motif_length c
    n_rounds = -(-n_steps // (n_motifs * n_repeats * motif_length))
    order = np.concatenate([rng.permutation(n_motifs) for _ in range(n_rounds)]).repeat(n_repeats)
    series = motifs[order].reshape(-1, n_channels)[:n_steps]
    motif = order.repeat(motif_length)[:n_steps].astype(np.int64)
    return series + noise * rng.standard_normal(series.shape), motif


def make_panel(
    n_series: int = 4,
    *,
    min_steps: int = 200,
    max_steps: int = 600,
    periods: Sequence[float] = (24, 168),
    noise: float = 0.1,
    start: str = "2024-01-01",
    minutes_per_step: int = 60,
    prefix: str = "series",
    return_frame: Literal["pandas", "polars"] = "pandas",
    random_state: Seed = 0,
) -> Any:
    """Make a long frame of several seasonal series of different lengths, all starting together.

    Parameters
    ----------
    n_series : int, default=4
        How many series, at least 1.
    min_steps, max_steps : int, default=200 and 600
        Shortest and longest length, both included.
    periods, noise, random_state
        As in `make_seasonal`.
    start, minutes_per_step : str and int, default="2024-01-01" and 60
        First time stamp (ISO 8601, no zone), and the time between two rows.
    prefix : str, default="series"
        Series are called ``<prefix>_0``, ``<prefix>_1``, ...
    return_frame : {"pandas", "polars"}, default="pandas"
        The kind of frame wanted.

    Returns
    -------
    pandas.DataFrame or polars.DataFrame
        Columns ``unique_id``, ``ds`` and ``y``; one series after another, each in time order.

    Raises
    ------
    ValueError
        If an argument is out of range; the message names it.

    Examples
    --------
    >>> panel = make_panel(n_series=2, min_steps=3, max_steps=3, prefix="shop")
    >>> panel["unique_id"].tolist()
    ['shop_0', 'shop_0', 'shop_0', 'shop_1', 'shop_1', 'shop_1']
    """
    _require(n_series=n_series, min_steps=min_steps, minutes_per_step=minutes_per_step)
    if max_steps < min_steps:
        raise ValueError(f"max_steps={max_steps!r} is below min_steps={min_steps!r}; raise it")
    rng = np.random.default_rng(random_state)
    lengths = rng.integers(min_steps, max_steps, size=n_series, endpoint=True)
    steps = np.concatenate([np.arange(length) for length in lengths])
    values = [make_seasonal(length, periods=periods, noise=noise, random_state=rng)[:, 0] for length in lengths]
    columns = {
        "unique_id": np.repeat([f"{prefix}_{number}" for number in range(n_series)], lengths).tolist(),
        "ds": np.datetime64(start, "us") + steps * np.timedelta64(minutes_per_step, "m"),
        "y": np.concatenate(values),
    }
    return _to_frame(columns, return_frame)


def _smooth_curves(rng: np.random.Generator, n: int, length: int, channels: int) -> NDArray[np.float64]:
    """Return n random curves (n, length, channels) of mean 0 and variance 1, smooth over a tenth of the length."""
    width = max(length // 10, 1)
    rough = rng.standard_normal((n, length + width - 1, channels))
    curves = np.lib.stride_tricks.sliding_window_view(rough, width, axis=1).mean(axis=-1)
    curves = curves - curves.mean(axis=1, keepdims=True)
    return curves / curves.std(axis=1, keepdims=True)


def _to_frame(columns: Mapping[str, Any], return_frame: Literal["pandas", "polars"]) -> Any:
    """Return the columns as a frame of the kind asked for."""
    import narwhals as nw

    if return_frame not in ("pandas", "polars"):
        raise ValueError(f"return_frame={return_frame!r} is unknown; take 'pandas' or 'polars'")
    return nw.from_dict(columns, backend=return_frame).to_native()


def _require(**counts: int) -> None:
    """Refuse counts below 1, by name."""
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name}={value!r} must be at least 1")


def _require_not_negative(**sizes: float) -> None:
    """Refuse sizes below 0 and NaN, by name."""
    for name, value in sizes.items():
        if not value >= 0:
            raise ValueError(f"{name}={value!r} must be 0 or more")
