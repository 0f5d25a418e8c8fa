"""What the tests of importing share: files made of a few lines, and what becomes of them."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from personagpt.errors import UserError
from personagpt.importing.layouts.columns import parse_mapping, read_columns
from personagpt.importing.recognition import recognise
from personagpt.importing.sources import Source
from personagpt.importing.steps import finish, mend_talk
from personagpt.importing.table import read as read_layout
from personagpt.importing.talks import ImportedTalk, RecordError
from personagpt.text.convai2 import Dialogue, parse_corpus, write_corpus

ODD_VALUES = st.sampled_from([None, True, 0, -1, 1e400, "", "x", "1706781660.5", "\ud800", [], [7], {}, {"a": 1}, [[]]])
HUNTER = ["i like to go hunting .", "i like to remodel homes ."]
TALK = ["hi , how are you ?", "you must be very fast .", "i am ! i can , too .", "i remodel homes ."]


def source(content: object, name: str = "talks") -> Source:
    """Return a file of these bytes or this text; anything else is written as JSON."""
    data = content if isinstance(content, (bytes, str)) else json.dumps(content)
    return Source(name, data if isinstance(data, bytes) else data.encode())


def json_lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def talks(content: object, wanted: str | None = None, columns: str | None = None) -> list[ImportedTalk | RecordError]:
    """Return what the reader of the layout yields."""
    return _read(source(content), wanted, columns, Counter())


def _read(
    file: Source, wanted: str | None, columns: str | None, left_out: Counter[str]
) -> list[ImportedTalk | RecordError]:
    if columns:
        return list(read_columns(file, parse_mapping(columns), left_out))
    return list(read_layout(wanted or recognise(file), file, left_out))


def read(
    content: object, wanted: str | None = None, columns: str | None = None, left_out: Counter[str] | None = None
) -> list[Dialogue | str]:
    """Return the dialogues that the importer makes, and `PLACE: REASON` for each record that is none."""
    left_out = Counter() if left_out is None else left_out
    results: list[Dialogue | str] = []
    for talk in _read(source(content), wanted, columns, left_out):
        try:
            if isinstance(talk, RecordError):
                raise talk
            results += [dialogue for _, dialogue in finish(mend_talk(talk, left_out), 1, left_out)]
        except RecordError as error:
            results.append(f"{error.place or talk.place}: {error}")
    return results


def layout(content: object) -> str:
    """Return the name of the layout that is recognised."""
    return recognise(source(content))


def same(dialogue: object, facts: tuple[list[str], list[str]], said: list[str]) -> bool:
    return isinstance(dialogue, Dialogue) and (dialogue.personas, dialogue.utterances) == (facts, said)


def messages(*pairs: tuple[str, object]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


def history(said: list[str], persona: list[str] = HUNTER) -> dict[str, object]:
    """Return what TransferTransfo makes of a talk whose every second utterance is the persona's speaker's."""
    records = [
        {"history": said[:number], "candidates": ["i sing .", said[number]]} for number in range(1, len(said), 2)
    ]
    return {"personality": persona, "utterances": records}


def write(path: Path, content: object) -> Path:
    path.write_bytes(source(content).text.encode(errors="surrogateescape"))
    return path


@st.composite
def damaged(draw: st.DrawFn, document: object) -> object:
    """Draw a copy of a JSON value in which a few values are others."""
    copy = json.loads(json.dumps([document]))
    for _ in range(draw(st.integers(1, 4))):
        inside = copy
        while True:
            keys = list(inside) if isinstance(inside, dict) else range(len(inside))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(inside[key], (dict, list)) and draw(st.booleans()):
                inside = inside[key]
                continue
            inside[key] = json.loads(json.dumps(draw(ODD_VALUES)))  # a list is not to be shared
            break
    return copy[0]


def check(data: bytes, wanted: str | None = None, columns: str | None = None) -> None:
    """The importer gives dialogues that ConvAI2's text holds, reasons of one line, or one UserError."""
    try:
        results = read(data, wanted, columns)
    except UserError:
        return
    dialogues = [result for result in results if isinstance(result, Dialogue)]
    assert all(
        re.fullmatch(r"((\S+ )?(line|record) \d+|(chat|channel|thread|the c\w+).*?): .+", text, re.DOTALL)
        for text in results
        if isinstance(text, str)
    )
    if not dialogues:
        return
    text = write_corpus(dialogues)
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    mirrorless = [d for d, _ in parse_corpus(text.encode(), "")]
    assert all(d.utterances in [other.utterances for other in dialogues] for d in mirrorless)


def wild(*messages: tuple[int, str], thumbs: dict[int, int] | None = None, **changes: object) -> dict[str, object]:
    """Return a record of ConvAI2's site: each message is 1, the person, or 2, the program, and a text.

    `thumbs` are by the message's number from 0; a key whose change is None is not in the record.
    """
    dialog = [
        {
            "id": number,
            "sender": f"participant{who}",
            "text": text,
            "evaluation_score": (thumbs or {}).get(number),
            "sender_class": ("Human", "Bot")[who - 1],
        }
        for number, (who, text) in enumerate(messages)
    ]
    record = {
        "dialog": dialog,
        "start_time": "2018-10-30 08:29:23.340000",
        "end_time": "2018-10-30 08:43:19",
        "bot_profile": ["i like tacos.", "i sing."],
        "user_profile": ["i take walks."],
        "eval_score": 3,
        "profile_match": 1,
        "participant1_id": {"class": "User", "user_id": "User 7"},
        "participant2_id": {"class": "Bot", "user_id": "Bot 6"},
    }
    return {key: value for key, value in (record | changes).items() if value is not None}


def older(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of ConvAI2's site as an older export has it: without classes, thumbs, times and ids."""
    dialog = [{key: message[key] for key in ("id", "sender", "text")} for message in record["dialog"]]
    kept = ("bot_profile", "user_profile", "eval_score", "profile_match")
    return {"dialog_id": "0x35", "dialog": dialog} | {key: record[key] for key in kept}
