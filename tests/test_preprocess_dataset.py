"""The script from text files to tensors, run as a user runs it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.format import Encoder, tokenizer_checksum
from personagpt.sequences.tensors import Tensors
from personagpt.text.convai2 import parse_corpus
from personagpt.text.lines import TextError
from personagpt.text.style import Style, Writing
from preprocess_dataset import main

TRAIN, VALID = (f"{split}_both_original_no_cands.txt" for split in ("train", "valid"))
TALK = "1 your persona: i sing.\n2 partner's persona: i ski.\n3 hi !\thello .\n4 how are you ?\tfine .\n"
OTHER = "1 your persona: i act.\n2 partner's persona: i run.\n3 __SILENCE__\tgood day .\n"


@pytest.fixture
def env(write_settings, base, tmp_path) -> Path:
    """Settings whose data_path holds a text of three dialogues and one of a single dialogue."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / TRAIN).write_text(TALK + OTHER + TALK)
    (tmp_path / "data" / VALID).write_text(OTHER)
    return write_settings(model_name=base)


def saved(tmp_path: Path, split: str = "train") -> PersonaChatDataset:
    return PersonaChatDataset(tmp_path / "save" / f"{split}_data.safetensors")


def test_the_whole_script(run, env, tmp_path, tokenizer) -> None:
    outcome = run(main, "--env", env)
    assert outcome.status == 0
    encoder = Encoder(tokenizer)
    train, valid = saved(tmp_path), saved(tmp_path, "valid")
    talks = [
        (0, ["i ski."], ["hi !", "hello .", "how are you ?"]),
        (1, ["i sing."], ["hi !", "hello .", "how are you ?", "fine ."]),
    ]
    # The last dialogue of the file is there.
    assert [encoder.decode(item["input_ids"].tolist()) for item in train] == [
        *talks,
        (0, ["i act."], ["good day ."]),
        *talks,
    ]
    assert train.tensors.dialogues.tolist() == [0, 0, 1, 2, 2]
    assert len(valid) == 1
    assert sorted(os.listdir(tmp_path / "save")) == ["train_data.safetensors", "valid_data.safetensors"]
    text = (tmp_path / "data" / TRAIN).read_bytes()
    assert train.metadata == {
        "text_sha256": hashlib.sha256(text).hexdigest(),
        "tokenizer_sha256": tokenizer_checksum(tokenizer),
        "vocabulary": str(len(tokenizer)),
        "context": "320",
        "max_turns": "20",
        "style": json.dumps(train.style.plain()),
    }
    assert train.style == Style(Writing(1.0, 0.0, 1.0), Writing(1.0, 1.0, 1.0), 1, 1, 1)
    lengths = train.lengths
    assert re.fullmatch(
        rf"train: 3 dialogues, 5 sequences, 9 responses, {lengths.sum()} tokens, "
        rf"longest sequence {lengths.max()}, \d+\.\d s\n"
        rf"valid: 1 dialogues, 1 sequences, 1 responses, {valid.lengths[0]} tokens, "
        rf"longest sequence {valid.lengths[0]}, "
        rf"\d+\.\d s\n"
        rf"tensors in {tmp_path}/save; next: \S*python\S* \S*train\.py --env {env}\n",
        outcome.out,
    )


def test_the_same_text_gives_the_same_bytes(run, env, tmp_path) -> None:
    path = tmp_path / "save" / "train_data.safetensors"
    run(main, "--env", env)
    first, size = PersonaChatDataset(path), path.stat().st_size
    path.unlink()
    run(main, "--env", env)
    again = saved(tmp_path)
    assert path.stat().st_size == size
    assert again.metadata == first.metadata
    for name, array in vars(first.tensors).items():
        assert np.array_equal(array, getattr(again.tensors, name))


def test_settings_decide(run, env, tmp_path, tokenizer, monkeypatch) -> None:
    monkeypatch.setenv("max_turns", "2")
    assert run(main, "--env", env).status == 0
    assert saved(tmp_path).metadata["max_turns"] == "2"
    talks = [(0, ["i ski."], ["hi !"]), (1, ["i sing."], ["hi !", "hello ."])]
    decoded = [Encoder(tokenizer).decode(item["input_ids"].tolist()) for item in saved(tmp_path)]
    assert decoded == [*talks, (0, ["i act."], ["good day ."]), *talks]


