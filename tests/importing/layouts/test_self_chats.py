"""ParlAI's saved conversations."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.helpers import check, damaged, json_lines, layout, read, same, talks

SAID = ["hi !", "hello !", "any pets ?", "a goat ."]


def talk(said: list[str], ids: tuple[str, str] = ("bot_1", "bot_2")) -> dict:
    messages = [
        {"id": ids[number % 2], "text": text, "episode_done": False, "metrics": {}} for number, text in enumerate(said)
    ]
    pairs = [messages[number : number + 2] for number in range(0, len(said), 2)]
    return {"dialog": pairs, "context": [{"id": "context", "text": "your persona: x"}], "metadata_path": "a.metadata"}


@pytest.mark.parametrize("content", [json_lines(talk(SAID), talk(SAID)), json_lines(talk(SAID)), [talk(SAID)]])
def test_a_conversation(content: object) -> None:
    left_out: Counter[str] = Counter()
    assert layout(content) == "self-chats"
    dialogues = read(content, left_out=left_out)
    assert all(same(dialogue, ([], []), SAID) for dialogue in dialogues)
    assert +left_out == {"messages of the context": len(dialogues)}
    assert talks(content)[0].speakers == ["bot_1", "bot_2"]


def test_messages_of_one_id() -> None:
    record = talk(SAID[:3], ("bot", "bot"))
    assert same(read(json_lines(record))[0], ([], []), SAID[:3])


@pytest.mark.parametrize(
    ("dialog", "reason"),
    [
        ([], "nobody says anything"),
        ([{"id": "a", "text": "b"}], "exchange 1 is {'id': 'a', 'text': 'b'}; expected a list of two messages"),
        ([[{"id": "a", "text": "b"}] * 3], "exchange 1 is [{'id': 'a', 'text': 'b'}, "),
        ([[{"text": "b"}]], "no 'id'"),
        ([[{"id": "a", "text": None}]], "'text' is None; expected text"),
        ([[{"id": "a", "text": "b"}, {"id": "c", "text": ""}]], "utterance 2 is empty"),
    ],
)
def test_a_record_that_is_no_dialogue(dialog: list, reason: str) -> None:
    dialogue, line = read(json_lines(talk(SAID), {"dialog": dialog}))
    assert same(dialogue, ([], []), SAID)
    assert line.startswith(f"line 2: {reason}")


@settings(max_examples=100, deadline=None)
@given(damaged([talk(SAID), talk(SAID)]))
def test_damaged_records_give_dialogues_or_one_line(records: object) -> None:
    check(json.dumps(records).encode())
    check(json.dumps(records).encode(), "self-chats")


@settings(deadline=None)
@given(st.lists(st.text("abc \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=20))
def test_what_was_said_comes_back(said: list[str]) -> None:
    assert same(read(json_lines(talk(said)))[0], ([], []), said)
