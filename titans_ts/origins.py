"""Series as a network reads them: what is known at an origin, and what followed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from titans_ts.inputs.series import Extras, Scale, Windows, on_long_run_scale, trailing_windows
from titans_ts.networks.forecast import ForecastConfig


@dataclass(frozen=True)
class SeriesTensors:
    """One series, ready for a network.

    Attributes
    ----------
    rows : Tensor
        ``(c, t)`` float64, NaN where missing.
    calendar, past, future : Tensor
        ``(t, k)`` each: calendar features, past covariates (standardised, NaN where missing), covariates known in
        advance (standardised).
    static : Tensor
        ``(s,)``, standardised.
    scale : Scale
        Long-run level and spread, ``(1, c)`` each.
    """

    rows: Tensor
    calendar: Tensor
    past: Tensor
    future: Tensor
    static: Tensor
    scale: Scale

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
        return SeriesTensors(self.rows[:, first:end], calendar, past, future, self.static, self.scale)


class Origins(NamedTuple):
    """Tokens of one or more series, ready for a network, with what came after each.

    Attributes
    ----------
    windows, extras
        What the network reads, ``(b, c, n, ...)``.
    target : Tensor
        ``(b, c, n, f)`` on each window's scale; NaN where missing or out of bounds.
    """

    windows: Windows
    extras: Extras
    target: Tensor


def read_windows(
    series: SeriesTensors, ends: Tensor, config: ForecastConfig, *, dtype: torch.dtype = torch.float32
) -> tuple[Windows, Extras]:
    """Return what the network sees of one series at origins ``ends`` (rows before each), streams as the batch axis."""
    n = len(ends)
    rows, scale = series.rows[None], series.scale
    if not config.mixed:
        rows, scale = rows.transpose(0, 1), Scale(scale.level.mT, scale.spread.mT)
    windows = trailing_windows(rows, ends, scale, lookback=config.lookback, dtype=dtype)
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
    return windows, Extras(calendar, past, future, static, torch.arange(b))


def read_origins(
    series: SeriesTensors, ends: Tensor, config: ForecastConfig, *, dtype: torch.dtype = torch.float32
) -> Origins:
    """Return windows at origins ``ends`` with the rows that followed, on each window's scale."""
    windows, extras = read_windows(series, ends, config, dtype=dtype)
    first, last = int(ends.min()), int(ends.max()) + config.horizon
    after = series.rows[:, first:last]
    padded = F.pad(on_long_run_scale(after[None], series.scale)[0], (0, last - first - after.shape[1]), value=float("nan"))
    long_run = padded.unfold(-1, config.horizon, 1)[:, ends - first]  # c n f
    long_run = long_run[None] if config.mixed else long_run[:, None]
    target = (long_run.to(windows.level.dtype) - windows.level[..., None]) / windows.spread[..., None]
    return Origins(windows, extras, target)


def origins_at(
    series: list[SeriesTensors],
    starts: list[int],
    ends: Tensor,
    config: ForecastConfig,
    *,
    dtype: torch.dtype = torch.float32,
) -> Origins:
    """Return origins of several series side by side, ``ends`` counted from each one's start; past its end, no target.

    Places of one series that lie near each other are read in one call.
    """
    places: dict[int, list[int]] = {}
    for i, one in enumerate(series):
        places.setdefault(id(one), []).append(i)
    parts: dict[int, Origins] = {}
    for here in places.values():
        one = series[here[0]]
        together = _lie_near([starts[i] for i in here], ends, config.lookback)
        for group in [here] if together else [[i] for i in here]:
            at = torch.cat([ends + starts[i] for i in group])
            origins = read_origins(one, at.clamp_max(one.length), config, dtype=dtype)
            origins.target[:, :, at > one.length] = float("nan")
            for place, i in enumerate(group):
                parts[i] = _tokens(origins, slice(place * len(ends), (place + 1) * len(ends)))
    return join([parts[i] for i in range(len(series))])


def _lie_near(starts: list[int], ends: Tensor, lookback: int) -> bool:
    """Tell whether places of a series lie so near that reading all rows between them is no more work than each alone."""
    rows_of_one = int(ends.max()) - int(ends.min()) + lookback
    return max(starts) - min(starts) <= len(starts) * rows_of_one


def _tokens(origins: Origins, part: slice) -> Origins:
    """Return some tokens of each stream."""
    windows, extras = origins.windows, origins.extras
    calendar, past, future = (x[:, part] for x in (extras.calendar, extras.past, extras.future))
    return Origins(
        Windows(*(x[:, :, part] for x in windows)),
        Extras(calendar, past, future, extras.static, extras.channel),
        origins.target[:, :, part],
    )


def _rows_before(table: Tensor, ends: Tensor, count: int) -> Tensor:
    """Return the last ``count`` rows of ``(t, k)`` before each end, ``(n, count, k)``; NaN before the first row."""
    first = max(int(ends.min()) - count, 0)
    padded = F.pad(table[first : int(ends.max())], (0, 0, count, 0), value=float("nan"))
    return padded.unfold(0, count, 1)[ends - first].transpose(1, 2)


def to_device(parts: Any, device: torch.device) -> Any:
    """Return origins, windows or extras on another device."""
    if isinstance(parts, Tensor):
        return parts.to(device)
    return type(parts)(*(to_device(part, device) for part in parts))


def join(parts: list[Origins]) -> Origins:
    """Return origins of several series as one batch."""
    windows = Windows(*(torch.cat(x) for x in zip(*(part.windows for part in parts), strict=True)))
    extras = Extras(*(torch.cat(x) for x in zip(*(part.extras for part in parts), strict=True)))
    return Origins(windows, extras, torch.cat([part.target for part in parts]))
