"""Chat messages as OpenAI and most trainers have them: JSON lines, a talk each.

    {"messages": [{"role": "system", "content": "i have two dogs .\\ni paint ."},
                  {"role": "user", "content": "hi !"},
                  {"role": "assistant", "content": "hello !", "weight": 0},
                  {"role": "user", "content": "any pets ?"},
                  {"role": "assistant", "content": "two dogs ."}]}

The system message is the assistant's persona, a fact a line. A reply with `weight` 0 is not to be learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from personagpt.errors import shorten
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, parse_each, value_of

USER, ASSISTANT = "user", "assistant"


def recognises(source: Source) -> bool:
    return any(isinstance(record, dict) and _has_roles(record.get("messages")) for record in source.first_records)


def _has_roles(messages: Any) -> bool:
    """Return whether `messages` may be chat messages. A chat program's own export has messages without roles."""
    first = messages[0] if isinstance(messages, list) and messages else {"role": ""}
    return messages is not None and not (isinstance(first, dict) and "role" not in first)


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    return parse_each(source.records(left_out), _talk)


def _talk(record: Record) -> ImportedTalk:
    turns: list[ImportedTurn] = []
    facts: list[str] = []
    for number, message in enumerate(value_of(record.content, "messages", list), start=1):
        role, text = value_of(message, "role", str), value_of(message, "content", str)
        if role == "system" and not turns:
            facts += text.split("\n")
        elif role in (USER, ASSISTANT):
            turns.append(ImportedTurn(role, text, _is_label(message, number)))
        else:
            raise RecordError(f"message {number} has the role {shorten(role)}; expected system first, user, assistant")
    return ImportedTalk(record.place, turns, {ASSISTANT: facts}, ASSISTANT, record.part)


def _is_label(message: dict[str, Any], number: int) -> bool:
    weight = message.get("weight")
    if weight not in (None, 0, 1):
        raise RecordError(f"message {number} has the weight {shorten(weight)}; expected 0 (not to be learned) or 1")
    return weight != 0