def test_goals_give_more_sequences(run, env, tmp_path, monkeypatch) -> None:
    path, goals = tmp_path / "save" / "train_data.safetensors", tmp_path / "goals.tsv"
    run(main, "--env", env)
    plain = path.read_bytes()
    goals.write_text("ask how it goes.\task\tare\ntalk about days.\ttalk\tday\n")
    monkeypatch.setenv("goals", str(goals))
    outcome = run(main, "--env", env)
    assert outcome.status == 0
    assert "train: 3 dialogues, 8 sequences, 9 responses, " in outcome.out
    assert (
        "train: 3 of the sequences are for a goal; sequences, and responses that follow it:\n"
        "    ask how it goes.                        2        2\n"
        "    talk about days.                        1        1\n"
        "valid: 1 dialogues, 2 sequences, 1 responses, "
    ) in outcome.out
    assert saved(tmp_path).metadata["goals_sha256"] == saved(tmp_path, "valid").metadata["goals_sha256"]
    first = saved(tmp_path).tensors.tokens.tolist()
    run(main, "--env", env)
    assert saved(tmp_path).tensors.tokens.tolist() == first
    # A comment changes nothing; a word does.
    checksum = saved(tmp_path).metadata["goals_sha256"]
    for more, same in (("# a comment\n", True), ("ask again.\task\tnobody\n", False)):
        goals.write_text(goals.read_text() + more)
        outcome = run(main, "--env", env)
        assert (saved(tmp_path).metadata["goals_sha256"] == checksum) == same
    assert outcome.err.startswith(
        "warning: no response of the training text follows the goal 'ask again.'\nwarning: 2 of"
    )
    # Without goals, everything is as it was.
    monkeypatch.delenv("goals")
    run(main, "--env", env)
    assert path.read_bytes() == plain


def test_a_wrong_goals_file_is_answered_first(run, env, tmp_path, monkeypatch) -> None:
    (tmp_path / "goals.tsv").write_text("ask about pets.\n")
    (tmp_path / "data" / TRAIN).write_text("nothing\n")
    monkeypatch.setenv("goals", str(tmp_path / "goals.tsv"))
    outcome = run(main, "--env", env)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {tmp_path / 'goals.tsv'}:1: 1 column, not three; expected GOAL<TAB>")


def test_left_out_dialogues_are_counted_and_named(run, env, tmp_path) -> None:
    empty = "1 a\tb\n2 \tc\n"
    (tmp_path / "data" / TRAIN).write_text(TALK + empty + OTHER + empty)
    (tmp_path / "data" / VALID).write_text(empty * 11 + OTHER)
    outcome = run(main, "--env", env)
    assert outcome.status == 0
    assert "train: 2 dialogues, 3 sequences, " in outcome.out
    assert "\ntrain: left out 2 with an empty utterance: the dialogues at line 5, 10\n" in outcome.out
    listed = ", ".join(str(line) for line in range(1, 21, 2))
    assert f"\nvalid: left out 11 with an empty utterance: the dialogues at line {listed}, ...\n" in outcome.out
    (tmp_path / "data" / VALID).write_text(OTHER + empty)
    assert "valid: left out 1 with an empty utterance: the dialogue at line 4\n" in run(main, "--env", env).out


def test_a_malformed_second_file_leaves_everything_as_it_was(run, env, tmp_path) -> None:
    (tmp_path / "data" / VALID).write_text(OTHER + "5 hello\tthere\n")
    outcome = run(main, "--env", env)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.line == (
        f"error: {tmp_path / 'data' / VALID}:4: number 5 is out of order; expected 4, or 1 to start a dialogue"
    )
    assert not (tmp_path / "save").exists()
    # Older tensors stay, too.
    (tmp_path / "data" / VALID).write_text(OTHER)
    run(main, "--env", env)
    before = {path: path.read_bytes() for path in (tmp_path / "save").iterdir()}
    (tmp_path / "data" / VALID).write_text("nothing\n")
    (tmp_path / "data" / TRAIN).write_text(OTHER)
    assert run(main, "--env", env).status == 2
    assert {path: path.read_bytes() for path in (tmp_path / "save").iterdir()} == before


def test_mirrored_dialogues_are_left_out_and_counted(run, env, tmp_path) -> None:
    mirror = "1 your persona: i ski.\n2 partner's persona: i sing.\n3 __SILENCE__\thi !\n4 hello .\thow are you ?\n"
    (tmp_path / "data" / TRAIN).write_text(TALK + OTHER + "1 a\t\n" + mirror)
    (tmp_path / "data" / VALID).write_text(TALK + mirror * 1001)
    outcome = run(main, "--env", env)
    assert outcome.status == 0
    assert "train: 2 dialogues, 3 sequences, 5 responses, " in outcome.out
    assert "\ntrain: left out 1 that repeat another from the other side\ntrain: left out 1 with an empty" in outcome.out
    assert "valid: 1 dialogues, 2 sequences, " in outcome.out
    assert "\nvalid: left out 1,001 that repeat another from the other side\n" in outcome.out
    assert saved(tmp_path).tensors.dialogues.tolist() == [0, 0, 1]


