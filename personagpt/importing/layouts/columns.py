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
    time      when it was said: a long pause starts a new talk. Several `time=` are a date and its clock.

A dot leads into an object or a list of objects, at any depth. A table whose header has a name such as `name` and one
such as `line` is read without a mapping.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby, islice
from typing import Any

from personagpt.errors import UserError, shorten
from personagpt.importing.sources import RECORD_KEYS, SAMPLED, Source
from personagpt.importing.speaker_lines import LONGEST_NAME
from personagpt.importing.stamps import any_seconds
from personagpt.importing.talks import SPEAKERS, ImportedTalk, ImportedTurn, Record, RecordError, parse_each

Mapping = dict[str, list[str]]  # one of ROLES -> columns, or paths of keys

ROLES = ("speaker", "text", "talk", "persona", "time")
DEEPEST = 4  # keys in a path that is suggested
# Names that columns have, the likeliest first. A table with a name of each of the first two groups is read as it is.
SPEAKER_NAMES = ("speaker", "name", "character")
TEXT_NAMES = ("line", "text", "utterance", "dialogue", "dialog")
LIKELY = {
    "speaker": (*SPEAKER_NAMES, "from", "author", "sender", "user", "role", "who", "person", "actor", "username"),
    "text": (*TEXT_NAMES, "message", "content", "mes", "value", "body", "chat", "says", "said", "sentence", "quote",
             "conversation"),
    "talk": ("talk", "scene", "episode", "conversation", "dialogue", "thread", "session", "season"),
    "persona": ("persona", "personas", "personality", "bio", "facts", "profile"),
    "time": ("time", "timestamp", "date", "datetime", "sent", "created", "ts"),
}  # fmt: skip
BESIDE = ("speaker", "time")  # stand in the same object as the text


def parse_mapping(text: str) -> Mapping:
    """Return the mapping that `--columns` gives. Raises UserError."""
    example = 'expected such as "speaker=name, text=line, talk=scene, persona=bio"'
    roles = ", ".join(f"`{role}=`" for role in ROLES)
    mapping: Mapping = {}
    for part in re.split(rf",\s*(?=(?:{'|'.join(ROLES)})\s*=)", text, flags=re.IGNORECASE):
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if role.lower() not in ROLES or not equals or not column:
            raise UserError(f"--columns: {shorten(part.strip())} is none of {roles}; {example}")
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
    paths = list(dict.fromkeys(source.columns or _paths(_first_records(source))))
    mapping: Mapping = {}
    for role in ("text", "speaker", "persona", "talk", "time"):
        taken = {path for others in mapping.values() for path in others}
        inner = _parent(mapping["text"][0]) if "text" in mapping else ""
        if role == "talk" and inner:
            continue  # each record is a talk
        free = [path for path in paths if path not in taken]
        if role in BESIDE and inner:  # who speaks, and when, stands under the same key as the text
            free = [path for path in free if path.partition(".")[0] == inner.partition(".")[0]]
        if role == "speaker":  # `user` and `bot` may be the columns of what two speakers say
            free = [path for path in free if not _has_sentences(_sampled(source, path), 3)]
        ranked = [(_likelihood(path, role), path) for path in free]
        if best := max((entry for entry in ranked if entry[0] > 0), key=lambda entry: entry[0], default=None):
            mapping[role] = [path for rank, path in ranked if rank > 0] if role in ("talk", "time") else [best[1]]
        elif role == "speaker" and inner and f"{inner}.id" in free:
            mapping[role] = [f"{inner}.id"]
    if "text" not in mapping:
        texts = _sentence_columns(source, paths)
        mapping |= {"text": texts} if texts else {}
        if len(texts) == 1 and "speaker" not in mapping and (name := _name_column(source, paths, texts[0])):
            mapping["speaker"] = [name]
    return {role: mapping[role] for role in ROLES if role in mapping} if "text" in mapping else {}


def _sentence_columns(source: Source, paths: list[str]) -> list[str]:
    """Return the one or two columns or keys in which most values have several words; none where there are more."""
    found = []
    for path in paths:
        is_other = any(_likelihood(path, role) for role in ROLES if role != "speaker")
        if not is_other and _has_sentences(_sampled(source, path), 3 if _likelihood(path, "speaker") else 2):
            found.append(path)
    return found if len(found) <= 2 else []


def _has_sentences(texts: list[str], words: int) -> bool:
    """Return whether most of the texts have at least this number of words."""
    return 2 * sum(len(text.split()) >= words for text in texts) > len(texts)


def _parent(path: str) -> str:
    """Return the path of the object that holds the key; "" for a record's own key, and for `episode no.`."""
    return path.rpartition(".")[0] if not path.endswith(".") else ""


