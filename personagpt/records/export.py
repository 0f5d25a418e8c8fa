"""Recorded talks -> training text, lines of JSON, preferences, and a table of the flags.

A model that trains on a few talks alone forgets what it knew. So the text also has dialogues of the model's old
training text, and its validation text is the old one, so that the losses before and after can be compared.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

from personagpt.errors import UserError
from personagpt.files import write_atomically
from personagpt.output import counted, say
from personagpt.records.preferences import FEEDBACK, PAIRS, preference_lines
from personagpt.records.statistics import count_flags
from personagpt.records.talks import DELETED, IMPORTED, INTERVIEW, SELF_PLAY, TEACH, Talk, branches_of, is_imported
from personagpt.settings import TEXT_NAMES, Settings
from personagpt.text.convai2 import Dialogue, is_writable, read_corpus, write_corpus
from personagpt.text.words import one_line

VALID_EVERY = 10  # of the exported talks every tenth is for validation, where there is no old text
OLD_PER_TALK, OLD_LEAST = 20, 500  # dialogues of the old training text for each talk, and at least
# How many times slower the model learns from the export than it learned at first. Ten times slower, the demo model
# became worse on its old validation text, with the old training text alone, too; docs/talk.md has the figures.
SLOWER = 60
EPOCHS = 1
FLAG_TABLE, LINES = "flags.csv", "talks.jsonl"
NAMES = (*TEXT_NAMES.values(), FLAG_TABLE, LINES, PAIRS, FEEDBACK)

Kept = list[tuple[Talk, Dialogue]]  # the talks that give text, each with its dialogue


def check_target(target: Path, folder: Path) -> None:
    """Raise UserError where an export would lie among the recordings: a talk deleted there would stay in it."""
    if target.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{target}: the recorded talks themselves are in {folder}; export into a folder elsewhere")


def choose(talks: list[Talk], sources: list[str] | None) -> list[Talk]:
    """Return the talks from `sources`; without `sources` every talk of a person that was recorded here.

    A source is the program that recorded a talk, such as "app.py" or "study:NAME:CONDITION", or a part of that before a
    colon ("study"), or "self-play". Raises UserError where a source has no talk.
    """
    counts = Counter(map(_source, talks))
    if sources is None:
        if own := counts[SELF_PLAY] + counts[INTERVIEW]:
            say(f"left out: {counted(own, 'talks')} of the model with itself; --source {SELF_PLAY} exports them")
        if imported := sum(map(is_imported, talks)):
            say(
                f"left out: {counted(imported, 'imported talks')} with other programs; --source {IMPORTED} exports them"
            )
        return [talk for talk in talks if talk.partner != "partner" and not is_imported(talk)]
    for wanted in sources:
        if not any(_is_from(talk, wanted) for talk in talks):
            known = (
                ", ".join(f"{source} ({counted(count, 'talks')})" for source, count in counts.most_common()) or "none"
            )
            raise UserError(f"--source {wanted}: no talk on record is from there; the sources on record: {known}")
    return [talk for talk in talks if any(_is_from(talk, wanted) for wanted in sources)]


def _source(talk: Talk) -> str:
    """Return the source of a talk. A single self-play has the source of its script."""
    return SELF_PLAY if talk.partner == "partner" and talk.source != INTERVIEW else talk.source


def _is_from(talk: Talk, wanted: str) -> bool:
    return f"{_source(talk)}:".startswith(f"{wanted}:")


def with_corrections(talks: list[Talk]) -> list[Talk]:
    """Return the talks with each correction beside the flag that led to it.

    After /flag and /retry the flagged talk stays as it is, and another talk goes on; a later /fix corrects that other
    talk. The correction is put into the flagged talk, too, in the place of the flagged reply.
    """
    branches = branches_of(talks)
    return [_with_correction(talk, branches[talk.origin]) for talk in talks]


def _with_correction(talk: Talk, branches: list[Talk]) -> Talk:
    last = len(talk.turns) - 1
    if talk.turns[last].corrected or all(flag.turn != last for flag in talk.flags):
        return talk
    places = (other.turns[last] for other in reversed(branches) if talk.shares(other, last) and len(other.turns) > last)
    correction = next((turn for turn in places if turn.corrected), None)
    return talk if correction is None else talk.ending_with(talk.turns[last].instead(correction.text, corrected=True))


def export(talks: list[Talk], target: Path, only_flagged: bool, old: OldText | None = None) -> bool:
    """Write the talks into the folder `target`: as ConvAI2 text, as JSON, their flags, and preferences.

    Returns whether there is something to train on. The JSON has every talk whole. As text a talk goes up to its first
    flagged reply that nobody corrected; with `only_flagged`, talks with a flag go whole. `old` is mixed into the text.
    Raises UserError where there is no talk, or where files are in the way.
    """
    present = [target / name for name in NAMES if (target / name).exists()]
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
    kept, (pairs, feedback) = text_of(talks, only_flagged), preference_lines(talks)
    texts, lines = old.mixed_with(kept) if old and (kept or pairs) else talks_alone(kept)
    target.mkdir(parents=True, exist_ok=True)
    for split, text in texts.items():
        write_atomically(target / TEXT_NAMES[split], text)
    write_atomically(target / LINES, "".join(talk.line() for talk in talks))
    write_atomically(target / FLAG_TABLE, flag_table(talks))
    write_atomically(target / PAIRS, "".join(pairs))
    write_atomically(target / FEEDBACK, "".join(feedback))
    whole = f"{counted(len(talks), 'talks')} whole, with everything: {target / LINES}"
    lines.append(f"{whole}; their flags: {target / FLAG_TABLE}")
    lines += count_flags(talks)
    lines.append(f"{counted(len(pairs), 'pairs')} of a better and a worse reply: {target / PAIRS}")
    lines.append(f"{counted(len(feedback), 'flagged replies')} without a better reply: {target / FEEDBACK}")
    if not texts:
        lines.append("no training text: no talk has a reply that is not flagged")
    for line in lines:
        say(line)
    return bool(texts)


def talks_alone(kept: Kept) -> tuple[dict[str, str], list[str]]:
    """Return the text of each split, and lines that say what is in it; none where nothing is kept."""
    parts, lines = split_talks(kept) if kept else {}, []
    for split, pairs in parts.items():
        lines.append(f"{split}: {_amount(pairs)}")
    if len(kept) == 1:
        lines.append("there is one talk only: it is both the training and the validation text")
    return {split: write_corpus(dialogue for _, dialogue in pairs) for split, pairs in parts.items()}, lines


class OldText:
    """The text that a model was trained on. A model that learns from talks needs it to keep what it knows."""

    def __init__(self, settings: Settings, whole: bool) -> None:
        """Read the text of the settings. With `whole`, every dialogue of it is mixed in. Raises TextError."""
        self.paths = {split: settings.text(split) for split in TEXT_NAMES}
        self.train, self.valid = (read_corpus(self.paths[split]) for split in ("train", "valid"))
        self.whole = whole

    def mixed_with(self, kept: Kept) -> tuple[dict[str, str | bytes], list[str]]:
        """Return the text of each split, and lines that say what is in it.

        All talks train, with dialogues from evenly spread places of the old training text. The validation text is the
        old validation text, byte for byte.
        """
        total = len(self.train)
        count = total if self.whole else min(total, max(OLD_LEAST, OLD_PER_TALK * len(kept)))
        old = [self.train.dialogues[((number + 1) * total - 1) // count] for number in range(count)]
        new = [dialogue for _, dialogue in kept]
        texts = {"train": write_corpus([*old, *new]), "valid": self.paths["valid"].read_bytes()}
        return texts, [
            f"train: {_amount(kept)}, and {count:,} of the {total:,} dialogues of "
            f"{self.paths['train']}, so that the model keeps what it knows",
            f"valid: the {len(self.valid):,} dialogues of {self.paths['valid']} as they are, so that the loss before "
            "and after can be compared",
        ]


def _amount(kept: Kept) -> str:
    utterances = sum(len(dialogue.utterances) for _, dialogue in kept)
    return f"{counted(len(kept), 'talks')}, {counted(utterances, 'utterances')}"


def missing_text(settings: Settings) -> list[str]:
    """Return the text files of the settings in force that are not there."""
    return [str(path) for path in map(settings.text, TEXT_NAMES) if not path.is_file()]


def model_of(talks: list[Talk], settings: Settings) -> str | None:
    """Return the model that training goes on from: the last one that talked, or else the run's; None without either.

    Nobody can train a program behind an API (api://HOST/MODEL), or a program whose talks were imported.
    """
    talks = [talk for talk in talks if talk.model and "://" not in talk.model and not is_imported(talk)]
    names = [talk.model for talk in sorted(talks, key=lambda talk: talk.started)]
    names = [*names[-1:], str(settings.save_path / "checkpoint" / "model")]
    return next((name for name in names if Path(name).is_dir() or not Path(name).is_absolute()), None)


def settings_to_train(target: Path, settings: Settings, model: str | None) -> dict[str, object]:
    """Return the settings that change when the exported text in `target` is trained on.

    The text of an earlier export lies in a folder with its talks: the learning rate is then low already.
    """
    changed = {"data_path": target, "save_path": target / "save"}
    if (target / PAIRS).is_file() and (target / PAIRS).stat().st_size:
        changed["preferences"] = target / PAIRS
    if model is None:
        return changed
    slower = 1 if (settings.data_path / LINES).is_file() else SLOWER
    return changed | {"model_name": model, "epochs": EPOCHS, "learn_rate": f"{settings.learn_rate / slower:.6g}"}


def text_of(talks: list[Talk], whole: bool) -> Kept:
    """The talks of which something can be used, each with its dialogue: up to its first flagged reply, or `whole`.

    Two twins give one dialogue: from the talk of the person who began, up to the first flag in either talk. A talk that
    only asked about one reply gives none: its utterance is of the validation text.
    """
    kept, by_id, branches = [], {talk.id: talk for talk in talks}, branches_of(talks)
    for talk in talks:
        twin = by_id.get(talk.twin)
        if (twin is not None and twin.speakers[0] == "human") or (talk.source == TEACH and not whole):
            continue
        twins = [talk] if twin is None else [talk, twin]
        end = min(first_flag(side, branches[side.origin]) for side in twins)
        dialogue = training_dialogue(talk, len(talk.turns) if whole else end)
        if dialogue is not None:
            kept.append((talk, dialogue))
    return kept if whole else _each_opening_once(kept)


def _each_opening_once(kept: Kept) -> Kept:
    """Leave out all but the longest of the dialogues that went on from one another after the same first exchange."""
    longest: dict[tuple[Any, ...], int] = {}
    for number, (talk, dialogue) in enumerate(kept):
        key = (talk.origin, *dialogue.utterances[:2])
        if key not in longest or len(dialogue.utterances) >= len(kept[longest[key]][1].utterances):
            longest[key] = number
    return [kept[number] for number in sorted(longest.values())]


def first_flag(talk: Talk, branches: list[Talk]) -> int:
    """How many turns come before the first flagged reply that nobody corrected.

    A reply of `talk` may have its flag in one of the `branches`: after /flag and /set another talk goes on without it.
    """
    flags = ((other, flag.turn) for other in branches for flag in other.flags if not other.turns[flag.turn].corrected)
    return min((turn for other, turn in flags if talk.shares(other, turn + 1)), default=len(talk.turns))


def training_dialogue(talk: Talk, count: int) -> Dialogue | None:
    """Return the first `count` turns as a dialogue, without a person's last utterance if no model answered it.

    Return None if no turn is left, or if one of two people has deleted their talk.
    """
    if talk.partner == "person" and DELETED in talk.texts:
        return None
    if talk.partner == "human" and count and talk.turns[count - 1].speaker == "human":
        count -= 1
    texts = [one_line(text) for text in talk.texts[:count]]
    if not is_writable(texts):
        return None
    personas = tuple([one_line(fact) for fact in facts] for facts in map(talk.facts_of, talk.speakers))
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
            words = map(_no_formula, (flag.note, facts, before, *said))
            writer.writerow([talk.id, flag.turn, flag.kind, *words, talk.model_checksum])
    return text.getvalue()


def _no_formula(text: str) -> str:
    """Return a cell of a table that a spreadsheet shows as the words of somebody, and does not carry out."""
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text
