"""The record type between a layout and the shared steps: a talk as its file holds it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from personagpt.errors import shorten

SPEAKERS = ("first speaker", "second speaker")  # where a file does not name them
PERSON, PROGRAM = "person", "program"  # of an Encounter


class RecordError(Exception):
    """A record that is no dialogue. The message is the reason; `place` is where the record stands in its file."""

    def __init__(self, reason: str, place: str = "") -> None:
        super().__init__(reason)
        self.place = place


@dataclass(frozen=True)
class Record:
    """A part of a file that holds a talk, or a row of it."""

    place: str  # "line 3", "record 3", "train record 3"
    content: Any
    part: str | None = None  # the part of its file: "train", "valid", another name as it stands there, None


@dataclass(slots=True)
class ImportedTurn:
    """What one speaker said at once. The text may have line ends and control characters; a shared step mends them."""

    speaker: str
    text: str
    is_label: bool = True  # False: others' words refer to the text, but no model may learn it
    seconds: float | None = None  # when it was said, counted from any moment that the whole file shares
    thumbs: tuple[bool, ...] = ()  # the listener's thumbs on it: True for up, False for down


@dataclass(frozen=True, slots=True)
class Encounter:
    """What a file says beside the words about a talk between a person and a program, PERSON and PROGRAM."""

    model: str | None  # which program it was, if the file tells
    participant: str | None  # which person it was, if the file tells
    started: datetime.datetime | None  # when the first message was sent
    ended: datetime.datetime | None  # ... and the last
    ratings: dict[str, int]  # the person's ratings of the whole talk
    is_assumed: bool  # whether the file leaves open who is the program


@dataclass(slots=True)
class ImportedTalk:
    """A talk between any number of speakers, oldest turn first."""

    place: str
    turns: list[ImportedTurn]
    facts: dict[str, list[str]] = field(default_factory=dict)  # each speaker's persona, as far as the file has it
    replier: str | None = None  # the speaker who answers, where the layout knows it: the talk ends with a reply
    part: str | None = None  # as a Record's
    encounter: Encounter | None = None  # where the layout knows that a person talks with a program

    @property
    def speakers(self) -> list[str]:
        """Return the names of all who say something, in the order of their first turns."""
        return list(dict.fromkeys(turn.speaker for turn in self.turns))


def parse_each(
    records: Iterable[Record], parse: Callable[[Record], ImportedTalk | None]
) -> Iterator[ImportedTalk | RecordError]:
    """Yield the talk of each record, or why the record has none. A record of which `parse` returns None is left out."""
    for record in records:
        try:
            if talk := parse(record):
                yield talk
        except RecordError as error:
            yield RecordError(str(error), record.place)


def value_of(record: Any, key: str, kind: type) -> Any:
    """Return the value of `key`, which must be a `kind` (str, list, dict or int). Raises RecordError."""
    if not isinstance(record, dict):
        raise RecordError(f"expected an object with {key!r}, got {shorten(record)}")
    if key not in record:
        raise RecordError(f"no {key!r}")
    if not isinstance(record[key], kind) or isinstance(record[key], bool):
        expected = {str: "text", list: "a list", dict: "an object", int: "a whole number"}[kind]
        raise RecordError(f"{key!r} is {shorten(record[key])}; expected {expected}")
    return record[key]


def texts_of(record: Any, key: str) -> list[str]:
    """Return the value of `key`, which must be a list of texts. Raises RecordError."""
    values = value_of(record, key, list)
    for value in values:
        if not isinstance(value, str):
            raise RecordError(f"{key!r} has {shorten(value)} in it; expected text")
    return values
