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

from personagpt.importing.sources import Source
from personagpt.importing.steps import sentences
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, value_of

COLUMNS = ("persona", "chat")
SPEAKERS = ("partner", "you")


def recognises(source: Source) -> bool:
    return set(COLUMNS) <= set(source.columns)


def talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    persona, chat = (value_of(record.content, column, str) for column in COLUMNS)
    facts = [fact for line in persona.split("\n") for fact in sentences(line.strip())]
    said = [line for line in chat.split("\n") if line.strip()]
    turns = [ImportedTurn(SPEAKERS[number % 2], text) for number, text in enumerate(said)]
    return ImportedTalk(record.place, turns, {SPEAKERS[1]: facts}, SPEAKERS[1])
