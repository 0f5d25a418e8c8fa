"""The errors that a script prints as one line in place of a traceback, and how text from outside is shown in a line.

A module may raise a subclass of UserError (`TextError`, `DataError`, `ModelError`, `CheckpointError`). Only
`exit_status` in utils.py turns errors into lines and exit statuses.
"""

from __future__ import annotations

import re

LONGEST_SHOWN = 60  # characters of a value in a message


class UserError(Exception):
    """A mistake that the user can correct. The message is one line that says what is wrong and what to do."""


class RunError(Exception):
    """The run cannot go on, though the settings are right. The message is one line."""


class Stopped(BaseException):
    """The user or the system asked the script to stop. `status` is 130 (SIGINT) or 143 (SIGTERM, SIGHUP).

    Like KeyboardInterrupt it is no Exception, so that code which handles errors does not swallow it.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out. torch, CUDA's libraries, MPS and the CPU's allocator raise RuntimeErrors."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = "out of memory|can't allocate memory|ALLOC_FAILED"
    return isinstance(error, RuntimeError) and re.search(words, str(error)) is not None


def printable(text: str) -> str:
    """Return `text` with a space for each character that could control a terminal or break a line."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def shorten(value: object) -> str:
    """Return `value` as a message shows it: on one line, text in quotes, cut after LONGEST_SHOWN characters."""
    # Of a long list only the start is written, because a file may hold a list of millions.
    text = value if isinstance(value, str) else repr(value[:LONGEST_SHOWN] if isinstance(value, list) else value)
    if len(text) > LONGEST_SHOWN:
        text = text[: LONGEST_SHOWN - 3] + "..."
    return repr(text) if isinstance(value, str) else text
