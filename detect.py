"""Tell programs from people: by n-grams, by named markers of how they talk, and by a model's surprise at their words.

    python detect.py --people FILE             people: a ConvAI2 text; programs: the recorded talks' (interact.py)
    python detect.py                           recorded talks alone: their humans are the people
    python detect.py --talks talks.jsonl       talks that interact.py --export wrote, in place of the recorded talks
    python detect.py --baseline                beside it the AUC of five lines of scikit-learn
    python detect.py --leave-out program       judge each program without having learnt from it
    python detect.py --people FILE --shuffle   a check: with shuffled labels nothing can be told apart
    python detect.py --people FILE --by-place  a check: people who talk second cannot be told from people who talk first
    python detect.py --score FILE              judge other talks, a talks.jsonl or a ConvAI2 text

Reads   save_path/conversations/talks.sqlite, the text, and save_path/checkpoint/model (or --model, any decoder).
Writes  save_path/samples/detector.json (or --detector), which --score reads, and beside it detector.png and .pdf.
Needs scikit-learn: pip install -r requirements/detect.txt
"""

from __future__ import annotations

from utils import command, new_parser, parse_options, run_script

import importlib.util
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personagpt.detection.sides import (
    FEWEST,
    LeftOut,
    TalkSide,
    alike,
    is_exported,
    long_enough,
    read_exported,
    read_file,
    sides_of_people,
    sides_of_talks,
    utterances_seen,
)
from personagpt.errors import UserError, printable
from personagpt.files import write_figure, write_json
from personagpt.model.folders import find_model
from personagpt.output import say
from personagpt.records.database import Recordings
from personagpt.settings import Settings, read_settings
from personagpt.signals import importing
from personagpt.text.convai2 import read_corpus

if TYPE_CHECKING:
    import numpy as np

    from personagpt.detection.detectors import SavedDetector
    from personagpt.detection.learning import Material
    from personagpt.detection.validation import Validated
    from personagpt.model.loading import TrainedModel

LEARNING = ("people", "recorded_people", "talks", "shuffle", "by_place", "leave_out", "baseline", "utterances")


@dataclass(frozen=True)
class Options:
    env: Path
    model: str | None
    people: Path | None
    recorded_people: bool
    talks: Path | None
    shuffle: bool
    by_place: bool
    leave_out: str | None
    baseline: bool
    utterances: int | None
    score: Path | None
    detector: Path | None


def command_line(arguments: list[str] | None = None) -> Options:
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--model", metavar="NAME", help="the model whose surprise is a marker (default: save_path/checkpoint/model)")
    add("--people", metavar="FILE", type=Path, help="dialogues of people in the ConvAI2 format")
    add("--recorded-people", action="store_true", help="with --people: the humans of the talks are people, too")
    add("--talks", metavar="FILE", type=Path, help="recorded talks as interact.py --export writes them")
    checks = parser.add_mutually_exclusive_group()
    add_check = checks.add_argument
    add_check("--shuffle", action="store_true", help="learn from shuffled labels, 20 times, and save nothing")
    add_check("--by-place", action="store_true", help="call the second speakers of --people programs; save nothing")
    add_check("--leave-out", choices=("program",), help="judge each program without learning from it; save nothing")
    add("--baseline", action="store_true", help="print the AUC of TF-IDF and a logistic regression beside it")
    add("--utterances", metavar="N", type=int, help="look at N utterances of a side (default: what 3/4 of them have)")
    add("--score", metavar="FILE", type=Path, help="judge the talks of a file")
    add("--detector", metavar="FILE", type=Path, help="default: save_path/samples/detector.json")
    options = parse_options(parser, Options, arguments)
    for name in ("people", "talks", "score"):
        path = getattr(options, name)
        if path is not None and not path.is_file():
            raise UserError(f"--{name} {path}: there is no such file")
    for name in LEARNING if options.score else ():
        if getattr(options, name) not in (None, False):
            raise UserError(f"--{name.replace('_', '-')} is for learning: leave it out beside --score")
    for name in ("recorded_people", "by_place") if not options.people else ():
        if getattr(options, name):
            raise UserError(f"--{name.replace('_', '-')} needs --people FILE")
    if options.utterances is not None and options.utterances < 1:
        raise UserError(f"--utterances {options.utterances}: expected a whole number from 1")
    if importlib.util.find_spec("sklearn") is None:
        raise UserError("detect.py needs scikit-learn: pip install -r requirements/detect.txt")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = command_line(arguments)
    settings = read_settings(options.env)
    path = options.detector or settings.save_path / "samples" / "detector.json"
    return judge(options, settings, path) if options.score else learn(options, settings, path)


