"""Bring dialogues from other formats into ConvAI2's text, for preprocess_dataset.py.

    python import_dialogues.py talks.txt --to my_data                 your own talks, or another corpus
    python import_dialogues.py a.json b.json --to my_data --valid 0.1 one dialogue in ten validates
    python import_dialogues.py train.csv --to my_data --valid 0       all for training ...
    python import_dialogues.py valid.csv --to my_data --valid 1       ... and all for validation
    python import_dialogues.py more.txt --to my_data --add            more dialogues for texts that are there
    python import_dialogues.py script.csv --to my_data --speaker Vex  one character of a script replies
    python import_dialogues.py a.csv --to my_data --columns "speaker=who, text=says, talk=scene"
    python import_dialogues.py talks.jsonl --to my_data --keep-going  leave out however many records do not parse
    python import_dialogues.py my_data/*.txt --export-messages chat.jsonl   the way back: chat messages
    python import_dialogues.py data_volunteers.json --talks           people's talks with programs become recorded talks

Reads   files in the formats of personagpt/importing/layouts/, recognised by their content.
Writes  FOLDER/train_both_original_no_cands.txt, valid_both_original_no_cands.txt; never over a file that is there.
        With --talks: save_path/conversations/talks.sqlite, each talk once. A fuller file fills in what a talk lacks.
"""

from __future__ import annotations

from utils import command, new_parser, parse_options, run_script

import hashlib
import json
import re
import shlex
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from personagpt.errors import UserError
from personagpt.files import write_atomically
from personagpt.importing.chat_messages import message_lines
from personagpt.importing.layouts.columns import Mapping, parse_mapping
from personagpt.importing.preview import preview
from personagpt.importing.recognition import read_talks
from personagpt.importing.speaker_lines import same_name
from personagpt.importing.steps import (
    count_turns,
    finish,
    is_paragraph,
    join_turns,
    keep_speaker,
    mend_talk,
    pauses,
    sentences,
    usual_gap,
)
from personagpt.importing.table import LAYOUTS
from personagpt.importing.talks import PERSON, PROGRAM, ImportedTalk, RecordError
from personagpt.output import counted, say, warn
from personagpt.records.database import Recordings
from personagpt.records.talks import IMPORTED, UNKNOWN_DAY, UNKNOWN_PROGRAM, Talk, Thumb, Turn
from personagpt.settings import TEXT_NAMES, Settings, read_settings
from personagpt.text.convai2 import Dialogue, write_corpus
from personagpt.text.persona_file import read_persona_file
from personagpt.text.splitting import Split, split_dialogues

MOST_FAILED = 0.01  # of the records
TALKS_READ = "--talks reads data_*.json and export_*.json of ConvAI2's site"
SHOWN = 10  # of those that fail
MOST_NAMES = 20  # speakers in a message
USUAL_TURNS = Settings.__dataclass_fields__["max_turns"].default


@dataclass(frozen=True)
class Options:
    env: Path
    files: list[Path]
    to: Path | None
    export_messages: Path | None
    talks: bool
    format: str | None
    columns: str | None
    speaker: str | None
    persona_file: Path | None
    gap: float | None
    valid: float | None
    add: bool
    keep_going: bool


@dataclass
class Reading:
    """What the files held, and what became of the records."""

    talks: list[ImportedTalk] = field(default_factory=list)
    dialogues: list[Dialogue] = field(default_factory=list)  # of each talk
    formats: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # a line for each record that is no dialogue
    left_out: Counter[str] = field(default_factory=Counter)  # reason -> how many
    notes: list[str] = field(default_factory=list)  # what else the user must know


