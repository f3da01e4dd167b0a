"""Series made to order: seasonal curves, motifs and events that return after a long absence, and panels of series.

They carry no licence and need no download, so examples and tests can start from them. Randomness comes from
`random_state` alone; the global generators are neither read nor moved.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from math import gcd
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from titans_ts.datasets.arguments import typed

Seed = int | np.random.Generator | None
PERSISTENCE = 0.5  # share of the background that one step keeps of the last
ALIKE = 0.6  # two cues that are about at the same time correlate less than this
_TRIES, _PLACINGS = 1000, 100
_EVENT = np.dtype([(name, np.int64) for name in ("start", "origin", "lag", "slot", "occurrence", "pair")])


@typed
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

    This is the easy case that every forecaster must solve: a look-back of the longest period holds all there is to know.

    Parameters
    ----------
    n_steps : int, default=2000
        Length t, at least 1.
    n_channels : int, default=1
        Number of series c, at least 1; each has its own amplitudes and phases.
    periods : sequence of float, default=(24, 168)
        Seasons, in steps, each above 0; an empty sequence leaves trend and noise.
    trend : float, default=0.0
        How much the level rises from the first row to the last.
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
    _require(1, n_steps=n_steps, n_channels=n_channels)
    _require(0, noise=noise)
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


@typed
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

    A motif is a fixed smooth curve. It plays `n_repeats` times; then another takes over. Each round visits all motifs in a
    fresh order, so one that returns last played about ``n_motifs * n_repeats * motif_length`` steps ago. Its first steps
    say which one it is, and no shorter look-back holds what follows.

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
    _require(1, n_steps=n_steps, n_channels=n_channels, n_motifs=n_motifs, n_repeats=n_repeats)
    _require(0, noise=noise)
    if motif_length < 2:
        raise ValueError(f"motif_length={motif_length!r} must be at least 2 steps: one value is no curve")
    rng = np.random.default_rng(random_state)
    motifs = _smooth_curves(rng, n_motifs, motif_length, n_channels)  # n_motifs motif_length c
    n_rounds = -(-n_steps // (n_motifs * n_repeats * motif_length))
    order = np.concatenate([rng.permutation(n_motifs) for _ in range(n_rounds)]).repeat(n_repeats)
    series = motifs[order].reshape(-1, n_channels)[:n_steps]
    motif = order.repeat(motif_length)[:n_steps].astype(np.int64)
    return series + noise * rng.standard_normal(series.shape), motif


@typed
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
    _require(1, n_series=n_series, min_steps=min_steps, minutes_per_step=minutes_per_step)
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
    return frame_of(columns, return_frame)


@typed
def make_recurring(
    n_steps: int = 400_000,
    *,
    lags: Sequence[int] = (1_000, 10_000, 100_000),
    slots: Sequence[int] = (2, 6, 8),
    cue_length: int = 32,
    response_length: int = 32,
    lifetime: int | None = None,
    smoothness: int = 4,
    noise: float = 0.1,
    random_state: Seed = 0,
    return_events: bool = False,
) -> Any:  # by return_events, as Returns says
    """Make a quiet series in which cues, each followed by its response, recur at given lags.

    Cue and response are smooth curves drawn independently, with mean 0 and variance 1. Only who has seen the two together,
    a lag ago, can know the response; a look-back shorter than ``lag - response_length`` rows holds no trace of it. No two
    events overlap.

    Parameters
    ----------
    n_steps : int, default=400_000
        Length t, at least twice the longest lag and an event more, so that every slot recurs.
    lags : sequence of int, default=(1_000, 10_000, 100_000)
        Steps from an event to its recurrence. Choose multiples of each other: events of two lags stay apart only where
        the lags have a large common divisor.
    slots : sequence of int, default=(2, 6, 8)
        Events of each lag, each at a phase of its own.
    cue_length, response_length : int, default=32 and 32
        Steps of a cue, at least 8 for cues to be told apart, and of a response, at least 2.
    lifetime : int, optional
        How often a slot plays the same pair of cue and response before it draws another; None keeps one for ever. With a
        lifetime, a model cannot learn the pairs by heart and must memorise while it reads.
    smoothness : int, default=4
        Steps that curves are averaged over, at least 1: rows nearer to each other than this are alike.
    noise : float, default=0.1
        Standard deviation of the background, an autoregression that keeps half of its last value.
    random_state : int, numpy.random.Generator or None, default=0
        Seed or generator; None draws a fresh seed.
    return_events : bool, default=False
        Whether to return the events too.

    Returns
    -------
    series : ndarray of float64, shape (t, 1)
        The series, in time order.
    events : structured ndarray, shape (n,)
        With ``return_events=True``: in time order, fields of int64. ``start``, first row of the cue; ``origin``, the row
        after it, where the response begins; ``lag`` and ``slot``; ``occurrence``, 0 where the pair plays for the first
        time; ``pair``, a number of its own for each pair of cue and response.

    Raises
    ------
    ValueError
        If an argument is out of range, or the events do not fit; the message names it.

    Examples
    --------
    >>> series, events = make_recurring(1_000, lags=(200,), slots=(1,), noise=0.0, return_events=True)
    >>> first, second = (series[row : row + 64] for row in events["start"][:2])
    >>> bool((first == second).all()), (events["start"][1] - events["start"][0]).item()
    (True, 200)
    """
    length = cue_length + response_length
    _check_recurring(n_steps, lags, slots, cue_length, response_length, lifetime, smoothness, noise)
    rng = np.random.default_rng(random_state)
    phases = _phases(rng, lags, slots, length)
    series = _background(rng, n_steps, noise)
    events = _events(phases, n_steps, length, cue_length, lifetime)
    cues: dict[tuple[int, int], NDArray[np.float64]] = {}
    whole: dict[tuple[int, int], NDArray[np.float64]] = {}
    for event in events:
        slot = (int(event["lag"]), int(event["slot"]))
        if event["occurrence"] == 0:
            cues[slot] = _new_cue(rng, cue_length, smoothness, list(cues.values()))
            whole[slot] = np.concatenate([cues[slot], _smooth_curve(rng, response_length, smoothness)])
        series[event["start"] : event["start"] + length] += whole[slot]
    return (series[:, None], events) if return_events else series[:, None]


def _smooth_curves(rng: np.random.Generator, n: int, length: int, channels: int) -> NDArray[np.float64]:
    """Return n random curves (n, length, channels) of mean 0 and variance 1, smooth over a tenth of the length."""
    width = max(length // 10, 1)
    rough = rng.standard_normal((n, length + width - 1, channels))
    curves = np.lib.stride_tricks.sliding_window_view(rough, width, axis=1).mean(axis=-1)
    curves = curves - curves.mean(axis=1, keepdims=True)
    return curves / curves.std(axis=1, keepdims=True)


def frame_of(columns: Mapping[str, Any], return_frame: Literal["pandas", "polars"]) -> Any:
    """Return columns as a frame of the kind asked for."""
    import narwhals as nw

    if return_frame not in ("pandas", "polars"):
        raise ValueError(f"return_frame={return_frame!r} is unknown; take 'pandas' or 'polars'")
    return nw.from_dict(columns, backend=return_frame).to_native()


def _require(least: int, **values: float) -> None:
    """Refuse values below `least`, and NaN, by name."""
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name}={value!r} must be at least {least}")


def _check_recurring(
    n_steps: int,
    lags: Sequence[int],
    slots: Sequence[int],
    cue_length: int,
    response_length: int,
    lifetime: int | None,
    smoothness: int,
    noise: float,
) -> None:
    """Refuse arguments that are out of range, by name."""
    length = cue_length + response_length
    if cue_length < 8:
        raise ValueError(f"cue_length={cue_length!r} must be at least 8 steps for cues to be told apart")
    if response_length < 2:
        raise ValueError(f"response_length={response_length!r} must be at least 2 steps: one value is no curve")
    if not lags or len(set(lags)) < len(lags) or min(lags) < length:
        raise ValueError(
            f"lags={tuple(lags)!r} must be one or more, each once, and at least {length} steps, the length of an event"
        )
    if len(slots) != len(lags) or min(slots) < 1:
        raise ValueError(f"slots={tuple(slots)!r} must hold a number of 1 or more for each of the {len(lags)} lags")
    if n_steps < 2 * max(lags) + length:
        raise ValueError(
            f"n_steps={n_steps!r} is too short for every event of lag {max(lags)} to recur; make it "
            f"{2 * max(lags) + length} or more, or leave that lag out"
        )
    if lifetime is not None and lifetime < 2:
        raise ValueError(f"lifetime={lifetime!r} must be at least 2 for a pair to recur, or None to keep it for ever")
    if smoothness < 1:
        raise ValueError(f"smoothness={smoothness!r} must be at least 1 step, which leaves curves as they are drawn")
    _require(0, noise=noise)


def _phases(rng: np.random.Generator, lags: Sequence[int], slots: Sequence[int], length: int) -> list[tuple[int, int, int]]:
    """Return lag, slot and first row of every event, so that no two ever come nearer than their length."""
    share = sum(length * count / lag for lag, count in zip(lags, slots, strict=True))
    for _ in range(_PLACINGS if share <= 1 else 0):
        placed = _placed(rng, lags, slots, length)
        if len(placed) == sum(slots):
            return placed
    raise ValueError(
        f"slots={tuple(slots)!r}: no room was found for so many events of {length} steps with lags={tuple(lags)!r} that "
        f"never overlap; they would take {100 * share:.0f} % of the series. Take fewer slots, shorter cues and responses, "
        "or lags that are longer, or multiples of each other"
    )


def _placed(rng: np.random.Generator, lags: Sequence[int], slots: Sequence[int], length: int) -> list[tuple[int, int, int]]:
    """Place event after event where there is room left, until there is none.

    Events of lags a and b, from rows p and q on, come as near as p and q are modulo the greatest common divisor.
    """
    placed: list[tuple[int, int, int]] = []
    for lag, count in sorted(zip(lags, slots, strict=True)):
        rows = np.arange(lag)
        free = np.ones(lag, dtype=bool)
        for other, _, phase in placed:
            free &= _apart(rows, phase, gcd(lag, other), length)
        for slot in range(count):
            if not free.any():
                return placed
            phase = int(rng.choice(np.flatnonzero(free)))
            placed.append((lag, slot, phase))
            free &= _apart(rows, phase, lag, length)
    return placed


def _apart(rows: NDArray[np.int64], phase: int, period: int, length: int) -> NDArray[np.bool_]:
    """Tell which rows are at least `length` from a phase, both ways round a period."""
    after = (rows - phase) % period
    return (after >= length) & (period - after >= length)


def _events(
    phases: Sequence[tuple[int, int, int]], n_steps: int, length: int, cue_length: int, lifetime: int | None
) -> NDArray[np.void]:
    """Return every event that fits into the series whole, in time order."""
    streams = []
    for lag, slot, phase in phases:
        starts = range(phase, n_steps - length + 1, lag)
        streams.append([(start, lag, slot, k) for k, start in enumerate(starts)])
    rows = []
    pairs: dict[tuple[int, int], int] = {}
    for start, lag, slot, k in heapq.merge(*streams):
        occurrence = k if lifetime is None else k % lifetime
        if occurrence == 0:
            pairs[lag, slot] = 1 + max(pairs.values(), default=-1)
        rows.append((start, start + cue_length, lag, slot, occurrence, pairs[lag, slot]))
    return np.array(rows, dtype=_EVENT)


def _background(rng: np.random.Generator, n_steps: int, noise: float) -> NDArray[np.float64]:
    """Return an autoregression of order 1 and standard deviation `noise`, at rest from the first step on."""
    from scipy.signal import lfilter

    drawn = noise * rng.standard_normal(n_steps)
    drawn[1:] *= np.sqrt(1 - PERSISTENCE**2)
    found: NDArray[np.float64] = lfilter([1.0], [1.0, -PERSISTENCE], drawn)
    return found


def _new_cue(
    rng: np.random.Generator, length: int, smoothness: int, others: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Draw a cue that can be told from those that are about, its own predecessor among them."""
    for _ in range(_TRIES):
        cue = _smooth_curve(rng, length, smoothness)
        if all(cue @ other < ALIKE * length for other in others):
            return cue
    raise ValueError(
        f"cue_length={length} with smoothness={smoothness} is too short for {len(others)} cues and one more to be told "
        "apart; make cues longer or less smooth, or take fewer slots"
    )


def _smooth_curve(rng: np.random.Generator, length: int, smoothness: int) -> NDArray[np.float64]:
    """Return a random curve of mean 0 and variance 1, averaged over some steps, fewer than it has."""
    width = min(smoothness, length - 1)
    curve = np.convolve(rng.standard_normal(length + width - 1), np.ones(width), mode="valid")
    curve -= curve.mean()
    found: NDArray[np.float64] = curve / curve.std()
    return found
