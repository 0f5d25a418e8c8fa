"""detectors.py: the regression, and the detector as it is saved."""

from __future__ import annotations

import json

import numpy as np
import pytest

from personagpt.detection.detectors import Detector, SavedDetector
from personagpt.detection.ngrams import NGRAMS

FOUR = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
KINDS = np.array([False, False, True, True])


def test_a_detector_is_plain_json() -> None:
    detector = Detector.fit(["a", "b"], FOUR, KINDS)
    assert detector.weights[0] > 0
    assert detector.weights[1] == 0  # the same for all
    again = Detector.of_plain(json.loads(json.dumps(detector.plain())))
    np.testing.assert_array_equal(again.logits(FOUR), detector.logits(FOUR))
    assert (detector.logits(FOUR) > 0).tolist() == [False, False, True, True]


def test_both_kinds_weigh_the_same() -> None:
    """Nothing tells 90 programs from 10 people: neither is likelier."""
    values, is_program = np.zeros((100, 1)), np.arange(100) < 90
    assert Detector.fit(["x"], values, is_program).probabilities(values)[0] == pytest.approx(0.5, abs=1e-3)
    values[is_program, 0] = 1
    assert Detector.fit(["x"], values, is_program).logits(np.array([[0.5]]))[0] == pytest.approx(0, abs=0.2)


def test_probabilities_by_hand() -> None:
    detector = Detector(["x"], np.array([1.0]), np.array([2.0]), np.array([3.0]), 0.5)
    told = detector.probabilities(np.array([[1.0], [3.0], [1e6], [-1e6]]))
    assert told == pytest.approx([1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(-3.5)), 1, 0])


def test_a_marker_that_is_the_same_for_all_never_counts() -> None:
    """The deviation of ten times 0.1 is 1.4e-17 by rounding."""
    values = np.c_[np.full(10, 0.1), np.arange(10)]
    detector = Detector.fit(["a", "b"], values, np.arange(10) > 4)
    assert detector.scale[0] == 1.0


def plain() -> dict:
    about = {"model": "m", "model_checksum": "c", "utterances": 2, "learnt_from": ["d"]}
    view = Detector.fit([NGRAMS, "a"], FOUR, KINDS).plain()
    view |= {"ngrams": {"intercept": 0.5, "grams": {"char a": [1.5, -2.0], "word hi you": [1.0, 3.0]}}}
    return about | view | {"alike": view}


def test_a_saved_detector() -> None:
    saved = SavedDetector.of_plain(plain(), {"a", "b", "c"})
    assert (saved.model, saved.model_checksum, saved.utterances) == ("m", "c", 2)
    assert saved.learnt_from == {"d"}
    assert saved.markers == ["a"]
    for view in (saved.written, saved.alike):
        assert view.names == ["char a", "word hi you"]
        assert (view.ngrams.idf.tolist(), view.ngrams.weights.tolist()) == ([1.5, 1.0], [-2.0, 3.0])


GOOD = {"mean": 0.0, "scale": 1.0, "weight": 1.0}
NUMBERS = [float("inf"), float("-inf"), float("nan"), 1e300, "1", None, True, [1.0]]


@pytest.mark.parametrize(
    "changed",
    [
        *({key: value} for key in ("utterances", "intercept") for value in (*NUMBERS, {})),
        *({"utterances": value} for value in (0, -3, 1.5)),
        *({"model": value} for value in (None, 3, "", " ", ["m"])),
        *({"model_checksum": value} for value in (None, 3)),
        {"with_personas": True},  # an older version's
        *({"learnt_from": value} for value in (None, 3, [["d"]])),
        *({"markers": value} for value in ({}, [], None, "a", {"a": 1}, {"a": {}}, {"b": None})),
        *({"markers": {NGRAMS: GOOD, "a": {"mean": 0.0, "scale": 0 * 1.0, "weight": 1.0}}} for _ in range(1)),
        *(
            {"markers": {NGRAMS: GOOD, "a": {"mean": 0.0, "scale": scale, "weight": 1.0}}}
            for scale in (-1.0, 1e-300, *NUMBERS)
        ),
        *({"markers": {NGRAMS: GOOD, "a": {"mean": 0.0, "scale": 1.0, "weight": weight}}} for weight in NUMBERS),
        *({"markers": {NGRAMS: GOOD, "a": {"mean": mean, "scale": 1.0, "weight": 1.0}}} for mean in NUMBERS),
        {"markers": {NGRAMS: GOOD, "z": {"mean": 0.0, "scale": 1.0, "weight": 1.0}}},
        *({"ngrams": value} for value in (None, [], {}, {"grams": {}}, {"intercept": 0.0, "grams": []})),
        *(
            {"ngrams": {"intercept": 0.0, "grams": {"char a": pair}}}
            for pair in (None, 1.0, [], [1.0], "ab", [1.0] * 3)
        ),
        *({"ngrams": {"intercept": 0.0, "grams": {"char a": [value, 1.0]}}} for value in NUMBERS),
        *({"ngrams": {"intercept": value, "grams": {}}} for value in NUMBERS),
        *({"ngrams": {"intercept": 0.0, "grams": {name: [1.0, 1.0]}}} for name in ("", "char ", "line a", "word")),
        *({"alike": value} for value in (None, [], {}, {"markers": {}})),
        *({name: ...} for name in ("alike", "ngrams")),
        *({name: ...} for name in ("markers", "intercept", "model", "model_checksum", "utterances", "learnt_from")),
    ],
    ids=repr,
)
def test_hostile_detectors(changed) -> None:
    raw = {name: value for name, value in (plain() | changed).items() if value is not ...}
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        SavedDetector.of_plain(raw, {"a", "b", "c"})


def test_no_object_is_no_detector() -> None:
    with pytest.raises(TypeError):
        SavedDetector.of_plain(None, {"a"})
