"""Tell programs from people: by markers of how they talk, and by how the model itself finds what they say.

    python detect.py --people FILE             people: a ConvAI2 text; programs: the recorded talks' (interact.py)
    python detect.py                           recorded talks alone: their humans are the people
    python detect.py --talks talks.jsonl       talks that interact.py --export wrote, in place of the recorded ones
    python detect.py --people FILE --shuffle   a check: with shuffled labels nothing can be told apart
    python detect.py --score FILE              judge other talks, a talks.jsonl or a ConvAI2 text

Reads   save_path/conversations/talks.sqlite, the text, and save_path/checkpoint/model (or --model).
Writes  save_path/samples/detector.json (or --detector), which --score reads.
Needs scikit-learn: pip install -r requirements/detect.txt
"""

from __future__ import annotations

from personagpt.signals import end_at_once  # isort: skip

if __name__ == "__main__":
    end_at_once()  # Ctrl-C is answered by one line from here on: before anything else is imported

from utils import add_env_option, before_torch, command, parse_options, run_script

import argparse
import importlib.util
from pathlib import Path
from typing import Any

from personagpt.detection.sides import Side, read_exported, read_file, sides_of_people, sides_of_talks, utterances_seen
from personagpt.errors import UserError, printable
from personagpt.files import read_json
from personagpt.model.folders import find_model
from personagpt.records.database import Recordings
from personagpt.settings import Settings, read_settings
from personagpt.text.convai2 import read_corpus


