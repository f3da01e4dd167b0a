"""Sizes that follow the data: the season, the look-backs, and how many rows make a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from titans_ts.frames.clock import season_of
from titans_ts.frames.panel import Layout
from titans_ts.series.base.ridge import automatic_lookbacks

MOST_ROWS_OF_A_PATCH = 16
WEEK = 7
"""Days of a week, which may be the season of steps shorter than a day."""
SEASONS_SEEN = 4
"""Seasons that typical rows must hold for it to be one."""


class Sizes(NamedTuple):
    """What a forecaster reads at once, in rows."""

    seasons: tuple[int, ...]  # the season, and longer ones that may serve better; 1 where none is known
    lookbacks: tuple[int, ...]  # of the ridges
    centre: Literal["mean", "level"]  # what the look-backs are centred on
    patch_length: int  # of a token

    @property
    def lookback(self) -> int:
        """The longest look-back."""
        return self.lookbacks[-1]


def choose_sizes(
    layout: Layout,
    lengths: Sequence[int],
    *,
    horizon: int,
    lookback: int | str,
    patch_length: int | str,
    season_length: int | str,
) -> Sizes:
    """Return the sizes for series of such lengths; those that are numbers stay."""
    typical = int(np.median(lengths))
    season = season_of(layout.frequency) if isinstance(season_length, str) else int(season_length)
    seasons = [max(season, 1)]
    if isinstance(season_length, str) and _is_of_a_day(layout.frequency) and typical >= SEASONS_SEEN * WEEK * season > 1:
        seasons.append(WEEK * season)
    lookbacks, centre = automatic_lookbacks(seasons[0], horizon, typical)
    if not isinstance(lookback, str):
        lookbacks = tuple(sorted({max(int(lookback) // part, 1) for part in (4, 2, 1)}))
        centre = "mean" if int(lookback) >= 4 * seasons[0] else "level"
    if isinstance(patch_length, str):
        patch_length = 1 << (int(np.clip(lookbacks[-1] // 6, 1, MOST_ROWS_OF_A_PATCH)).bit_length() - 1)
    return Sizes(tuple(seasons), lookbacks, centre, int(patch_length))


def _is_of_a_day(frequency: str | int | None) -> bool:
    """Tell whether rows follow each other within a day."""
    if not isinstance(frequency, str):
        return False
    from pandas.tseries.frequencies import to_offset
    from pandas.tseries.offsets import Day, Tick

    offset = to_offset(frequency)
    return isinstance(offset, Tick) and not isinstance(offset, Day) and offset.nanos < 86_400_000_000_000
