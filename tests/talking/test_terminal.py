"""terminal.py: what stands on a pseudo-terminal, and what is kept of it."""

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.helpers import ROOT

ECHO = """
import sys
from pathlib import Path
from personagpt.talking.terminal import name_before, typed_lines
assert "torch" not in sys.modules
for line in typed_lines(Path(sys.argv[1])):
    if line == "/quit":
        break
    print(name_before("model") + line.upper())
"""


@pytest.fixture
def terminal(tmp_path) -> Callable[..., str]:
    """terminal("hi\\n", NO_COLOR="1") types on a pseudo-terminal, where all is echoed; returns what stood there."""

    def call(typed: str, **environment: str) -> str:
        ours, theirs = pty.openpty()
        arguments = [sys.executable, "-c", ECHO, tmp_path / "kept" / "lines"]
        variables = {**os.environ, "TERM": "xterm", **environment}
        process = subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=variables)
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # the other end closes
            while b"you:" not in said:
                said += os.read(ours, 4096)
            os.write(ours, typed.encode())
            while piece := os.read(ours, 4096):
                said += piece
        os.close(ours)
        assert process.wait() == 0, said.decode()
        return said.decode()

    return call


def test_a_terminal_has_colours_and_keeps_what_was_typed(terminal, tmp_path) -> None:
    said = terminal("hi !\n/quit\n")
    assert "\x1b[32myou:\x1b[0m" in said
    assert "\x1b[36mmodel:\x1b[0m HI !" in said
    kept = tmp_path / "kept" / "lines"
    assert "hi !" in kept.read_text().splitlines()
    assert kept.stat().st_mode & 0o077 == 0
    said = terminal("\x1b[A\x1b[A\n/quit\n", NO_COLOR="1")  # two lines up: hi ! once more
    assert "model: HI !" in said
    assert "\x1b[3" not in said
    assert kept.read_text().splitlines().count("hi !") == 2
