"""A persona in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from personagpt.errors import UserError
from personagpt.text.persona_file import read_persona_file


def test_a_fact_a_line(tmp_path: Path) -> None:
    path = tmp_path / "vex.txt"
    path.write_text("\ufeffi build machines, at night .\r\n\n  i trust nobody; ever .\n")
    assert read_persona_file(path) == ["i build machines, at night .", "i trust nobody; ever ."]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.csv", b"i sew .\n", "this is a table or JSON; expected text with one fact a line"),
        ("a.txt", b"name,persona\nVex,i sew\n", "this is a table or JSON"),
        ("a.txt", b'"Vex","i sew"\n', "this is a table or JSON"),
        ("a.txt", b"Vex\ti sew\n", "this is a table or JSON"),
        ("a.txt", b'["i sew ."]', "this is a table or JSON"),
        ("a.txt", b" \n", "an empty persona; expected at least one fact"),
        ("a.txt", b"caf\xe9", "1: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("gone.txt", None, "cannot read it: No such file or directory"),
    ],
)
def test_mistakes(tmp_path: Path, name: str, data: bytes | None, reason: str) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_persona_file(path)
    assert str(caught.value).removeprefix("--persona-file ").startswith((f"{path}: {reason}", f"{path}:{reason}"))
