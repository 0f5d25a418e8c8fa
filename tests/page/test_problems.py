"""Who is told of a problem, and in what words."""

from __future__ import annotations

import pytest

from personagpt.errors import RunError
from personagpt.page import problems
from personagpt.page.problems import UNUSABLE, OtherModel, QueueFull, visitors_problem
from personagpt.records.database import TalkDeleted


@pytest.mark.parametrize(("error", "status"), [(QueueFull("wait"), 503), (OtherModel(), 400), (TalkDeleted(), 400)])
def test_a_visitor_reads_the_line_that_is_meant_for_visitors(error, status, capsys) -> None:
    assert visitors_problem(error, "POST") == (str(error), status)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_the_operator_reads_the_path_and_the_visitor_does_not(method, capsys) -> None:
    assert visitors_problem(RunError("/talks.sqlite: busy"), method) == (UNUSABLE[method], 503)
    assert capsys.readouterr().err == "/talks.sqlite: busy\n"


def test_a_line_that_cannot_be_written_ends_nothing(monkeypatch) -> None:
    def full(line: str) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(problems, "warn", full)
    assert visitors_problem(RunError("busy"), "POST")[1] == 503
