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

from personagpt.errors import shorten
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, value_of

USERS = ("user 1", "user 2")
COLUMNS = ("user 1 personas", "user 2 personas", "best generated conversation")
# `[The next day]`, `(They eat.)`, `* * *` stand between the utterances.
DIRECTION = re.compile(r"\s*(\[.*\]|\(.*\)|[*\s]*)\s*")
SPOKEN = re.compile(r"[*\s]*(user [12])\s*:[*\s]*(.*)", re.IGNORECASE)


def recognises(source: Source) -> bool:
    return set(COLUMNS) <= set(source.columns)


def talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    turns: list[ImportedTurn] = []
    for line in value_of(record.content, COLUMNS[-1], str).split("\n"):
        if DIRECTION.fullmatch(line):
            left_out["stage directions"] += bool(line.strip())
        elif spoken := SPOKEN.match(line):
            turns.append(ImportedTurn(spoken[1].lower(), spoken[2]))
        else:
            raise RecordError(f"expected `User 1: ...` or `User 2: ...`, got {shorten(line)}")
    columns = zip(USERS, COLUMNS, strict=False)
    facts = {user: value_of(record.content, column, str).split("\n") for user, column in columns}
    return ImportedTalk(record.place, turns, facts, part=record.part)
