"""What Ctrl-C, SIGTERM and a closed terminal do to a script, from its first line to its last.

    while it imports    nothing is there to save: one line, and it ends              end_at_once
    while it works      it is left as by an error, so that files are tidied up       raise_on_signals
    while it trains     the step is finished and saved first                         StopSignals
    during a reply      the first Ctrl-C stops the reply only                        first_ctrl_c

A signal that was ignored when the script started stays ignored: that is how `nohup` and a shell's background jobs ask
to be left alone. Imports nothing heavy: a script takes this module first.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from personagpt.errors import Stopped

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}  # a closed terminal counts as SIGTERM
REASON = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "the terminal's end"}


def _handle(handler: Any, numbers: tuple[int, ...] = tuple(STATUS)) -> dict[int, Any]:
    """Let `handler` answer the signals that are not ignored; returns who answered them before."""
    return {number: signal.signal(number, handler) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}


def _restore(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def end_at_once() -> None:
    """From here on a signal ends the process with one line, whatever a library that is being imported makes of it."""

    def end(number: int, frame: FrameType | None) -> None:
        if os.environ.get("RANK", "0") == "0":
            os.write(2, f"stopped by {REASON[number]}\n".encode())
        os._exit(STATUS[number])

    _handle(end)


def stay_at_the_end() -> None:
    """The work is done and said: a signal now changes nothing about how the process ends."""
    _handle(signal.SIG_IGN)


@contextlib.contextmanager
def raise_on_signals() -> Iterator[None]:
    """While open, a signal raises Stopped where the program is, so that it is left in order."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(f"stopped by {REASON[number]}", STATUS[number])

    def unraisable(found: Any) -> None:
        """A signal that came in the midst of a destructor or callback, from which nothing can be raised."""
        if isinstance(found.exc_value, Stopped):
            import threading  # not at the top: what stands there delays the first line of defence

            number = signal.SIGINT if found.exc_value.status == 130 else signal.SIGTERM
            threading.Timer(0.05, os.kill, (os.getpid(), number)).start()  # once more, when that is over
        else:
            report(found)

    before, report = _handle(stop), sys.unraisablehook
    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        sys.unraisablehook = report
        _restore(before)


class StopSignals:
    """While open, the first signal only sets `status` (130, 143); a Ctrl-C after it stops at once."""

    def __enter__(self) -> StopSignals:
        self.status = 0
        self.before = _handle(self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.status = STATUS[number]
        _restore({number: handler for number, handler in self.before.items() if number == signal.SIGINT})

    def __exit__(self, *exception: object) -> None:
        _restore(self.before)


@contextlib.contextmanager
def first_ctrl_c() -> Iterator[list[int]]:
    """Yields a list that the first Ctrl-C only adds to; the next one does what it did before."""
    pressed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        _restore(before)

    before = _handle(note, (signal.SIGINT,))
    try:
        yield pressed
    finally:
        _restore(before)
