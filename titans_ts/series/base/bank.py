"""Smoothed levels, trends and a profile of the season, a stream each: forecasts that need no training and read on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy  # whose parts are imported when they are first used
import torch
from numpy.typing import NDArray
from torch import Tensor

from titans_ts.blocks.scale import Scale
from titans_ts.series.base.seasons import fill_gaps, season_sums, sums_by_phase

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

NAMES = ("naive", "seasonal_naive", "theta", "theta_log", "drift", "drift_log", "damped", "damped_log")
"""All candidates, in their order."""
STEPS = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.15, 0.9, 0.1, 1.0, 0.05)
"""Steps of simple exponential smoothing among which theta chooses, the first of those that are equal."""
DAMPED = tuple((step, trend, keep) for step in (0.5, 0.2, 0.9) for trend in (0.05, 0.2) for keep in (0.8, 0.95))
"""Step, share of it for the trend, and what a row leaves of the trend: among these the damped trend chooses."""
LEVEL_STEPS = (0.1, 0.3, 0.6)
"""Steps of the smoothed levels that others see."""
LONG_STEP, LONG_DAMPED = 0.3, (0.2, 0.05, 0.8)
"""What is smoothed with where the season is too long to judge by phase."""
LONGEST_JUDGED = 24
"""Longest season for which smoothers are judged, and logarithms kept: their sums have a number a smoother and phase."""
FORGETTING, LONG_FORGETTING = 0.8, 0.95
"""What a season leaves of the sums behind the profile: a short one, or one of more than :data:`SHORT_SEASON` rows."""
SHORT_SEASON = 12
"""Rows of the longest season whose profile may change in a few seasons: quarters, months, days of a week."""
SIZE_SEASONS, SIZE_ROWS = 7, 48
"""Seasons, and fewest rows, after which a difference counts half in the size of a stream."""
NO_SEASON, FULL_SEASON = 1.0, 3.0
"""F statistic of the phases up to which the profile is 0, and from which it is whole; between them it is shrunk."""
FLATTEST = 1e3
"""Level in spreads beyond which logarithms are as straight as the rows, and too coarse in float64."""
SMALLEST = 1e-9
"""Least size of a stream, and least raw value that has a logarithm, in spreads."""
MOST_NUMBERS = 2**19
"""Numbers of the largest arrays that rows are read with: more streams are read in turn, longer rows piece by piece."""
FEW_ROWS = 8
"""Rows up to which a loop over them is faster than a filter."""
ALIKE = 1e-9
"""Share of the largest loss within which losses are equal, so that rounding decides nothing."""


class BankCarry(NamedTuple):
    """What the bank knows of a stream; ``d`` forms: levels, logarithms; ``a`` smoothers; ``m`` phases, next row's first."""

    age: Tensor  # s, rows since the first observed one
    last: Tensor  # s m, the last rows, gaps filled
    range: Tensor  # s 2, smallest and largest row
    steps: Tensor  # s 4, sum and count of absolute differences of a season, and of a row
    total: Tensor  # s d
    moment: Tensor  # s d, sum of rows times their age at that time
    profile: Tensor  # s d m, sums of rows less their centred mean
    squares: Tensor  # s d, sum of squares of these
    smoothers: Tensor  # s d a 2, level and trend
    losses: Tensor  # s d a, sums of squared one-step errors
    errors: Tensor  # s d a m, sums of one-step errors by phase


class BankSeen(NamedTuple):
    """All that forecasts from ``n`` origins need, on the long-run scale; ``d`` forms (levels, logarithms)."""

    last: Tensor  # s n m, the rows of one season ago, next row's first
    levels: Tensor  # s n j
    profile: Tensor  # s n m, next row's phase first, 0 where no season is significant
    size: Tensor  # s n, mean absolute seasonal difference, at least SMALLEST
    profiles: Tensor  # s n d m, the profile of each form
    theta: Tensor  # s n d 2, level and half the trend
    damped: Tensor  # s n d 3, level, trend, and what a row leaves of the trend
    logs: Tensor  # s n 3, whether logarithms are used, raw zero in spreads, largest logarithm allowed
    age: Tensor  # s n, rows since the first observed one


