"""Score a trained model with the field's metrics; on ConvAI2, beside PersonaGPT's published figures.

    python evaluate.py                                 save_path/checkpoint/model on the validation text
    python evaluate.py --generate 500                  also metrics of generated replies, to the first 500 responses
    python evaluate.py --model af1tang/personaGPT      a model trained elsewhere: a folder or a hub name
    python evaluate.py --text valid_both_original.txt  another text; hits@1 where it carries candidates
    python evaluate.py --identify                      is a side's own persona the likeliest of 20?
    python evaluate.py --side second                   only what the second speaker says, as most published figures
    python evaluate.py --by-turn                       every metric also by turn: where a talk goes wrong
    python evaluate.py --compare save/a save/b         two models on one text, and the intervals of their differences
    python evaluate.py --orders 5                      how far the perplexity depends on the order of the facts
    python evaluate.py --generate 500 --nli MODEL      do replies contradict the persona? MODEL is an NLI classifier
    python evaluate.py --dnli valid_attributes.jsonl   is a reply that contradicts likelier? Dialogue NLI's ranking sets
    python evaluate.py --api FILE --generate 100       replies of a program behind an API (docs/api.md); loads no model
    python evaluate.py --failures save/talks --compare save/a save/b     do replies that people rejected become rarer?
    python evaluate.py --runs save/a save/b            settings, last figures and loss curves of runs; loads no model
    python evaluate.py --interview 3                   three questions: which of 20 personas is behind the model?
    python evaluate.py --interview 3 --api FILE        behind a program elsewhere? docs/api.md explains the file
    python evaluate.py --interview 3 --talks FILE      behind recorded talks? as interact.py --export writes them
    python evaluate.py --interview 3 --record          ... and record the interviews as talks, as interact.py does
    python evaluate.py --out scores.json               another file for the figures

Reads   the model, and data_path/valid_both_original_no_cands.txt (without it, save_path/valid_data.safetensors).
Writes  save_path/samples/eval.json, as train.py does; for another model, text or side eval-MODEL-TEXT-SIDE.json beside
        it, for two models compare-A-B-CHECKSUM.json, for failures failures-FOLDER-A-B-CHECKSUM.json, for runs a
        picture, runs-A-B-CHECKSUM.png. Earlier figures of the same model and responses stay in the file.
It may run while train.py trains.
"""

from __future__ import annotations

from utils import command, new_parser, parse_options, run_script

import hashlib
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personagpt.detection.sides import read_exported, sides_of_talks
from personagpt.errors import UserError
from personagpt.files import check_present, expanded, read_json, write_json
from personagpt.model.api_settings import Api, read_api
from personagpt.model.folders import find_classifier, find_model
from personagpt.model.sampling import GREEDY
from personagpt.output import say
from personagpt.records.database import Recordings
from personagpt.records.preferences import FEEDBACK, PAIRS
from personagpt.records.talks import INTERVIEW, Talk, Turn, new_id, public_model
from personagpt.scoring.interview_plan import ORDERS, InterviewPlan, RecordedTalk
from personagpt.sequences.failures import Failures, read_failures
from personagpt.sequences.goals import Goal, read_goals
from personagpt.settings import Settings, read_settings
from personagpt.signals import importing
from personagpt.text.convai2 import Corpus, read_corpus
from personagpt.text.dialogue_nli import read_rankings
from personagpt.text.dialogues import SIDES

if TYPE_CHECKING:
    from personagpt.model.api import ApiProgram
    from personagpt.model.loading import TrainedModel
    from personagpt.scoring.interview import Interview


@dataclass(frozen=True)
class Options:
    env: Path
    model: str | None
    text: Path | None
    side: str
    generate: int
    identify: bool
    by_turn: bool
    compare: list[str] | None
    orders: int
    nli: str | None
    dnli: Path | None
    failures: Path | None
    runs: list[str] | None
    interview: int
    ask: list[str] | None
    api: Path | None
    talks: Path | None
    without_facts: bool
    record: bool
    out: Path | None


