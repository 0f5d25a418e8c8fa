"""Print lines for the user: `say` to stdout, `warn` to stderr.

Of the processes that torchrun starts, only the first prints. This module imports nothing heavy.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import repeat

from personagpt.errors import UserError, printable

# What torchrun sets for each process of a run: its number, their number, and where they meet.
RENDEZVOUS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def is_first_process() -> bool:
    """Return whether this process writes files and prints for all processes of a run."""
    return os.environ.get("RANK", "0") == "0" or any(name not in os.environ for name in RENDEZVOUS)


def check_processes() -> None:
    """Raise UserError where the environment says that this is one of several processes, and not where they meet.

    Such variables stay behind where a job's shell sets them for another program.
    """
    given = {name: os.environ[name] for name in RENDEZVOUS if name in os.environ}
    rank, count = (given.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    are_numbers = all(re.fullmatch("[0-9]{1,9}", value) for value in (rank, count, given.get("MASTER_PORT", "0")))
    if are_numbers and int(rank) < int(count) and (int(count) == 1 or len(given) == len(RENDEZVOUS)):
        return
    shown = ", ".join(f"{name}={printable(value)}" for name, value in given.items())
    missing = [name for name in RENDEZVOUS if name not in given]
    without = f" without {', '.join(missing)}" if missing else " cannot be right"
    raise UserError(
        f"the environment has {shown}{without}: start several processes with torchrun, or a single one with "
        f"`unset {' '.join(given)}`"
    )


def say(text: str) -> None:
    """Print `text`, one line or several, above a progress bar if there is one."""
    if is_first_process():
        _write(text, sys.stdout)


def warn(text: str) -> None:
    """Print one line of `text` to stderr, without characters that could control the terminal."""
    if is_first_process():
        _write(printable(text), sys.stderr)
        sys.stderr.flush()


def counted(count: float, plural: str) -> str:
    """Return `3 messages of media`, and `1 message of media` for 1. The first word in -s is the plural."""
    if count == 1:
        plural = re.sub(r"(\w+?)(ies|s)\b", lambda word: word[1] + "y" * (word[2] == "ies"), plural, count=1)
    return f"{round(count, 2):,.10g} {plural}"


def columns(rows: Iterable[Sequence[object]], narrowest: int = 0) -> list[str]:
    """Return the lines of a table: the first column to the left, the others to the right, `narrowest` or wider."""
    first, *others = ([*map(str, column)] for column in zip(*rows, strict=True))
    cells = [map(str.ljust, first, repeat(max(map(len, first))))]
    cells += [map(str.rjust, column, repeat(max(narrowest, *map(len, column)))) for column in others]
    return ["  ".join(row) for row in zip(*cells, strict=True)]


def markdown(header: Sequence[object], *rows: Sequence[object]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def _write(text: str, stream: object) -> None:
    from tqdm import tqdm  # here, because utils.py imports this module before it answers signals

    tqdm.write(text, file=stream)
