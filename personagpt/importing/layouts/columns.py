"""Any table (CSV, TSV) or JSON records, by a mapping from parts of a talk to columns or keys.

    index,scene,name,line                     {"id": 7, "bio": "i bake .", "turns": [{"who": "Ann", "says": "hi !"},
    0,1,Vex,"Get up, kid."                                                           {"who": "Ben", "says": "hello ."}]}
    1,1,Pim,What?
    --columns "speaker=name, text=line, talk=scene"          --columns "speaker=turns.who, text=turns.says, persona=bio"

    text      what is said; several `text=` are one after the other's. Needed.
    speaker   who says it. Without it two speakers take turns, and each line of a cell is an utterance.
    talk      rows in a row with the same value are a talk; several `talk=` count together. Without it the file is one
              talk, or each row that holds several utterances.
    persona   the facts of the row's speaker, a line each; without `speaker`, of the second speaker.

A dot leads into an object or a list of objects. A table whose header has a name such as `name` and one such as `line`
is read without a mapping.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from personagpt.errors import UserError, shorten
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, parse_each

Mapping = dict[str, list[str]]  # "speaker", "text", "talk", "persona" -> columns, or paths of keys

ROLES = ("speaker", "text", "talk", "persona")
# Names that columns have, the likeliest first. A table with a name of each of the first two groups is read as it is.
SPEAKER_NAMES = ("speaker", "name", "character")
TEXT_NAMES = ("line", "text", "utterance", "dialogue", "dialog")
LIKELY = {
    "speaker": (*SPEAKER_NAMES, "from", "author", "sender", "user", "role", "who", "person", "actor", "username"),
    "text": (*TEXT_NAMES, "message", "content", "mes", "value", "body", "chat", "says", "said", "sentence", "quote",
             "conversation"),
    "talk": ("talk", "scene", "episode", "conversation", "dialogue", "thread", "session", "season"),
    "persona": ("persona", "personas", "personality", "bio", "facts", "profile"),
}  # fmt: skip
ALTERNATING = ("first speaker", "second speaker")


def parse_mapping(text: str) -> Mapping:
    """Return the mapping that `--columns` gives. Raises UserError."""
    example = 'expected such as "speaker=name, text=line, talk=scene, persona=bio"'
    mapping: Mapping = {}
    for part in re.split(rf",\s*(?=(?:{'|'.join(ROLES)})\s*=)", text, flags=re.IGNORECASE):
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if role.lower() not in ROLES or not equals or not column:
            raise UserError(
                f"--columns: {shorten(part.strip())} is no `speaker=`, `text=`, `talk=` or `persona=`; {example}"
            )
        mapping.setdefault(role.lower(), []).append(column)
    if "text" not in mapping:
        raise UserError(f"--columns: no text= in it; {example}")
    return mapping


def recognises(source: Source) -> bool:
    names = set(source.columns)
    return not names.isdisjoint(SPEAKER_NAMES) and not names.isdisjoint(TEXT_NAMES)


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    if not (mapping := nearest_mapping(source)):
        raise UserError(f"{source.name}: no column or key whose name says that it holds text; name one with --columns")
    return read_columns(source, mapping, left_out)


def nearest_mapping(source: Source) -> Mapping:
    """Return the mapping that the names of the columns or keys suggest; empty where none is likely to hold text."""
    paths = list(dict.fromkeys(source.columns or _paths(source.first_records)))
    mapping: Mapping = {}
    for role in ("text", "speaker", "persona", "talk"):
        taken = {path for others in mapping.values() for path in others}
        inner = _parent(mapping["text"][0]) if "text" in mapping else ""
        if role == "talk" and inner:
            continue  # each record is a talk
        # Who speaks stands beside the text.
        free = [path for path in paths if path not in taken and (role != "speaker" or _parent(path) == inner)]
        ranked = [(_likelihood(path, role), path) for path in free]
        if best := max((entry for entry in ranked if entry[0] > 0), key=lambda entry: entry[0], default=None):
            mapping[role] = [path for rank, path in ranked if rank > 0] if role == "talk" else [best[1]]
        elif role == "speaker" and inner and f"{inner}.id" in free:
            mapping[role] = [f"{inner}.id"]
    if "text" not in mapping:
        return {}
    return {role: mapping[role] for role in ROLES if role in mapping}


def _parent(path: str) -> str:
    """Return the path of the object that holds the key; "" for a record's own key, and for `episode no.`."""
    return path.rpartition(".")[0] if not path.endswith(".") else ""


def _likelihood(path: str, role: str) -> float:
    """Return how well the last key of `path` names `role`: 0 not at all, above 1 exactly."""
    words = [word for word in re.split(r"[^a-z]+", path[len(_parent(path)) :].lower()) if word]
    ranks = [len(LIKELY[role]) - LIKELY[role].index(word) for word in words if word in LIKELY[role]]
    return (len(words) == 1) + max(ranks) / 100 if ranks else 0


