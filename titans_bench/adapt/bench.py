"""The deciding experiment: what memories earn on new streams and after changes of regime, beside what there is to earn.

Four kinds of arms stand on one base, which was fitted on other streams: it reads on, but keeps to what the panel knows; a
ridge is refitted every day on all that the stream has shown, the ceiling; the base's own memories, its preference and its
linear memory, learn; a neural memory learns, alone on the base and on top of the others. All forecast the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from titans_bench.adapt.arms import ARMS, HORIZON, LOOKBACK, MODELS, arms_of
from titans_bench.adapt.panels import PANELS, Amounts, Panel, make_panel
from titans_bench.rows import check_names, fill_in, read_rows, rows_of, write_rows

STEP = 24
"""Rows between two forecasts."""
EDGES = (0, 168, 500, 1_000, 2_000, 100_000)
"""Rows read since the beginning or since a change, between which errors are averaged."""
BEGINNING, CHANGE = "the beginning", "a change"
WEEK = 168


@dataclass(frozen=True)
class Setting:
    """How much of it is done."""

    name: str
    panels: tuple[str, ...]
    amounts: Amounts
    max_steps: int  # training steps of the neural memory


SETTINGS = {
    "standard": Setting("standard", tuple(PANELS), Amounts(16, 8_000, 4_000), 100),
    "quick": Setting("quick", ("generated",), Amounts(4, 1_600, 800), 4),
}


def with_steps(setting: Setting, max_steps: int) -> Setting:
    """Return a setting of another name with so many training steps."""
    return replace(setting, name=f"{setting.name}, {max_steps} steps", max_steps=max_steps)


class AdaptRun(NamedTuple):
    """One fit on one panel, split or drawn by a seed, which is that of the fit too."""

    panel: str
    model: str
    seed: int


@dataclass(frozen=True)
class AdaptRow:
    """What one arm made of the rows some time after a stream began, or changed."""

    setting: str
    panel: str
    model: str  # what was fitted
    seed: int
    arm: str  # which parts of it learn
    since: str  # "the beginning" or "a change"
    first: int  # rows read since then, from so many on
    stop: int  # and before so many
    streams: int  # unseen ones
    origins: int
    error: float  # mean over streams of their mean absolute errors, in mean absolute differences of a week
    spread: float  # standard deviation over streams
    row_seconds: float  # of the processor, for a row of a stream, with streams side by side and a forecast every day
    state_bytes: int  # of a stream, whole
    errors: str  # of each stream, a space between two

    @property
    def each(self) -> NDArray[np.float64]:
        """Errors of the streams; NaN where a stream has none."""
        return np.array(self.errors.split(), dtype=np.float64)


def bench_adapt(
    out: Path,
    *,
    setting: Setting = SETTINGS["standard"],
    panels: Sequence[str] | None = None,
    models: Sequence[str] = tuple(MODELS),
    seeds: Sequence[int] = (0, 1, 2),
    device: str = "auto",
    jobs: int = 1,
    data_home: str | Path | None = None,
    verbose: int | None = None,
) -> list[AdaptRow]:
    """Run what is missing in a CSV file, and return all rows asked for."""
    panels = setting.panels if panels is None else panels
    check_names(panels=(panels, PANELS), models=(models, MODELS))
    rows = read_rows(out, AdaptRow)
    runs = [AdaptRun(*each) for each in product(panels, models, seeds)]
    missing = [run for run in runs if not rows_of(rows, setting.name, run)]
    work = partial(_run, setting=setting, device=device, data_home=data_home)
    rows = fill_in(out, rows, missing, work, kind=AdaptRow, setting=setting.name, jobs=jobs, verbose=verbose)
    place = {name: i for names in (PANELS, ARMS, (BEGINNING, CHANGE)) for i, name in enumerate(names)}
    rows = sorted(
        rows, key=lambda row: (row.setting, place[row.panel], row.seed, place[row.arm], place[row.since], row.first)
    )
    write_rows(out, rows, AdaptRow)
    return [row for row in rows if row.setting == setting.name and AdaptRun(row.panel, row.model, row.seed) in runs]


def _run(
    run: AdaptRun, *, setting: Setting, device: str, data_home: str | Path | None, verbose: int | None
) -> list[AdaptRow]:
    """Return the rows of all arms of one fit."""
    panel = make_panel(run.panel, run.seed, setting.amounts, data_home=data_home)
    values = np.stack([one.values[:, 0] for one in panel.read])
    origins = np.arange(LOOKBACK, values.shape[1] - HORIZON + 1, STEP)
    truth = np.lib.stride_tricks.sliding_window_view(values, HORIZON, axis=1)[:, origins]
    unit = np.nanmean(np.abs(values[:, WEEK:] - values[:, :-WEEK]), axis=1)
    made = []
    options: dict[str, Any] = {"seed": run.seed, "max_steps": setting.max_steps, "device": device, "verbose": verbose}
    for arm, read in arms_of(run.model, panel, origins.tolist(), **options).items():
        missed = np.abs(read.point.numpy() - truth) / unit[:, None, None]
        for since, first, stop, some in spans(panel, origins):
            each = np.array([np.nanmean(one) if np.isfinite(one).any() else np.nan for one in missed[:, some]])
            error, spread, seconds = (float(f"{x:.6g}") for x in (np.nanmean(each), np.nanstd(each), read.row_seconds))
            place = (setting.name, *run, arm, since, first, stop, len(each), len(some))
            text = " ".join(f"{x:.6g}" for x in each)
            made.append(AdaptRow(*place, error, spread, seconds, read.state_bytes, text))
    return made


def spans(panel: Panel, origins: NDArray[np.int64]) -> list[tuple[str, int, int, NDArray[np.int64]]]:
    """Return what has origins: since when, from how many rows on, before how many, and the places of the origins.

    Forecasts that reach over a change belong to nothing.
    """
    began = panel.began[origins]
    whole = panel.began[origins + HORIZON - 1] == began
    found = []
    for since, mine in ((BEGINNING, began == 0), (CHANGE, began > 0)):
        for first, stop in pairwise(EDGES):
            read = origins - began
            some = np.flatnonzero(mine & whole & (read >= first) & (read < stop))
            if len(some):
                found.append((since, first, stop, some))
    return found