def command_line(arguments: list[str] | None = None) -> Options:
    parser = new_parser(__doc__)
    parser.add_argument("--model", metavar="NAME", help="a folder or hub name (default: save_path/checkpoint/model)")
    parser.add_argument("--text", metavar="FILE", type=Path, help="dialogues in the ConvAI2 format")
    parser.add_argument("--side", choices=SIDES, default="both", help="score the speaker who talks first or second")
    parser.add_argument("--generate", metavar="N", type=int, default=0, help="replies to generate (default: none)")
    parser.add_argument("--identify", action="store_true", help="rank each side's persona among 20")
    parser.add_argument("--by-turn", action="store_true", help="every metric by turn, too")
    parser.add_argument("--compare", metavar=("A", "B"), nargs=2, help="two models, as for --model")
    parser.add_argument("--orders", metavar="K", type=int, default=0, help="orders of the facts, 2 or more")
    parser.add_argument("--nli", metavar="MODEL", help="a classifier of sentence pairs: a folder or hub name")
    parser.add_argument("--dnli", metavar="FILE", type=Path, help="a ranking set of Dialogue NLI")
    parser.add_argument("--api", metavar="FILE", type=Path, help="a program behind an API, as this file names it")
    parser.add_argument("--failures", metavar="FOLDER", type=Path, help="an export of interact.py: is it still so?")
    parser.add_argument("--runs", metavar="FOLDER", nargs="+", help="the save_paths of two or more runs")
    parser.add_argument("--interview", metavar="K", type=int, default=0, help="questions: who of 20 personas replies?")
    parser.add_argument("--ask", choices=ORDERS, nargs="+", help="orders of the questions (default: all three)")
    parser.add_argument("--talks", metavar="FILE", type=Path, help="judge the first K replies of recorded talks")
    parser.add_argument("--without-facts", action="store_true", help="a check: the partner has no facts: chance")
    parser.add_argument("--record", action="store_true", help="record the interviews among the talks of interact.py")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="default: save_path/samples/eval.json, or a file beside it"
    )
    options = parse_options(parser, Options, arguments)
    check_options(options)
    if options.runs is not None:
        check_alone(options, parser, "runs", "what runs left behind", "out")
        check_runs(options)
    if options.failures is not None:
        check_alone(options, parser, "failures", "recorded failures", "out", "model", "compare", "nli")
    return options


def check_options(options: Options) -> None:
    """Raise UserError where an option cannot be right, or asks for another option."""
    if options.generate < 0:
        raise UserError(f"--generate {options.generate}: expected a number of replies, 0 or more")
    if options.compare and options.model is not None:
        raise UserError(f"--compare takes both models: leave out --model {options.model}")
    if options.out is not None and options.out.is_dir():
        raise UserError(f"--out {options.out}: a folder; name a file in it")
    if options.text is not None and not options.text.is_file():
        raise UserError(f"--text {options.text}: there is no such file")
    if options.orders < 0 or options.orders == 1:
        raise UserError(f"--orders {options.orders}: expected a number of orders to compare, 2 or more")
    if options.nli is not None and not options.generate and options.failures is None:
        raise UserError("--nli reads generated replies: add --generate N")
    check_interview(options)
    if options.api is not None and not options.interview:
        check_api(options)
    if options.generate and find_spec("sacrebleu") is None:
        raise UserError("--generate needs sacrebleu: pip install -r requirements.txt")


def check_interview(options: Options) -> None:
    """Raise UserError where an option of interviews cannot be right, or stands without --interview."""
    given = [name for name in ("ask", "talks", "without_facts", "record") if getattr(options, name)]
    if options.interview < 0:
        raise UserError(f"--interview {options.interview}: expected a number of questions, 1 or more")
    if given and not options.interview:
        raise UserError(f"--{given[0].replace('_', '-')} is for interviews: add --interview K")
    if options.interview and options.compare:
        raise UserError("--interview needs one judge: leave out --compare, and name the judge with --model")
    if options.talks is not None and not options.talks.is_file():
        raise UserError(f"--talks {options.talks}: there is no such file")
    for name in ("ask", "without_facts", "record", "api") if options.talks is not None else ():
        if getattr(options, name):
            raise UserError(f"--talks: recorded talks are over, nobody is asked: leave out --{name.replace('_', '-')}")
    if options.interview and options.api is not None and options.generate:
        raise UserError("--api answers questions or gives replies: leave out --interview or --generate")


def check_api(options: Options) -> None:
    """Raise UserError where --api stands beside an option that needs a model on this machine, or without --generate."""
    for name in ("model", "compare", "identify", "orders", "dnli", "runs"):
        if getattr(options, name):
            raise UserError(f"--api: only the words of a program behind an API are known: leave out --{name}")
    if not options.generate:
        raise UserError("--api: expected with --generate N, the number of replies to ask for, or with --interview K")


def check_alone(options: Options, parser: ArgumentParser, mode: str, reads: str, *beside: str) -> None:
    """Raise UserError where an option stands beside `mode` that is not one of those `beside` it."""
    for name, value in vars(options).items():
        if name not in ("env", mode, *beside) and value != parser.get_default(name):
            raise UserError(f"--{mode} reads {reads}: leave out --{name.replace('_', '-')}")


