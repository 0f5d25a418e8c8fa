"""Other corpora -> dialogues: five formats in which talks with personas are published or kept.

    transfertransfo         personachat_self_original.json: {"train": [record, ...], "valid": [...]}, a record being
                            {"personality": [fact, ...], "utterances": [{"history": ..., "candidates": ...}, ...]}
    truecased               JSON, a record for each response: conv_id, utterance_idx, personality, history, candidates
    synthetic-persona-chat  CSV: user 1 personas, user 2 personas, Best Generated Conversation
    messages                JSON lines {"messages": [{"role": "system" (the persona, one fact a line), "user" or
                            "assistant", "content": ...}, ...]}
    plain                   `A: ...` and `B: ...` lines, a blank line between talks; `A's persona: FACT` lines before

The first two repeat what was said before in every response's history; the true response is the last of its candidates;
only the persona of who gives it is there. JSON may be a list, one record a line, or lists under the names of the file's
parts.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personagpt.errors import UserError
from personagpt.text.convai2 import SILENCE, Dialogue, TextError, parse_corpus, write_corpus

MOST_CHARACTERS = 100_000  # of one fact or utterance: what is longer is no talk
USERS = ("user 1", "user 2")
PERSONA_COLUMNS, TALK_COLUMN = ("user 1 personas", "user 2 personas"), "best generated conversation"
SPLITS = {"train": "train", "valid": "valid", "validation": "valid", "dev": "valid"}  # a file's own parts

Turn = tuple[str, str]  # who speaks, and what


class RecordError(Exception):
    """A record that is no dialogue; the message says why, without the record's place."""


@dataclass
class Record:
    """One dialogue as its file holds it."""

    place: str  # where in the file: "line 3", "record 3"
    content: Any
    split: str | None = None  # "train" or "valid" where the file is split already


def read_records(path: Path, wanted: str | None = None) -> tuple[str, list[Record]]:
    """The format of the file at `path`, recognised by its content unless `wanted`, and its records.

    Raises UserError where the file as a whole cannot be read.
    """
    data = path.read_bytes()
    if b"\0" in data[:4096]:
        raise UserError(f"{path}: not UTF-8 text; unpack it, or save it as UTF-8")
    # A byte that is not UTF-8 becomes half a surrogate pair, which its record is then refused for, and only that one.
    text = data.decode("utf-8-sig", errors="surrogateescape").replace("\r\n", "\n")
    start = text[:2000].lstrip()
    try:
        if not start:
            raise UserError(f"{path}: the file is empty")
        if wanted == "plain" or not (wanted or re.match(r'\{|\[\s*[{\]"]|[^\n]*user 1 personas', start, re.IGNORECASE)):
            return "plain", _blocks(text, wanted is not None)
        if wanted == "synthetic-persona-chat" or not (wanted or start[0] in "{["):
            return "synthetic-persona-chat", _rows(text)
        records = _json_records(text)
    except RecordError as error:
        raise UserError(f"{path}: {error}") from None
    found = wanted or _json_format(records)
    if found is None:
        raise UserError(f"{path}: JSON of no format that is known; name one of {', '.join(FORMATS)} with --format")
    return found, _grouped(records) if found == "truecased" else records


def to_dialogue(content: Any, name: str) -> Dialogue:
    """A record of the format `name` -> its dialogue. Raises RecordError."""
    try:
        dialogue = FORMATS[name](content)
        # What the text format cannot carry is found now, where the record can still be named.
        parse_corpus(write_corpus([dialogue]).encode(), "its text")
    except UnicodeEncodeError:
        raise RecordError("not UTF-8 text") from None
    except (TextError, ValueError) as error:
        raise RecordError(str(error)) from None
    return dialogue


# What a record of each format holds.


def _from_transfertransfo(record: Any) -> Dialogue:
    return _from_histories(_texts(record, "personality"), _value(record, "utterances", list))


def _from_truecased(rows: Any) -> Dialogue:
    ordered = sorted(rows, key=lambda row: _value(row, "utterance_idx", int))
    return _from_histories(_texts(ordered[0], "personality"), ordered)


def _from_histories(facts: list[str], records: list[Any]) -> Dialogue:
    """The last record's history and its true response are the whole dialogue; whoever says that has the facts."""
    if not records:
        raise RecordError("no utterances")
    history, candidates = _texts(records[-1], "history"), _texts(records[-1], "candidates")
    if not candidates:
        raise RecordError("no candidates; expected the true response as the last of them")
    if len(history) < 2 * len(records) - 1:
        raise RecordError(f"{len(records)} responses, but a history of {len(history)} utterances: it was cut")
    speakers = ("partner", "you")
    said = [*history, candidates[-1]]
    turns = [(speakers[(len(said) - 1 - number) % 2 == 0], text) for number, text in enumerate(said)]
    return _dialogue(turns, speakers, {"you": facts})