def command_line(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_env_option(parser)
    add = parser.add_argument
    add("--model", metavar="NAME", help="whose surprise is a marker (default: save_path/checkpoint/model)")
    add("--people", metavar="FILE", type=Path, help="dialogues of people in the ConvAI2 format")
    add("--talks", metavar="FILE", type=Path, help="recorded talks as interact.py --export writes them")
    add("--shuffle", action="store_true", help="learn from shuffled labels 100 times, and save nothing")
    add("--score", metavar="FILE", type=Path, help="judge the talks of a file")
    add("--detector", metavar="FILE", type=Path, help="default: save_path/samples/detector.json")
    options = parse_options(parser, arguments)
    for name in ("people", "talks", "score"):
        path = getattr(options, name)
        if path is not None and not path.is_file():
            raise UserError(f"--{name} {path}: there is no such file")
    if options.score is None and importlib.util.find_spec("sklearn") is None:
        raise UserError("detect.py needs scikit-learn: pip install -r requirements/detect.txt")
    settings = read_settings(options.env)
    options.detector = options.detector or settings.save_path / "samples" / "detector.json"
    return options, settings


def prepare(
    arguments: list[str] | None = None,
) -> tuple[argparse.Namespace, Settings, list[Side], dict[str, Any] | None]:
    """The command line, the sides to learn from or to judge, and the detector that judges them."""
    options, settings = command_line(arguments)
    saved = None
    if options.score:
        saved = read_json(options.detector)
        if saved is None:
            raise UserError(f"{options.detector}: no detector there; train one with detect.py, or name it (--detector)")
        options.model = options.model or saved.get("model")
    find_model(options.model, settings, command("train.py", options.env))
    if options.score:
        return options, settings, read_file(options.score), saved
    recorded = Recordings(settings.save_path / "conversations")
    sides = sides_of_talks(read_exported(options.talks) if options.talks else recorded.talks())
    if options.people:
        sides += sides_of_people(read_corpus(options.people), options.people.name)
    utterances_seen(sides)  # raises where they are too few
    return options, settings, sides, None


if __name__ == "__main__":
    prepared = before_torch(prepare)

import numpy as np

from personagpt.detection.detectors import FOLDS, Detector, cross_validate, validate_shuffled
from personagpt.detection.markers import MARKERS, Available, measure, token_losses
from personagpt.files import write_json
from personagpt.model.loading import load_trained
from personagpt.scoring.bootstrap import PERCENT


def main(arguments: list[str] | None = None) -> int:
    return detect(*prepare(arguments))


def detect(options: argparse.Namespace, settings: Settings, sides: list[Side], saved: dict[str, Any] | None) -> int:
    if saved is None:
        return learn(options, settings, sides)
    return judge(options, settings, sides, saved)


def learn(options: argparse.Namespace, settings: Settings, sides: list[Side]) -> int:
    """Cross-validate and print how well programs and people are told apart; save the detector that learnt from all."""
    count = utterances_seen(sides)
    chosen = [side for side in sides if len(side.own) >= count]
    known = Available.of(chosen)
    is_program = np.array([side.is_program for side in chosen])
    programs, people = int(is_program.sum()), int((~is_program).sum())
    print(f"{programs} sides of programs, {people} of people; of each its first {count} utterances", end="")
    print(f" ({len(sides) - len(chosen)} shorter ones left out)" if len(chosen) < len(sides) else "")
    print("" if known.personas else "not every side has a persona: no marker looks at it\n", end="")
    trained = load_trained(options.model, settings)
    losses = token_losses(trained, chosen, count, known.personas)
    names = known.markers()

    def values(seen: int) -> np.ndarray:
        told = [measure(side, seen, nats) for side, nats in zip(chosen, losses, strict=True)]
        return np.array([[marker[name] for name in names] for marker in told])

    validate = validate_shuffled if options.shuffle else cross_validate
    print(f"\n{FOLDS} parts that share no talk and no persona{', labels shuffled' if options.shuffle else ''}:")
    print(f"utterances seen   accuracy     AUC   {PERCENT} % interval")
    by_seen = []
    for seen in range(1, count + 1):
        found = validate(chosen, names, values(seen), is_program, settings.seed)
        by_seen.append({"utterances": seen} | vars(found))
        print(f"{seen:>15}{100 * found.accuracy:>9.1f} %{found.auc:>8.3f}   {found.low:.3f} to {found.high:.3f}")
    if options.shuffle:
        return 0
    detector = Detector.fit(names, values(count), is_program)
    print("\nmarker             weight   a program's, if above 0")
    for index in np.argsort(-np.abs(detector.weights), kind="stable"):
        print(f"{names[index]:<16}{detector.weights[index]:>+9.2f}   {MARKERS[names[index]]}")
    about = {"model": trained.name, "model_checksum": trained.checksum, "utterances": count}
    about |= {"with_personas": known.personas, "programs": programs, "people": people, "seed": settings.seed}
    write_json(options.detector, about | detector.plain() | {"by_utterances": by_seen})
    print(f"\ndetector in {options.detector}")
    return 0


def judge(options: argparse.Namespace, settings: Settings, sides: list[Side], saved: dict[str, Any]) -> int:
    """Print for each side how likely a program spoke."""
    try:
        detector, count, with_personas = (
            Detector.of_plain(saved),
            int(saved["utterances"]),
            bool(saved["with_personas"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{options.detector}: not a detector of detect.py; train one again") from None
    lacking = set(detector.markers) - set(Available.of(sides).markers())
    if lacking:
        what = "times" if "seconds" in lacking else "a persona for every side"
        raise UserError(f"{options.score}: has not {what}, which the detector looks at ({', '.join(sorted(lacking))})")
    trained = load_trained(options.model, settings)
    if trained.checksum != saved.get("model_checksum"):
        raise UserError(f"{trained.name}: not the model that the detector was trained with; train one again")
    losses = token_losses(trained, sides, count, with_personas)
    told = [measure(side, count, nats) for side, nats in zip(sides, losses, strict=True)]
    logits = detector.logits(np.array([[marker[name] for name in detector.markers] for marker in told]))
    print("program   talk")
    for side, share in zip(sides, 1 / (1 + np.exp(-logits)), strict=True):
        who = "first" if side.speaker == 0 else "second"
        print(printable(f"{100 * share:>5.1f} %   {side.talk}, {who} speaker: {side.own[0][:60]}"))
    print(f"\n{int((logits > 0).sum())} of {len(sides)} sides are likelier a program's")
    return 0


if __name__ == "__main__":
    run_script(detect, *prepared)
