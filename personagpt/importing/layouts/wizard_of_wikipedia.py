"""Wizard of Wikipedia: a wizard, who reads Wikipedia, and an apprentice talk about a topic.

    [{"chosen_topic": "Bee", "persona": "i keep bees .", "wizard_eval": 5, "dialog": [
       {"speaker": "0_Apprentice", "text": "I keep bees.", "retrieved_topics": ["Bee"]},
       {"speaker": "1_Wizard", "text": "Bees pollinate plants.", "checked_sentence": {...}}]}, ...]

The number before a speaker's name tells who began. The persona only helped to choose the topic, so it is nobody's
facts. The passages of Wikipedia are not read.
"""

from __future__ import annotations

import re
from collections import Counter

from personagpt.errors import shorten
from personagpt.importing.chats import list_at, text_at
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, value_of

SPEAKER = re.compile(r"[01]_(Wizard|Apprentice)")


def recognises(source: Source) -> bool:
    return any(
        SPEAKER.fullmatch(text_at(said, "speaker"))
        for record in source.first_records
        for said in list_at(record, "dialog")[:1]
    )


def talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    turns: list[ImportedTurn] = []
    for number, said in enumerate(value_of(record.content, "dialog", list), start=1):
        speaker = SPEAKER.fullmatch(value_of(said, "speaker", str))
        if not speaker:
            raise RecordError(
                f"utterance {number} has the speaker {shorten(said['speaker'])}; expected such as 0_Wizard"
            )
        turns.append(ImportedTurn(speaker[1], value_of(said, "text", str)))
    return ImportedTalk(record.place, turns, part=record.part)