def command_line(arguments: list[str] | None = None) -> Options:
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("files", metavar="FILE", type=Path, nargs="+", help="dialogues in another format")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--to", metavar="FOLDER", type=Path, help="where the two text files go")
    target.add_argument(
        "--export-messages", metavar="FILE", type=Path, help="write the dialogues as chat messages, JSON lines"
    )
    target.add_argument(
        "--talks", action="store_true", help="record talks between people and programs, as interact.py records its own"
    )
    add("--format", choices=LAYOUTS, help="(default: recognised by the content)")
    add("--columns", metavar="MAP", help='of a table or JSON: "speaker=name, text=line, talk=scene, persona=bio"')
    add("--speaker", metavar="NAME", help="who replies; everybody else is the partner")
    add("--persona-file", metavar="FILE", type=Path, help="the facts of --speaker, one a line")
    add("--gap", metavar="HOURS", type=float, help="a pause that starts a new talk (default: from the data)")
    add(
        "--valid", metavar="SHARE", type=float,
        help="of the dialogues, for validation (default: as the file is split, else 0.1); no persona is in both parts",
    )  # fmt: skip
    add("--add", action="store_true", help="add to the texts that are in FOLDER")
    add("--keep-going", action="store_true", help="also where more than 1%% of the records do not parse")
    options = parse_options(parser, Options, arguments)
    check_options(options)
    return options


def check_options(options: Options) -> None:
    """Raise UserError for a value out of range, and for options that do not go together."""
    if options.valid is not None and not 0 <= options.valid <= 1:
        raise UserError(f"--valid {options.valid:g}: expected a share from 0 (none) to 1 (all)")
    if options.gap is not None and not options.gap > 0:
        raise UserError(f"--gap {options.gap:g}: expected hours, more than 0")
    if options.persona_file and not options.speaker:
        raise UserError("--persona-file: whose facts are these? add --speaker NAME")
    if options.columns and options.format not in (None, "columns"):
        raise UserError(f"--columns reads any table or JSON; leave --format {options.format} away")
    if options.to and options.to.is_file():
        raise UserError(f"--to {options.to}: there is a file of that name; expected a folder")
    for name in ("columns", "speaker", "persona_file", "gap", "valid", "add") if options.talks else ():
        if getattr(options, name) is not None and getattr(options, name) is not False:  # 0.0 == False
            raise UserError(f"--{name.replace('_', '-')} is for dialogues to train on: leave it out beside --talks")
    if options.export_messages and options.export_messages.exists():
        raise UserError(f"{options.export_messages} is there already and stays as it is: name another file")


def main(arguments: list[str] | None = None) -> int:
    options = command_line(arguments)
    mapping = parse_mapping(options.columns) if options.columns else None
    facts = read_persona_file(options.persona_file) if options.persona_file else []
    texts = check_texts(options) if options.to else {}
    settings = read_settings(options.env) if options.talks else None
    reading = read_files(options, mapping)
    if settings:
        return record_talks(options, reading, settings)
    choose_speaker(options, reading, facts)
    finish_talks(options, reading)
    check_failed(reading, len(reading.dialogues), options.keep_going)
    if options.export_messages:
        lines = [f"{line}\n" for line in message_lines(reading.dialogues)]
        write_atomically(options.export_messages, "".join(lines))
        say(f"{summary(reading)}; {counted(len(lines), 'records')} of chat messages in {options.export_messages}")
        return 0
    parts = split(reading, options.valid)
    write_texts(texts, parts)
    say(summary(reading, parts))
    say(preview(reading.talks, reading.dialogues))
    if parts.warning:
        warn(f"warning: {parts.warning}")
    say(f"text in {options.to}; next: {next_command(options)}")
    return 0


