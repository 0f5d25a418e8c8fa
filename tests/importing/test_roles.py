"""Messages with roles."""

from __future__ import annotations

from collections import Counter

import pytest

from personagpt.importing.roles import is_label, role_of, roles_talk, text_of
from personagpt.importing.talks import Record, RecordError

RECORD = Record("line 1", None)


@pytest.mark.parametrize(
    ("names", "role"),
    [
        ("user human Human", "user"),
        ("assistant gpt chatgpt bing bard model", "assistant"),
        ("system developer", "system"),
        ("tool function observation", "tool messages"),
        ("function_call", "tool calls"),
    ],
)
def test_names_of_roles(names: str, role: str) -> None:
    assert {role_of(name, 1) for name in names.split()} == {role}


@pytest.mark.parametrize("name", ["judge", "", None, 7])
def test_a_name_of_no_role(name: object) -> None:
    with pytest.raises(RecordError, match="message 3 has the role "):
        role_of(name, 3)


def test_parts_that_are_no_text_are_counted() -> None:
    left_out: Counter[str] = Counter()
    assert text_of(["a", {"type": "text", "text": "b"}, {"type": "image"}, 7], 1, left_out) == "a\nb"
    assert left_out == {"parts of messages without text": 2}


def test_what_is_learned() -> None:
    replies = [{}, {"weight": 1}, {"train": True}, {"weight": 0}, {"train": False}]
    assert [is_label(reply, 1) for reply in replies] == [True, True, True, False, False]
    with pytest.raises(RecordError, match="message 2 has the weight 'much'"):
        is_label({"weight": "much"}, 2)


def test_a_talk() -> None:
    left_out: Counter[str] = Counter()
    messages = [
        ("system", "b\nc", True),
        ("user", "hi", True),
        ("tool messages", "x", True),
        ("assistant", "ho", False),
    ]
    talk = roles_talk(RECORD, messages, left_out, "a\n")
    assert talk.facts == {"assistant": ["a", "b", "c"]}
    assert [(turn.speaker, turn.text, turn.is_label) for turn in talk.turns] == [
        ("user", "hi", True),
        ("assistant", "ho", False),
    ]
    assert left_out == {"tool messages": 1}
    with pytest.raises(RecordError, match="message 2 has the role 'system'; expected system first"):
        roles_talk(RECORD, [("user", "hi", True), ("system", "a", True)], left_out)
