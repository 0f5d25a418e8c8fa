"""What a run writes for people to read: loss.csv and eval.csv, responses.txt, the plots, run.json.

People open, edit and delete these files. None of that may stop a run: what is deleted is written again where it is
known, and what cannot be read is kept under another name.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from personagpt.errors import UserError
from personagpt.files import fsync_path, read_json, set_aside_damaged, write_atomically, write_json
from personagpt.scoring.metrics import METRICS

LOSS_COLUMNS = [
    "step", "epoch", "loss", "learn_rate", "grad_norm", "tokens_per_second", "seconds", "peak_gpu_memory_gb",
]  # fmt: skip
EVAL_COLUMNS = [
    "step", "epoch", *(metric.name for metric in METRICS if metric.in_training), "responses", "response_tokens",
]  # fmt: skip

PLOTS = ("loss.png", "learn_rate.png")
Rows = list[dict[str, str]]


@contextlib.contextmanager
def best_effort(path: Path) -> Iterator[None]:
    """Around the writing of a file meant for people: whatever goes wrong is said, and never stops a run."""
    try:
        yield
    except Exception as error:
        tqdm.write(f"{path}: cannot be written ({str(error) or type(error).__name__}); the run goes on")


class CsvLog:
    """A CSV file with a row per `step`, complete on the disk after every row.

    Opening it at `last_step` drops the rows after that step, and a last line that was cut off while it was written.
    Its rows are also in memory: where somebody deletes or changes the file meanwhile, it is written once more.
    """

    def __init__(self, path: Path, columns: list[str], last_step: int) -> None:
        self.path, self.columns = path, columns
        rows, problem = read_rows(path, columns)
        self.rows = [row for row in rows if int(row["step"]) <= last_step]
        if problem is not None:
            set_aside(path, problem)
        self._write_all()

    def append(self, row: dict[str, Any]) -> None:
        self.rows.append({column: _cell(row[column]) for column in self.columns if column in row})
        with best_effort(self.path):
            if not self._is_whole():
                return self._restore()
            with open(self.path, "ab") as file:
                self.size += file.write(self._lines(self.rows[-1:]))

    def flush(self) -> None:
        """Return when every row is on the disk."""
        with best_effort(self.path):
            if not self._is_whole():
                self._restore()
            fsync_path(self.path)

    def _is_whole(self) -> bool:
        return self.path.is_file() and self.path.stat().st_size == self.size

    def _restore(self) -> None:
        if self.path.exists() and not (self.path.is_file() and self._all().startswith(self.path.read_bytes())):
            set_aside(self.path, "it was changed while the run went on")
        self._write_all()

    def _write_all(self) -> None:
        write_atomically(self.path, self._all())
        self.size = len(self._all())

    def _all(self) -> bytes:
        return self._lines([dict(zip(self.columns, self.columns, strict=True)), *self.rows])

    def _lines(self, rows: list[dict[str, str]]) -> bytes:
        return "".join(",".join(row.get(column, "") for column in self.columns) + "\n" for row in rows).encode()


def read_rows(path: Path, columns: list[str]) -> tuple[Rows, str | None]:
    """The complete rows of a CSV log, and what is wrong with it: None where nothing is, or where there is no file."""
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except FileNotFoundError:
        return [], None
    except OSError as error:
        return [], str(error.strerror)
    if not text:
        return [], None
    *lines, _ = text.split("\n")  # what follows the last line end was cut off while it was written
    names = lines[0].removesuffix("\r").split(",") if lines else []
    if "step" not in names or not set(names) <= set(columns):
        return [], "its first line does not name the columns"
    rows, problem = [], None
    for number, line in enumerate(lines[1:], start=2):
        cells = line.removesuffix("\r").split(",")
        row = dict(zip(names, cells, strict=False))
        if len(cells) == len(names) and re.fullmatch("[0-9]{1,15}", row["step"]) and all(map(_is_figure, cells)):
            rows.append(row)
        else:
            problem = problem or f"its line {number} is no row of figures"
    return rows, problem


def _is_figure(cell: str) -> bool:
    """Whether it is a number, or the empty cell of a figure that was not computed."""
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def set_aside(path: Path, problem: str) -> None:
    """Keep a log that cannot be read under another name, and say so."""
    tqdm.write(f"{path}: {problem}; kept as {set_aside_damaged(path).name}")


def _cell(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)


SECTION = "=== step {}, epoch {:.2f} ===\n"
_SECTION = re.compile(rb"=== step ([0-9]{1,15}), epoch [0-9.]+ ===\r?")


def append_section(path: Path, step: int, epoch: float, text: str) -> None:
    """Add an evaluation's section to responses.txt; it is on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(SECTION.format(step, epoch) + text)
        file.flush()
        os.fsync(file.fileno())


