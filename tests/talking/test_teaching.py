"""teaching.py: where a person is asked, in which order, and what their answers leave on record."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from personagpt.model.sampling import Sampling
from personagpt.records.preferences import preference_lines
from personagpt.records.talks import Flag, Talk, Turn
from personagpt.scoring.nli import load_classifier
from personagpt.talking.commands import Commands
from personagpt.talking.persona import Persona, Score
from personagpt.talking.places import Material, places
from personagpt.talking.session import Session
from personagpt.talking.teaching import (
    ASKED,
    POOL,
    Question,
    by_doubt,
    make_questions,
    progress,
    questions_of,
    teach,
)
from personagpt.text.convai2 import parse_corpus
from tests.records.making import make_talk
from tests.talking.conftest import FACTS, GOALS, PAIRS, TEXT, WILD


def question(*replies: str, own: float = -8.0, other: float = -9.0, talk: Talk | None = None) -> Question:
    return Question(talk or make_talk("any pets ?", persona=FACTS, source="teach"), list(replies), Score(own, other, 4))


def test_replies_that_are_unlikely_and_lose_nothing_under_other_personas_come_first() -> None:
    sure = question("a", own=-4, other=-20)
    small_talk = question("b", own=-6, other=-6)
    rare = question("c", own=-20, other=-40)
    invented = question("d", own=-18, other=-17)
    assert by_doubt([sure, small_talk, rare, invented])[0] is invented
    assert by_doubt([sure, small_talk, rare, invented])[-1] is sure
    wrong = [replace(each, contradicts=True) for each in (sure, small_talk)]  # so an NLI model says
    assert by_doubt([rare, wrong[0], invented, wrong[1]]) == [wrong[1], wrong[0], invented, rare]


def test_questions_have_different_draws_and_the_score_of_the_first(model) -> None:
    found = places(model, Material(Path("t"), parse_corpus(TEXT.encode(), "t"), []), WILD)
    too_long = replace(found[0], persona=["so " * 400])
    questions = list(questions_of(model, [*found, too_long], WILD, None, 7))
    assert len(questions) == 4
    again = list(questions_of(model, [*found, too_long], WILD, None, 7))
    assert [question.replies for question in again] == [question.replies for question in questions]
    assert len({question.talk.sampling["seed"] for question in questions}) == 4  # else they would be one talk
    for asked in questions:
        assert len(set(asked.replies)) == len(asked.replies) == 3
    one, _ = make_questions(model, [found[0], found[0]], WILD, None, Random(1))
    assert one.score.other == pytest.approx(one.score.own, rel=1e-4)  # nobody has another persona
    one = next(asked for asked in questions if asked.talk.persona == ["i sing ."])
    persona = Persona(model, one.talk.persona, keep_facts=True, as_typed=True)
    assert one.score.own == pytest.approx(persona.score(one.replies[0], one.talk.texts[-1]).own, rel=1e-4)


def test_a_classifier_says_which_first_replies_contradict_a_fact(model, says, nli_folder) -> None:
    classifier = load_classifier(str(nli_folder))
    asked = [make_talk("so ?", persona=["i love dogs", "i hate cats"], source="teach") for _ in range(2)]
    says("i love birds", "i hate dogs", "hello")
    (kind,) = make_questions(model, asked[:1], WILD, None, Random(1), classifier)
    says("i hate dogs", "i love dogs", "hello")
    (wrong,) = make_questions(model, asked[1:], WILD, None, Random(1), classifier)
    assert [(each.replies[0], each.contradicts) for each in (kind, wrong)] == [
        ("i love birds", False),
        ("i hate dogs", True),
    ]


def test_nothing_is_drawn_after_the_session_has_ended(model) -> None:
    stop, found = threading.Event(), [make_talk("so ?", source="teach")]
    stop.set()
    assert make_questions(model, found, WILD, None, Random(1), stop=stop) == []
    assert list(questions_of(model, found, WILD, None, 1, stop=stop)) == []


def test_of_each_pool_a_quarter_is_asked_and_recorded_talks_come_first(model, monkeypatch) -> None:
    found = [make_talk(f"{number}", source="teach") for number in range(POOL)] + [make_talk("recorded")]
    pools = []

    def make(_, pool: list[Talk], *rest: object) -> list[Question]:
        pools.append(pool)
        return [question("x", talk=talk) for talk in pool]

    monkeypatch.setattr("personagpt.talking.teaching.make_questions", make)
    assert len(list(questions_of(model, found, Sampling(), None, 1))) == ASKED + 1
    assert [len(pool) for pool in pools] == [POOL, 1]
    assert pools[0][0].texts == ["recorded"]


def test_a_session_records_every_answer(make_session, recorded, capsys) -> None:
    session: Session = make_session(goal="ask about pets.")
    replies = "i have two dogs .", "no .", "a cat ."
    flagged = make_talk("hi", "bad", flags=((1, "other"),))
    session.recordings.save(flagged)
    again = replace(flagged, id="f" * 32, turns=flagged.turns[:1], flags=[])
    talks = [make_talk(f"{number} ?", persona=FACTS, source="teach", started=str(number)) for number in range(6)]
    asked = [question(*replies, talk=talk) for talk in [*talks, again]]
    lines = ["", "2", "4", "0", "i own two dogs .", "/why", "/flag", "/flag inconsistent no dog", "/skip", "/help", "1"]
    teach(Commands(session, GOALS, lambda: PAIRS), iter([*lines, "1", "/quit", "never"]), iter(asked))
    printed = capsys.readouterr().out
    assert "4: expected a number from 1 to 3, or a better reply" in printed
    assert "0: expected a number from 1 to 3, or a better reply" in printed
    assert "/flag KIND: which kind?" in printed
    assert "perplexity" in printed
    assert "[+---++] 6 asked, 50% accepted, of the last 6 50%\n" in printed
    stored = {talk.started: talk for talk in recorded()}
    assert set(stored) == {"0", "1", "2", "3", "5", flagged.started}  # not the talk of /skip
    turns: list[Turn] = [stored[str(number)].turns[1] for number in (0, 1, 2, 3)]
    assert [turn.text for turn in turns] == ["i have two dogs .", "no .", "i own two dogs .", "i have two dogs ."]
    assert [turn.goal for turn in turns] == ["ask about pets."] * 4
    assert [turn.replaced for turn in turns] == [None, "i have two dogs .", "i have two dogs .", None]
    assert [(turn.chosen, turn.corrected) for turn in turns[1:3]] == [(True, False), (False, True)]
    assert stored["3"].flags == [Flag(1, "inconsistent", "no dog")]
    assert session.recorded == [talk.id for talk in (*talks[:4], talks[5], again)]
    pairs, feedback = preference_lines(recorded())
    assert len(pairs) == 3  # the accepted reply takes the place of the reply that was flagged in an earlier talk
    assert len(feedback) == 1


def test_the_end_of_the_questions_and_of_the_lines(make_session, recorded, capsys) -> None:
    session: Session = make_session()
    commands = Commands(session, GOALS, lambda: PAIRS)
    teach(commands, iter([]), iter([question("a")]))
    assert recorded() == []
    teach(commands, iter([""]), iter([question("a")]))
    assert "no more questions; start again for other draws" in capsys.readouterr().out


def test_the_bar_shows_the_last_answers() -> None:
    assert progress([False] * 45 + [True] * 5) == f"[{'-' * 35}+++++] 50 asked, 10% accepted, of the last 10 50%"
