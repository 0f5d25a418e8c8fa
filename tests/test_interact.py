"""interact.py: talks with a real (tiny) model through the script's own main()."""

import io
import itertools
import json
import os
import re
import shlex
import signal
import sqlite3
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

import interact
import preprocess_dataset
import train
from personagpt.detection.sides import read_exported
from personagpt.model.sampling import Sampling
from personagpt.records.database import Recordings
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder
from personagpt.sequences.preferences import read_preferences
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import read_corpus, write_corpus
from personagpt.text.style import STYLE, Style, Writing
from tests.api_server import KEY, refusing, serving, streamed
from tests.helpers import SAMPLE
from tests.pseudo_terminal import run_on_terminal
from tests.records.making import make_talk

SAMPLE_TEXT = SAMPLE / "valid_both_original_no_cands.txt"


@pytest.fixture
def settings_file(tmp_path, write_settings, tiny_model, tokenizer, sample):  # noqa: ANN201
    """Settings whose save_path holds a model."""
    folder = tmp_path / "save" / "checkpoint" / "model"
    tiny_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return write_settings(save_path=tmp_path / "save", data_path=sample, model_name=sample / "base")


@pytest.fixture
def chat(run, settings_file, monkeypatch):  # noqa: ANN201
    """chat("hi\\n", "--seed", 7) runs interact.py with this input."""

    def call(typed: str, *arguments: object):  # noqa: ANN202
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return run(interact.main, "--env", settings_file, *arguments)

    return call


@pytest.fixture
def recorded(tmp_path):  # noqa: ANN201
    """The talks recorded so far."""
    return lambda: Recordings(tmp_path / "save" / "conversations").talks()


def replies(outcome) -> list[str]:
    return [line.removeprefix("model: ") for line in outcome.out.splitlines() if line.startswith("model: ")]


DOGS = ("--persona", "i have two dogs.", "--persona", "i work as a nurse.")


def test_a_talk_is_printed_and_recorded(chat, recorded, tmp_path) -> None:
    outcome = chat("hi ! how are you ?\n\nwhat do you do ?\n", *DOGS, "--seed", 7)
    assert outcome.status == 0
    assert outcome.out.startswith("model's persona: i have two dogs. | i work as a nurse.\n")
    (talk,) = recorded()
    assert [turn.speaker for turn in talk.turns] == ["human", "model", "human", "model"]
    assert talk.texts[::2] == ["hi ! how are you ?", "what do you do ?"]
    assert [text.rstrip() for text in replies(outcome)] == talk.texts[1::2]
    assert talk.persona == ["i have two dogs.", "i work as a nurse."]
    assert talk.sampling == {
        "top_k": 10,
        "top_p": 0.92,
        "temperature": 1.0,
        "max_new_tokens": 40,
        "no_repeat": 4,
        "seed": 7,
    }
    assert len(talk.model_checksum) == 64
    assert talk.started <= talk.turns[0].time <= talk.turns[1].time


def test_on_a_terminal_there_is_no_warning_and_the_tab_key_completes(settings_file) -> None:
    program = [sys.executable, "-W", "error", "interact.py", "--env", settings_file, *DOGS]
    said = run_on_terminal(program, "/se\tte\t 0.7\n/quit\n", NO_COLOR="")
    assert "  temperature 0.7\r\n" in said
    assert "Warning" not in said


def test_a_seed_repeats_a_talk_and_another_does_not(chat) -> None:
    typed = "hi ! how are you ?\nwhat do you do ?\n"
    first, again, other = (replies(chat(typed, *DOGS, "--seed", seed)) for seed in (7, 7, 8))
    assert first == again != other


