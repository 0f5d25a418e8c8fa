"""loss.png and learn_rate.png, and both as PDF, for papers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personagpt.files import write_figure
from personagpt.output import is_first_process
from personagpt.training.csv_log import EVAL_COLUMNS, LOSS_COLUMNS, PREFERENCE_COLUMNS, Rows, best_effort, read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOTS = ("loss.png", "learn_rate.png")


def draw_stale_plots(folder: Path) -> None:
    """Draw the plots again where a kill came between a run's last save and its plots."""
    with best_effort(folder / PLOTS[0]):
        drawn = [path.stat().st_mtime if path.exists() else 0.0 for path in map(folder.joinpath, PLOTS)]
        if is_first_process() and any(path.stat().st_mtime > min(drawn) for path in folder.glob("*.csv")):
            losses, _ = read_rows(folder / "loss.csv", LOSS_COLUMNS + PREFERENCE_COLUMNS)
            evaluations, _ = read_rows(folder / "eval.csv", EVAL_COLUMNS + PREFERENCE_COLUMNS)
            draw_plots(folder, losses, evaluations)


def draw_plots(folder: Path, losses: Rows, evaluations: Rows) -> None:
    """Draw both figures from the rows of loss.csv and eval.csv."""
    for name, figure in zip(PLOTS, (loss_figure(losses, evaluations), learn_rate_figure(losses)), strict=True):
        write_figure(folder / name, figure)


def loss_figure(losses: Rows, evaluations: Rows) -> Figure:
    """Return the losses of training and validation, with a star on the loss of checkpoint/best.

    From the second evaluation on, another panel enlarges the validation loss, because an upturn is small beside the
    fall of a run's first steps. A last panel has the preferences, where the run learns some.
    """
    pairs = zip(_column(evaluations, "step"), _column(evaluations, "loss"), strict=True)
    points = [(step, loss) for step, loss in pairs if math.isfinite(loss)]
    learns = any(math.isfinite(value) for rows in (losses, evaluations) for value in _column(rows, "preference_loss"))
    figure, panels = _figure("loss (nats per response token)", panels=1 + (len(points) > 1) + learns)
    if learns:
        _plot_preferences(panels.pop(), losses, evaluations)
    for axes in panels:
        _plot(axes, losses, "loss", label="training")
        if points:
            _plot_validation(axes, points)
    _use_log_scale(panels[0])
    # Beside the panels, because in any corner there may be a point of a run that started well.
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    if len(panels) > 1:
        _enlarge(panels[1], points)
    return figure


def learn_rate_figure(losses: Rows) -> Figure:
    """Return the learning rate of each row's step."""
    figure, (axes,) = _figure("learning rate (per step)", panels=1)
    _plot(axes, losses, "learn_rate")
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    return figure


def runs_figure(runs: list[tuple[str, Rows, Rows]]) -> Figure:
    """Return the losses of several runs by epoch, from the name, the training and the validation losses of each run.

    Validation losses are points in the colour of their run. Epochs compare runs with different numbers of sequences in
    a step.
    """
    figure, (axes,) = _figure("loss (nats per response token)", panels=1)
    axes.set_xlabel("epoch")
    for name, losses, evaluations in runs:
        (line,) = axes.plot(_column(losses, "epoch"), _column(losses, "loss"), linewidth=1.2, label=name)
        axes.plot(_column(evaluations, "epoch"), _column(evaluations, "loss"), "o--", color=line.get_color())
    _use_log_scale(axes)
    labels = axes.get_legend_handles_labels()
    figure.legend(*labels, loc="outside upper center", title="lines: training, points: validation")
    return figure


def _figure(label: str, panels: int) -> tuple[Figure, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7 + 3 * (panels - 1), 4.2), dpi=130, layout="constrained")
    all_axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for axes in all_axes:
        axes.set_xlabel("optimizer step")
        axes.grid(alpha=0.25)
    all_axes[0].set_ylabel(label)
    return figure, all_axes


def _plot(axes: Any, rows: Rows, name: str, label: str | None = None) -> None:
    marker = "." if len(rows) < 30 else ""
    axes.plot(_column(rows, "step"), _column(rows, name), marker=marker, linewidth=1.2, label=label)


def _column(rows: Rows, name: str) -> list[float]:
    return [float(row.get(name) or "nan") for row in rows]


def _use_log_scale(axes: Any) -> None:
    """Make the y axis logarithmic, with a few labels that do not touch each other."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 10 * low else MaxNLocator(6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")


def _plot_validation(axes: Any, points: list[tuple[float, float]]) -> None:
    axes.plot(*zip(*points, strict=True), "o--", color="tab:red", label="validation")
    step, loss = min(points, key=lambda point: point[1])
    label = f"checkpoint/best, step {step:.0f}"
    # Behind the point of this evaluation, which a run's first evaluation shows alone.
    axes.plot(step, loss, "*", markersize=18, color="tab:green", zorder=1.9, label=label)


def _plot_preferences(axes: Any, losses: Rows, evaluations: Rows) -> None:
    for rows, style, kind in ((losses, ".-", "training"), (evaluations, "o--", "held back")):
        for name, color in (("loss", "tab:blue"), ("accuracy", "tab:orange")):
            values = _column(rows, f"preference_{name}")
            if any(map(math.isfinite, values)):
                axes.plot(_column(rows, "step"), values, style, color=color, linewidth=1.2, label=f"{name}, {kind}")
    axes.set_ylim(bottom=0)
    axes.set_title("preferences: loss (nats), accuracy", fontsize="medium")
    axes.legend(fontsize="small")


def _enlarge(axes: Any, points: list[tuple[float, float]]) -> None:
    """Cut `axes` to the surroundings of the lowest validation loss, on the scale of the upturn after it."""
    steps, values = zip(*points, strict=True)
    lowest = min(values)
    upturn = max(values[values.index(lowest) :]) - lowest
    reach = max(4 * upturn or max(values) - lowest, 0.02 * lowest)
    axes.set_ylim(lowest - 0.5 * reach, lowest + 1.1 * reach)
    axes.set_xlim(steps[0] - 0.05 * (steps[-1] - steps[0]), steps[-1] + 0.05 * (steps[-1] - steps[0]))
    axes.set_title("validation around its lowest, enlarged", fontsize="medium")
