"""Talks as bare lists of texts, as Chinese corpora and UltraChat have them: the speakers take turns.

[["any pets ?", "a goat ."], ["hi !", "hello !", "bye !"]]          {"id": "1", "data": ["any pets ?", "a goat ."]}
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from personagpt.errors import shorten
from personagpt.importing.sources import Source
from personagpt.importing.talks import SPEAKERS, ImportedTalk, ImportedTurn, Record, RecordError

KEY = "data"


def recognises(source: Source) -> bool:
    return any(_texts(record) for record in source.first_records)


def _texts(record: Any) -> list[str]:
    """Return the texts of a record; none where it is no list of at least two texts."""
    said = record.get(KEY) if isinstance(record, dict) else record
    is_talk = isinstance(said, list) and len(said) > 1 and all(isinstance(text, str) for text in said)
    return said if is_talk else []


def talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    said = _texts(record.content)
    if not said:
        raise RecordError(f"expected a list of at least two texts, got {shorten(record.content)}")
    turns = [ImportedTurn(SPEAKERS[number % 2], text) for number, text in enumerate(said)]
    return ImportedTalk(record.place, turns, part=record.part)