def test_personas_from_everywhere(chat, recorded, tmp_path, sample) -> None:
    file = tmp_path / "persona.txt"
    file.write_text("\ufeffi am old.\r\n\r\ni play the banjo.", encoding="utf-8")
    chat("hi\n", "--persona-file", file)
    chat("\ufeffi like tea.\ni am called tom.\n\nhi\n")
    chat("hi\n", "--random-persona", "--seed", 3)
    first, second, third = (talk.persona for talk in recorded())
    assert first == ["i am old.", "i play the banjo."]
    assert second == ["i like tea.", "i am called tom."]
    personas = [dialogue.personas[1] for dialogue in read_corpus(sample / TEXT_NAMES["valid"]).dialogues]
    assert third in personas


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--persona", " "], "an empty persona"),
        (["--persona", "dogs " * 400], "do not fit into 280 tokens"),
        (["--persona-file", "nowhere.txt"], "nowhere.txt: cannot read it: No such file"),
        (["--top-p", "0"], "--top-p 0.0: expected above 0 and at most 1"),
        (["--top-k", "-1"], "--top-k -1"),
        (["--temperature", "0"], "top_k 1 always takes the most likely token"),
        (["--temperature", "1e-45"], "--temperature 1e-45: expected 0.001 to 1000000 (top_k 1 always takes"),
        (["--temperature", "nan"], "--temperature nan: expected"),
        (["--max-new-tokens", "320"], "the model's context is 320 tokens"),
        (["--turns", "0"], "--turns 0"),
        (["--seed", "-1"], "--seed -1"),
        (["--only-flagged"], "--export FOLDER"),
        (["--source", "app.py"], "--export FOLDER"),
        (["--talks", "3"], "--talks 3: expected 1 or more, with --self-play and without a persona: they are"),
        (["--talks", "3", "--self-play", "--persona", "i ski."], "--talks 3: expected 1 or more, with --self-play and"),
        (["--api", "x.toml"], "--api x.toml: expected used together with --self-play"),
        (["--self-play", "--api", "x.toml"], "x.toml: cannot read it: No such file"),
        (["--teach", "--random-persona"], "--teach: expected without a persona and --self-play: it asks about"),
        (["--teach", "--persona", "i ski."], "--teach: expected without a persona"),
        (["--nli", "m"], "--nli m: expected used together with --teach"),
        (["--teach", "--nli", "./nowhere"], "--nli ./nowhere: there is no such folder"),
        (["--model", "./nowhere"], "there is no such folder"),
        ([], "an empty persona: type at least one fact"),
    ],
)
def test_a_mistake_in_the_command_is_one_line(chat, tmp_path, arguments, words) -> None:
    outcome = chat("", *arguments)
    assert outcome.status == 2
    assert words in outcome.err
    assert outcome.err.removeprefix("loading ...\n").count("\n") == 1
    assert not (tmp_path / "save" / "conversations").exists()


def test_a_table_is_no_persona_file(chat, tmp_path) -> None:
    (tmp_path / "facts.csv").write_text("persona,chat\ni ski.,hi\n")
    outcome = chat("hi\n", "--persona-file", tmp_path / "facts.csv")
    assert (outcome.status, outcome.out) == (2, "")
    assert "this is a table or JSON; expected text with one fact a line" in outcome.err


@pytest.mark.parametrize("option", [("--temperature", "0.001"), ("--temperature", "1e6"), ("--top-p", "1e-300")])
def test_sampling_at_the_ends_of_its_range(chat, option) -> None:
    outcome = chat("hi !\n", *DOGS, *option, "--seed", 1)
    assert outcome.status == 0
    assert replies(outcome)[0]


def test_facts_of_the_text_stay_as_they_are(chat, recorded, tmp_path) -> None:
    style = Style(Writing(1.0, 1.0, 1.0), Writing(1.0, 1.0, 0.5), 5, 6)  # the text's own facts have no space
    (tmp_path / "save" / "checkpoint" / "model" / STYLE).write_text(json.dumps(style.plain()))
    known = [facts for dialogue in read_corpus(SAMPLE_TEXT).dialogues for facts in dialogue.personas]
    chat("Hi!\n/why\n/new\nhi\n", "--random-persona")
    chat("", "--self-play", "--turns", 1, "--persona", "I ski")
    chat("", "--self-play", "--turns", 1, "--talks", 1)
    first, again, mixed, played = recorded()
    assert first.texts[0] == "hi !"
    assert first.persona == again.persona
    assert mixed.persona == ["i ski ."]
    drawn = first.persona, mixed.partner_persona, played.persona, played.partner_persona
    assert all(facts in known for facts in drawn)


