"""What the recall bench found, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from titans_bench.rows import RecallRow


def recall_table(rows: Sequence[RecallRow], *, kind: str = "all") -> str:
    """Return scores as a markdown table a task: a row a model, mean and spread (max - min) over seeds a length."""
    blocks = []
    for task in dict.fromkeys(row.task for row in rows):
        here = [row for row in rows if (row.task, row.part, row.kind) == (task, "test", kind)]
        lengths = sorted({row.length for row in here})
        lines = [
            "| " + " | ".join([task, *(f"{length:,}" for length in lengths), "parameters", "state", "rate"]) + " |",
            "|" + "---|" * (len(lengths) + 4),
        ]
        for model in dict.fromkeys(row.model for row in here):
            mine = [row for row in here if row.model == model]
            cells = [_cell([row.score for row in mine if row.length == length]) for length in lengths]
            last = max(mine, key=lambda row: row.length)
            cells += [f"{last.parameters:,}", f"{last.state:,}", f"{last.learning_rate:g}"]
            lines.append("| " + " | ".join([model, *cells]) + " |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _cell(scores: Sequence[float]) -> str:
    if not scores:
        return "-"
    return f"{100 * np.mean(scores):.1f}" + (f" ({100 * np.ptp(scores):.1f})" if len(scores) > 1 else "")


def plot_recall(rows: Sequence[RecallRow], *, kind: str = "all") -> Any:
    """Draw scores against length, a panel a task and a line a model, the range over seeds shaded.

    Returns
    -------
    matplotlib.figure.Figure
        Free-standing; ``figure.savefig(...)`` writes it.
    """
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(row.task for row in rows))
    models = list(dict.fromkeys(row.model for row in rows))
    figure = Figure(figsize=(4.8 * len(tasks) + 2.4, 4.2), layout="constrained")
    panels = figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
    for panel, task in zip(panels, tasks, strict=True):
        for place, model in enumerate(models):
            mine = [row for row in rows if (row.task, row.model, row.part, row.kind) == (task, model, "test", kind)]
            lengths = sorted({row.length for row in mine})
            scores = [[100 * row.score for row in mine if row.length == length] for length in lengths]
            ours = model.startswith("titans")
            color, style = f"C{place % 10}", "-" if ours else "--"
            panel.plot(lengths, [np.mean(x) for x in scores], style, color=color, marker="o", markersize=4, label=model)
            panel.fill_between(lengths, [min(x) for x in scores], [max(x) for x in scores], color=color, alpha=0.12, lw=0)
        panel.set_xscale("log", base=2)
        ticks = sorted({row.length for row in rows if row.task == task})
        panel.set_xticks(ticks, [f"{length:,}" for length in ticks])
        panel.set_title({"motif": "motif: variance explained, %"}.get(task, f"{task}: answers right, %"))
        panel.set_xlabel(f"tokens (trained at {ticks[0]:,})" if ticks else "tokens")
        panel.grid(alpha=0.25)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure
