"""The card of a fitted forecaster: what it read, what it is made of, what each part earned, and what it keeps."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from titans_ts.backbones.state import pack
from titans_ts.learn.acceptance import MemoryGain
from titans_ts.series.base.base import Base
from titans_ts.series.base.ridge import RidgeSpec
from titans_ts.series.learning.earning import Earned
from titans_ts.series.reader import Reader, States
from titans_ts.series.state import SeriesState

PARTS = {
    "base.bank": "smoothed levels",
    "base.preference": "weights of its own",
    "base.memory": "linear memory",
    "base.spread": "intervals",
    "backbone": "neural memory",
}
"""What a state keeps, by how the names of its tensors begin; the rest are the last rows and a few numbers."""
ROWS = "last rows"


@dataclass(frozen=True)
class Card:
    """What a forecaster says of itself: text where it is printed, tables where it is shown as HTML.

    Attributes
    ----------
    sections : dict of str to list of (str, str)
        Lines, a name and what is said of it, under their headings.
    """

    sections: Mapping[str, Sequence[tuple[str, str]]]

    def __str__(self) -> str:
        width = max(len(name) for lines in self.sections.values() for name, _ in lines)
        parts = []
        for title, lines in self.sections.items():
            parts.append("\n".join([title, *(f"  {name:<{width}}  {said}" for name, said in lines)]))
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Return a table, as notebooks show it."""
        rows = []
        for title, lines in self.sections.items():
            rows.append(f'<tr><th colspan="2" style="text-align:left">{escape(title)}</th></tr>')
            rows += [f"<tr><td>{escape(name)}</td><td>{escape(said)}</td></tr>" for name, said in lines]
        return f"<table>{''.join(rows)}</table>"


def make_card(
    reader: Reader,
    states: States,
    last_times: Mapping[Hashable, Any],
    *,
    asked_layers: int,
    gain: MemoryGain | None,
    earned: Sequence[Earned],
    coverage: Mapping[int, float],
    seconds: Mapping[str, float],
) -> Card:
    """Return the card of what was fitted and read."""
    sections = {"read": _read(reader, states, last_times), "sizes, in rows": _sizes(reader)}
    if reader.network.base is not None:
        sections["base"] = _base(reader.network.base)
    sections["memory"] = [_memory(reader, asked_layers, gain)]
    if earned:
        sections[earned_title(earned)] = earned_lines(earned)
    if coverage:
        sections["rows within intervals"] = [(f"of {level} %", f"{100 * x:.1f} %") for level, x in coverage.items()]
    if seconds:
        sections["seconds of the fit"] = [(name, f"{value:.1f}") for name, value in seconds.items()]
    if states:
        sections["bytes that a series keeps"] = [
            (name, f"{value:,}") for name, value in bytes_by_part(next(iter(states.values()))).items()
        ]
    return Card(sections)


def earned_title(earned: Sequence[Earned]) -> str:
    """Return what errors of parts are."""
    return f"error at {earned[0].origins:,} origins, in seasonal differences"


def earned_lines(earned: Sequence[Earned]) -> list[tuple[str, str]]:
    """Return the errors of each part, and what they are of the first's.

    >>> earned_lines([Earned("seasonal naive", 1.25, 40), Earned("base", 1.0, 40)])
    [('seasonal naive', '1.250'), ('base', '1.000  (80.0 %)')]
    """
    first = earned[0].error
    lines = []
    for i, one in enumerate(earned):
        ratio = f"  ({100 * one.error / first:.1f} %)" if i and first > 0 else ""
        lines.append((one.part, f"{one.error:.3f}{ratio}"))
    return lines


def bytes_by_part(state: SeriesState) -> dict[str, int]:
    """Return the bytes that are kept of a series by part; they do not grow with what is read."""
    found = dict.fromkeys([*PARTS.values(), ROWS], 0)
    for name, x in pack(state).items():
        part = next((said for start, said in PARTS.items() if name.startswith(f"{start}.")), ROWS)
        found[part] += x.numel() * x.element_size()
    return {name: count for name, count in found.items() if count}


def _read(reader: Reader, states: States, last_times: Mapping[Hashable, Any]) -> list[tuple[str, str]]:
    counts = [state.n_seen for state in states.values() if state.n_seen]
    rows = (
        "none" if not counts else f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
    )
    layout = reader.layout
    lines = [("series", f"{len(states):,}"), ("rows of each", rows)]
    stamps = [x for x in reader.first_times.values() if x is not None], [x for x in last_times.values() if x is not None]
    if layout.has_times and all(stamps):
        lines.append(("from, to", f"{_stamp(min(stamps[0]))}, {_stamp(max(stamps[1]))}"))
    if layout.frequency is not None:
        lines.append(("frequency", str(layout.frequency)))
    lines.append(("columns forecast", ", ".join(map(str, layout.target_columns))))
    kinds = {"past": layout.past_columns, "future": layout.future_columns, "static": layout.static_columns}
    lines += [(f"{kind} covariates", ", ".join(map(str, names))) for kind, names in kinds.items() if names]
    return lines


def _stamp(time: Any) -> str:
    """Return a time stamp without what says nothing: a time of day that is midnight, parts of a second."""
    if not isinstance(time, np.datetime64):
        return str(time)
    return str(np.datetime_as_string(time, unit="s")).removesuffix("T00:00:00").replace("T", " ")


def _sizes(reader: Reader) -> list[tuple[str, str]]:
    config = reader.network.config
    lines = [("horizon", f"{config.horizon}"), ("look-back", f"{config.lookback}"), ("patch", f"{config.patch_length}")]
    if config.base is not None:
        lines.append(("season", f"{config.base.season}" if config.base.season > 1 else "none"))
    return lines


def _base(base: Base) -> list[tuple[str, str]]:
    names = [*(name.replace("_", " ") for name in base.bank.names), *map(_ridge, base.config.ridges)]
    weights = base.mixing.mean(-1).tolist()
    lines = [(name, f"weight {weight:.2f}") for name, weight in zip(names, weights, strict=True)]
    learns = [("its weights", base.config.prefers), ("its linear memory", base.memory is not None)]
    said = " and ".join(name for name, does in learns if does)
    return [*lines, ("reads on", f"{said} learn while it reads" if said else "by the levels alone")]


def _ridge(spec: RidgeSpec) -> str:
    """Return what a ridge is called."""
    extras = {"on logarithms": spec.logs, "less the season": spec.profile, "a channel's own": spec.own}
    said = ", ".join(name for name, there in extras.items() if there)
    lookbacks = ", ".join(map(str, spec.lookbacks))
    return f"ridge on {lookbacks} rows" + (f", {said}" if said else "")


def _memory(reader: Reader, asked_layers: int, gain: MemoryGain | None) -> tuple[str, str]:
    backbone = reader.network.config.backbone
    if not backbone.layers:
        return "left out", "none was asked for" if not asked_layers else "there are too few rows to train or to judge it"
    if gain is None:
        return backbone.variant, "used whole: there was no validation part"
    error = "" if gain.standard_error is None else f" (standard error {100 * gain.standard_error:.1f} %)"
    if not gain.share:
        return (
            backbone.variant,
            f"unused and not read: its gain of {100 * gain.best_gain:.1f} % on validation{error} may be luck",
        )
    return backbone.variant, f"{100 * gain.share:.0f} % of its correction are used, gain {100 * gain.gain:.1f} %{error}"
