"""Talk to a trained model in a browser, and record where it fails.

    python app.py                                               then open http://127.0.0.1:7860/
    python app.py --env .env.demo --port 8000                   another model, another port
    python app.py --host 0.0.0.0 --password-file secret.txt     for other machines: with a password
    python app.py --study data/study.toml                       a blind study: people talk with models and people
    python app.py --study data/study.toml --dry-run             try it: without pauses, and nothing is kept
    python app.py --report                                      the results of the recorded studies

Reads   save_path/checkpoint/model, or the folder or hub name that --model gives; the validation text, for personas;
        the goals; the models that a study names.
Writes  save_path/conversations/talks.sqlite, like interact.py: every utterance when it is said.
        Beside it: the text that a study's participants agreed to, consent.STUDY.CHECKSUM.txt; with --report,
        report-STUDY.json and report-STUDY.png (and .pdf, for papers)

Many visitors can talk at once. Ctrl-C ends the page.
"""

from __future__ import annotations

from utils import closed_pipe_output, command, new_parser, parse_options, run_script

import contextlib
import socket
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from personagpt.errors import UserError
from personagpt.files import read_text, write_figure, write_json
from personagpt.model.api_settings import Api
from personagpt.model.folders import find_model
from personagpt.output import say, warn
from personagpt.records.database import NAME, Recordings
from personagpt.records.talks import check_study, talks_by_study
from personagpt.sequences.goals import read_goals
from personagpt.settings import Settings, read_settings
from personagpt.signals import importing
from personagpt.study.settings import Study, read_study, study_names
from personagpt.text.convai2 import read_corpus

if TYPE_CHECKING:
    from personagpt.study.pairing import Queues

SHORTEST_PASSWORD = 8
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


def command_line(arguments: list[str] | None = None) -> Options:
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--model", metavar="NAME", help="a folder or hub name (default: save_path/checkpoint/model)")
    add("--host", metavar="ADDRESS", default="127.0.0.1", help="where to listen (127.0.0.1: this machine only)")
    add("--port", metavar="N", type=int, default=7860, help="(7860)")
    add("--study", metavar="FILE", type=Path, help="a blind study, as this file describes it")
    add("--dry-run", action="store_true", help="... to try it: without pauses, and nothing is kept")
    add("--password-file", metavar="FILE", type=Path, help="a file with the password that visitors need")
    add("--report", action="store_true", help="print and draw the results of all recorded studies, or of --study")
    return parse_options(parser, Options, arguments)


@dataclass(frozen=True)
class Content:
    """What the page offers: a study, or personas and goals for free talks. It is read before the model is loaded."""

    study: Study | None
    personas: list[list[str]]
    goals: list[str]


def main(arguments: list[str] | None = None) -> int:
    options = command_line(arguments)
    settings = read_settings(options.env)
    if options.dry_run and (options.report or not options.study):
        raise UserError("--dry-run: expected with --study FILE, to try this study")
    if options.report:
        return report(settings, *(study_names(options.study) if options.study else ()))
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise UserError(f"app.py needs {' and '.join(missing)}: pip install -r requirements/page.txt")
    password = read_password(options)
    content = read_content(options, settings)
    with closed_pipe_output(), listen(options.host, options.port) as listener:
        return serve(options, settings, content, password, listener)


def read_password(options: Options) -> str | None:
    """Return the first line of --password-file. Raises UserError where other machines need a password and have none."""
    from personagpt.page.access import is_loopback

    path = options.password_file
    if path is None:
        if is_loopback(options.host):
            return None
        raise UserError(f"--host {options.host}: other machines can reach the page there; add --password-file FILE")
    password = read_text(path).partition("\n")[0].strip()
    if len(password) < SHORTEST_PASSWORD:
        raise UserError(f"--password-file {path}: its first line must be a password of {SHORTEST_PASSWORD} letters")
    return password


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


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there. The port is taken before the model is loaded."""
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: expected 0 (any that is free) to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host {host} --port {port}: cannot listen there: {error}; try another --port") from None


def serve(options: Options, settings: Settings, content: Content, password: str | None, listener: socket.socket) -> int:
    """Load the models, and serve the page until Ctrl-C."""
    warn("loading ...")
    with importing():
        from personagpt.model.loading import load_trained
        from personagpt.page.access import is_loopback
        from personagpt.page.replies import ReplyQueue
        from personagpt.page.routes import make_server, talk_routes
        from personagpt.page.visitors import Limits, Page
        from personagpt.study.pairing import Pairing
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
        server = make_server(page, routes, password, is_loopback(options.host))
        host, port = listener.getsockname()[:2]
        say(f"{title} on http://{f'[{host}]' if ':' in host else host}:{port}/   (Ctrl-C ends it)")
        server.run(sockets=[listener])
    return 0


def api_queues(study: Study, queues: Queues, recordings: Recordings, most: int) -> Queues:
    """Return a queue for each of the study's programs behind an API. Each program is asked for a reply first.

    Their replies are restyled as people's words are: to the text of the first model, or of the personas. Raises
    UserError where a program gives no reply.
    """
    apis = dict.fromkeys(program.model for program in study.programs if isinstance(program.model, Api))
    if not apis:
        return {}
    from personagpt.model.api import ApiProgram
    from personagpt.page.api_replies import ApiQueue

    restyled = queues[study.local_programs[0].model].restyled if queues else study.writing.bring
    programs = {api: ApiProgram(api) for api in apis}
    for program in programs.values():
        program.check()
    return {api: ApiQueue(programs[api], recordings, most, study.away, restyled) for api in apis}


def report(settings: Settings, name: str | None = None, order: Sequence[str] = ()) -> int:
    """Print and draw the results of the study `name`, its conditions in `order`, or of each study."""
    folder = settings.save_path / "conversations"
    talks = Recordings(folder).talks()
    for talk in talks:
        try:
            check_study(talk)
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{folder / NAME}: talk {talk.id}: {error}; interact.py --delete-talk {talk.id} deletes it"
            ) from None
    studies = talks_by_study(talks)
    studies = {study: talks for study, talks in studies.items() if name in (None, study)}
    if not studies:
        wanted = f"the study {name}" if name else "a study"
        raise UserError(f"{folder / NAME}: no talk of {wanted} is on record; app.py --study FILE records them")
    with importing():
        from personagpt.study.report import draw, table
        from personagpt.study.results import results

    for study, talks in studies.items():
        figures, path = results(talks, settings.seed, order), folder / f"report-{study}.json"
        write_json(path, figures)
        write_figure(path.with_suffix(".png"), draw(study, figures))
        say(f"{table(study, figures)}\n\nin {path}, drawn in {path.with_suffix('.png')}\n")
    return 0


if __name__ == "__main__":
    run_script(main)
