"""order.py: which talks are reviewed, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from personagpt.records.talks import DELETED, Thumb, Turn
from personagpt.review.order import doubt, in_order, judged_turns, to_review
from tests.records.making import make_talk, make_twins


def test_doubt_is_greatest_where_judgements_are_absent_or_contradict() -> None:
    """One bad judgement: p = 2/3; two good ones: p = 1/4; a rating of 2 is 3/4 bad: p = 1.75/3."""
    unknown, bad = make_talk("a", "b"), make_talk("a", "b", flags=((1, "other"),))
    good, mixed = make_talk("a", "b"), make_talk("a", "b", flags=((1, "other"),))
    good.thumbs, mixed.thumbs = [Thumb(1, True), Thumb(1, True)], [Thumb(1, True)]
    rated = make_talk("a", "b", ratings={"eval_score": 2, "profile_match": 1, "partner": "person"})
    doubts = [doubt(talk) for talk in (unknown, mixed, rated, bad, good)]
    assert doubts == pytest.approx([1 / 4, 1 / 4, 1.75 * 1.25 / 9, 2 / 9, 3 / 16])


def test_doubt_comes_first_and_a_seed_decides_among_equals() -> None:
    plain = [make_talk("a", str(number)) for number in range(30)]
    sure = make_talk("a", "b", flags=((1, "other"),))
    ordered = in_order([sure, *plain], "doubt", 1)
    assert ordered[-1] is sure
    assert ordered[:-1] == [talk for talk in in_order([sure, *plain], "random", 1) if talk is not sure]
    assert in_order(plain, "random", 1) == in_order(plain[::-1], "random", 1)
    assert in_order(plain, "random", 1) != in_order(plain, "random", 2)


def test_the_talks_that_a_detector_doubts_come_first_and_those_it_cannot_judge_last() -> None:
    talks = [make_talk("a", str(number)) for number in range(4)]
    doubts = {talks[2].id: 0.01, talks[0].id: 0.25, talks[3].id: 0.2}
    assert in_order(talks, "detector", 1, doubts) == [talks[0], talks[3], talks[2], talks[1]]


def test_a_conversation_is_reviewed_once_and_a_running_study_not_at_all() -> None:
    first, second = make_twins("hi", "ho")
    for twin in (first, second):
        twin.ratings = {"partner": "person"}
    typed = make_talk("a", "b", "c", "d")
    branch = replace(typed, turns=typed.turns[:2], id="0" * 32)
    blind = make_talk("a", "b", source="study:s:bot")
    gone = make_twins(DELETED, "ho")[0]
    gone.ratings = {"partner": "person"}
    talks = [typed, branch, first, second, blind, gone, make_talk("only a person")]
    assert to_review(talks) == [typed, first]


def test_the_turns_that_are_judged() -> None:
    talk = make_talk("a", "b", "c", "d")
    talk.turns[3] = Turn("model", "e", replaced="d", corrected=True)
    assert judged_turns(talk) == [1]
    assert judged_turns(make_talk("a", "b", partner="partner")) == [1]
    first, second = make_twins("a", "b", "c")
    assert (judged_turns(first), judged_turns(second)) == ([1], [0, 2])
