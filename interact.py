"""Talk to a trained model, and record where it fails.

    python interact.py                                          type a persona, then talk
    python interact.py --persona "i have two dogs." --persona "i work as a nurse."
    python interact.py --random-persona --seed 7                a validation dialogue's persona, a repeatable talk
    python interact.py --self-play --turns 10                   two personas talk to each other
    python interact.py --self-play --talks 200                  many such talks, made together, for detect.py
    echo "hi ! how are you ?" | python interact.py --random-persona
    python interact.py --export FOLDER [--only-flagged]         recorded talks -> text for preprocess_dataset.py
    python interact.py --export --publish FOLDER                ... -> a database for others, without who took part
    python interact.py --stats                                  how many talks and flags are on record
    python interact.py --delete-talk ID                         ... and --delete-participant KEY: gone from the file

Reads   save_path/checkpoint/model, or the folder or hub name --model gives. It may run while train.py trains.
Writes  save_path/conversations/talks.sqlite (personagpt/records/database.py): everything when it is said.

During a reply Ctrl-C stops that reply; otherwise it ends the talk. /help lists the commands.
"""

from __future__ import annotations

from personagpt.signals import end_at_once  # isort: skip

if __name__ == "__main__":
    end_at_once()  # Ctrl-C is answered by one line from here on: before anything else is imported

from utils import add_env_option, before_torch, command, parse_options, run_script

import argparse
import random
import secrets
import sys
from dataclasses import asdict
from pathlib import Path

from personagpt.errors import UserError
from personagpt.model.folders import find_model
from personagpt.model.sampling import RANGES, Sampling
from personagpt.records.database import Recordings
from personagpt.records.export import export
from personagpt.records.publishing import publish
from personagpt.records.statistics import statistics
from personagpt.sequences.goals import read_goals
from personagpt.settings import Settings, read_settings
from personagpt.text.convai2 import read_corpus

TYPED = "typed_lines"  # beside the recorded talks: what was typed on a terminal


