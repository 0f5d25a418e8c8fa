"""What a run writes for people to read: loss.csv, eval.csv, eval.json, responses.txt, run.json, TensorBoard's files.

People open, edit and delete these files, and none of that may stop a run. Rows that the run knows are written again.
A file that somebody changed, or that cannot be read, is kept under another name.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from personagpt.device import hardware
from personagpt.errors import UserError
from personagpt.files import fsync_path, read_json, set_aside_damaged, write_atomically, write_json
from personagpt.output import say
from personagpt.scoring.metrics import METRICS
from personagpt.settings import Settings
from personagpt.training.optimization import Trainer
from personagpt.training.resume import RunState
from personagpt.training.start import RunPlan

LOSS_COLUMNS = [
    "step", "epoch", "loss", "learn_rate", "grad_norm", "tokens_per_second", "seconds", "peak_gpu_memory_gb",
]  # fmt: skip
EVAL_COLUMNS = [
    "step", "epoch", *(metric.name for metric in METRICS if metric.in_training), "responses", "response_tokens",
]  # fmt: skip
PREFERENCE_COLUMNS = ["preference_loss", "preference_accuracy"]  # of both files, of runs that learn preferences
Rows = list[dict[str, str]]


class RunLogs:
    """The files in save_path/samples that a run adds to. Opening them drops what was written after `state`."""

    def __init__(self, settings: Settings, state: RunState) -> None:
        self.folder = folder = settings.save_path / "samples"
        last_step = state.step or -1  # a run that starts evaluates step 0 again
        learned = PREFERENCE_COLUMNS * settings.learns_preferences
        self.losses = CsvLog(folder / "loss.csv", LOSS_COLUMNS + learned, last_step)
        self.evaluations = CsvLog(folder / "eval.csv", EVAL_COLUMNS + learned, last_step)
        keep_sections(folder / "responses.txt", last_step)
        keep_evaluation(folder / "eval.json", state.evaluation, state.step)
        self.tensorboard = open_tensorboard(folder, state.step) if settings.tensorboard else None

    def add_losses(self, row: dict[str, Any]) -> None:
        """Add a row to loss.csv."""
        self.losses.append(row)
        self._show("train", row)

    def add_evaluation(self, evaluation: dict[str, Any], replies: str) -> None:
        """Add a row to eval.csv and the sample `replies` to responses.txt; eval.json then holds `evaluation`."""
        self.evaluations.append(evaluation)
        with best_effort(self.folder / "eval.json") as path:
            write_json(path, evaluation)
        with best_effort(self.folder / "responses.txt") as path:
            append_section(path, evaluation["step"], evaluation["epoch"], replies)
        self._show("valid", evaluation, replies)

    def flush(self) -> None:
        """Return when every row is on the disk."""
        self.losses.flush()
        self.evaluations.flush()

    def _show(self, group: str, row: dict[str, Any], replies: str = "") -> None:
        """Give TensorBoard the same figures, where the user asks for it."""
        if self.tensorboard is None:
            return
        with best_effort(self.folder / "tensorboard"):
            for name in row.keys() - {"step", "epoch"}:
                self.tensorboard.add_scalar(f"{group}/{name}", row[name], row["step"])
            if replies:
                self.tensorboard.add_text("sample replies", f"```\n{replies}```", row["step"])
            self.tensorboard.flush()


@contextlib.contextmanager
def best_effort(path: Path) -> Iterator[Path]:
    """Print an error that comes while `path`, a file for people, is written. It never stops a run."""
    try:
        yield path
    except Exception as error:
        say(f"{path}: cannot be written ({str(error) or type(error).__name__}); the run goes on")


class CsvLog:
    """A CSV file with a row per `step`. Each row is in the file as soon as it is appended.

    Opening the file drops the rows after `last_step`. The rows are also in memory: where somebody deletes or changes
    the file while the run goes on, it is written once more.
    """

    def __init__(self, path: Path, columns: list[str], last_step: int) -> None:
        self.path, self.columns = path, columns
        rows, problem = read_rows(path, columns)
        self.rows = [row for row in rows if int(row["step"]) <= last_step]
        if problem:
            _set_aside(path, problem)
        self._write_all()

    def append(self, row: dict[str, Any]) -> None:
        self.rows.append({column: _cell(row[column]) for column in self.columns if column in row})
        with best_effort(self.path):
            self._write(self.rows[-1:])

    def flush(self) -> None:
        """Return when every row is on the disk."""
        with best_effort(self.path):
            self._write([])
            fsync_path(self.path)

    def _write(self, new_rows: Rows) -> None:
        """Add `new_rows` to the file, or write all rows if somebody changed it."""
        if self.path.is_file() and self.path.stat().st_size == self.size:
            with open(self.path, "ab") as file:
                self.size += file.write(self._lines(new_rows))
            return
        if self.path.exists():
            _set_aside(self.path, "it was changed while the run went on")
        self._write_all()

    def _write_all(self) -> None:
        data = (",".join(self.columns) + "\n").encode() + self._lines(self.rows)
        write_atomically(self.path, data)
        self.size = len(data)

    def _lines(self, rows: Rows) -> bytes:
        return "".join(",".join(row.get(column, "") for column in self.columns) + "\n" for row in rows).encode()


def read_rows(path: Path, columns: list[str]) -> tuple[Rows, str | None]:
    """Return the rows of a CSV log that can be read, and what is wrong with the file (None: nothing, or no file)."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        return [], None
    except OSError as error:
        return [], str(error.strerror)
    if not text:
        return [], None
    whole_lines = text[: text.rfind("\n") + 1]  # a kill may have cut off the last line
    reader = csv.DictReader(io.StringIO(whole_lines), restval="missing")
    if "step" not in (reader.fieldnames or []) or not set(reader.fieldnames) <= set(columns):
        return [], "its first line does not name the columns"
    rows, problem = [], None
    try:
        for row in reader:
            if _is_row(row):
                rows.append(row)
            else:
                problem = problem or f"its line {reader.line_num} is no row of figures"
    except csv.Error:
        problem = problem or f"its line {reader.line_num + 1} is no row of figures"
    return rows, problem