def record_talks(options: Options, reading: Reading, settings: Settings) -> int:
    """Record the talks between people and programs, each once, however often its file is imported.

    A fuller file adds what the talks on record lack: thumbs, ratings, the program, the participant, the times.
    """
    if other := next((talk for talk in reading.talks if talk.encounter is None), None):
        raise UserError(f"{other.place}: does not say who is a person and who is a program; {TALKS_READ}")
    check_failed(reading, len(reading.talks), options.keep_going)
    talks = [recorded_talk(join_turns(talk)) for talk in reading.talks]
    recordings = Recordings(settings.save_path / "conversations")
    count, filled = recordings.add(talks)
    assumed = sum(talk.encounter.is_assumed for talk in reading.talks)
    if assumed:
        reading.notes.append(
            f"{counted(assumed, 'talks')} without classes of the speakers: participant2 is taken for the program"
        )
    line = f"{', '.join(reading.formats)}: {counted(count, 'talks')} recorded in {recordings.path}"
    known = len(talks) - count
    line += f"; {known:,} {'is' if known == 1 else 'are'} on record already" if known else ""
    line += f", {filled:,} of them fuller now" if filled else ""
    say("\n".join([line + what_is_left_out(reading), *reading.notes]))
    say(f"next: {command('interact.py', options.env)} --stats")
    return 0


def recorded_talk(talk: ImportedTalk) -> Talk:
    """Return a talk of a person with a program, whose turns are joined, as it is recorded.

    Its id is a checksum of what was said and of both personas, so that another file of the same talk adds no talk.
    """
    about, file = talk.encounter, Path(talk.place.rpartition(": ")[0]).stem
    start, end = (time.isoformat(timespec="milliseconds") if time else "" for time in (about.started, about.ended))
    day = start[: len(UNKNOWN_DAY)] or UNKNOWN_DAY
    times = [start or day, *[day] * (len(talk.turns) - 2), end or day]
    speakers = {PERSON: "human", PROGRAM: "model"}
    turns = [Turn(speakers[turn.speaker], turn.text, time) for turn, time in zip(talk.turns, times, strict=True)]
    personas = talk.facts.get(PROGRAM, []), talk.facts.get(PERSON, [])
    content = json.dumps([[(turn.speaker, turn.text) for turn in turns], personas])
    return Talk(
        about.model or UNKNOWN_PROGRAM, "", {}, personas[0], partner_persona=personas[1], turns=turns,
        thumbs=[Thumb(number, up) for number, turn in enumerate(talk.turns) for up in turn.thumbs],
        started=times[0], id=hashlib.sha256(content.encode()).hexdigest()[:32],
        source=f"{IMPORTED}:" + re.sub(r"[^\w.-]", "-", file),
        participant=about.participant, ratings={**about.ratings},
    )  # fmt: skip


def check_texts(options: Options) -> dict[str, Path]:
    """Return the paths to write by split. Raises UserError where a text is there and nothing is to be added to it."""
    written = {0: ["train"], 1: ["valid"]}.get(options.valid, ["train", "valid"])
    texts = {split: options.to / TEXT_NAMES[split] for split in written}
    for path in texts.values():
        if path.exists() and not options.add:
            raise UserError(
                f"{path} is there already and stays as it is: add to it with --add, import into another folder, or "
                "remove it"
            )
    return texts


def read_files(options: Options, mapping: Mapping | None) -> Reading:
    """Read and mend the talks of all files."""
    reading = Reading()
    for path in options.files:
        advice = TALKS_READ if options.talks else ""
        name, talks = read_talks(path, options.format, mapping, reading.left_out, advice)
        reading.formats += [name] if name not in reading.formats else []
        for talk in talks:
            try:
                if isinstance(talk, RecordError):
                    raise talk
                if talk.part not in ("train", "valid", None) and options.valid is None and not options.talks:
                    raise UserError(
                        f"{path}: its part {talk.part!r} is none of train, valid and test: give --valid SHARE, which "
                        "puts all parts together, or rename it in the file"
                    )
                reading.talks.append(replace(mend_talk(talk, reading.left_out), place=f"{path}: {talk.place}"))
            except RecordError as error:
                reading.failed.append(f"{path}: {error.place or talk.place}: {error}")
    return reading


