"""Tell programs from people: by markers of how they talk, and by the model's own surprise at their words.

    python detect.py --people FILE             people: a ConvAI2 text; programs: the recorded talks' (interact.py)
    python detect.py                           recorded talks alone: their humans are the people
    python detect.py --talks talks.jsonl       talks that interact.py --export wrote, in place of the recorded talks
    python detect.py --people FILE --shuffle   a check: with shuffled labels nothing can be told apart
    python detect.py --score FILE              judge other talks, a talks.jsonl or a ConvAI2 text

Reads   save_path/conversations/talks.sqlite, the text, and save_path/checkpoint/model (or --model).
Writes  save_path/samples/detector.json (or --detector), which --score reads.
Needs scikit-learn: pip install -r requirements/detect.txt
"""

from __future__ import annotations

from utils import command, new_parser, parse_options, run_script

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from personagpt.detection.sides import (
    TalkSide,
    read_exported,
    read_file,
    sides_of_people,
    sides_of_talks,
    utterances_seen,
)
from personagpt.errors import UserError, printable
from personagpt.files import read_json, write_json
from personagpt.model.folders import find_model
from personagpt.output import say
from personagpt.records.database import Recordings
from personagpt.settings import Settings, read_settings
from personagpt.signals import importing
from personagpt.text.convai2 import read_corpus


@dataclass(frozen=True)
class Options:
    env: Path
    model: str | None
    people: Path | None
    talks: Path | None
    shuffle: bool
    score: Path | None
    detector: Path | None


def command_line(arguments: list[str] | None = None) -> Options:
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--model", metavar="NAME", help="the model whose surprise is a marker (default: save_path/checkpoint/model)")
    add("--people", metavar="FILE", type=Path, help="dialogues of people in the ConvAI2 format")
    add("--talks", metavar="FILE", type=Path, help="recorded talks as interact.py --export writes them")
    add("--shuffle", action="store_true", help="learn from shuffled labels 100 times, and save nothing")
    add("--score", metavar="FILE", type=Path, help="judge the talks of a file")
    add("--detector", metavar="FILE", type=Path, help="default: save_path/samples/detector.json")
    options = parse_options(parser, Options, arguments)
    for name in ("people", "talks", "score"):
        path = getattr(options, name)
        if path is not None and not path.is_file():
            raise UserError(f"--{name} {path}: there is no such file")
    if options.score is None and importlib.util.find_spec("sklearn") is None:
        raise UserError("detect.py needs scikit-learn: pip install -r requirements/detect.txt")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = command_line(arguments)
    settings = read_settings(options.env)
    path = options.detector or settings.save_path / "samples" / "detector.json"
    return judge(options, settings, path) if options.score else learn(options, settings, path)


def sides_to_learn_from(options: Options, settings: Settings) -> list[TalkSide]:
    """Return the sides of the recorded or exported talks, and of the people's text."""
    talks = read_exported(options.talks) if options.talks else Recordings(settings.save_path / "conversations").talks()
    sides = sides_of_talks(talks)
    if options.people:
        sides += sides_of_people(read_corpus(options.people), options.people.name)
    return sides


def learn(options: Options, settings: Settings, path: Path) -> int:
    """Print how well programs and people are told apart, and save to `path` a detector that learnt from all sides."""
    find_model(options.model, settings, command("train.py", options.env))
    sides = sides_to_learn_from(options, settings)
    count = utterances_seen(sides)
    with importing():
        from personagpt.detection.detectors import FOLDS, Detector, cross_validate, validate_shuffled
        from personagpt.detection.markers import MARKERS, available_markers, marker_values, token_losses
        from personagpt.model.loading import load_trained
        from personagpt.scoring.bootstrap import PERCENT

    chosen = [side for side in sides if len(side.own) >= count]
    is_program = [side.is_program for side in chosen]
    programs, people = is_program.count(True), is_program.count(False)
    left_out = f" ({len(sides) - len(chosen)} shorter ones left out)" if len(chosen) < len(sides) else ""
    say(f"{programs} sides of programs, {people} of people; of each its first {count} utterances{left_out}")
    markers = available_markers(chosen)
    with_personas = "persona_words" in markers
    if not with_personas:
        say("not every side has a persona: no marker looks at it")
    trained = load_trained(options.model, settings)
    losses = token_losses(trained, chosen, count, with_personas)
    values = {seen: marker_values(chosen, losses, seen, markers) for seen in range(1, count + 1)}

    say(f"\n{FOLDS} parts that share no talk and no persona{', labels shuffled' if options.shuffle else ''}:")
    say(f"utterances seen   accuracy     AUC   {PERCENT} % interval")
    validate = validate_shuffled if options.shuffle else cross_validate
    by_utterances = []
    for seen in values:
        result = validate(chosen, markers, values[seen], settings.seed)
        by_utterances.append({"utterances": seen} | vars(result))
        say(f"{seen:>15}{100 * result.accuracy:>9.1f} %{result.auc:>8.3f}   {result.low:.3f} to {result.high:.3f}")
    if options.shuffle:
        return 0

    detector = Detector.fit(markers, values[count], is_program)
    say("\nmarker             weight   a program's, if above 0")
    for name, weight in sorted(zip(markers, detector.weights.tolist(), strict=True), key=lambda pair: -abs(pair[1])):
        say(f"{name:<16}{weight:>+9.2f}   {MARKERS[name]}")
    about = {"model": trained.name, "model_checksum": trained.checksum, "utterances": count}
    about |= {"with_personas": with_personas, "programs": programs, "people": people, "seed": settings.seed}
    write_json(path, about | detector.plain() | {"by_utterances": by_utterances})
    say(f"\ndetector in {path}")
    return 0


def judge(options: Options, settings: Settings, path: Path) -> int:
    """Print for each side of the talks in `options.score` how likely a program spoke, by the detector at `path`."""
    saved = read_json(path)
    if saved is None:
        raise UserError(f"{path}: no detector there; train one with detect.py, or name it (--detector)")
    model = options.model or saved.get("model")
    find_model(model, settings, command("train.py", options.env))
    sides = read_file(options.score)
    with importing():
        from personagpt.detection.detectors import Detector
        from personagpt.detection.markers import available_markers, marker_values, token_losses
        from personagpt.model.loading import load_trained

    try:
        detector, count, with_personas = Detector.of_plain(saved), int(saved["utterances"]), saved["with_personas"]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{path}: not a detector of detect.py; train one again") from None
    lacking = set(detector.markers) - set(available_markers(sides))
    if lacking:
        what = "times" if "seconds" in lacking else "a persona for every side"
        raise UserError(f"{options.score}: {what} missing, but the detector uses them ({', '.join(sorted(lacking))})")
    trained = load_trained(model, settings)
    if trained.checksum != saved.get("model_checksum"):
        raise UserError(f"{trained.name}: not the model that the detector was trained with; train one again")
    losses = token_losses(trained, sides, count, with_personas)
    chances = detector.probabilities(marker_values(sides, losses, count, detector.markers)).tolist()
    say("program   talk")
    for side, chance in zip(sides, chances, strict=True):
        speaker = "first" if side.speaker == 0 else "second"
        say(printable(f"{100 * chance:>5.1f} %   {side.talk}, {speaker} speaker: {side.own[0][:60]}"))
    say(f"\n{sum(chance > 0.5 for chance in chances)} of {len(sides)} sides are likelier a program's")
    return 0


if __name__ == "__main__":
    run_script(main)
