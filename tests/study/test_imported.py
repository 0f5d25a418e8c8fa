"""personagpt/study/imported.py: the figures of imported talks, worked by hand."""

from __future__ import annotations

import pytest

from personagpt.records.talks import Talk, Thumb
from personagpt.study.imported import draw_imported, imported_results, imported_table, thumbs_down
from personagpt.study.results import Sample
from tests.records.making import make_talk


def wild_talk(model: str, participant: str, thumbs: list[Thumb], replies: int = 2, **ratings: int) -> Talk:
    talk = make_talk(*["hi"] * 2 * replies, source="convai2:data", participant=participant, ratings=ratings)
    talk.model, talk.model_checksum, talk.thumbs = model, "", thumbs
    return talk


TALKS = [
    wild_talk("Bot 1", "p", [Thumb(1, True)], profile_match=1),
    wild_talk("Bot 2", "q", [Thumb(1, False), Thumb(1, True), Thumb(3, False)], eval_score=4),
    wild_talk("Bot 2", "r", [], eval_score=2, profile_match=0),
    wild_talk("Bot 2", "p", [Thumb(43, False), Thumb(49, True)], replies=25, eval_score=2),
]


def test_the_figures_by_program_and_by_turn() -> None:
    found = imported_results(TALKS, seed=3)
    assert (found["talks"], found["participants"]) == (4, 3)
    assert list(found["programs"]) == ["Bot 2", "Bot 1"]
    two, one = found["programs"].values()
    assert [two[key] for key in ("talks", "replies")] == [3, 29]
    assert two["thumbs_down"]["value"] == pytest.approx(3 / 5)
    assert two["thumbs_down"]["low"] < 3 / 5 < two["thumbs_down"]["high"]
    assert two["eval_score"]["value"] == pytest.approx(8 / 3)
    assert one["thumbs_down"] == {"value": 0, "count": 1}
    assert one["eval_score"] == {"count": 0}
    turns = found["thumbs_down_by_turn"]
    assert [(figure["count"], figure.get("value")) for figure in turns[:3]] == [
        (3, pytest.approx(1 / 3)),
        (1, 1),
        (0, None),
    ]
    assert (len(turns), turns[20]["count"], turns[20]["value"]) == (21, 2, 0.5)  # the replies 22 and 25
    assert thumbs_down(TALKS, Sample(TALKS, 3))["count"] == sum(figure["count"] for figure in turns)


def test_the_table_and_the_drawing_show_each_program_and_turn() -> None:
    figures = imported_results(TALKS, seed=3)
    lines = imported_table(figures).splitlines()
    assert lines[0] == "imported: 4 talks of 3 participants with other programs"
    assert [line.split()[:4] for line in lines if line.startswith("Bot")] == [
        ["Bot", "2", "3", "29"],
        ["Bot", "1", "1", "2"],
    ]
    assert [line.split()[0] for line in lines if line[:1].isdigit()] == ["1", "2", "21"]
    assert "no thumbs" in imported_table(imported_results([TALKS[2]], seed=3))
    scores, _, turns = draw_imported(figures).axes
    assert [label.get_text() for label in scores.get_xticklabels()] == ["Bot 2", "Bot 1"]
    assert len(turns.get_xticks()) == 21
