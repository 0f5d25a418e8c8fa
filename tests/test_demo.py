"""The embedded recipe: what ships is what it should be, and every script runs on it, with fewer steps."""

from __future__ import annotations

import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import evaluate
import interact
import preprocess_dataset
import train
from data.sample import make_database, make_sample
from data.sample.templates import FAREWELLS, GREETINGS
from personagpt.files import file_checksum
from personagpt.sequences.goals import GoalDraw, count_followed, goals_checksum, read_goals
from personagpt.settings import read_settings
from personagpt.text.convai2 import read_corpus
from tests.helpers import write_data


def test_the_base_is_small_and_knows_no_persona(base: Path) -> None:
    from transformers import AutoTokenizer

    assert sum(path.stat().st_size for path in base.iterdir()) <= 3_000_000
    tokenizer = AutoTokenizer.from_pretrained(base)
    assert "<|p1|>" not in tokenizer.get_vocab()
    text = "any text: ünïcode 漢字 🙂\x00"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_corpus_is_what_its_script_writes(sample: Path) -> None:
    for path, expected in zip(
        (make_sample.TRAIN_FILE, make_sample.VALID_FILE), make_sample.make_corpora(), strict=True
    ):
        found = make_sample.read_corpus(path)
        assert len(read_corpus(path).dialogues) == len(found)
        assert [list(map(list, d.personas)) for d in expected] == [list(map(list, d.personas)) for d in found]
        assert [list(d.utterances) for d in expected] == [list(d.utterances) for d in found]


def test_the_text_is_in_convai2s_style() -> None:
    for dialogue in make_sample.read_corpus(make_sample.TRAIN_FILE):
        for fact in [*dialogue.personas[0], *dialogue.personas[1]]:
            assert re.fullmatch(r"[a-z ,]*[a-z]\.", fact)
        for utterance in dialogue.utterances:
            assert re.fullmatch(r"(([a-z]+|,) )+[.!?]( (([a-z]+|,) )+[.!?])*", utterance)


