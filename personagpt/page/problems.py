"""Tell a problem to whom it concerns: the operator gets the whole line, a visitor a line without a path."""

from __future__ import annotations

import contextlib

from personagpt.errors import RunError, UserError
from personagpt.output import warn
from personagpt.records.database import TalkChanged, TalkDeleted
from personagpt.sequences.format import DataError

UNUSABLE = {  # the line for a visitor where the operator must help, by HTTP's method
    "GET": "the recorded talks cannot be read now: tell who runs this page",
    "POST": "the talks cannot be recorded now: tell who runs this page",
    "DELETE": "nothing was deleted, because the file of talks cannot be changed now: tell who runs this page",
}
UNUSABLE["HEAD"] = UNUSABLE["GET"]
FAULTS = (UserError, RunError, OSError)  # what the recordings and the queue raise


class QueueFull(UserError):
    """Too many replies wait already."""


class OtherModel(UserError):
    """The talk is another model's. A recorded talk names one model, so its replies must all be that model's."""

    def __init__(self) -> None:
        super().__init__("another model answers on this page now: begin another talk")


# The errors whose line is for the visitor, with HTTP's status.
VISITORS = {QueueFull: 503, OtherModel: 400, DataError: 400, TalkDeleted: 400, TalkChanged: 400}


def tell_operator(line: str) -> None:
    """Print the line. The page goes on where the line cannot be written, as on a full disk."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: stderr is closed
        warn(line)


def visitors_problem(error: Exception, method: str) -> tuple[str, int]:
    """Return the line for the visitor and HTTP's status, where HTTP's `method` was asked for.

    Where the operator must help, print the error's own line.
    """
    for kind, status in VISITORS.items():
        if isinstance(error, kind):
            return str(error), status
    tell_operator(str(error))
    return UNUSABLE[method], 503
