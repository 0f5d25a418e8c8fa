"""XPersona's files, Persona-Chat in several languages: a persona and pairs of an utterance and its reply.

    [{"persona": ["i keep a cat .", "i bake ."],
      "dialogue": [["hello ! busy today ?", "very , i baked all day ."],
                   ["do you have pets ?", "a cat . she is lazy ."]]}, ...]

The persona is that of the speaker who replies.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from personagpt.errors import shorten
from personagpt.importing.chats import list_at
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, texts_of, value_of

PARTNER, YOU = "partner", "you"


def recognises(source: Source) -> bool:
    firsts = ((record, pair) for record in source.first_records for pair in list_at(record, "dialogue")[:1])
    return any("persona" in record and _is_pair(pair) for record, pair in firsts)


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)


def talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    facts = texts_of(record.content, "persona")
    turns: list[ImportedTurn] = []
    for number, pair in enumerate(value_of(record.content, "dialogue", list), start=1):
        if not _is_pair(pair):
            raise RecordError(f"pair {number} is {shorten(pair)}; expected an utterance and its reply")
        turns += [ImportedTurn(PARTNER, pair[0]), ImportedTurn(YOU, pair[1])]
    return ImportedTalk(record.place, turns, {YOU: facts}, YOU, record.part)
