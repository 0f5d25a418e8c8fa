"""A talk a line, its utterances apart by a mark: DailyDialog's `__eou__`, `</s>`, or tabs.

    Say , Jim , how about a walk ? __eou__ Good idea . __eou__ Let us go then . __eou__

    hi !</s>hello !</s>any pets ?</s>                         hi !<TAB>hello !<TAB>any pets ?

Two speakers take turns. The mark after the last utterance may be absent.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from personagpt.errors import UserError
from personagpt.importing.layouts.convai2 import FIRST_LINE
from personagpt.importing.sources import Source
from personagpt.importing.speaker_lines import split_name
from personagpt.importing.talks import SPEAKERS, ImportedTalk, ImportedTurn, Record, RecordError, parse_each

END_MARKS = ("__eou__", "</s>", "\t")
USUAL = 0.8  # of the first lines have the mark


def recognises(source: Source) -> bool:
    return _mark(source) is not None


def _mark(source: Source) -> str | None:
    """Return the mark between the utterances; None where the lines have none, or name who speaks."""
    if source.kind != "text" or FIRST_LINE.match(source.first_lines[0]):
        return None
    lines = source.first_lines
    for mark in END_MARKS:
        between = [line for line in lines if len(_utterances(line, mark)) > 1]
        # A name before the first utterance would become part of what is said.
        is_named = 3 * sum(split_name(line) is not None for line in between) >= len(lines)
        if len(between) >= USUAL * len(lines) and (mark == END_MARKS[0] or not is_named):
            return mark
    return None


def _utterances(line: str, mark: str) -> list[str]:
    """Return the texts between the marks. Two marks side by side have an empty text between them."""
    line = line.strip()
    return [text.strip() for text in (line[: -len(mark)] if line.endswith(mark) else line).split(mark)]


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    mark = _mark(source) or next((mark for mark in END_MARKS if mark in source.text), None)
    if mark is None:
        raise UserError(f"{source.name}: expected a talk a line, with `__eou__`, `</s>` or tabs between the utterances")
    lines = (Record(f"line {number}", line) for number, line in source.lines() if line.strip())
    return parse_each(lines, lambda record: _talk(record, mark))


def _talk(record: Record, mark: str) -> ImportedTalk:
    said = _utterances(re.sub(r"^\s*<s>", "", record.content), mark)
    turns = [ImportedTurn(SPEAKERS[number % 2], text) for number, text in enumerate(said)]
    return ImportedTalk(record.place, turns)
