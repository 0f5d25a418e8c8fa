"""Chat messages with roles, as language models have them -> a talk between user and assistant."""

from __future__ import annotations

from collections import Counter
from typing import Any

from personagpt.errors import shorten
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError

USER, ASSISTANT, SYSTEM, TOOL, TOOL_CALL = "user", "assistant", "system", "tool messages", "tool calls"
ROLES = {
    name: role
    for role, names in {
        USER: "user human prompter customer",
        ASSISTANT: "assistant gpt chatgpt bing bard model bot ai chatbot claude",
        SYSTEM: "system developer",
        TOOL: "tool function observation function_response tool_response ipython",
        TOOL_CALL: "function_call tool_call",
    }.items()
    for name in names.split()
}
EXAMPLES = {"example_user": USER, "example_assistant": ASSISTANT}  # names of system messages that show how to answer
TEXT_TYPES = ("text", "input_text", "output_text")


def role_of(name: Any, number: int) -> str:
    """Return the role that the writer of message `number` has. Raises RecordError for a name of no role."""
    role = ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise RecordError(f"message {number} has the role {shorten(name)}; expected system first, user, assistant")
    return role


def text_of(content: Any, number: int, left_out: Counter[str]) -> str:
    """Return the text of a message: a string, or the texts of a list of parts, a line each.

    Parts that are no text are counted in `left_out`. Raises RecordError where `content` is neither.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RecordError(f"'content' of message {number} is {shorten(content)}; expected text")
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) and part.get("type", "text") in TEXT_TYPES else part
        if isinstance(text, str):
            texts.append(text)
        else:
            left_out["parts of messages without text"] += 1
    return "\n".join(texts)


def is_label(message: dict[str, Any], number: int) -> bool:
    """Return whether a reply is to be learned: `weight` 0 and `train` false say no. Raises RecordError."""
    weight = message.get("weight")
    if weight not in (None, 0, 1):
        raise RecordError(f"message {number} has the weight {shorten(weight)}; expected 0 (not to be learned) or 1")
    return weight != 0 and message.get("train") is not False


def roles_talk(
    record: Record, messages: list[tuple[str, str, bool]], left_out: Counter[str], system: str = ""
) -> ImportedTalk:
    """Return the talk of (role, text, whether it is to be learned) of each message; `system` is a system prompt.

    The system messages before the first utterance are the assistant's persona, a fact a line. Raises RecordError for
    a system message in the middle. Raises RecordError for a message without text, because its answer would be learned
    without it.
    """
    facts = [fact for fact in system.split("\n") if fact.strip()]
    turns: list[ImportedTurn] = []
    for number, (role, text, is_learned) in enumerate(messages, start=1):
        if role in (TOOL, TOOL_CALL):
            left_out[role] += 1
        elif role == SYSTEM:
            if turns:
                raise RecordError(f"message {number} has the role 'system'; expected system first, user, assistant")
            facts += text.split("\n")
        else:
            if not text.strip():
                raise RecordError(f"message {number} has no text")
            turns.append(ImportedTurn(role, text, is_learned))
    return ImportedTalk(record.place, turns, {ASSISTANT: facts}, ASSISTANT, record.part)
