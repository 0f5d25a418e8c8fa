"""Recorded talks -> training text, one line of JSON each, and tables: of the flags, and of how many there are."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from personagpt.errors import UserError
from personagpt.files import write_atomically
from personagpt.records.talks import DELETED, FLAGS, Talk, twin_of
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import Dialogue, is_writable, write_corpus

VALID_EVERY = 10  # of the exported talks every tenth is for validation
FLAG_TABLE, LINES = "flags.csv", "talks.jsonl"


def export(
    talks: list[Talk],
    target: Path,
    only_flagged: bool,
    say: Callable[[str], None],
    next_command: Callable[..., str] | None = None,
) -> None:
    """Write the talks into the folder `target`: as ConvAI2 text for preprocess_dataset.py, as JSON, and their flags.

    `next_command` makes the command that is named next from the settings it changes: training goes on from the model
    that talked last, where that is still there. Without it none is named.

    The JSON has every talk whole. As text a talk goes up to its first flagged reply that nobody corrected; with
    `only_flagged`, talks with a flag go whole. A talk that another one starts with (it went on after /undo or /retry)
    is left out of the text. Raises UserError where there is no talk, or where files are in the
    way.
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
    """The talks of which something can be used, each with its dialogue: up to its first flagged reply, or `whole`.

    What two people said to each other is taken once, from the talk of who began, up to the first flag of either.
    """
    kept, by_id = [], {talk.id: talk for talk in talks}
    for talk in talks:
        twin = by_id.get(twin_of(talk.id)) if talk.partner == "person" else None
        if twin is not None and twin.speakers[0] == "human":
            continue
        both = [talk] if twin is None else [talk, twin]
        dialogue = to_dialogue(talk, len(talk.turns) if whole else min(map(first_flag, both)))
        if dialogue is not None:
            kept.append((talk, dialogue))
    if whole:
        return kept
    beginnings = {_beginning(dialogue, count) for _, dialogue in kept for count in range(1, len(dialogue.utterances))}
    return [(talk, dialogue) for talk, dialogue in kept if _beginning(dialogue) not in beginnings]


def first_flag(talk: Talk) -> int:
    """How many turns come before the first flagged reply that nobody corrected."""
    return min((flag.turn for flag in talk.flags if not talk.turns[flag.turn].corrected), default=len(talk.turns))


def to_dialogue(talk: Talk, count: int) -> Dialogue | None:
    """The first `count` turns, without a person's last words that a model did not answer.

    None where nothing can be used: nothing of two people's talk, where one of them deleted theirs.
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
    """Every tenth talk, and at least one, validates; a single one does both."""
    if len(kept) == 1:
        return {"train": kept, "valid": kept}
    chosen = set(range(VALID_EVERY - 1, len(kept), VALID_EVERY)) or {len(kept) - 1}
    return {
        "train": [pair for number, pair in enumerate(kept) if number not in chosen],
        "valid": [pair for number, pair in enumerate(kept) if number in chosen],
    }


def flag_table(talks: list[Talk]) -> str:
    """CSV: a row for each flag, with what the model said and, where a person corrected it, their words."""
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


def count_flags(talks: list[Talk]) -> list[str]:
    """A line for each kind of flag, the most frequent first."""
    counts = Counter(flag.kind for talk in talks for flag in talk.flags)
    return [f"  {kind:<14}{count:>7}   {FLAGS[kind]}" for kind, count in counts.most_common()]


def statistics(talks: list[Talk]) -> list[str]:
    """How many talks, utterances, corrections and flags there are, and from where: lines to print."""
    # What a person said to a person stands in both talks: it counts in their own.
    turns = [turn for talk in talks for turn in talk.turns if (talk.partner, turn.speaker) != ("person", "partner")]
    lines = [f"{len(talks)} talks" + (f", {talks[0].started[:10]} to {talks[-1].started[:10]}" if talks else "")]
    for title, counts in (
        ("recorded by", Counter(talk.source for talk in talks)),
        ("model", Counter(f"{talk.model_checksum[:12]}  {talk.model}" for talk in talks if talk.model)),
        ("rated", Counter(question for talk in talks for question in talk.ratings)),
    ):
        lines += [f"  {title}" for _ in counts.most_common(1)]
        lines += [f"    {name:<40}{count:>7}" for name, count in counts.most_common()]
    lines.append(f"{len({talk.participant for talk in talks} - {None})} participants")
    lines.append(f"{len(turns)} utterances")
    for speaker, count in Counter(turn.speaker for turn in turns).most_common():
        words = sum(len(turn.text.split()) for turn in turns if turn.speaker == speaker)
        lines.append(f"  {speaker:<14}{count:>7}   {words / count:.1f} words each")
    lines.append(f"{sum(turn.corrected for turn in turns)} corrected replies")
    lines.append(f"{sum(turn.replaced is not None and not turn.corrected for turn in turns)} replies drawn again")
    lines.append(f"{sum(len(talk.flags) for talk in talks)} flags")
    return lines + count_flags(talks)


def _beginning(dialogue: Dialogue, count: int | None = None) -> tuple[Any, ...]:
    """What tells a dialogue's first `count` utterances from another's."""
    return *map(tuple, dialogue.personas), *dialogue.utterances[:count]


def _one_line(text: str) -> str:
    return re.sub(r"[\t\n\r]+", " ", text).strip()
