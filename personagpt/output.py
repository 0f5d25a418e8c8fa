"""Print lines for the user: `say` to stdout, `warn` to stderr.

Of the processes that torchrun starts, only the first prints. This module imports nothing heavy.
"""

from __future__ import annotations

import os
import sys

from personagpt.errors import printable


def is_first_process() -> bool:
    """Return whether this process writes files and prints for all processes of a run."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Print `text`, one line or several, above a progress bar if there is one."""
    if is_first_process():
        _write(text, sys.stdout)


def warn(text: str) -> None:
    """Print one line of `text` to stderr, without characters that could control the terminal."""
    if is_first_process():
        _write(printable(text), sys.stderr)
        sys.stderr.flush()


def _write(text: str, stream: object) -> None:
    from tqdm import tqdm  # here, because utils.py imports this module before it answers signals

    tqdm.write(text, file=stream)
