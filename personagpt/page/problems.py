"""Tell a problem to whom it concerns: the operator gets the whole line, a visitor a line without a path."""

from __future__ import annotations

import contextlib

from personagpt.errors import RunError, UserError
from personagpt.output import warn
from personagpt.records.database import TalkDeleted
from personagpt.sequences.format import DataError

NOT_RECORDED = "the talks cannot be recorded now: tell who runs this page"
FAULTS = (UserError, RunError, OSError)  # what the recordings and the queue raise


class QueueFull(UserError):
    """Too many replies wait already."""


VISITORS = {QueueFull: 503, DataError: 400, TalkDeleted: 400}  # errors whose line is for the visitor, with the status


def tell_operator(line: str) -> None:
    """Print the line. The page goes on where the line cannot be written, as on a full disk."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: stderr is closed
        warn(line)


def visitors_problem(error: Exception) -> tuple[str, int]:
    """Return the line for the visitor and HTTP's status. Where the operator must help, print the error's own line."""
    for kind, status in VISITORS.items():
        if isinstance(error, kind):
            return str(error), status
    tell_operator(str(error))
    return NOT_RECORDED, 503