def test_how_far_back_the_model_is_shown_the_talk(chat, monkeypatch) -> None:
    shown = []
    context = Encoder.context
    monkeypatch.setattr(Encoder, "context", lambda *rest: shown.append(len(rest[3])) or context(*rest))
    chat("a\nb\nc\n", *DOGS, "--history", 3)
    assert shown[-3:] == [1, 3, 3]
    chat("a\nb\nc\n", *DOGS)
    assert shown[-3:] == [1, 3, 5]
    assert chat("", "--history", -1).err == "error: --history -1: expected 0 (all that fit the context) or more\n"


def test_a_corrected_reply_goes_into_the_export(chat, tmp_path) -> None:
    chat("any pet ?\n/fix i have two dogs .\n", *DOGS)
    chat("", "--export", tmp_path / "text")
    *_, dialogue = read_corpus(tmp_path / "text" / TEXT_NAMES["train"]).dialogues
    assert dialogue.utterances == ["any pet ?", "i have two dogs ."]


def test_text_from_a_pipe_cannot_control_the_terminal(chat) -> None:
    outcome = chat("hi \x1b[31m\n", "--persona", "i am \x1b[31m .")
    assert "\x1b" not in outcome.out + outcome.err
    assert "you: hi  [31m\n" in outcome.out


