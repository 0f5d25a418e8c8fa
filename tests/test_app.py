"""app.py as a user runs it: a process of its own, with a password, ended by Ctrl-C; and the report of studies."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import uvicorn

import app
from personagpt.files import read_json
from personagpt.records.database import Recordings
from tests.helpers import ROOT
from tests.page.served import Visitor, basic, wait_until
from tests.records.making import make_talk
from tests.study.participation import Participant

PASSWORD, SAID = "correct horse", "a secret utterance"


@pytest.fixture
def settings_file(tmp_path, write_settings, tiny_model, tokenizer, sample):  # noqa: ANN201
    """Settings whose save_path holds a model."""
    folder = tmp_path / "save" / "checkpoint" / "model"
    tiny_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    goals = ROOT / "data" / "goals.tsv"
    return write_settings(save_path=tmp_path / "save", data_path=sample, model_name=sample / "base", goals=goals)


@pytest.fixture
def start(settings_file):  # noqa: ANN201
    """start("--option", ...) starts app.py on a free port; `page.line` is what it printed then."""
    pages = []

    def call(*options: object) -> subprocess.Popen:
        command = [sys.executable, "app.py", "--env", settings_file, "--port", "0", *options]
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # else it would stay ignored where it is now
        pipe = subprocess.PIPE
        page = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=os.environ)
        pages.append(page)
        signal.signal(signal.SIGINT, before)
        page.line = page.stdout.readline()
        assert "http://127.0.0.1:" in page.line, page.communicate()
        page.port = int(page.line.partition("127.0.0.1:")[2].partition("/")[0])
        return page

    yield call
    for page in pages:
        page.kill()
        page.wait()


def test_from_start_to_ctrl_c(start, tmp_path) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    page = start("--password-file", tmp_path / "password")
    assert page.line.startswith("talk on http://127.0.0.1:")
    assert Visitor(page, cookie="").ask("GET", "/").status == 401
    assert Visitor(page, cookie="").ask("GET", "/", authorization=basic("wrong " + PASSWORD)).status == 401
    visitor = Visitor(page, cookie="")
    visitor.headers["authorization"] = basic(PASSWORD)
    cookie = visitor.ask("GET", "/").headers["set-cookie"].partition(";")[0]
    visitor.headers["cookie"] = cookie
    there = visitor.ask("GET", "/api/start").json
    assert len(there["goals"]) == 11
    assert str(tmp_path) not in str(there)
    persona = visitor.ask("GET", "/api/persona").json["persona"]
    talk = visitor.begin(SAID, *persona, goal=there["goals"][0])
    assert visitor.reply(talk)["problem"] == ""
    page.send_signal(signal.SIGINT)
    out, err = page.communicate()
    assert (page.returncode, err.splitlines()) == (130, ["loading ...", "stopped by Ctrl-C"])
    for secret in (PASSWORD, SAID, cookie.partition("=")[2], talk["id"], there["participant"], "wrong"):
        assert secret not in page.line + out + err
    (found,) = Recordings(tmp_path / "save" / "conversations").talks()
    assert (found.persona, found.texts[0], len(found.turns)) == (persona, SAID, 2)


def test_a_study_from_start_to_ctrl_c(start, tmp_path) -> None:
    (tmp_path / "consent.txt").write_text("you agree")
    study = 'name = "s"\ntitle = "T"\nconsent = "consent.txt"\nturns = 1\nwait = 0\n[[condition]]\nname = "usual"\n'
    (tmp_path / "study.toml").write_text(study)
    page = start("--study", tmp_path / "study.toml")
    assert page.line.startswith("the study is on http://127.0.0.1:")
    who = Participant(page)
    assert who.ask("GET", "/api/start").json["consent"] == "you agree"
    assert who.begin()["stage"] == "talk"
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    connection.request("GET", "/api/study", headers=who.headers)  # a page that stays open
    assert connection.getresponse().readline() == b"event: state\n"
    page.send_signal(signal.SIGINT)
    _, err = page.communicate()
    connection.close()
    assert (page.returncode, err.splitlines()) == (130, ["loading ...", "stopped by Ctrl-C"])


def test_a_trial_of_a_study_keeps_nothing(settings_file, run, tmp_path, monkeypatch) -> None:
    (tmp_path / "consent.txt").write_text("you agree")
    study = 'name = "s"\ntitle = "T"\nconsent = "consent.txt"\nturns = 1\nwait = 900\n[[condition]]\nname = "usual"\n'
    (tmp_path / "study.toml").write_text(study)
    serve = uvicorn.Server.run

    def take_part(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        thread = threading.Thread(target=serve, args=[server, sockets])
        thread.start()
        wait_until(lambda: server.started)
        who = Participant(SimpleNamespace(port=sockets[0].getsockname()[1]))
        assert who.ask("GET", "/api/start").json["title"] == "T (trial)"
        assert who.begin()["stage"] == "talk"  # without a wait
        assert who.talk_through()["stage"] == "questions"
        server.should_exit = True
        thread.join()

    monkeypatch.setattr(uvicorn.Server, "run", take_part)
    outcome = run(app.main, "--env", settings_file, "--port", 0, "--study", tmp_path / "study.toml", "--dry-run")
    assert (outcome.status, outcome.err) == (0, "loading ...\n")
    assert outcome.out.startswith("a trial of the study (nothing is kept) is on http://127.0.0.1:")
    assert not (tmp_path / "save" / "conversations").exists()


def test_a_trial_is_of_a_study(run, write_settings) -> None:
    for options in (["--dry-run"], ["--dry-run", "--report", "--study", "study.toml"]):
        outcome = run(app.main, "--env", write_settings(), *options)
        assert (outcome.status, outcome.line) == (2, "error: --dry-run: expected with --study FILE, to try this study")


def test_a_file_that_is_no_recording_is_told_at_the_start(settings_file, tmp_path, run) -> None:
    path = tmp_path / "save" / "conversations" / "talks.sqlite"
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    ended = run(app.main, "--env", settings_file, "--port", 0)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.splitlines()[1].startswith(f"error: {path}: not a file of recorded talks")


def test_the_report_of_what_is_on_record(tmp_path, write_settings, run) -> None:
    env, folder = write_settings(save_path=tmp_path), tmp_path / "conversations"
    nothing = run(app.main, "--env", env, "--report")
    assert (nothing.status, nothing.out) == (2, "")
    assert nothing.line.endswith("no talk of a study is on record; app.py --study FILE records them")
    recordings = Recordings(folder)
    for number, study in enumerate(("first", "second", "second")):
        recordings.save(make_talk("hi", "ho", source=f"study:{study}:bot", participant=f"p{number}"))
    recordings.close()
    found = run(app.main, "--env", env, "--report")
    assert found.status == 0
    assert "study first: 1 talk of 1 participant\n" in found.out
    assert "study second: 2 talks of 2 participants\n" in found.out
    (tmp_path / "study.toml").write_text('name = "first"\ncondition = [1, {}, {name = "bot"}, {name = 3}]')
    one = run(app.main, "--env", env, "--report", "--study", tmp_path / "study.toml")
    assert one.out == found.out.partition("study second")[0]
    (tmp_path / "study.toml").write_text('name = "third"')
    assert run(app.main, "--env", env, "--report", "--study", tmp_path / "study.toml").status == 2
    results = read_json(folder / "report-second.json")
    assert (results["talks"], results["seed"], list(results["conditions"])) == (2, 42, ["bot"])
    assert (folder / "report-second.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "report-second.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("strange", [{"source": "study:../../out:a"}, {"ratings": {"fluency": "=1"}}])
def test_a_report_of_a_study_that_is_none_is_one_line(tmp_path, write_settings, run, strange) -> None:
    """Somebody else's talks.sqlite: no file is written outside its folder."""
    env, recordings = (
        write_settings(save_path=tmp_path / "deep" / "save"),
        Recordings(tmp_path / "deep/save/conversations"),
    )
    talk = make_talk("hi", "ho", **({"source": "study:s:bot"} | strange))
    recordings.save(talk)
    outcome = run(app.main, "--env", env, "--report")
    assert outcome.status == 2
    assert outcome.line.endswith(f"interact.py --delete-talk {talk.id} deletes it")
    assert not list(tmp_path.rglob("report*")) + list(tmp_path.rglob("*.json"))