def choose_speaker(options: Options, reading: Reading, facts: list[str]) -> None:
    """Leave two speakers in each talk: with --speaker, that character and a partner.

    Raises UserError where more than two speak and nobody was chosen, with the names and the command to run.
    """
    talks = reading.talks
    if options.speaker:
        counts = count_turns(talks)
        speaker = same_name(options.speaker, list(counts))
        if speaker is None:
            raise UserError(
                f"--speaker {options.speaker}: says nothing in these files; who speaks: {turn_counts(counts)}"
            )
        known = list(dict.fromkeys(fact for talk in talks for fact in talk.facts.get(speaker, [])))
        if not facts and not known:
            # ConvAI2's text tells by its persona which of the two is to be learned.
            facts = [f"my name is {speaker}."]
            reading.notes.append(
                f"{speaker} has no persona: it is `{facts[0]}` now; --persona-file FILE gives a better"
            )
        kept = [keep_speaker(talk, speaker, facts or talk.facts.get(speaker) or known) for talk in talks]
        reading.talks = [talk for talk in kept if talk]
        reading.left_out[f"talks without {speaker} and a partner"] += kept.count(None)
        return
    crowded = [talk for talk in talks if len(talk.speakers) > 2]
    if len(crowded) > MOST_FAILED * len(talks) and not options.keep_going:
        counts = count_turns(crowded)
        files = " ".join(shlex.quote(str(path)) for path in options.files)
        target = f"--to {shlex.quote(str(options.to))}" if options.to else "--export-messages FILE"
        columns = f" --columns {shlex.quote(options.columns)}" if options.columns else ""
        again = f"{command('import_dialogues.py', options.env)} {files} {target}{columns}"
        likely = shlex.quote(counts.most_common(1)[0][0])
        raise UserError(
            f"{len(crowded):,} of {len(talks):,} talks have more than two speakers: {turn_counts(counts)}. "
            f"Choose who replies: {again} --speaker {likely}"
        )


def turn_counts(counts: Counter[str]) -> str:
    """Return the names with the number of their turns, most first."""
    shown = ", ".join(f"{name} ({count:,})" for name, count in counts.most_common(MOST_NAMES))
    return shown + (f" and {len(counts) - MOST_NAMES:,} more" if len(counts) > MOST_NAMES else "")


def finish_talks(options: Options, reading: Reading) -> None:
    """Turn the talks into dialogues."""
    hours = pauses(reading.talks)
    gap = options.gap or usual_gap(hours)
    if hours:
        reading.notes.append(f"a pause of {gap:g} hours starts a new talk; --gap HOURS changes this")
    mended, reading.talks = reading.talks, []
    paragraphs = 0
    for talk in mended:
        for who, facts in talk.facts.items():
            if is_paragraph(facts):
                talk.facts[who] = sentences(facts[0])
                paragraphs += 1
        try:
            for finished, dialogue in finish(talk, gap, reading.left_out):
                reading.talks.append(finished)
                reading.dialogues.append(dialogue)
        except RecordError as error:
            reading.failed.append(f"{talk.place}: {error}")
    if paragraphs:
        reading.notes.append(f"{counted(paragraphs, 'personas')} in one paragraph: each sentence of it is a fact now")
    if long := [len(dialogue.utterances) for dialogue in reading.dialogues if len(dialogue.utterances) > USUAL_TURNS]:
        reading.notes.append(
            f"{counted(len(long), 'talks')} of more than {USUAL_TURNS} utterances, of which preprocessing uses the "
            f"first max_turns (default {USUAL_TURNS}): set max_turns = {max(long)} to use all"
        )


