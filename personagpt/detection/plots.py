"""Drawings of how well a detector judges: its calibration, and its accuracy by the utterances seen."""

from __future__ import annotations

from matplotlib.figure import Figure

from personagpt.detection.validation import Validated


def draw(views: dict[str, dict[int, Validated]]) -> Figure:
    """Return a drawing of the figures of each view of the text, by the number of utterances seen."""
    figure = Figure(figsize=(10, 4.2), dpi=130, layout="constrained")
    reliability, accuracy = figure.subplots(1, 2)
    reliability.plot([0, 1], [0, 1], "--", color="gray", linewidth=1)
    for view, rows in views.items():
        last = max(rows)
        label = f"{view}: Brier score {rows[last].brier:.3f}"
        reliability.plot(*zip(*rows[last].calibration, strict=True), "o-", linewidth=1.2, label=label)
        shares = [100 * row.accuracy for row in rows.values()]
        accuracy.plot(list(rows), shares, "o-", linewidth=1.2, label=view)
    reliability.set(xlabel="probability of a program", ylabel="share of programs, both kinds as many")
    accuracy.set(xlabel="utterances seen", ylabel="accuracy, %", xticks=list(rows))
    for axes in (reliability, accuracy):
        axes.grid(alpha=0.25)
        axes.legend(fontsize="small")
    return figure
