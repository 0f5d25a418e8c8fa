"""Questions and answers."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings

from tests.importing.helpers import check, damaged, json_lines, layout, read, same

PETS = {"prompt": "any pets ?", "completion": "a goat ."}
CHAT = {
    "prompt": [{"role": "system", "content": "i bake .\ni row ."}, {"role": "user", "content": "any pets ?"}],
    "chosen": [{"role": "assistant", "content": "a goat ."}],
    "rejected": [{"role": "assistant", "content": "go away ."}],
}


@pytest.mark.parametrize(
    "content",
    [
        json_lines(PETS),
        "question,answer\nany pets ?,a goat .\n",
        "Context,Response\nany pets ?,a goat .\n",
        "User,Bot\nany pets ?,a goat .\n",
        [{"input": "any pets ?", "output": "a goat .", "persona": None}],
    ],
)
def test_a_question_and_its_answer(content: object) -> None:
    assert layout(content) == "pairs"
    assert same(read(content)[0], ([], []), ["any pets ?", "a goat ."])


def test_messages_and_preferences() -> None:
    left_out: Counter[str] = Counter()
    assert layout(json_lines(CHAT)) == "pairs"
    assert same(read(json_lines(CHAT), left_out=left_out)[0], ([], ["i bake .", "i row ."]), ["any pets ?", "a goat ."])
    assert +left_out == {"rejected answers": 1}


def test_utterances_before_the_answer_take_turns() -> None:
    record = {"persona": ["i bake ."], "context": ["hello !", "any pets ?"], "response": "a goat ."}
    assert same(read([record])[0], (["i bake ."], []), ["hello !", "any pets ?", "a goat ."])


def test_an_answer_that_people_rejected_is_not_learned() -> None:
    """Return nothing for feedback.jsonl's form, in which `label` says whether an answer was good."""
    assert read(json_lines(PETS | {"label": False})) == []
    assert len(read(json_lines(PETS | {"label": True}))) == 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (PETS | {"completion": 7}, "'completion' is 7; expected text"),
        (PETS | {"prompt": [7]}, "'prompt' has 7 in it; expected text or messages"),
        (PETS | {"completion": " "}, "message 2 has no text"),
        (
            {"prompt": "a ?"},
            "expected a question and its answer, such as 'prompt' and 'completion', got {'prompt': 'a ?'}",
        ),
    ],
)
def test_a_record_that_is_no_pair(record: dict, reason: str) -> None:
    assert read([PETS, record])[1] == f"record 2: {reason}"


@settings(max_examples=100, deadline=None)
@given(damaged([PETS, CHAT]))
def test_damaged_records_give_dialogues_or_one_line(records: object) -> None:
    check(json.dumps(records).encode())
    check(json.dumps(records).encode(), "pairs")