def check_failed(reading: Reading, parsed: int, keep_going: bool) -> None:
    """Name the first records that are no dialogue; raise UserError where they are too many, or none has `parsed`."""
    failed = len(reading.failed)
    for line in reading.failed[:SHOWN]:
        warn(line)
    if failed > SHOWN:
        warn(f"... and {failed - SHOWN:,} more")
    count = f"{failed:,} of {failed + parsed:,} records do not parse"
    if not parsed:
        reasons = f" ({left_out(reading)})" if left_out(reading) else ""
        raise UserError(f"{count if failed else 'no dialogue in these files'}{reasons}: nothing was written")
    if failed > MOST_FAILED * (failed + parsed) and not keep_going:
        raise UserError(f"{count}, more than 1%: nothing was written; --keep-going leaves them out")


def split(reading: Reading, share: float | None) -> Split:
    """Return the training and validation part. Without a `share` a file's own parts stay, if it has both."""
    train, valid, pool = [], [], []
    for talk, dialogue in zip(reading.talks, reading.dialogues, strict=True):
        {"train": train, "valid": valid}.get(talk.part if share is None else None, pool).append(dialogue)
    if share is None and not (train and valid):
        train, valid, pool = [], [], train + valid + pool
    if share in (0, 1):
        return Split(pool * (share == 0), pool * (share == 1))
    if not pool:
        return Split(train, valid)
    more = split_dialogues(pool, 0.1 if share is None else share)
    train, valid = train + more.train, valid + more.valid
    held_back = _personas(valid) - _personas(train)
    return Split(train, valid, more.left_out, len(held_back), more.warning)


def _personas(dialogues: list[Dialogue]) -> set[tuple[str, ...]]:
    return {tuple(facts) for dialogue in dialogues for facts in dialogue.personas if facts}


def write_texts(texts: dict[str, Path], parts: Split) -> None:
    """Write each split's text, after what its file holds already."""
    written = {}
    for split, path in texts.items():
        text = write_corpus(getattr(parts, split)).encode()
        before = path.read_bytes() if path.exists() else b""
        written[path] = before + b"\n" * (before[-1:] not in (b"\n", b"")) + text
    for path, data in written.items():
        write_atomically(path, data)


def summary(reading: Reading, parts: Split | None = None) -> str:
    """Return the line that says what became of the records, and a line for each note."""
    dialogues = reading.dialogues
    line = f"{', '.join(reading.formats)}: "
    if parts:
        line += f"{counted(len(parts.train), 'dialogues')} for training, {len(parts.valid):,} for validation"
    else:
        line += counted(len(dialogues), "dialogues")
    line += what_is_left_out(reading)
    if parts and parts.left_out:
        line += f"; {counted(len(parts.left_out), 'dialogues')} left out whose two personas fell into different parts"
    if parts and parts.held_back:
        line += f"; {counted(parts.held_back, 'personas')} only for validation, not trained"
    given = [sum(map(bool, dialogue.personas)) for dialogue in dialogues]
    if 2 in given and (lacking := len(given) - given.count(2)):
        line += f"; {lacking:,} lack a persona that others have: that speaker trains without facts"
    return "\n".join([line, *reading.notes])


def what_is_left_out(reading: Reading) -> str:
    """Return the part of the summary line about the records and messages that were left out."""
    mistakes = f"; {counted(len(reading.failed), 'records')} left out for mistakes" if reading.failed else ""
    return mistakes + (f"; left out: {reasons}" if (reasons := left_out(reading)) else "")


def left_out(reading: Reading) -> str:
    return ", ".join(counted(count, reason) for reason, count in reading.left_out.items() if count)


def next_command(options: Options) -> str:
    """Return what to run now: for validation text first, where there is only training text, or the other way round."""
    missing = [split for split, name in TEXT_NAMES.items() if not (options.to / name).exists()]
    if missing:
        share, purpose = {"train": (0, "training"), "valid": (1, "validation")}[missing[0]]
        again = command("import_dialogues.py", options.env)
        return f"{again} FILE --to {shlex.quote(str(options.to))} --valid {share}   (talks for {purpose})"
    return command("preprocess_dataset.py", options.env, data_path=options.to, save_path=options.to / "save")


if __name__ == "__main__":
    run_script(main)
