"""Ridge from look-backs to what follows: solved in closed form from running sums, judged forward in time.

A window is made small numbers first. Long series: rows less their mean, divided by their spread, with or without the
season's profile taken off. Short panels: rows and smoothed levels less the middle of last row and level, in units of the
stream's size, or the same on logarithms. Look-backs of several lengths come out of the sums of the longest and are averaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from titans_ts.series.base.bank import BankSeen

SPREAD_FLOOR = 1e-3
"""Least spread of a window, in long-run spreads."""
LEVELS = 3
"""Smoothed levels that a short panel's ridge sees; the middle one is part of the centre."""
CONSTANT = 0.3
"""The input that stands for a drift, in sizes: small, so that its weight is held."""
FARTHEST_TARGET = 20.0
"""Distance, in units of the window, at which a target is clipped."""
FARTHEST_LOG = 3.0
"""How far above the window a forecast on logarithms may go."""
MOST_WINDOWS = 10_000
"""Windows from which weights are solved; of more, evenly spaced ones are taken."""
NUMBERS_AT_ONCE = 2**22
"""Numbers of the windows that are held at once."""
LONGEST, SEASONS = 1_344, 28
"""Longest automatic look-back, in rows and in seasons."""
LONGEST_ALONE = 192
"""Longest automatic look-back of rows without a season."""


@dataclass(frozen=True)
class RidgeSpec:
    """What a ridge sees of a window, and whose weights it has.

    Parameters
    ----------
    lookbacks : tuple of int
        Rows of each look-back, increasing; the answer is the mean of theirs.
    centre : {"mean", "level"}, default="mean"
        What a window is centred on: the mean of its rows (divided by their spread), or the middle between its last row and a
        smoothed level (divided by the stream's size), beside which the smoothed levels are inputs.
    logs : bool, default=False
        Work on logarithms, where all rows so far were positive; needs ``centre="level"``.
    profile : bool, default=False
        Take the season's profile off the window and add it to the forecast; needs ``centre="mean"``.
    own : bool, default=False
        Weights of one's own for each channel, held to shared ones.
    """

    lookbacks: tuple[int, ...]
    centre: Literal["mean", "level"] = "mean"
    logs: bool = False
    profile: bool = False
    own: bool = False

    def __post_init__(self) -> None:
        if not self.lookbacks or min(self.lookbacks) < 1 or list(self.lookbacks) != sorted(set(self.lookbacks)):
            raise ValueError(f"lookbacks={self.lookbacks} must be increasing numbers of rows, at least 1")
        if self.logs and self.centre != "level":
            raise ValueError("logs need centre='level'")
        if self.profile and self.centre != "mean":
            raise ValueError("a profile needs centre='mean'")

    @property
    def longest(self) -> int:
        """Rows of the longest look-back."""
        return self.lookbacks[-1]

    @property
    def width(self) -> int:
        """Number of inputs."""
        return self.longest + (LEVELS + 1 if self.centre == "level" else 0)


class Design(NamedTuple):
    """Windows before ``n`` origins, as a ridge sees them."""

    inputs: Tensor  # s n d
    centre: Tensor  # s n, on the long-run scale or its logarithms
    unit: Tensor  # s n
    weight: Tensor  # s n, of the window in the sums; 0 where too little was observed


class Sums(NamedTuple):
    """Sums over windows, for all streams together (``g`` is 1) or for each channel (``g`` is ``c``)."""

    gram: Tensor  # g d d
    cross: Tensor  # g d f
    seen: Tensor  # g f, weight of the targets observed
    total: Tensor  # g, weight of all

    def plus(self, other: Sums) -> Sums:
        """Return the sums over both."""
        return Sums(*(one + two for one, two in zip(self, other, strict=True)))

    def together(self) -> Sums:
        """Return the sums over all streams."""
        return Sums(*(each.sum(0, keepdim=True) for each in self))

    def at_steps(self, steps: Tensor) -> Sums:
        """Return the sums of some steps of the horizon."""
        return self._replace(cross=self.cross[..., steps], seen=self.seen[:, steps])


