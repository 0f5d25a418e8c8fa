"""sides.py: the sides of recorded talks and of text, and how much of each is looked at."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from personagpt.detection.sides import TalkSide, long_enough, read_file, sides_of_talks, utterances_seen
from personagpt.errors import UserError
from personagpt.records.talks import DELETED
from tests.detection.making import UTTERANCES, dogs_talk, side
from tests.records.making import make_twins

STARTED = "2026-01-01T10:00:00Z"


def test_the_sides_of_a_recorded_talk() -> None:
    (person, program), left_out = sides_of_talks([dogs_talk(participant="p1")])
    assert not +left_out
    assert (person.is_program, program.is_program) == (False, True)
    assert (person.persona, program.persona) == (("i am ann .",), ("i own two dogs .",))
    assert program.own == (UTTERANCES[1], UTTERANCES[3], UTTERANCES[5])
    assert program.counted == (UTTERANCES[3], UTTERANCES[5])
    assert program.heard == (UTTERANCES[2], UTTERANCES[4])
    assert (person.counted, person.heard) == ((UTTERANCES[2], UTTERANCES[4]), (UTTERANCES[1], UTTERANCES[3]))
    assert (person.participant, program.participant) == ("p1", None)
    assert program.seconds == (0, 1, 5, 9, 15, 17)
    assert program.clock == "elsewhere"
    assert [side.is_program for side in sides_of_talks([dogs_talk("partner")])[0]] == [True, True]


def test_what_a_person_corrected_is_no_program_s() -> None:
    corrected = dogs_talk()
    corrected.turns[3].corrected = True
    sides, left_out = sides_of_talks([corrected])
    assert [side.speaker for side in sides] == [0]
    assert +left_out == {"with a reply that a person corrected": 1}


def test_talks_that_went_on_from_one_start_have_one_name() -> None:
    """After a flag, /undo and /set another talk goes on: a detector that learnt from it knows this talk."""
    talk, other = dogs_talk(), dogs_talk(id="u", started="another time")
    branch = replace(talk, id="b", turns=talk.turns[:4])
    sides, left_out = sides_of_talks([talk, branch, other, talk])
    assert [side.talk for side in sides] == ["t", "t", "t", "t", "u", "u"]
    assert +left_out == {"of talks that are there twice": 2}


def test_times_that_cannot_be_compared_are_left_out() -> None:
    for times in (["2026-01-01"] * 6, ["0001-01-01T00:00:00Z"] * 3 + ["0001-01-01T00:00:00"] * 3):
        talk = dogs_talk()
        talk.turns = [replace(turn, time=time) for turn, time in zip(talk.turns, times, strict=True)]
        assert {(side.seconds, side.clock) for side in sides_of_talks([talk])[0]} == {((), "")}


def test_a_byte_order_mark_and_the_year_1(tmp_path) -> None:
    talk = dogs_talk()
    for turn in talk.turns:
        turn.time = turn.time.replace("2026", "0001").removesuffix("Z")
    (tmp_path / "talks.jsonl").write_text("\ufeff" + talk.line() + dogs_talk(id="u", started="later").line())
    sides, _ = read_file(tmp_path / "talks.jsonl")
    assert [side.talk for side in sides] == ["t", "t", "u", "u"]
    assert {side.seconds for side in sides} == {(0, 1, 5, 9, 15, 17)}


def test_files_of_talks_and_of_text(tmp_path) -> None:
    (tmp_path / "talks.jsonl").write_text(dogs_talk(started=STARTED).line())
    assert read_file(tmp_path / "talks.jsonl") == sides_of_talks([dogs_talk(started=STARTED)])
    (tmp_path / "text.txt").write_text("1 your persona: i ski .\n2 a\tb\n3 c\td\n")
    (first, second), _ = read_file(tmp_path / "text.txt")
    assert (first.talk, first.own, first.persona, first.is_program) == ("text.txt:1", ("a", "c"), (), False)
    assert (second.own, second.persona) == (("b", "d"), ("i ski .",))
    for wrong in ('{"id": 1}', "{", dogs_talk().line().replace("10:00:05", "ten past")):
        (tmp_path / "talks.jsonl").write_text(dogs_talk().line() + wrong + "\n")
        with pytest.raises(UserError, match=r"talks.jsonl:2: no talk as interact.py --export writes it"):
            read_file(tmp_path / "talks.jsonl")


def test_as_many_utterances_as_three_quarters_of_each_class_have() -> None:
    people = [side(i, False, count=3 + i % 8) for i in range(40)]  # 2 to 9 after the first
    programs = [side(i, True, count=7) for i in range(20)]
    assert utterances_seen(people + programs) == 4
    chosen, left_out = long_enough(people, Counter({"for another reason": 1}), 4)
    assert chosen == [person for person in people if len(person.own) >= 5]
    assert left_out == {"for another reason": 1, "shorter than 5 utterances": 10}
    with pytest.raises(UserError, match=r"19 sides of programs: at least 20 .*--self-play"):
        utterances_seen(people + programs[:19])
    with pytest.raises(UserError, match=r"0 sides of people: at least 20 .*--people FILE"):
        utterances_seen(programs)
    with pytest.raises(UserError, match=r"of people too many sides have one utterance only: .*--people FILE"):
        utterances_seen([side(i, False, count=1 + i % 3 // 2) for i in range(40)] + programs)


def test_keys_and_their_digests() -> None:
    speaker = TalkSide("t", 1, False, ("b", "a"), ("x", "y"), participant="p")
    assert speaker.keys == {"persona": "persona a\nb", "participant": "participant p", "talk": "talk t"}
    assert side(1).keys == {"talk": "talk talk 1"}
    again = replace(speaker, persona=("a", "b"), talk="u")
    assert len(speaker.digests) == 3
    assert len(speaker.digests & again.digests) == 2


def test_of_twins_each_person_has_one_side() -> None:
    twins = make_twins("hi there", "hello you")
    (first, second), _ = sides_of_talks(list(twins))
    assert (first.own, second.own) == (("hi there",), ("hello you",))
    assert (first.persona, second.persona) == (("i am one .",), ("i am two .",))
    assert first.talk == second.talk == min(talk.id for talk in twins)
    assert not first.is_program | second.is_program


def test_a_twin_that_was_deleted_leaves_one_side() -> None:
    began, _ = make_twins("hi there", "hello you")
    began.twin = None
    ((left,), _) = sides_of_talks([began])
    assert (left.talk, left.own) == (began.id, ("hi there",))
    began.turns[1].text = DELETED
    assert sides_of_talks([began]) == ([], {"whose partner deleted the talk": 1, "of talks that are there twice": 0})
