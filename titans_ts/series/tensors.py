"""Series as tokens: what training learned about preparing them, the rows before each token on their own scale, covariates.

All that a token knows comes from the ``lookback`` rows that end with it, so nothing leaks from the future, and a stream
can be read in any pieces.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from titans_ts.backbones.state import join, map_tensors
from titans_ts.blocks.scale import FARTHEST, Scale, long_run_scale, on_long_run_scale
from titans_ts.frames.clock import to_wall
from titans_ts.frames.panel import HOLIDAY_COLUMNS, Panel, Series
from titans_ts.ops.shapes import check_shape
from titans_ts.series.settings import ForecastConfig
from titans_ts.series.targets import Targets

SPREAD_FLOOR = 1e-3
"""Least spread of a look-back as a share of the long-run spread: a flat stretch is not blown up to noise."""
TIMES_SEEN = 1.99
"""Times that training must have seen a cycle of the calendar before the place in it is a feature: two calendar years are a
little less than two of the sun's."""
CYCLES = {"day": 86_400.0, "week": 604_800.0, "month": 2_629_746.0, "year": 31_556_952.0}
"""Length of each cycle in seconds, of a month on average."""
FEW_ROWS = 8
"""Rows whose calendar features are kept: every series of a panel has the same, a row a round."""
NO_EFFECT = 1e300
"""Spread of a holiday that training never saw: in float32 nothing is left of it."""
AUTOMATIC = ("day", "week", "year")
"""Cycles that a series may take up unasked."""
HARMONICS = {"day": 2, "week": 3, "month": 2, "year": 1}
"""Waves to each cycle: the week has three, so that a Saturday is told from a Monday."""


# --- a series, prepared -----------------------------------------------------------------------------------------------


class Foretold(NamedTuple):
    """Forecasts of the base at every ``step`` rows of one series, each by weights that never saw the rows that follow."""

    point: Tensor  # c n f, on the long-run scale; NaN where no weights were solved before
    first: int  # rows read before the first of them
    step: int  # rows

    def after(self, rows: int) -> Foretold:
        """Return the same forecasts, counted from another row."""
        return self._replace(first=self.first - rows)

    def at(self, ends: Tensor) -> Tensor:
        """Return the forecasts after so many rows, ``(c, n, f)``; NaN where there is none."""
        place = ends - self.first
        index = place.div(self.step, rounding_mode="floor")
        known = (place % self.step == 0) & (index >= 0) & (index < self.point.shape[1])
        found = self.point[:, torch.where(known, index, 0)] if self.point.shape[1] else self.point.new_zeros(())
        shape = (self.point.shape[0], len(ends), self.point.shape[2])
        return torch.where(known[:, None], found, float("nan")).expand(shape)


@dataclass(frozen=True)
class SeriesTensors:
    """One series, ready for a network."""

    rows: Tensor  # c t, float64, NaN where missing
    calendar: Tensor  # t k
    past: Tensor  # t k, standardised, NaN where missing
    future: Tensor  # t k, standardised
    static: Tensor  # s, standardised
    scale: Scale  # 1 c, long-run level and spread
    foretold: Foretold | None = None  # what the base forecast out of block, where a memory is to learn what it missed

    @property
    def length(self) -> int:
        """Rows of the series."""
        return self.rows.shape[1]

    def head(self, rows: int) -> SeriesTensors:
        """Return the first rows."""
        return self.part(0, rows)

    def part(self, first: int, end: int) -> SeriesTensors:
        """Return the rows from one on, up to another."""
        calendar, past, future = (x[first:end] for x in (self.calendar, self.past, self.future))
        foretold = None if self.foretold is None else self.foretold.after(first)
        return SeriesTensors(self.rows[:, first:end], calendar, past, future, self.static, self.scale, foretold)


