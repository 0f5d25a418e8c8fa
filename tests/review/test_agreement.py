"""agreement.py: Krippendorff's alpha, worked by hand, and against the library."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest

from personagpt.review.agreement import agreement, alphas, disagreements, finished_by_two, value_counts
from tests.review.making import reviewed, two_talks


def test_alpha_of_two_reviewers() -> None:
    """Of 10 values 5 are 1; one of 5 replies is not agreed: alpha = 1 - 9 * 1 / (5 * 5)."""
    talks, reviews = two_talks()
    two = finished_by_two(reviews)
    assert [review.reviewer for review in two] == ["ann", "bob", "ann", "bob"]
    found = agreement(two, {talk.id: talk for talk in talks}, seed=3)
    off_topic = found["off-topic"]
    assert (off_topic["replies"], off_topic["labelled"], off_topic["disagreed"]) == (5, 3, 1)
    assert off_topic["alpha"] == pytest.approx(1 - 9 / 25)
    assert off_topic["low"] < off_topic["alpha"] < off_topic["high"]
    assert found["unsafe"] == {"replies": 5, "labelled": 0, "disagreed": 0}  # nobody gave it: there is no alpha
    assert found["any"]["disagreed"] == 2
    assert found["other"]["alpha"] == pytest.approx(1 - 9 / 9)


def test_alphas_of_resamples_are_the_librarys() -> None:
    random = np.random.RandomState(1)
    counts = []
    for readers in (2, 3, 2, 4, 2):
        ones = random.randint(readers + 1, size=6)
        counts.append(np.stack([readers - ones, ones], axis=1))
    drawn = np.array([random.multinomial(5, [0.2] * 5) for _ in range(20)])
    expected = []
    for weights in drawn:
        units = np.concatenate([part for part, count in zip(counts, weights, strict=True) for _ in range(count)])
        expected.append(krippendorff.alpha(value_counts=units, level_of_measurement="nominal"))
    assert alphas(counts, drawn) == pytest.approx(expected)
    assert np.isnan(alphas([np.array([[2, 0]])], np.ones((1, 1))))


def test_where_a_reviewer_disagrees() -> None:
    talks, reviews = two_talks()
    one, two, _ = (talk.id for talk in talks)
    both, by_id = finished_by_two(reviews), {talk.id: talk for talk in talks}
    assert list(disagreements(both, by_id, "ann")) == [
        (one, 3, {"yours": ["off-topic"], "theirs": [[]]}),
        (one, 5, {"yours": [], "theirs": [["other"]]}),
    ]
    assert list(disagreements(both, by_id, "cat")) == []
    both.append(reviewed(talks[1], "dan", (1, "unsafe"), (3, "off-topic")))
    assert list(disagreements(both, by_id, "dan")) == [(two, 1, {"yours": ["unsafe"], "theirs": [[], []]})]
    both[0].finished = "0001"  # before any reply: ann and bob share no reply of the first talk
    assert list(disagreements(both, by_id, "ann")) == [(two, 1, {"yours": [], "theirs": [[], ["unsafe"]]})]
    del talks[1].turns[1:]  # the reply was taken back, or the talk is deleted
    assert list(disagreements(both, {two: talks[1]}, "bob")) == []


def test_counts_of_values() -> None:
    talks, reviews = two_talks()
    assert value_counts("off-topic", talks[0], reviews[:2]).tolist() == [[0, 2], [1, 1], [2, 0]]
    assert value_counts("any", talks[0], reviews[:2]).tolist() == [[0, 2], [1, 1], [1, 1]]
    assert agreement([], {}, seed=3)["any"] == {"replies": 0, "labelled": 0, "disagreed": 0}
