"""The talks between people and programs of ConvAI2's site: data_*.json and the older export_*.json.

    [{"dialog": [{"id": 0, "sender": "participant2", "text": "Hi!", "evaluation_score": 1, "sender_class": "Bot"},
                 {"id": 1, "sender": "participant1", "text": "hello", "evaluation_score": null,
                  "sender_class": "Human"}],
      "start_time": "2018-10-30 08:29:23.340000", "end_time": "2018-10-30 08:43:19.964000",
      "bot_profile": ["i like tacos."], "user_profile": ["i take walks."], "eval_score": 3, "profile_match": 1,
      "participant1_id": {"class": "User", "user_id": "User 7"},
      "participant2_id": {"class": "Bot", "user_id": "Bot 6"}}]

`evaluation_score` is the person's thumb on a reply, up (1) or down (0). `eval_score` is the person's score for the
talk, from 1 to 5. `profile_match` is 1 if the person chose the program's persona out of two. null, "" and -1 say that
there is none. An older export has neither thumbs, times, classes nor ids: there participant2 is the program, as in all
newer files. Messages are read in the order of their ids. A talk in which only the person or only the program speaks is
left out.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Collection
from typing import Any

from personagpt.errors import shorten
from personagpt.importing.chats import list_at
from personagpt.importing.sources import Source
from personagpt.importing.talks import (
    PERSON,
    PROGRAM,
    Encounter,
    ImportedTalk,
    ImportedTurn,
    Record,
    RecordError,
    texts_of,
    value_of,
)

CLASSES = {"human": PERSON, "user": PERSON, "bot": PROGRAM}
USUAL = {"participant1": PERSON, "participant2": PROGRAM}  # where a file does not say the classes
PROFILES = {PERSON: "user_profile", PROGRAM: "bot_profile"}
NONE = (None, "", -1)
SCORE, MATCH = "eval_score", "profile_match"  # the person's ratings of a talk


def recognises(source: Source) -> bool:
    return any(
        isinstance(record, dict)
        and (messages := list_at(record, "dialog"))
        and (not record.keys().isdisjoint(PROFILES.values()) or _has_class(messages[0]))
        for record in source.first_records
    )


def _has_class(message: Any) -> bool:
    return isinstance(message, dict) and "sender_class" in message


def talk(record: Record, left_out: Counter[str]) -> ImportedTalk | None:
    content, turns, is_assumed = record.content, [], False
    names = {sender: _participant(content, f"{sender}_id") for sender in USUAL}
    for number, message in enumerate(_in_order(value_of(content, "dialog", list)), start=1):
        sender, text = value_of(message, "sender", str), value_of(message, "text", str)
        known = names.get(sender, ("", None))[0]
        given = message.get("sender_class") or known
        side = CLASSES.get(str(given).lower()) if given else USUAL.get(sender)
        if side is None:
            raise RecordError(f"message {number} is from {shorten(given or sender)}; expected a Human or a Bot")
        if CLASSES.get(known.lower(), side) != side:
            raise RecordError(f"message {number} is from {sender}, a {known} by its id, but its class is {given}")
        is_assumed |= not given
        thumb = _one_of(message, "evaluation_score", (0, 1))
        if thumb is not None and side == PERSON:
            raise RecordError(f"message {number} is the person's and has a thumb")
        if text.strip():
            turns.append(ImportedTurn(side, text, thumbs=() if thumb is None else (bool(thumb),)))
        else:
            left_out["empty messages"] += 1
    ids = {CLASSES.get(kind.lower(), ""): name for kind, name in names.values()}
    ratings = {SCORE: _one_of(content, SCORE, range(1, 6)), MATCH: _one_of(content, MATCH, (0, 1))}
    encounter = Encounter(
        model=ids.get(PROGRAM),
        participant=ids.get(PERSON),
        started=_time(content, "start_time"),
        ended=_time(content, "end_time"),
        ratings={name: rating for name, rating in ratings.items() if rating is not None},
        is_assumed=is_assumed,
    )
    facts = {side: texts_of(content, key) for side, key in PROFILES.items() if content.get(key) is not None}
    if len({turn.speaker for turn in turns}) < 2:
        left_out["talks in which only one of the two speaks"] += 1
        return None
    return ImportedTalk(record.place, turns, facts, part=record.part, encounter=encounter)


def _in_order(messages: list[Any]) -> list[Any]:
    """Return the messages in the order of their ids if each has a number of its own as its id, else as they stand."""
    numbers = [message.get("id") if isinstance(message, dict) else None for message in messages]
    if all(type(number) is int for number in numbers) and len(set(numbers)) == len(numbers):
        return sorted(messages, key=lambda message: message["id"])
    return messages


def _participant(content: Any, key: str) -> tuple[str, str | None]:
    """Return the class and the id of a participant: "" and None where the record has none."""
    if not isinstance(content, dict) or content.get(key) is None:
        return "", None
    about = value_of(content, key, dict)
    kind, name = (value_of(about, part, str) if about.get(part) is not None else "" for part in ("class", "user_id"))
    return kind, name.strip() or None


def _one_of(content: dict[str, Any], key: str, allowed: Collection[int]) -> int | None:
    """Return the number at `key`, None where there is none. Raises RecordError for a number that is not `allowed`."""
    value = content.get(key)
    if any(type(value) is type(none) and value == none for none in NONE):
        return None
    if type(value) is not int or value not in allowed:
        raise RecordError(f"{key!r} is {shorten(value)}; expected {min(allowed)} to {max(allowed)}, or null")
    return value


def _time(content: dict[str, Any], key: str) -> datetime.datetime | None:
    if content.get(key) in (None, ""):
        return None
    text = value_of(content, key, str)
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        raise RecordError(f"{key!r} is {shorten(text)}; expected a time such as 2018-10-30 08:29:23") from None
