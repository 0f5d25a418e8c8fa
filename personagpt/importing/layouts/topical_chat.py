"""Topical-Chat's conversations: one object, a talk under each id.

{"t_1": {"article_url": "...", "config": "A", "content": [
   {"message": "Do you like dance?", "agent": "agent_1", "sentiment": "Happy", "knowledge_source": ["FS1"]},
   {"message": "Yes, I do.", "agent": "agent_2", "sentiment": "Happy", "knowledge_source": ["FS2"]}]}, ...}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from personagpt.errors import UserError
from personagpt.importing.chats import list_at
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, parse_each, value_of


def recognises(source: Source) -> bool:
    return any(
        isinstance(message, dict) and {"message", "agent"} <= message.keys()
        for talk in islice(_talks(source).values(), 10)
        for message in list_at(talk, "content")[:1]
    )


def _talks(source: Source) -> dict[str, Any]:
    return source.document if source.kind == "JSON" and isinstance(source.document, dict) else {}


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    if not _talks(source):
        raise UserError(f'{source.name}: expected an object of talks, {{"ID": {{"content": [...]}}, ...}}')
    talks = (Record(" ".join(f"chat {name}".split()), talk) for name, talk in _talks(source).items())
    return parse_each(talks, _talk)


def _talk(record: Record) -> ImportedTalk:
    messages = value_of(record.content, "content", list)
    turns = [ImportedTurn(value_of(said, "agent", str), value_of(said, "message", str)) for said in messages]
    return ImportedTalk(record.place, turns)
