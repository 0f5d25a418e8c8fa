"""What a run writes for people to read: loss.csv, eval.csv, eval.json, responses.txt, run.json, TensorBoard's files.

People open, edit and delete these files, and none of that may stop a run. Rows that the run knows are written again.
A file that somebody changed, or that cannot be read, is kept under another name.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from personagpt.device import hardware
from personagpt.errors import UserError
from personagpt.files import read_json, write_atomically, write_json
from personagpt.settings import Settings
from personagpt.training.csv_log import EVAL_COLUMNS, LOSS_COLUMNS, PREFERENCE_COLUMNS, CsvLog, best_effort, keep_aside
from personagpt.training.optimization import Trainer
from personagpt.training.resume import RunState
from personagpt.training.start import RunPlan


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
        return keep_aside(path, str(error.strerror))
    for index, line in enumerate(lines):
        section = _SECTION.fullmatch(line)
        cut_off = index == len(lines) - 1 and line.startswith(b"===")
        if cut_off or (section and int(section[1]) > last_step):
            return write_atomically(path, b"".join(line + b"\n" for line in lines[:index]))


def keep_evaluation(path: Path, evaluation: dict[str, Any] | None, last_step: int) -> None:
    """Write `evaluation` to eval.json again where the file is of a step after `last_step`, or cannot be read."""
    content = read_json(path)
    if content is None and path.exists():
        keep_aside(path, "it does not hold an evaluation")
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
