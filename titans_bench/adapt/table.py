"""What the bench of adaptation found, as tables and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from titans_bench.adapt.arms import ARMS, CEILING, FROZEN
from titans_bench.adapt.bench import EDGES, AdaptRow
from titans_bench.rows import draw_runs, markdown_table

LAST = EDGES[-2]
"""Rows after which what was learned is judged."""
LEAST = 1.0
"""Gain of the ceiling, in %, below which there is nothing for a memory to earn."""


class Gain(NamedTuple):
    """What an arm takes off the frozen one's error, in %."""

    seeds: NDArray[np.float64]  # of each seed, of the means over streams
    streams: NDArray[np.float64]  # of each stream of every seed

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(self.seeds.mean())


def gain_of(rows: Sequence[AdaptRow], arm: str) -> Gain:
    """Return the gain of an arm, of rows of one panel since one time, by the same streams of the frozen arm."""
    frozen = {row.seed: row.each for row in rows if row.arm == FROZEN}
    mine = {row.seed: row.each for row in rows if row.arm == arm and row.seed in frozen}
    of_seeds = [100 * (1 - np.nanmean(mine[seed]) / np.nanmean(frozen[seed])) for seed in mine]
    with np.errstate(divide="ignore", invalid="ignore"):  # a stream that both foretell to the digit has no gain
        of_streams = np.concatenate([100 * (1 - mine[seed] / frozen[seed]) for seed in mine])
    return Gain(np.array(of_seeds), of_streams[np.isfinite(of_streams)])


def adapt_table(rows: Sequence[AdaptRow]) -> str:
    """Return a table a panel and beginning: a row an arm, its gain by rows read, the share of the ceiling's, and costs."""
    blocks = []
    for panel, since in dict.fromkeys((row.panel, row.since) for row in rows):
        blocks.append(_table([row for row in rows if (row.panel, row.since) == (panel, since)]))
    return "\n\n".join(blocks)


def _table(rows: Sequence[AdaptRow]) -> str:
    firsts = sorted({row.first for row in rows})
    last = [row for row in rows if row.first == firsts[-1]]
    if not any(row.arm == CEILING for row in last):
        return f"{rows[0].panel}, since {rows[0].since}: run the base first, by which others are judged."
    ceiling = gain_of(last, CEILING)
    gains = ceiling.mean >= LEAST
    body, bare = [], {row.seed: row.state_bytes for row in rows if row.arm == FROZEN}
    for arm in ARMS:
        mine = [row for row in rows if row.arm == arm]
        if not mine:
            continue
        own = {row.state_bytes - bare[row.seed] for row in mine}
        costs = [f"{1e6 * np.mean([row.row_seconds for row in mine]):,.0f}", _each({row.state_bytes for row in mine})]
        if arm == FROZEN:
            cells = [f"{np.mean([row.error for row in mine if row.first == first]):.4f}" for first in firsts]
            body.append([f"{FROZEN}: error", *cells, "-", "-", "-", *costs, "-"])
            continue
        each = [gain_of([row for row in rows if row.first == first], arm) for first in firsts]
        cells = [f"{one.mean:.1f}" for one in each]
        share = f"{100 * each[-1].mean / ceiling.mean:.0f}" if gains else "-"
        of_streams = f"{each[-1].streams.mean():.1f} ± {each[-1].streams.std():.1f}"
        body.append([arm, *cells, ", ".join(f"{x:.1f}" for x in each[-1].seeds), of_streams, share, *costs, _each(own)])
    row = rows[0]
    head = [
        f"{row.panel}: rows since {row.since}",
        *(f"{first:,} on" if first == LAST else f"{first:,}" for first in firsts),
        "by seed",
        "by stream",
        "of the ceiling's, %",
        "a row, µs",
        "state, bytes",
        "of its own",
    ]
    streams = "/".join(map(str, sorted({row.streams for row in rows})))
    origins = "/".join(map(str, sorted({row.origins for row in last})))
    seeds = ", ".join(map(str, sorted({row.seed for row in rows})))
    note = (
        f"Error of the frozen base in mean absolute differences of a week, and what the arms take off it in %: means over "
        f"{streams} streams that no fit saw and over seeds {seeds}; the last three by the rows since {firsts[-1]:,}, "
        f"{origins} origins a stream: of each seed, mean and standard deviation of the streams', share of the ceiling's. "
        f"An arm's means are over the seeds that it has; bytes are of each seed where they differ."
    )
    if not gains:
        note += f" The ceiling itself gains less than {LEAST:g} %: no memory can help here."
    return f"{markdown_table(head, body)}\n\n{note}"


def _each(values: set[int]) -> str:
    """Return what seeds have, where they differ."""
    return "/".join(f"{value:,}" for value in sorted(values))


def plot_adapt(rows: Sequence[AdaptRow]) -> Any:
    """Return a figure: a small panel a set and beginning, a line an arm, its gain against the rows read."""
    from matplotlib.figure import Figure

    parts = list(dict.fromkeys((row.panel, row.since) for row in rows))
    across = min(len(parts), 3)
    down = -(-len(parts) // across)
    figure = Figure(figsize=(3.6 * across, 2.8 * down + 0.8), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    arms = [arm for arm in ARMS if arm != FROZEN and any(row.arm == arm for row in rows)]
    for panel, part in zip(panels, parts, strict=False):
        here = [row for row in rows if (row.panel, row.since) == part]
        firsts = sorted({row.first for row in here})
        for place, arm in enumerate(arms):
            if not any(row.arm == arm for row in here):
                continue
            found = [gain_of([row for row in here if row.first == first], arm).seeds.tolist() for first in firsts]
            draw_runs(panel, range(len(firsts)), found, color=f"C{place}", label=arm, style="--" if arm == CEILING else "-")
        panel.axhline(0, color="0.6", lw=0.8)
        panel.set_xticks(range(len(firsts)), [f"{first:,}" for first in firsts])
        panel.set_title(f"{part[0]}, since {part[1]}", fontsize="medium")
    for panel in panels[len(parts) :]:
        panel.set_axis_off()
    figure.supylabel("less error than the frozen base, %", fontsize="medium")
    figure.supxlabel("rows read, from so many on", fontsize="medium")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure
