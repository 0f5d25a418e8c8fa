"""The errors that a script prints as one line, in place of a traceback.

Every module raises its own subclass of `UserError` (`SettingsError`, `TextError`, `DataError`, `CheckpointError`);
only `exit_status` in the scripts' utils.py turns them into lines and exit statuses.
"""

from __future__ import annotations

import re


class UserError(Exception):
    """A mistake the user can mend. The message is one line that says what is wrong and what to do."""


class RunError(Exception):
    """The run cannot go on, through no mistake in the settings. The message is one line."""


def printable(text: str) -> str:
    """`text` from outside, without what could control a terminal or break a line."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


class Stopped(BaseException):
    """The user or the system asked the script to stop; `status` is 130 (SIGINT) or 143 (SIGTERM, SIGHUP).

    As KeyboardInterrupt, no Exception: it may come anywhere, and nothing that mends errors may take it for one.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory gave out. What torch, CUDA's libraries, MPS and the CPU's allocator raise are RuntimeErrors."""
    full = isinstance(error, RuntimeError) and re.search("out of memory|can't allocate memory|ALLOC_FAILED", str(error))
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or bool(full)