def review_by_two(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
    """Two reviewers read the only talk; one of them gives a label."""
    thread = threading.Thread(target=uvicorn_run, args=[server, sockets])
    thread.start()
    wait_until(lambda: server.started)
    for kinds in (["off-topic"], []):
        who = Visitor(SimpleNamespace(port=sockets[0].getsockname()[1]))
        talk = who.ask("GET", "/api/review").json["talk"]
        assert who.ask("POST", "/api/review/label", {"talk": talk["id"], "turn": 1, "kinds": kinds}).status == 200
        seen = {"talk": talk["id"], "turns": len(talk["turns"])}
        assert who.ask("POST", "/api/review/finish", seen).json["talk"] is None
    server.should_exit = True
    thread.join()


uvicorn_run = uvicorn.Server.run


def test_a_review_and_its_report_need_no_model(tmp_path, write_settings, run, monkeypatch) -> None:
    folder = tmp_path / "save" / "conversations"
    env = write_settings(save_path=tmp_path / "save")
    nothing = run(app.main, "--env", env, "--port", 0, "--review")
    assert nothing.status == 2
    assert nothing.line.endswith("no talk to review; record some with interact.py or app.py first")
    typed, imported = make_talk("a", "b", flags=((1, "unsafe"),)), make_talk("c", "d", source="convai2:data")
    Recordings(folder).save(typed, imported, make_talk("e", "f", partner="partner"))
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: None)
    both = run(app.main, "--env", env, "--port", 0, "--review")
    assert (both.status, both.err) == (0, "")
    assert both.out.startswith("the review of 2 talks is on http://127.0.0.1:")
    monkeypatch.setattr(uvicorn.Server, "run", review_by_two)
    options = ("--review", "--source", "interact.py", "--order", "random")
    one = run(app.main, "--env", env, "--port", 0, *options)
    assert (one.status, one.err) == (0, "")
    found = run(app.main, "--env", env, "--report")
    assert (found.status, found.err) == (0, "")
    assert "review: 1 talk, of which 1 by at least two of 2 reviewers; order: random\n" in found.out
    kinds = read_json(folder / "review.json")["kinds"]
    assert kinds["off-topic"]["reviewed"] == {"value": 50, "count": 2}
    assert kinds["unsafe"]["flagged"] == {"value": 100, "count": 1}
    assert (folder / "review.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--review", "--study", "s.toml"], "--study is not for --review, which shows recorded talks: leave it out"),
        (["--review", "--report"], "--report is not for --review, which shows recorded talks: leave it out"),
        (["--order", "random"], "--order needs --review"),
        (["--source", "app.py", "--report"], "--source needs --review"),
        (["--teach", "--review"], "--review is not for --teach, which asks about single replies: leave it out"),
        (["--goal", "ask about pets."], "--goal needs --teach"),
        (["--nli", "m", "--review"], "--nli needs --teach"),
    ],
)
def test_options_that_do_not_go_together(write_settings, run, options, problem) -> None:
    outcome = run(app.main, "--env", write_settings(), *options)
    assert (outcome.status, outcome.line) == (2, f"error: {problem}")


