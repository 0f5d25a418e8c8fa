"""Topical-Chat's conversations."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personagpt.errors import UserError
from tests.importing.helpers import check, damaged, layout, read, same, talks


def talk(*said: str) -> dict:
    messages = [
        {"message": text, "agent": f"agent_{number % 2 + 1}", "sentiment": "Happy", "knowledge_source": ["FS1"]}
        for number, text in enumerate(said)
    ]
    return {"article_url": "https://example.org", "config": "A", "content": messages, "conversation_rating": {}}


SAID = ["Do you like dance?", "Yes, I do.", "I do, too."]
CORPUS = {"t_1": talk(*SAID), "t_2": talk("hi", "ho")}


def test_conversations() -> None:
    assert layout(CORPUS) == "topical-chat"
    first, second = read(CORPUS)
    assert same(first, ([], []), SAID)
    assert same(second, ([], []), ["hi", "ho"])
    assert [one.place for one in talks(CORPUS)] == ["chat t_1", "chat t_2"]


def test_what_an_agent_says_in_a_row_is_one_utterance() -> None:
    corpus = {"t_1": talk("a", "b", "c")}
    corpus["t_1"]["content"][2]["agent"] = "agent_2"
    assert same(read(corpus)[0], ([], []), ["a", "b c"])


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"content": []}, "nobody says anything"),
        ({"config": "A"}, "no 'content'"),
        ({"content": [{"message": "hi"}]}, "no 'agent'"),
        (talk("hi"), "1 speaker ('agent_1'); expected two"),
        ([], "expected an object with 'content', got []"),
    ],
)
def test_a_record_that_is_no_dialogue(record: object, reason: str) -> None:
    assert read(CORPUS | {"t_3": record})[2:] == [f"chat t_3: {reason}"]


def test_another_file() -> None:
    with pytest.raises(UserError, match="expected an object of talks"):
        read([1], "topical-chat")


@settings(max_examples=100, deadline=None)
@given(damaged(CORPUS))
def test_damaged_records_give_dialogues_or_one_line(document: object) -> None:
    check(json.dumps(document).encode())
    check(json.dumps(document).encode(), "topical-chat")


@settings(deadline=None)
@given(st.lists(st.text("abc \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=20))
def test_what_was_said_comes_back(said: list[str]) -> None:
    assert same(read({"t_1": talk(*said)})[0], ([], []), said)