def test_many_self_plays(chat, recorded, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("personagpt.talking.self_play.TOGETHER", 2)
    options = ["--self-play", "--talks", 3, "--turns", 2, "--seed", 4, "--max-new-tokens", 6, "--goal", "ask about x."]
    outcome = chat("", *options)
    where = f"talks recorded in {tmp_path / 'save' / 'conversations' / 'talks.sqlite'}"
    assert (outcome.status, outcome.out.splitlines()) == (0, [f"2 of 3 {where}", f"3 of 3 {where}"])
    talks = recorded()
    assert [talk.sampling["seed"] for talk in talks] == [4, 5, 6]
    assert talks[0].turns[1].goal == "ask about x."
    chat("", *options)
    assert [talk.texts for talk in recorded()[3:]] == [talk.texts for talk in talks]


def test_a_person_teaches(chat, recorded, tmp_path, nli_folder, monkeypatch) -> None:
    monkeypatch.setattr("personagpt.talking.teaching.POOL", 4)
    monkeypatch.setattr("personagpt.talking.teaching.ASKED", 2)
    options = "--teach", "--seed", 3, "--max-new-tokens", 6, "--goal", "ask about pets.", "--nli", nli_folder
    outcome = chat("\nI have two dogs\n/quit\n", *options)
    assert outcome.status == 0, outcome.err
    assert "[+-] 2 asked, 50% accepted, of the last 2 50%\n" in outcome.out
    accepted, corrected = recorded()
    assert {talk.source for talk in recorded()} == {"teach"}
    assert accepted.turns[1].goal == "ask about pets."
    assert corrected.turns[1].text == "I have two dogs"  # a model without style.json
    assert f"{accepted.id}, {corrected.id}" in outcome.out.splitlines()[-1]
    assert chat("", "--export", tmp_path / "out").status == 0
    (pair,) = read_preferences(tmp_path / "out" / "preferences.jsonl")
    assert (pair.chosen, pair.goal) == ("I have two dogs", "ask about pets.")


def test_nothing_to_teach(chat, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("data_path", str(tmp_path))
    outcome = chat("", "--teach")
    assert outcome.status == 2
    assert "not found, and no talk is recorded: --teach asks about personas and talks from there" in outcome.err
    (tmp_path / TEXT_NAMES["valid"]).write_text("1 your persona: i ski .\n2 hi\tho\n")
    outcome = chat("", "--teach")
    assert outcome.status == 2
    assert "has no question, and no recorded talk has a reply to ask about: talk to the model first" in outcome.err


def test_self_play(chat, recorded) -> None:
    outcome = chat("", "--self-play", "--turns", 5, *DOGS, "--seed", 1)
    assert outcome.status == 0
    (talk,) = recorded()
    assert [turn.speaker for turn in talk.turns] == ["partner", "model", "partner", "model", "partner"]
    assert talk.persona == ["i have two dogs.", "i work as a nurse."]
    assert talk.partner_persona
    assert [line.rstrip() for line in outcome.out.splitlines()[2:7]] == [f"{t.speaker}: {t.text}" for t in talk.turns]
    again = chat("", "--self-play", "--turns", 5, *DOGS, "--seed", 1)
    assert again.out.partition("recorded in")[0] == outcome.out.partition("recorded in")[0]


def test_self_play_with_a_program_behind_an_api(chat, recorded, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    (tmp_path / "prompt.txt").write_text("You play:\n{facts}")
    file = tmp_path / "large.toml"
    with serving(streamed("Hello There!")) as server:
        file.write_text(f'url = "{server.url}"\napi_model = "m"\nkey_env = "TEST_KEY"\nprompt = "prompt.txt"\n')
        outcome = chat("", "--self-play", "--api", file, "--turns", 4, *DOGS, "--seed", 1)
        assert (outcome.status, outcome.out.count("partner: Hello There!")) == (0, 2)
        many = chat("", "--self-play", "--api", file, "--turns", 3, "--talks", 2)
        assert many.status == 0
        server.answers = [streamed("Hello There!"), streamed("Hello There!"), refusing(401, f"{KEY} is wrong")]
        failed = chat("", "--self-play", "--api", file, "--turns", 4, "--talks", 1)
        server.answers = [streamed("Hello There!"), refusing(401, "no")]
        stopped = chat("", "--self-play", "--api", file, "--turns", 4, *DOGS)
        assert (stopped.status, "partner: \n" in stopped.out) == (2, True)  # the error begins a line of its own
    assert (failed.status, failed.err.count("\n")) == (2, 2)  # the first line: loading ...
    assert "the key of key_env is not accepted (HTTP 401): *** is wrong" in failed.err
    one, *two, last = recorded()
    assert [turn.speaker for turn in one.turns] == ["partner", "model"] * 2
    assert [len(talk.turns) for talk in (*two, last)] == [3, 3, 2]  # nothing of the last talk is lost
    assert one.sampling["partner"]["model"] == f"api://127.0.0.1:{server.server_port}/m"
    assert server.requests[1]["messages"][0]["content"] == "You play:\n" + "\n".join(one.partner_persona)
    assert server.requests[1]["seed"] == 1
    assert "seed" not in server.requests[-3]
    texts = [outcome.out, outcome.err, many.out, many.err, failed.out, failed.err]
    bytes_written = b"".join(path.read_bytes() for path in (tmp_path / "save" / "conversations").iterdir())
    assert KEY.encode() not in bytes_written + "".join(texts).encode()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 143), (signal.SIGINT, 130)])
def test_a_talk_that_is_ended_by_a_signal_is_recorded(
    run, settings_file, recorded, monkeypatch, number, status
) -> None:
    def typed(kept: Path, completions: object):  # noqa: ANN202
        yield "hi !\n"
        os.kill(os.getpid(), number)
        yield "never answered\n"

    monkeypatch.setattr(interact, "typed_lines", typed)
    before = signal.getsignal(signal.SIGTERM)
    assert run(interact.main, "--env", settings_file, *DOGS).status == status
    assert len(recorded()[0].turns) == 2
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def run_printed(run, monkeypatch):  # noqa: ANN201
    """run_printed(line) runs the command at the end of a printed line, as it is."""
    mains = {"preprocess_dataset.py": preprocess_dataset.main, "train.py": train.main, "interact.py": interact.main}

    def call(line: str):  # noqa: ANN202
        words = shlex.split(line)
        given = list(itertools.takewhile(lambda word: "=" in word, words))
        python, script, *arguments = words[len(given) :]
        assert "python" in python
        with monkeypatch.context() as patch:
            for word in given:
                patch.setenv(*word.split("=", 1))
            return run(mains[Path(script).name], *arguments)

    return call


