"""report.py: the figures of reviews, worked by hand, and how they are shown."""

from __future__ import annotations

import json

import pytest

from personagpt.review.report import draw_review, review_results, review_table
from tests.records.making import make_talk
from tests.review.making import reviewed, two_talks


def test_failures_by_kind_turn_and_program() -> None:
    """Eleven readings of replies: 3 + 3 of the first talk, 2 + 2 of the second, 1 of the third."""
    talks, reviews = two_talks()
    talks[2].model, talks[2].model_checksum = "Bot 6", ""
    found = review_results(reviews, talks, seed=3)
    assert [found[key] for key in ("talks", "by_two", "reviewers")] == [3, 2, 2]
    assert found["orders"] == {"doubt": 5}
    off_topic = found["kinds"]["off-topic"]
    assert off_topic["reviewed"]["value"] == pytest.approx(100 * 6 / 11)
    assert off_topic["reviewed"]["count"] == 11
    assert off_topic["flagged"] == {"value": 0, "count": 6}
    assert found["kinds"]["unsafe"]["flagged"]["value"] == pytest.approx(100 / 6)
    assert found["kinds"]["any"]["reviewed"]["value"] == pytest.approx(100 * 7 / 11)
    assert [turn["reviewed"]["count"] for turn in found["turns"]] == [5, 4, 2]
    assert found["turns"][0]["reviewed"]["value"] == pytest.approx(100 * 3 / 5)
    assert found["programs"]["Bot 6"]["reviewed"] == {"value": 100, "count": 1}
    assert found["programs"]["Bot 6"]["talks"] == 1
    assert len(found["labels"]) == 7
    assert found["labels"][2] == {"talk": talks[0].id, "reviewer": "r2", "turn": 1, "kinds": ["off-topic"]}
    assert found == json.loads(json.dumps(found))


def test_later_replies_share_a_row() -> None:
    talk = make_talk(*["x"] * 46)
    found = review_results([reviewed(talk, "ann", (41, "other"), (45, "other"))], [talk], seed=3)
    assert len(found["turns"]) == 21
    assert found["turns"][-1]["reviewed"] == {"value": pytest.approx(200 / 3), "count": 3}


def test_replies_that_came_after_a_review_are_not_called_fine() -> None:
    talk = make_talk("a", "b", "c", "d")
    reviews = [reviewed(talk, name, (1, "other")) for name in ("ann", "bob")]
    talk.turns[3].time = "9999-01-01T00:02:00"  # both had finished by then
    found = review_results(reviews, [talk], seed=3)
    assert found["kinds"]["other"]["reviewed"] == {"value": 100, "count": 2}
    assert found["agreement"]["other"]["replies"] == 1
    reviews[1].finished = "9999-01-01T00:03:00"
    found = review_results(reviews, [talk], seed=3)
    assert found["kinds"]["other"]["reviewed"]["count"] == 3
    assert found["agreement"]["other"]["replies"] == 1


def test_the_table_and_the_drawing() -> None:
    talks, reviews = two_talks()
    figures = review_results(reviews, talks, seed=3)
    lines = review_table(figures).splitlines()
    assert lines[0] == "review: 3 talks, of which 2 by at least two of 2 reviewers; order: doubt first"
    (off_topic,) = (line for line in lines if line.startswith("off-topic"))
    assert "54.5 (" in off_topic
    assert " 0.64 (" in off_topic
    assert off_topic.endswith("1 of 5")
    (unsafe,) = (line for line in lines if line.startswith("unsafe"))
    assert unsafe.split()[1] == "0.0"
    assert unsafe.split()[-4:] == ["-", "0", "of", "5"]
    assert "these rates are not those of all talks" in lines[-1]
    for review in reviews:
        review.ordering = "random"
    assert "not those of all" not in review_table(review_results(reviews, talks, seed=3))
    kinds, turns, alpha = draw_review(figures).axes
    assert len(kinds.get_xticks()) == len(alpha.get_xticks()) == 8
    assert len(turns.get_xticks()) == 3