def command_line(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_env_option(parser)
    add = parser.add_argument
    add("--model", metavar="NAME", help="a folder or hub name (default: save_path/checkpoint/model)")
    persona = parser.add_mutually_exclusive_group()
    persona.add_argument("--persona", metavar="FACT", action="append", help="a fact of the model's persona; repeat it")
    persona.add_argument("--persona-file", metavar="FILE", type=Path, help="a persona, one fact a line")
    persona.add_argument("--random-persona", action="store_true", help="a persona of the validation text")
    add("--top-k", metavar="K", type=int, help="draw from the K most likely tokens (%(default)s; 0: all)")
    add("--top-p", metavar="P", type=float, help="... of those from the fewest that make up P (%(default)s)")
    add("--temperature", metavar="T", type=float, help="below 1: safer, above: bolder (%(default)s)")
    add("--max-new-tokens", metavar="N", type=int, help="longest reply (%(default)s)")
    add("--goal", metavar="GOAL", help="what the replies shall do: 'ask about pets.' (a model trained with goals)")
    add("--no-repeat", metavar="N", type=int, help="repeat no N tokens in a row (%(default)s; 0: may repeat)")
    parser.set_defaults(**asdict(Sampling()))
    add("--history", metavar="N", type=int, help="utterances the model is shown (see docs/talk.md; 0: all that fit)")
    add("--as-typed", action="store_true", help="leave what you type as it is, not in the training text's style")
    add("--seed", metavar="N", type=int, help="makes a talk repeatable")
    add("--self-play", action="store_true", help="two personas talk to each other")
    add("--turns", metavar="N", type=int, default=10, help="utterances of a self-play (10)")
    add("--talks", metavar="N", type=int, help="... N talks between personas of the validation text, not printed")
    records = parser.add_mutually_exclusive_group()
    add_one = records.add_argument
    write = "write the recorded talks: ConvAI2 text, JSON, flags"
    add_one("--export", metavar="FOLDER", nargs="?", const=True, type=Path, help=write)
    add_one("--stats", action="store_true", help="count the recorded talks, utterances and flags")
    add_one("--delete-talk", metavar="ID", action="append", help="delete a recorded talk; repeat it")
    add_one("--delete-participant", metavar="KEY", help="delete all talks of a participant")
    add("--publish", metavar="FOLDER", type=Path, help="... for others: without keys, times and paths, with a card")
    add("--only-flagged", action="store_true", help="... only talks with a flag, and a table of the flags")
    options = parse_options(parser, arguments)
    check_options(options)
    options.persona = read_persona(options)
    return options, read_settings(options.env)


def check_options(options: argparse.Namespace) -> None:
    """Raise UserError for a value out of range."""
    if options.export is True and not options.publish:
        raise UserError("--export: where to? --export FOLDER, or for others --export --publish FOLDER")
    facts_given = options.persona is not None or options.persona_file is not None
    for name, holds, allowed in (
        *((name, in_range(getattr(options, name)), allowed) for name, (in_range, allowed) in RANGES.items()),
        ("history", (options.history or 0) >= 0, "0 (all that fit the context) or more"),
        ("turns", options.turns >= 1, "1 or more"),
        (
            "talks",
            options.talks is None or (options.self_play and options.talks >= 1 and not facts_given),
            "1 or more, with --self-play and without a persona: they are the validation text's",
        ),
        ("seed", options.seed is None or 0 <= options.seed < 2**62, "0 or more, below 2**62"),
        ("publish", not options.publish or options.export is True, "--export --publish FOLDER, with this folder only"),
        ("only_flagged", options.export or not options.only_flagged, "used together with --export FOLDER"),
    ):
        if not holds:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected {allowed}")


def read_persona(options: argparse.Namespace) -> list[str] | None:
    """The facts of --persona or --persona-file; None without either. Raises UserError where there is no fact in it."""
    facts = options.persona
    if options.persona_file is not None:
        try:
            facts = options.persona_file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise UserError(f"--persona-file {options.persona_file}: cannot read it: {reason}") from None
    if facts is None:
        return None
    facts = [fact.strip() for fact in facts if fact.strip()]
    if any("\udc80" <= letter <= "\udcff" for fact in facts for letter in fact):  # undecodable bytes
        raise UserError("--persona: not UTF-8 text; set the terminal to UTF-8, or use --persona-file")
    if not facts:
        raise UserError("an empty persona: give at least one fact, such as --persona 'i have two dogs.'")
    return facts


def known_personas(settings: Settings) -> list[tuple[list[str], list[str]]]:
    """Both personas of each validation dialogue. Raises UserError where there is no text with personas."""
    path = settings.text("valid")
    if not path.is_file():
        raise UserError(f"{path} not found: a random persona comes from there; give one with --persona")
    dialogues = [dialogue for dialogue in read_corpus(path).dialogues if all(dialogue.personas)]
    if not dialogues:
        raise UserError(f"{path}: no dialogue gives both personas; give one with --persona")
    return [dialogue.personas for dialogue in dialogues]


def wants_records(options: argparse.Namespace) -> bool:
    """Whether this is about the recorded talks: that needs no model, and no torch."""
    return bool(options.export or options.stats or options.delete_talk or options.delete_participant is not None)


def use_records(options: argparse.Namespace, settings: Settings) -> int:
    """--export, --stats, --delete-talk and --delete-participant."""
    recordings = Recordings(settings.save_path / "conversations")
    if options.delete_talk or options.delete_participant is not None:
        count = recordings.delete(options.delete_participant, options.delete_talk)
        if not count:
            raise UserError(f"{recordings.path}: no such talk; --export lists them in talks.jsonl, with their ids")
        recordings.path.with_name(TYPED).unlink(missing_ok=True)  # may hold what was said
        print(f"deleted {count} talk{'s' * (count > 1)} from {recordings.path}; what was exported before is not")
    elif options.stats:
        print("\n".join(statistics(recordings.talks())))
    elif options.publish:
        publish(recordings.talks(), recordings.path.parent, options.publish, options.only_flagged)
    else:

        def next_command(**changed: object) -> str:
            return command("preprocess_dataset.py", options.env, **changed)

        export(recordings.talks(), options.export, options.only_flagged, next_command)
    return 0


def prepare(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings]:
    """The command line, checked as far as that goes without the model, with the personas that it asks for."""
    options, settings = command_line(arguments)
    if not wants_records(options):
        find_model(options.model, settings, command("train.py", options.env))
        options.goals, options.drawn = read_goals(settings.goals), False
        if options.self_play or options.random_persona:
            options.pairs = known_personas(settings)
            options.partner_persona, drawn = random.Random(options.seed).choice(options.pairs)
            options.drawn, options.persona = not options.persona, options.persona or drawn
    return options, settings


if __name__ == "__main__":
    prepared = before_torch(prepare)
    if wants_records(prepared[0]):
        run_script(use_records, *prepared)
    print("loading ...", file=sys.stderr, flush=True)

import contextlib

from personagpt.model.loading import TrainedModel, load_trained
from personagpt.talking.commands import Commands, answer_lines, type_persona
from personagpt.talking.self_play import play
from personagpt.talking.session import Session, self_play
from personagpt.talking.terminal import typed_lines


def main(arguments: list[str] | None = None) -> int:
    options, settings = prepare(arguments)
    return use_records(options, settings) if wants_records(options) else talk(options, settings)


def talk(options: argparse.Namespace, settings: Settings) -> int:
    trained = load_trained(options.model, settings)
    sampling = Sampling(**{name: getattr(options, name) for name in RANGES})
    recordings = Recordings(settings.save_path / "conversations")
    if options.talks:
        return play_talks(options, trained, sampling, recordings)
    session = Session(
        trained, sampling, options.seed, recordings, max_history=options.history, as_typed=options.as_typed
    )
    session.goal = options.goal
    try:
        if options.self_play:
            session.begin(options.persona, options.drawn, "partner", options.partner_persona)
            self_play(session, options.turns)
        else:
            lines = typed_lines(recordings.path.with_name(TYPED))
            if persona := options.persona or type_persona(lines):
                session.begin(persona, options.drawn)
                answer_lines(Commands(session, options.goals, lambda: other_persona(options, settings)), lines)
    finally:
        if session.recorded:
            print(f"recorded in {recordings.path}: {', '.join(session.recorded)}")
    return 0


def play_talks(options: argparse.Namespace, trained: TrainedModel, sampling: Sampling, recordings: Recordings) -> int:
    """--self-play --talks N: the talks are recorded as they are done, some dozens at a time."""
    seed = secrets.randbits(32) if options.seed is None else options.seed
    count, turns, done = options.talks, options.turns, 0
    for talks in play(trained, options.pairs, count, turns, sampling, seed, options.history, options.goal):
        for talk in talks:
            recordings.save(talk)
        done += len(talks)
        print(f"{done} of {count} talks recorded in {recordings.path}")
    return 0


def other_persona(options: argparse.Namespace, settings: Settings) -> list[str]:
    """One of the validation text to compare with; none where there is no such text."""
    with contextlib.suppress(UserError):
        return random.Random(options.seed).choice(known_personas(settings))[0]
    return []


if __name__ == "__main__":
    run_script(talk, *prepared)
