"""ShareGPT's conversations: a list, a conversation a line, or one alone.

    {"conversations": [{"from": "system", "value": "i keep bees ."},
                       {"from": "human", "value": "what do you do ?"},
                       {"from": "gpt", "value": "i keep bees ."}]}

The list may be called `conversations`, `conversation`, `items` or `messages`, the writer `from` or `role` with any of
the names in personagpt/importing/roles.py, the text `value`, `content` or `text`. `system` beside the list is a system
prompt. {"human": "...", "assistant": "..."} is two messages. Tool calls and tool messages are left out.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from personagpt.errors import shorten
from personagpt.importing.chats import text_at
from personagpt.importing.roles import ROLES, is_label, role_of, roles_talk, text_of
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, Record, RecordError, value_of

LISTS = ("conversations", "conversation", "items", "messages", "chat_messages")  # the last is Claude's export's
WRITERS, TEXTS = ("from", "role", "speaker", "author", "sender"), ("value", "content", "text")


def recognises(source: Source) -> bool:
    return any(_is_message(message) for record in source.first_records for message in _messages(record)[:1])


def _messages(record: Any) -> list[Any]:
    key = _key(record)
    return record[key] if key else []


def _key(record: Any) -> str:
    """Return the key of the list of messages; "" where the record has none."""
    keys = [key for key in LISTS if isinstance(record, dict) and isinstance(record.get(key), list)]
    return keys[0] if keys else ""


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    names = [message.get(key) for key in WRITERS if key in message]
    is_named = any(isinstance(name, str) and name.strip().lower() in ROLES for name in names)
    return (is_named and any(key in message for key in TEXTS)) or _is_pair(message)


def _is_pair(message: dict[str, Any]) -> bool:
    """Return whether the keys are roles: {"human": "...", "assistant": "..."}."""
    return len(message) > 0 and all(key.lower() in ROLES for key in message)


def talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    messages = []
    for number, message in enumerate(value_of(record.content, _key(record.content) or LISTS[0], list), start=1):
        if isinstance(message, dict) and _is_pair(message):
            messages += [(role_of(key, number), text_of(text, number, left_out), True) for key, text in message.items()]
            continue
        writer = next((key for key in WRITERS if isinstance(message, dict) and key in message), None)
        contents = [key for key in TEXTS if isinstance(message, dict) and key in message]
        content = next((key for key in contents if message[key]), contents[0]) if contents else None
        if writer is None or content is None:
            raise RecordError(f"message {number} is {shorten(message)}; expected an object with 'from' and 'value'")
        text = text_of(message[content], number, left_out)
        messages.append((role_of(message[writer], number), text, is_label(message, number)))
    return roles_talk(record, messages, left_out, text_at(record.content, "system", "system_prompt"))
