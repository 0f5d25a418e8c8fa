"""personagpt/study/settings.py: study.toml, read; and each mistake in it as one line that names file and key."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from personagpt.errors import UserError
from personagpt.model.api_settings import Api, Drawing
from personagpt.model.sampling import Sampling
from personagpt.study.questions import FIVE
from personagpt.study.settings import read_study
from tests.helpers import ROOT, SAMPLE, keep_from_the_hub

VALID = SAMPLE / "valid_both_original_no_cands.txt"
TOP = 'name = "s"\ntitle = "A study"\nconsent = "consent.txt"\nturns = 2\n'
ONE = '[[condition]]\nname = "a"\n'
API = 'url = "http://127.0.0.1:8000/v1"\napi_model = "large-1"\n'


@pytest.fixture
def read(tmp_path):  # noqa: ANN201
    """read(text) reads a study.toml of this text, beside a consent text."""

    def call(text: str) -> object:
        (tmp_path / "consent.txt").write_text("you agree\n")
        (tmp_path / "study.toml").write_text(text)
        return read_study(tmp_path / "study.toml", VALID, lambda: "the default")

    return call


def test_the_example_works_with_the_demo() -> None:
    study = read_study(ROOT / "data" / "study.toml", VALID, lambda: "the demo")
    usual, cautious, person = study.conditions
    assert (study.name, study.turns, len(study.personas)) == ("pilot", 6, 160)
    assert (study.wait, study.away, study.letters_per_second) == (20, 60, 4)
    assert study.consent.startswith("You will talk")
    assert (usual.model, usual.sampling) == ("the demo", Sampling())
    assert cautious.sampling == Sampling(temperature=0.5, top_k=5)
    assert (person.model, study.with_person, study.programs) == (None, person, [usual, cautious])
    assert study.condition_of(study.source(cautious)) == cautious
    assert study.condition_of("study:other:usual") is None


def test_the_examples_in_the_comments_of_the_example_work(tmp_path) -> None:
    text = re.sub(r"^# (?=\[\[|\w+ = )", "", (ROOT / "data" / "study.toml").read_text(), flags=re.MULTILINE)
    (tmp_path / "study.toml").write_text(text)
    shutil.copy(ROOT / "data" / "consent.txt", tmp_path)
    shutil.copy(VALID, tmp_path)
    study = read_study(tmp_path / "study.toml", tmp_path / "none", lambda: "the demo")
    assert (study.talks, study.language, len(study.personas)) == (3, "en", 160)
    assert "C1A2B3" in study.closing
    assert [question.name for question in study.questions] == ["humour"]


def test_questions_closing_language_and_number_of_talks(read) -> None:
    usual = read(TOP + ONE)
    assert (usual.questions, usual.closing, usual.language, usual.talks) == (FIVE, "", "en", None)
    text = TOP + 'talks = 3\nclosing = "Your code: C1"\nlanguage = "de"\n' + ONE
    study = read(text + '[[question]]\nname = "remarks"\ntext = "Und?"\nopen = true\n')
    assert (study.closing, study.language, study.talks) == ("Your code: C1", "de", 3)
    assert [question.name for question in study.questions] == ["remarks"]


def test_a_trial_has_no_pauses_and_says_so(read) -> None:
    study = read(TOP + ONE)
    trial = study.for_trial()
    assert (trial.title, trial.wait, trial.letters_per_second, trial.is_trial) == ("A study (trial)", 3.0, 0.0, True)
    assert (study.is_trial, trial.conditions) == (False, study.conditions)


def test_a_condition_has_a_model_and_how_it_replies(read, tmp_path, monkeypatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    keep_from_the_hub(tmp_path / "model", tmp_path, monkeypatch)
    other = '[[condition]]\nname = "b"\nmodel = "nobody/a-model"\n'
    study = read(TOP + ONE + 'model = "model"\nhistory = 4\ntop_p = 1\n' + other)
    assert [one.model for one in study.conditions] == [str(tmp_path / "model"), "nobody/a-model"]
    assert (study.conditions[0].history, study.conditions[0].sampling.top_p) == (4, 1)
    assert study.with_person is None


def test_a_condition_behind_an_api(read, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-1")
    (tmp_path / "prompt.txt").write_text("Play {facts}")
    (far,) = read(TOP + ONE + API + 'key_env = "SOME_KEY"\nprompt = "prompt.txt"\nhistory = 4\ntop_p = 1\n').conditions
    told = "SOME_KEY", "Play {facts}", "", Drawing(top_p=1)
    assert far.model == Api("http://127.0.0.1:8000/v1", "large-1", *told)
    assert far.history == 4
    # How people's words are written follows the first model on this machine, or else the personas' text.
    assert read(TOP + ONE + API).writing.bring("Hi! I am Bob.") == "hi ! i am bob ."
    assert read(TOP + ONE + API + ONE.replace('"a"', '"b"')).writing is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "not a TOML file"),
        ("", "name, title, consent, turns, condition missing; add name = ..."),
        (TOP, "condition missing; add [[condition]]"),
        (TOP + "tunrs = 3\n" + ONE, "unknown key 'tunrs'; the nearest known one is 'turns'"),
        (TOP.replace("2", "0") + ONE, "turns = 0 is not allowed; expected a whole number from 1 to 100"),
        (TOP.replace("2", "true") + ONE, "turns = True is not allowed"),
        (TOP.replace("2", "2.0") + ONE, "turns = 2.0 is not allowed"),
        (TOP.replace('"s"', '"a:b"') + ONE, "name = 'a:b' is not allowed; expected 1 to 40 letters"),
        (TOP.replace('"A study"', '" "') + ONE, "title = ' ' is not allowed; expected 1 to 200 letters"),
        (
            TOP.replace("A study", "long" * 1250) + ONE,
            "longlonglonglonglonglonglongl...' is not allowed; expected 1 to 200 letters",
        ),
        (TOP.replace("consent.txt", "none.txt") + ONE, "none.txt: cannot read it: No such file"),
        (TOP.replace("consent.txt", "empty.txt") + ONE, "consent = 'empty.txt': the file is empty"),
        (TOP + "wait = nan\n" + ONE, "wait = nan is not allowed; expected seconds, 0 to 3600"),
        (
            TOP + "wait = 0\n" + ONE + '[[condition]]\nname = "b"\npartner = "person"\n',
            "wait = 0: nobody would ever meet another participant; expected some seconds",
        ),
        (TOP + "away = 1\n" + ONE, "away = 1 is not allowed"),
        (TOP + "talks = 0\n" + ONE, "talks = 0 is not allowed; expected a whole number from 1 to 200"),
        (TOP + 'closing = " "\n' + ONE, "closing = ' ' is not allowed; expected 1 to 5000 letters"),
        (TOP + 'language = "Deutsch!"\n' + ONE, "is not allowed; expected a code such as 'en', 'de' or 'pt-BR'"),
        (TOP + "question = 1\n" + ONE, "question = 1 is not allowed; expected one or more [[question]] tables"),
        (TOP + ONE + '[[question]]\nname = "a"\n', "question 1: text missing"),
        (TOP + 'letters_per_second = "4"\n' + ONE, "letters_per_second = '4' is not allowed"),
        (TOP + 'personas = "none.txt"\n' + ONE, "personas = 'none.txt': there is no file"),
        (TOP + 'personas = "few.txt"\n' + ONE, "few.txt has 2 different personas; at least 3 are needed"),
        (TOP + "condition = []\n", "condition = [] is not allowed; expected one or more [[condition]] tables"),
        (TOP + "condition = [1]\n", "condition 1: expected a [[condition]] table"),
        (TOP + "[[condition]]\n", "condition 1: name missing"),
        (TOP + '[[condition]]\nname = "a b"\n', "condition 1: name = 'a b' is not allowed"),
        (TOP + ONE + ONE, "condition 2: name = 'a' is another condition's"),
        (
            TOP + ONE + "temprature = 1\n",
            "condition 'a': unknown key 'temprature'; the nearest known one is 'temperature'",
        ),
        (
            TOP + ONE + "talks = 3\n",
            "condition 'a': talks is a key of the study: move it above the first [[...]] table",
        ),
        (TOP + ONE + '[[question]]\nname = "a"\nclosing = "x"\n', "question 1: closing is a key of the study: move it"),
        (TOP + ONE + "top_k = -1\n", "condition 'a': top_k -1: expected 0"),
        (TOP + ONE + 'top_p = "1"\n', "condition 'a': top_p '1': expected a number"),
        (TOP + ONE + "history = -1\n", "condition 'a': history = -1 is not allowed"),
        (TOP + ONE + 'model = "./none"\n', "condition 'a': model = ./none: there is no such folder"),
        (TOP + ONE + 'model = "empty"\n', "no model in this folder (config.json is missing)"),
        (TOP + ONE + "model = 5\n", "condition 'a': model = 5 is not allowed"),
        (TOP + ONE + 'partner = "human"\n', "condition 'a': partner = 'human' is not allowed; expected 'person'"),
        (TOP + ONE + 'partner = "person"\ntop_k = 5\n', "condition 'a': top_k is about a model's replies"),
        (TOP + ONE + API + "top_k = 5\n", "condition 'a': top_k is about a model or a person, and here the partner"),
        (TOP + ONE + API + "model = 'x'\n", "condition 'a': model is about a model or a person"),
        (TOP + ONE + 'url = "http://x"\n', "condition 'a': api_model missing; add api_model = ..."),
        (TOP + ONE + API + 'key_env = "NO_SUCH_KEY"\n', "condition 'a': key_env: the environment has no variable"),
        (TOP + ONE + API + 'prompt = "empty.txt"\n', "condition 'a': prompt = 'empty.txt': the file has no {facts}"),
        (TOP + ONE + API + "temperature = 3\n", "condition 'a': temperature = 3 is not allowed; expected 0 to 2"),
        (TOP + ONE + API + "wait = 3\n", "condition 'a': wait is a key of the study"),
        (TOP + ONE + "prompt = 'x'\n", "condition 'a': prompt goes with url and api_model"),
        (
            TOP + ONE + 'partner = "person"\n[[condition]]\nname = "b"\npartner = "person"\n',
            "condition 'b': partner = 'person': only one condition may have it",
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(read, tmp_path, text, words) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "few.txt").write_text("1 your persona: i am old.\n2 partner's persona: i am young.\n3 hi\thi\n")
    with pytest.raises(UserError) as caught:
        read(text)
    line = str(caught.value)
    assert words in line
    assert "\n" not in line
    assert str(tmp_path / "study.toml") in line


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(UserError, match=r"none\.toml: cannot read it: No such file"):
        read_study(tmp_path / "none.toml", VALID, str)
    (tmp_path / "latin").write_bytes(b'title = "\xe9"')
    with pytest.raises(UserError, match=r"latin:1: byte 0xe9 is not UTF-8"):
        read_study(tmp_path / "latin", VALID, str)


def test_a_model_that_is_not_there_yet(tmp_path, read) -> None:
    def default() -> str:
        raise UserError("no trained model there yet")

    read(TOP + ONE)
    with pytest.raises(UserError, match=r"study.toml: condition 'a': no trained model there yet"):
        read_study(tmp_path / "study.toml", VALID, default)


def test_a_mistake_ends_the_script_before_torch(tmp_path, write_settings) -> None:
    env = write_settings(save_path=tmp_path / "save", data_path=SAMPLE)
    (tmp_path / "study.toml").write_text(TOP + ONE)
    program = (
        "import sys, runpy; sys.argv = ['app.py', *sys.argv[1:]]\n"
        "try: runpy.run_path('app.py', run_name='__main__')\n"
        "except SystemExit as end: assert 'torch' not in sys.modules; raise"
    )
    command = [sys.executable, "-c", program, "--env", env, "--study", tmp_path / "study.toml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}/study.toml: condition 'a': {tmp_path}/save/checkpoint/model: no trained")
