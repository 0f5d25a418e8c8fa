"""TransferTransfo's corpus with its true case, as the model hub has it: a record for each response.

    [{"conv_id": 0, "utterance_idx": 0, "personality": ["I have two dogs."],
      "history": ["Hi!"], "candidates": ["No idea.", "Hello, I paint."]},
     {"conv_id": 0, "utterance_idx": 1, ...}, ...]

The true response is the last candidate. The records of a conversation may stand in any order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from personagpt.importing.layouts.transfertransfo import talk_of_histories
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, Record, RecordError, parse_each, texts_of, value_of


def recognises(source: Source) -> bool:
    return any(isinstance(record, dict) and "conv_id" in record for record in source.first_records)


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    conversations: dict[Any, Record] = {}
    for record in source.records(left_out):
        row = record.content
        known = isinstance(row, dict) and isinstance(row.get("conv_id"), (int, str))
        key = (record.part, row["conv_id"]) if known else record.place  # a record without a conv_id stays alone
        conversations.setdefault(key, Record(record.place, [], record.part)).content.append(row)
    return parse_each(conversations.values(), _talk)


def _talk(record: Record) -> ImportedTalk:
    rows = sorted(record.content, key=lambda row: value_of(row, "utterance_idx", int))
    return talk_of_histories(record, texts_of(rows[0], "personality"), rows)