def test_a_teaching_session(settings_file, nli_folder, run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("personagpt.talking.teaching.POOL", 2)

    def teach(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        thread = threading.Thread(target=uvicorn_run, args=[server, sockets])
        thread.start()
        wait_until(lambda: server.started)
        who = Visitor(SimpleNamespace(port=sockets[0].getsockname()[1]))
        wait_until(lambda: who.ask("GET", "/api/teach").json["asked"])
        (asked,) = who.ask("GET", "/api/teach").json["asked"]
        assert who.ask("POST", "/api/teach/answer", {"id": asked["id"], "text": "I SKI"}).status == 200
        server.should_exit = True
        thread.join()

    monkeypatch.setattr(uvicorn.Server, "run", teach)
    options = "--port", 0, "--teach", "--goal", "ask about pets.", "--nli"
    wrong = run(app.main, "--env", settings_file, *options, settings_file.parent / "save" / "checkpoint" / "model")
    assert "expected a classifier of sentence pairs" in wrong.line
    outcome = run(app.main, "--env", settings_file, *options, nli_folder)
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith("the teaching session is on http://127.0.0.1:")
    (talk,) = Recordings(tmp_path / "save" / "conversations").talks()
    assert (talk.source, talk.turns[1].text, talk.turns[1].goal) == ("teach", "I SKI", "ask about pets.")


def test_the_report_of_imported_talks(tmp_path, write_settings, run) -> None:
    folder = tmp_path / "save" / "conversations"
    talk = make_talk("a", "b", source="convai2:data", ratings={"eval_score": 4})
    Recordings(folder).save(talk)
    env = write_settings(save_path=tmp_path / "save")
    found = run(app.main, "--env", env, "--report")
    assert (found.status, found.err) == (0, "")
    assert found.out.startswith("imported: 1 talk of 1 participant with other programs\n")
    assert read_json(folder / "imported.json")["programs"]["m"]["eval_score"] == {"value": 4, "count": 1}
    assert (folder / "imported.png").read_bytes().startswith(b"\x89PNG")
