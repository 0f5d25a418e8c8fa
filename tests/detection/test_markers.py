"""markers.py: each marker worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from personagpt.detection.markers import MARKERS, available_markers, marker_values, measure
from personagpt.detection.sides import TalkSide, sides_of_talks
from personagpt.detection.surprise import Surprise
from tests.detection.making import dogs_talk, side


def surprises(*nats: float) -> list[Surprise]:
    """Return surprises of so many nats, whose other figures are 10, 20 and 30 times as large."""
    return [Surprise(each, 10 * each, 20 * each, 30 * each) for each in nats]


def test_markers_by_hand() -> None:
    """i have two dogs | i have two dogs they bark; the partner asked: do you have dogs | dogs what dogs"""
    program = sides_of_talks([dogs_talk()])[0][1]
    told = measure(program, 2, surprises(1.0, 3.0, 9.0))
    assert set(told) == set(MARKERS)
    assert told == {
        "words": 5.0,
        "words_spread": 1.0,
        "questions": 0.0,
        "own_words": 4 / 10,
        "own_phrases": 1 / 2,
        "echoes": 2 / 5,  # two dogs two dogs bark: each time dogs
        "persona_words": 4 / 5,
        "function_words": 5 / 10,  # i have i have they
        "first_person": 2 / 10,
        "seconds": pytest.approx(math.log(3.0)),  # 4 and 2 seconds
        "surprise": 2.0,
        "surprise_spread": 1.0,
        "rank": 20.0,
        "curvature": 40.0,
        "end": 60.0,
    }
    asks = measure(sides_of_talks([dogs_talk()])[0][0], 2, surprises(1.0, 1.0))
    assert asks["questions"] == 1.0
    assert asks["echoes"] == 2 / 3  # dogs, dogs, dogs; the first answers "hello"
    assert asks["seconds"] == pytest.approx(math.log(5.0))  # 4 and 6 seconds


def test_a_row_sees_nothing_of_later_utterances() -> None:
    program = sides_of_talks([dogs_talk()])[0][1]
    early = measure(program, 1, surprises(1.0, 3.0))
    short = replace(program, utterances=program.utterances[:4], seconds=program.seconds[:4])
    assert early == measure(short, 1, surprises(1.0))
    assert early["seconds"] == pytest.approx(math.log(4.0))
    assert early["own_phrases"] == 0.0


@pytest.mark.parametrize("speaker", [0, 1])
def test_no_marker_sees_a_speaker_s_first_utterance(speaker) -> None:
    """Two speakers who say the same from their second utterance on are alike, whoever opens, and with what."""
    said = ("i ski .", "you ski ?", "i ski a lot .", "so do i .")
    before = ("hi !", "hello , i have three cats .")[: speaker + 1]
    whole = TalkSide("t", speaker, True, ("i ski .",), (*before, "x y", *said))
    told = measure(whole, 2, surprises(2.0, 4.0))
    other = TalkSide("t", 0, True, ("i ski .",), ("are you there ?", "x y", *said))
    assert told == measure(other, 2, surprises(2.0, 4.0))


def test_question_marks_of_other_scripts() -> None:
    speaker = replace(side(1), utterances=("你好", "好", "你好！你养猫吗？", "没有", "我有猫。", "好"))
    assert measure(speaker, 2, surprises(1.0, 1.0))["questions"] == 1 / 2


def test_a_marker_that_only_some_sides_have_is_left_out() -> None:
    recorded, text = sides_of_talks([dogs_talk()])[0], [side(1)]
    assert available_markers(recorded) == list(MARKERS)
    assert set(MARKERS) - set(available_markers(recorded + text)) == {"persona_words", "seconds"}
    assert "persona_words" in available_markers([side(1, persona=1), recorded[0]])


@pytest.mark.parametrize("source", ["interact.py", "app.py", "self-play", "study:s:people"])
def test_times_are_a_marker_only_where_both_sides_were_measured_alike(source) -> None:
    """A recorded model has the time of its computing, a person that of reading and typing."""
    assert "seconds" not in available_markers(sides_of_talks([dogs_talk(source=source)])[0])
    two_clocks = sides_of_talks([dogs_talk(), dogs_talk(source="another", id="u")])[0]
    assert all(side.seconds for side in two_clocks)
    assert "seconds" not in available_markers(two_clocks)


def test_values_are_a_row_for_each_side() -> None:
    sides = sides_of_talks([dogs_talk()])[0]
    told = [surprises(1.0, 3.0), surprises(2.0, 6.0)]
    values = marker_values(sides, told, 2, ["surprise", "words"])
    np.testing.assert_array_equal(values, [[2.0, 3.5], [4.0, 5.0]])
