"""places.py: where a person is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from personagpt.errors import UserError
from personagpt.records.talks import Flag
from personagpt.talking.places import Material, places
from personagpt.text.convai2 import parse_corpus
from tests.records.making import make_talk
from tests.talking.conftest import TEXT, WILD


def test_a_place_is_a_question_of_the_text_or_a_reply_of_a_recorded_talk(model) -> None:
    talk = make_talk("hi", "ho", "so ?", "fixed", "and ?", "bad", flags=((1, "other"), (5, "other")))
    talk.turns[3] = talk.turns[3].instead("better", corrected=True)
    others = [make_talk("a", "b", source=source) for source in ("teach", "study:s:m")]
    others.append(make_talk("a", "b", partner="partner"))
    found = places(model, Material(Path("t"), parse_corpus(TEXT.encode(), "t"), [talk, *others]), WILD)
    assert [(place.persona, place.texts) for place in found] == [
        (["i have two dogs ."], ["hi"]),
        (["i have two dogs ."], ["hi", "ho", "so ?", "better", "and ?"]),  # nobody has judged the replies there
        (["i am old ."], ["i ski . and you ?"]),
        (["i ski ."], ["hi ! any hobbies ?"]),
        (["i ski ."], ["nice . any hobbies ?"]),
        (["i sing ."], ["so ?"]),  # the other speaker's persona is unknown
    ]
    assert [place.source for place in found] == ["interact.py"] * 2 + ["teach"] * 4
    assert [place.flags for place in found[:2]] == [[], [Flag(1, "other")]]
    assert {place.origin for place in found[:2]} == {talk.origin}  # the same talk, that goes on another way
    assert len({place.id for place in found} | {talk.id}) == 7


def test_no_place_at_all(model) -> None:
    with pytest.raises(UserError, match="t has no question, and no recorded talk has a reply to ask about"):
        places(model, Material(Path("t"), None, [make_talk("a", "b", partner="partner")]), WILD)