def test_the_printed_commands_train_on_from_talks(
    chat, recorded, run_printed, write_settings, settings_file, tmp_path, tokenizer
) -> None:
    """The loop is closed, and what is printed leads through it."""
    old = tmp_path / "old text"
    old.mkdir()
    for split in ("train", "valid"):
        dialogues = read_corpus(SAMPLE / TEXT_NAMES[split]).dialogues[:2]
        (old / TEXT_NAMES[split]).write_text(write_corpus(dialogues))
    model = tmp_path / "save" / "checkpoint" / "model"
    write_settings(settings_file, save_path=tmp_path / "save", data_path=old, learn_rate="3e-3")
    chat("hi !\nwhat do you do ?\n/flag off-topic\n", *DOGS, "--seed", 1)
    outcome = chat("", "--export", tmp_path / "text")
    assert outcome.status == 0
    said, _, printed = outcome.out.splitlines()[-1].partition("; next: ")
    assert said.endswith(f"training goes on from {model}, at a learning rate of 5e-05, epochs = 1")
    outcome = run_printed(printed)
    assert outcome.status == 0
    data = PersonaChatDataset(tmp_path / "text" / "save" / "train_data.safetensors")
    sides = [Encoder(tokenizer).decode(item["input_ids"].tolist()) for item in data]
    talk = recorded()[0].texts[:2]  # cut before the flagged reply
    assert sides[-2:] == [(0, [], talk[:1]), (1, ["i have two dogs.", "i work as a nurse."], talk)]
    assert len(data) == 6
    outcome = run_printed(outcome.out.splitlines()[-1].partition("; next: ")[2])
    assert outcome.status == 0
    start, end = re.findall(r"step (\d+): validation loss (\S+),", outcome.out)
    assert start[0] == "0"
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("talk to it")]
    best = tmp_path / "text" / "save" / "checkpoint" / "best"
    assert (f"--model {best} " in line) == (float(start[1]) < float(end[1]))
    assert run_printed(line.removeprefix("talk to it")).status == 0


def test_without_the_old_text_an_export_says_what_that_means(chat, write_settings, settings_file, tmp_path) -> None:
    write_settings(settings_file, save_path=tmp_path / "save", data_path=tmp_path / "nowhere")
    chat("hi !\n", *DOGS, "--seed", 1)
    outcome = chat("", "--export", tmp_path / "text")
    assert outcome.status == 0
    (line,) = [line for line in outcome.out.splitlines() if line.startswith(str(tmp_path / "nowhere"))]
    assert "not found: the text has the talks alone, and a model that trains on them alone forgets what it knew" in line
    assert "epochs=1 learn_rate=8.33333e-07" in outcome.out


def test_flagged_talks_are_not_there_to_train_on(chat, tmp_path) -> None:
    chat("hi !\n/flag other\n", *DOGS, "--seed", 1)
    outcome = chat("", "--export", tmp_path / "text", "--only-flagged")
    assert outcome.out.endswith("the text has the flagged replies, too: it is there to be read, not to train on\n")
    assert "next:" not in outcome.out


def test_a_self_play_is_exported_when_it_is_asked_for(chat, tmp_path) -> None:
    chat("", "--self-play", "--turns", 2, "--seed", 1)
    outcome = chat("", "--export", tmp_path / "text")
    assert (outcome.status, outcome.err) == (2, "error: no talk to export; record some with interact.py first\n")
    assert outcome.out == "left out: 1 talk of the model with itself; --source self-play exports them\n"
    outcome = chat("", "--export", tmp_path / "text", "--source", "app.py")
    assert "--source app.py: no talk on record is from there; the sources on record: self-play (1 talk)" in outcome.err
    assert "train: 1 talk, 2 utterances, " in chat("", "--export", tmp_path / "a", "--source", "self-play").out


