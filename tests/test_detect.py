"""detect.py: what it prints and writes, and the mistakes that get one line."""

import json
import re

import pytest

import detect
from personagpt.detection import learning, validation
from personagpt.records.database import Recordings
from personagpt.settings import TEXT_NAMES, read_settings
from personagpt.text.convai2 import read_corpus
from tests.helpers import copy_base, write_data
from tests.records.making import make_talk


@pytest.fixture(scope="module")
def played(tmp_path_factory, base, tokenizer, sample):  # noqa: ANN201
    """A settings file whose save_path has an untrained model and 10 self-plays: 20 sides of programs."""
    from personagpt.model.loading import load_model, load_trained
    from personagpt.model.sampling import Sampling
    from personagpt.talking.self_play import play
    from personagpt.talking.session import Session

    folder = tmp_path_factory.mktemp("detect")
    model = folder / "save" / "checkpoint" / "model"
    load_model(str(copy_base(folder / "base", 0.0)), len(tokenizer)).save_pretrained(model)
    tokenizer.save_pretrained(model)
    env = folder / ".env"
    values = {"save_path": folder / "save", "data_path": sample, "model_name": base, "epochs": 1, "learn_rate": 1e-3}
    values |= {"gradient_accumulation_steps": 1, "batch_size": 1, "weight_decay": 0.0, "logging_steps": 1}
    env.write_text("".join(f"{key} = '{value}'\n" for key, value in values.items()) + "save_steps = 1\n")
    trained = load_trained(str(model), read_settings(env))
    dialogues = read_corpus(sample / TEXT_NAMES["valid"]).dialogues
    personas = [dialogue.personas for dialogue in dialogues if all(dialogue.personas)]
    recordings = Recordings(folder / "save" / "conversations")
    session = Session(trained, Sampling(max_new_tokens=8), 3, recordings, as_typed=True)
    assert sum(map(len, play(session, personas, 10, 6))) == 10
    return env


@pytest.fixture(autouse=True)
def quick_figures(monkeypatch) -> None:
    """Cut the sides once, into few inner parts, shuffle eight times, try one strength: figures need not be narrow."""
    monkeypatch.setattr(validation, "CUTS", 1)
    monkeypatch.setattr(validation, "SHUFFLES", 8)
    monkeypatch.setattr(learning, "STRENGTHS", (10.0,))
    monkeypatch.setattr(learning, "INNER", 3)


@pytest.fixture
def text(sample):  # noqa: ANN201
    return sample / TEXT_NAMES["valid"]


@pytest.fixture
def short_text(tmp_path):  # noqa: ANN201
    """The first 30 dialogues of that text: 60 sides."""
    write_data(tmp_path, valid=30)
    return tmp_path / TEXT_NAMES["valid"]


