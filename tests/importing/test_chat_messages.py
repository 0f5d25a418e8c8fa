"""Dialogues as chat messages, and back."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from personagpt.importing.chat_messages import message_lines
from personagpt.text.convai2 import Dialogue
from tests.importing.helpers import read

WORDS = st.text("abc xyz", min_size=1, max_size=8).map(str.strip).filter(bool)
FACTS = st.lists(WORDS, min_size=1, max_size=3)


def test_each_learned_side_is_a_record() -> None:
    dialogue = Dialogue((["i sew .", "i row ."], ["i bake ."]), ["hi", "ho", "bye"])
    first, second = map(json.loads, message_lines([dialogue]))
    assert first["messages"] == [
        {"role": "system", "content": "i sew .\ni row ."},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "ho"},
        {"role": "assistant", "content": "bye"},
    ]
    assert second["messages"] == [
        {"role": "system", "content": "i bake ."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
    ]
    (only,) = map(json.loads, message_lines([Dialogue(([], ["i bake ."]), ["hi", "ho"])]))
    assert [message["role"] for message in only["messages"]] == ["system", "user", "assistant"]


@settings(deadline=None)
@given(FACTS, st.lists(WORDS, min_size=2, max_size=6))
def test_what_was_written_is_read_back(facts: list[str], said: list[str]) -> None:
    owner = (len(said) - 1) % 2
    dialogue = Dialogue((facts, []) if owner == 0 else ([], facts), said)
    assert read("\n".join(message_lines([dialogue])), "messages") == [dialogue]