def test_after_flag_retry_and_fix_the_correction_is_exported_once(
    chat, recorded, monkeypatch, tokenizer, tmp_path, sample
) -> None:
    encoder = Encoder(tokenizer)
    texts = ("fine .", "no .", "i have a cat .", "they are old .")
    waiting = [token for text in texts for token in [*encoder.texts([text])[0], encoder.eos]]
    monkeypatch.setattr(Sampling, "draw", lambda *_: torch.tensor([waiting.pop(0)]))
    chat("hi !\nany pet ?\n/flag other\n/retry\n/fix i have two dogs .\nhow are they ?\n", *DOGS)
    assert len(recorded()) == 2
    outcome = chat("", "--export", tmp_path / "text", "--source", "interact.py")
    dialogues = read_corpus(tmp_path / "text" / TEXT_NAMES["train"]).dialogues
    assert [dialogue.utterances for dialogue in dialogues if dialogue.utterances[0] == "hi !"][-1:] == [
        ["hi !", "fine .", "any pet ?", "i have two dogs .", "how are they ?", "they are old ."]
    ]
    assert "train: 1 talk, 6 utterances, and 500 of the 1,600 dialogues of " in outcome.out
    (row,) = (tmp_path / "text" / "flags.csv").read_text().splitlines()[1:]
    assert ",any pet ?,no .,i have two dogs .," in row
    pairs = read_preferences(tmp_path / "text" / "preferences.jsonl")
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [
        ("i have two dogs .", "no ."),
        ("i have two dogs .", "i have a cat ."),
    ]
    assert f" preferences={tmp_path / 'text' / 'preferences.jsonl'} " in outcome.out
    valid = [(folder / TEXT_NAMES["valid"]).read_bytes() for folder in (tmp_path / "text", sample)]
    assert valid[0] == valid[1]