def test_programs_are_told_from_people_and_the_detector_judges_others(run, played, text, tmp_path) -> None:
    """An untrained model babbles: every marker tells it from people."""
    found = run(detect.main, "--env", played, "--people", text)
    assert found.status == 0
    assert "20 sides of programs, 160 of people\nof each side its utterances 2 to 3 count\n\n" in found.out
    path = played.parent / "save" / "samples" / "detector.json"
    saved = json.loads(path.read_text())
    assert [row["utterances"] for row in saved["by_utterances"]] == [1, 2]
    told = saved["by_utterances"][1]
    assert told["auc"] > 0.95
    assert told["low"] is None or told["low"] <= told["auc"] <= told["high"]  # None: every pair is won
    assert "seconds" not in saved["markers"]  # nobody knows them of the text
    assert {"persona_words", "surprise", "questions"} < set(saved["markers"])
    first_view = found.out.split("marker, made alike")[0]
    listed = re.findall(r"^(\w+) +([+-]\d\.\d\d)   ", first_view, re.MULTILINE)
    assert {name: float(weight) for name, weight in listed} == {
        name: pytest.approx(part["weight"], abs=0.006) for name, part in saved["markers"].items()
    }
    assert set(saved["alike"]["markers"]) == set(saved["markers"])
    assert "\nthe text as written\n" in found.out
    assert "\nthe text made alike\n" in found.out
    assert path.with_suffix(".png").stat().st_size > 10_000
    assert path.with_suffix(".pdf").is_file()
    sizes = [abs(float(weight)) for _, weight in listed]
    assert sizes == sorted(sizes, reverse=True)

    judged = run(detect.main, "--env", played, "--score", text)
    assert judged.status == 0
    shares = [float(share) for share in re.findall(r"^ *([\d.]+) % +[\d.]+ %   valid_both", judged.out, re.MULTILINE)]
    assert len(shares) == 160
    assert sum(share > 50 for share in shares) <= 8
    assert f"{sum(share > 50 for share in shares)} of 160 sides are likelier a program's" in judged.out
    assert "truth" not in judged.out  # a text does not say who wrote it
    assert "the detector learnt from the talks, personas or participants of 160 of these sides" in judged.out
    talks = Recordings(played.parent / "save" / "conversations").talks()
    talks[0].turns[2].corrected = True
    talks[1].turns = talks[1].turns[:5]
    person = make_talk("hi", "hello", *["i ski a lot .", "so do i ."] * 2, partner_persona=["i ski ."])
    (tmp_path / "talks.jsonl").write_text("".join(talk.line() for talk in [*talks, person]))
    judged = run(detect.main, "--env", played, "--score", tmp_path / "talks.jsonl")
    rows = re.findall(r"^ *([\d.]+) % +[\d.]+ %   (program|person) +\w+, (\w+) speaker: ", judged.out, re.MULTILINE)
    programs = [float(share) for share, truth, _ in rows if truth == "program"]
    assert [(truth, speaker) for _, truth, speaker in rows[-2:]] == [("person", "first"), ("program", "second")]
    assert len(programs) == 19  # of 10 self-plays 18, and the person's partner
    right = sum(share > 50 for share in programs)
    assert right >= 16
    assert f"programs: {right} of 19 judged rightly\n" in judged.out
    (of_person,) = [float(share) for share, truth, _ in rows if truth == "person"]
    assert f"\npeople: {int(of_person <= 50)} of 1 judged rightly\n" in judged.out
    assert "left out: 1 side with a reply that a person corrected\n" in judged.out
    assert "left out: 1 side shorter than 3 utterances\n" in judged.out

    person.turns[2].text = "word " * 2000
    (tmp_path / "talks.jsonl").write_text(person.line())
    assert run(detect.main, "--env", played, "--score", tmp_path / "talks.jsonl").status == 0
    person.turns = person.turns[:4]
    (tmp_path / "talks.jsonl").write_text(person.line())
    short = run(detect.main, "--env", played, "--score", tmp_path / "talks.jsonl")
    assert (short.status, short.err.count("\n")) == (2, 1)
    assert "no side to judge; the detector needs 3 utterances of a speaker" in short.err

    path.write_text(path.read_text().replace(saved["model_checksum"], "another"))
    other = run(detect.main, "--env", played, "--score", text)
    assert (other.status, other.err.count("\n")) == (2, 1)
    assert "not the model that the detector was trained with" in other.err
    for hostile in (
        "",
        "[]",
        "{",
        json.dumps(saved | {"utterances": float("inf")}),
        json.dumps(saved | {"model": "\0"}),
        json.dumps(saved | {"ngrams": {"intercept": 0.0, "grams": {"char a": [1e300, 1.0]}}}),
        json.dumps(saved | {"ngrams": {"intercept": 0.0, "grams": {}}}),
        json.dumps(saved | {"alike": None}),
    ):
        path.write_text(hostile)
        told = run(detect.main, "--env", played, "--score", text)
        assert (told.status, told.err.count("\n")) == (2, 1)
    with_seconds = {"markers": saved["markers"] | {"seconds": saved["markers"]["words"]}}
    path.write_text(json.dumps(saved | with_seconds | {"alike": saved["alike"] | with_seconds}))
    lacking = run(detect.main, "--env", played, "--score", text).err
    assert "times missing, but the detector uses them (seconds)" in lacking


def test_shuffled_labels_tell_nothing_and_save_nothing(run, played, short_text, tmp_path) -> None:
    out = tmp_path / "d.json"
    found = run(detect.main, "--env", played, "--people", short_text, "--shuffle", "--detector", out)
    assert found.status == 0
    assert "no participant, labels shuffled:" in found.out
    low, high = map(float, re.findall(r"^ +2 .*   ([\d.]+) to ([\d.]+) ", found.out, re.MULTILINE)[0])
    assert low < 0.5 < high
    assert not out.exists()


