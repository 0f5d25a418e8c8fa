"""sides.py: the sides of recorded talks and of text, and how much of each is looked at."""

from __future__ import annotations

import pytest

from personagpt.detection.sides import read_file, sides_of_talks, utterances_seen
from personagpt.errors import UserError
from tests.detection.making import UTTERANCES, dogs_talk, side
from tests.records.making import make_twins


def test_the_sides_of_a_recorded_talk() -> None:
    person, program = sides_of_talks([dogs_talk()])
    assert (person.is_program, program.is_program) == (False, True)
    assert (person.persona, program.persona) == (("i am ann .",), ("i own two dogs .",))
    assert program.own == (UTTERANCES[1], UTTERANCES[3])
    assert program.seconds == (0, 4, 10, 12)
    assert [side.is_program for side in sides_of_talks([dogs_talk("partner")])] == [True, True]


def test_what_a_person_corrected_is_no_program_s() -> None:
    corrected = dogs_talk()
    corrected.turns[3].corrected = True
    assert [side.speaker for side in sides_of_talks([corrected])] == [0]


def test_files_of_talks_and_of_text(tmp_path) -> None:
    (tmp_path / "talks.jsonl").write_text(dogs_talk().line())
    assert read_file(tmp_path / "talks.jsonl") == sides_of_talks([dogs_talk()])
    (tmp_path / "text.txt").write_text("1 your persona: i ski .\n2 a\tb\n3 c\td\n")
    first, second = read_file(tmp_path / "text.txt")
    assert (first.talk, first.own, first.persona, first.is_program) == ("text.txt:1", ("a", "c"), (), False)
    assert (second.own, second.persona, second.persona_or_talk) == (("b", "d"), ("i ski .",), frozenset({"i ski ."}))
    for wrong in ('{"id": 1}', "{", dogs_talk().line().replace("10:00:04", "ten past")):
        (tmp_path / "talks.jsonl").write_text(dogs_talk().line() + wrong + "\n")
        with pytest.raises(UserError, match=r"talks.jsonl:2: no talk as interact.py --export writes it"):
            read_file(tmp_path / "talks.jsonl")


def test_as_many_utterances_as_three_quarters_of_each_class_have() -> None:
    people = [side(i, False, count=2 + i % 8) for i in range(40)]  # 2 to 9
    programs = [side(i, True, count=7) for i in range(20)]
    assert utterances_seen(people + programs) == 4
    assert sum(len(side.own) >= 4 for side in people) == 30
    with pytest.raises(UserError, match=r"19 sides of programs: at least 20 .*--self-play"):
        utterances_seen(people + programs[:19])
    with pytest.raises(UserError, match=r"0 sides of people: at least 20 .*--people FILE"):
        utterances_seen(programs)


def test_of_twins_each_person_has_one_side() -> None:
    twins = make_twins("hi there", "hello you")
    first, second = sides_of_talks(list(twins))
    assert (first.own, second.own) == (("hi there",), ("hello you",))
    assert (first.persona, second.persona) == (("i am one .",), ("i am two .",))
    assert first.talk == second.talk == min(talk.id for talk in twins)
    assert not first.is_program | second.is_program


def test_a_twin_that_was_deleted_leaves_one_side() -> None:
    began, _ = make_twins("hi there", "hello you")
    began.twin = None
    (left,) = sides_of_talks([began])
    assert (left.talk, left.own) == (began.id, ("hi there",))