def _from_synthetic(row: Any) -> Dialogue:
    turns: list[Turn] = []
    for line in _value(row, TALK_COLUMN, str).split("\n"):
        # Stage directions stand between the utterances: `[The next day]`, `(They eat.)`, `* * *`.
        if re.fullmatch(r"\s*(\[.*\]|\(.*\)|[*\s]*)\s*", line):
            continue
        spoken = re.match(r"[*\s]*(user [12])\s*:[*\s]*(.*)", line, re.IGNORECASE)
        if not spoken:
            raise RecordError(f"expected `User 1: ...` or `User 2: ...`, got {_short(line)}")
        turns.append((spoken[1].lower(), spoken[2]))
    facts = {user: _value(row, column, str).split("\n") for user, column in zip(USERS, PERSONA_COLUMNS, strict=True)}
    return _dialogue(turns, USERS, facts)


def _from_messages(record: Any) -> Dialogue:
    turns: list[Turn] = []
    facts: list[str] = []
    for number, message in enumerate(_value(record, "messages", list), start=1):
        role, text = _value(message, "role", str), _value(message, "content", str)
        if role == "system" and not turns:
            facts += text.split("\n")
        elif role in ("user", "assistant"):
            turns.append((role, text))
        else:
            raise RecordError(f"message {number} has the role {_short(role)}; expected system first, user, assistant")
    while turns and turns[-1][0] == "user":  # words that got no answer
        turns.pop()
    return _dialogue(turns, ("user", "assistant"), {"assistant": facts})


def _from_plain(lines: Any) -> Dialogue:
    turns: list[Turn] = []
    facts: dict[str, list[str]] = {}
    for line in lines:
        fact = re.match(r"\s*([^:]{1,40}?)['\u2019]s persona\s*:(.*)", line, re.IGNORECASE)
        spoken = re.match(r"\s*([^:]{1,40}?)\s*:(.*)", line)
        if fact and turns:
            raise RecordError(f"{_short(line)} stands in the talk; expected all persona lines before it")
        if fact:
            facts.setdefault(fact[1], []).append(fact[2])
        elif spoken:
            turns.append((spoken[1], spoken[2]))
        else:
            raise RecordError(f"expected `NAME: what they say`, got {_short(line)}")
    speakers = tuple(dict.fromkeys(speaker for speaker, _ in turns))
    if len(speakers) != 2:
        raise RecordError(f"{len(speakers)} speakers ({_short(', '.join(speakers))}); expected two")
    if strange := set(facts) - set(speakers):
        raise RecordError(f"a persona of {_short(strange.pop())}, who says nothing")
    return _dialogue(turns, speakers, facts)


FORMATS = {
    "transfertransfo": _from_transfertransfo,
    "truecased": _from_truecased,
    "synthetic-persona-chat": _from_synthetic,
    "messages": _from_messages,
    "plain": _from_plain,
}


def _dialogue(turns: list[Turn], speakers: tuple[str, ...], facts: dict[str, list[str]]) -> Dialogue:
    """What `speakers`, two of them, said in `turns`; what one says in a row is one utterance.

    Where one speaker's persona is given only, the dialogue ends with that speaker's last utterance: a ConvAI2 text
    names the last speaker's persona `your persona`, and only that side of it is then made.
    """
    personas = {who: [text for fact in facts.get(who, []) if (text := _clean(fact, "a fact"))] for who in speakers}
    given = [who for who in speakers if personas[who]]
    said: list[Turn] = []
    for number, (who, text) in enumerate(turns, start=1):
        text = _clean(text, f"utterance {number}")
        if number == 1 and re.fullmatch(r"__ ?silence ?__", text, re.IGNORECASE):
            continue
        if not text or text == SILENCE:
            raise RecordError(f"utterance {number} is {text or 'empty'}")
        if said and said[-1][0] == who:
            said[-1] = (who, f"{said[-1][1]} {text}")
        else:
            said.append((who, text))
    while len(given) == 1 and said and said[-1][0] != given[0]:
        said.pop()
    if not said:
        raise RecordError("nobody says anything" if len(given) != 1 else f"{given[0]}, whose persona it is, is silent")
    first = said[0][0]
    second = speakers[speakers[0] == first]
    return Dialogue(personas=(personas[first], personas[second]), utterances=[text for _, text in said])


# Files -> records.


