"""A talk at a terminal: names in colours, and the lines that are typed. Imports no torch."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from personagpt.errors import Stopped, printable

COLOURS = {"human": 32, "model": 36, "partner": 33}  # ANSI's: green, cyan, yellow
TYPED_LINES = 1000  # how many are kept


def name_before(speaker: str) -> str:
    """What stands before what they say: in a colour on a terminal, unless NO_COLOR is set (no-color.org)."""
    name = "you" if speaker == "human" else speaker
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return f"{name}: "
    return f"\x1b[{COLOURS[speaker]}m{name}:\x1b[0m "


def typed_lines(kept: Path) -> Iterator[str]:
    """What the human types, line by line, until the input ends; piped input is printed, as if typed.

    The file `kept` has the lines of a terminal, for its arrow keys.
    """
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    if not sys.stdin.isatty():
        for number, line in enumerate(sys.stdin):
            line = line if number else line.removeprefix("\ufeff")  # a byte-order mark
            print(f"{name_before('human')}{printable(line.rstrip())}")
            yield line
        return
    with kept_lines(kept):
        while True:
            try:
                # Between \x01 and \x02 stands what takes no room: else a long line would be drawn wrongly.
                yield input(re.sub("(\x1b[[][0-9]+m)", "\x01\\1\x02", name_before("human")))
            except EOFError:
                print()
                return
            except Stopped:
                print()  # what follows starts on a line of its own
                raise


@contextlib.contextmanager
def kept_lines(path: Path) -> Iterator[None]:
    """Arrow keys for input(), which bring back the lines of earlier sessions; those of this one are kept in `path`."""
    try:
        import readline
    except ImportError:  # a Python without it
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(TYPED_LINES)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # nobody's talk ends badly for want of arrow keys
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(0o600)
            readline.write_history_file(path)
