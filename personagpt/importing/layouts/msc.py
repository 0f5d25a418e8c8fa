"""Multi-Session Chat's session_N files: a talk a line, with both personas.

    {"personas": [["I have a boat."], ["I teach math."]],
     "dialog": [{"id": "Speaker 1", "text": "Did the boat arrive?"}, {"id": "Speaker 2", "text": "Not yet."}],
     "previous_dialogs": [{"personas": [...], "dialog": [{"text": "Hi!"}, ...], "time_num": 3, "time_unit": "days"}]}

The first persona is Speaker 1's. An utterance without an `id` is the other speaker's than the utterance before it. The
previous dialogs are left out, because each has a record in the file of its own session.
"""

from __future__ import annotations

from collections import Counter

from personagpt.errors import shorten
from personagpt.importing.chats import list_at
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, texts_of, value_of

SPEAKERS = ("Speaker 1", "Speaker 2")


def recognises(source: Source) -> bool:
    return any(
        isinstance(record, dict) and "personas" in record and _is_utterance(list_at(record, "dialog")[:1])
        for record in source.first_records
    )


def _is_utterance(utterances: list[object]) -> bool:
    return any(isinstance(utterance, dict) and "text" in utterance for utterance in utterances)


def talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    personas = value_of(record.content, "personas", list)
    if len(personas) != 2:
        raise RecordError(f"{len(personas)} personas; expected those of {' and '.join(SPEAKERS)}")
    facts = {who: texts_of({"personas": lines}, "personas") for who, lines in zip(SPEAKERS, personas, strict=True)}
    turns: list[ImportedTurn] = []
    for number, utterance in enumerate(value_of(record.content, "dialog", list), start=1):
        text = value_of(utterance, "text", str)
        # Where the id is absent, the speakers take turns.
        before = SPEAKERS.index(turns[-1].speaker) if turns else 1
        speaker = utterance.get("id", SPEAKERS[1 - before])
        if speaker not in SPEAKERS:
            raise RecordError(f"utterance {number} has the id {shorten(speaker)}; expected {' or '.join(SPEAKERS)}")
        turns.append(ImportedTurn(speaker, text))
    left_out["earlier dialogs, which stand in the files of their sessions"] += len(
        list_at(record.content, "previous_dialogs")
    )
    return ImportedTalk(record.place, turns, facts, part=record.part)
