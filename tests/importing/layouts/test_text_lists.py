"""Talks as bare lists of texts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.helpers import check, damaged, json_lines, layout, read, same

TALKS = [["any pets ?", "a goat ."], ["hi !", "hello !", "bye !"]]


@pytest.mark.parametrize("content", [TALKS, json_lines(*TALKS), json_lines(*({"data": talk} for talk in TALKS))])
def test_the_speakers_take_turns(content: object) -> None:
    assert layout(content) == "text-lists"
    first, second = read(content)
    assert same(first, ([], []), TALKS[0])
    assert same(second, ([], []), TALKS[1])


def test_a_record_that_is_no_talk() -> None:
    assert read([*TALKS, ["alone"]])[2] == "record 3: expected a list of at least two texts, got ['alone']"


@settings(max_examples=50, deadline=None)
@given(damaged(TALKS))
def test_damaged_records_give_dialogues_or_one_line(records: object) -> None:
    check(json.dumps(records).encode())
    check(json.dumps(records).encode(), "text-lists")


TEXTS = st.text("abc \u4f60\u597d.!?", min_size=1).map(str.strip).filter(bool)


@given(st.lists(TEXTS, min_size=2, max_size=6))
def test_what_was_said_comes_back(said: list[str]) -> None:
    assert same(read([said])[0], ([], []), said)
