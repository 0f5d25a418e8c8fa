"""XPersona's files."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.helpers import check, damaged, json_lines, layout, read, same

FACTS = ["我养了一只猫。", "我是面包师。"]
SAID = ["你好！今天忙吗？", "很忙，烤了一天的面包。", "你养宠物吗？", "有一只猫，她很懒。"]


def talk(*said: str) -> dict:
    return {"persona": FACTS, "dialogue": [list(said[number : number + 2]) for number in range(0, len(said), 2)]}


@pytest.mark.parametrize("content", [[talk(*SAID), talk(*SAID)], json_lines(talk(*SAID)), {"train": [talk(*SAID)]}])
def test_a_talk(content: object) -> None:
    assert layout(content) == "xpersona"
    assert all(same(dialogue, ([], FACTS), SAID) for dialogue in read(content))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dialogue": [["a"]]}, "pair 1 is ['a']; expected an utterance and its reply"),
        ({"dialogue": [["a", None]]}, "pair 1 is ['a', None]; expected an utterance and its reply"),
        ({"dialogue": []}, "you says nothing"),
        ({"dialogue": [["a", " "]]}, "utterance 2 is empty"),
        ({"persona": "a"}, "'persona' is 'a'; expected a list"),
    ],
)
def test_a_record_that_is_no_dialogue(change: dict, reason: str) -> None:
    dialogue, line = read([talk(*SAID), talk(*SAID) | change])
    assert same(dialogue, ([], FACTS), SAID)
    assert line == f"record 2: {reason}"


@settings(max_examples=100, deadline=None)
@given(damaged([talk(*SAID), talk(*SAID)]))
def test_damaged_records_give_dialogues_or_one_line(records: object) -> None:
    check(json.dumps(records).encode())
    check(json.dumps(records).encode(), "xpersona")


@settings(deadline=None)
@given(st.lists(st.text("abc \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=20))
def test_what_was_said_comes_back(said: list[str]) -> None:
    said = said[: len(said) // 2 * 2]
    assert same(read([talk(*said)])[0], ([], FACTS), said)
