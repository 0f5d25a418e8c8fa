"""Chat messages as OpenAI and most trainers have them: JSON lines, a talk each.

    {"messages": [{"role": "system", "content": "i have two dogs .\\ni paint ."},
                  {"role": "user", "content": [{"type": "text", "text": "hi !"}]},
                  {"role": "assistant", "content": "hello !", "weight": 0},
                  {"role": "user", "content": "any pets ?", "name": "ann"},
                  {"role": "assistant", "content": null, "tool_calls": [{...}]},
                  {"role": "tool", "content": "[...]", "tool_call_id": "1"},
                  {"role": "assistant", "content": "two dogs ."}]}

The system (or developer) message is the assistant's persona, a fact a line; so is `system` beside the messages. A
reply with `weight` 0 is not to be learned. Tool calls, tool messages and parts that are no text are left out. Gemini's
names are read, too: `contents` with `parts`, and `systemInstruction`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from personagpt.importing.roles import EXAMPLES, SYSTEM, TOOL_CALL, is_label, role_of, roles_talk, text_of
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, Record, value_of


def recognises(source: Source) -> bool:
    return any(isinstance(record, dict) and _has_roles(record.get(_key(record))) for record in source.first_records)


def _key(record: dict[str, Any]) -> str:
    """Return the key of the list of messages."""
    return "contents" if "contents" in record and "messages" not in record else "messages"


def _has_roles(messages: Any) -> bool:
    """Return whether `messages` may be chat messages. A chat program's own export has messages without roles."""
    first = messages[0] if isinstance(messages, list) and messages else {"role": ""}
    return messages is not None and not (isinstance(first, dict) and "role" not in first)


def talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    messages = []
    key = _key(record.content) if isinstance(record.content, dict) else "messages"
    for number, message in enumerate(value_of(record.content, key, list), start=1):
        role = role_of(value_of(message, "role", str), number)
        if role == SYSTEM and message.get("name") in EXAMPLES:
            role = EXAMPLES[message["name"]]
        text = text_of(message.get("content", message.get("parts")), number, left_out)
        calls = message.get("tool_calls") or message.get("function_call")
        if calls:
            messages.append((TOOL_CALL, "", True))
        if text.strip() or not calls:
            messages.append((role, text, is_label(message, number)))
    return roles_talk(record, messages, left_out, _system(record.content, left_out))


def _system(record: dict[str, Any], left_out: Counter[str]) -> str:
    """Return the system prompt that stands beside the messages; "" where none does."""
    for key in ("system", "systemInstruction", "system_instruction"):
        prompt = record.get(key)
        if isinstance(prompt, dict):
            return text_of(prompt.get("parts"), 0, left_out)
        if isinstance(prompt, (str, list)):
            return text_of(prompt, 0, left_out)
    return ""
