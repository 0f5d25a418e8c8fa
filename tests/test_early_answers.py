"""What is known before torch is imported is answered before, and Ctrl-C meanwhile is one line: all scripts."""

from __future__ import annotations

import importlib
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from personagpt.records.database import Recordings
from tests.helpers import ROOT, SAMPLE
from tests.records.making import make_talk

BASE = SAMPLE / "base"
SCRIPTS = ("preprocess_dataset.py", "train.py", "evaluate.py", "interact.py", "app.py", "detect.py")


def without_torch(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, where to import torch, numpy or transformers fails."""
    program = (
        "import runpy, sys\n"
        "for name in ('torch', 'numpy', 'transformers'): sys.modules[name] = None\n"
        "sys.argv[0] = sys.argv.pop(1)\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", program, script, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_wrong_settings(script: str, write_settings) -> None:
    answer = without_torch(script, "--help")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "--env FILE" in answer.stdout
    answer = without_torch(script, "--env", write_settings(epochs="no"))
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "epochs = 'no' is not allowed" in answer.stderr


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("preprocess_dataset.py", (), "train_both_original_no_cands.txt:2: no line number"),
        ("train.py", (), "train_data.safetensors: no such file; first run `"),
        ("evaluate.py", (), "no trained model there yet; run `"),
        ("evaluate.py", ("--model", "./nowhere"), "--model ./nowhere: there is no such folder"),
        ("evaluate.py", ("--model", "{tmp}"), "no model in this folder (config.json is missing)"),
        ("evaluate.py", ("--model", "{base}", "--text", "{tmp}/bad.txt"), "bad.txt:2: no line number"),
        ("evaluate.py", ("--model", "{base}"), "valid_data.safetensors: no such file; first run `"),
        ("evaluate.py", ("--compare", "{base}", "./nowhere"), "--model ./nowhere: there is no such folder"),
        (
            "evaluate.py",
            ("--model", "{base}", "--orders", "1"),
            "--orders 1: expected a number of orders",
        ),
        ("evaluate.py", ("--model", "{base}", "--nli", "{base}"), "--nli reads generated replies: add --generate N"),
        (
            "evaluate.py",
            ("--model", "{base}", "--nli", "{base}", "--generate", "5"),
            "its labels are not named",
        ),
        (
            "evaluate.py",
            ("--model", "{base}", "--dnli", "{tmp}/bad.txt"),
            "bad.txt:1: expected a record of",
        ),
        ("evaluate.py", ("--runs", "save/a"), "--runs save/a: expected the save_paths of two or more runs"),
        ("evaluate.py", ("--runs", "a", "b", "--by-turn"), "--runs reads what runs left behind: leave out --by-turn"),
        ("evaluate.py", ("--runs", "a", "b", "--out", "c.json"), "--out c.json: expected a name that ends in .png"),
        ("detect.py", ("--model", "{base}"), "0 sides of people: at least 20 are needed"),
        ("app.py", (), "no trained model there yet; run `"),
        ("app.py", ("--report",), "no talk of a study is on record"),
        ("app.py", ("--report", "--study", "data/study.toml"), "no talk of the study pilot is on record"),
        ("app.py", ("--host", "0.0.0.0"), "other machines can reach the page there; add --password-file FILE"),
        ("app.py", ("--password-file", "{tmp}/none"), "none: cannot read it: No such file"),
        ("app.py", ("--password-file", "{tmp}/short"), "its first line must be a password of 8 letters"),
        ("app.py", ("--password-file", "{tmp}/bytes"), "bytes:1: byte 0xff is not UTF-8; save the file as UTF-8"),
        ("app.py", ("--model", "{base}", "--port", "99999"), "--port 99999: expected 0 (any that is free) to 65535"),
        (
            "app.py",
            ("--model", "{base}", "--port", "{port}"),
            "{port}: cannot listen there: [Errno 98]",
        ),
        ("interact.py", (), "no trained model there yet; run `"),
        ("interact.py", ("--export",), "--export: where to? --export FOLDER, or for others --export --publish FOLDER"),
        ("interact.py", ("--publish", "{tmp}/out"), "expected --export --publish FOLDER, with this folder only"),
        ("interact.py", ("--export", "{tmp}/a", "--publish", "{tmp}/b"), "b: expected --export --publish FOLDER, with"),
        ("interact.py", ("--export", "--publish", "{tmp}/out"), "no talk to publish: only talks of studies, and"),
        ("interact.py", ("--model", "./nowhere"), "--model ./nowhere: there is no such folder"),
        ("interact.py", ("--model", "{base}", "--random-persona"), "a random persona comes from there"),
    ],
)
def test_mistakes(script, arguments, words, write_settings, tmp_path) -> None:
    (tmp_path / "short").write_text("1234567\n89")
    (tmp_path / "bytes").write_bytes(b"\xff1234567")
    taken = socket.create_server(("127.0.0.1", 0))
    names = {"tmp": tmp_path, "base": BASE, "port": taken.getsockname()[1]}
    for name in ("bad.txt", "train_both_original_no_cands.txt"):
        (tmp_path / name).write_text("1 a\tb\nnothing\n")
    if script == "preprocess_dataset.py":
        (tmp_path / "valid_both_original_no_cands.txt").write_text("1 a\tb\n")
    env = write_settings(data_path=tmp_path, save_path=tmp_path / "save", model_name=BASE)
    answer = without_torch(script, "--env", env, *(part.format(**names) for part in arguments))
    taken.close()
    assert (answer.returncode, answer.stdout) == (2, "")
    assert words.format(**names) in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_an_export(write_settings, tmp_path) -> None:
    talk = make_talk("hi", "ho")
    talk.model = "me/mine"
    Recordings(tmp_path / "save" / "conversations").save(talk)
    env = write_settings(save_path=tmp_path / "save")
    answer = without_torch("interact.py", "--env", env, "--export", tmp_path / "out")
    assert (answer.returncode, answer.stderr) == (0, "")
    named = f"data_path={tmp_path}/out save_path={tmp_path}/out/save model_name=me/mine epochs=1 learn_rate="
    assert re.search(rf"next: {named}\S+ \S*python\S* preprocess_dataset\.py --env {env}\n", answer.stdout)


def test_a_publication(write_settings, tmp_path) -> None:
    Recordings(tmp_path / "save" / "conversations").save(make_talk("hi", "ho"))
    env = write_settings(save_path=tmp_path / "save")
    answer = without_torch("interact.py", "--env", env, "--export", "--publish", tmp_path / "out")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.endswith("choose a license there, and read the talks\n")
    assert (tmp_path / "out" / "README.md").is_file()


def test_with_nothing_to_answer_they_go_on(write_settings) -> None:
    env = write_settings(data_path=SAMPLE, model_name=BASE)
    assert "import of torch halted" in without_torch("preprocess_dataset.py", "--env", env).stderr
    answer = without_torch("interact.py", "--env", env, "--model", BASE)
    assert answer.stderr.startswith("loading ...\n")


@pytest.mark.parametrize("script", SCRIPTS[:-1])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGHUP, 143)])
def test_a_signal_while_torch_is_imported(script, number, status, write_settings, tmp_path) -> None:
    """bench/interrupts.py does this at 40 instants of whole runs."""
    for split in ("train", "valid"):
        (tmp_path / f"{split}_data.safetensors").touch()
    (tmp_path / "checkpoint" / "model").mkdir(parents=True)
    env = write_settings(data_path=SAMPLE, save_path=tmp_path, model_name=BASE)
    signal.signal(number, signal.SIG_DFL)  # as a terminal starts programs
    pipe = subprocess.PIPE
    command = [sys.executable, script, "--env", str(env), *(["--port", "0"] if script == "app.py" else [])]
    process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    if number == signal.SIGINT:
        signal.signal(number, signal.default_int_handler)
    maps = Path(f"/proc/{process.pid}/maps")
    while "libtorch" not in maps.read_text() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(number)
    out, err = process.communicate()
    assert (process.returncode, out) == (status, "")
    assert re.fullmatch(r"stopped by [^\n]+\n", err.removeprefix("loading ...\n"))


def test_a_setting_written_as_an_option_gets_a_hint(write_settings) -> None:
    env = write_settings()
    for words in (("--epochs", "3"), ("--epochs=3",), ("--epoch", "3")):
        answer = without_torch("train.py", "--env", env, *words)
        assert answer.returncode == 2
        assert re.search(rf"run `epochs=3 \S*python\S* train\.py --env {env}`, or set it in {env}\n$", answer.stderr)
    answer = without_torch("train.py", "--restrat")
    assert "unrecognized arguments: --restrat" in answer.stderr


def test_a_setting_in_the_wrong_case_gets_a_hint(write_settings, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("EPOCHS", "2")
    env = write_settings(save_path=tmp_path)
    first, second = without_torch("train.py", "--env", env).stderr.splitlines()
    assert first == "EPOCHS in the environment changes nothing: settings are lower case, epochs=2"
    assert "no such file" in second
    monkeypatch.setenv("epochs", "2")
    assert without_torch("train.py", "--env", env).stderr.count("\n") == 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_hub_name_without_a_network(script, run, write_settings, tmp_path, monkeypatch) -> None:
    for split in ("train", "valid"):
        (tmp_path / f"{split}_data.safetensors").touch()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with socket.create_server(("127.0.0.1", 0)) as server:  # closed again, so nobody answers there
        nobody = f"http://127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    env = write_settings(data_path=SAMPLE, save_path=tmp_path, model_name="nobody/a-model")
    named = () if script in SCRIPTS[:2] else ("--model", "nobody/a-model")
    outcome = run(importlib.import_module(script.removesuffix(".py")).main, "--env", env, *named)
    option = "--model " if named else "model_name = "
    reason = (
        f"not on this machine, and {nobody} cannot be reached: go online, or name a folder (start its path with ./)"
    )
    assert (outcome.status, outcome.out, outcome.line) == (2, "", f"error: {option}nobody/a-model: {reason}")


@pytest.mark.parametrize("script", [*SCRIPTS, "import_dialogues.py"])
def test_variables_of_processes_that_cannot_meet(script, run, monkeypatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    arguments = ["talks.txt", "--to", "there"] if script == "import_dialogues.py" else []
    outcome = run(importlib.import_module(script.removesuffix(".py")).main, *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err == (
        "error: the environment has RANK=1, WORLD_SIZE=2 without MASTER_ADDR, MASTER_PORT: start several processes "
        "with torchrun, or a single one with `unset RANK WORLD_SIZE`\n"
    )