def test_a_printed_command_has_the_settings_of_the_environment(run, write_settings, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("save_path", str(tmp_path))
    monkeypatch.setenv("batch_size", "4")
    Recordings(tmp_path / "conversations").save(make_talk("hi", "ho"))
    outcome = run(interact.main, "--env", write_settings(), "--export", tmp_path / "text")
    printed = outcome.out.rpartition("next: ")[2]
    assert {"batch_size=4", f"data_path={tmp_path / 'text'}"} <= set(printed.split())
    printed = run(interact.main, "--env", write_settings()).err.partition("`")[2]  # no trained model there yet
    assert {"batch_size=4", f"save_path={tmp_path}"} <= set(printed.split())


def test_exporting_flagged_talks_needs_no_model(run, write_settings, tmp_path) -> None:
    outcome = run(interact.main, "--env", write_settings(), "--export", tmp_path / "text", "--only-flagged")
    assert outcome.status == 2
    assert "no flagged talk to export" in outcome.err


def test_counting_and_deleting_need_no_model(run, write_settings, tmp_path) -> None:
    env = write_settings(save_path=tmp_path)
    recordings = Recordings(tmp_path / "conversations")
    mine, yours = make_talk("a secret", "b"), make_talk("x", "y", participant="you")
    for talk in (mine, yours):
        recordings.save(talk)
    recordings.close()
    assert run(interact.main, "--env", env, "--stats").out.startswith("2 talks, ")
    typed_lines = recordings.path.with_name(interact.TYPED)
    typed_lines.write_text("a secret\n")
    outcome = run(interact.main, "--env", env, "--delete-talk", mine.id)
    assert (outcome.status, outcome.out.split(" from ")[0]) == (0, "deleted 1 talk")
    assert b"secret" not in recordings.path.read_bytes()
    assert not typed_lines.exists()
    assert run(interact.main, "--env", env, "--delete-talk", mine.id).status == 2
    assert run(interact.main, "--env", env, "--delete-participant", "").status == 2
    assert recordings.talks() == [yours]
    recordings.close()
    assert run(interact.main, "--env", env, "--delete-participant", "you").status == 0
    outcome = run(interact.main, "--env", env, "--delete-participant", "you")
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert "no such talk; --export lists them" in outcome.err
    assert run(interact.main, "--env", env, "--stats").out.startswith("0 talks\n")


def test_a_study_is_published_alone(run, write_settings, tmp_path) -> None:
    """And without a choice, no private talk goes along with the studies."""
    env, recordings = write_settings(save_path=tmp_path / "save"), Recordings(tmp_path / "save" / "conversations")
    sources = ("study:a:x", "study:a:y", "study:a-2:x", "study:b:x", "interact.py", "app.py")
    recordings.save(*(make_talk("hi", source, source=source) for source in sources))

    def published(name: str, *options: str) -> list[str]:
        outcome = run(interact.main, "--env", env, "--export", "--publish", tmp_path / name, *options)
        assert outcome.status == 0
        return sorted({talk.source for talk in read_exported(tmp_path / name / "talks.jsonl")})

    assert published("one", "--study", "a") == ["study:a:x", "study:a:y"]
    assert published("all") == ["study:a-2:x", "study:a:x", "study:a:y", "study:b:x"]
    assert published("chosen", "--source", "study:b", "--source", "interact.py") == ["interact.py", "study:b:x"]
    both = run(interact.main, "--env", env, "--export", tmp_path / "x", "--study", "a", "--source", "study")
    assert (both.status, both.line) == (
        2,
        "error: --study a: expected used without --source, which chooses the talks, too",
    )
    assert run(interact.main, "--env", env, "--study", "a").status == 2
    none = run(interact.main, "--env", env, "--export", tmp_path / "x", "--study", "c")
    assert none.line.startswith("error: --source study:c: no talk on record is from there; the sources on record")


@pytest.mark.parametrize("options", [["--export"], ["--export", "--publish"]])
@pytest.mark.parametrize("name", [".", "out/text", "../conversations"])
def test_an_export_among_the_recordings_is_refused(chat, recorded, tmp_path, options, name) -> None:
    folder = tmp_path / "save" / "conversations"
    Recordings(folder).save(make_talk("hi", "hello"))
    before = sorted(folder.iterdir())
    outcome = chat("", *options, folder / name)
    assert (outcome.status, outcome.err.count("export into a folder elsewhere")) == (2, 1)
    assert sorted(folder.iterdir()) == before


def test_a_talk_whose_file_is_moved_meanwhile_is_not_called_recorded_and_a_new_talk_is(
    chat, tmp_path, monkeypatch
) -> None:
    path = tmp_path / "save" / "conversations" / "talks.sqlite"

    def lines(kept: Path, completions: object) -> Iterator[str]:
        yield "hi"
        path.rename(tmp_path / "elsewhere.sqlite")
        yield "still there ?"
        yield from ending

    monkeypatch.setattr(interact, "typed_lines", lines)
    ending: list[str] = []
    outcome = chat("", *DOGS)
    assert outcome.status == 0
    assert outcome.err.count("this file was moved or removed") == 1
    assert outcome.out.count("(this talk is no longer on record: ") == 1
    assert "recorded in" not in outcome.out
    (tmp_path / "elsewhere.sqlite").unlink()
    ending += ["/new", "hello"]
    outcome = chat("", *DOGS)
    assert outcome.out.count("(this talk is no longer on record: ") == 1
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("recorded in")]
    (kept,) = Recordings(path.parent).talks()
    assert (kept.texts[0], line) == ("hello", f"recorded in {path}: {kept.id}")


def test_a_deletion_while_another_program_reads_the_file(chat, recorded, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(interact, "Recordings", partial(Recordings, patience=0.0))
    recordings = Recordings(tmp_path / "save" / "conversations")
    talk = make_talk("secret")
    recordings.save(talk)
    reader = sqlite3.connect(recordings.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM talks").fetchall()
    outcome = chat("", "--delete-talk", talk.id)
    assert outcome.status == 1
    assert "1 talks are deleted, but another program is reading the file" in outcome.err
    reader.close()
    assert chat("", "--delete-talk", talk.id).status == 2  # there is no such talk any more
    assert b"secret" not in recordings.path.with_name("talks.sqlite-wal").read_bytes()
