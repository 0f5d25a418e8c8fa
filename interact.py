"""Talk to a trained model, and record where it fails.

    python interact.py                                          type a persona, then talk
    python interact.py --persona "i have two dogs." --persona "i work as a nurse."
    python interact.py --random-persona --seed 7                a validation dialogue's persona, a repeatable talk
    python interact.py --self-play --turns 10                   two personas talk to each other
    python interact.py --self-play --talks 200                  many such talks, made together, for detect.py
    python interact.py --self-play --talks 20 --api FILE        ... the partner is a program behind an API (docs/api.md)
    python interact.py --teach                                  judge the replies that the model is least sure of
    python interact.py --teach --nli MODEL                      ... first those that contradict a fact (docs/talk.md)
    echo "hi ! how are you ?" | python interact.py --random-persona
    python interact.py --export FOLDER [--only-flagged]         recorded talks -> text for preprocess_dataset.py
    python interact.py --export FOLDER --source self-play       ... talks of the model with itself
    python interact.py --export --publish FOLDER --study NAME   ... of a study -> a database for others, without names
    python interact.py --export --publish FOLDER --license FILE ... with its license, and your reasons, in the card
    python interact.py --stats                                  count the recorded talks and flags
    python interact.py --delete-talk ID                         ... or --delete-participant KEY: delete recorded talks

Reads   save_path/checkpoint/model, or the folder or hub name --model gives. It may run while train.py trains.
Writes  save_path/conversations/talks.sqlite (personagpt/records/database.py), after every utterance.

During a reply Ctrl-C stops that reply; otherwise it ends the talk. /help lists the commands.
"""

from __future__ import annotations

from utils import command, new_parser, parse_options, run_script

import contextlib
import random
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from personagpt.errors import RunError, UserError
from personagpt.model.api_settings import Api, read_api
from personagpt.model.folders import find_classifier, find_model
from personagpt.model.sampling import RANGES, Sampling
from personagpt.output import say, warn
from personagpt.records.database import Recordings
from personagpt.records.export import (
    OldText,
    check_target,
    choose,
    export,
    missing_text,
    model_of,
    settings_to_train,
    with_corrections,
)
from personagpt.records.publishing import publish, read_license, without_private
from personagpt.records.statistics import statistics
from personagpt.records.talks import STUDY, Talk
from personagpt.sequences.goals import Goal, read_goals
from personagpt.settings import Settings, read_settings
from personagpt.signals import importing
from personagpt.talking.places import places, read_material
from personagpt.talking.terminal import typed_lines
from personagpt.text.convai2 import read_corpus
from personagpt.text.persona_file import read_persona_file

TYPED = "typed_lines"  # the file beside the recorded talks that keeps the lines typed on a terminal
Pair = tuple[list[str], list[str]]  # the facts of a dialogue's two speakers


@dataclass(frozen=True)
class Options:
    env: Path
    model: str | None
    persona: list[str] | None
    persona_file: Path | None
    random_persona: bool
    top_k: int
    top_p: float
    temperature: float
    max_new_tokens: int
    no_repeat: int
    goal: str | None
    history: int | None
    as_typed: bool
    seed: int | None
    self_play: bool
    turns: int
    talks: int | None
    api: Path | None
    teach: bool
    nli: str | None
    export: str | None  # a folder; empty if --publish names the folder
    publish: Path | None
    license: Path | None
    study: str | None
    source: list[str] | None
    only_flagged: bool
    stats: bool
    delete_talk: list[str] | None
    delete_participant: str | None


def command_line(arguments: list[str] | None = None) -> Options:
    parser = new_parser(__doc__)
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
    add("--no-repeat", metavar="N", type=int, help="repeat no N tokens in a row (%(default)s; 0: may repeat)")
    parser.set_defaults(**asdict(Sampling()))
    add("--goal", metavar="GOAL", help="a goal for the replies: 'ask about pets.' (a model trained with goals)")
    add("--history", metavar="N", type=int, help="utterances the model is shown (see docs/talk.md; 0: all that fit)")
    add("--as-typed", action="store_true", help="leave typed text as it is, not in the training text's style")
    add("--seed", metavar="N", type=int, help="makes a talk repeatable")
    add("--self-play", action="store_true", help="two personas talk to each other")
    add("--turns", metavar="N", type=int, default=10, help="utterances of a self-play (10)")
    add("--talks", metavar="N", type=int, help="... N talks between personas of the validation text, not printed")
    add("--api", metavar="FILE", type=Path, help="... the partner is a program behind an API, as this file names it")
    add("--teach", action="store_true", help="judge replies: those that the model is least sure of come first")
    add("--nli", metavar="MODEL", help="... before them those that contradict a fact, by this NLI classifier")
    records = parser.add_mutually_exclusive_group()
    write = "write the recorded talks: ConvAI2 text, JSON, flags"
    records.add_argument("--export", metavar="FOLDER", nargs="?", const="", help=write)
    records.add_argument("--stats", action="store_true", help="count the recorded talks, utterances and flags")
    records.add_argument("--delete-talk", metavar="ID", action="append", help="delete a recorded talk; repeat it")
    records.add_argument("--delete-participant", metavar="KEY", help="delete all talks of a participant")
    add("--publish", metavar="FOLDER", type=Path, help="... for others: without keys, times and paths, with a card")
    add("--license", metavar="FILE", type=Path, help="... its license and the reasons, for the card (docs/study.md)")
    source = "... only talks from here: self-play, interact.py, app.py, study:NAME; repeat it (people's talks)"
    add("--study", metavar="NAME", help="... only talks of this study")
    add("--source", metavar="SOURCE", action="append", help=source)
    add("--only-flagged", action="store_true", help="... only talks with a flag, and a table of the flags")
    options = parse_options(parser, Options, arguments)
    check_options(options)
    return options


