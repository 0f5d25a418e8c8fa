"""Remove the text of deleted talks from SQLite's log.

Deleted talks are gone from the file at once. While another program reads the file, the log keeps their text, and a
thread tries again and again to remove it.
"""

from __future__ import annotations

import threading
import time

from personagpt.errors import RunError, UserError
from personagpt.page.problems import tell_operator
from personagpt.records.database import Recordings

CLEARING = 60.0  # seconds for which an attempt to clear the log waits
NOTE = "The deleted words stay in the log of the file until no other program reads it."


class LogClearing:
    """Clear the log of the recordings after each deletion. One thread serves all deletions that must wait."""

    def __init__(self, recordings: Recordings) -> None:
        self.recordings = recordings
        self._lock = threading.Lock()
        self._is_wanted = self._has_thread = False

    def after(self, count: int) -> dict:
        """Return the answer to a visitor who has deleted `count` talks, and remove their text now or later."""
        if not count or self._clear(0):
            return {"deleted": count, "note": ""}
        with self._lock:
            self._is_wanted = True
            if not self._has_thread:
                self._has_thread = True
                threading.Thread(target=self._clear_later, name="clear log", daemon=True).start()
        return {"deleted": count, "note": NOTE}

    def _clear_later(self) -> None:
        while True:
            with self._lock:
                self._has_thread = self._is_wanted
                if not self._is_wanted:
                    return
                self._is_wanted = False
            while not self._clear(CLEARING):
                time.sleep(1.0)

    def _clear(self, patience: float) -> bool:
        """Return whether deleted text is gone from SQLite's log. Tell the operator what prevents that."""
        try:
            return self.recordings.clear_log(patience)
        except (UserError, RunError, OSError) as error:
            tell_operator(f"the text of deleted talks is still in the log: {error}")
            time.sleep(patience)
            return False