def sides_to_learn_from(options: Options, settings: Settings) -> tuple[list[TalkSide], LeftOut]:
    """Return the sides of the recorded or exported talks and of the people's text, and why others were left out."""
    people = sides_of_people(read_corpus(options.people), options.people.name) if options.people else []
    if options.by_place:
        return [replace(side, is_program=side.speaker == 1) for side in people], Counter()
    talks = read_exported(options.talks) if options.talks else Recordings(settings.save_path / "conversations").talks()
    sides, left_out = sides_of_talks(talks)
    recorded = sum(not side.is_program for side in sides)
    if people and recorded and not options.recorded_people:
        say(f"{recorded} sides of people in the talks are left out; --recorded-people adds them")
        sides = [side for side in sides if side.is_program]
    elif people and recorded:
        say(f"{recorded} sides of people in the talks join those of {options.people}")
    return sides + people, left_out


def say_left_out(left_out: LeftOut) -> None:
    """Print how many sides were left out, a line for each reason."""
    for reason, count in left_out.items():
        if count:
            say(f"left out: {count} side{'s' * (count > 1)} {reason}")


def learn(options: Options, settings: Settings, path: Path) -> int:
    """Print how well programs and people are told apart, and save to `path` a detector that learnt from all sides."""
    find_model(options.model, settings, command("train.py", options.env))
    if path.is_dir():
        raise UserError(f"{path}: there is a folder of this name; name another file with --detector")
    sides, left_out = sides_to_learn_from(options, settings)
    count = options.utterances or utterances_seen(sides)
    chosen, left_out = long_enough(sides, left_out, count)
    check_enough(chosen)
    is_program = [side.is_program for side in chosen]
    programs, people = is_program.count(True), is_program.count(False)
    kinds = ("people who talk second", "people who talk first") if options.by_place else ("programs", "people")
    say(f"{programs} sides of {kinds[0]}, {people} of {kinds[1]}")
    say(f"of each side its utterances 2 to {count + 1} count" if count > 1 else "of each side its utterance 2 counts")
    say_left_out(left_out)
    with importing():
        from personagpt.detection.markers import available_markers
        from personagpt.detection.parts import FOLDS
        from personagpt.detection.tables import baseline_aucs, say_programs, say_rows
        from personagpt.detection.validation import cross_validate, validate_shuffled
        from personagpt.model.loading import load_reader

    markers = available_markers(chosen)
    if "persona_words" not in markers:
        say("not every side has a persona: no marker looks at it")
    trained = load_reader(options.model, settings)
    shuffled = ", labels shuffled" if options.shuffle else ""
    say(f"\n{FOLDS} parts that share no talk, no persona and no participant{shuffled}:")
    views, found = {}, {}
    for view, viewed in (("as written", chosen), ("made alike", [alike(side) for side in chosen])):
        views[view] = material_of(trained, viewed, markers, count)
        if options.leave_out:
            say_programs(view, views[view], options.baseline, settings.seed)
        elif options.shuffle:
            found[view] = say_rows(view, validate_shuffled(views[view], settings.seed), [])
        else:
            rows = cross_validate(views[view], settings.seed)
            baseline = baseline_aucs(views[view], settings.seed) if options.baseline else []
            found[view] = say_rows(view, rows, baseline)
    if options.shuffle or options.by_place or options.leave_out:
        return 0
    about = {"model": trained.name, "model_checksum": trained.checksum, "utterances": count}
    about |= {"programs": programs, "people": people, "seed": settings.seed}
    save(path, about, views, found)
    return 0


def check_enough(sides: list[TalkSide]) -> None:
    """Raise UserError where --utterances N leaves too few sides of a kind."""
    for is_program, kind in ((True, "programs"), (False, "people")):
        count = sum(side.is_program == is_program for side in sides)
        if count < FEWEST:
            raise UserError(
                f"{count} sides of {kind} are long enough: at least {FEWEST} are needed; lower --utterances"
            )


def material_of(trained: TrainedModel, sides: list[TalkSide], markers: list[str], count: int) -> Material:
    """Return what there is to learn from of the sides, for 1 to `count` utterances seen."""
    with importing():
        from personagpt.detection.learning import Material
        from personagpt.detection.markers import marker_values
        from personagpt.detection.surprise import surprises_of

    surprises = surprises_of(trained, sides, count)
    values = {seen: marker_values(sides, surprises, seen, markers) for seen in range(1, count + 1)}
    return Material.of(sides, markers, values)


