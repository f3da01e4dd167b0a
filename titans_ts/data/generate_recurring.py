"""A series made to order whose structure recurs after long absences: what a look-back cannot foretell and a memory can.

A cue says which response follows, but only to who has seen that cue before, and it was last seen exactly a lag ago.
Randomness comes from `random_state` alone; the global generators are neither read nor moved.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from titans_ts.data.generate import Seed

PERSISTENCE = 0.5
"""Share of the background that one step keeps of the last."""
ALIKE = 0.6
"""Two cues that are about at the same time correlate less than this."""
_TRIES, _PLACINGS = 1000, 100
_EVENT = np.dtype([(name, np.int64) for name in ("start", "origin", "lag", "slot", "occurrence", "pair")])


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

    Cue and response are smooth curves drawn independently, with mean 0 and variance 1: nothing in a cue tells its
    response but having seen the two together, which was a lag ago. A look-back shorter than ``lag - response_length``
    rows holds no trace of it. No two events ever overlap.

    Parameters
    ----------
    n_steps : int, default=400_000
        Length t, at least twice the longest lag and an event more, so that every slot recurs.
    lags : sequence of int, default=(1_000, 10_000, 100_000)
        Steps from an event to its recurrence. Events of two lags can only stay apart where the lags have a large common
        divisor: choose multiples of each other.
    slots : sequence of int, default=(2, 6, 8)
        Events of each lag, each at a phase of its own.
    cue_length, response_length : int, default=32 and 32
        Steps of a cue, at least 8 for cues to be told apart, and of a response, at least 2.
    lifetime : int, optional
        Times that a slot plays the same pair of cue and response before it draws another; None keeps one for ever. With
        a lifetime, a model cannot learn the pairs by heart and must memorise while it reads.
    smoothness : int, default=4
        Steps that curves are averaged over, at least 1: rows nearer to each other than this are alike.
    noise : float, default=0.1
        Standard deviation of the background, an autoregression that keeps half of its last value.
    random_state : int, numpy.random.Generator or None, default=0
        Seed or generator; None draws a fresh seed.
    return_events : bool, default=False
        Whether to tell the events too.

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
    _check(n_steps, lags, slots, cue_length, response_length, lifetime, smoothness, noise)
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


def _check(
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
    if not noise >= 0:
        raise ValueError(f"noise={noise!r} must be 0 or more")


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
