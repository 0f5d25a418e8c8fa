"""Alpaca's instructions."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.helpers import check, damaged, json_lines, layout, read, same

BEE = {"instruction": "name a bee .", "input": "a wild one", "output": "the mason bee ."}
LONG = BEE | {"system": "i keep bees .\ni row .", "history": [["hello !", "hi there ."]], "input": ""}


@pytest.mark.parametrize("content", [[BEE, LONG], json_lines(BEE, LONG)])
def test_instructions(content: object) -> None:
    assert layout(content) == "alpaca"
    first, second = read(content)
    assert same(first, ([], []), ["name a bee . a wild one", "the mason bee ."])
    facts = ["i keep bees .", "i row ."]
    assert same(second, ([], facts), ["hello !", "hi there .", "name a bee .", "the mason bee ."])


def test_a_table() -> None:
    table = 'instruction,input,output,text\nname a bee .,,"the mason bee .","Below ### Response:"\n'
    assert layout(table) == "alpaca"
    assert same(read(table)[0], ([], []), ["name a bee .", "the mason bee ."])


def test_the_answer_may_be_called_response() -> None:
    assert same(read([{"instruction": "a ?", "context": "c .", "response": "b ."}])[0], ([], []), ["a ? c .", "b ."])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"output": None}, "'output' is None; expected text"),
        ({"output": " "}, "message 2 has no text"),
        ({"instruction": "", "input": None}, "message 1 has no text"),
        ({"input": 7}, "'input' is 7; expected text"),
        ({"history": [["a"]]}, "'history' has ['a'] in it; expected [question, answer]"),
        ({"history": 7}, "'history' is 7; expected a list"),
    ],
)
def test_a_record_that_is_no_dialogue(change: dict, reason: str) -> None:
    assert read([BEE | change]) == [f"record 1: {reason}"]


@settings(max_examples=100, deadline=None)
@given(damaged([BEE, LONG]))
def test_damaged_records_give_dialogues_or_one_line(records: object) -> None:
    check(json.dumps(records).encode())
    check(json.dumps(records).encode(), "alpaca")


TEXTS = st.text("abc \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool)


@given(TEXTS, TEXTS, st.lists(st.tuples(TEXTS, TEXTS), max_size=4))
def test_what_was_said_comes_back(question: str, answer: str, history: list[tuple[str, str]]) -> None:
    record = {"instruction": question, "input": "", "output": answer, "history": history}
    assert same(read([record])[0], ([], []), [text for pair in history for text in pair] + [question, answer])