def check_options(options: Options) -> None:
    """Raise UserError for a value out of range."""
    if options.export == "" and not options.publish:
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
        ("api", options.api is None or options.self_play, "used together with --self-play"),
        (
            "teach",
            not options.teach or not (facts_given or options.random_persona or options.self_play),
            "without a persona and --self-play: it asks about personas of the validation text and recorded talks",
        ),
        ("nli", options.nli is None or options.teach, "used together with --teach"),
        ("seed", options.seed is None or 0 <= options.seed < 2**62, "0 or more, below 2**62"),
        ("publish", not options.publish or options.export == "", "--export --publish FOLDER, with this folder only"),
        ("license", options.publish or not options.license, "used together with --publish"),
        ("study", options.export is not None or not options.study, "used together with --export"),
        ("study", not (options.study and options.source), "used without --source, which chooses the talks, too"),
        ("source", options.export is not None or not options.source, "used together with --export FOLDER"),
        ("only_flagged", options.export is not None or not options.only_flagged, "used together with --export FOLDER"),
    ):
        if not holds:
            value = "" if getattr(options, name) is True else f" {getattr(options, name)}"
            raise UserError(f"--{name.replace('_', '-')}{value}: expected {allowed}")


def main(arguments: list[str] | None = None) -> int:
    options = command_line(arguments)
    facts = read_facts(options)
    settings = read_settings(options.env)
    deletes = options.delete_talk is not None or options.delete_participant is not None
    if options.export is not None or options.stats or deletes:
        return use_records(options, settings)
    find_model(options.model, settings, command("train.py", options.env))
    goals = read_goals(settings.goals)
    api = None if options.api is None else read_api(options.api)
    if api is not None:
        api.key()
    if options.teach:
        return teach_model(options, settings, goals)
    pairs = known_personas(settings) if options.self_play or options.random_persona else []
    return talk(options, settings, facts, goals, pairs, api)


def read_facts(options: Options) -> list[str]:
    """Return the facts of --persona or --persona-file. Raises UserError if the option gives no fact."""
    if options.persona_file is not None:
        return read_persona_file(options.persona_file)
    facts = [line.strip() for line in options.persona or () if line.strip()]
    if any("\udc80" <= letter <= "\udcff" for fact in facts for letter in fact):  # undecodable bytes
        raise UserError("--persona: not UTF-8 text; set the terminal to UTF-8, or use --persona-file")
    if options.persona is not None and not facts:
        raise UserError("an empty persona: give at least one fact, such as --persona 'i have two dogs.'")
    return facts


def known_personas(settings: Settings) -> list[Pair]:
    """Return both personas of each validation dialogue. Raises UserError if there is no such text, or no persona."""
    path = settings.text("valid")
    if not path.is_file():
        raise UserError(f"{path} not found: a random persona comes from there; give one with --persona")
    pairs = [dialogue.personas for dialogue in read_corpus(path).dialogues if all(dialogue.personas)]
    if not pairs:
        raise UserError(f"{path}: no dialogue gives both personas; give one with --persona")
    return pairs


def use_records(options: Options, settings: Settings) -> int:
    """Carry out --export, --stats, --delete-talk or --delete-participant."""
    recordings = Recordings(settings.save_path / "conversations")
    if options.stats:
        say("\n".join(statistics(recordings.talks())))
    elif options.export is not None:
        check_target(options.publish or Path(options.export), recordings.path.parent)
        sources = [f"{STUDY}{options.study}"] if options.study else options.source
        talks = with_corrections(choose(recordings.talks(), sources))
        if options.publish:
            talks = talks if sources else without_private(talks)
            license = read_license(options.license) if options.license else None
            publish(talks, recordings.path.parent, options.publish, options.only_flagged, license)
        else:
            export_to_train(talks, options, settings)
    else:
        count = recordings.delete(options.delete_participant, options.delete_talk)
        if recordings.path.exists() and not recordings.clear_log(recordings.patience):
            raise RunError(
                f"{recordings.path}: {count} talks are deleted, but another program is reading the file, so that its "
                "log may still hold their text: run the same command again when that program has ended"
            )
        if not count:
            raise UserError(f"{recordings.path}: no such talk; --export lists them in talks.jsonl, with their ids")
        recordings.path.with_name(TYPED).unlink(missing_ok=True)  # it may hold words of the deleted talks
        say(f"deleted {count} talk{'s' * (count > 1)} from {recordings.path}; earlier exports still hold their text")
    return 0


