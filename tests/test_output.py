"""output.py: lines for the user, of the first process only."""

from __future__ import annotations

import pytest
from tqdm import tqdm

from personagpt.output import columns, counted, is_first_process, markdown, say, warn
from tests.helpers import be_process


def test_lines_go_to_stdout_and_warnings_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("one\ntwo")
    warn("a\x1b[2J\nb")
    assert tuple(capsys.readouterr()) == ("one\ntwo\n", "a [2J b\n")


def test_of_several_processes_only_the_first_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in ("0", "1"):
        be_process(monkeypatch, rank)
        assert is_first_process() == (rank == "0")
        say(f"said by {rank}")
        warn(f"warned by {rank}")
    assert tuple(capsys.readouterr()) == ("said by 0\n", "warned by 0\n")


def test_a_line_stands_above_the_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with tqdm(total=2, desc="train"):
        capsys.readouterr()
        say("a line")
        out, err = capsys.readouterr()
    assert out == "a line\n"
    assert err.rpartition("\r")[2].startswith("train:")  # drawn again below the line


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("dialogues", "dialogue"),
        ("messages of media, calls and notices", "message of media, calls and notices"),
        ("empty messages", "empty message"),
        ("replies of weight 0; a talk ends before each", "reply of weight 0; a talk ends before each"),
    ],
)
def test_one_is_no_plural(plural: str, singular: str) -> None:
    assert counted(1, plural) == f"1 {singular}"
    assert counted(1_200, plural) == f"1,200 {plural}"
    assert counted(0, plural) == f"0 {plural}"
    assert counted(1.5, plural) == f"1.5 {plural}"


def test_tables() -> None:
    rows = [["name", "A", "B"], ["x", 1, "12345678901"]]
    assert columns(rows, 10) == ["name           A            B", "x              1  12345678901"]
    assert columns(rows) == ["name  A            B", "x     1  12345678901"]
    assert markdown(*rows) == "| name | A | B |\n| --- | --- | --- |\n| x | 1 | 12345678901 |"