def test_validation_that_cannot_tell_gets_a_warning(run, env, tmp_path) -> None:
    again = "1 your persona: i fly.\n2 partner's persona: i ski.\n3 yo\thi\n"
    for valid, warning in (
        (OTHER, "2 of the validation text's 2 personas are in the training text, too: "),
        (again, "1 of the validation text's 2 personas are in the training text, too: "),
        (TALK + OTHER + TALK, "training and validation text are the same: "),
        ("1 hi\tho\n", None),
    ):
        (tmp_path / "data" / VALID).write_text(valid)
        outcome = run(main, "--env", env)
        assert outcome.status == 0
        assert outcome.line.startswith(f"warning: {warning}") if warning else "warning" not in outcome.err


def test_a_failure_of_the_second_file_keeps_both_old_files(run, env, tmp_path, monkeypatch) -> None:
    run(main, "--env", env)
    before = {path: path.read_bytes() for path in (tmp_path / "save").iterdir()}
    write = Tensors.write

    def second_fails(tensors: Tensors, file, metadata: dict[str, str]) -> None:
        write(tensors, file, metadata)
        if "valid" in file.name:
            raise OSError(errno.ENOSPC, "No space left on device", file.name)

    monkeypatch.setattr(Tensors, "write", second_fails)
    monkeypatch.setenv("max_turns", "2")
    outcome = run(main, "--env", env)
    assert outcome.status == 1
    assert outcome.line.startswith("error: the disk is full while writing ")
    assert {path: path.read_bytes() for path in (tmp_path / "save").iterdir()} == before


def test_a_missing_text_beside_one_s_own(run, env, tmp_path) -> None:
    (tmp_path / "data" / VALID).unlink()
    outcome = run(main, "--env", env)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err == (
        f"error: {tmp_path / 'data' / VALID} not found: put dialogues that are not in the training text, such as "
        "every tenth, there\n"
    )
    (tmp_path / "data" / VALID).write_text(OTHER)
    (tmp_path / "data" / TRAIN).unlink()
    assert run(main, "--env", env).line == (
        f"error: {tmp_path / 'data' / TRAIN} not found: put the dialogues to train on there"
    )


def test_missing_texts_name_the_download(run, env, tmp_path) -> None:
    for name in (TRAIN, VALID):
        (tmp_path / "data" / name).unlink()
    outcome = run(main, "--env", env)
    assert (outcome.status, outcome.out) == (2, "")
    assert re.fullmatch(
        rf"error: {tmp_path / 'data' / TRAIN}, {tmp_path / 'data' / VALID} not found: put the text there, or run "
        rf"`\S*python\S* \S*preprocess_dataset\.py --env {env} --download`, which fetches ConvAI2's\n",
        outcome.err,
    )


def test_a_text_that_gives_no_sequence(run, env, tmp_path, monkeypatch) -> None:
    # Only the second speaker's persona is given, and only the first utterance is used.
    (tmp_path / "data" / TRAIN).write_text("1 your persona: i sing.\n2 hi\thello\n")
    monkeypatch.setenv("max_turns", "1")
    outcome = run(main, "--env", env)
    assert (outcome.status, outcome.line) == (
        2,
        f"error: {tmp_path / 'data' / TRAIN}: no sequence: no side whose persona is given has an utterance of its own",
    )
    assert not (tmp_path / "save").exists()


def test_a_response_longer_than_the_context_has_a_line(run, env, tmp_path, tokenizer) -> None:
    (tmp_path / "data" / TRAIN).write_text(TALK + f"1 hi\t{'word ' * 400}\n2 how are you ?\tfine\n")
    outcome = run(main, "--env", env)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.line == (
        f"error: {tmp_path / 'data' / TRAIN}:5: the speaker's persona and this utterance alone exceed the model's "
        "context "
        "of 320 tokens: shorten them"
    )
    assert not (tmp_path / "save").exists()
    # The first speaker's side fits; the other's facts are too long for its response on line 3.
    corpus = parse_corpus(f"1 your persona: {'word ' * 400}\n2 partner's persona: x\n3 a\tb\n".encode(), "t")
    with pytest.raises(TextError, match=r"^t:3: the speaker's persona and this utterance alone exceed .* 320 tokens"):
        encode_corpus(corpus, Encoder(tokenizer), 20, 320, "t")


def test_a_save_path_that_is_a_file(run, env, tmp_path) -> None:
    (tmp_path / "save").write_text("mine")
    outcome = run(main, "--env", env)
    assert (outcome.status, outcome.line) == (2, f"error: {tmp_path / 'save'}: File exists")


