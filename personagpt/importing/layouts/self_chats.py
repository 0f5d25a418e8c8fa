"""ParlAI's saved conversations: a talk a line, in pairs of messages.

    {"dialog": [[{"id": "bot_1", "text": "hi !"}, {"id": "bot_2", "text": "hello !"}],
                [{"id": "bot_1", "text": "any pets ?"}, {"id": "bot_2", "text": "a goat ."}]],
     "context": [{"id": "context", "text": "your persona: i bake ."}], "metadata_path": "..."}

The messages' ids are the speakers' names; where all messages have one id, the places in the pairs tell the speakers.
The context is left out, because it does not say whose it is.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from personagpt.errors import shorten
from personagpt.importing.chats import list_at
from personagpt.importing.sources import Source
from personagpt.importing.talks import SPEAKERS, ImportedTalk, ImportedTurn, Record, RecordError, value_of


def recognises(source: Source) -> bool:
    return any(_is_round(pair) for record in source.first_records for pair in list_at(record, "dialog")[:1])


def _is_round(pair: Any) -> bool:
    return isinstance(pair, list) and any(isinstance(message, dict) and "text" in message for message in pair)


def talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    said: list[tuple[str, str, str]] = []  # id, place in the pair, text
    for number, pair in enumerate(value_of(record.content, "dialog", list), start=1):
        if not isinstance(pair, list) or len(pair) > len(SPEAKERS):
            raise RecordError(f"exchange {number} is {shorten(pair)}; expected a list of two messages")
        for place, message in zip(SPEAKERS, pair, strict=False):
            said.append((value_of(message, "id", str), place, value_of(message, "text", str)))
    is_named = len({name for name, _, _ in said}) > 1
    left_out["messages of the context"] += len(list_at(record.content, "context"))
    turns = [ImportedTurn(name if is_named else place, text) for name, place, text in said]
    return ImportedTalk(record.place, turns, part=record.part)
