"""loss.csv and eval.csv: their columns, rows that are added while a run goes on, and reading them back.

People open, edit and delete these files, and none of that may stop a run. This module loads no model's library.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from personagpt.files import fsync_path, set_aside_damaged, write_atomically
from personagpt.output import say
from personagpt.scoring.definitions import METRICS

LOSS_COLUMNS = [
    "step", "epoch", "loss", "learn_rate", "grad_norm", "tokens_per_second", "seconds", "peak_gpu_memory_gb",
]  # fmt: skip
EVAL_COLUMNS = [
    "step", "epoch", *(metric.name for metric in METRICS if metric.in_training), "responses", "response_tokens",
]  # fmt: skip
PREFERENCE_COLUMNS = ["preference_loss", "preference_accuracy"]  # of both files, of runs that learn preferences
Rows = list[dict[str, str]]


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
            keep_aside(path, problem)
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
            keep_aside(self.path, "it was changed while the run went on")
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


def keep_aside(path: Path, problem: str) -> None:
    """Rename a file that a run did not leave like this, and print the `problem` with it."""
    say(f"{path}: {problem}; kept as {set_aside_damaged(path).name}")


def _cell(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)
