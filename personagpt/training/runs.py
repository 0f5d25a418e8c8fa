"""Several runs side by side: the settings that differ, the last figures, and the loss curves in one picture.

It reads what the runs left in save_path/samples, and loads no model.
"""

from __future__ import annotations

import hashlib
import re
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personagpt.errors import UserError
from personagpt.files import expanded, read_json, write_figure
from personagpt.output import columns, say, warn
from personagpt.scoring.definitions import METRICS, shown
from personagpt.training.csv_log import EVAL_COLUMNS, LOSS_COLUMNS, PREFERENCE_COLUMNS, Rows, read_rows
from personagpt.training.plots import runs_figure

LEFT_OUT = {"settings.env_file", "settings.save_path", "data.train.style", "data.valid.style"}
OTHER_VOCABULARY = "The runs' vocabularies differ, so their losses per token do not compare."
NARROWEST, WIDEST = 10, 24  # letters of a column, of a value


@dataclass(frozen=True)
class Run:
    """What a run left behind. `name` is its save_path as the user gave it."""

    name: str
    described: dict[str, Any]  # run.json, each value under its keys joined by dots
    losses: Rows  # loss.csv, at least a row
    evaluations: Rows  # eval.csv
    evaluation: dict[str, Any]  # eval.json; empty where there is none


def compare_runs(names: list[str], picture: Path | None) -> Path:
    """Print what differs between the runs of the save_paths `names`, draw their losses, and return the picture's path.

    Without `picture`, it lies among the samples of the first run. Raises UserError where a folder holds no run.
    """
    runs = [read_run(name) for name in names]
    letters = [string.ascii_uppercase[number % 26] for number in range(len(runs))]
    say("\n".join(f"{letter}: {run.name}" for letter, run in zip(letters, runs, strict=True)))
    changed = settings_that_differ(runs)
    table = [["settings that differ", *letters], *changed]
    say("\n".join(["", *(columns(table, NARROWEST) if changed else ["The settings are the same."])]))
    say("\n".join(["", *columns([["last figures", *letters], *last_figures(runs)], NARROWEST)]))
    if any(row[0] == "train.tokenizer_sha256" for row in changed):
        say(f"\n{OTHER_VOCABULARY}")
    path = picture or default_picture(names)
    write_figure(path, runs_figure([(run.name, run.losses, run.evaluations) for run in runs]))
    return path


def read_run(name: str) -> Run:
    """Return the run of the save_path `name`. Print a line where it has no evaluation, or a row cannot be read.

    Raises UserError where run.json or loss.csv is missing or cannot be read.
    """
    samples = expanded(name) / "samples"
    for path in (samples / "run.json", samples / "loss.csv"):
        if not path.is_file():
            raise UserError(f"{path}: no such file; --runs takes the save_paths of runs that have begun to train")
    described = read_json(samples / "run.json")
    if described is None:
        raise UserError(f"{samples / 'run.json'}: not a whole JSON object; resume the run, which writes it again")
    losses, problem = read_rows(samples / "loss.csv", LOSS_COLUMNS + PREFERENCE_COLUMNS)
    if not losses:
        raise UserError(f"{samples / 'loss.csv'}: {problem or 'no row of figures yet: wait for the first step'}")
    if problem:
        warn(f"{samples / 'loss.csv'}: {problem}; it is left out")
    evaluation = read_json(samples / "eval.json")
    if not evaluation:
        warn(f"{samples / 'eval.json'}: no evaluation yet: the end of an epoch, or evaluate.py, writes it")
    return Run(
        name,
        flattened(described),
        losses,
        read_rows(samples / "eval.csv", EVAL_COLUMNS + PREFERENCE_COLUMNS)[0],
        evaluation or {},
    )


def flattened(content: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Return each value of nested objects under its keys, joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= flattened(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return flat


def settings_that_differ(runs: list[Run]) -> list[list[str]]:
    """Return a row for each setting, text, library version or machine that is not the same in all runs."""
    keys = dict.fromkeys(key for run in runs for key in run.described if key not in LEFT_OUT)
    rows = []
    for key in keys:
        values = [run.described.get(key, "-") for run in runs]
        if any(value != values[0] for value in values):
            rows.append([re.sub("^(settings|data)[.]", "", key), *map(shortened, values)])
    return rows


def shortened(value: Any) -> str:
    """Return a value as the table shows it: the start of a checksum, the end of another long text."""
    text = "not set" if value in ("", None) else str(value)
    text = re.sub("^([0-9a-f]{12})[0-9a-f]{28,52}", r"\1", text)
    return text if len(text) <= WIDEST else "..." + text[3 - WIDEST :]


def last_figures(runs: list[Run]) -> list[list[str]]:
    """Return a row for each column of loss.csv, from its last row, and for each metric of eval.json."""
    rows = [
        ["training loss" if name == "loss" else name, *(run.losses[-1].get(name) or "-" for run in runs)]
        for name in LOSS_COLUMNS + PREFERENCE_COLUMNS
    ]
    for metric in METRICS:
        values = [run.evaluation.get(metric.name) for run in runs]
        rows.append([metric.name, *("-" if value is None else shown(metric, value) for value in values)])
    counts = ("responses", "generated")
    rows += [[name, *(str(run.evaluation.get(name, "-")) for run in runs)] for name in counts]
    return [row for row in rows if any(cell != "-" for cell in row[1:])]


def default_picture(names: list[str]) -> Path:
    """Return where the picture lies. Its name ends in a checksum, because runs of the same name are compared."""
    folders = [expanded(name).absolute() for name in names]
    title = "-".join(folder.name for folder in folders)[:80]
    checksum = hashlib.sha256(repr(list(map(str, folders))).encode()).hexdigest()[:8]
    return folders[0] / "samples" / f"runs-{title}-{checksum}.png"
