"""Recorded talks: one JSON line each, under save_path/conversations/, and their way back into training text.

    {"id": ..., "started": ..., "model": ..., "model_checksum": ..., "sampling": {"top_k": 10, ..., "seed": 7},
     "persona": [fact, ...], "partner": "human", "partner_persona": [],
     "turns": [{"speaker": "human", "text": ..., "time": ...}, {"speaker": "model", ...}, ...],
     "flags": [{"turn": 1, "kind": "inconsistent", "note": ...}]}

The partner talks first: a person ("human"), or in a self-play the model under another persona ("partner"). A line whose
id stood on an earlier line is a later state of the same talk, and counts in its place.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from personagpt.errors import UserError, printable
from personagpt.files import write_atomically
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import Dialogue, is_writable, write_corpus

FLAGS = {
    "inconsistent": "with the persona",
    "contradicts": "itself",
    "repetitive": "says the same again",
    "off-topic": "does not answer",
    "ungrammatical": "broken language",
    "unsafe": "hurtful or dangerous",
    "other": "see the note",
}
VALID_EVERY = 10  # of the exported talks every tenth is for validation
FLAG_TABLE = "flags.csv"


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def new_id() -> str:
    return uuid.uuid4().hex


@dataclass
class Turn:
    speaker: str  # "human" or "partner" (who talk first), or "model"
    text: str
    time: str = field(default_factory=now)


@dataclass
class Flag:
    turn: int  # index of a reply
    kind: str
    note: str = ""


@dataclass
class Talk:
    """What was said, by whom, and what was wrong with it."""

    model: str
    model_checksum: str
    sampling: dict[str, Any]
    persona: list[str]
    partner: str = "human"
    partner_persona: list[str] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    flags: list[Flag] = field(default_factory=list)
    started: str = field(default_factory=now)
    id: str = field(default_factory=new_id)

    @property
    def texts(self) -> list[str]:
        return [turn.text for turn in self.turns]


def append_talk(folder: Path, talk: Talk) -> Path:
    """Add `talk` to today's file in `folder`; it is on the disk when this returns."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.date.today().isoformat()}.jsonl"
    line = json.dumps(asdict(talk)).encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # a power cut left half a line: it must not spoil this one
        # One write: lines of talks held at the same time never mix.
        if os.write(descriptor, line) != len(line):
            raise OSError(28, "No space left on device", str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path


def read_talks(folder: Path, say: Callable[[str], None]) -> list[Talk]:
    """All talks recorded in `folder`, oldest first; `say` is told of damaged lines, which are passed over."""
    talks: dict[str, Talk] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                talk = parse_talk(line)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                reason = printable(f"{type(error).__name__}: {str(error)[:80]}")
                say(f"{path}:{number}: damaged recording passed over ({reason})")
                continue
            talks[talk.id] = talk
    return list(talks.values())


def parse_talk(line: bytes) -> Talk:
    """A recorded line -> its talk. Raises ValueError, KeyError or TypeError where the line is not one."""
    raw = json.loads(line)
    if not isinstance(raw, dict):
        raise ValueError("not an object")
    turns, flags = [Turn(**turn) for turn in raw.pop("turns")], [Flag(**flag) for flag in raw.pop("flags")]
    talk = Talk(**raw, turns=turns, flags=flags)
    if not isinstance(talk.persona, list) or not isinstance(talk.partner_persona, list):
        raise ValueError("a persona that is no list of facts")
    texts = [talk.id, talk.model, talk.partner, *talk.persona, *talk.partner_persona, *talk.texts]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("not text")
    "".join(texts).encode()  # half a surrogate pair is no text either
    if not all(fact.strip() for fact in [*talk.persona, *talk.partner_persona]):
        raise ValueError("an empty fact")
    if talk.partner not in ("human", "partner"):
        raise ValueError(f"unknown partner {talk.partner!r}")
    for number, turn in enumerate(turns):
        if turn.speaker != (talk.partner, "model")[number % 2] or not turn.text.strip():
            raise ValueError(f"turn {number} is empty or another speaker's")
    for flag in flags:
        known = flag.kind in FLAGS and isinstance(flag.note, str)
        if not known or type(flag.turn) is not int or not 0 <= flag.turn < len(turns):
            raise ValueError(f"unknown flag {flag}")
    return talk


def export(
    recordings: Path, target: Path, only_flagged: bool, say: Callable[[str], None], next_command: Callable[..., str]
) -> None:
    """Write the talks of `recordings` as ConvAI2 text into the folder `target`, for preprocess_dataset.py.

    `next_command` makes the command that is named next from the settings it changes: training goes on from the model
    that talked last, where that is still there.

    Each talk goes up to its first flagged reply; with `only_flagged`, talks with a flag go whole, with a table of
    flags. A talk that another one starts with (it went on after /undo or /retry) is left out. Raises UserError where
    nothing is left, or where files are in the way.
    """
    present = [target / name for name in (*TEXT_NAMES.values(), FLAG_TABLE) if (target / name).exists()]
    if present:
        named = " and ".join(map(str, present))
        raise UserError(
            f"{named}: there already, and not overwritten; export into another folder, or delete them where an export "
            "that was killed left them"
        )
    kept = []
    for talk in read_talks(recordings, say):
        if only_flagged and not talk.flags:
            continue
        dialogue = to_dialogue(talk, len(talk.turns) if only_flagged else first_flag(talk))
        if dialogue is not None:
            kept.append((talk, dialogue))
    if not only_flagged:
        beginnings = {
            _beginning(dialogue, count) for _, dialogue in kept for count in range(1, len(dialogue.utterances))
        }
        kept = [(talk, dialogue) for talk, dialogue in kept if _beginning(dialogue) not in beginnings]
    if not kept:
        kind = "flagged talk" if only_flagged else "talk with a reply that is not flagged"
        raise UserError(f"{recordings}: no {kind} to export; record some with interact.py first")
    splits = split_talks(kept)
    target.mkdir(parents=True, exist_ok=True)
    for split, pairs in splits.items():
        write_atomically(target / TEXT_NAMES[split], write_corpus(dialogue for _, dialogue in pairs))
        say(f"{split}: {len(pairs)} talks, {sum(len(d.utterances) for _, d in pairs)} utterances")
    if len(kept) == 1:
        say("there is one talk only: it is both the training and the validation text")
    if only_flagged:
        talks = list({talk.id: talk for talk, _ in kept}.values())
        write_atomically(target / FLAG_TABLE, flag_table(talks))
        counts = Counter(flag.kind for talk in talks for flag in talk.flags)
        for kind, count in counts.most_common():
            say(f"  {kind:<14}{count:>5}   {FLAGS[kind]}")
        say(f"flags in {target / FLAG_TABLE}")
    changed = {"data_path": target, "save_path": target / "save"}
    model = max((talk for talk, _ in kept), key=lambda talk: talk.started).model
    if Path(model).is_dir() or not Path(model).is_absolute():  # a folder that is there, or a hub name
        changed["model_name"] = model
    say(f"text in {target}; next: {next_command(**changed)}")


def first_flag(talk: Talk) -> int:
    """How many turns come before the first flagged reply."""
    return min((flag.turn for flag in talk.flags), default=len(talk.turns))


def to_dialogue(talk: Talk, count: int) -> Dialogue | None:
    """The first `count` turns, without a person's last words that got no answer; None where nothing can be used."""
    if talk.partner == "human":
        count -= count % 2
    texts = [_one_line(text) for text in talk.texts[:count]]
    if not is_writable(texts):
        return None
    personas = tuple([_one_line(fact) for fact in facts] for facts in (talk.partner_persona, talk.persona))
    return Dialogue(personas=personas, utterances=texts)


def split_talks(kept: list[Any]) -> dict[str, list[Any]]:
    """Every tenth talk, and at least one, validates; a single one does both."""
    if len(kept) == 1:
        return {"train": kept, "valid": kept}
    chosen = set(range(VALID_EVERY - 1, len(kept), VALID_EVERY)) or {len(kept) - 1}
    return {
        "train": [pair for number, pair in enumerate(kept) if number not in chosen],
        "valid": [pair for number, pair in enumerate(kept) if number in chosen],
    }


def flag_table(talks: list[Talk]) -> str:
    """CSV: a row for each flag."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["talk", "turn", "kind", "note", "persona", "before", "reply", "model_checksum"])
    for talk in talks:
        for flag in sorted(talk.flags, key=lambda flag: flag.turn):
            before = talk.texts[flag.turn - 1] if flag.turn else ""
            facts = talk.persona if talk.turns[flag.turn].speaker == "model" else talk.partner_persona
            row = [talk.id, flag.turn, flag.kind, flag.note, " | ".join(facts), before, talk.texts[flag.turn]]
            writer.writerow([*row, talk.model_checksum])
    return text.getvalue()


def _beginning(dialogue: Dialogue, count: int | None = None) -> tuple[Any, ...]:
    """What tells a dialogue's first `count` utterances from another's."""
    return *map(tuple, dialogue.personas), *dialogue.utterances[:count]


def _one_line(text: str) -> str:
    return re.sub(r"[\t\n\r]+", " ", text).strip()
