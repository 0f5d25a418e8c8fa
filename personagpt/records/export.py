"""Recorded talks -> training text, lines of JSON, and a table of the flags."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from personagpt.errors import UserError
from personagpt.files import write_atomically
from personagpt.output import say
from personagpt.records.statistics import count_flags
from personagpt.records.talks import DELETED, Talk
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import Dialogue, is_writable, write_corpus

VALID_EVERY = 10  # of the exported talks every tenth is for validation
FLAG_TABLE, LINES = "flags.csv", "talks.jsonl"


def export(talks: list[Talk], target: Path, only_flagged: bool, next_command: Callable[..., str] | None = None) -> None:
    """Write the talks into the folder `target`: as ConvAI2 text for preprocess_dataset.py, as JSON, and their flags.

    `next_command` returns the next command to run, with changed settings: training continues from the model that
    talked last, if it still exists. Without `next_command` no command is printed.

    The JSON has every talk whole. The text has each talk up to its first flagged reply that nobody corrected. With
    `only_flagged`, the text has the talks with a flag, and has them whole. A talk that is the beginning of another talk
    (which continued after /undo or /retry) is left out of the text. Raises UserError if there is no talk, or if files
    are in the way.
    """
    present = [target / name for name in (*TEXT_NAMES.values(), FLAG_TABLE, LINES) if (target / name).exists()]
    if present:
        named = " and ".join(map(str, present))
        raise UserError(
            f"{named}: there already, and not overwritten; export into another folder, or delete them where an export "
            "that was killed left them"
        )
    talks = [talk for talk in talks if talk.flags or not only_flagged]
    if not talks:
        kind = "flagged talk" if only_flagged else "talk"
        raise UserError(f"no {kind} to export; record some with interact.py first")
    target.mkdir(parents=True, exist_ok=True)
    kept = text_of(talks, only_flagged)
    for split, pairs in split_talks(kept).items() if kept else ():
        write_atomically(target / TEXT_NAMES[split], write_corpus(dialogue for _, dialogue in pairs))
        say(f"{split}: {len(pairs)} talks, {sum(len(d.utterances) for _, d in pairs)} utterances")
    if len(kept) == 1:
        say("there is one talk only: it is both the training and the validation text")
    write_atomically(target / LINES, "".join(talk.line() for talk in talks))
    write_atomically(target / FLAG_TABLE, flag_table(talks))
    say(f"{len(talks)} talks whole, with everything: {target / LINES}; their flags: {target / FLAG_TABLE}")
    for line in count_flags(talks):
        say(line)
    if not kept:
        say("no training text: no talk has a reply that is not flagged")
    if not kept or next_command is None:
        return
    changed = {"data_path": target, "save_path": target / "save"}
    models = [talk.model for talk, _ in sorted(kept, key=lambda pair: pair[0].started) if talk.model]
    if models and (Path(models[-1]).is_dir() or not Path(models[-1]).is_absolute()):  # a folder, or a hub name
        changed["model_name"] = models[-1]
    say(f"text in {target}; next: {next_command(**changed)}")


def text_of(talks: list[Talk], whole: bool) -> list[tuple[Talk, Dialogue]]:
    """Return the talks that give text, each with its dialogue: up to its first flagged reply, or `whole`.

    Two twins give one dialogue: from the talk of the person who began, up to the first flag in either talk.
    """
    kept, by_id = [], {talk.id: talk for talk in talks}
    for talk in talks:
        twin = by_id.get(talk.twin)
        if twin is not None and twin.speakers[0] == "human":
            continue
        twins = [talk] if twin is None else [talk, twin]
        dialogue = training_dialogue(talk, len(talk.turns) if whole else min(map(first_flag, twins)))
        if dialogue is not None:
            kept.append((talk, dialogue))
    if whole:
        return kept
    beginnings = {_beginning(dialogue, count) for _, dialogue in kept for count in range(1, len(dialogue.utterances))}
    return [(talk, dialogue) for talk, dialogue in kept if _beginning(dialogue) not in beginnings]


def first_flag(talk: Talk) -> int:
    """Return the number of turns before the first flagged reply that nobody corrected."""
    return min((flag.turn for flag in talk.flags if not talk.turns[flag.turn].corrected), default=len(talk.turns))


def training_dialogue(talk: Talk, count: int) -> Dialogue | None:
    """Return the first `count` turns as a dialogue, without a person's last utterance if no model answered it.

    Return None if no turn is left, or if one of two people has deleted their talk.
    """
    if talk.partner == "person" and DELETED in talk.texts:
        return None
    if talk.partner == "human" and count and talk.turns[count - 1].speaker == "human":
        count -= 1
    texts = [_one_line(text) for text in talk.texts[:count]]
    if not is_writable(texts):
        return None
    personas = tuple([_one_line(fact) for fact in facts] for facts in map(talk.facts_of, talk.speakers))
    return Dialogue(personas=personas, utterances=texts)


def split_talks(kept: list[Any]) -> dict[str, list[Any]]:
    """Return the talks of each split: every tenth talk, and at least one, validates. A single talk does both."""
    if len(kept) == 1:
        return {"train": kept, "valid": kept}
    chosen = set(range(VALID_EVERY - 1, len(kept), VALID_EVERY)) or {len(kept) - 1}
    return {
        "train": [pair for number, pair in enumerate(kept) if number not in chosen],
        "valid": [pair for number, pair in enumerate(kept) if number in chosen],
    }


def flag_table(talks: list[Talk]) -> str:
    """Return CSV text: a row for each flag, with the flagged reply and the correction if a person made one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["talk", "turn", "kind", "note", "persona", "before", "reply", "correction", "model_checksum"])
    for talk in talks:
        for flag in sorted(talk.flags, key=lambda flag: flag.turn):
            turn, before = talk.turns[flag.turn], talk.texts[flag.turn - 1] if flag.turn else ""
            said = (turn.replaced, turn.text) if turn.corrected else (turn.text, "")
            facts = " | ".join(talk.facts_of(turn.speaker))
            writer.writerow([talk.id, flag.turn, flag.kind, flag.note, facts, before, *said, talk.model_checksum])
    return text.getvalue()


def _beginning(dialogue: Dialogue, count: int | None = None) -> tuple[Any, ...]:
    """Return the personas and the first `count` utterances of a dialogue, to compare it with another dialogue."""
    return *map(tuple, dialogue.personas), *dialogue.utterances[:count]


def _one_line(text: str) -> str:
    return re.sub(r"[\t\n\r]+", " ", text).strip()
