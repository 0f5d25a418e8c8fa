"""learning.py: n-grams and markers learnt together, and what people get from detectors that do not know them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from personagpt.detection.learning import Material, learn
from personagpt.detection.ngrams import NGRAMS
from personagpt.detection.sides import TalkSide
from personagpt.detection.validation import cross_validate, labels_of
from tests.detection.making import side


def talking(number: int, is_program: bool, *own: str) -> TalkSide:
    """Return the first speaker's side of a talk: a first utterance, and then `own`."""
    utterances = tuple(text for each in ("hello", *own) for text in (each, "ok"))
    return replace(side(number, is_program, number), utterances=utterances)


def material(count: int = 60) -> Material:
    """Programs end with a mark, people do not, and one marker tells nothing."""
    words = np.random.RandomState(0).choice(["ski", "swim", "run", "sing"], size=(count, 3)).tolist()
    sides = [
        talking(number, number % 2 == 0, *(f"i {word}{' .' * (number % 2 == 0)}" for word in words[number]))
        for number in range(count)
    ]
    noise = np.random.RandomState(1).normal(size=(count, 1))
    return Material.of(sides, ["noise"], {1: noise, 2: noise})


def test_ngrams_are_a_marker() -> None:
    given = material()
    labels, everybody = labels_of(given.sides), np.arange(60)
    found = learn(given, everybody, labels, 0)
    assert found.detectors[2].markers == [NGRAMS, "noise"]
    assert found.detectors[2].weights[0] > 5 * abs(found.detectors[2].weights[1])
    logits = found.logits(given, everybody)
    assert logits.shape == (2, 60)
    assert ((logits > 0) == labels).all()
    assert {seen: len(people) for seen, people in found.people.items()} == {1: 30, 2: 30}
    assert max(people.max() for people in found.people.values()) < 0
    assert [told.auc for told in cross_validate(given, 0, 1)] == [1.0, 1.0]


def test_ngrams_of_first_utterances_are_not_learnt() -> None:
    given = material()
    assert not [name for name in given.counted.names if "hell" in name]


def test_two_personas_leave_inner_parts_without_sides() -> None:
    """Programs share a persona, and so do people: of the inner parts only one has both kinds, and nobody to judge."""
    given = material(20)
    sides = [replace(each, persona=(f"program {each.is_program}",)) for each in given.sides]
    found = learn(replace(given, sides=sides), np.arange(20), labels_of(sides), 0)
    assert found.detectors[2].weights[0] == 0  # no stranger was judged by n-grams
    assert [len(people) for people in found.people.values()] == [0, 0]


def test_what_was_learnt_knows_nothing_of_the_judged_sides() -> None:
    """The text of a judged side changes: a detector that did not learn from it stays the same."""
    given = material()
    changed = [*given.sides[:59], talking(59, False, "i i i .", "i i i .", "i i i .")]
    other = Material.of(changed, given.markers, given.values)
    labels, learnt = labels_of(given.sides), np.arange(59)
    one, again = (learn(each, learnt, labels, 0) for each in (given, other))
    np.testing.assert_allclose(one.logits(given, np.arange(10)), again.logits(other, np.arange(10)), rtol=1e-6)


def test_nothing_is_learnt_from_random_words() -> None:
    """N-grams fit the sides that they learnt from, so that only strangers show what they are worth."""
    random = np.random.RandomState(0)
    letters = [["".join(random.choice(list("abcdefgh"), 12)) for _ in range(3)] for _ in range(80)]
    sides = [talking(number, number % 2 == 0, *letters[number]) for number in range(80)]
    given = Material.of(sides, [], {2: np.zeros((80, 0))})
    told = cross_validate(given, 0, 1)[0]
    assert told.low < 0.5 < told.high
    assert 0.2 < told.brier < 0.3