def automatic_lookbacks(season: int, horizon: int, rows: int) -> tuple[tuple[int, ...], Literal["mean", "level"]]:
    """Return look-backs for streams of ``rows`` rows, and what to centre them on.

    Long streams get a quarter, a half and the whole of 28 seasons, at most 1,344 rows, at most a sixth of all rows. Short
    ones get one and two seasons and a row. Without a season it is a sixth, a half and the whole of at most 192 rows; 2 and 4
    rows of short ones.
    """
    longest = min(SEASONS * season, LONGEST, (rows - horizon) // 6)
    if season > 1 and longest >= 4 * season:
        longest -= longest % season
        return (longest // 4, longest // 2, longest), "mean"
    if season == 1:
        longest = min(LONGEST_ALONE, (rows - horizon) // 6)
        return ((2, 4), "level") if longest < 60 else ((longest // 6, longest // 2, longest), "mean")
    return (season + 1, 2 * season + 1), "level"


# --- windows ----------------------------------------------------------------------------------------------------------


def design(spec: RidgeSpec, rows: Tensor, ends: Tensor, seen: BankSeen) -> Design:
    """Return the windows of ``rows`` ``(s, t)`` that end after ``ends`` of them, ``(n,)`` or ``(s, n)``."""
    window = cut(F.pad(rows, (spec.longest, 0), value=float("nan")), ends, spec.longest)
    if spec.centre == "mean":
        if spec.profile:
            window = window - _repeated(seen.profile, spec.longest, before=True)
        observed = ~window.isnan()
        count = observed.sum(-1)
        mean = window.nansum(-1) / count.clamp_min(1)
        centred = torch.where(observed, window - mean[..., None], 0.0)
        spread = (centred.square().sum(-1) / count.clamp_min(1)).sqrt()
        spread = torch.where(count > 1, spread, 1.0).clamp_min(SPREAD_FLOOR)
        weight = torch.where(2 * count >= spec.longest, spread.sqrt(), 0.0)
        return Design(centred / spread[..., None], mean, spread, weight)
    share = (~window.isnan()).double().mean(-1)  # a short stream's first windows count less
    window, levels = _filled(window), seen.levels
    unit = seen.size
    if spec.logs:
        window, levels = _to_logs(window, seen), _to_logs(levels, seen)
        above = seen.levels[..., LEVELS // 2] - seen.logs[..., 1]
        unit = torch.where(seen.logs[..., 0] > 0, seen.size / above.clamp_min(1e-12), seen.size).clamp_min(1e-9)
    centre = (window[..., -1] + levels[..., LEVELS // 2]) / 2
    near = (torch.cat([window, levels], dim=-1) - centre[..., None]) / unit[..., None]
    weight = share / near[..., : spec.longest].abs().mean(-1).clamp_min(1.0)
    return Design(torch.cat([near, torch.full_like(near[..., :1], CONSTANT)], dim=-1), centre, unit, weight)


def targets(spec: RidgeSpec, rows: Tensor, ends: Tensor, seen: BankSeen, windows: Design, horizon: int) -> Tensor:
    """Return what followed each window in its own units, ``(s, n, f)``; NaN where missing."""
    after = cut(F.pad(rows, (0, horizon), value=float("nan")), ends, horizon)
    if spec.profile:
        after = after - _repeated(seen.profile, horizon)
    if spec.logs:
        after = _to_logs(after, seen)
    return ((after - windows.centre[..., None]) / windows.unit[..., None]).clamp(-FARTHEST_TARGET, FARTHEST_TARGET)


def answers(spec: RidgeSpec, weights: Tensor, windows: Design, seen: BankSeen, steps: Tensor | None = None) -> Tensor:
    """Return the forecasts ``(s, n, f)`` of weights ``(g, f, d)`` on the long-run scale, at some steps or all."""
    g, f, d = weights.shape
    s, n, _ = windows.inputs.shape
    near = windows.inputs.reshape(s // g, g, n, d) @ weights.mT if g > 1 else windows.inputs @ weights[0].T
    found = near.reshape(s, n, f) * windows.unit[..., None] + windows.centre[..., None]
    steps = torch.arange(f) if steps is None else steps
    if spec.profile:
        found = found + seen.profile[..., steps % seen.profile.shape[-1]]
    if spec.logs:
        used, zero, most = seen.logs.split(1, dim=-1)
        most = torch.minimum(most, windows.centre[..., None] + FARTHEST_LOG)
        found = torch.where(used > 0, torch.minimum(found, most).exp() + zero, found)
    return found


def cut(rows: Tensor, starts: Tensor, length: int) -> Tensor:
    """Return pieces of rows ``(s, t)`` from each start ``(n,)`` or ``(s, n)`` on, ``(s, n, length)`` float64."""
    pieces = rows.double().unfold(-1, length, 1)
    return pieces[:, starts] if starts.ndim == 1 else pieces[torch.arange(len(rows))[:, None], starts]


def _repeated(profile: Tensor, length: int, *, before: bool = False) -> Tensor:
    """Return a profile ``(s, n, m)`` at the next ``length`` rows, or at those before."""
    at = torch.arange(-length, 0) if before else torch.arange(length)
    return profile[..., at % profile.shape[-1]]


def _filled(window: Tensor) -> Tensor:
    """Return windows with gaps filled by the row before, in front by the first row, 0 where there is none."""
    missing = window.isnan()
    if not bool(missing.any()):
        return window
    place = torch.arange(window.shape[-1]).expand_as(window)
    last = torch.where(missing, -1, place).cummax(-1).values
    first = torch.where(missing, window.shape[-1], place).amin(-1, keepdim=True).clamp_max(window.shape[-1] - 1)
    return window.gather(-1, torch.where(last >= 0, last, first)).nan_to_num(0.0)


def _to_logs(x: Tensor, seen: BankSeen) -> Tensor:
    """Return logarithms of values ``(s, n, k)`` above raw zero; of streams that have none, the values."""
    used, zero, _ = seen.logs.split(1, dim=-1)
    return torch.where(used > 0, (x - zero).clamp_min(1e-9).log(), x)


# --- sums and solutions -----------------------------------------------------------------------------------------------


def evenly_spaced(streams: int, first: int, last: int) -> Tensor:
    """Return the ends ``first .. last``, or evenly spaced ones of them, so that windows of all streams are not too many."""
    step = max(1, -(-(last - first + 1) * streams // MOST_WINDOWS))
    return torch.arange(last, first - 1, -step).flip(0)


def add_up(
    spec: RidgeSpec, rows: Tensor, ends: Tensor, seen: BankSeen, horizon: int, counted: Tensor, *, groups: int = 1
) -> Sums:
    """Return the sums over the windows that ``counted`` ``(s, n)`` names, of ``groups`` whose streams come in turn."""
    g, d = groups, spec.width
    sums = Sums(*(torch.zeros(shape, dtype=torch.float64) for shape in ((g, d, d), (g, d, horizon), (g, horizon), (g,))))
    for part in pieces(len(rows), counted.any(0).nonzero()[:, 0], d + horizon):
        here = part_of(seen, part)
        at = ends[..., part]
        windows = design(spec, rows, at, here)
        found = targets(spec, rows, at, here, windows, horizon)
        there = ~found.isnan()
        enough = there.sum(-1) >= 0.9 * horizon
        weight = windows.weight * (counted[:, part] & enough)
        x, y = windows.inputs * weight[..., None], torch.where(there, found, 0.0) * weight[..., None]
        squared = weight.square()
        x, y, there, squared = (v.unflatten(0, (-1, g)).transpose(0, 1).flatten(1, 2) for v in (x, y, there, squared))
        sums = sums.plus(Sums(x.mT @ x, x.mT @ y, (squared[..., None] * there).sum(1), squared.sum(1)))
    return sums


def solve(spec: RidgeSpec, sums: Sums, penalty: float, prior: Tensor | None = None) -> Tensor:
    """Return weights ``(g, f, d)``, the mean over look-backs; the penalty is on the distance to a ``prior`` ``(f, d)``."""
    return solve_each(spec, sums, (penalty,), prior)[0]


def solve_each(spec: RidgeSpec, sums: Sums, penalties: Sequence[float], prior: Tensor | None = None) -> list[Tensor]:
    """Return the weights ``(g, f, d)`` of each penalty.

    Targets that were missing count as those that were seen: each step's sums are divided by its share of the windows.
    """
    cross = sums.cross * (sums.total[:, None] / sums.seen.clamp_min(1e-300)).clamp_max(1e6)[:, None]
    weights = [torch.zeros_like(cross) for _ in penalties]
    for lookback in spec.lookbacks:
        first = spec.longest - lookback
        gram, goal = sums.gram[:, first:, first:], cross[:, first:]
        if spec.centre == "mean":  # centred on the mean of the shorter window: its targets too
            goal = goal - gram.mean(-1, keepdim=True)
            gram = gram - gram.mean(-1, keepdim=True)
            gram, goal = gram - gram.mean(-2, keepdim=True), goal - goal.mean(-2, keepdim=True)
        mean = gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-12)[:, None, None]
        for penalty, found in zip(penalties, weights, strict=True):
            ridge, known = gram.clone(), goal
            ridge.diagonal(dim1=-2, dim2=-1).add_(penalty * mean[..., 0])
            if prior is not None:
                known = goal + penalty * mean * prior.T[first:]
            solution = torch.cholesky_solve(known, torch.linalg.cholesky(ridge))
            if spec.centre == "mean":
                solution = solution - solution.mean(-2, keepdim=True) + 1 / lookback
            found[:, first:] += solution / len(spec.lookbacks)
    return [found.mT.contiguous() for found in weights]


def younger_spec(spec: RidgeSpec) -> RidgeSpec | None:
    """Return what answers for streams younger than the longest look-back: the shorter ones, with shared weights."""
    if spec.centre != "mean" or len(spec.lookbacks) == 1:
        return None
    return replace(spec, lookbacks=spec.lookbacks[:-1], own=False)


def sums_of(spec: RidgeSpec, sums: Sums, longest: int) -> Sums:
    """Return the part of sums over windows of ``longest`` rows that a spec of shorter ones sees, over all streams."""
    first = longest - spec.longest
    whole = sums.together()
    return whole._replace(gram=whole.gram[:, first:, first:], cross=whole.cross[:, first:])


def pieces(streams: int, places: Tensor, numbers: int) -> Iterator[Tensor]:
    """Return places in pieces whose windows are not too much to hold."""
    if len(places):
        yield from places.split(max(1, NUMBERS_AT_ONCE // (streams * numbers)))


def part_of(seen: BankSeen, part: Tensor) -> BankSeen:
    """Return what is seen of some origins."""
    return type(seen)(*(each[:, part] for each in seen))


class Ridge(nn.Module):
    """Solved weights, as a model keeps them; blank they hold zeros.

    Where a stream is younger than the longest look-back, a ridge of the shorter ones answers: :attr:`younger`.

    Parameters
    ----------
    spec : RidgeSpec
        What it sees.
    horizon : int
        Rows to foretell.
    channels : int, default=1
        Channels that have weights of their own where ``spec.own``; streams are theirs in turn.
    """

    weights: Tensor  # g f d

    def __init__(self, spec: RidgeSpec, horizon: int, *, channels: int = 1) -> None:
        super().__init__()
        self.spec = spec
        shape = (channels if spec.own else 1, horizon, spec.width)
        self.register_buffer("weights", torch.zeros(shape, dtype=torch.float64))
        shorter = younger_spec(spec)
        self.younger = None if shorter is None else Ridge(shorter, horizon)

    @torch.no_grad()
    def forecasts(self, rows: Tensor, ends: Tensor, seen: BankSeen) -> Tensor:
        """Return forecasts after ``ends`` of ``rows``.

        Parameters
        ----------
        rows : Tensor ``(s, t)``
            On the long-run scale; NaN where missing. Rows before the first count as missing.
        ends : Tensor ``(n,)`` or ``(s, n)``
            Rows, 0 to ``t``, before each forecast.
        seen : BankSeen
            Of the same origins.

        Returns
        -------
        Tensor ``(s, n, f)``
            Float64, on the long-run scale.
        """
        found = rows.new_zeros((len(rows), ends.shape[-1], self.weights.shape[1]), dtype=torch.float64)
        for part in pieces(len(rows), torch.arange(ends.shape[-1]), self.spec.width + found.shape[-1]):
            here = part_of(seen, part)
            found[:, part] = answers(self.spec, self.weights, design(self.spec, rows, ends[..., part], here), here)
        if self.younger is not None:
            young = (seen.age < self.spec.longest).any(0).nonzero()[:, 0]
            if len(young):
                here = part_of(seen, young)
                theirs = self.younger.forecasts(rows, ends[..., young], here)
                grown = (here.age >= self.spec.longest)[..., None]
                found[:, young] = torch.where(grown, found[:, young], theirs)
        return found
