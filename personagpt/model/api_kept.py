"""Keep the replies of a program behind an API in a file until the run that asked for them has ended well.

Where the API fails midway, or the run is stopped, the same command goes on: it asks only for the replies that the file
does not have. Each line is a request's checksum and its reply. The file is removed when the run ends.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from personagpt.output import counted, say


class KeptReplies:
    """The replies in the file `path`. Threads may share them."""

    def __init__(self, path: Path) -> None:
        """Read the replies of an earlier run, if it has left any. A killed run may have left a part of a line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.lock, self.count = path, threading.Lock(), 0
        self.replies: dict[str, list[str]] = defaultdict(list)  # by the request; a run may ask the same twice
        for line in path.read_bytes().splitlines() if path.is_file() else []:
            try:
                entry = json.loads(line)
                self.replies[entry["request"]].append(entry["reply"])
            except (ValueError, TypeError, KeyError):
                continue
            self.count += 1
        if self.count:
            replies = counted(self.count, "kept replies")
            say(f"going on with {replies} of a run that did not end; to ask for them again, delete {path}")

    def reply_to(self, request: dict[str, Any], ask: Callable[[], str]) -> str:
        """Return the kept reply to the request, each once. Where there is none, return that of `ask`, and keep it."""
        key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        with self.lock:
            if self.replies[key]:
                return self.replies[key].pop(0)
        reply = ask()
        with self.lock, open(self.path, "ab") as file:
            # The line before may be cut, so a line begins with a line end.
            file.write(b"\n" + json.dumps({"request": key, "reply": reply}).encode())
            self.count += 1
        return reply

    @property
    def hint(self) -> str:
        """What the line of an error says of the replies."""
        return f"; {self.count} replies are kept: run the same command again to go on" if self.count else ""

    def remove(self) -> None:
        """Remove the file, after what the replies were for is written."""
        self.path.unlink(missing_ok=True)
