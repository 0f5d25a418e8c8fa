"""Print lines for the user: `say` to stdout, `warn` to stderr.

Of the processes that torchrun starts, only the first prints.
"""

from __future__ import annotations

import os
import sys

from tqdm import tqdm

from personagpt.errors import printable


def is_first_process() -> bool:
    """Return whether this process speaks for all processes of a run."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Print `text`, one line or several, above a progress bar if there is one."""
    if is_first_process():
        tqdm.write(text)


def warn(text: str) -> None:
    """Print one line of `text` to stderr, without characters that could control the terminal."""
    if is_first_process():
        tqdm.write(printable(text), file=sys.stderr)
        sys.stderr.flush()