@dataclass(frozen=True)
class Preparation:
    """What training rows say about preparing a series: cycles in use, moments of covariates, the scale of targets."""

    cycles: tuple[str, ...]  # names from CYCLES
    time_zone: str | None  # the clock that the calendar is read on
    past: tuple[tuple[float, float], ...]  # mean and standard deviation of each column
    future: tuple[tuple[float, float], ...]
    static: tuple[tuple[float, float], ...]
    targets: Targets = field(default_factory=Targets)

    @classmethod
    def learn(
        cls,
        panel: Panel,
        training_rows: Sequence[int],
        targets: Targets | None = None,
        *,
        calendar: str | Sequence[str] | None = "auto",
    ) -> Preparation:
        """Learn from the first rows of each series, with the cycles named in ``calendar``.

        ``"auto"`` takes a cycle only where training has seen it twice: from once, a season cannot be told from a trend.
        """
        parts = list(zip(panel, training_rows, strict=True))
        stamped = [one.times[:rows] for one, rows in parts if one.times is not None and rows > 1]
        cycles: tuple[str, ...] = ()
        if calendar != "auto":
            cycles = tuple(name for name in CYCLES if name in (calendar or ()))
            _refuse_cycles(cycles, panel, stamped)
        elif stamped and not panel.layout.integer_times:
            span = max(float((times[-1] - times[0]) / np.timedelta64(1, "s")) for times in stamped)
            cycles = tuple(name for name in calendar_cycles(_step(stamped)) if span >= TIMES_SEEN * CYCLES[name])
        return cls(
            cycles=cycles,
            time_zone=panel.layout.time_zone,
            past=_moments(np.concatenate([one.past[:rows] for one, rows in parts])),
            future=_without_effect(_moments(np.concatenate([one.future[:rows] for one, rows in parts])), panel, parts),
            static=_moments(np.stack([one.static for one in panel])),
            targets=Targets() if targets is None else targets,
        )

    @property
    def calendar(self) -> int:
        """Number of calendar features."""
        return feature_count(self.cycles)

    def tensors(self, series: Series, scale: Scale) -> SeriesTensors:
        """Return a series as a network reads it."""
        return SeriesTensors(
            rows=torch.from_numpy(self.targets.forward(series.values).T.copy()),
            calendar=self._calendar_of(series.times, len(series)),
            past=_standardised(series.past, self.past),
            future=self.future_tensor(series.future),
            static=self.static_tensor(series.static),
            scale=scale,
        )

    def _calendar_of(self, times: np.ndarray | None, rows: int) -> Tensor:
        """Return the calendar features of rows ``(t, k)``, of a few rows once for all series that have them together."""
        if times is None or not self.cycles:
            return torch.zeros(rows, self.calendar)
        if rows <= FEW_ROWS and times.dtype == "M8[ns]":
            return _calendar_of_few(times.tobytes(), self.cycles, self.time_zone)
        return torch.from_numpy(calendar_features(to_wall(times, self.time_zone), self.cycles, rows))

    def future_tensor(self, future: np.ndarray) -> Tensor:
        """Return covariates known in advance, standardised, ``(t, q)``."""
        return _standardised(future, self.future)

    def static_tensor(self, static: np.ndarray) -> Tensor:
        """Return static covariates, standardised, ``(s,)``."""
        return _standardised(static[None], self.static)[0]

    def scale(self, series: Series, rows: int) -> Scale:
        """Return the long-run scale of a series' first rows, ``(1, c)``, as a network reads them."""
        return learn_scale(self.targets.forward(series.values[:rows]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they go into a model file; plain targets are left out."""
        own = ("cycles", "time_zone", "past", "future", "static")
        found = {name: getattr(self, name) for name in own}
        return found if self.targets.are_plain else {**found, "targets": self.targets.to_dict()}

    def mark(self) -> list[Any]:
        """Return what tells this preparation from others, in plain values."""
        found = replace(self, targets=Targets()).to_dict()
        return [found] if self.targets.are_plain else [found, self.targets.mark()]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preparation:
        """Return what a model file holds."""
        pairs = {name: tuple((mean, spread) for mean, spread in values[name]) for name in ("past", "future", "static")}
        targets = Targets.from_dict(values["targets"]) if "targets" in values else Targets()
        return cls(cycles=tuple(values["cycles"]), time_zone=values["time_zone"], targets=targets, **pairs)


def learn_scale(values: np.ndarray) -> Scale:
    """Return the long-run scale ``(1, c)`` of rows ``(t, c)``."""
    return long_run_scale(torch.from_numpy(values.T.copy())[None])


def calendar_cycles(step_seconds: float | None) -> tuple[str, ...]:
    """Return the automatic cycles of which a series of this step, in seconds or None, can show at least two steps."""
    if step_seconds is None:
        return ()
    return tuple(name for name in AUTOMATIC if CYCLES[name] >= 2 * step_seconds)


@lru_cache(maxsize=64)
def _calendar_of_few(times: bytes, cycles: tuple[str, ...], zone: str | None) -> Tensor:
    """Return the calendar features of a few time stamps."""
    stamps = np.frombuffer(times, "M8[ns]")
    return torch.from_numpy(calendar_features(to_wall(stamps, zone), cycles, len(stamps)))


def calendar_features(times: np.ndarray | None, cycles: tuple[str, ...], rows: int) -> np.ndarray:
    """Return sine and cosine of each cycle's waves at every row, ``(t, k)`` float32; zeros for rows without time stamps.

    ``times`` are read as they stand on the clock.
    """
    if times is None or not cycles:
        return np.zeros((rows, feature_count(cycles)), dtype=np.float32)
    seconds = times.astype("datetime64[s]").astype(np.float64)
    columns = []
    for name in cycles:
        origin = 4 * 86_400.0 if name == "week" else 0.0  # 1970-01-01 was a Thursday: weeks begin on Mondays
        share = _of_month(times) if name == "month" else ((seconds - origin) / CYCLES[name]) % 1.0
        phase = 2 * np.pi * share
        for wave in range(1, HARMONICS[name] + 1):
            columns += [np.sin(wave * phase), np.cos(wave * phase)]
    return np.stack(columns, axis=1).astype(np.float32)


def _of_month(times: np.ndarray) -> np.ndarray:
    """Return how much of its month has passed at each time stamp, 0 to 1."""
    begin = times.astype("datetime64[M]")
    end = begin + 1
    passed, whole = (times - begin.astype(times.dtype)), (end.astype(times.dtype) - begin.astype(times.dtype))
    return np.asarray(passed / whole)


def _step(stamped: Sequence[np.ndarray]) -> float:
    """Return the seconds between rows, of the series that is read most often."""
    return min(float(np.median(np.diff(times) / np.timedelta64(1, "s"))) for times in stamped)


def _refuse_cycles(cycles: tuple[str, ...], panel: Panel, stamped: Sequence[np.ndarray]) -> None:
    """Refuse cycles of a calendar that the time stamps cannot show."""
    if not cycles:
        return
    if not stamped or panel.layout.integer_times:
        raise ValueError(
            f"calendar={list(cycles)}: X has no dates, and a calendar needs them; give it such a column, or calendar='auto'"
        )
    wrong = [name for name in cycles if CYCLES[name] < 2 * _step(stamped)]
    if wrong:
        raise ValueError(
            f"calendar={list(cycles)}: rows are {_step(stamped) / 3600:g} hours apart, too far to show the cycle "
            f"{wrong[0]!r}; leave it out"
        )


def feature_count(cycles: tuple[str, ...]) -> int:
    """Return the number of columns that :func:`calendar_features` makes."""
    return 2 * sum(HARMONICS[name] for name in cycles)


def _moments(table: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Return mean and standard deviation of each column's observed entries; (0, 1) and spread 1 where there are none."""
    pairs = []
    for column in table.T:
        observed = column[~np.isnan(column)]
        mean = float(observed.mean()) if len(observed) else 0.0
        spread = float(observed.std()) if len(observed) else 1.0
        pairs.append((mean, spread if spread > 1e-12 * max(abs(mean), 1e-300) else 1.0))
    return tuple(pairs)


def _without_effect(
    moments: tuple[tuple[float, float], ...], panel: Panel, parts: Sequence[tuple[Series, int]]
) -> tuple[tuple[float, float], ...]:
    """Return the moments of what is known in advance; a holiday that no training row had will count for nothing."""
    holidays = panel.layout.holidays
    first = len(moments) - HOLIDAY_COLUMNS * len(holidays)
    same = [all((one.future[:rows, j] == moments[j][0]).all() for one, rows in parts) for j in range(first, len(moments))]
    unseen = [one.name for k, one in enumerate(holidays) if all(same[HOLIDAY_COLUMNS * k :][:HOLIDAY_COLUMNS])]
    if unseen:
        warnings.warn(
            f"holidays: no training row has a day of {unseen}, so nothing is learned of them", UserWarning, stacklevel=5
        )
    flat = [
        (mean, NO_EFFECT) if alike else (mean, spread) for (mean, spread), alike in zip(moments[first:], same, strict=True)
    ]
    return moments[:first] + tuple(flat)


def _standardised(table: np.ndarray, moments: tuple[tuple[float, float], ...]) -> Tensor:
    if not moments:
        return torch.zeros(len(table), 0)
    mean, spread = np.array(moments, dtype=np.float64).reshape(-1, 2).T
    near = np.clip((table - mean) / spread, -FARTHEST, FARTHEST)
    return torch.from_numpy(near.astype(np.float32))


# --- tokens -----------------------------------------------------------------------------------------------------------


class Lookback(NamedTuple):
    """The rows before each of ``n`` tokens' ends, on their own scale."""

    values: Tensor  # b c n l, 0 where missing
    observed: Tensor  # b c n l, 1 where a row was there, 0 where it was missing
    level: Tensor  # b c n, mean of the rows on the long-run scale
    spread: Tensor  # b c n, their standard deviation there


class Covariates(NamedTuple):
    """Covariates at ``n`` tokens; a width of 0 where there are none."""

    calendar: Tensor  # b n k, of the token's last row
    past: Tensor  # b n (p covariates), of the last patch, and then their masks
    future: Tensor  # b n f covariates
    static: Tensor  # b s
    channel: Tensor  # b, which channel a stream is, where channels are independent


class Tokens(NamedTuple):
    """Tokens of one or more series, with what came after each."""

    lookback: Lookback
    covariates: Covariates
    target: Tensor  # b c n f, on each look-back's scale, NaN where missing or out of bounds
    base: Tensor | None = None  # b c n f, what the base foretold, on the same scale


def trailing_lookback(
    rows: Tensor, ends: Tensor, scale: Scale, *, lookback: int, dtype: torch.dtype = torch.float32
) -> Lookback:
    """Cut the ``lookback`` rows that end at each place ``ends`` ``(n,)``, 0 to ``t``, and put them on their own scale.

    ``rows`` ``(b, c, t)`` are float64, NaN where missing. ``scale`` stands in for a look-back with nothing in it.
    Differences from the long-run level are taken in float64, and only then brought to ``dtype``.
    """
    check_shape(rows, "b c t", name="rows")
    first = max(int(ends.min()) - lookback, 0)
    near = on_long_run_scale(rows[..., first : int(ends.max())], scale)
    near = F.pad(near, (lookback, 0), value=float("nan")).to(dtype)  # precise differences, then small numbers
    missing = near.isnan()
    at = ends - first
    cut = near.nan_to_num(0.0).unfold(-1, lookback, 1)[:, :, at]  # b c n l
    if int(at.min()) >= lookback and not bool(missing[..., lookback:].any()):  # nothing missing: fewer passes
        mean = cut.mean(-1)
        centred = cut - mean[..., None]
        deviation = centred.square().mean(-1).sqrt() if lookback > 1 else torch.ones_like(mean)
        observed = torch.ones((), dtype=dtype).expand_as(cut)
    else:
        observed = (~missing).to(dtype).unfold(-1, lookback, 1)[:, :, at]
        count = observed.sum(-1)
        mean = cut.sum(-1) / count.clamp_min(1)
        centred = (cut - mean[..., None]) * observed
        deviation = (centred.square().sum(-1) / count.clamp_min(1)).sqrt()
        deviation = torch.where(count > 1, deviation, 1.0)
    deviation = deviation.clamp_min(SPREAD_FLOOR)
    return Lookback(centred / deviation[..., None], observed, mean, deviation)


def look_back(
    series: SeriesTensors, ends: Tensor, config: ForecastConfig, *, dtype: torch.dtype = torch.float32
) -> tuple[Lookback, Covariates]:
    """Return what the network sees of one series after ``ends`` rows, ``(n,)``, with streams as the batch axis."""
    n = len(ends)
    rows, scale = series.rows[None], series.scale
    if not config.mixed:
        rows, scale = rows.transpose(0, 1), Scale(scale.level.mT, scale.spread.mT)
    seen = trailing_lookback(rows, ends, scale, lookback=config.lookback, dtype=dtype)
    b = config.streams
    last = (ends - 1).clamp_min(0)
    calendar = series.calendar[last].to(dtype).expand(b, n, -1)
    past = series.past.new_zeros(n, 0)
    if config.past:
        patch = _rows_before(series.past, ends, config.patch_length)
        past = torch.cat([patch.nan_to_num(), patch.isnan().to(patch.dtype)], dim=-1).flatten(1)
    future = series.future.new_zeros(n, config.horizon, 0)
    if config.future:
        ahead = ends[:, None] + torch.arange(config.horizon)
        future = series.future[ahead.clamp_max(len(series.future) - 1)]
    static = series.static.to(dtype).expand(b, -1)
    past, future = past.to(dtype).expand(b, -1, -1), future.to(dtype).expand(b, -1, -1, -1)
    return seen, Covariates(calendar, past, future, static, torch.arange(b))


def read_tokens(
    series: SeriesTensors, ends: Tensor, config: ForecastConfig, *, dtype: torch.dtype = torch.float32
) -> Tokens:
    """Return the tokens of one series after ``ends`` rows, ``(n,)``, with the rows that followed."""
    seen, covariates = look_back(series, ends, config, dtype=dtype)
    first, last = int(ends.min()), int(ends.max()) + config.horizon
    after = series.rows[:, first:last]
    padded = F.pad(on_long_run_scale(after[None], series.scale)[0], (0, last - first - after.shape[1]), value=float("nan"))
    long_run = padded.unfold(-1, config.horizon, 1)[:, ends - first]  # c n f
    long_run = long_run[None] if config.mixed else long_run[:, None]
    target = on_lookback_scale(long_run, seen)
    if series.foretold is None:
        return Tokens(seen, covariates, target)
    foretold = series.foretold.at(ends)
    base = on_lookback_scale(foretold[None] if config.mixed else foretold[:, None], seen)
    return Tokens(seen, covariates, target.where(base.isfinite(), float("nan")), base.nan_to_num(0.0))


def on_lookback_scale(rows: Tensor, seen: Lookback) -> Tensor:
    """Return forecasts or targets ``(b, c, n, f)`` of the long-run scale on that of their look-backs."""
    return (rows.to(seen.level.dtype) - seen.level[..., None]) / seen.spread[..., None]


def tokens_at(
    series: list[SeriesTensors],
    starts: list[int],
    ends: Tensor,
    config: ForecastConfig,
    *,
    dtype: torch.dtype = torch.float32,
) -> Tokens:
    """Return tokens of several series side by side, ``ends`` counted from each one's start; past its end, no target.

    Places of one series that lie near each other are read in one call.
    """
    places: dict[int, list[int]] = {}
    for i, one in enumerate(series):
        places.setdefault(id(one), []).append(i)
    parts: dict[int, Tokens] = {}
    for here in places.values():
        one = series[here[0]]
        together = _lie_near([starts[i] for i in here], ends, config.lookback)
        for group in [here] if together else [[i] for i in here]:
            at = torch.cat([ends + starts[i] for i in group])
            tokens = read_tokens(one, at.clamp_max(one.length), config, dtype=dtype)
            tokens.target[:, :, at > one.length] = float("nan")
            for place, i in enumerate(group):
                parts[i] = _part(tokens, slice(place * len(ends), (place + 1) * len(ends)))
    return join([parts[i] for i in range(len(series))])


def _lie_near(starts: list[int], ends: Tensor, lookback: int) -> bool:
    """Tell whether places of a series lie so near that reading all rows between them is no more work than each alone."""
    rows_of_one = int(ends.max()) - int(ends.min()) + lookback
    return max(starts) - min(starts) <= len(starts) * rows_of_one


def _part(tokens: Tokens, part: slice) -> Tokens:
    """Return some tokens of each stream."""
    seen, covariates = tokens.lookback, tokens.covariates
    calendar, past, future = (x[:, part] for x in (covariates.calendar, covariates.past, covariates.future))
    return Tokens(
        Lookback(*(x[:, :, part] for x in seen)),
        Covariates(calendar, past, future, covariates.static, covariates.channel),
        tokens.target[:, :, part],
        None if tokens.base is None else tokens.base[:, :, part],
    )


def _rows_before(table: Tensor, ends: Tensor, count: int) -> Tensor:
    """Return the last ``count`` rows of ``(t, k)`` before each end, ``(n, count, k)``; NaN before the first row."""
    first = max(int(ends.min()) - count, 0)
    padded = F.pad(table[first : int(ends.max())], (0, 0, count, 0), value=float("nan"))
    return padded.unfold(0, count, 1)[ends - first].transpose(1, 2)


def to_device(parts: Any, device: torch.device) -> Any:
    """Return tokens, or a part of them, on another device."""
    return map_tensors(lambda x: x.to(device), parts)


class SeriesEmbedding(nn.Module):
    """Look-backs and covariates to vectors of the model's width.

    A token is the last patch on the look-back's scale, the mask of what was missing, covariates of width ``extra``, and a
    learned vector of the channel where ``channel_names`` is above 1. With ``level`` it also tells the look-back's level and
    spread on the long-run scale: what is learned of these is wrong once the series has moved on.
    """

    def __init__(
        self, width: int, *, patch_length: int, channels: int, extra: int, channel_names: int, level: bool = True
    ) -> None:
        super().__init__()
        self.patch_length, self.level = patch_length, level
        self.project = nn.Linear(channels * (2 * patch_length + 2 * level) + extra, width)
        self.names = nn.Embedding(channel_names, width) if channel_names > 1 else None
        if self.names is not None:
            nn.init.normal_(self.names.weight, std=0.02)

    def forward(self, lookback: Lookback, covariates: Covariates) -> Tensor:
        """Return tokens ``(b, n, d)``."""
        p = self.patch_length
        parts = [lookback.values[..., -p:], 1 - lookback.observed[..., -p:]]
        if self.level:
            parts += [torch.asinh(lookback.level)[..., None], lookback.spread.log()[..., None]]
        own = torch.cat(parts, dim=-1).transpose(1, 2).flatten(2)  # b n (c features)
        b, n, _ = own.shape
        static = covariates.static[:, None].expand(b, n, -1)
        tokens = self.project(torch.cat([own, covariates.calendar.expand(b, n, -1), covariates.past, static], dim=-1))
        if self.names is not None:
            tokens = tokens + self.names(covariates.channel)[:, None]
        return tokens