def _is_row(row: dict[str | None, Any]) -> bool:
    """Return whether the row has a step and all cells are figures, or empty because a figure was not computed."""
    try:
        for cell in row.values():
            float(cell or "nan")
    except (TypeError, ValueError):  # a list of the cells beyond the columns; text
        return False
    return re.fullmatch("[0-9]{1,15}", row["step"]) is not None


def _set_aside(path: Path, problem: str) -> None:
    say(f"{path}: {problem}; kept as {set_aside_damaged(path).name}")


def _cell(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)


SECTION = "=== step {}, epoch {:.2f} ===\n"
_SECTION = re.compile(rb"=== step ([0-9]{1,15}), epoch [0-9.]+ ===\r?")


def append_section(path: Path, step: int, epoch: float, text: str) -> None:
    """Add an evaluation's section to responses.txt. It is on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(SECTION.format(step, epoch) + text)
        file.flush()
        os.fsync(file.fileno())


def keep_sections(path: Path, last_step: int) -> None:
    """Drop the sections of responses.txt that were written after `last_step`, also a section that was cut off."""
    try:
        lines = path.read_bytes().split(b"\n")  # replies may hold other characters that str.splitlines splits at
    except FileNotFoundError:
        return
    except OSError as error:
        return _set_aside(path, str(error.strerror))
    for index, line in enumerate(lines):
        section = _SECTION.fullmatch(line)
        cut_off = index == len(lines) - 1 and line.startswith(b"===")
        if cut_off or (section and int(section[1]) > last_step):
            return write_atomically(path, b"".join(line + b"\n" for line in lines[:index]))


def keep_evaluation(path: Path, evaluation: dict[str, Any] | None, last_step: int) -> None:
    """Write `evaluation` to eval.json again where the file is of a step after `last_step`, or cannot be read."""
    content = read_json(path)
    if content is None and path.exists():
        _set_aside(path, "it does not hold an evaluation")
    step = 0 if content is None else content.get("step", 0)
    if not isinstance(step, int) or step > last_step or (content is None and evaluation):
        write_json(path, evaluation or {})


def open_tensorboard(folder: Path, last_step: int) -> Any:
    """Return a TensorBoard writer for `folder`/tensorboard that hides what was written after `last_step`."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("tensorboard = True needs TensorBoard: pip install tensorboard, or set it to False") from None
    return SummaryWriter(folder / "tensorboard", purge_step=last_step + 1 if last_step else None)


def describe_run(plan: RunPlan, trainer: Trainer) -> dict[str, Any]:
    """Return the content of run.json."""
    data = {"train": plan.train, "valid": plan.valid}
    data |= {"preferences": plan.preferences.dataset} if plan.preferences else {}
    return {
        "settings": trainer.settings.plain(),
        "precision": trainer.precision,
        "sequences_per_step": plan.steps.per_step,
        "processes": trainer.processes.count,
        "total_steps": plan.total_steps,
        "data": {name: dataset.metadata for name, dataset in data.items()},
        "hardware": hardware(trainer.processes.device),
        "versions": versions(),
        "commit": commit(),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that a run depends on."""
    numbers = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("torch", "transformers", "tokenizers", "safetensors", "numpy", "apex"):
        with contextlib.suppress(PackageNotFoundError):
            numbers[name] = version(name)
    return numbers


def commit() -> str | None:
    """Return the git commit of this code, with "+changes" where the files differ; None outside a repository."""
    folder = str(Path(__file__).resolve().parent)
    describe = ["git", "-C", folder, "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=+changes"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