def _name_column(source: Source, paths: list[str], text: str) -> str:
    """Return the first column or key whose values are few and come again, as names do; "" where none is."""
    for path in paths:
        values = [value for value in _sampled(source, path) if value.strip()]
        are_words = all(re.search(r"[^\W\d_]", value) and len(value) <= LONGEST_NAME for value in values)
        if path != text and are_words and 2 <= len(set(values)) <= len(values) / 2:
            return path
    return ""


def _sampled(source: Source, path: str) -> list[str]:
    """Return the values of a column or key in the first records."""
    return [text for content in _first_records(source) for text in _values(content, path)]


def _likelihood(path: str, role: str) -> float:
    """Return how well the last key of `path` names `role`: 0 not at all, above 1 exactly."""
    words = [word for word in re.split(r"[^a-z]+", path[len(_parent(path)) :].lower()) if word]
    words = [bare if (bare := word.removesuffix("s")) in LIKELY[role] else word for word in words]  # `utterances`
    if role == "text" and {"id", *LIKELY["time"]} & {*words}:
        return 0
    ranks = [len(LIKELY[role]) - LIKELY[role].index(word) for word in words if word in LIKELY[role]]
    return (len(words) == 1) + max(ranks) / 100 - path.count(".") / 1000 if ranks else 0


def _paths(records: list[Any], depth: int = DEEPEST) -> Iterator[str]:
    """Yield the keys of the records, and `key.key` where a key leads to an object or to a list of objects."""
    for record in records:
        if isinstance(record, list):
            yield from _paths([item for item in record[:10] if isinstance(item, dict)], depth)
        for key, value in record.items() if isinstance(record, dict) else ():
            items = value[:10] if isinstance(value, list) else [value]
            objects = [item for item in items if isinstance(item, dict)]
            if objects and depth > 1:
                yield from (f"{key}.{path}" for path in _paths(objects, depth - 1))
            else:
                yield key


def written(mapping: Mapping) -> str:
    """Return `mapping` as `--columns` takes it."""
    return ", ".join(f"{role}={column}" for role, columns in mapping.items() for column in columns)


def _records(source: Source, left_out: Counter[str]) -> Iterator[Record]:
    """Yield the records of `source`, also those in an object around them.

    Such an object has a record, or a list of messages, for each name, {"talk 1": [...], "talk 2": [...]}; or it has one
    list of records, {"version": 1, "data": [{"turns": [...]}, ...]}.
    """
    records = source.records(left_out)
    outer = source.document if source.kind == "JSON" else None
    values = list(outer.values()) if isinstance(outer, dict) else []
    firsts = [value[0] if isinstance(value, list) and value else value for value in values]
    are_objects = all(isinstance(first, dict) for first in firsts)
    if len(values) > 1 and len(set(map(type, values))) == 1 and are_objects and set.intersection(*map(set, firsts)):
        return (Record(f"record {number}", value) for number, value in enumerate(values, start=1))
    lists = [value for value in values if isinstance(value, list) and value and all(map(_has_list, value))]
    if len(lists) == 1 and not RECORD_KEYS & set(outer):
        return (Record(f"record {number}", value) for number, value in enumerate(lists[0], start=1))
    return records


def _has_list(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(inner, list) for inner in value.values())


def _first_records(source: Source) -> list[Any]:
    return [record.content for record in islice(_records(source, Counter()), SAMPLED)]


