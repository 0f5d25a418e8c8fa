"""Reviews for the tests."""

from __future__ import annotations

from personagpt.records.reviews import Review
from personagpt.records.talks import Talk, now
from tests.records.making import make_talk


def reviewed(talk: Talk, reviewer: str, *labels: tuple[int, str], finished: bool = True) -> Review:
    """Return a review of a talk; each label is a turn and a kind."""
    review = Review(talk.id, reviewer, "doubt", now(), now() if finished else None)
    for turn, kind in labels:
        review.labels.setdefault(turn, set()).add(kind)
    return review


def two_talks() -> tuple[list[Talk], list[Review]]:
    """Return two talks of five replies in all, which two reviewers have read, and one that one reviewer has read.

    `off-topic` was given on replies A: 1 1 0, 0 1 and B: 1 0 0, 0 1.
    """
    one = make_talk(*"abcdef", flags=((1, "unsafe"),), participant="p")
    two, three = make_talk(*"ghij", participant="q"), make_talk("k", "l", participant="q")
    reviews = [
        reviewed(one, "ann", (1, "off-topic"), (3, "off-topic")),
        reviewed(one, "bob", (1, "off-topic"), (5, "other")),
        reviewed(two, "ann", (3, "off-topic")),
        reviewed(two, "bob", (3, "off-topic")),
        reviewed(two, "cat", (1, "off-topic"), finished=False),
        reviewed(three, "ann", (1, "off-topic")),
    ]
    return [one, two, three], reviews