def _json_records(text: str) -> list[Record]:
    """The records of a JSON file: a list, one record a line, or lists under the names of its parts."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        if not any(isinstance(_line_content(line), dict) for _, line in lines[:10]):
            raise RecordError(f"not JSON: {error}") from None
        return [Record(f"line {number}", _line_content(line)) for number, line in lines]
    if isinstance(content, dict) and content and all(isinstance(part, list) for part in content.values()):
        if not content.keys() & {"messages", "utterances"}:
            return [record for name, part in content.items() for record in _part(name, part)]
    content = content if isinstance(content, list) else [content]
    return [Record(f"record {number}", record) for number, record in enumerate(content, start=1)]


def _part(name: str, records: list[Any]) -> Iterator[Record]:
    if name not in SPLITS:
        raise RecordError(f"its part {_short(name)} is none of {', '.join(SPLITS)}")
    for number, record in enumerate(records, start=1):
        yield Record(f"{name} record {number}", record, SPLITS[name])


def _line_content(line: str) -> Any:
    """What a line of JSON holds; None, which no record is, where it is not JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _json_format(records: list[Record]) -> str | None:
    """The format that the first of `records` with a format's keys is in."""
    keys = {"conv_id": "truecased", "utterances": "transfertransfo", "messages": "messages"}
    for record in records:
        for key, name in keys.items():
            if isinstance(record.content, dict) and key in record.content:
                return name
    return None


def _grouped(records: list[Record]) -> list[Record]:
    """A record for each conversation of the truecased form's records; one without a `conv_id` stays alone."""
    groups: dict[Any, Record] = {}
    for record in records:
        row = record.content
        known = isinstance(row, dict) and isinstance(row.get("conv_id"), (int, str))
        key = (record.split, row["conv_id"]) if known else record.place
        groups.setdefault(key, Record(record.place, [], record.split)).content.append(row)
    return list(groups.values())


def _rows(text: str) -> list[Record]:
    """The rows of a CSV file as {column: text}, the columns' names in lower case."""
    csv.field_size_limit(2**31 - 1)
    # strict: a quote that is never closed would swallow the rest of the file as one field.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [name.strip().lower() for name in next(reader)]
        if missing := {*PERSONA_COLUMNS, TALK_COLUMN} - set(columns):
            raise RecordError(f"a CSV without the column {_short(sorted(missing)[0])}")
        rows = [dict(zip(columns, row, strict=False)) for row in reader if row]
    except csv.Error as error:
        raise RecordError(f"line {reader.line_num}: not CSV from there on: {error}") from None
    return [Record(f"record {number}", row) for number, row in enumerate(rows, start=1)]


def _blocks(text: str, is_wanted: bool) -> list[Record]:
    """The talks of a plain text, a list of lines each. A blank line between personas and talk does not end it."""
    lines = text.split("\n")
    first = next(line for line in lines if line.strip())
    if re.match(r"1 ", first):
        raise RecordError("it is in the ConvAI2 format already; name its folder in data_path")
    if not (is_wanted or re.match(r"[^:]{1,60}:", first)):
        raise RecordError(f"of no format that is known ({_short(first)}); --format names one of {', '.join(FORMATS)}")
    blocks: list[Record] = []
    is_open = False
    for number, line in enumerate(lines, start=1):
        if line.strip() and not is_open:
            blocks.append(Record(f"line {number}", []))
            is_open = True
        if line.strip():
            blocks[-1].content.append(line)
        elif is_open:
            is_open = all(re.search(r"s persona\s*:", said, re.IGNORECASE) for said in blocks[-1].content)
    return blocks


# Values.


def _value(record: Any, key: str, kind: type) -> Any:
    """The value of `key`, which must be a `kind`. Raises RecordError."""
    if not isinstance(record, dict):
        raise RecordError(f"expected an object with {key!r}, got {_short(record)}")
    if key not in record:
        raise RecordError(f"no {key!r}")
    if not isinstance(record[key], kind) or isinstance(record[key], bool):
        expected = {str: "text", list: "a list", int: "a whole number"}[kind]
        raise RecordError(f"{key!r} is {_short(record[key])}; expected {expected}")
    return record[key]


def _texts(record: Any, key: str) -> list[str]:
    values = _value(record, key, list)
    for value in values:
        if not isinstance(value, str):
            raise RecordError(f"{key!r} has {_short(value)} in it; expected text")
    return values


def _clean(text: str, what: str) -> str:
    """`text` on one line, without tabs. Raises RecordError where no talk would be so long."""
    text = text.strip()
    if len(text) > MOST_CHARACTERS:
        raise RecordError(f"{what} has {len(text):,} characters; at most {MOST_CHARACTERS:,} are read")
    return re.sub(r"[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+", " ", text)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
