"""app.py as a user runs it: a process of its own, with a password, ended by Ctrl-C."""

import os
import signal
import subprocess
import sys

import pytest

from personagpt.talking.recordings import read_talks
from tests.helpers import ROOT, Visitor
from tests.talking.test_page import basic

PASSWORD, SAID = "correct horse", "a secret utterance"


@pytest.fixture
def settings_file(tmp_path, write_settings, tiny_model, tokenizer, sample):  # noqa: ANN201
    """Settings whose save_path holds a model."""
    folder = tmp_path / "save" / "checkpoint" / "model"
    tiny_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    goals = ROOT / "data" / "goals.tsv"
    return write_settings(save_path=tmp_path / "save", data_path=sample, model_name=sample / "base", goals=goals)


def test_from_start_to_ctrl_c(settings_file, tmp_path) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    command = [
        sys.executable,
        "app.py",
        "--env",
        settings_file,
        "--port",
        "0",
        "--password-file",
        tmp_path / "password",
    ]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # else it would stay ignored where it is now
    pipe = subprocess.PIPE
    page = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=os.environ)
    signal.signal(signal.SIGINT, before)
    line = page.stdout.readline()
    assert line.startswith("talk on http://127.0.0.1:"), page.communicate()
    page.port = int(line.partition("127.0.0.1:")[2].partition("/")[0])
    assert Visitor(page, cookie="").ask("GET", "/").status == 401
    assert Visitor(page, cookie="").ask("GET", "/", authorization=basic("wrong " + PASSWORD)).status == 401
    visitor = Visitor(page, cookie="")
    visitor.headers["authorization"] = basic(PASSWORD)
    cookie = visitor.ask("GET", "/").headers["set-cookie"].partition(";")[0]
    visitor.headers["cookie"] = cookie
    start = visitor.ask("GET", "/api/start").json
    assert len(start["goals"]) == 11
    assert str(tmp_path) not in str(start)
    persona = visitor.ask("GET", "/api/persona").json["persona"]
    talk = visitor.begin(SAID, *persona, goal=start["goals"][0])
    assert visitor.reply(talk)["problem"] == ""
    page.send_signal(signal.SIGINT)
    out, err = page.communicate()
    assert (page.returncode, err.splitlines()) == (130, ["loading ...", "stopped by Ctrl-C"])
    for secret in (PASSWORD, SAID, cookie.partition("=")[2], talk["id"], start["participant"], "wrong"):
        assert secret not in line + out + err
    (found,) = read_talks(tmp_path / "save" / "conversations", pytest.fail)
    assert (found.persona, found.texts[0], len(found.turns)) == (persona, SAID, 2)
