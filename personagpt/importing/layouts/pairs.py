"""Questions and their answers: TRL's prompts and completions, preferences, tables of questions and answers.

    {"prompt": "any pets ?", "completion": "a goat ."}                      question,answer
    {"prompt": [{"role": "system", "content": "i bake ."},                  any pets ?,a goat .
                {"role": "user", "content": "any pets ?"}],
     "chosen": [{"role": "assistant", "content": "a goat ."}], "rejected": [...]}
    {"persona": ["i bake ."], "context": ["hi !", "hello !", "any pets ?"], "response": "a goat ."}

The question is a text, a list of the utterances before the answer, or a list of messages. `system` or `persona` is the
persona of the speaker who answers. Rejected answers are left out, and an answer with `"label": false` is not learned.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from personagpt.errors import shorten
from personagpt.importing.roles import ASSISTANT, USER, role_of, roles_talk, text_of
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, Record, RecordError, value_of

QUESTIONS = ("prompt", "question", "query", "input", "context", "user", "human", "message", "utterance")
ANSWERS = ("completion", "chosen", "response", "answer", "output", "assistant", "bot", "ai", "reply")
PERSONAS = ("system", "persona", "personality")

Message = tuple[str, str, bool]  # role, text, whether it is to be learned


def recognises(source: Source) -> bool:
    if source.kind == "table":
        return _has_keys(source.columns)
    return any(isinstance(record, dict) and _has_keys(record) for record in source.first_records)


def _has_keys(keys: Any) -> bool:
    return any(key in keys for key in QUESTIONS) and any(key in keys for key in ANSWERS)


def talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    content = record.content
    if not isinstance(content, dict) or not _has_keys(content):
        raise RecordError(
            f"expected a question and its answer, such as 'prompt' and 'completion', got {shorten(content)}"
        )
    asked = _messages(content, QUESTIONS, USER, left_out)
    answered = _messages(content, ANSWERS, ASSISTANT, left_out)
    if content.get("label") is False:
        answered = [(role, text, False) for role, text, _ in answered]
    left_out["rejected answers"] += "rejected" in content
    system = ""
    if key := next((key for key in PERSONAS if content.get(key)), None):
        facts = content[key] if isinstance(content[key], list) else [value_of(content, key, str)]
        system = "\n".join(fact for fact in facts if isinstance(fact, str))
    return roles_talk(record, [*asked, *answered], left_out, system)


def _messages(content: dict[str, Any], keys: tuple[str, ...], last: str, left_out: Counter[str]) -> list[Message]:
    """Return the messages of the first of the `keys` that the record has; the role `last` says the last of them."""
    key = next(key for key in keys if key in content)
    value = content[key] if isinstance(content[key], list) else [value_of(content, key, str)]
    other = USER if last == ASSISTANT else ASSISTANT
    messages: list[Message] = []
    for number, said in enumerate(value, start=1):
        if isinstance(said, dict):
            role = role_of(value_of(said, "role", str), number)
            messages.append((role, text_of(said.get("content"), number, left_out), True))
        elif isinstance(said, str):
            messages.append((other if (len(value) - number) % 2 else last, said, True))
        else:
            raise RecordError(f"{key!r} has {shorten(said)} in it; expected text or messages")
    return messages