def test_people_who_talk_second_are_not_told_from_people_who_talk_first(run, played, shared, tmp_path) -> None:
    """200 real dialogues of people as recorded talks, in which the second speaker passes for a model."""
    talks = []
    for number, dialogue in enumerate(read_corpus(shared / "convai2" / TEXT_NAMES["train"]).dialogues[:200]):
        first, second = dialogue.personas
        said = dialogue.utterances[:6]
        talks.append(make_talk(*said, partner_persona=first, persona=second, id=f"t{number}"))
    (tmp_path / "talks.jsonl").write_text("".join(talk.line() for talk in talks))
    out = tmp_path / "d.json"
    assert run(detect.main, "--env", played, "--talks", tmp_path / "talks.jsonl", "--detector", out).status == 0
    saved = json.loads(out.read_text())
    assert {"echoes", "persona_words", "surprise"} < set(saved["markers"])
    assert "seconds" not in saved["markers"]
    assert [row["utterances"] for row in saved["by_utterances"]] == [1, 2]
    for row in saved["by_utterances"]:
        assert row["low"] < 0.5 < row["high"] < row["low"] + 0.25


def test_the_check_by_place_saves_nothing(run, played, short_text, tmp_path) -> None:
    options = detect.command_line(["--people", str(short_text), "--by-place"])
    sides, _ = detect.sides_to_learn_from(options, read_settings(played))
    assert {(side.speaker, side.is_program) for side in sides} == {(0, False), (1, True)}
    out = tmp_path / "d.json"
    found = run(detect.main, "--env", played, "--people", short_text, "--by-place", "--detector", out)
    assert found.status == 0
    assert re.search(r"^\d+ sides of people who talk second, \d+ of people who talk first$", found.out, re.MULTILINE)
    low, high = map(float, re.findall(r"^ +1 .*   ([\d.]+) to ([\d.]+) ", found.out, re.MULTILINE)[0])
    assert low < 0.5 < high
    assert not out.exists()


def test_each_program_is_judged_by_detectors_that_never_saw_it(run, played, short_text, tmp_path) -> None:
    """Two programs that say much the same: what was learnt of the other tells each from people."""
    talks = []
    for number in range(24):
        said = ["hello", f"who are you {number % 5} !?", "i ski", f"i am a robot {number % 7} !?"] * 2
        talks.append(make_talk(*said, id=f"t{number}", persona=[f"i am {number} ."]))
        talks[-1].model = f"robot-{number % 2}"
    (tmp_path / "talks.jsonl").write_text("".join(talk.line() for talk in talks))
    out = tmp_path / "d.json"
    arguments = ["--env", played, "--people", short_text, "--talks", tmp_path / "talks.jsonl", "--detector", out]
    found = run(detect.main, *arguments, "--leave-out", "program", "--baseline", "--utterances", "2")
    assert found.status == 0
    assert "\nthe text as written, 2 utterances seen\nprogram left out   sides   accuracy " in found.out
    rows = re.findall(r"^robot-([01]) +(\d+) +[\d.]+ % +([\d.]+) .* ([\d.]+)$", found.out, re.MULTILINE)
    assert [(name, count) for name, count, _, _ in rows] == [("0", "12"), ("1", "12")] * 2
    assert min(float(auc) for _, _, auc, _ in rows) > 0.9
    assert "\nall programs: AUC " in found.out
    assert "of 20 sides or more" not in found.out
    assert not out.exists()


def recorded_talks() -> list:
    """Twenty talks of people with a model, whose times another program measured."""
    talks = []
    for number in range(20):
        said = ["hello", "i ski", f"what else {number}", "i swim"]
        talk = make_talk(*said, id=f"t{number}", source="elsewhere", persona=[f"i am {number} ."])
        talk.started = f"2026-01-01T10:{number:02}:00+00:00"  # talks with the same start may go on from each other
        for second, turn in enumerate(talk.turns):
            turn.time = f"2026-01-01T10:00:{second:02}+00:00"
        talks.append(talk)
    return talks


