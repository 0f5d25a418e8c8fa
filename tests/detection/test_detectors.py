"""detectors.py: parts that share nothing, the cross-validation, and the detector as it is saved."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from personagpt.detection.detectors import Detector, cross_validate, parts, shuffled, validate_shuffled
from tests.detection.making import side


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
    told = cross_validate(sides, ["x"], noise + sign, 0)
    # Two normal distributions 1.5 apart: the share of won pairs is Phi(1.5 / sqrt 2).
    expected = 0.5 * (1 + math.erf(1.5 / 2))
    assert told.low < expected < told.high
    assert told.auc == pytest.approx(expected, abs=0.05)
    assert told.accuracy == pytest.approx(0.5 * (1 + math.erf(0.75 / math.sqrt(2))), abs=0.06)
    certain = cross_validate(sides, ["x"], sign, 0)
    assert (certain.auc, certain.low, certain.high, certain.accuracy) == (1.0, 1.0, 1.0, 1.0)
    chance = cross_validate(sides, ["x"], noise, 0)
    assert chance.low < 0.5 < chance.high
    equal = cross_validate(sides, ["x"], np.zeros((300, 1)), 0)
    assert equal.auc == 0.5  # nothing but ties


def test_shuffled_labels_tell_nothing_even_of_two_heaps() -> None:
    """All sides of a talk are of one kind, and far from the other's: a single shuffle leaves the heaps uneven."""
    random = np.random.RandomState(0)
    is_program = np.arange(200) % 4 < 2
    sides = [side(number // 2, bool(program), number) for number, program in enumerate(is_program)]
    values = is_program[:, None] * 10 + random.normal(size=(200, 1))
    found = validate_shuffled(sides, ["x"], values, 0)
    assert found.low < 0.5 < found.high
    assert found.auc == pytest.approx(0.5, abs=0.05)
    assert cross_validate(sides, ["x"], values, 0).auc == 1.0


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
