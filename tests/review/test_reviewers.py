"""reviewers.py: what a reviewer gets to read, in which order, and what they may do."""

from __future__ import annotations

import pytest

from personagpt.page.visitors import Limits, Refused
from personagpt.records.database import Recordings
from personagpt.records.talks import Talk, Thumb, Turn
from personagpt.review.reviewers import ReviewPage
from tests.records.making import make_talk


@pytest.fixture
def talks() -> list[Talk]:
    found = [make_talk("hi", f"reply {number}", "bye", "ciao") for number in range(3)]
    found[0].participant = "ann"  # she does not judge her own talk
    found[1].flags, found[1].thumbs, found[1].ratings = [], [Thumb(1, False)], {"eval_score": 1}
    return found


@pytest.fixture
def page(tmp_path, talks):  # noqa: ANN201
    recordings = Recordings(tmp_path)
    recordings.save(*talks)
    yield ReviewPage(recordings, talks, "random", Limits(), seed=3)
    recordings.close()


def read_all(page: ReviewPage, reviewer: str, *labels: str) -> list[str]:
    """Label the first reply of each talk; return the ids of the talks in the order in which they were read."""
    ids, state = [], page.state(reviewer, {})
    while state["talk"]:
        ids.append(state["talk"]["id"])
        page.label(reviewer, {"talk": ids[-1], "turn": 1, "kinds": [*labels]})
        state = page.finish(reviewer, {"talk": ids[-1], "turns": 4})
    return ids


def test_each_talk_has_two_readers(page, talks) -> None:
    first, second, third = (talk.id for talk in talks)
    assert page.state("bob", {})["talk"]["id"] == first
    assert page.state("bob", {})["talk"]["id"] == first  # as after a reload
    assert page.state("ann", {})["talk"]["id"] == second
    # Talks that another has begun come before those that nobody has.
    assert page.state("cat", {})["talk"]["id"] == first
    assert page.finish("cat", {"talk": first, "turns": 4})["talk"]["id"] == second
    # Two have begun the first and the second, but bob and ann may never finish them.
    assert page.state("dan", {})["talk"]["id"] == third
    assert page.state("dan", {})["total"] == 3
    assert page.finish("dan", {"talk": third, "turns": 4})["talk"]["id"] in (first, second)
    assert {review.ordering for review in page.reviews.all()} == {"random"}


def test_a_reviewer_sees_nothing_that_tells_the_program_or_what_others_think(page, talks) -> None:
    read_all(page, "bob", "unsafe")
    page.label("ann", {"talk": page.state("ann", {})["talk"]["id"], "turn": 3, "kinds": ["other"], "note": " hm\n"})
    state = page.state("ann", {})
    assert state == {
        "done": 0,
        "total": 2,
        "can_reopen": False,
        "closed": False,
        "talk": {
            "id": talks[1].id,
            "persona": ["i have two dogs ."],
            "turns": [{"judged": number % 2 == 1, "text": text} for number, text in enumerate(talks[1].texts)],
            "labels": {3: ["other"]},
            "notes": {3: "hm"},
        },
    }


def test_undo_goes_back_to_the_talk_before(page, talks) -> None:
    first, second, _ = (talk.id for talk in talks)
    with pytest.raises(Refused, match="no talk to go back to"):
        page.reopen("bob", {})
    page.state("bob", {})
    page.label("bob", {"talk": first, "turn": 1, "kinds": ["other"]})
    assert page.finish("bob", {"talk": first, "turns": 4})["talk"]["id"] == second
    state = page.reopen("bob", {})
    assert (state["done"], state["total"], state["talk"]["labels"]) == (0, 3, {1: ["other"]})
    assert state["talk"]["id"] == first
    assert page.finish("bob", {"talk": first, "turns": 4})["talk"]["id"] == second


def test_the_result_comes_at_the_end_and_closes_the_reviews(page, talks) -> None:
    with pytest.raises(Refused, match="there are talks left to read"):
        page.result("bob", {})
    assert read_all(page, "bob", "unsafe") == [talk.id for talk in talks]
    alone = page.result("bob", {})
    assert (alone["talks"], alone["disagreements"]) == (0, [])
    assert page.state("bob", {})["closed"]
    assert not page.state("bob", {})["can_reopen"]
    read_all(page, "cat", "unsafe", "other")
    found = page.result("cat", {})
    assert found["talks"] == 3
    said = {"before": "hi", "text": "reply 0", "yours": ["other", "unsafe"], "theirs": [["unsafe"]]}
    assert found["disagreements"][0] == said
    assert found["agreement"]["unsafe"]["alpha"] == pytest.approx(1)
    assert found["agreement"]["other"]["disagreed"] == 3
    with pytest.raises(Refused, match="no talk to go back to"):
        page.reopen("cat", {})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kinds": ["boring"]}, "the kinds of failure are inconsistent"),
        ({"kinds": "other"}, "the kinds of failure are inconsistent"),
        ({"note": "x" * 501}, "the note"),
        ({"note": 3}, "the note"),
        ({"turn": 0}, "no such reply"),
        ({"turn": True}, "no such reply"),
        ({"turn": 4}, "no such reply"),
        ({"talk": "x"}, "no such talk to review"),
        ({"talk": ["x"]}, "no such talk to review"),
        ({"talk": None}, "no such talk to review"),
    ],
)
def test_a_label_that_is_none(page, change, problem) -> None:
    right = {"talk": page.state("bob", {})["talk"]["id"], "turn": 1, "kinds": ["other"]}
    with pytest.raises(Refused, match=problem):
        page.label("bob", right | change)
    with pytest.raises(Refused, match="you do not review this talk now"):
        page.label("eve", right)
    with pytest.raises(Refused, match="you do not review this talk now"):
        page.finish("eve", right | {"turns": 4})


def test_a_talk_that_went_on_is_read_to_its_end(page, talks) -> None:
    page.state("bob", {})
    talks[0].turns += [Turn("human", "wait"), Turn("model", "yes ?")]
    page.recordings.save(talks[0])
    with pytest.raises(Refused, match="the talk has changed meanwhile"):
        page.finish("bob", {"talk": talks[0].id, "turns": 4})
    assert page.state("bob", {})["talk"]["turns"][-1] == {"judged": True, "text": "yes ?"}
    assert page.finish("bob", {"talk": talks[0].id, "turns": 6})["done"] == 1


def test_a_talk_that_is_deleted_meanwhile_is_passed_over(page, talks) -> None:
    page.state("bob", {})
    page.recordings.delete(ids=[talks[0].id, talks[1].id])
    state = page.state("bob", {})
    assert (state["talk"]["id"], state["total"]) == (talks[2].id, 1)
