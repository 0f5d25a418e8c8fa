"""interview_plan.py: every question has another goal."""

from __future__ import annotations

import pytest

from personagpt.errors import UserError
from personagpt.scoring.interview_plan import InterviewPlan


def test_there_are_enough_goals() -> None:
    assert InterviewPlan(2, ("ask about pets.", "ask about work.")).orders == ("random", "fixed", "chosen")
    with pytest.raises(UserError, match=r"^--interview 2: every question needs another goal; the settings have 1$"):
        InterviewPlan(2, ("ask about pets.",))
    with pytest.raises(UserError, match=r"the settings have none: set goals = '\./data/goals\.tsv'$"):
        InterviewPlan(2)
    InterviewPlan(2, talks=())  # recorded talks are asked nothing
