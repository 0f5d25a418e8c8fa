"""ChatGPT's export, conversations.json: a conversation is a tree of messages, because people edit and ask again.

    [{"title": "Bees", "current_node": "c", "mapping": {
        "a": {"parent": null, "message": null, "children": ["b", "d"]},
        "b": {"parent": "a", "message": {"author": {"role": "user"}, "content": {"content_type": "text",
                                                                                 "parts": ["what do bees eat?"]}}},
        "c": {"parent": "b", "message": {"author": {"role": "assistant"}, "recipient": "all", "content": {...}}},
        "d": ...}}, ...]

The branch that ends in `current_node` is read, as the program shows it. System messages, tools, tool calls, hidden
messages and thoughts are left out. A message of the user that holds no text, such as a picture, ends the talk, because
the answer refers to what is not there.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from personagpt.errors import shorten
from personagpt.importing.roles import ASSISTANT, SYSTEM, TOOL, TOOL_CALL, USER, role_of, text_of
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, value_of

CONTEXT_TYPES = {"user_editable_context", "model_editable_context"}  # what the user told of themselves, and memory
TALK_TYPES = {"text", "multimodal_text"}


def recognises(source: Source) -> bool:
    return any(_is_conversation(record) for record in source.first_records)


def _is_conversation(record: Any) -> bool:
    nodes = record.get("mapping") if isinstance(record, dict) else None
    return isinstance(nodes, dict) and any(isinstance(node, dict) and "message" in node for node in nodes.values())


def talk(record: Record, left_out: Counter[str]) -> ImportedTalk | None:
    turns: list[ImportedTurn] = []
    branch = _branch(value_of(record.content, "mapping", dict), record.content.get("current_node"))
    nodes = [node for node in record.content["mapping"].values() if isinstance(node, dict)]
    left_out["messages of other branches"] += sum(isinstance(n.get("message"), dict) for n in nodes) - len(branch)
    for number, message in enumerate(branch, start=1):
        role = role_of(value_of(value_of(message, "author", dict), "role", str), number)
        content = value_of(message, "content", dict)
        if reason := _why_left_out(message, content, role):
            left_out[reason] += 1
            continue
        text = text_of(content.get("parts"), number, left_out)
        if text.strip():
            turns.append(ImportedTurn(role, text, role == USER or message.get("weight") != 0))
        elif role == USER:
            left_out["messages without text; the talk ends before each"] += 1
            break
        else:
            left_out["empty answers"] += 1
    if ASSISTANT not in [turn.speaker for turn in turns]:
        left_out["conversations without an answer"] += 1
        return None
    return ImportedTalk(record.place, turns, replier=ASSISTANT, part=record.part)


def _branch(nodes: dict[str, Any], last: Any) -> list[dict[str, Any]]:
    """Return the messages from the root of the tree to the node `last`. Raises RecordError."""
    messages: list[dict[str, Any]] = []
    passed: set[str] = set()
    node_id = last
    while node_id is not None:
        node = nodes.get(node_id) if isinstance(node_id, str) else None
        if not isinstance(node, dict):
            raise RecordError(f"no message {shorten(node_id)} in 'mapping'")
        if node_id in passed:
            raise RecordError(f"the message {shorten(node_id)} comes before itself")
        passed.add(node_id)
        if isinstance(node.get("message"), dict):
            messages.append(node["message"])
        node_id = node.get("parent")
    if last is None:
        raise RecordError("no 'current_node'")
    return messages[::-1]


def _why_left_out(message: dict[str, Any], content: dict[str, Any], role: str) -> str:
    """Return as what a message is counted that is no part of the talk; "" for one that is."""
    metadata = message.get("metadata")
    if role == SYSTEM or content.get("content_type") in CONTEXT_TYPES:
        return "system messages"
    if role == TOOL:
        return TOOL
    if role == TOOL_CALL or message.get("recipient", "all") != "all":
        return TOOL_CALL
    if isinstance(metadata, dict) and metadata.get("is_visually_hidden_from_conversation") is True:
        return "hidden messages"
    return "" if content.get("content_type", "text") in TALK_TYPES else "thoughts and other contents that are no answer"
