"""A talk at a terminal: the speakers' names in colours, and the lines that a person types. Imports no torch."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
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


def typed_lines(kept: Path, completions: Callable[[str], list[str]]) -> Iterator[str]:
    """Yield the lines that a person types, until the input ends. Lines from a pipe are printed, as if typed.

    On a terminal, the Tab key offers the `completions` of the line so far. The file `kept` keeps the lines for the
    arrow keys of later sessions.
    """
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    if not sys.stdin.isatty():
        for number, line in enumerate(sys.stdin):
            line = line if number else line.removeprefix("\ufeff")  # a byte-order mark
            say(f"{name_before('human')}{printable(line.rstrip())}")
            yield line
        return
    with edited_lines(kept, completions):
        while True:
            try:
                # readline draws a long line wrongly unless \x01 and \x02 enclose characters that take no room.
                yield input(re.sub(r"(\x1b\[[0-9]+m)", "\x01\\1\x02", name_before("human")))
            except EOFError:
                print()
                return
            except Stopped:
                print()  # the next message starts on a line of its own
                raise


@contextlib.contextmanager
def edited_lines(kept: Path, completions: Callable[[str], list[str]]) -> Iterator[None]:
    """While open, input() has the arrow keys and the Tab key. At the end, `kept` has this session's lines, too."""
    try:
        import readline
    except ImportError:  # a Python without readline
        yield
        return

    def complete(line: str, index: int) -> str | None:
        return next(iter(completions(line)[index:]), None)

    readline.set_completer(complete)
    readline.set_completer_delims("")  # the completer sees the whole line, because goals have spaces
    is_editline = "libedit" in (readline.__doc__ or "")  # macOS
    readline.parse_and_bind("bind ^I rl_complete" if is_editline else "tab: complete")
    with contextlib.suppress(OSError):  # without the file the talk goes on
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept.touch(0o600)
        readline.read_history_file(kept)
    readline.set_history_length(KEPT_LINES)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if kept.exists():  # else somebody deleted a talk meanwhile, whose words may be among the lines
                readline.write_history_file(kept)
