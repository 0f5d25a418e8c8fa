"""Empathetic Dialogues: a row for each utterance, with `_comma_` in place of commas.

conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags
hit:0_conv:1,1,proud,I baked a cake_comma_ at last.,1,I baked a cake_comma_ at last!,5|5|5_2|2|5,
hit:0_conv:1,2,proud,I baked a cake_comma_ at last.,0,That is great!,5|5|5_2|2|5,

The utterances with odd numbers are the speaker's, the others the listener's. The feeling and the situation are not
read, because the listener does not know them. A CSV that another program wrote, with commas in quotes, is read too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from personagpt.errors import UserError, shorten
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, parse_each, value_of

COLUMNS = ("conv_id", "utterance_idx", "utterance")
SPEAKERS = ("listener", "speaker")  # by the remainder of the utterance's number
COMMA = "_comma_"


def recognises(source: Source) -> bool:
    return set(COLUMNS) <= set(_header(source))


def _header(source: Source) -> list[str]:
    return [name.strip().strip('"').lower() for name in source.first_lines[0].split(",")]


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    if not recognises(source):
        raise UserError(f"{source.name}: expected a CSV with the columns {', '.join(COLUMNS)}")
    rows = source.records(left_out) if source.kind == "table" and COMMA not in source.text else _plain_rows(source)
    return parse_each(_conversations(rows), _talk)


def _plain_rows(source: Source) -> Iterator[Record]:
    """Yield the rows of the published files, in which a quotation mark is a character like any other."""
    header = _header(source)
    for number, line in source.lines():
        if number > 1 and line.strip():
            yield Record(f"line {number}", dict(zip(header, line.split(","), strict=False)))


def _conversations(rows: Iterator[Record]) -> Iterator[Record]:
    for _, group in groupby(rows, lambda row: row.content.get("conv_id")):
        listed = list(group)
        yield Record(listed[0].place, [row.content for row in listed])


def _talk(record: Record) -> ImportedTalk:
    turns: list[ImportedTurn] = []
    before: int | None = None
    for row in record.content:
        written = value_of(row, "utterance_idx", str)
        number = int(written) if written.isdecimal() and len(written) < 9 else None
        if number is None or (before is not None and number != before + 1):
            wanted = "utterance_idx" if before is None else f"utterance_idx {before + 1}"
            raise RecordError(f"expected {wanted}, a whole number, got {shorten(written)}")
        turns.append(ImportedTurn(SPEAKERS[number % 2], value_of(row, "utterance", str).replace(COMMA, ",")))
        before = number
    return ImportedTalk(record.place, turns)
