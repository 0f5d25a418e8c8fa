"""What a run writes for people to read: loss.csv and eval.csv, the plots, run.json."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from personagpt.errors import UserError
from personagpt.files import write_atomically
from personagpt.scoring.metrics import METRICS

LOSS_COLUMNS = [
    "step", "epoch", "loss", "learn_rate", "grad_norm", "tokens_per_second", "seconds", "peak_gpu_memory_gb",
]  # fmt: skip
EVAL_COLUMNS = [
    "step", "epoch", *(metric.name for metric in METRICS if metric.in_training), "responses", "response_tokens",
]  # fmt: skip


class CsvLog:
    """A CSV file with a row per `step`, complete on the disk after every row.

    Opening it at `last_step` drops the rows after that step, and a last line that was cut off while it was written.
    """

    def __init__(self, path: Path, columns: list[str], last_step: int) -> None:
        self.path, self.columns = path, columns
        self.rows = [row for row in read_rows(path) if int(row["step"]) <= last_step]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(path, text.getvalue())

    def append(self, row: dict[str, Any]) -> None:
        row = {column: _cell(row[column]) for column in self.columns if column in row}
        self.rows.append(row)
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)

    def flush(self) -> None:
        """Return when every row is on the disk."""
        with open(self.path, "rb") as file:
            os.fsync(file.fileno())

    def column(self, name: str) -> list[float]:
        return [float(row[name]) for row in self.rows]


def read_rows(path: Path) -> list[dict[str, str]]:
    """The complete rows of a CSV log; none where there is no file."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    rows = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    return [row for row in rows if (row.get("step") or "").isdigit()]


def _cell(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def keep_sections(path: Path, last_step: int) -> None:
    """Drop the sections of responses.txt that were written after `last_step`."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    for index, line in enumerate(lines):
        if line.startswith(SECTION) and int(line.removeprefix(SECTION).split(",")[0]) > last_step:
            lines = lines[:index]
            break
    write_atomically(path, "".join(lines))


SECTION = "=== step "


def draw_plots(folder: Path, losses: CsvLog, evaluations: CsvLog) -> None:
    """loss.png, with validation and the best checkpoint on it, and learn_rate.png."""
    from matplotlib.figure import Figure

    def figure(label: str, panels: int = 1) -> tuple[Figure, list[Any]]:
        drawn = Figure(figsize=(7 + 3 * (panels - 1), 4.2), dpi=130, layout="constrained")
        plots = list(drawn.subplots(1, panels, squeeze=False)[0])
        for axes in plots:
            axes.set_xlabel("optimizer step")
            axes.grid(alpha=0.25)
        plots[0].set_ylabel(label)
        return drawn, plots

    def save(drawn: Figure, name: str) -> None:
        image = io.BytesIO()
        drawn.savefig(image, format="png")
        write_atomically(folder / name, image.getvalue())

    steps = losses.column("step")
    marker = "." if len(steps) < 30 else ""
    # An upturn of validation is small beside the fall of a run's first steps: the second panel enlarges it.
    drawn, plots = figure("loss (nats per response token)", panels=1 + (len(evaluations.rows) > 1))
    for axes in plots:
        axes.plot(steps, losses.column("loss"), marker=marker, linewidth=1.2, label="training")
        _draw_validation(axes, evaluations)
    plots[0].set_yscale("log")
    plots[0].legend()
    if len(plots) > 1:
        _enlarge(plots[1], evaluations)
    for axis in (axes.yaxis for axes in plots):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}" if axis is plots[0].yaxis else "")
    save(drawn, "loss.png")
    drawn, (axes,) = figure("learning rate (per step)")
    axes.plot(steps, losses.column("learn_rate"), marker=marker, linewidth=1.2)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    save(drawn, "learn_rate.png")


def _draw_validation(axes: Any, evaluations: CsvLog) -> None:
    """The validation points, and a star on the one that checkpoint/best is from."""
    if not evaluations.rows:
        return
    steps, values = evaluations.column("step"), evaluations.column("loss")
    axes.plot(steps, values, "o--", color="tab:red", label="validation")
    best = values.index(min(values))
    label = f"checkpoint/best, step {steps[best]:.0f}"
    axes.plot(steps[best], values[best], "*", markersize=15, color="tab:green", zorder=3, label=label)


def _enlarge(axes: Any, evaluations: CsvLog) -> None:
    """Cut `axes` to what lies around the lowest validation loss, on the scale of an upturn after it."""
    steps, values = evaluations.column("step"), evaluations.column("loss")
    lowest = min(values)
    upturn = max(values[values.index(lowest) :]) - lowest
    reach = max(4 * upturn or max(values) - lowest, 0.02 * lowest)
    axes.set_ylim(lowest - 0.5 * reach, lowest + 1.1 * reach)
    axes.set_xlim(steps[0] - 0.05 * (steps[-1] - steps[0]), steps[-1] + 0.05 * (steps[-1] - steps[0]))
    axes.set_title("validation around its lowest, enlarged", fontsize="medium")


def open_tensorboard(folder: Path, last_step: int) -> Any:
    """A TensorBoard writer for `folder`/tensorboard that hides what was written after `last_step`."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("tensorboard = True needs TensorBoard: pip install tensorboard, or set it to False") from None
    return SummaryWriter(folder / "tensorboard", purge_step=last_step + 1 if last_step else None)


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries a run depends on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("torch", "transformers", "tokenizers", "safetensors", "numpy", "apex"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def commit() -> str | None:
    """This code's git commit, with "+changes" where the working tree differs; None outside a repository."""
    folder = Path(__file__).resolve().parent
    try:
        run = ["git", "-C", str(folder)]
        revision = subprocess.run(
            [*run, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changes = subprocess.run([*run, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return revision + ("+changes" if changes.stdout.strip() else "")
