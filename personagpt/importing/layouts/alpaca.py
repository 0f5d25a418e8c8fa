"""Alpaca's instructions, as JSON or as a table: each is a talk of a question and its answer.

    {"instruction": "name a bee .", "input": "a wild one", "output": "the mason bee .", "system": "i keep bees .",
     "history": [["hello !", "hi there ."]]}

`input` (`context` in Dolly) goes on with the instruction. `system` is the persona, a fact a line. The pairs of
`history` come first.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from personagpt.errors import shorten
from personagpt.importing.roles import ASSISTANT, USER, roles_talk
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, Record, RecordError, value_of

OUTPUTS = ("output", "response")


def recognises(source: Source) -> bool:
    if source.kind == "table":
        return _has_keys(source.columns)
    return any(isinstance(record, dict) and _has_keys(record) for record in source.first_records)


def _has_keys(keys: Any) -> bool:
    return "instruction" in keys and any(key in keys for key in OUTPUTS)


def talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    instruction = value_of(record.content, "instruction", str)
    output = value_of(record.content, next((key for key in OUTPUTS if key in record.content), OUTPUTS[0]), str)
    more = [_optional(record.content, key) for key in ("input", "context")]
    question = "\n".join(text for text in (instruction, *more) if text.strip())
    messages = []
    for pair in value_of(record.content, "history", list) if record.content.get("history") else []:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise RecordError(f"'history' has {shorten(pair)} in it; expected [question, answer]")
        messages += [(USER, pair[0], True), (ASSISTANT, pair[1], True)]
    messages += [(USER, question, True), (ASSISTANT, output, True)]
    return roles_talk(record, messages, left_out, _optional(record.content, "system"))


def _optional(record: dict[str, Any], key: str) -> str:
    """Return the text at `key`; "" where it is missing or null. Raises RecordError for anything else."""
    return value_of(record, key, str) if record.get(key) is not None else ""
