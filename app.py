"""Talk to a trained model in a browser, and record where it fails.

    python app.py                                               then open http://127.0.0.1:7860/
    python app.py --env .env.demo --port 8000                   another model, another port
    python app.py --host 0.0.0.0 --password-file secret.txt     for other machines: with a password
    python app.py --study data/study.toml                       a blind study: people talk with models and people
    python app.py --study data/study.toml --dry-run             try it: without pauses, and nothing is kept
    python app.py --review                                      several people label the replies of recorded talks
    python app.py --teach                                       they judge the replies that the model is least sure of,
                                                                as in interact.py --teach
    python app.py --report                                      the results of studies, of reviews, and of imported
                                                                talks with other programs

Reads   save_path/checkpoint/model, or the folder or hub name that --model gives; the validation text, for personas;
        the goals; the models that a study names.
Writes  save_path/conversations/talks.sqlite, like interact.py: every utterance when it is said.
        Beside it: the text that a study's participants agreed to, consent.STUDY.CHECKSUM.txt; with --report,
        report-STUDY.json and report-STUDY.png (and .pdf, for papers), and so imported.json and review.json.
        With --review and --teach: what people say of the replies, in talks.sqlite

Many visitors can talk at once. Ctrl-C ends the page.
"""

from __future__ import annotations

from utils import closed_pipe_output, command, new_parser, parse_options, run_script

import contextlib
import secrets
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personagpt.errors import UserError
from personagpt.files import write_figure, write_json
from personagpt.model.folders import find_classifier, find_model
from personagpt.model.sampling import Sampling
from personagpt.output import say, warn
from personagpt.records.database import NAME, Recordings
from personagpt.records.export import choose
from personagpt.records.reviews import Review, Reviews
from personagpt.records.talks import Talk, check_study, is_imported, talks_by_study
from personagpt.review.order import ORDERS, in_order, to_review
from personagpt.sequences.goals import read_goals
from personagpt.settings import Settings, read_settings
from personagpt.signals import importing
from personagpt.study.settings import Study, read_study, study_names
from personagpt.talking.places import Material, places, read_material
from personagpt.text.convai2 import read_corpus

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing
    from starlette.routing import Route

    from personagpt.page.listening import Door
    from personagpt.page.routes import AnyPage

PATIENCE = 2.0  # seconds that a visitor waits while another program keeps the file of recorded talks


@dataclass(frozen=True)
class Options:
    env: Path
    model: str | None
    host: str
    port: int
    study: Path | None
    dry_run: bool
    password_file: Path | None
    report: bool
    review: bool
    order: str | None
    source: list[str] | None
    teach: bool
    goal: str | None
    nli: str | None


def command_line(arguments: list[str] | None = None) -> Options:
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--model", metavar="NAME", help="a folder or hub name (default: save_path/checkpoint/model)")
    add("--host", metavar="ADDRESS", default="127.0.0.1", help="where to listen (127.0.0.1: this machine only)")
    add("--port", metavar="N", type=int, default=7860, help="(7860)")
    add("--study", metavar="FILE", type=Path, help="a blind study, as this file describes it")
    add("--dry-run", action="store_true", help="... to try it: without pauses, and nothing is kept")
    add("--password-file", metavar="FILE", type=Path, help="a file with the password that visitors need")
    add(
        "--report",
        action="store_true",
        help="print and draw the results of all recorded studies and imported talks, or of --study",
    )
    add("--review", action="store_true", help="let several people label the replies of recorded talks")
    add("--order", choices=ORDERS, help="... what comes first: least known (doubt), a detector's doubt, any talk")
    add("--source", metavar="SOURCE", action="append", help="... only talks from here: convai2, study:NAME; repeat it")
    add(
        "--teach",
        action="store_true",
        help="let people judge replies: those that the model is least sure of come first",
    )
    add("--goal", metavar="GOAL", help="... a goal for the replies: 'ask about pets.' (a model trained with goals)")
    add("--nli", metavar="MODEL", help="... first those that contradict a fact, by this NLI classifier")
    options = parse_options(parser, Options, arguments)
    check_options(options)
    return options


def check_options(options: Options) -> None:
    """Raise UserError for options that do not go together."""
    if options.dry_run and (options.report or not options.study):
        raise UserError("--dry-run: expected with --study FILE, to try this study")
    for name in ("study", "report", "model") if options.review else ():
        if getattr(options, name):
            raise UserError(f"--{name} is not for --review, which shows recorded talks: leave it out")
    for name in ("study", "report", "review") if options.teach else ():
        if getattr(options, name):
            raise UserError(f"--{name} is not for --teach, which asks about single replies: leave it out")
    for mode, names in (("review", ("order", "source")), ("teach", ("goal", "nli"))):
        for name in names if not getattr(options, mode) else ():
            if getattr(options, name):
                raise UserError(f"--{name} needs --{mode}")


