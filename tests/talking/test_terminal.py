"""terminal.py: what stands on a pseudo-terminal, and which lines are kept."""

import sys
from collections.abc import Callable

import pytest

from tests.pseudo_terminal import run_on_terminal

ECHO = """
import sys
from pathlib import Path
from personagpt.talking.terminal import name_before, typed_lines
assert "torch" not in sys.modules
for line in typed_lines(Path(sys.argv[1]), lambda line: ["ask me ."] if line == "ask m" else []):
    if line == "/quit":
        break
    if line == "/delete":
        Path(sys.argv[1]).unlink()
    print(name_before("model") + line.upper())
"""


@pytest.fixture
def terminal(tmp_path) -> Callable[..., str]:
    """terminal("hi\\n", NO_COLOR="1") types to a program that echoes; a warning ends the program."""
    program = [sys.executable, "-W", "error", "-c", ECHO, tmp_path / "kept" / "lines"]
    return lambda typed, **environment: run_on_terminal(program, typed, **environment)


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


def test_the_tab_key_completes_a_line_with_spaces(terminal) -> None:
    assert "model: ASK ME ." in terminal("ask m\t\n/quit\n", NO_COLOR="1")


def test_lines_deleted_meanwhile_are_not_kept(terminal, tmp_path) -> None:
    terminal("a secret\n/delete\n/quit\n")
    assert list((tmp_path / "kept").iterdir()) == []
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
