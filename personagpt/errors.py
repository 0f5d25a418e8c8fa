"""The errors that a script prints as one line, in place of a traceback.

Every module raises its own subclass of `UserError` (`SettingsError`, `TextError`, `DataError`, `CheckpointError`);
only `exit_status` in the scripts' utils.py turns them into lines and exit statuses.
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend. The message is one line that says what is wrong and what to do."""


class RunError(Exception):
    """The run cannot go on, through no mistake in the settings. The message is one line."""


class Stopped(BaseException):
    """The user or the system asked the script to stop; `status` is 130 (SIGINT) or 143 (SIGTERM, SIGHUP).

    As KeyboardInterrupt, no Exception: it may come anywhere, and nothing that mends errors may take it for one.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