@dataclass(frozen=True)
class Content:
    """What the page offers: a study, or personas and goals for free talks. It is read before the model is loaded."""

    study: Study | None
    personas: list[list[str]]
    goals: list[str]


def main(arguments: list[str] | None = None) -> int:
    options = command_line(arguments)
    settings = read_settings(options.env)
    if options.report:
        return report(settings, *(study_names(options.study) if options.study else ()))
    check_installed("page", "starlette", "uvicorn")
    from personagpt.page.access import is_loopback
    from personagpt.page.listening import Door, listen, read_password

    password = read_password(options.password_file, options.host)
    if options.review:
        check_installed("review", "krippendorff")
        begin = partial(serve_review, options, settings, talks_to_review(options, settings))
    elif options.teach:
        begin = partial(serve_teaching, options, settings, *to_teach(options, settings))
    else:
        begin = partial(serve, options, settings, read_content(options, settings))
    with closed_pipe_output(), listen(options.host, options.port) as listener:
        return begin(Door(listener, password, is_loopback(options.host)))


def check_installed(requirements: str, *modules: str) -> None:
    """Raise UserError where modules of requirements/`requirements`.txt are not installed."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UserError(f"app.py needs {' and '.join(missing)}: pip install -r requirements/{requirements}.txt")


def read_content(options: Options, settings: Settings) -> Content:
    def default_model() -> str:
        return find_model(options.model, settings, command("train.py", options.env))

    text = settings.text("valid")
    if options.study:
        study = read_study(options.study, text, default_model)
        return Content(study.for_trial() if options.dry_run else study, [], [])
    default_model()
    goals = [goal.text for goal in read_goals(settings.goals)]
    dialogues = read_corpus(text).dialogues if text.is_file() else []
    return Content(None, [facts for dialogue in dialogues for facts in dialogue.personas if facts], goals)


def serve(options: Options, settings: Settings, content: Content, door: Door) -> int:
    """Load the models, and serve the page until Ctrl-C."""
    warn("loading ...")
    with importing():
        from personagpt.model.loading import load_trained
        from personagpt.page.replies import ReplyQueue
        from personagpt.page.routes import talk_routes
        from personagpt.page.visitors import Limits, Page
        from personagpt.study.pairing import Pairing, api_queues
        from personagpt.study.participants import StudyPage
        from personagpt.study.routes import study_routes

    warnings.simplefilter("ignore")  # a Persona's warnings are for the author of its facts: a visitor
    study, limits, queues = content.study, Limits(), {}
    models = {program.model for program in study.local_programs} if study else {options.model}
    with contextlib.ExitStack() as stack:
        folder = settings.save_path / "conversations"
        if options.dry_run:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        recordings = Recordings(folder, PATIENCE)
        recordings.count()  # raises for a file that cannot be used, before the models are loaded
        for model in sorted(models, key=str):
            queues[model] = ReplyQueue(load_trained(model, settings), recordings, limits.waiting)
            stack.callback(queues[model].close)
        if study:
            queues |= api_queues(study, queues, recordings, limits.waiting)
            for api in queues.keys() - models:
                stack.callback(queues[api].close)
            page = StudyPage(Pairing(study, queues, recordings), limits)
            title = "a trial of the study (nothing is kept) is" if options.dry_run else "the study is"
            routes = study_routes(page)
        else:
            page = Page(queues[options.model], content.personas, content.goals, limits)
            routes, title = talk_routes(page), "talk"
        return run_page(page, routes, door, title)


def run_page(page: AnyPage, routes: list[Route], door: Door, title: str) -> int:
    """Serve the page until Ctrl-C."""
    from personagpt.page.routes import make_server

    server = make_server(page, routes, door.password, door.local)
    say(f"{title} on {door.address}   (Ctrl-C ends it)")
    server.run(sockets=[door.listener])
    return 0


def talks_to_review(options: Options, settings: Settings) -> list[Talk]:
    """Return the recorded talks that reviewers read, in their order. Raises UserError where there is none."""
    recordings = Recordings(settings.save_path / "conversations")
    talks = recordings.talks()
    people = [talk for talk in talks if talk.partner != "partner"]  # a self-play only where it is asked for
    talks = choose(talks, options.source) if options.source else people
    talks = to_review(talks)
    if not talks:
        raise UserError(f"{recordings.path}: no talk to review; record some with interact.py or app.py first")
    doubts = None
    if options.order == "detector":
        with importing():
            from personagpt.review.detector import detector_doubts

        doubts = detector_doubts(settings.save_path / "samples" / "detector.json", talks, settings)
        say(f"the detector can judge {len(doubts)} of {len(talks)} talks; the others come last")
    return in_order(talks, options.order or ORDERS[0], settings.seed, doubts)


def serve_review(options: Options, settings: Settings, talks: list[Talk], door: Door) -> int:
    """Serve the review of the talks."""
    with importing():
        from personagpt.page.visitors import Limits
        from personagpt.review.reviewers import ReviewPage
        from personagpt.review.routes import review_routes

    recordings = Recordings(settings.save_path / "conversations", PATIENCE)
    page = ReviewPage(recordings, talks, options.order or ORDERS[0], Limits(), settings.seed)
    return run_page(page, review_routes(page), door, f"the review of {len(talks)} talks is")


def to_teach(options: Options, settings: Settings) -> tuple[Material, str | None]:
    """Return what a teaching session asks about, and the classifier of --nli. Raises UserError as they do."""
    find_model(options.model, settings, command("train.py", options.env))
    nli = None if options.nli is None else find_classifier(options.nli)
    return read_material(settings, Recordings(settings.save_path / "conversations")), nli


def serve_teaching(options: Options, settings: Settings, material: Material, nli: str | None, door: Door) -> int:
    """Load the model, and serve the page that asks about its replies."""
    warn("loading ...")
    with importing():
        from personagpt.model.loading import load_trained
        from personagpt.page.teaching import QuestionQueue, TeachPage, teach_routes
        from personagpt.page.visitors import Limits
        from personagpt.scoring.nli import load_classifier
        from personagpt.talking.persona import Persona
        from personagpt.talking.session import goal_notice
        from personagpt.talking.teaching import questions_of

    trained, sampling = load_trained(options.model, settings), Sampling()
    found = places(trained, material, sampling)
    classifier = None if nli is None else load_classifier(nli)
    restyled = Persona(trained, keep_facts=True).restyled
    if notice := goal_notice(trained, options.goal):
        say(f"({notice})")
    seed = secrets.randbits(32)
    queue = QuestionQueue(partial(questions_of, trained, found, sampling, options.goal, seed, classifier))
    with contextlib.closing(queue):
        recordings = Recordings(settings.save_path / "conversations", PATIENCE)
        page = TeachPage(queue, recordings, restyled, options.goal, Limits())
        return run_page(page, teach_routes(page), door, "the teaching session is")


def report(settings: Settings, name: str | None = None, order: Sequence[str] = ()) -> int:
    """Print and draw the results of the study `name`, its conditions in `order`; without a name, all results."""
    folder = settings.save_path / "conversations"
    recordings = Recordings(folder)
    talks = recordings.talks()
    for talk in talks:
        try:
            check_study(talk)
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{folder / NAME}: talk {talk.id}: {error}; interact.py --delete-talk {talk.id} deletes it"
            ) from None
    studies = talks_by_study(talks)
    studies = {study: talks for study, talks in studies.items() if name in (None, study)}
    imported = [talk for talk in talks if is_imported(talk) and name is None]
    reviews = [review for review in Reviews(recordings).all() if review.finished] if name is None else []
    if not studies and not imported and not reviews:
        wanted = f"the study {name}" if name else "a study"
        raise UserError(f"{folder / NAME}: no talk of {wanted} is on record; app.py --study FILE records them")
    with importing():
        from personagpt.study.imported import draw_imported, imported_results, imported_table
        from personagpt.study.report import draw, table
        from personagpt.study.results import results

    for study, part in studies.items():
        figures = results(part, settings.seed, order)
        write_report(folder / f"report-{study}.json", figures, table(study, figures), draw(study, figures))
    if imported:
        figures = imported_results(imported, settings.seed)
        write_report(folder / "imported.json", figures, imported_table(figures), draw_imported(figures))
    if reviews:
        report_reviews(reviews, talks, settings)
    return 0


def report_reviews(reviews: list[Review], talks: list[Talk], settings: Settings) -> None:
    """Print and draw the results of the finished reviews."""
    check_installed("review", "krippendorff")
    with importing():
        from personagpt.review.report import draw_review, review_results, review_table

    figures = review_results(reviews, talks, settings.seed)
    path = settings.save_path / "conversations" / "review.json"
    write_report(path, figures, review_table(figures), draw_review(figures))


def write_report(path: Path, figures: dict[str, Any], table: str, drawing: Drawing) -> None:
    """Write the figures to `path`, the drawing beside them, and print the table."""
    write_json(path, figures)
    write_figure(path.with_suffix(".png"), drawing)
    say(f"{table}\n\nin {path}, drawn in {path.with_suffix('.png')}\n")


if __name__ == "__main__":
    run_script(main)
