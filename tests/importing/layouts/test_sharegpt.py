"""ShareGPT's conversations."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.helpers import check, damaged, json_lines, layout, read, same


def talk(*pairs: tuple[str, object], key: str = "conversations", writer: str = "from", text: str = "value") -> dict:
    return {key: [{writer: who, text: said} for who, said in pairs]}


BEES = talk(("system", "i keep bees .\ni row ."), ("human", "what do you do ?"), ("gpt", "i keep\nbees ."))
SAID = ([], ["i keep bees .", "i row ."]), ["what do you do ?", "i keep bees ."]


@pytest.mark.parametrize("content", [[BEES, BEES], json_lines(BEES, BEES), BEES, json_lines(BEES), {"train": [BEES]}])
def test_a_list_lines_or_one_alone(content: object) -> None:
    assert layout(content) == "sharegpt"
    assert all(same(dialogue, *SAID) for dialogue in read(content))


@pytest.mark.parametrize(
    "record",
    [
        talk(("user", "hi"), ("assistant", "ho")),
        talk(("human", "hi"), ("chatgpt", "ho"), key="conversation"),
        talk(("Human", "hi"), ("bing", "ho"), key="items"),
        talk(("user", "hi"), ("bard", "ho"), key="messages"),
        talk(("user", "hi"), ("model", "ho"), writer="role", text="content"),
        talk(("user", [{"type": "text", "text": "hi"}]), ("model", "ho"), writer="role", text="content"),
        talk(("human", "hi"), ("gpt", "ho"), text="text"),
        {"conversation": [{"human": "hi", "assistant": "ho"}]},
        {"id": "a_0", "source": "x", "tools": "[]", **talk(("human", "hi"), ("gpt", "ho"), ("human", "unanswered"))},
    ],
)
def test_other_names(record: dict) -> None:
    assert layout([record]) == "sharegpt"
    assert same(read([record])[0], ([], []), ["hi", "ho"])


def test_a_system_prompt_beside_the_list() -> None:
    record = {"system": "i row .", **talk(("human", "hi"), ("gpt", "ho"))}
    assert same(read([record])[0], ([], ["i row ."]), ["hi", "ho"])


def test_tools_and_weights() -> None:
    said = [
        ("human", "rain ?"),
        ("function_call", "{}"),
        ("observation", "1"),
        ("gpt", "yes ."),
        ("human", "b"),
        ("gpt", "c"),
    ]
    record = talk(*said)
    record["conversations"][5]["weight"] = 0
    left_out: Counter[str] = Counter()
    assert same(read([record], left_out=left_out)[0], ([], []), ["rain ?", "yes ."])
    assert left_out["tool calls"] == left_out["tool messages"] == 1
    assert left_out["replies of weight 0; a talk ends before each"] == 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"conversations": []}, "assistant says nothing"),
        ({"id": 1}, "no 'conversations'"),
        (talk(("human", "hi"), ("judge", "no")), "message 2 has the role 'judge'; expected system first"),
        ({"conversations": ["hi"]}, "message 1 is 'hi'; expected an object with 'from' and 'value'"),
        (talk(("human", "hi"), ("gpt", None)), "message 2 has no text"),
        (talk(("human", "hi")), "assistant says nothing"),
    ],
)
def test_a_record_that_is_no_dialogue(record: dict, reason: str) -> None:
    dialogue, line = read([BEES, record])
    assert same(dialogue, *SAID)
    assert line.startswith(f"record 2: {reason}")


def test_a_conversation_of_people_is_none() -> None:
    with pytest.raises(Exception, match="of no format that is known"):
        layout([talk(("Ann", "hi"), ("Ben", "ho"))])


@settings(max_examples=100, deadline=None)
@given(damaged([BEES, BEES]))
def test_damaged_records_give_dialogues_or_one_line(records: object) -> None:
    check(json.dumps(records).encode())
    check(json.dumps(records).encode(), "sharegpt")


@given(st.lists(st.text("abc \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=20))
def test_what_was_said_comes_back(said: list[str]) -> None:
    record = talk(*(((("human", "gpt")[number % 2]), text) for number, text in enumerate(said)))
    assert same(read([record])[0], ([], []), said[: len(said) // 2 * 2])


def test_claudes_export() -> None:
    said = [{"sender": "human", "text": "hi", "content": []}, {"sender": "assistant", "text": "hello", "content": []}]
    record = {"uuid": "1", "name": "Bees", "chat_messages": said}
    assert layout([record]) == "sharegpt"
    assert same(read([record])[0], ([], []), ["hi", "hello"])
