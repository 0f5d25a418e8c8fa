"""Synthetic-Persona-Chat's CSV files: a talk a row, both personas with a fact a line.

user 1 personas,user 2 personas,Best Generated Conversation
"I bake.
I have a dog.","I ski.","User 1: Hi!
User 2: Hello.
[The next day]
User 1: Bye."
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from personagpt.errors import UserError, shorten
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, parse_each, value_of

USERS = ("user 1", "user 2")
PERSONA_COLUMNS, TALK_COLUMN = ("user 1 personas", "user 2 personas"), "best generated conversation"
# `[The next day]`, `(They eat.)`, `* * *` stand between the utterances.
DIRECTION = re.compile(r"\s*(\[.*\]|\(.*\)|[*\s]*)\s*")
SPOKEN = re.compile(r"[*\s]*(user [12])\s*:[*\s]*(.*)", re.IGNORECASE)


def recognises(source: Source) -> bool:
    return {*PERSONA_COLUMNS, TALK_COLUMN} <= set(source.columns)


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    if not recognises(source):
        wanted = ", ".join((*PERSONA_COLUMNS, TALK_COLUMN))
        raise UserError(f"{source.name}: no Synthetic-Persona-Chat: expected a CSV with the columns {wanted}")
    return parse_each(source.records(left_out), lambda record: _talk(record, left_out))


def _talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    turns: list[ImportedTurn] = []
    for line in value_of(record.content, TALK_COLUMN, str).split("\n"):
        if DIRECTION.fullmatch(line):
            left_out["stage directions"] += bool(line.strip())
        elif spoken := SPOKEN.match(line):
            turns.append(ImportedTurn(spoken[1].lower(), spoken[2]))
        else:
            raise RecordError(f"expected `User 1: ...` or `User 2: ...`, got {shorten(line)}")
    columns = zip(USERS, PERSONA_COLUMNS, strict=True)
    facts = {user: value_of(record.content, column, str).split("\n") for user, column in columns}
    return ImportedTalk(record.place, turns, facts, part=record.part)
