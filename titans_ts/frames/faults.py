"""Series that cannot be used: every check notes those it finds, and one place refuses them or leaves them out."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Hashable
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from titans_ts.frames.panel import Panel, Table

LISTED = 5
"""Series that a message names, with the reason of each; it counts the others."""
_BETWEEN = ("titans_ts", "sklearn")  # fits are called through scikit-learn's callbacks, searches and pipelines
REMEDY = 'on_error="skip" leaves such series out'


class SkippedSeries(UserWarning):
    """Series were left out that cannot be used; ``skipped`` holds the reason of each, by id."""

    def __init__(self, message: str, skipped: dict[Hashable, str]) -> None:
        super().__init__(message)
        self.skipped = skipped


class Faults:
    """What is wrong with single series of a container, by id: the first fault of each.

    With ``skip`` such series are left out, so that the others give the numbers that they give without them; otherwise they
    are refused, all of them in one error. A series that stands alone is always refused.
    """

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self.reasons: dict[Hashable, str] = {}
        self.nothing_left = False  # whether it was refused because no series can be used

    def note(self, name: Hashable, reason: str) -> None:
        """Note what is wrong with a series, unless something is known already."""
        self.reasons.setdefault(name, reason)

    def note_rows(self, table: Table, wrong: np.ndarray, reason: Callable[[int], str]) -> None:
        """Note the first row of each series that is among ``wrong``, row numbers of the table in ascending order."""
        series, first = np.unique(table.series_of(wrong), return_index=True)
        for i, at in zip(series.tolist(), first.tolist(), strict=True):
            if table.ids[i] not in self.reasons:
                self.note(table.ids[i], reason(int(wrong[at])))

    def sift(self, table: Table) -> Table:
        """Return the table without the series that were noted; itself if it holds none of them."""
        if not self.reasons:
            return table
        kept = np.array([name not in self.reasons for name in table.ids])
        if kept.all():
            return table
        if not kept.any():
            raise self._refusal(others=False)
        return table.only(kept)

    def sift_panel(self, panel: Panel) -> Panel:
        """Return a panel without the series that were noted; refuse these, unless they may be left out."""
        kept = tuple(one for one in panel if one.id not in self.reasons)
        self.settle(others=bool(kept))
        return panel if len(kept) == len(panel) else replace(panel, series=kept)

    @property
    def may_skip(self) -> bool:
        """Whether the series that were noted may be left out."""
        return self.skip and None not in self.reasons  # a series without an id stands alone

    def settle(self, *, others: bool = True) -> None:
        """Refuse what was noted, unless it may be left out and others are there."""
        if self.reasons and not (self.may_skip and others):
            raise self._refusal(others=others)

    def tell(self) -> None:
        """Warn once of the series that were left out, at the line that called the library."""
        if self.reasons:
            said = f"left out {len(self.reasons)} series that cannot be used:{self._listed()}"
            warnings.warn(SkippedSeries(said, dict(self.reasons)), stacklevel=_outside())

    def message(self, *, others: bool) -> str:
        """Return the words of a refusal; ``others`` says whether there are series without a fault."""
        if len(self.reasons) > 1:
            all_of = "" if others else "; no other is left"
            said = f"{len(self.reasons)} series cannot be used{all_of}:{self._listed()}"
            return f"{said}\n{REMEDY}" if others else said
        (reason,) = self.reasons.values()
        return f"{reason} ({REMEDY})" if others else reason

    def _refusal(self, *, others: bool) -> ValueError:
        self.nothing_left = not others
        return ValueError(self.message(others=others))

    def _listed(self) -> str:
        lines = [f"\n  {name!r}: {reason}" for name, reason in islice(self.reasons.items(), LISTED)]
        more = len(self.reasons) - LISTED
        return "".join(lines) + (f"\n  and {more} more" if more > 0 else "")


def _outside() -> int:
    """Return how many calls up the user's code is, as `warnings.warn` counts for whoever asks."""
    frame: Any = sys._getframe(1)
    depth = 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        frame, depth = frame.f_back, depth + 1
    return depth
