"""Answer Ctrl-C, SIGTERM and a closed terminal from a script's first line to its last.

    while the script imports    print one line and exit                                 exit_on_signals, importing
    while the script works      raise an exception, so that `finally` tidies files up   raise_on_signals
    while the script trains     finish and save the step first                          StopSignals
    during a reply              the first Ctrl-C stops the reply only                   first_ctrl_c

A signal that is ignored when the script starts stays ignored, because `nohup` and a shell's background jobs rely on it.
This module imports nothing heavy.
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
from personagpt.output import is_first_process

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}  # a closed terminal counts as SIGTERM
REASON = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "the terminal's end"}


def _handle(handler: Any, numbers: tuple[int, ...] = tuple(STATUS)) -> dict[int, Any]:
    """Let `handler` answer the signals that are not ignored. Return the handlers before."""
    return {number: signal.signal(number, handler) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}


def _restore(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def exit_on_signals() -> dict[int, Any]:
    """From here on a signal prints one line and ends the process. Return the handlers before."""

    def end(number: int, frame: FrameType | None) -> None:
        if is_first_process():
            os.write(2, f"stopped by {REASON[number]}\n".encode())
        os._exit(STATUS[number])

    return _handle(end)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """While open, a signal prints one line and ends the process. Open it around the import of large libraries.

    An exception does not help there, because some libraries swallow every exception while they are imported.
    """
    before = exit_on_signals()
    try:
        yield
    finally:
        _restore(before)


def ignore_signals() -> None:
    """Ignore signals from here on. Call it when the work is done, so that a signal cannot change the exit status."""
    _handle(signal.SIG_IGN)


@contextlib.contextmanager
def raise_on_signals() -> Iterator[None]:
    """While open, a signal raises Stopped, so that the program leaves its `with` and `finally` blocks in order."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(f"stopped by {REASON[number]}", STATUS[number])

    def unraisable(problem: Any) -> None:
        """Send a signal once more if it came in a destructor or callback, which cannot raise an exception."""
        if isinstance(problem.exc_value, Stopped):
            import threading  # here, because it would delay exit_on_signals

            number = signal.SIGINT if problem.exc_value.status == 130 else signal.SIGTERM
            threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
        else:
            report(problem)

    before, report = _handle(stop), sys.unraisablehook
    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        sys.unraisablehook = report
        _restore(before)


class StopSignals:
    """While open, the first signal only sets `status` (130 or 143). A second Ctrl-C stops at once."""

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
    """Yield a list to which the first Ctrl-C adds an entry and does nothing else. The next Ctrl-C works as before."""
    pressed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        _restore(before)

    before = _handle(note, (signal.SIGINT,))
    try:
        yield pressed
    finally:
        _restore(before)
