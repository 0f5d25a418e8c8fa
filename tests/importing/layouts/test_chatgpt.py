"""ChatGPT's export."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.helpers import check, damaged, layout, read, same


def node(parent: str | None, role: str | None, *parts: object, content_type: str = "text", **more: object) -> dict:
    content = {"content_type": content_type, "parts": list(parts)}
    message = {"author": {"role": role, "metadata": {}}, "content": content, "weight": 1.0, "recipient": "all"} | more
    return {"parent": parent, "children": [], "message": message if role else None}


def conversation(nodes: dict[str, dict], last: str) -> dict:
    return {"title": "Bees", "create_time": 1.5, "mapping": nodes, "current_node": last}


def branch(*messages: tuple[str, str]) -> dict:
    nodes = {"0": node(None, None)}
    for number, (role, text) in enumerate(messages, start=1):
        nodes[str(number)] = node(str(number - 1), role, text)
    return conversation(nodes, str(len(messages)))


TREE = conversation(
    {
        "root": node(None, None),
        "system": node("root", "system", ""),
        "about": node("system", "user", content_type="user_editable_context"),
        "first": node("about", "user", "what do bees drink?"),
        "edited": node("about", "user", "what do bees eat?"),
        "old": node("edited", "assistant", "honey."),
        "hidden": node("edited", "assistant", "?", metadata={"is_visually_hidden_from_conversation": True}),
        "thought": node("hidden", "assistant", content_type="thoughts"),
        "call": node("thought", "assistant", "search()", recipient="browser"),
        "tool": node("call", "tool", "nectar"),
        "new": node("tool", "assistant", "nectar,\n", "and pollen."),
        "thanks": node(
            "new", "user", {"content_type": "image_asset_pointer"}, "thanks!", content_type="multimodal_text"
        ),
        "end": node("thanks", "assistant", "welcome."),
        "more": node("end", "user", "and wasps?"),
    },
    "more",
)
SAID = ["what do bees eat?", "nectar, and pollen.", "thanks!", "welcome."]


@pytest.mark.parametrize("content", [[TREE, TREE], TREE])
def test_the_current_branch(content: object) -> None:
    assert layout(content) == "chatgpt"
    assert all(same(dialogue, ([], []), SAID) for dialogue in read(content))


def test_what_is_left_out_is_counted() -> None:
    left_out: Counter[str] = Counter()
    read([TREE, branch(("user", "hi"))], left_out=left_out)
    assert +left_out == {
        "messages of other branches": 2,
        "system messages": 2,
        "hidden messages": 1,
        "thoughts and other contents that are no answer": 1,
        "tool calls": 1,
        "tool messages": 1,
        "parts of messages without text": 1,
        "conversations without an answer": 1,
    }


def test_a_picture_without_a_word_ends_the_talk() -> None:
    left_out: Counter[str] = Counter()
    record = branch(("user", "hi"), ("assistant", "ho"), ("user", ""), ("assistant", "a fine cat"))
    assert same(read([record], left_out=left_out)[0], ([], []), ["hi", "ho"])
    assert left_out["messages without text; the talk ends before each"] == 1


def test_an_empty_answer_is_counted() -> None:
    left_out: Counter[str] = Counter()
    record = branch(("user", "hi"), ("assistant", ""), ("assistant", "ho"))
    assert same(read([record], left_out=left_out)[0], ([], []), ["hi", "ho"])
    assert left_out["empty answers"] == 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (TREE | {"current_node": "gone"}, "no message 'gone' in 'mapping'"),
        (TREE | {"current_node": None}, "no 'current_node'"),
        (conversation({"a": node("b", "user", "x"), "b": node("a", "user", "y")}, "a"), "the message 'a' comes before"),
        (conversation({"a": node(None, "judge", "x")}, "a"), "message 1 has the role 'judge'"),
        (conversation({"a": {"parent": None, "message": {"author": {"role": "user"}}}}, "a"), "no 'content'"),
        ({"title": "x"}, "no 'mapping'"),
    ],
)
def test_a_record_that_is_no_dialogue(record: dict, reason: str) -> None:
    dialogue, line = read([TREE, record])
    assert same(dialogue, ([], []), SAID)
    assert line.startswith(f"record 2: {reason}")


@settings(max_examples=100, deadline=None)
@given(damaged([TREE, TREE]))
def test_damaged_records_give_dialogues_or_one_line(records: object) -> None:
    check(json.dumps(records).encode())
    check(json.dumps(records).encode(), "chatgpt")


@settings(deadline=None)
@given(st.lists(st.text("abc \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=20))
def test_what_was_said_comes_back(said: list[str]) -> None:
    record = branch(*((("user", "assistant")[number % 2], text) for number, text in enumerate(said)))
    assert same(read([record])[0], ([], []), said[: len(said) // 2 * 2])