def test_talks_vary_in_length_and_no_question_is_answered_by_a_farewell() -> None:
    corpus = make_sample.read_corpus(make_sample.TRAIN_FILE)
    lengths = Counter(len(dialogue.utterances) // 2 for dialogue in corpus)
    assert sorted(lengths) == list(range(3, 13))
    assert min(lengths.values()) > 50
    endings = Counter()
    for dialogue in corpus:
        says_bye = [utterance.endswith(tuple(FAREWELLS)) for utterance in dialogue.utterances]
        assert not any(says_bye[:-2])
        assert says_bye[-2] == says_bye[-1]
        assert not (says_bye[-2] and dialogue.utterances[-3].endswith("?"))
        endings[says_bye[-1]] += 1
    assert min(endings.values()) > 200


def test_every_word_of_the_corpus_is_one_token(tokenizer) -> None:
    text = make_sample.TRAIN_FILE.read_text("utf-8") + make_sample.VALID_FILE.read_text("utf-8")
    corpus = re.sub(r"^\d+ (your persona: |partner's persona: )?", "", text, flags=re.MULTILINE)
    words = set(re.findall(r" ?[a-z]+", corpus))
    assert [word for word in words if len(tokenizer.tokenize(word)) > 1] == []


def test_validation_personas_never_occur_in_training() -> None:
    def values(path: Path) -> set[frozenset]:
        return {
            frozenset(make_sample.match_fact(fact)[::2] for fact in persona)
            for dialogue in make_sample.read_corpus(path)
            for persona in dialogue.personas
        }

    held_out = values(make_sample.VALID_FILE)
    assert len(held_out) > 100
    assert not held_out & values(make_sample.TRAIN_FILE)


def test_personas_have_one_to_six_facts_on_both_sides() -> None:
    for path in (make_sample.TRAIN_FILE, make_sample.VALID_FILE):
        dialogues = read_corpus(path).dialogues
        for speaker in (0, 1):
            counts = Counter(len(dialogue.personas[speaker]) for dialogue in dialogues)
            assert sorted(counts) == [1, 2, 3, 4, 5, 6]
            assert min(counts.values()) >= 0.05 * len(dialogues)


def test_talks_open_with_a_question_a_greeting_or_both() -> None:
    """A person's first line may be any of the three, so that each kind opens at least one talk in twenty."""
    openings = Counter()
    dialogues = read_corpus(make_sample.TRAIN_FILE).dialogues
    for dialogue in dialogues:
        opening, reply = dialogue.utterances[:2]
        greets, asks = opening.replace(" .", " !").startswith(tuple(GREETINGS)), opening.endswith("?")
        openings[greets, asks] += 1
        assert reply.startswith(tuple(GREETINGS)) == greets
    assert openings.keys() == {(True, True), (True, False), (False, True)}
    assert openings[False, True] >= 0.45 * len(dialogues)
    assert min(openings.values()) >= 0.05 * len(dialogues)


def test_there_are_enough_questions_and_nobody_gives_the_answer_away() -> None:
    corpus = make_sample.read_corpus(make_sample.VALID_FILE)
    questions = [question for question in make_sample.persona_questions(corpus) if not question.uttered]
    assert len(questions) >= 200
    for question in questions:
        dialogue = corpus[question.dialogue]
        assert make_sample.value_of(dialogue.personas[question.speaker], question.kind) == question.value
        assert make_sample.names(dialogue.utterances[question.utterance + 1], question.value)
        said = " ".join(dialogue.utterances[: question.utterance + 1])
        assert not make_sample.names(said, question.value)


def test_every_goal_is_followed_often_enough_to_be_learned(root: Path) -> None:
    settings = read_settings(root / ".env.demo")
    goals = read_goals(settings.goals)
    text = read_corpus(settings.text("train"))
    draw = GoalDraw(goals, count_followed(goals, text, settings.max_turns), settings.seed)
    for dialogue, sides in text:
        for speaker in sides:
            draw.draw(dialogue.utterances[: settings.max_turns], speaker)
    assert min(draw.drawn.values()) >= 50
    assert count_followed(goals, read_corpus(settings.text("valid")), settings.max_turns).total() >= 400


def test_recall_counts_whole_words() -> None:
    assert make_sample.names("i have a cat .", "cat")
    assert not make_sample.names("i have cattle .", "cat")


def test_every_script_on_the_demo(root: Path, tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_data(data, train=60, valid=8)
    for key, value in {
        "save_path": tmp_path / "save",
        "data_path": data,
        "epochs": 2,
        "warmup_steps": 2,
        "logging_steps": 5,
    }.items():
        monkeypatch.setenv(key, str(value))
    env = root / ".env.demo"
    assert read_settings(env).model_name == str(root / "data" / "sample" / "base")
    assert run(preprocess_dataset.main, "--env", env).status == 0
    assert run(train.main, "--env", env).status == 0
    samples = tmp_path / "save" / "samples"
    losses = [float(line.split(",")[2]) for line in (samples / "loss.csv").read_text().splitlines()[1:]]
    assert losses[-1] < losses[0] / 1.5
    assert "persona: " in (samples / "responses.txt").read_text()

    scored = run(evaluate.main, "--env", env, "--generate", 5)
    assert scored.status == 0
    assert "persona_gain" in scored.out
    assert {"word_f1", "goal_hit", "goal_base"} <= json.loads((samples / "eval.json").read_text()).keys()
    assert "word_f1" in (tmp_path / "save" / "checkpoint" / "model" / "README.md").read_text()

    monkeypatch.setattr(sys, "stdin", io.StringIO("hi ! what is your name ?\n"))
    talked = run(interact.main, "--env", env, "--persona", "my name is anna.", "--seed", 1)
    assert talked.status == 0
    assert "model: " in talked.out
    assert run(train.main, "--env", env).out.startswith("already finished")

    database = tmp_path / "database"
    made = run(make_database.main, tmp_path / "save", "--talks", 2, "--folder", database)
    assert (made.status, [path.name for path in tmp_path.glob("database*")]) == (0, ["database"])
    talks = [json.loads(line) for line in (database / "published" / "talks.jsonl").read_text().splitlines()]
    assert Counter(talk["source"] for talk in talks) == {"self-play": 2, "self-play:interview": 16}
    assert {talk["model"].rpartition("-")[0] for talk in talks} == {"save"}
    assert (database / "published" / "README.md").read_text().startswith("---\nlicense: mit\n")


def test_a_database_takes_models_of_the_sample_corpus_only(
    root: Path, base: Path, tokenizer, tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mistake is a line, before a model is loaded and before an earlier database is touched."""
    data, database = tmp_path / "data", tmp_path / "database"
    data.mkdir()
    database.mkdir()
    write_data(data, train=3)
    text = data / "train_both_original_no_cands.txt"
    goals = goals_checksum(read_goals(str(root / "data" / "sample" / "goals.tsv")))

    def write_run(name: str, model_name: Path = base, goals_sha256: str = goals, **data: object) -> Path:
        model = tmp_path / name / "checkpoint" / "model"
        model.mkdir(parents=True, exist_ok=True)
        (model / "config.json").write_text("{}")
        (tmp_path / name / "samples").mkdir(exist_ok=True)
        train = {"text_sha256": file_checksum(text), "goals_sha256": goals_sha256}
        content = {
            "settings": {"data_path": str(text.parent), "model_name": str(model_name)},
            "data": {"train": train} | data,
        }
        (tmp_path / name / "samples" / "run.json").write_text(json.dumps(content))
        return tmp_path / name

    def refused(*runs: Path, **options: object) -> str:
        arguments = [str(value) for name, value in options.items() for value in (f"--{name}", value)]
        outcome = run(make_database.main, *runs, "--folder", database, *arguments)
        assert (outcome.status, outcome.err.count("\n"), outcome.out) == (2, 1, "")
        assert [path.name for path in tmp_path.glob("database*")] == ["database"]
        return outcome.line.removeprefix("error: ")

    part = write_run("part")
    settings = read_settings(root / ".env.demo")
    assert make_database.check_run(write_run("more", part / "checkpoint" / "step-00000003"), settings) == str(base)
    make_database.check_base(str(base))
    tokenizer.save_pretrained(tmp_path / "published")
    assert refused(part, write_run("unknown", tmp_path / "published")).startswith(
        f"{tmp_path / 'published'}: this base learned from persona dialogues that nobody can check; train it with"
    )
    assert refused(part, talks=0) == "TALKS=0: expected 1 or more"
    assert refused(tmp_path / "demo").endswith(
        "no trained model there (checkpoint/model is missing); run `make demo` first"
    )
    assert "no trained model there (checkpoint/model is missing); name the save_path of" in refused(
        part, tmp_path / "x"
    )
    assert "two runs are called part, and so their models would be" in refused(
        part, tmp_path / ".." / tmp_path.name / "part"
    )
    assert "trained without the goals of" in refused(write_run("bare", goals_sha256=""))
    assert "it learned from preferences, too" in refused(write_run("taught", preferences={}))
    based = write_run("based", write_run("bare", goals_sha256="") / "checkpoint" / "step-00000003")
    assert refused(based).startswith(f"{tmp_path / 'bare'}: trained without the goals of")
    text.write_text(text.read_text().replace("i ", "ich "))
    assert f"{part}: the text that it learned from, {text}, is gone or has changed" in refused(part)
    assert refused(write_run("other")) == (
        f"{tmp_path / 'other'}: the text that it learned from, {text}, is not the sample corpus; the license in the "
        "card holds for that corpus only"
    )
    (part / "samples" / "run.json").unlink()
    assert f"{part}: samples/run.json does not say what the model learned from" in refused(part)
    monkeypatch.setenv("data_path", str(data))
    (data / "valid_both_original_no_cands.txt").write_text(text.read_text())
    assert "personas of this text would be published, but it is not the sample corpus" in refused(part)