def test_a_text_that_is_a_folder(run, env, tmp_path) -> None:
    (tmp_path / "data" / TRAIN).unlink()
    (tmp_path / "data" / TRAIN).mkdir()
    outcome = run(main, "--env", env)
    assert outcome.status == 2
    assert outcome.line == f"error: {tmp_path / 'data' / TRAIN}: cannot read this file: Is a directory"


def test_a_model_name_without_a_tokenizer(run, env, tmp_path, monkeypatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("model_name", str(tmp_path / "empty"))
    outcome = run(main, "--env", env)
    expected = f"error: {tmp_path / 'empty'}: no model in this folder (config.json is missing)"
    assert (outcome.status, outcome.line) == (2, expected)
    (tmp_path / "empty" / "config.json").write_text("{}")
    outcome = run(main, "--env", env)
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: {tmp_path / 'empty'}: cannot load its tokenizer: ")
    assert outcome.err.count("\n") == 1


def test_the_summary_counts_in_thousands(run, env, tmp_path) -> None:
    (tmp_path / "data" / TRAIN).write_text("1 hi\tho\n" * 1200)
    out = run(main, "--env", env).out
    assert re.match(r"train: 1,200 dialogues, 2,400 sequences, 2,400 responses, \d\d,\d{3} tokens, longest ", out)


def test_an_unknown_option(run) -> None:
    outcome = run(main, "--downlod")
    assert outcome.status == 2
    assert "unrecognized arguments: --downlod" in outcome.err


def test_the_next_command_has_the_same_settings(run, env, base, tmp_path, monkeypatch) -> None:
    other = tmp_path / "my settings.env"
    other.write_text(env.read_text())
    assert run(main, "--env", other).out.endswith(f"train.py --env '{other}'\n")
    # The file beside the scripts is the default; here it gets its paths from the environment.
    for key, value in (("data_path", tmp_path / "data"), ("save_path", tmp_path / "save"), ("model_name", base)):
        monkeypatch.setenv(key, str(value))
    paths = f"save_path={tmp_path / 'save'} data_path={tmp_path / 'data'} model_name={base}"
    assert re.search(rf"next: {paths} \S*python\S* \S*train\.py\n$", run(main).out)


def test_two_at_once_on_one_save_path(run, env, tmp_path, monkeypatch) -> None:
    write = Tensors.write

    def another_run_comes_and_ends(tensors: Tensors, *arguments: object) -> None:
        monkeypatch.setattr(Tensors, "write", write)
        write(tensors, *arguments)
        assert main(["--env", str(env)]) == 0

    monkeypatch.setattr(Tensors, "write", another_run_comes_and_ends)
    assert run(main, "--env", env).status == 0
    assert len(saved(tmp_path)) == 5
    assert sorted(os.listdir(tmp_path / "save")) == ["train_data.safetensors", "valid_data.safetensors"]


def test_a_save_path_that_is_not_utf_8(root, env) -> None:
    command = [sys.executable, root / "preprocess_dataset.py", "--env", env]
    done = subprocess.run(command, env=os.environ | {b"save_path": b"/tmp/\xff"}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "error: environment variable: save_path = '/tmp/\\udcff' is not a usable path: '/tmp/\\udcff' is not UTF-8\n"
    )


def test_preferences(run, env, write_settings, base, tmp_path, tokenizer) -> None:
    line = {
        "prompt": [{"role": "system", "content": "i ski."}, {"role": "user", "content": "hi !"}],
        "chosen": [{"role": "assistant", "content": "hello ."}],
        "rejected": [{"role": "assistant", "content": "no ."}],
        "goal": None,
        "source": "corrected",
    }
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(line))
    write_settings(env, model_name=base, preferences="pairs.jsonl")
    outcome = run(main, "--env", env)
    assert outcome.status == 0
    assert "preferences: 1, of which 0 are held back to be scored\n" in outcome.out
    data = PersonaChatDataset(tmp_path / "save" / "preferences.safetensors")
    assert [Encoder(tokenizer).decode(item["input_ids"].tolist())[2][-1] for item in data] == ["hello .", "no ."]
    assert data.metadata["text_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert data.metadata["held_back"] == "0"
    before = (tmp_path / "save" / "train_data.safetensors").read_bytes()
    path.write_text(json.dumps(line | {"source": "unknown"}))
    outcome = run(main, "--env", env)
    assert (outcome.status, outcome.line.count("\n")) == (2, 0)
    assert outcome.line.startswith(f"error: {path}:1: the source 'unknown'; expected one of")
    assert (tmp_path / "save" / "train_data.safetensors").read_bytes() == before
