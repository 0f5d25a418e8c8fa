"""failures.py: the failures of an export, each once."""

import json

import pytest

from personagpt.errors import UserError
from personagpt.sequences.failures import read_failures
from tests.sequences.pairs import messages, pair, said, written

NAMES = ("preferences.jsonl", "feedback.jsonl")


def test_the_failures_of_both_files_and_what_training_holds_back(tmp_path) -> None:
    prompts = [messages("hi", persona=f"i am number {number % 10} .") for number in range(11)]
    alone = {"prompt": messages("why ?", persona="i am number 3 ."), "completion": said("bad"), "label": False}
    path = written(tmp_path, *(pair(prompt=prompt) for prompt in prompts), alone)  # as people join the files to train
    (tmp_path / "feedback.jsonl").write_text(json.dumps(alone))
    failures = read_failures(tmp_path, NAMES)
    assert len(failures.items) == 11  # the first prompt and its persona stand there twice
    assert failures.places[-1] == f"{path}:12"
    assert failures.personas == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3]
    assert failures.held_back == {9}
    (tmp_path / "feedback.jsonl").write_text("")
    assert read_failures(tmp_path, NAMES).items == failures.items
    assert read_failures(tmp_path, NAMES[::-1]).sha256 != failures.sha256


def test_a_folder_without_failures(tmp_path) -> None:
    for name in NAMES:
        (tmp_path / name).write_text("")
    with pytest.raises(UserError, match=r"no failure here: no preferences\.jsonl and no feedback\.jsonl with a line"):
        read_failures(tmp_path, NAMES)
    (tmp_path / NAMES[1]).write_text("{\n")
    with pytest.raises(UserError, match=r"feedback\.jsonl:1: no JSON"):
        read_failures(tmp_path, NAMES)
