"""detect.py: what it prints and writes, and the mistakes that get one line."""

import json
import re

import pytest

import detect
from personagpt.records.database import Recordings
from personagpt.records.talks import Turn
from personagpt.settings import TEXT_NAMES, read_settings
from personagpt.text.convai2 import read_corpus
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
    load_model(str(base), len(tokenizer)).save_pretrained(model)
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
    for talks in play(session, personas, 10, 4):
        recordings.save(*talks)
    return env


@pytest.fixture
def text(sample):  # noqa: ANN201
    return sample / TEXT_NAMES["valid"]


def test_programs_are_told_from_people_and_the_detector_judges_others(run, played, text, tmp_path) -> None:
    """An untrained model babbles: every marker tells it from people."""
    found = run(detect.main, "--env", played, "--people", text)
    assert found.status == 0
    assert re.search(r"^20 sides of programs, 160 of people; of each its first 2 utterances$", found.out, re.MULTILINE)
    path = played.parent / "save" / "samples" / "detector.json"
    saved = json.loads(path.read_text())
    assert [row["utterances"] for row in saved["by_utterances"]] == [1, 2]
    assert saved["by_utterances"][1]["auc"] > 0.95
    assert saved["by_utterances"][1]["low"] <= saved["by_utterances"][1]["auc"] <= saved["by_utterances"][1]["high"]
    assert "seconds" not in saved["markers"]  # nobody knows them of the text
    assert {"persona_words", "surprise", "questions"} < set(saved["markers"])
    listed = re.findall(r"^(\w+) +([+-]\d\.\d\d)   ", found.out, re.MULTILINE)
    assert {name: float(weight) for name, weight in listed} == {
        name: pytest.approx(part["weight"], abs=0.006) for name, part in saved["markers"].items()
    }
    sizes = [abs(float(weight)) for _, weight in listed]
    assert sizes == sorted(sizes, reverse=True)

    judged = run(detect.main, "--env", played, "--score", text)
    assert judged.status == 0
    shares = [float(share) for share in re.findall(r"^ *([\d.]+) %   valid_both", judged.out, re.MULTILINE)]
    assert len(shares) == 160
    assert sum(share > 50 for share in shares) <= 8
    assert f"{sum(share > 50 for share in shares)} of 160 sides are likelier a program's" in judged.out
    talks = Recordings(played.parent / "save" / "conversations").talks()
    (tmp_path / "talks.jsonl").write_text("".join(talk.line() for talk in talks))
    judged = run(detect.main, "--env", played, "--score", tmp_path / "talks.jsonl")
    shares = [float(share) for share in re.findall(r"^ *([\d.]+) %   \w+, ", judged.out, re.MULTILINE)]
    assert len(shares) == 20
    assert sum(share > 50 for share in shares) >= 18

    path.write_text(path.read_text().replace(saved["model_checksum"], "another"))
    other = run(detect.main, "--env", played, "--score", text)
    assert (other.status, other.err.count("\n")) == (2, 1)
    assert "not the model that the detector was trained with" in other.err
    path.write_text(json.dumps(saved | {"markers": {"words": {}}}))
    assert "not a detector of detect.py" in run(detect.main, "--env", played, "--score", text).err
    path.write_text(json.dumps(saved | {"markers": saved["markers"] | {"seconds": saved["markers"]["words"]}}))
    lacking = run(detect.main, "--env", played, "--score", text).err
    assert "times missing, but the detector uses them (seconds)" in lacking


def test_shuffled_labels_tell_nothing_and_save_nothing(run, played, text, tmp_path) -> None:
    out = tmp_path / "d.json"
    found = run(detect.main, "--env", played, "--people", text, "--shuffle", "--detector", out)
    assert found.status == 0
    low, high = map(float, re.findall(r"^ +2 .*   ([\d.]+) to ([\d.]+)$", found.out, re.MULTILINE)[0])
    assert low < 0.5 < high
    assert not out.exists()


def test_recorded_talks_alone(run, played, tmp_path) -> None:
    """Of the humans nobody knows a persona, so no marker looks at one; of all of them there are times."""
    talks = []
    for number in range(20):
        talk = make_talk()
        talk.id, talk.partner, talk.partner_persona, talk.flags = f"t{number}", "human", [], []
        talk.persona = [f"i am {number} ."]
        said = ["hello", "i ski", f"what else {number}", "i swim"]
        talk.turns = [
            Turn(("human", "model")[i % 2], text, f"2026-01-01T10:00:0{i}+00:00") for i, text in enumerate(said)
        ]
        talks.append(talk)
    (tmp_path / "talks.jsonl").write_text("".join(talk.line() for talk in talks))
    out = tmp_path / "d.json"
    found = run(detect.main, "--env", played, "--talks", tmp_path / "talks.jsonl", "--detector", out)
    assert found.status == 0
    assert "not every side has a persona: no marker looks at it" in found.out
    saved = json.loads(out.read_text())
    assert "seconds" in saved["markers"]
    assert "persona_words" not in saved["markers"]
    assert not saved["with_personas"]
    assert saved["by_utterances"][-1]["auc"] == 1.0
    for talk in talks:
        talk.persona = ["i have a dog ."]
    (tmp_path / "talks.jsonl").write_text("".join(talk.line() for talk in talks))
    found = run(detect.main, "--env", played, "--talks", tmp_path / "talks.jsonl", "--detector", out)
    assert found.status == 2
    assert found.line == (
        "error: all sides of programs, or of people, share a persona: there is no other one to learn from"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--people", "nowhere.txt"], "--people nowhere.txt: there is no such file"),
        (["--score", "nowhere.txt"], "--score nowhere.txt: there is no such file"),
        (["--talks", "nowhere.txt"], "--talks nowhere.txt: there is no such file"),
        (["--talks", "{text}"], "valid_both_original_no_cands.txt:1: no talk as interact.py --export writes it"),
        (["--score", "{text}", "--detector", "nowhere.json"], "nowhere.json: no detector there"),
        (["--model", "./nowhere", "--people", "{text}"], "there is no such folder"),
        ([], "0 sides of people: at least 20 are needed; add some with --people FILE"),
    ],
)
def test_a_mistake_is_one_line(run, played, text, arguments, words) -> None:
    outcome = run(detect.main, "--env", played, *(part.format(text=text) for part in arguments))
    assert outcome.status == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
