"""bench/teaching.py: the simulated person knows from the facts which reply is right."""

from __future__ import annotations

from random import Random

import pytest

from bench.teaching import is_right, judge, make_places
from personagpt.records.talks import Talk, Turn
from personagpt.talking.persona import Score
from personagpt.talking.teaching import Question


def place(question: str, *facts: str) -> Talk:
    return Talk("", "", {}, list(facts), turns=[Turn("human", question)])


@pytest.mark.parametrize(
    ("question", "reply", "right"),
    [
        ("hi ! what is your job ?", "i am a pilot . and you ?", True),
        ("what is your job ?", "i am a baker .", False),
        ("what is your job ?", "i am a pilot and a baker .", False),
        ("what is your job ?", "i would rather not say .", False),
        ("do you have any pets ?", "i would rather not say .", True),  # no fact of this kind
        ("do you have any pets ?", "i have a hamster .", False),
        ("how are you today ?", "i am fine , thanks .", True),
        ("how are you today ?", "i am a pilot .", False),
    ],
)
def test_the_facts_decide(question, reply, right) -> None:
    assert is_right(place(question, "i am a pilot."), reply) == right


def test_the_person_accepts_picks_or_types() -> None:
    asked = place("what is your job ?", "i am a pilot.")
    judged = [
        judge(Question(asked, replies, Score(-1, -1, 1)), Random(0), 1)
        for replies in (["i am a pilot ."], ["no .", "i am a baker .", "a pilot ."], ["no .", "so ."])
    ]
    assert judged[0] is None
    assert (judged[1].chosen, judged[1].rejected) == ("a pilot .", "no .")
    assert is_right(asked, judged[2].chosen)


def test_places_are_questions_with_the_persona_of_who_is_asked() -> None:
    places = make_places(1, 40, set())
    assert len(places) == 40
    assert all(talk.persona and talk.texts[0].endswith("?") for talk in places)
    assert [talk.texts for talk in make_places(1, 40, set())] == [talk.texts for talk in places]