def check_runs(options: Options) -> None:
    """Raise UserError where --runs has fewer than two runs, or no file for their picture."""
    if len(options.runs) < 2:
        raise UserError(f"--runs {options.runs[0]}: expected the save_paths of two or more runs")
    if options.out is not None and options.out.suffix != ".png":
        raise UserError(f"--out {options.out}: expected a name that ends in .png, for the picture of the runs")


def main(arguments: list[str] | None = None) -> int:
    options = command_line(arguments)
    if options.runs is not None:
        return show_runs(options)
    settings = read_settings(options.env)
    goals = read_goals(settings.goals)
    api = None if options.api is None else read_api(options.api)
    judges_words = api is not None and not options.interview  # without a model on this machine
    for name in [] if judges_words else options.compare or [options.model]:
        find_model(name, settings, command("train.py", options.env))
    if options.nli is not None:
        options = replace(options, nli=find_classifier(options.nli))
    if options.failures is not None:
        return show_failures(options, settings, read_failures(options.failures, (PAIRS, FEEDBACK)))
    rankings = None if options.dnli is None else (str(options.dnli), read_rankings(options.dnli))
    path = options.text or settings.text("valid")
    if path.exists():
        corpus = read_corpus(path)
        if options.side != "both" and not corpus.has_response_of(SIDES.index(options.side)):
            raise UserError(f"{path}: no response of the speaker who talks {options.side}; leave out --side")
    elif judges_words:
        raise UserError(f"{path}: no such file; name the text of a program behind an API with --text FILE")
    else:
        corpus = None
        check_present(settings.tensors("valid"), command("preprocess_dataset.py", options.env))
    program = None if api is None else keeping_program(api, options, settings)
    if judges_words:
        evaluate_api(program, options, settings, path, corpus)
    else:
        interview = plan_interview(options, goals, program) if options.interview else None
        if options.record:
            interview = replace(interview, record=recorder(settings, program, interview.with_facts))
        evaluate(options, settings, path, corpus, goals, rankings, interview)
    if program is not None:
        program.kept.remove()
    return 0


def keeping_program(api: Api, options: Options, settings: Settings) -> ApiProgram:
    """Return the program behind an API. Its replies are kept until the figures are written."""
    from personagpt.model.api import ApiProgram
    from personagpt.model.api_kept import KeptReplies

    api.key()
    name = f"replies-{options.api.stem}-{api.checksum[:8]}-{'interview' if options.interview else 'generate'}.jsonl"
    return ApiProgram(api, KeptReplies(settings.save_path / "samples" / name))


def plan_interview(options: Options, goals: list[Goal], program: ApiProgram | None) -> InterviewPlan:
    """Return whom to interview. Raises UserError for a file that cannot be used, and if a program does not reply."""
    asked = options.interview, tuple(goal.text for goal in goals), tuple(options.ask or ORDERS)
    told = {"with_facts": not options.without_facts}
    if options.talks is not None:
        sides, _ = sides_of_talks(read_exported(options.talks))
        programs = [side for side in sides if side.is_program]
        talks = [RecordedTalk(list(side.persona), list(side.utterances), side.speaker) for side in programs]
        return InterviewPlan(*asked, options.talks.name, talks=tuple(talks))
    without = " without facts" if options.without_facts else ""
    if program is None:
        return InterviewPlan(*asked, f"own model{without}", **told)
    plan = InterviewPlan(
        *asked,
        f"{program.api.name}{without}",
        lambda facts, histories: list(program.replies(list(zip(facts, histories, strict=True)))),
        **told,
    )
    program.check()
    return plan


def recorder(
    settings: Settings, program: ApiProgram | None, with_facts: bool
) -> Callable[[TrainedModel, list[Interview]], None]:
    """Return a function that records interviews as talks: the judge is the partner, with the goals of its questions."""

    def record(judge: TrainedModel, interviews: list[Interview]) -> None:
        talk = Talk(judge.name, judge.checksum, asdict(GREEDY), [], partner="partner", source=INTERVIEW)
        if program is not None:
            judged_by = {"model": public_model(talk), "model_checksum": judge.checksum}
            api = program.api
            talk = replace(talk, model=api.name, model_checksum=api.checksum)
            talk.sampling = {**api.recorded, "partner": judged_by}
        talks = []
        for interview in interviews:
            said = list(takewhile(bool, interview.utterances))  # an empty reply ends a talk
            turns = [Turn("model" if place % 2 else "partner", text) for place, text in enumerate(said)]
            for turn, goal in zip(turns[::2], interview.asked, strict=False):
                turn.goal = goal
            facts = interview.personas[interview.own] if with_facts else []
            talks.append(replace(talk, id=new_id(), persona=facts, turns=turns))
        recordings = Recordings(settings.save_path / "conversations")
        recordings.save(*talks)
        recordings.close()
        say(f"{len(talks)} interviews recorded in {recordings.path}\n")

    return record