def read_columns(source: Source, mapping: Mapping, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    """Yield the talks of `source` by `mapping`. Raises UserError where the file has no such columns or keys."""
    if source.kind not in ("table", "JSON", "JSON lines"):
        raise UserError(f"{source.name}: --columns reads tables (CSV, TSV) and JSON; this file is {source.kind}")
    sample = [dict.fromkeys(source.columns, "here")] if source.columns else _first_records(source)
    for column in (column for listed in mapping.values() for column in listed):
        if not any(_values(record, column) for record in sample):
            known = ", ".join(dict.fromkeys(source.columns or _paths(_first_records(source))))
            raise UserError(f"{source.name}: --columns: no {column!r} in this file; it has {known}")
    records = _each_talk(_records(source, left_out), mapping)
    return parse_each(_grouped(records, mapping), lambda record: _talk(record, mapping, left_out))


def _each_talk(records: Iterable[Record], mapping: Mapping) -> Iterator[Record]:
    """Yield a record for each inner list of a record that holds several talks, `[[turn, turn, turn], [turn], ...]`.

    Inner lists of two are no talks but pairs: an utterance and its reply.
    """
    listed = [path.split(".") for role in ("speaker", "text") for path in mapping.get(role, ())]
    shared = [keys[0] for keys in zip(*listed, strict=False) if len(set(keys)) == 1]
    for record in records:
        pieces = _inner_talks(record.content, shared)
        for number, piece in enumerate(pieces, start=1):
            yield replace(record, place=f"{record.place}: talk {number}", content=piece) if len(pieces) > 1 else record


def _inner_talks(content: Any, keys: list[str]) -> list[Any]:
    """Return the talks in the list of lists that `content` is, or that `keys` lead to; else `content` alone."""
    if isinstance(content, dict) and keys and keys[0] in content:
        return [content | {keys[0]: piece} for piece in _inner_talks(content[keys[0]], keys[1:])]
    is_nested = isinstance(content, list) and all(isinstance(item, list) for item in content)
    if is_nested and any(len(item) != 2 for item in content):
        return [piece for item in content for piece in _inner_talks(item, keys)]
    return [content]


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
    stamps: list[str] = []  # of each turn
    facts: dict[str, list[str]] = {}
    for row in record.content:
        if not isinstance(row, (dict, list)):
            left_out["records without keys"] += 1
            continue
        speakers = []
        for item, paths in _items(row, mapping):
            spoken = _spoken(item, paths, len(turns))
            kept = [turn for turn in spoken if turn.speaker and turn.text.strip()]
            left_out["rows without speaker or text"] += len(spoken) - len(kept) + (not spoken)
            speakers += [turn.speaker for turn in spoken]
            turns += kept
            stamps += [" ".join(_all_values(item, paths, "time")).strip()] * len(kept)
        owner = speakers[0].strip() if len(set(speakers)) == 1 and "speaker" in mapping else _second(speakers)
        for column in mapping.get("persona", ()):
            lines = [line for text in _values(row, column) for line in text.split("\n") if line.strip()]
            facts[owner] = list(dict.fromkeys([*facts.get(owner, []), *lines]))
    if "time" in mapping:
        for turn, seconds in zip(turns, any_seconds(stamps), strict=True):
            turn.seconds = seconds
        if all(turn.seconds is not None for turn in turns):
            turns.sort(key=lambda turn: turn.seconds or 0.0)  # some programs write the newest first
    return ImportedTalk(record.place, turns, {who: lines for who, lines in facts.items() if lines}, part=record.part)


def _items(row: Any, mapping: Mapping) -> Iterator[tuple[Any, Mapping]]:
    """Yield each object in the list that the paths to speakers and texts share, with the paths from there on.

    So an object that lacks its speaker or its text takes no other's, and two texts of an object stay together. Without
    such a list the row itself is yielded.
    """
    if isinstance(row, list):
        for item in row:
            yield from _items(item, mapping)
        return
    beside = {path.partition(".")[0] for role in ("speaker", "text") for path in mapping.get(role, ())}
    is_shared = len(beside) == 1 and len([*mapping.get("speaker", ()), *mapping["text"]]) > 1
    inner = row.get(min(beside)) if isinstance(row, dict) and is_shared else None
    if not isinstance(inner, (dict, list)):
        yield row, mapping
        return
    paths = {
        role: [path.partition(".")[2] for path in listed if path.partition(".")[0] in beside]
        for role, listed in mapping.items()
        if role in ("speaker", "text", "time")
    }
    for item in inner if isinstance(inner, list) else [inner]:
        yield from _items(item, paths)


def _spoken(item: Any, mapping: Mapping, before: int) -> list[ImportedTurn]:
    """Return the turns of an object or row, after `before` others of its talk. Raises RecordError."""
    texts, speakers = _utterances(item, mapping), _all_values(item, mapping, "speaker")
    if "speaker" not in mapping:
        speakers = [SPEAKERS[(before + number) % 2] for number in range(len(texts))]
    elif len(speakers) == 1:
        speakers *= len(texts)
    if texts and speakers and len(speakers) != len(texts):
        raise RecordError(f"{len(texts)} texts but {len(speakers)} speakers in {shorten(item)}")
    return [ImportedTurn(who.strip(), text) for who, text in zip(speakers, texts, strict=False)]


def _all_values(item: Any, mapping: Mapping, role: str) -> list[str]:
    return [text for path in mapping.get(role, ()) for text in _values(item, path)]


def _second(speakers: list[str]) -> str:
    """Return the second of the speakers, whose persona a whole talk's is taken for."""
    names = list(dict.fromkeys(speakers))
    return names[1].strip() if len(names) > 1 else SPEAKERS[1]


def _utterances(row: Any, mapping: Mapping) -> list[str]:
    texts = _all_values(row, mapping, "text")
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