class Bank:
    """A bank of forecasts by recursion for streams of one season.

    Every candidate is made of sums that go on while rows are read: what comes out does not depend on how the rows are cut,
    nor on the streams beside. Profile, trend and choice of step are those of *all* rows read so far: the smoothers read the
    rows as they are, and the profile's part is taken off their levels and their squared errors in closed form.

    Parameters
    ----------
    season : int
        Rows of a season; 1 means none.
    kept : sequence of str, optional
        Candidates that :meth:`forecasts` gives, a part of :data:`NAMES`; all by default. What the others need is neither
        computed nor kept, so that a state goes on with the same ``kept`` alone.
    logs : bool, default=False
        Whether logarithms are kept even if no candidate is on them: ridges may be.
    faith : float, default=0
        How much of its last season a stream takes for its profile while it is too young to tell one, where the season is
        longer than :data:`LONGEST_JUDGED` rows: alone up to two seasons, and less and less up to three.

    Attributes
    ----------
    names : tuple of str
        The kept candidates, in the order of :data:`NAMES`.
    level_steps : tuple of float
        Steps of the smoothed levels in ``BankSeen.levels``.

    Notes
    -----
    *naive*, *seasonal_naive*: the last row, the last season. *theta*: simple exponential smoothing with the step whose
    one-step errors were smallest, plus half the trend of all rows. *drift*: the same with the whole trend. *damped*: level
    and damped trend, chosen alike. ``_log``: the same on logarithms where all rows so far were positive, else the form on
    levels. The profile is the mean by phase of rows less a centred mean of a season, as in classical decomposition, with
    forgetting; it is shrunk, to 0 where phases do not differ. Seasons of more than :data:`LONGEST_JUDGED` rows have one
    smoother of either kind and no logarithms.

    Rows that are missing count as the row of a season before, or the last row where there is none.
    """

    def __init__(self, season: int, kept: Sequence[str] | None = None, *, logs: bool = False, faith: float = 0.0) -> None:
        if season < 1:
            raise ValueError(f"season must be at least 1, got {season}")
        if unknown := set(kept or ()) - set(NAMES):
            raise ValueError(f"no such candidates: {sorted(unknown)}; there are {list(NAMES)}")
        self.season = season
        self.judged = season <= LONGEST_JUDGED
        offered = [name for name in NAMES if self.judged or not name.endswith("_log")]
        self.names = tuple(name for name in offered if kept is None or name in kept)
        self.level_steps = LEVEL_STEPS
        self.faith = 0.0 if self.judged else faith
        self.forgetting = FORGETTING if season <= SHORT_SEASON else LONG_FORGETTING
        kinds = {name.removesuffix("_log") for name in self.names}
        self.forms = 1 + (self.judged and (logs or any(name.endswith("_log") for name in self.names)))
        steps = STEPS if self.judged and kinds & {"theta", "drift"} else LEVEL_STEPS
        damped = () if "damped" not in kinds else DAMPED if self.judged else (LONG_DAMPED,)
        self.thetas = len(steps)
        self._levels = [steps.index(step) for step in LEVEL_STEPS]
        self._gain, self._trend, self._keep = np.array([*((step, 0.0, 0.0) for step in steps), *damped]).T

    @property
    def state_bytes(self) -> int:
        """Bytes that the state of one stream takes."""
        return sum(8 * each[0].numel() for each in self.initial(1))

    def initial(self, streams: int) -> BankCarry:
        """Return the state before the first row.

        Parameters
        ----------
        streams : int
            Streams side by side.

        Returns
        -------
        BankCarry
            Float64, leading axis ``streams``.
        """
        s, d, m, a = streams, self.forms, self.season, len(self._gain)
        kept = a if self.judged else 0
        smoothed = ((s, d, a, 2), (s, d, kept), (s, d, kept, m))
        shapes = ((s,), (s, m), (s, 2), (s, 4), (s, d), (s, d), (s, d, m), (s, d), *smoothed)
        return BankCarry(*(torch.zeros(shape, dtype=torch.float64) for shape in shapes))

    def read(
        self, rows: Tensor, scale: Scale, carry: BankCarry, ends: Tensor, lengths: Tensor | None = None
    ) -> tuple[BankSeen, BankCarry]:
        """Read rows on.

        Parameters
        ----------
        rows : Tensor ``(s, t)``
            On the long-run scale; NaN where missing.
        scale : Scale
            Level and spread of the streams, ``(s,)`` or ``(s, 1)`` each; the same in every call.
        carry : BankCarry
            What :meth:`initial` or the last call returned.
        ends : Tensor ``(n,)`` or ``(s, n)``
            Rows of this call, 0 to ``t``, that each forecast has read.
        lengths : Tensor ``(s,)``, optional
            Rows of this call that each stream has, where streams of different lengths are padded at their ends; the carry is
            that after so many rows. All ``t`` by default.

        Returns
        -------
        BankSeen
            Leading axes ``(s, n)``.
        BankCarry
            The state after the last row.
        """
        s, t = rows.shape
        values, state = rows.detach().double().numpy(), {k: v.numpy() for k, v in carry._asdict().items()}
        level, spread = (each.detach().double().reshape(s).nan_to_num(1.0).numpy() for each in scale)
        where = np.broadcast_to(ends.numpy(), (s, ends.shape[-1]))
        length = np.full(s, t) if lengths is None else lengths.numpy()
        where = np.minimum(where, length[:, None])
        d, m = self.forms, self.season
        tails = ((m,), (len(LEVEL_STEPS),), (m,), (), (d, m), (d, 2), (d, 3), (3,), ())
        seen = [np.zeros((*where.shape, *tail)) for tail in tails]
        side = max(1, MOST_NUMBERS // (self.forms * len(self._gain) * (2 * m + min(t, m))))
        states = []
        for k in range(0, max(s, 1), side):
            some = slice(k, k + side)
            before = {name: each[some] for name, each in state.items()}
            into = [each[some] for each in seen]
            states.append(self._read(values[some], (level / spread)[some], before, where[some], length[some], into))
        after = {name: torch.from_numpy(np.concatenate([each[name] for each in states])) for name in state}
        return BankSeen(*map(torch.from_numpy, seen)), BankCarry(**after)

    def _read(
        self, rows: Array, zero: Array, state: dict[str, Array], where: Indices, length: Indices, seen: list[Array]
    ) -> dict[str, Array]:
        """Read rows ``(s, t)`` piece by piece, write what is seen ``where`` ``(s, n)``, and return states at ``length``."""
        s, t = rows.shape
        numbers = self.forms * len(self._gain)
        piece, most = max(1, MOST_NUMBERS // max(1, s * numbers)), max(1, MOST_NUMBERS // (numbers * self.season))
        for start in range(0, max(t, 1), piece):
            stop = min(t, start + piece)
            part = _Piece(self, rows[:, start:stop], zero, state)
            i, j = np.nonzero((where > (start or -1)) & (where <= stop))
            for k in range(0, len(i), most):
                some = i[k : k + most], j[k : k + most]
                for into, each in zip(seen, part.seen(some[0], where[some] - start), strict=True):
                    into[some] = each
            state = part.state(np.arange(s), np.clip(length - start, 0, stop - start))
        return state

    def forecasts(self, seen: BankSeen, horizon: int) -> Tensor:
        """Return what each kept candidate foretells.

        Parameters
        ----------
        seen : BankSeen
            What :meth:`read` returned, leading axes ``(s, n)``.
        horizon : int
            Rows to foretell.

        Returns
        -------
        Tensor ``(s, n, k, f)``
            Float64, on the long-run scale, in the order of ``names``.
        """
        phase = torch.arange(horizon) % self.season
        ahead = torch.arange(1, horizon + 1, dtype=torch.float64)
        formed = {}
        for kind, share in (("theta", 1), ("drift", 2)):
            formed[kind] = seen.theta[..., :1] + seen.theta[..., 1:] * share * (ahead - 1)
        if any(name.startswith("damped") for name in self.names):
            keep = seen.damped[..., 2:]
            formed["damped"] = seen.damped[..., :1] + seen.damped[..., 1:2] * keep * (1 - keep**ahead) / (1 - keep)
        answers = []
        for name in self.names:
            if name.endswith("naive"):
                answers.append(seen.last[..., phase if name == "seasonal_naive" else torch.full_like(phase, -1)])
                continue
            kind = name.removesuffix("_log")
            plain = formed[kind][:, :, 0] + seen.profiles[:, :, 0][..., phase]
            if name == kind:
                answers.append(plain)
                continue
            used, zero, most = seen.logs.split(1, dim=-1)
            logs = formed[kind][:, :, 1] + seen.profiles[:, :, 1][..., phase]
            answers.append(torch.where(used > 0, torch.minimum(logs, most).exp() + zero, plain))
        return torch.stack(answers, dim=2) if answers else seen.last.new_zeros((*seen.size.shape, 0, horizon))

    @cached_property
    def _moves(self) -> tuple[Array, Array, Array]:
        """Return what an error adds to level and trend, what these foretell ``(a, 2)``, and their moves ``(a, 2, 2)``."""
        into = np.stack([self._gain, self._gain * self._trend], 1)
        ahead = np.stack([np.ones_like(self._keep), self._keep], 1)
        moves = np.zeros((len(into), 2, 2))
        moves[:, 0], moves[:, 1, 1] = ahead, self._keep
        return into, ahead, moves - into[:, :, None] * ahead[:, None]

    @cached_property
    def _responses(self) -> tuple[Array, Array]:
        """Return what smoothers make of a lasting profile: one-step errors ``(a, m, m)`` and states ``(a, m, 2, m)``.

        The second axis is the phase of the answer, the last that of the profile.
        """
        m, (into, ahead, moves) = self.season, self._moves
        once = [into]  # states from an impulse at row 0, a season long
        for _ in range(m - 1):
            once.append(np.einsum("aij,aj->ai", moves, once[-1]))
        settled = np.linalg.solve(np.eye(2) - np.linalg.matrix_power(moves, m), np.stack(once, 2))  # all seasons before
        errors = -np.einsum("aj,aji->ai", ahead, np.roll(settled, 1, axis=2))
        errors[:, 0] += 1
        turn = (np.arange(m)[:, None] - np.arange(m)) % m
        return errors[:, turn], settled[:, :, turn].transpose(0, 2, 1, 3)

    @cached_property
    def _spectra(self) -> tuple[NDArray[np.complex128], ...]:
        """Return eigenvalues, eigenvectors and their inverse, of which powers of the moves are made."""
        values, vectors = np.linalg.eig(self._moves[2].astype(complex))
        return values, vectors, np.linalg.inv(vectors)


class _Piece:
    """Rows of one call read at once: every recursion as an array over rows, from which states at any row are cut out."""

    def __init__(self, bank: Bank, rows: Array, zero: Array, carry: dict[str, Array]) -> None:
        self.bank, self.carry, self.zero = bank, carry, zero
        t, m, age = rows.shape[1], bank.season, carry["age"]
        observed = ~np.isnan(rows)
        begun = age > 0
        first = np.where(begun, 0, np.where(observed.any(1), observed.argmax(1) if t else 0, t))
        self.start = np.where(begun, -age, first).astype(np.int64)  # s, index of the first row
        self.rows = fill_gaps(rows, carry["last"], self.start)  # s m+t
        self.since = since = np.arange(t) - self.start[:, None]  # s t, rows before each
        self.low = _before(carry["range"][:, 0], np.minimum.accumulate, self.rows[:, m:], age)
        self.high = _before(carry["range"][:, 1], np.maximum.accumulate, self.rows[:, m:], age)
        self.steps = self._differences(observed)  # s 4 1+t
        forms = [self.rows]
        if bank.forms == 2:
            forms.append(np.log(np.maximum(self.rows + zero[:, None], SMALLEST)))
        x = np.stack(forms, 1)  # s d m+t
        now = x[..., m:]
        self.total = _running(carry["total"], now * (since >= 0)[:, None])
        self.moment = _running(carry["moment"], now * np.maximum(since, 0)[:, None])
        self._decompose(x)
        self._smooth(now)

    def _differences(self, observed: NDArray[np.bool_]) -> Array:
        """Return fading sums and counts of absolute differences between rows that were observed, ``(s, 4, 1+t)``."""
        m = self.bank.season
        x, now = self.rows, self.rows[:, m:]
        parts = []
        for lag in (m, 1):
            count = observed & (self.since >= lag)
            parts += [np.where(count, np.abs(now - x[:, m - lag : x.shape[1] - lag]), 0), count]
        keep, start = 0.5 ** (1 / max(SIZE_SEASONS * m, SIZE_ROWS)), self.carry["steps"][..., None]
        if not now.shape[1]:
            return start
        return np.concatenate([start, scipy.signal.lfilter([1], [1, -keep], np.stack(parts, 1), zi=keep * start)[0]], -1)

    def _decompose(self, x: Array) -> None:
        """Sum rows less their centred mean by phase; they are known half a season late."""
        m, t = self.bank.season, x.shape[-1] - self.bank.season
        wide = m + 1 - m % 2
        detrended = np.zeros((*x.shape[:2], t))
        if m > 1 and t:
            sums = season_sums(x, m)  # s d t+1
            mean = (sums[..., 1:] if m % 2 else (sums[..., 1:] + sums[..., :-1]) / 2) / m
            middle = m - m // 2
            detrended = np.where((self.since >= wide - 1)[:, None], x[..., middle : middle + t] - mean, 0)
        self.profile = sums_by_phase(self.carry["profile"], detrended, self.bank.forgetting)
        keep = self.bank.forgetting ** (1 / m)
        squares, _ = (
            scipy.signal.lfilter([1], [1, -keep], detrended**2, zi=keep * self.carry["squares"][..., None])
            if t
            else (detrended, 0)
        )
        self.squares = np.concatenate([self.carry["squares"][..., None], squares], -1)

    def _smooth(self, x: Array) -> None:
        """Run every smoother over the rows, ``(s, d, t)``, and sum its one-step errors."""
        bank, t = self.bank, x.shape[-1]
        gain, keep = bank._gain, bank._keep
        lift = gain * bank._trend
        state = self.carry["smoothers"].copy()
        beginning = np.take_along_axis(x, np.clip(self.start, 0, max(t - 1, 0))[:, None, None], -1) if t else x
        if t:
            state[..., 0] = np.where((self.start >= 0)[:, None, None], beginning, state[..., 0])
        errors, trends = np.empty((*state.shape[:-1], t)), np.zeros((*state.shape[:-1], t))
        if t <= FEW_ROWS:
            level, trend = state[..., 0], state[..., 1]
            for i in range(t):
                ahead = level + keep * trend
                errors[..., i] = e = x[..., i, None] - ahead
                level, trend = ahead + gain * e, keep * trend + lift * e
                trends[..., i] = trend
        else:
            for i, (a, b, k) in enumerate(zip(gain, lift, keep, strict=True)):
                level, trend = state[..., i, 0], state[..., i, 1]
                if b == 0:
                    errors[..., i, :], _ = scipy.signal.lfilter([1, -1], [1, a - 1], x, zi=-level[..., None])
                    continue
                p, q = a + k * b - 1 - k, k * (1 - a)
                zi0 = -(level + k * trend)
                ahead = (1 - a) * (level + k * trend) + k * (k * trend - b * (level + k * trend))
                errors[..., i, :], _ = scipy.signal.lfilter(
                    [1, -1 - k, k], [1, p, q], x, zi=np.stack([zi0, p * zi0 - ahead], -1)
                )
                trends[..., i, :], _ = scipy.signal.lfilter([b], [1, -k], errors[..., i, :], zi=(k * trend)[..., None])
        levels = x[..., None, :] - (1 - gain[:, None]) * errors
        self.smoothers = np.concatenate([state[..., None], np.stack([levels, trends], -2)], -1)  # s d a 2 1+t
        errors = np.where((self.since > 0)[:, None, None], errors, 0) if bank.judged else errors[..., :0, :]
        self.losses = _running(self.carry["losses"], errors**2)
        self.errors = sums_by_phase(self.carry["errors"], errors, 1.0)

    def state(self, i: Indices, at: Indices) -> dict[str, Array]:
        """Return the states of streams ``i`` after ``at`` rows of this piece, leading axis ``p``."""
        m = self.bank.season
        age = np.maximum(at - self.start[i], 0).astype(np.float64)
        season = at[:, None] + np.arange(m)
        last = np.where(np.arange(m) >= m - age[:, None], self.rows[i[:, None], season], 0)
        begun = age > 0
        smoothers = np.where(begun[:, None, None, None], self.smoothers[i, ..., at], 0)
        by_phase = (i[:, None], slice(None), season)
        by_smoother = (i[:, None], slice(None), slice(None), season)
        return {
            "age": age,
            "last": last,
            "range": np.stack([self.low[i, at], self.high[i, at]], 1) * begun[:, None],
            "steps": self.steps[i, :, at],
            "total": self.total[i, :, at],
            "moment": self.moment[i, :, at],
            "profile": self.profile[by_phase].transpose(0, 2, 1),
            "squares": self.squares[i, :, at],
            "smoothers": smoothers,
            "losses": self.losses[i, ..., at],
            "errors": self.errors[by_smoother].transpose(0, 2, 3, 1),
        }

    def seen(self, i: Indices, at: Indices) -> tuple[Array, ...]:
        """Return what a :class:`BankSeen` holds for streams ``i`` after ``at`` rows of this piece, leading axis ``p``."""
        bank, m = self.bank, self.bank.season
        state = self.state(i, at)
        age = state["age"]
        begun = age > 0
        newest = state["last"][:, -1:]
        last = np.where(np.arange(m) >= m - age[:, None], state["last"], newest)
        profiles = self._profile(state)
        if bank.faith:
            young = np.where(age >= m, np.clip(3 - age / m, 0, 1), 0)[:, None, None]
            profiles += young * (bank.faith * (last - last.mean(-1, keepdims=True))[:, None] - profiles)
        sums = state["steps"]
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.where(sums[:, 3] > 0, sums[:, 2] / sums[:, 3], 1.0))
        zero, (low, high) = self.zero[i], state["range"].T
        usable = begun & (low + zero > SMALLEST) & (np.abs(zero) < FLATTEST) & (bank.forms == 2)
        most = np.log(np.maximum(high + zero, SMALLEST)) + 3
        return (
            last,
            state["smoothers"][:, 0, bank._levels, 0],
            profiles[:, 0],
            np.maximum(size, SMALLEST),
            profiles,
            *self._chosen(state, profiles),
            np.stack([usable, -zero, most], 1).astype(np.float64),
            age,
        )

    def _profile(self, state: dict[str, Array]) -> Array:
        """Return the profile of each form, ``(p, d, m)``, shrunk to 0 where the phases do not differ."""
        m, age = self.bank.season, state["age"]
        if m == 1:
            return np.zeros_like(state["profile"])
        late = m // 2
        known = np.maximum(age - (m - m % 2), 0)[:, None]  # rows with a centred mean
        seasons = (known + np.arange(m)) // m  # p m, of the sums, in the order of the state
        forgotten = 1 - self.bank.forgetting
        count = ((1 - self.bank.forgetting**seasons) / forgotten)[:, None]
        mean = state["profile"] / np.maximum(count, 1)
        mean = np.where(count > 0, mean, 0)
        among = (
            count * (mean - (count * mean).sum(-1, keepdims=True) / np.maximum(count.sum(-1, keepdims=True), 1)) ** 2
        ).sum(-1)
        within = np.maximum(state["squares"] - (count * mean**2).sum(-1), 1e-12 * state["squares"])
        free = count.sum(-1) - m
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.nan_to_num((among / (m - 1)) / (within / free), nan=0.0, posinf=0.0)
        share = np.where(known > m, np.clip((ratio - NO_SEASON) / (FULL_SEASON - NO_SEASON), 0, 1), 0)
        return np.roll(mean - mean.mean(-1, keepdims=True), -late, -1) * share[..., None]

    def _chosen(self, state: dict[str, Array], profiles: Array) -> tuple[Array, Array]:
        """Return theta's level and half trend and the damped level, trend and keep, ``(p, d, 2)`` and ``(p, d, 3)``."""
        bank, m, age = self.bank, self.bank.season, state["age"]
        n = np.maximum(age, 1)[:, None]
        phase = np.arange(m)
        count = (age[:, None] + phase) // m  # p m, rows of each phase
        oldest = (-age.astype(np.int64)) % m  # phase of the first row, counted from the next
        index = np.zeros((*state["total"].shape, 2), np.int64)  # p d 2, theta's smoother and the damped one
        if bank.judged:
            loss = state["losses"]
            if m > 1:
                seasonal = (profiles @ bank._responses[0].reshape(-1, m).T).reshape(state["errors"].shape)
                later = np.maximum(count - (phase == oldest[:, None]), 0)[:, None, None]  # the first row is no error
                loss = loss + (seasonal * (later * seasonal - 2 * state["errors"])).sum(-1)
            near = state["losses"].max(-1, keepdims=True) * ALIKE
            for i, part in enumerate((loss[..., : bank.thetas], loss[..., bank.thetas :])):
                if part.shape[-1]:
                    index[..., i] = (part <= part.min(-1, keepdims=True) + near).argmax(-1) + i * bank.thetas
        else:
            index[:] = LEVEL_STEPS.index(LONG_STEP), len(bank._gain) - 1
        lever = state["moment"] - (n - 1) / 2 * state["total"]
        if m > 1:
            turns = count * (age[:, None] - m + phase) - m * count * (count - 1) / 2  # sums of ages, by phase
            lever = lever - ((turns - (n - 1) / 2 * count)[:, None] * profiles).sum(-1)
        half = np.where(n > 2, lever * 6 / (n * np.maximum(n * n - 1, 1)), 0)  # of the trend
        found = np.take_along_axis(state["smoothers"], index[..., None], 2)  # p d 2 2
        if m > 1:
            found = found - self._smoothed_profile(index, profiles, oldest, n)
        gain = bank._gain[index[..., 0]]
        theta = np.stack([found[..., 0, 0] + half * (1 - (1 - gain) ** n) / gain, half], -1)
        begun = (age > 0)[:, None, None]
        return theta * begun, np.concatenate([found[..., 1, :] * begun, bank._keep[index[..., 1:]]], -1)

    def _smoothed_profile(self, index: Indices, profiles: Array, oldest: Indices, n: Array) -> Array:
        """Return what level and trend of smoothers ``index`` ``(p, d, 2)`` have of the profile after ``n`` rows."""
        states, profiles = self.bank._responses[1], profiles[:, :, None, :, None]
        settled, then = ((states[index, at] @ profiles)[..., 0] for at in (self.bank.season - 1, oldest[:, None, None]))
        left = -then  # the state at the first row less the settled one fades
        left[..., 0] += np.take_along_axis(profiles[..., 0], oldest[:, None, None, None], -1)[..., 0]
        values, vectors, inverse = (each[index] for each in self.bank._spectra)
        fading = values ** (n - 1)[..., None, None] * (inverse @ left[..., None])[..., 0]
        return settled + (vectors @ fading[..., None])[..., 0].real


def _before(start: Array, accumulate: object, rows: Array, age: Array) -> Array:
    """Return the running extreme before each row and after the last, ``(s, 1+t)``."""
    start = np.where(age > 0, start, rows[:, 0] if rows.shape[1] else 0)
    return accumulate(np.concatenate([start[:, None], rows], 1), axis=1)  # type: ignore[operator,no-any-return]


def _running(start: Array, parts: Array) -> Array:
    """Return running sums ``(..., 1+t)`` of ``(..., t)`` from ``start``."""
    return np.cumsum(np.concatenate([start[..., None], parts], -1), -1)