def test_recorded_people_join_a_text_only_when_asked(run, played, short_text, tmp_path) -> None:
    (tmp_path / "talks.jsonl").write_text("".join(talk.line() for talk in recorded_talks()))
    out = tmp_path / "d"
    arguments = ["--env", played, "--people", short_text, "--talks", tmp_path / "talks.jsonl", "--detector", out]
    found = run(detect.main, *arguments)
    assert (found.status, found.err) == (0, "")
    assert "20 sides of people in the talks are left out; --recorded-people adds them\n20 sides of programs, 60 of" in (
        found.out
    )
    assert "persona_words" in json.loads(out.read_text())["markers"]
    found = run(detect.main, *arguments, "--recorded-people")
    assert found.status == 0
    joined = f"20 sides of people in the talks join those of {short_text}\n"
    assert found.out.startswith(f"{joined}20 sides of programs, 80 of")
    assert "not every side has a persona: no marker looks at it\n" in found.out
    assert "persona_words" not in json.loads(out.read_text())["markers"]


def test_recorded_talks_alone(run, played, tmp_path) -> None:
    """Of the humans nobody knows a persona, so no marker looks at one; of all of them there are times."""
    talks = recorded_talks()
    (tmp_path / "talks.jsonl").write_text("".join(talk.line() for talk in talks))
    out = tmp_path / "d.json"
    found = run(detect.main, "--env", played, "--talks", tmp_path / "talks.jsonl", "--detector", out)
    assert found.status == 0
    assert "of each side its utterance 2 counts\nnot every side has a persona: no marker looks at it\n" in found.out
    assert re.search(r"^ +1 +100.0 % +1.000   none +", found.out, re.MULTILINE)
    saved = json.loads(out.read_text())
    assert "seconds" in saved["markers"]
    assert "persona_words" not in saved["markers"]
    assert (saved["by_utterances"][-1]["auc"], saved["by_utterances"][-1]["low"]) == (1.0, None)
    for talk in talks:
        talk.persona = ["i have a dog ."]
    (tmp_path / "talks.jsonl").write_text("".join(talk.line() for talk in talks))
    found = run(detect.main, "--env", played, "--talks", tmp_path / "talks.jsonl", "--detector", out)
    assert found.status == 2
    assert found.line == (
        "error: the sides of programs, or of people, share personas or participants: there are no others to learn "
        "from; add talks with others"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--people", "nowhere.txt"], "--people nowhere.txt: there is no such file"),
        (["--score", "nowhere.txt"], "--score nowhere.txt: there is no such file"),
        (["--talks", "nowhere.txt"], "--talks nowhere.txt: there is no such file"),
        (["--talks", "{text}"], "valid_both_original_no_cands.txt:1: no talk as interact.py --export writes it"),
        (["--score", "{text}", "--detector", "nowhere.json"], "nowhere.json: no detector there"),
        (["--score", "{text}", "--detector", "{text}"], "not a detector of this version of detect.py; train one again"),
        (["--score", "{text}", "--shuffle"], "--shuffle is for learning: leave it out beside --score"),
        (["--people", "{text}", "--detector", "."], ".: there is a folder of this name; name another file"),
        (["--score", "{text}", "--leave-out", "program"], "--leave-out is for learning: leave it out beside --score"),
        (["--score", "{text}", "--utterances", "3"], "--utterances is for learning: leave it out beside --score"),
        (["--people", "{text}", "--utterances", "0"], "--utterances 0: expected a whole number from 1"),
        (["--people", "{text}", "--utterances", "9"], "long enough: at least 20 are needed; lower --utterances"),
        (["--people", "{text}", "--leave-out", "program"], "there is no other program to learn from"),
        (["--by-place"], "--by-place needs --people FILE"),
        (["--recorded-people"], "--recorded-people needs --people FILE"),
        (["--model", "./nowhere", "--people", "{text}"], "there is no such folder"),
        ([], "0 sides of people: at least 20 are needed; add some with --people FILE"),
    ],
)
def test_a_mistake_is_one_line(run, played, text, arguments, words) -> None:
    outcome = run(detect.main, "--env", played, *(part.format(text=text) for part in arguments))
    assert outcome.status == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
