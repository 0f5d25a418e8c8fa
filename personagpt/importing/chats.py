"""What the layouts of chat programs share: the messages of a chat, in any order -> a talk."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from personagpt.importing.talks import ImportedTalk, ImportedTurn


@dataclass(slots=True)
class ChatMessage:
    writer: str  # an id, or where there is none a name
    text: str
    seconds: float | None


def chat_talk(
    place: str, messages: list[ChatMessage], names: dict[str, str], left_out: Counter[str]
) -> ImportedTalk | None:
    """Return the talk of a chat's messages, oldest first; None where fewer than two people write, which is counted.

    `names` are the writers' names by their ids. Two writers of one name keep apart: each gets its id behind the name.
    """
    if len({message.writer for message in messages}) < 2:
        left_out["chats in which fewer than two people write"] += 1
        return None
    if all(message.seconds is not None for message in messages):
        messages = sorted(messages, key=lambda message: message.seconds or 0.0)
    writers = dict.fromkeys(message.writer for message in messages)
    shared = Counter(names.get(writer) or writer for writer in writers)
    shown = {}
    for writer in writers:
        name = names.get(writer) or writer
        shown[writer] = name if shared[name] == 1 else f"{name} ({writer})"
    return ImportedTalk(
        " ".join(place.split()), [ImportedTurn(shown[m.writer], m.text, seconds=m.seconds) for m in messages]
    )


def text_at(record: Any, *keys: str) -> str:
    """Return the first text that is not blank at one of the `keys`; "" where there is none."""
    for key in keys if isinstance(record, dict) else ():
        if isinstance(record.get(key), str) and record[key].strip():
            return record[key]
    return ""


def id_at(record: Any, key: str) -> str:
    """Return the id at `key`, a text or a whole number, as text; "" where there is none."""
    value = record.get(key) if isinstance(record, dict) else None
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def list_at(record: Any, key: str) -> list[Any]:
    """Return the list at `key`; an empty one where there is none."""
    value = record.get(key) if isinstance(record, dict) else None
    return value if isinstance(value, list) else []
