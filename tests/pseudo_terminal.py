"""A program on a pseudo-terminal, as a person starts it."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.helpers import ROOT


def run_on_terminal(program: Sequence[str | Path], typed: str = "", **environment: str) -> str:
    """Run `program`, type `typed`, if anything, after its first prompt, and return all that stood on the terminal.

    The program must end with status 0.
    """
    ours, theirs = pty.openpty()
    variables = {**os.environ, "TERM": "xterm", **environment}
    process = subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=variables)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # the other end closes
        while typed and b"you:" not in said:
            said += os.read(ours, 4096)
        os.write(ours, typed.encode())
        while piece := os.read(ours, 4096):
            said += piece
    os.close(ours)
    assert process.wait() == 0, said.decode()
    return said.decode()
