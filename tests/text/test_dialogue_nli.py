"""dialogue_nli.py: a record becomes a dialogue with candidates, and what is no record is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from personagpt.errors import UserError
from personagpt.text.dialogue_nli import read_rankings
from personagpt.text.dialogues import Dialogue
from tests.scoring.helpers import ranking_record


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_records_become_dialogues(tmp_path: Path) -> None:
    walk = "i walk my dogs ."
    answer = ranking_record(["i have two dogs .", "cats ?"], ["hi !"], walk)
    opening = ranking_record(["i ski ."], [], "hello !") | {"triple": ["i", "like", "ski"]}
    silent = ranking_record(["i ski ."], ["__SILENCE__", "hi !", "ho !"], "ha !")
    corpus = read_rankings(write(tmp_path / "f.jsonl", answer, opening, silent))
    others = [f"{kind} {number}" for kind in ("neg", "similar", "rand") for number in range(10)]
    assert corpus.dialogues == [
        Dialogue(([], ["i have two dogs.", "cats?"]), ["hi !", walk], 1, {1: [*others, walk]}),
        Dialogue((["i ski."], []), ["hello !"], 2, {0: [*others, "hello !"]}),
        Dialogue((["i ski."], []), ["hi !", "ho !", "ha !"], 3, {2: [*others, "ha !"]}),
    ]
    assert corpus.sides == [(1,), (0,), (0,)]


GOOD = ranking_record(["i ski ."], ["hi !"], "ho !")
FEW = GOOD | {"candidates": GOOD["candidates"] | {"neg": ["a"] * 9}}
TWO_TRUE = GOOD | {"candidates": GOOD["candidates"] | {"label": ["a", "b"]}}


@pytest.mark.parametrize(
    "record", [[1], 1, None, {}, GOOD | {"persona": "i ski ."}, GOOD | {"prefix": [1]}, FEW, TWO_TRUE]
)
def test_what_is_no_record_is_named(tmp_path: Path, record: Any) -> None:
    path = write(tmp_path / "f.jsonl", GOOD, record)
    with pytest.raises(UserError, match=r"f\.jsonl:2: expected a record of Dialogue NLI's ranking sets") as raised:
        read_rankings(path)
    assert "\n" not in str(raised.value)


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("1 your persona: i ski .\n")
    (tmp_path / "empty").write_text("\n")
    for name, words in (
        ("text", "text:1: expected a record"),
        ("empty", "the file is empty"),
        ("none", "cannot read it"),
    ):
        with pytest.raises(UserError, match=words):
            read_rankings(tmp_path / name)