def show_runs(options: Options) -> int:
    """Print the differences of runs and draw their losses."""
    from personagpt.training.runs import compare_runs

    say(f"\nlosses in {compare_runs(options.runs, options.out)}")
    return 0


def show_failures(options: Options, settings: Settings, failures: Failures) -> int:
    """Let one model or two answer recorded failures anew, and write the figures."""
    with importing():
        from personagpt.scoring.failures import score_failures
        from personagpt.scoring.nli import load_classifier

    classifier = load_classifier(options.nli) if options.nli else None
    figures = score_failures(options.compare or [options.model], failures, settings, classifier)
    out = options.out or settings.save_path / "samples" / failures_name(options, figures)
    write_json(out, figures)
    say(f"\nfigures in {out}")
    return 0


def evaluate(
    options: Options,
    settings: Settings,
    path: Path,
    corpus: Corpus | None,
    goals: list[Goal],
    rankings: tuple[str, Corpus] | None,
    interview: InterviewPlan | None,
) -> None:
    """Score one model, or compare two, on the text `path`, and write the figures."""
    with importing():
        from personagpt.model.loading import load_trained
        from personagpt.scoring.evaluation import EvaluationPlan, compare_models, score_model, with_earlier
        from personagpt.scoring.nli import load_classifier
        from personagpt.training.card import update_card

    classifier = load_classifier(options.nli) if options.nli else None
    asked = options.generate, options.identify, options.by_turn, options.orders
    plan = EvaluationPlan(path, corpus, goals, options.side, *asked, classifier, rankings, interview)
    if options.compare:
        figures = compare_models(options.compare, plan, settings)
    else:
        trained = load_trained(options.model, settings)
        _, figures = score_model(trained, plan, settings)
    usual = settings.save_path / "samples" / file_name(options, figures)
    out = options.out or usual
    if options.model is None and options.text is None and options.side == "both" and not options.compare:
        update_card(trained, settings, with_earlier(figures, read_json(usual)))
    write_json(out, with_earlier(figures, read_json(out)))
    say(f"\nfigures in {out}")


def evaluate_api(program: ApiProgram, options: Options, settings: Settings, path: Path, corpus: Corpus) -> None:
    """Score the replies of a program behind an API to the text `path`, and write the figures."""
    with importing():
        from personagpt.scoring.api import score_api
        from personagpt.scoring.evaluation import EvaluationPlan, with_earlier
        from personagpt.scoring.nli import load_classifier

    program.check()
    classifier = load_classifier(options.nli) if options.nli else None
    plan = EvaluationPlan(path, corpus, [], options.side, options.generate, by_turn=options.by_turn, nli=classifier)
    figures = score_api(program, plan, settings.max_turns)
    out = options.out or settings.save_path / "samples" / file_name(options, figures)
    write_json(out, with_earlier(figures, read_json(out)))
    say(f"\nfigures in {out}")


def file_name(options: Options, figures: dict[str, Any]) -> str:
    """Return eval.json for the run's own model and validation text, and another name for another model, text or side.

    The name of a comparison ends in a checksum of both models and the text, because models of one name are compared.
    """
    names = ["compare", *options.compare] if options.compare else ["eval"]
    if options.model is not None:
        names.append(options.model)
    if options.api is not None and not options.interview:
        names += ["api", options.api.stem]
    names[1:] = map(model_title, names[1:])
    if options.text is not None:
        names.append(options.text.stem)
    if options.side != "both":
        names.append(options.side)
    if options.compare:
        compared = [figures[letter][key] for letter in "ab" for key in ("model_checksum", "text_sha256", "responses")]
        names.append(hashlib.sha256(repr(compared).encode()).hexdigest()[:8])
    return "-".join(names) + ".json"


def failures_name(options: Options, figures: dict[str, Any]) -> str:
    """Return a name with the folder of the failures and the models; it ends in a checksum of all of them."""
    names = ["failures", options.failures.absolute().name]
    names += map(model_title, options.compare or ([options.model] if options.model else []))
    compared = [
        figures["failures_sha256"],
        *(figures[letter]["model_checksum"] for letter in "ab" if letter in figures),
    ]
    return "-".join([*names, hashlib.sha256(repr(compared).encode()).hexdigest()[:8]]) + ".json"


def model_title(name: str) -> str:
    """Return a model's name as a part of a file's name: of a run's checkpoint, the name of the run's save_path."""
    folder = expanded(name)
    if not folder.is_dir():
        return name.replace("/", "--")
    folder = folder.absolute()
    if folder.parent.name != "checkpoint":
        return folder.name
    return folder.parents[1].name + (f"-{folder.name}" if folder.name != "model" else "")


if __name__ == "__main__":
    run_script(main)
