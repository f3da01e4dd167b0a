"""What the history bench found, as tables and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from titans_bench.history.bench import WHOLE, HistoryRow, lengths_in_order
from titans_bench.rows import draw_runs, markdown_table

COSTS = {
    "absorb a row, µs": ("seconds_per_step", 1e6),
    "forecast, ms": ("seconds_per_forecast", 1e3),
    "state, KiB": ("state_bytes", 1 / 1024),
    "resident, MiB": ("resident_mib", 1.0),
}


class Comparison(NamedTuple):
    """Whether the whole history was worth more than the look-back, on the same origins.

    The gain is the squared error after the shortest history less that after the whole one, the mean over seeds and blocks.
    """

    gain: float  # above 0 where history helps
    standard_error: float  # over blocks of origins, each the mean of its seeds, which share their test rows
    t: float  # the gain in standard errors over seeds x blocks, as if each were a sample of its own
    samples: int  # seeds x blocks


def compare(rows: Sequence[HistoryRow]) -> Comparison:
    """Compare the shortest history with the whole one, in pairs, for one model, set and lag; NaN where there is no pair."""
    shortest = lengths_in_order(rows)[0]
    seeds = sorted({row.seed for row in rows})
    pairs = []
    for seed in seeds:
        mine = {row.length: row.block_errors[:, 0] for row in rows if row.seed == seed}
        if shortest in mine and WHOLE in mine:
            pairs.append(mine[shortest] - mine[WHOLE])
    if not pairs:
        return Comparison(*3 * (float("nan"),), 0)
    gains = np.array(pairs)[:, np.isfinite(pairs).all(axis=0)]  # seeds blocks
    return Comparison(
        float(gains.mean()), _standard_error(gains.mean(axis=0)), _in_standard_errors(gains.ravel()), gains.size
    )


def _standard_error(sample: np.ndarray) -> float:
    return float(sample.std(ddof=1) / np.sqrt(len(sample))) if len(sample) > 1 else float("nan")


def _in_standard_errors(sample: np.ndarray) -> float:
    error = _standard_error(sample)
    return float(sample.mean() / error) if error > 0 else float("nan")


def history_table(rows: Sequence[HistoryRow]) -> str:
    """Return two markdown tables a set, or a lag of it: errors by length of history, and what a history costs."""
    blocks = []
    for data in dict.fromkeys(row.data for row in rows):
        here = [row for row in rows if row.data == data]
        for lag in dict.fromkeys(row.lag for row in here):
            blocks.append(_error_table([row for row in here if row.lag == lag]))
        blocks.append(_cost_table(here))
    return "\n\n".join(blocks)


def _error_table(rows: Sequence[HistoryRow]) -> str:
    """Return a row a model: MSE/MAE a length, the mean over seeds, and the comparison of the first with the last."""
    lengths = lengths_in_order(rows)
    head = [_title(rows[0]), *map(_words, lengths), f"MSE, {_words(lengths[0])} less all", "t", "shares"]
    body = []
    for model in dict.fromkeys(row.model for row in rows):
        mine = [row for row in rows if row.model == model]
        cells = []
        for length in lengths:
            found = [(row.mse, row.mae) for row in mine if row.length == length]
            cells.append("/".join(f"{x:.4f}" for x in np.mean(found, axis=0)) if found else "-")
        gain = compare(mine)
        cells += [f"{gain.gain:+.4f} ± {gain.standard_error:.4f}", f"{gain.t:+.1f}"]
        shares = ", ".join(f"{np.mean([getattr(row, name) for row in mine]):.2f}" for name in ("share", "recollected"))
        body.append([model, *(cell.replace("+nan", "-").replace("nan", "-") for cell in cells), shares])
    origins = "/".join(f"{n:,}" for n in sorted({row.origins for row in rows}))
    footnote = f"Mean over seeds {_seeds(rows)}; {origins} origins, the same for every length."
    return f"{markdown_table(head, body)}\n\n{footnote}"


def _seeds(rows: Sequence[HistoryRow]) -> str:
    """Return the seeds that ran, model by model where they are not the same: a mean over fewer is another figure."""
    words = {}
    for model in dict.fromkeys(row.model for row in rows):
        words[model] = ", ".join(map(str, sorted({row.seed for row in rows if row.model == model})))
    if len(set(words.values())) == 1:
        return words[rows[0].model]
    return "; ".join(f"{seeds} ({model})" for model, seeds in words.items())


def _cost_table(rows: Sequence[HistoryRow]) -> str:
    """Return a row a model and cost, by length, the mean over seeds."""
    lengths = lengths_in_order(rows)
    read = [f"{round(np.mean([row.rows for row in rows if row.length == length])):,}" for length in lengths]
    body = []
    for model in dict.fromkeys(row.model for row in rows):
        for cost, (name, unit) in COSTS.items():
            cells = []
            for length in lengths:
                found = [unit * getattr(row, name) for row in rows if (row.model, row.length) == (model, length)]
                cells.append(f"{np.mean(found):,.1f}" if found else "-")
            body.append([model, cost, *cells])
    return markdown_table([f"{rows[0].data}, rows read", "", *read], body)


def _title(row: HistoryRow) -> str:
    return f"{row.data}, last seen {row.lag:,} rows ago" if row.lag else row.data


def _words(length: str) -> str:
    return length if length == WHOLE else f"{int(length):,}"


def plot_history(rows: Sequence[HistoryRow]) -> Any:
    """Return a figure of error against length of history, a small panel a set or lag, and below what a set costs.

    Costs are those of the set that most models have run on; of several, of the longest.
    """
    from matplotlib.figure import Figure

    parts = list(dict.fromkeys((row.data, row.lag) for row in rows))
    models = list(dict.fromkeys(row.model for row in rows))
    across = min(len(parts), 4)
    down = -(-len(parts) // across)
    figure = Figure(figsize=(max(3.2 * across, 8), 2.6 * down + 3.4), layout="constrained")
    errors, costs = figure.subfigures(2, 1, squeeze=False, height_ratios=[2.6 * down, 3.0])[:, 0]
    panels = errors.subplots(down, across, squeeze=False).ravel()
    for panel, part in zip(panels, parts, strict=False):
        here = [row for row in rows if (row.data, row.lag) == part]
        _draw(panel, here, models, "mse")
        panel.set_title(_title(here[0]), fontsize="medium")
    for panel in panels[len(parts) :]:
        panel.set_axis_off()
    errors.supylabel("MSE, standardised", fontsize="medium")
    shown = max(rows, key=lambda row: (len({one.model for one in rows if one.data == row.data}), row.rows)).data
    for panel, name, title in zip(
        costs.subplots(1, 2),
        ("seconds_per_forecast", "state_bytes"),
        ("seconds a forecast", "bytes of the state"),
        strict=True,
    ):
        _draw(panel, [row for row in rows if row.data == shown], models, name)
        panel.set_yscale("log")
        panel.set_title(f"{shown}: {title}", fontsize="medium")
    costs.supxlabel("rows read before the forecast", fontsize="medium")
    handles = {label: line for panel in panels for line, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(models), frameon=False)
    return figure


def _draw(panel: Any, rows: Sequence[HistoryRow], models: Sequence[str], name: str) -> None:
    """Draw a line a model against the rows that were read, the range over seeds shaded."""
    for place, model in enumerate(models):
        mine = [row for row in rows if row.model == model]
        if not mine:
            continue
        lengths = lengths_in_order(mine)
        found = [[(row.rows, getattr(row, name)) for row in mine if row.length == length] for length in lengths]
        x = [float(np.mean([rows for rows, _ in each])) for each in found]
        y = [[value for _, value in each] for each in found]
        draw_runs(panel, x, y, color=f"C{place}", label=model)
    panel.set_xscale("log")
    panel.grid(alpha=0.25)
