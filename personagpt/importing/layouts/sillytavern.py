"""SillyTavern's chat files: a line about the chat, then a message a line.

    {"user_name": "You", "character_name": "Vex", "create_date": "...", "chat_metadata": {}}
    {"name": "Vex", "is_user": false, "send_date": "...", "mes": "*looks up* Who are you?", "swipes": [...]}
    {"name": "You", "is_user": true, "send_date": "...", "mes": "the new kid"}

`mes` is the reply that the user kept; the other swipes are not read. Hidden messages (`is_system`) and the narrator's
are left out. {{user}} and {{char}} become the names. The dates split nothing, because people go on with a scene after
days. In a group chat several characters speak, and `--speaker` chooses who replies.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from personagpt.importing.chats import text_at
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, parse_each, value_of

ABOUT = {"user_name", "character_name", "chat_metadata"}
MACRO = re.compile(r"\{\{(user|char)\}\}", re.IGNORECASE)


def recognises(source: Source) -> bool:
    records = source.first_records if source.kind == "JSON lines" else []
    return any(isinstance(record, dict) and {"name", "is_user", "mes"} <= record.keys() for record in records)


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    return parse_each(_chats(source.records(left_out)), lambda record: _talk(record, left_out))


def _chats(records: Iterable[Record]) -> Iterator[Record]:
    """Yield the records of each chat: a line about a chat starts it."""
    chat: Record | None = None
    for record in records:
        is_about = isinstance(record.content, dict) and "mes" not in record.content and ABOUT & record.content.keys()
        if chat and is_about:
            yield chat
            chat = None
        chat = chat or Record(record.place, [])
        chat.content.append(record)
    if chat:
        yield chat


def _talk(chat: Record, left_out: Counter[str]) -> ImportedTalk:
    first, *others = chat.content
    about = first.content if isinstance(first.content, dict) and "mes" not in first.content else {}
    messages = [record for record in (others if about else chat.content) if _is_said(record, left_out)]
    characters = list(dict.fromkeys(_name(record) for record in messages if not record.content.get("is_user")))
    turns = []
    character = text_at(about, "character_name") or next(iter(characters), "")
    user = text_at(about, "user_name") or next((_name(m) for m in messages if m.content.get("is_user")), "You")
    for record in messages:
        name, is_user = _name(record), record.content.get("is_user")
        names = {"user": user, "char": character if is_user else name}
        if is_user and name in characters:
            name = f"{name} (user)"
        text = MACRO.sub(lambda macro, names=names: names[macro[1].lower()], record.content["mes"])
        turns.append(ImportedTurn(name, text))
    return ImportedTalk(chat.place, turns, replier=characters[0] if len(characters) == 1 else None)


def _is_said(record: Record, left_out: Counter[str]) -> bool:
    """Return whether a person or a character says this message; count the others. Raises RecordError."""
    try:
        value_of(record.content, "mes", str)
        value_of(record.content, "name", str)
    except RecordError as error:
        raise RecordError(f"the message of {record.place}: {error}") from None
    if record.content.get("is_system") is True:
        left_out["hidden messages"] += 1
        return False
    extra = record.content.get("extra")
    if isinstance(extra, dict) and extra.get("type") in ("narrator", "comment"):
        left_out["messages of the narrator"] += 1
        return False
    if not record.content["mes"].strip():
        left_out["empty messages"] += 1
        return False
    return True


def _name(record: Record) -> str:
    return record.content["name"].strip()
