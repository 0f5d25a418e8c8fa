"""Persona-Chat as a CSV, the form that Kaggle has: a talk a row, the speakers take turns.

,Persona,chat
0,"i bake bread. i have a goat.","hi , what did you do today ?
baked all day , i am tired .
nice ! any pets ?
a goat , she eats my shoes .
"

The persona is that of the second speaker, who replies. Each sentence of it is a fact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from personagpt.errors import UserError
from personagpt.importing.sources import Source
from personagpt.importing.steps import sentences
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, parse_each, value_of

COLUMNS = ("persona", "chat")
SPEAKERS = ("partner", "you")


def recognises(source: Source) -> bool:
    return set(COLUMNS) <= set(source.columns)


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    if not recognises(source):
        raise UserError(f"{source.name}: expected a CSV with the columns {' and '.join(COLUMNS)}")
    return parse_each(source.records(left_out), _talk)


def _talk(record: Record) -> ImportedTalk:
    persona, chat = (value_of(record.content, column, str) for column in COLUMNS)
    facts = [fact for line in persona.split("\n") for fact in sentences(line.strip())]
    said = [line for line in chat.split("\n") if line.strip()]
    turns = [ImportedTurn(SPEAKERS[number % 2], text) for number, text in enumerate(said)]
    return ImportedTalk(record.place, turns, {SPEAKERS[1]: facts}, SPEAKERS[1])
