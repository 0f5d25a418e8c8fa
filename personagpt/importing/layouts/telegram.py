"""Telegram Desktop's JSON export: one chat, or all chats under `chats` and `left_chats`.

    {"name": "Kim", "type": "personal_chat", "id": 4711, "messages": [
     {"id": 1, "type": "service", "date": "2024-02-01T10:00:00", "actor": "Kim", "action": "phone_call", "text": ""},
     {"id": 2, "type": "message", "date": "2024-02-01T10:01:00", "date_unixtime": "1706781660", "from": "Kim",
      "from_id": "user1", "text": ["see ", {"type": "link", "text": "example.org"}]}]}

Service messages, media without a caption, and forwarded messages, which somebody else wrote, are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from personagpt.importing.chats import ChatMessage, chat_talk, id_at, list_at, text_at
from personagpt.importing.sources import Source
from personagpt.importing.stamps import iso_seconds, number_seconds
from personagpt.importing.talks import ImportedTalk, RecordError

LISTS = ("chats", "left_chats")  # of an export of all chats


def recognises(source: Source) -> bool:
    return source.kind == "JSON" and any(
        id_at(message, "type") in ("message", "service") and "date" in message
        for chat in _chats(source.document)
        for message in list_at(chat, "messages")[:10]
    )


def _chats(document: Any) -> list[Any]:
    if not isinstance(document, dict):
        return []
    return [document, *(chat for key in LISTS for chat in list_at(document.get(key), "list"))]


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    for number, chat in enumerate(_chats(source.document)):
        if not isinstance(chat, dict) or "messages" not in chat:
            continue
        names: dict[str, str] = {}
        messages = []
        for message in list_at(chat, "messages"):
            writer = id_at(message, "from_id") or id_at(message, "from")
            if said := _said(message, left_out):
                names[writer] = text_at(message, "from") or names.get(writer, "Deleted Account")
                seconds = number_seconds(message.get("date_unixtime")) or iso_seconds(message.get("date"))
                messages.append(ChatMessage(writer, said, seconds))
        place = f"chat {number} {text_at(chat, 'name')}" if number else f"chat {text_at(chat, 'name')}"
        if talk := chat_talk(place, messages, names, left_out):
            yield talk


def _said(message: Any, left_out: Counter[str]) -> str:
    """Return what the writer of `message` says; "" where it is left out, which is counted."""
    if not isinstance(message, dict) or message.get("type") != "message":
        left_out["service messages"] += 1
    elif "forwarded_from" in message:
        left_out["forwarded messages"] += 1
    elif not (text := _text(message.get("text"))).strip():
        left_out["messages of media"] += 1
    else:
        return text
    return ""


def _text(value: Any) -> str:
    """Return text that is a string, or a list of strings and of objects for links, mentions, bold words."""
    if isinstance(value, list):
        return "".join(part if isinstance(part, str) else text_at(part, "text") for part in value)
    return value if isinstance(value, str) else ""
