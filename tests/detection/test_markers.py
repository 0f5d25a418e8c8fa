"""markers.py: each marker worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from personagpt.detection.markers import MARKERS, available_markers, marker_values, measure
from personagpt.detection.sides import sides_of_talks
from tests.detection.making import dogs_talk, side


def test_markers_by_hand() -> None:
    """i have two dogs | i have two dogs they bark; the partner asked: dogs what dogs"""
    program = sides_of_talks([dogs_talk()])[1]
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
    asks = measure(sides_of_talks([dogs_talk()])[0], 2, np.array([1.0, 1.0]))
    assert asks["questions"] == 1 / 2
    assert asks["echoes"] == 2 / 3  # hi, dogs, dogs; there and what are function words
    assert asks["seconds"] == pytest.approx(math.log(6.0))  # its first utterance answers nobody


def test_question_marks_of_other_scripts() -> None:
    speaker = replace(side(1), utterances=("你好！你养猫吗？", "没有", "我有猫。", "好"))
    assert measure(speaker, 2, np.array([1.0, 1.0]))["questions"] == 1 / 2


def test_a_marker_that_only_some_sides_have_is_left_out() -> None:
    recorded, text = sides_of_talks([dogs_talk()]), [side(1)]
    assert available_markers(recorded) == list(MARKERS)
    assert set(MARKERS) - set(available_markers(recorded + text)) == {"persona_words", "seconds"}
    assert "persona_words" in available_markers([side(1, persona=1), recorded[0]])


def test_values_are_a_row_for_each_side() -> None:
    sides = sides_of_talks([dogs_talk()])
    losses = [np.array([1.0, 3.0]), np.array([2.0, 6.0])]
    values = marker_values(sides, losses, 2, ["surprise", "words"])
    np.testing.assert_array_equal(values, [[2.0, 2.5], [4.0, 5.0]])