def keep_sections(path: Path, last_step: int) -> None:
    """Drop the sections of responses.txt that were written after `last_step`, the last one perhaps cut off."""
    try:
        lines = path.read_bytes().split(b"\n")  # at nothing else: replies may hold what str.splitlines splits at
    except FileNotFoundError:
        return
    except OSError as error:
        return set_aside(path, str(error.strerror))
    for index, line in enumerate(lines):
        found = _SECTION.fullmatch(line)
        cut_off = index == len(lines) - 1 and line.startswith(b"===")
        if cut_off or (found and int(found[1]) > last_step):
            return write_atomically(path, b"".join(line + b"\n" for line in lines[:index]))


def keep_evaluation(path: Path, evaluation: dict[str, Any] | None, last_step: int) -> None:
    """Put `evaluation` back into eval.json where what is there was made after `last_step`, or cannot be read."""
    content = read_json(path)
    if content is None and path.exists():
        set_aside(path, "it does not hold an evaluation")
    step = 0 if content is None else content.get("step", 0)
    if not isinstance(step, int) or step > last_step or (content is None and evaluation):
        write_json(path, evaluation or {})


def draw_stale_plots(folder: Path) -> None:
    """Draw the plots again where a kill came between a run's last save and its plots."""
    with best_effort(folder / "loss.png"):
        drawn = [path.stat().st_mtime if path.exists() else 0.0 for path in (folder / name for name in PLOTS)]
        if any(path.stat().st_mtime > min(drawn) for path in folder.glob("*.csv")):
            losses, evaluations = (
                read_rows(folder / "loss.csv", LOSS_COLUMNS),
                read_rows(folder / "eval.csv", EVAL_COLUMNS),
            )
            draw_plots(folder, losses[0], evaluations[0])


def draw_plots(folder: Path, losses: Rows, evaluations: Rows) -> None:
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

    steps = _column(losses, "step")
    marker = "." if len(steps) < 30 else ""
    pairs = zip(_column(evaluations, "step"), _column(evaluations, "loss"), strict=True)
    points = [(step, loss) for step, loss in pairs if math.isfinite(loss)]
    # An upturn of validation is small beside the fall of a run's first steps: the second panel enlarges it.
    drawn, plots = figure("loss (nats per response token)", panels=1 + (len(points) > 1))
    for axes in plots:
        axes.plot(steps, _column(losses, "loss"), marker=marker, linewidth=1.2, label="training")
        if points:
            _draw_validation(axes, points)
    plots[0].set_yscale("log")
    plots[0].yaxis.set_major_formatter("{x:g}")
    plots[0].yaxis.set_minor_formatter("{x:g}")
    plots[0].legend()
    if len(plots) > 1:
        _enlarge(plots[1], points)
    save(drawn, PLOTS[0])
    drawn, (axes,) = figure("learning rate (per step)")
    axes.plot(steps, _column(losses, "learn_rate"), marker=marker, linewidth=1.2)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    save(drawn, PLOTS[1])


def _column(rows: Rows, name: str) -> list[float]:
    return [float(row.get(name) or "nan") for row in rows]


def _draw_validation(axes: Any, points: list[tuple[float, float]]) -> None:
    """The validation losses, and a star on the one that checkpoint/best is from."""
    axes.plot(*zip(*points, strict=True), "o--", color="tab:red", label="validation")
    step, loss = min(points, key=lambda point: point[1])
    label = f"checkpoint/best, step {step:.0f}"
    axes.plot(step, loss, "*", markersize=15, color="tab:green", zorder=3, label=label)


def _enlarge(axes: Any, points: list[tuple[float, float]]) -> None:
    """Cut `axes` to what lies around the lowest validation loss, on the scale of an upturn after it."""
    steps, values = zip(*points, strict=True)
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
