"""A talk at a terminal: the speakers' names in colours, and the lines that a person types. Imports no torch."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from personagpt.errors import Stopped, printable
from personagpt.output import say

COLOURS = {"human": 32, "model": 36, "partner": 33}  # ANSI's: green, cyan, yellow
KEPT_LINES = 1000  # lines of earlier sessions that the arrow keys bring back


def name_before(speaker: str) -> str:
    """Return a speaker's name as it stands before an utterance: in a colour on a terminal, unless NO_COLOR is set."""
    name = "you" if speaker == "human" else speaker
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):  # no-color.org
        return f"{name}: "
    return f"\x1b[{COLOURS[speaker]}m{name}:\x1b[0m "


def typed_lines(kept: Path) -> Iterator[str]:
    """Yield the lines that a person types, until the input ends. Lines from a pipe are printed, as if typed.

    The file `kept` keeps the lines typed on a terminal for the arrow keys of later sessions.
    """
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    if not sys.stdin.isatty():
        for number, line in enumerate(sys.stdin):
            line = line if number else line.removeprefix("\ufeff")  # a byte-order mark
            say(f"{name_before('human')}{printable(line.rstrip())}")
            yield line
        return
    with kept_lines(kept):
        while True:
            try:
                # readline draws a long line wrongly unless \x01 and \x02 enclose characters that take no room.
                yield input(re.sub("(\x1b[[][0-9]+m)", "\x01\\1\x02", name_before("human")))
            except EOFError:
                print()
                return
            except Stopped:
                print()  # the next message starts on a line of its own
                raise


@contextlib.contextmanager
def kept_lines(path: Path) -> Iterator[None]:
    """Let input() offer the lines in `path` under the arrow keys; at the end, `path` has this session's lines, too."""
    try:
        import readline
    except ImportError:  # a Python without readline
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(KEPT_LINES)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # without the file the talk still ends well
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(0o600)
            readline.write_history_file(path)
