"""Chat messages in JSON lines."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings

from personagpt.text.convai2 import Dialogue
from tests.importing.helpers import check, damaged, json_lines, layout, messages, read, same

SYSTEM = messages(
    ("system", "i bake .\ni have a dog ."), ("user", "hi"), ("assistant", "hello\nthere"), ("user", "bye")
)


def test_talks() -> None:
    begins = messages(("assistant", "hi"), ("user", "hi"), ("user", "who are you ?"), ("assistant", "me\tand you"))
    text = f"{json.dumps(SYSTEM)}\n\n{json.dumps(begins)}\n"
    assert layout(text) == "messages"
    first, second = read(text)
    # The last words got no answer: there is nothing to learn from them.
    assert same(first, ([], ["i bake .", "i have a dog ."]), ["hi", "hello there"])
    assert same(second, ([], []), ["hi", "hi who are you ?", "me and you"])


def test_a_reply_of_weight_0_is_never_learned() -> None:
    texts = ["a ?", "a .", "b ?", "BAD", "c ?", "c ."]
    record = messages(("system", "i bake ."), *zip(["user", "assistant"] * 3, texts, strict=True))
    record["messages"][4]["weight"] = 0
    record["messages"][6]["weight"] = 1
    left_out: Counter[str] = Counter()
    first, second = read(json_lines(record), left_out=left_out)
    assert same(first, ([], ["i bake ."]), ["a ?", "a ."])
    assert same(second, ([], ["i bake ."]), ["c ?", "c ."])
    assert left_out["replies of weight 0; a talk ends before each"] == 1
    record["messages"][4]["weight"] = 2
    assert read(json_lines(record)) == ["record 1: message 5 has the weight 2; expected 0 (not to be learned) or 1"]


def test_only_replies_of_weight_0_leave_nothing() -> None:
    record = messages(("user", "a ?"), ("assistant", "BAD"))
    record["messages"][1]["weight"] = 0
    left_out: Counter[str] = Counter()
    assert read(json_lines(record), left_out=left_out) == []
    assert left_out["pieces of talks without a reply"] == 1


def test_another_programs_messages_are_not_these() -> None:
    with pytest.raises(Exception, match="of no format that is known"):
        layout({"name": "Kim", "messages": [{"from": "Kim", "text": "hi"}]})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"messages": []}, "assistant says nothing"),
        ({"messages": "hi"}, "'messages' is 'hi'; expected a list"),
        ({"messages": [3]}, "expected an object with 'role', got 3"),
        (messages(("user", None), ("assistant", "hi")), "message 1 has no text"),
        (messages(("user", 7)), "'content' of message 1 is 7; expected text"),
        (messages(("user", [{"type": "image_url"}]), ("assistant", "a cat")), "message 1 has no text"),
        (messages(("user", "hi")), "assistant says nothing"),
        (messages(("system", "i bake ."), ("user", "hi")), "assistant says nothing"),
        (messages(("user", "hi"), ("system", "i bake .")), "message 2 has the role 'system'; expected system first"),
        (messages(("user", "hi"), ("judge", "\x1b[31m")), "message 2 has the role 'judge'; expected system first"),
        (messages(("user", "hi"), ("assistant", " \n ")), "message 2 has no text"),
    ],
)  # fmt: skip
def test_a_record_that_is_no_dialogue(content: dict, reason: str) -> None:
    (line,) = read([content])
    assert line.startswith(f"record 1: {reason}")


def test_content_as_parts() -> None:
    parts = [
        {"type": "text", "text": "what is"},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "it ?"},
    ]
    record = messages(("developer", [{"type": "text", "text": "i bake ."}]), ("user", parts), ("assistant", ["a cat"]))
    left_out: Counter[str] = Counter()
    assert same(read([record], left_out=left_out)[0], ([], ["i bake ."]), ["what is it ?", "a cat"])
    assert +left_out == {"parts of messages without text": 1}


def test_tool_calls_and_names() -> None:
    record = messages(
        ("system", "i bake ."), ("system", "soup ?"), ("system", "yes ."), ("user", "rain ?"), ("assistant", None),
        ("tool", "[1]"), ("assistant", "a little ."), ("user", "snow ?"), ("assistant", "let me see ."),
    )  # fmt: skip
    record["messages"][1]["name"], record["messages"][2]["name"] = "example_user", "example_assistant"
    record["messages"][3]["name"] = "ann"
    record["messages"][4]["tool_calls"] = record["messages"][8]["tool_calls"] = [{"id": "1"}]
    left_out: Counter[str] = Counter()
    (dialogue,) = read([record], left_out=left_out)
    assert same(dialogue, ([], ["i bake ."]), ["soup ?", "yes .", "rain ?", "a little .", "snow ?", "let me see ."])
    assert +left_out == {"tool calls": 2, "tool messages": 1}


@settings(max_examples=100, deadline=None)
@given(damaged([SYSTEM, messages(("user", [{"type": "text", "text": "hi"}]), ("assistant", "ho"))]))
def test_damaged_records_give_dialogues_or_one_line(records: object) -> None:
    check(json.dumps(records).encode(), "messages")


def test_a_damaged_line_leaves_the_others() -> None:
    good = json.dumps(SYSTEM).encode()
    deep = b"[" * 100_000
    results = read(b"\n".join([b'{"messages": [', good, b"\xff", deep, b"7", good]))
    assert results[0] == "line 1: expected an object with 'messages', got None"
    assert [isinstance(dialogue, Dialogue) for dialogue in results] == [False, True, False, False, False, True]


def test_bytes_that_are_no_utf_8_are_named() -> None:
    bad = json.dumps(messages(("user", "x"), ("assistant", "yes"))).encode().replace(b"x", b"caf\xe9")
    results = read(bad + b"\n" + json.dumps(SYSTEM).encode())
    assert results[0] == "line 1: byte 0xe9 in utterance 1 is not UTF-8 text; save the file as UTF-8"
    assert isinstance(results[1], Dialogue)


def test_a_system_prompt_beside_the_messages() -> None:
    record = {"system": "i bake .\ni row .", **messages(("user", "hi"), ("assistant", "hello"))}
    assert same(read(json_lines(record))[0], ([], ["i bake .", "i row ."]), ["hi", "hello"])


def test_geminis_names() -> None:
    contents = [
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [{"text": "hello"}, {"inlineData": {}}]},
    ]
    record = {"systemInstruction": {"parts": [{"text": "i bake ."}]}, "contents": contents}
    left_out: Counter[str] = Counter()
    assert layout(json_lines(record)) == "messages"
    assert same(read(json_lines(record), left_out=left_out)[0], ([], ["i bake ."]), ["hi", "hello"])
    assert +left_out == {"parts of messages without text": 1}