def _paths(records: list[Any]) -> Iterator[str]:
    """Yield the keys of the records, and `key.key` where a key leads to an object or to a list of objects."""
    for record in records:
        for key, value in record.items() if isinstance(record, dict) else ():
            items = value[:10] if isinstance(value, list) else [value]
            if objects := [item for item in items if isinstance(item, dict)]:
                yield from (f"{key}.{sub}" for item in objects for sub in item)
            else:
                yield key


def written(mapping: Mapping) -> str:
    """Return `mapping` as `--columns` takes it."""
    return ", ".join(f"{role}={column}" for role, columns in mapping.items() for column in columns)


def read_columns(source: Source, mapping: Mapping, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    """Yield the talks of `source` by `mapping`. Raises UserError where the file has no such columns or keys."""
    if source.kind not in ("table", "JSON", "JSON lines"):
        raise UserError(f"{source.name}: --columns reads tables (CSV, TSV) and JSON; this file is {source.kind}")
    columns = [column for listed in mapping.values() for column in listed]
    for column in columns:
        if not any(_values(record, column) for record in _sample(source)):
            known = ", ".join(dict.fromkeys(source.columns or _paths(source.first_records)))
            raise UserError(f"{source.name}: --columns: no {column!r} in this file; it has {known}")
    return parse_each(_grouped(source.records(left_out), mapping), lambda record: _talk(record, mapping, left_out))


def _sample(source: Source) -> list[Any]:
    return [dict.fromkeys(source.columns, "here")] if source.columns else source.first_records


def _grouped(records: Iterable[Record], mapping: Mapping) -> Iterator[Record]:
    """Yield the rows of each talk."""

    def talk_of(record: Record) -> Any:
        if "talk" in mapping:
            return record.part, [_values(record.content, column) for column in mapping["talk"]]
        is_talk = len(_utterances(record.content, mapping)) > 1
        return (record.part, record.place) if is_talk else record.part

    for _, rows in groupby(records, talk_of):
        listed = list(rows)
        yield Record(listed[0].place, [row.content for row in listed], listed[0].part)


def _talk(record: Record, mapping: Mapping, left_out: Counter[str]) -> ImportedTalk:
    turns: list[ImportedTurn] = []
    facts: dict[str, list[str]] = {}
    for row in record.content:
        if not isinstance(row, (dict, list)):
            left_out["records that are no objects"] += 1
            continue
        speakers = [name for column in mapping.get("speaker", ()) for name in _values(row, column)]
        texts = _utterances(row, mapping)
        if "speaker" not in mapping:
            speakers = [ALTERNATING[(len(turns) + number) % 2] for number in range(len(texts))]
        elif len(speakers) == 1:
            speakers *= len(texts)
        if len(speakers) != len(texts):
            raise RecordError(f"{len(texts)} texts but {len(speakers)} speakers in {shorten(row)}")
        spoken = [ImportedTurn(who.strip(), text) for who, text in zip(speakers, texts, strict=True)]
        turns += [turn for turn in spoken if turn.speaker and turn.text.strip()]
        left_out["rows without speaker or text"] += sum(not (turn.speaker and turn.text.strip()) for turn in spoken)
        owner = speakers[0].strip() if len(set(speakers)) == 1 and "speaker" in mapping else _second(speakers)
        for column in mapping.get("persona", ()):
            lines = [line for text in _values(row, column) for line in text.split("\n") if line.strip()]
            facts[owner] = list(dict.fromkeys([*facts.get(owner, []), *lines]))
    return ImportedTalk(record.place, turns, {who: lines for who, lines in facts.items() if lines}, part=record.part)


def _second(speakers: list[str]) -> str:
    """Return the second of the speakers, whose persona a whole talk's is taken for."""
    names = list(dict.fromkeys(speakers))
    return names[1].strip() if len(names) > 1 else ALTERNATING[1]


def _utterances(row: Any, mapping: Mapping) -> list[str]:
    texts = [text for column in mapping["text"] for text in _values(row, column)]
    if "speaker" in mapping:
        return texts
    return [line for text in texts for line in text.split("\n") if line.strip()]


def _values(content: Any, path: str) -> list[str]:
    """Return the texts and numbers that `path` leads to, those of a list one after the other."""
    if isinstance(content, list):
        return [text for item in content for text in _values(item, path)]
    if not path:
        is_value = isinstance(content, (str, int, float)) and not isinstance(content, bool)
        return [str(content)] if is_value else []
    if not isinstance(content, dict):
        return []
    for key in content:
        if key.casefold() == path.casefold():
            return _values(content[key], "")
    head, dot, rest = path.partition(".")
    return _values(content[head], rest) if dot and head in content else []
