"""Talk to a trained model in a browser, and record where it fails.

    python app.py                                               then open http://127.0.0.1:7860/
    python app.py --env .env.demo --port 8000                   another model, another port
    python app.py --host 0.0.0.0 --password-file secret.txt     for other machines: with a password
    python app.py --study data/study.toml                       a blind study: people talk with models and people
    python app.py --report                                      the results of the studies on record

Reads   save_path/checkpoint/model, or the folder or hub name --model gives; the validation text, for personas; goals;
        the models that a study names.
Writes  save_path/conversations/talks.sqlite, as interact.py does: everything when it is said.
        Beside it: what a study's participants agreed to, consent.STUDY.CHECKSUM.txt; --report: report-STUDY.json
        and report-STUDY.png

Many visitors talk at once, each with talks of their own (personagpt/page/visitors.py, web.py). Ctrl-C ends it.
"""

from __future__ import annotations

from personagpt.signals import end_at_once  # isort: skip

if __name__ == "__main__":
    end_at_once()  # Ctrl-C is answered by one line from here on: before anything else is imported

from utils import add_env_option, before_torch, command, parse_options, run_script

import argparse
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

from personagpt.errors import UserError, printable
from personagpt.files import write_atomically, write_json
from personagpt.model.folders import find_model
from personagpt.records.database import NAME, Recordings
from personagpt.records.talks import talks_by_study
from personagpt.sequences.goals import read_goals
from personagpt.settings import Settings, read_settings
from personagpt.study.settings import read_study, study_name
from personagpt.text.convai2 import read_corpus

SHORTEST_PASSWORD = 8


def command_line(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_env_option(parser)
    add = parser.add_argument
    add("--model", metavar="NAME", help="a folder or hub name (default: save_path/checkpoint/model)")
    add("--host", metavar="ADDRESS", default="127.0.0.1", help="where to listen (127.0.0.1: this machine only)")
    add("--port", metavar="N", type=int, default=7860, help="(7860)")
    add("--study", metavar="FILE", type=Path, help="a blind study, as this file describes it")
    add("--password-file", metavar="FILE", type=Path, help="a file with the password that visitors need")
    add("--report", action="store_true", help="print and draw the results of all studies on record, or of --study")
    options = parse_options(parser, arguments)
    return options, read_settings(options.env)


def prepare(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings]:
    """The command line, checked, and what it names, read; the port is taken."""
    options, settings = command_line(arguments)
    if options.report:
        options.study = study_name(options.study) if options.study else None
        return options, settings
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise UserError(f"app.py needs {' and '.join(missing)}: pip install -r requirements/page.txt")
    from personagpt.page.access import is_loopback

    options.local = is_loopback(options.host)
    options.password = read_password(options.password_file)
    if options.password is None and not options.local:
        raise UserError(f"--host {options.host}: other machines can reach the page there; add --password-file FILE")

    def default_model() -> str:
        return find_model(options.model, settings, command("train.py", options.env))

    if options.study:
        options.study = read_study(options.study, settings.text("valid"), default_model)
        options.socket = listen(options.host, options.port)
        return options, settings
    default_model()
    options.goals = [goal.text for goal in read_goals(settings.goals)]
    path = settings.text("valid")
    dialogues = read_corpus(path).dialogues if path.is_file() else []
    options.personas = [facts for dialogue in dialogues for facts in dialogue.personas if facts]
    options.socket = listen(options.host, options.port)
    return options, settings


def read_password(path: Path | None) -> str | None:
    """The first line of --password-file; None without one."""
    if path is None:
        return None
    try:
        password = path.read_text(encoding="utf-8-sig").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"--password-file {path}: cannot read it: {reason}") from None
    if len(password) < SHORTEST_PASSWORD:
        raise UserError(f"--password-file {path}: its first line must be a password of {SHORTEST_PASSWORD} letters")
    return password


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there: the port is ours before the model is loaded."""
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: expected 0 (any that is free) to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host {host} --port {port}: cannot listen there: {error}; try another --port") from None


def report(options: argparse.Namespace, settings: Settings) -> int:
    """Print and draw what came out of each study, or of the one that is asked for."""
    folder = settings.save_path / "conversations"
    studies = talks_by_study(Recordings(folder).talks())
    studies = {name: talks for name, talks in studies.items() if options.study in (None, name)}
    if not studies:
        what = f"the study {options.study}" if options.study else "a study"
        raise UserError(f"{folder / NAME}: no talk of {what} is on record; app.py --study FILE records them")
    from personagpt.study.report import draw, table  # what computes is imported when there is something
    from personagpt.study.results import results

    for name, talks in studies.items():
        found, path = results(talks, settings.seed), folder / f"report-{name}.json"
        write_json(path, found)
        write_atomically(path.with_suffix(".png"), draw(name, found))
        print(f"{table(name, found)}\n\nin {path}, drawn in {path.with_suffix('.png')}\n")
    return 0


if __name__ == "__main__":
    prepared = before_torch(prepare)
    if prepared[0].report:
        run_script(report, *prepared)
    print("loading ...", file=sys.stderr, flush=True)

import warnings

import uvicorn

from personagpt.model.loading import load_trained
from personagpt.page.replies import ReplyQueue
from personagpt.page.routes import make_app
from personagpt.page.visitors import Limits, Page
from personagpt.study.pairing import Pairing
from personagpt.study.participants import StudyPage


def main(arguments: list[str] | None = None) -> int:
    options, settings = prepare(arguments)
    return report(options, settings) if options.report else serve(options, settings)


def serve(options: argparse.Namespace, settings: Settings) -> int:
    warnings.simplefilter("ignore")  # what they say is for who writes the persona: a visitor
    recordings, limits, desks = Recordings(settings.save_path / "conversations"), Limits(), {}
    models = {one.model for one in options.study.programs} if options.study else {options.model}
    try:
        for model in sorted(models, key=str):
            desks[model] = ReplyQueue(load_trained(model, settings), recordings, limits.waiting, say)
        if options.study:
            page = StudyPage(Pairing(options.study, desks, recordings), limits)
        else:
            page = Page(desks[options.model], options.personas, options.goals, limits)
        app = make_app(page, options.password, options.local, say)
        host, port = options.socket.getsockname()[:2]
        what = "the study is" if options.study else "talk"
        print(f"{what} on http://{f'[{host}]' if ':' in host else host}:{port}/   (Ctrl-C ends it)", flush=True)
        # No access log: it would hold addresses and the ids of talks. Who forwards requests is nobody we trust.
        config = uvicorn.Config(
            app, log_level="error", access_log=False, proxy_headers=False, timeout_graceful_shutdown=2, ws="none"
        )
        server = uvicorn.Server(config)
        app.state.is_ending = lambda: server.should_exit
        server.run(sockets=[options.socket])
    finally:
        for desk in desks.values():
            desk.close()
    return 0


def say(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_script(serve, *prepared)