def save(path: Path, about: dict[str, Any], views: dict[str, Material], found: dict[str, dict[int, Validated]]) -> None:
    """Save detectors that learnt from all sides, and a drawing of the figures; print the markers' weights."""
    with importing():
        import numpy as np

        from personagpt.detection.learning import learn as learn_from
        from personagpt.detection.markers import MARKERS
        from personagpt.detection.plots import draw
        from personagpt.detection.validation import labels_of

    plain = {}
    for view, material in views.items():
        learnt = learn_from(material, np.arange(len(material.sides)), labels_of(material.sides), about["seed"])
        detector = learnt.detectors[about["utterances"]]
        rows = [{"utterances": seen} | vars(row) for seen, row in found[view].items()]
        plain[view] = detector.plain() | {"ngrams": learnt.ngrams.plain(material.counted.names), "by_utterances": rows}
        say(f"\n{f'marker, {view}':<20}weight   a program's, if above 0")
        weights = zip(detector.markers, detector.weights.tolist(), strict=True)
        for name, weight in sorted(weights, key=lambda pair: -abs(pair[1])):
            say(f"{name:<17}{weight:>+9.2f}   {MARKERS.get(name, 'what the n-grams of the utterances say')}")
    digests = sorted(set().union(*(side.digests for side in views["as written"].sides)))
    written, made_alike = plain.values()
    write_json(path, about | written | {"alike": made_alike, "learnt_from": digests})
    write_figure(path.with_suffix(".png"), draw(found))
    say(f"\ndetector in {path}, its calibration and accuracy in {path.with_suffix('.png').name} and .pdf")


def judge(options: Options, settings: Settings, path: Path) -> int:
    """Print for each side of the talks in `options.score` how likely a program spoke, by the detector at `path`."""
    if not path.exists():
        raise UserError(f"{path}: no detector there; train one with detect.py, or name it (--detector)")
    sides, left_out = read_file(options.score)
    with importing():
        from personagpt.detection.judging import chances, load_reader_of, read_detector
        from personagpt.detection.markers import available_markers

    saved = read_detector(path)
    model = options.model or saved.model
    find_model(model, settings, command("train.py", options.env))
    sides, left_out = long_enough(sides, left_out, saved.utterances)
    if not sides:
        needed = saved.utterances + 1
        raise UserError(f"{options.score}: no side to judge; the detector needs {needed} utterances of a speaker")
    lacking = set(saved.markers) - set(available_markers(sides))
    if lacking:
        what = "times" if "seconds" in lacking else "a persona for every side"
        raise UserError(f"{options.score}: {what} missing, but the detector uses them ({', '.join(sorted(lacking))})")
    trained = load_reader_of(saved, settings, model)
    written = chances(saved, saved.written, trained, sides)
    made_alike = chances(saved, saved.alike, trained, [alike(side) for side in sides])
    say_judged(sides, saved, written, made_alike, is_exported(options.score))
    say_left_out(left_out)
    return 0


def say_judged(
    sides: list[TalkSide], saved: SavedDetector, chances: np.ndarray, made_alike: np.ndarray, is_known: bool
) -> None:
    """Print the judgement of each side and, if the file says who spoke (`is_known`), how many are right."""
    say(f"program   made alike   {'in truth   ' if is_known else ''}talk")
    for side, chance, other in zip(sides, chances.tolist(), made_alike.tolist(), strict=True):
        speaker = "first" if side.speaker == 0 else "second"
        truth = f"{'program' if side.is_program else 'person':<11}" if is_known else ""
        said = side.counted[0][:60]
        judged = f"{100 * chance:>5.1f} %{100 * other:>11.1f} %   "
        say(printable(f"{judged}{truth}{side.talk}, {speaker} speaker: {said}"))
    say(f"\n{sum(chances > 0.5)} of {len(sides)} sides are likelier a program's")
    for is_program, kind in ((True, "programs"), (False, "people")) if is_known else ():
        right = [
            (chance > 0.5) == is_program
            for side, chance in zip(sides, chances.tolist(), strict=True)
            if side.is_program == is_program
        ]
        say(f"{kind}: {sum(right)} of {len(right)} judged rightly")
    known = sum(not saved.learnt_from.isdisjoint(side.digests) for side in sides)
    if known:
        say(f"the detector learnt from the talks, personas or participants of {known} of these sides, so it knows them")


if __name__ == "__main__":
    run_script(main)