def export_to_train(talks: list[Talk], options: Options, settings: Settings) -> None:
    """Write the talks into the folder of --export, and print the command that lets the model learn from them.

    With --only-flagged the talks go whole, with the replies that were flagged. Nobody trains on those.
    """
    target = Path(options.export)
    if options.only_flagged:
        export(talks, target, True)
        say("the text has the flagged replies, too: it is there to be read, not to train on")
        return
    model, missing = model_of(talks, settings), missing_text(settings)
    if not export(talks, target, False, None if missing else OldText(settings, whole=model is None)):
        return
    if missing:
        say(
            f"{' and '.join(missing)} not found: the text has the talks alone, and a model that trains on them alone "
            "forgets what it knew; to keep that, set data_path to the folder of the model's training text, and export "
            "into another folder"
        )
    changed = settings_to_train(target, settings, model)
    if model is None:
        start = f"no trained model is left to go on from, so training starts at {settings.model_name}"
    else:
        rate, epochs = changed["learn_rate"], changed["epochs"]
        start = f"training goes on from {model}, at a learning rate of {rate}, epochs = {epochs}"
    say(f"text in {target}; {start}; next: {command('preprocess_dataset.py', options.env, **changed)}")


def talk(
    options: Options, settings: Settings, facts: list[str], goals: list[Goal], pairs: list[Pair], api: Api | None
) -> int:
    """Load the model and talk; `pairs` are personas of the validation text, for a random persona and self-play.

    In a self-play `api` is the partner, where there is one.
    """
    warn("loading ...")
    with importing():
        from personagpt.model.api import ApiProgram
        from personagpt.model.loading import load_trained
        from personagpt.talking.commands import Commands, answer_lines, completions, type_persona
        from personagpt.talking.self_play import play, self_play
        from personagpt.talking.session import Session

    program = None if api is None else ApiProgram(api)
    if program is not None:
        program.check()
    trained = load_trained(options.model, settings)
    sampling = Sampling(**{name: getattr(options, name) for name in RANGES})
    recordings = Recordings(settings.save_path / "conversations")
    partner_facts, drawn_facts = random.Random(options.seed).choice(pairs) if pairs else ([], [])
    is_drawn, facts = not facts, facts or drawn_facts
    shown = {"max_history": options.history, "as_typed": options.as_typed or options.talks is not None}
    session = Session(trained, sampling, options.seed, recordings, options.goal, program, **shown)
    try:
        if options.talks:
            count = 0
            for talks in play(session, pairs, options.talks, options.turns):
                count += len(talks)
                say(f"{count} of {options.talks} talks recorded in {recordings.path}")
        elif options.self_play:
            session.begin(facts, is_drawn, partner_facts)
            self_play(session, options.turns)
        else:
            lines = typed_lines(recordings.path.with_name(TYPED), partial(completions, goals))
            if facts or (facts := type_persona(lines)):
                session.begin(facts, is_drawn)
                answer_lines(Commands(session, goals, partial(known_personas, settings)), lines)
    finally:
        say_recorded(recordings, session.recorded)
    return 0


def teach_model(options: Options, settings: Settings, goals: list[Goal]) -> int:
    """Load the model, and ask the person about its replies."""
    nli = None if options.nli is None else find_classifier(options.nli)
    recordings = Recordings(settings.save_path / "conversations")
    material = read_material(settings, recordings)
    warn("loading ...")
    with importing():
        from personagpt.model.loading import load_trained
        from personagpt.scoring.nli import load_classifier
        from personagpt.talking.commands import Commands, completions
        from personagpt.talking.session import Session
        from personagpt.talking.teaching import questions_of, teach

    trained = load_trained(options.model, settings)
    sampling = Sampling(**{name: getattr(options, name) for name in RANGES})
    shown = {"max_history": options.history, "as_typed": options.as_typed}
    session = Session(trained, sampling, options.seed, recordings, options.goal, **shown)
    found = places(trained, material, sampling)
    classifier = None if nli is None else load_classifier(nli)
    try:
        lines = typed_lines(recordings.path.with_name(TYPED), partial(completions, goals))
        commands = Commands(session, goals, partial(known_personas, settings))
        teach(commands, lines, questions_of(trained, found, sampling, session.goal, session.seed, classifier, **shown))
    finally:
        say_recorded(recordings, session.recorded)
    return 0


def say_recorded(recordings: Recordings, ids: list[str]) -> None:
    """Print where the talks with these ids are on record, without those that are no longer there."""
    with contextlib.suppress(UserError, RunError, OSError):  # an error that ended the talk is printed already
        stored = {talk.id for talk in recordings.talks(ids=ids)}
        if kept := [talk_id for talk_id in ids if talk_id in stored]:
            say(f"recorded in {recordings.path}: {', '.join(kept)}")


if __name__ == "__main__":
    run_script(main)
