"""reviews.py: what reviewers say about recorded talks, apart from the talks' own flags."""

from __future__ import annotations

import pytest

from personagpt.records.database import Recordings, TalkDeleted
from personagpt.records.reviews import Reviews
from tests.records.making import make_talk


@pytest.fixture
def recordings(tmp_path):  # noqa: ANN201
    recordings = Recordings(tmp_path)
    yield recordings
    recordings.close()


def test_each_reviewer_has_labels_of_their_own(recordings) -> None:
    talk = make_talk("hi", "ho", "a", "b", flags=((1, "unsafe"),))
    recordings.save(talk)
    reviews = Reviews(recordings)
    for reviewer in ("ann", "bob", "ann"):
        reviews.begin(talk.id, reviewer, "doubt")
    assert reviews.label(talk.id, "ann", 1, ["other", "off-topic", "other"])
    assert reviews.label(talk.id, "ann", 3, ["other"])
    assert reviews.label(talk.id, "ann", 3, [])
    assert reviews.label(talk.id, "bob", 3, ["unsafe", "other"], "rude, and in French")
    assert reviews.label(talk.id, "bob", 1, [], "a note about nothing")
    assert reviews.label(talk.id, "bob", 3, ["unsafe"], "rude")
    ann, bob = reviews.all()
    assert (ann.reviewer, ann.labels, ann.notes) == ("ann", {1: {"other", "off-topic"}}, {})
    assert bob.notes == {3: "rude"}
    assert (bob.reviewer, bob.labels, bob.ordering, bob.finished) == ("bob", {3: {"unsafe"}}, "doubt", None)
    assert recordings.talks() == [talk]


def test_only_a_review_under_way_takes_labels(recordings) -> None:
    talk = make_talk("hi", "ho")
    recordings.save(talk)
    reviews = Reviews(recordings)
    assert not reviews.label(talk.id, "ann", 1, ["other"])
    assert not reviews.finish(talk.id, "ann")
    reviews.begin(talk.id, "ann", "random")
    assert not reviews.reopen(talk.id, "ann")
    reviews.close("ann")  # it is not finished
    assert reviews.finish(talk.id, "ann")
    assert not reviews.finish(talk.id, "ann")
    assert not reviews.label(talk.id, "ann", 1, ["other"])
    assert reviews.reopen(talk.id, "ann")
    assert reviews.label(talk.id, "ann", 1, ["other"])
    assert reviews.finish(talk.id, "ann")
    reviews.close("ann")
    assert not reviews.reopen(talk.id, "ann")
    (review,) = reviews.all()
    assert review.closed
    assert review.labels == {1: {"other"}}


def test_reviews_go_with_their_talk_and_labels_with_their_turn(recordings) -> None:
    reviews = Reviews(recordings)
    assert reviews.all() == []
    talk = make_talk("hi", "ho", "a", "b")
    recordings.save(talk)
    reviews.begin(talk.id, "ann", "doubt")
    for turn in (1, 3):
        reviews.label(talk.id, "ann", turn, ["other"])
    del talk.turns[2:]
    recordings.save(talk)
    assert [review.labels for review in reviews.all()] == [{1: {"other"}}]
    recordings.delete(ids=[talk.id])
    assert reviews.all() == []
    with pytest.raises(TalkDeleted):
        reviews.begin(talk.id, "ann", "doubt")
