"""Programs or people: sides and markers by hand, parts that share nothing, the detector as it is saved."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from personagpt.detection.detectors import Detector, cross_validate, parts, shuffled, validate_shuffled
from personagpt.detection.markers import MARKERS, Available, measure
from personagpt.detection.sides import Side, read_file, sides_of_talks, utterances_seen
from personagpt.errors import UserError
from personagpt.records.talks import Talk, Turn

TALK = ["hi there !", "i have two dogs .", "dogs ? what dogs ?", "i have two dogs . they bark"]


def talk(partner: str = "human", **changes: object) -> Talk:
    times = ["2026-01-01T10:00:00+00:00", "2026-01-01T10:00:04+00:00", "2026-01-01T10:00:10Z", "2026-01-01T10:00:12Z"]
    turns = [
        Turn((partner, "model")[i % 2], text, time) for i, (text, time) in enumerate(zip(TALK, times, strict=True))
    ]
    return Talk("m", "c", {}, ["i own two dogs ."], partner, ["i am ann ."], turns, id="t", **changes)


def side(number: int, is_program: bool = False, persona: int | None = None, count: int = 4) -> Side:
    facts = () if persona is None else (f"fact {persona}",)
    return Side(f"talk {number}", 0, is_program, facts, ("a", "b") * count)


def test_the_sides_of_a_recorded_talk() -> None:
    person, program = sides_of_talks([talk()])
    assert (person.is_program, program.is_program) == (False, True)
    assert (person.persona, program.persona) == (("i am ann .",), ("i own two dogs .",))
    assert program.own == (TALK[1], TALK[3])
    assert program.seconds == (0, 4, 10, 12)
    assert [side.is_program for side in sides_of_talks([talk("partner")])] == [True, True]


def test_what_a_person_corrected_is_no_program_s() -> None:
    corrected = talk()
    corrected.turns[3].corrected = True
    assert [side.speaker for side in sides_of_talks([corrected])] == [0]


def test_files_of_talks_and_of_text(tmp_path) -> None:
    (tmp_path / "talks.jsonl").write_text(talk().line())
    assert read_file(tmp_path / "talks.jsonl") == sides_of_talks([talk()])
    (tmp_path / "text.txt").write_text("1 your persona: i ski .\n2 a\tb\n3 c\td\n")
    first, second = read_file(tmp_path / "text.txt")
    assert (first.talk, first.own, first.persona, first.is_program) == ("text.txt:1", ("a", "c"), (), False)
    assert (second.own, second.persona, second.persona_or_talk) == (("b", "d"), ("i ski .",), frozenset({"i ski ."}))
    for wrong in ('{"id": 1}', "{", talk().line().replace("10:00:04", "ten past")):
        (tmp_path / "talks.jsonl").write_text(talk().line() + wrong + "\n")
        with pytest.raises(UserError, match=r"talks.jsonl:2: no talk as interact.py --export writes it"):
            read_file(tmp_path / "talks.jsonl")


def test_markers_by_hand() -> None:
    """i have two dogs | i have two dogs they bark; the partner asked: dogs what dogs"""
    program = sides_of_talks([talk()])[1]
    told = measure(program, 2, np.array([1.0, 3.0, 9.0]))
    assert set(told) == set(MARKERS)
    assert told == {
        "words": 5.0,
        "words_spread": 1.0,
        "questions": 0.0,
        "own_words": 4 / 10,
        "own_phrases": 1 / 2,
        "echoes": 1 / 5,  # two dogs two dogs bark: after "dogs ? what dogs ?" once dogs
        "persona_words": 4 / 5,
        "function_words": 5 / 10,  # i have i have they
        "first_person": 2 / 10,
        "seconds": pytest.approx(math.log(3.0)),  # 4 and 2 seconds
        "surprise": 2.0,
        "surprise_spread": 1.0,
    }
    assert measure(program, 1, np.array([1.0, 3.0]))["own_phrases"] == 0.0
    asks = measure(sides_of_talks([talk()])[0], 2, np.array([1.0, 1.0]))
    assert asks["questions"] == 1 / 2
    assert asks["echoes"] == 2 / 3  # hi, dogs, dogs; there and what are function words
    assert asks["seconds"] == pytest.approx(math.log(6.0))  # its first utterance answers nobody


def test_a_marker_that_only_some_sides_have_is_left_out() -> None:
    recorded, text = sides_of_talks([talk()]), [side(1)]
    assert Available.of(recorded).markers() == list(MARKERS)
    assert set(MARKERS) - set(Available.of(recorded + text).markers()) == {"persona_words", "seconds"}
    assert "persona_words" in Available.of([side(1, persona=1), recorded[0]]).markers()


def test_as_many_utterances_as_three_quarters_of_each_class_have() -> None:
    people = [side(i, False, count=2 + i % 8) for i in range(40)]  # 2 to 9
    programs = [side(i, True, count=7) for i in range(20)]
    assert utterances_seen(people + programs) == 4
    assert sum(len(side.own) >= 4 for side in people) == 30
    with pytest.raises(UserError, match=r"19 sides of programs: at least 20 .*--self-play"):
        utterances_seen(people + programs[:19])
    with pytest.raises(UserError, match=r"0 sides of people: at least 20 .*--people FILE"):
        utterances_seen(programs)


def test_parts_share_no_talk_and_no_persona() -> None:
    random = np.random.RandomState(0)
    sides = [side(number // 2, bool(number % 2), random.randint(30)) for number in range(200)]
    judged_once = []
    for learnt, judged in parts(sides, 3):
        assert not {sides[i].talk for i in learnt} & {sides[i].talk for i in judged}
        assert not {sides[i].persona for i in learnt} & {sides[i].persona for i in judged}
        assert len(learnt)
        judged_once += judged.tolist()
    assert sorted(judged_once) == list(range(200))


def test_auc_of_what_can_and_what_cannot_be_told() -> None:
    random = np.random.RandomState(0)
    is_program = np.arange(300) % 2 == 0
    sides = [side(number, bool(program), number) for number, program in enumerate(is_program)]
    noise, sign = random.normal(size=(300, 1)), is_program[:, None] * 1.5
    told = cross_validate(sides, ["x"], noise + sign, is_program, 0)
    # Two normal distributions 1.5 apart: the share of won pairs is Phi(1.5 / sqrt 2).
    expected = 0.5 * (1 + math.erf(1.5 / 2))
    assert told.low < expected < told.high
    assert told.auc == pytest.approx(expected, abs=0.05)
    assert told.accuracy == pytest.approx(0.5 * (1 + math.erf(0.75 / math.sqrt(2))), abs=0.06)
    certain = cross_validate(sides, ["x"], sign, is_program, 0)
    assert (certain.auc, certain.low, certain.high, certain.accuracy) == (1.0, 1.0, 1.0, 1.0)
    chance = cross_validate(sides, ["x"], noise, is_program, 0)
    assert chance.low < 0.5 < chance.high
    equal = cross_validate(sides, ["x"], np.zeros((300, 1)), is_program, 0)
    assert equal.auc == 0.5  # nothing but ties


def test_shuffled_labels_tell_nothing_even_of_two_heaps() -> None:
    """All sides of a talk are of one kind, and far from the other's: a single shuffle leaves the heaps uneven."""
    random = np.random.RandomState(0)
    is_program = np.arange(200) % 4 < 2
    sides = [side(number // 2, bool(program), number) for number, program in enumerate(is_program)]
    values = is_program[:, None] * 10 + random.normal(size=(200, 1))
    found = validate_shuffled(sides, ["x"], values, is_program, 0)
    assert found.low < 0.5 < found.high
    assert found.auc == pytest.approx(0.5, abs=0.05)
    assert cross_validate(sides, ["x"], values, is_program, 0).auc == 1.0


def test_labels_go_to_other_talks_as_they_are() -> None:
    """Three talks of two programs, three of a person and a program, two sides that stand alone."""
    is_program = np.array([True] * 6 + [False, True] * 3 + [True, False])
    talks = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7]
    sides = [side(talk, bool(program)) for talk, program in zip(talks, is_program, strict=True)]
    random, seen = np.random.RandomState(0), set()
    for _ in range(50):
        labels = shuffled(sides, is_program, random)
        pairs = sorted(tuple(sorted(labels[i : i + 2].tolist())) for i in range(0, 12, 2))
        assert pairs == [(False, True)] * 3 + [(True, True)] * 3
        assert labels[12:].sum() == 1
        seen.add(tuple(labels.tolist()))
    assert len(seen) > 30


def test_a_detector_is_plain_json() -> None:
    values = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    detector = Detector.fit(["a", "b"], values, np.array([False, False, True, True]))
    assert detector.weights[0] > 0
    assert detector.weights[1] == 0  # the same for all
    again = Detector.of_plain(json.loads(json.dumps(detector.plain())))
    np.testing.assert_array_equal(again.logits(values), detector.logits(values))
    assert (detector.logits(values) > 0).tolist() == [False, False, True, True]
    for wrong in ({}, {"markers": {"a": {}}, "intercept": 0}, {"markers": {"a": 1}, "intercept": 0}):
        with pytest.raises((KeyError, TypeError)):
            Detector.of_plain(wrong)
