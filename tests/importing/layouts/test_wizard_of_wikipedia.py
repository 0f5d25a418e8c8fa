"""Wizard of Wikipedia."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.helpers import check, damaged, layout, read, same, talks

SAID = ["I keep bees.", "Bees pollinate plants.", "They do!"]


def talk(*said: str) -> dict:
    dialog = [
        {"speaker": ("0_Apprentice", "1_Wizard")[number % 2], "text": text, "retrieved_topics": ["Bee"]}
        for number, text in enumerate(said)
    ]
    return {"chosen_topic": "Bee", "persona": "i keep bees .", "wizard_eval": 5, "dialog": dialog}


def test_a_talk() -> None:
    assert layout([talk(*SAID)]) == "wizard-of-wikipedia"
    assert same(read([talk(*SAID)])[0], ([], []), SAID)
    assert talks([talk(*SAID)])[0].speakers == ["Apprentice", "Wizard"]


@pytest.mark.parametrize(
    ("dialog", "reason"),
    [
        ([{"speaker": "Wizard", "text": "a"}], "utterance 1 has the speaker 'Wizard'; expected such as 0_Wizard"),
        ([{"speaker": "0_Wizard"}], "no 'text'"),
        ([], "nobody says anything"),
        ([{"speaker": "0_Wizard", "text": "a"}], "1 speaker ('Wizard'); expected two"),
    ],
)
def test_a_record_that_is_no_dialogue(dialog: list, reason: str) -> None:
    assert read([talk(*SAID), talk() | {"dialog": dialog}])[1:] == [f"record 2: {reason}"]


@settings(max_examples=100, deadline=None)
@given(damaged([talk(*SAID), talk(*SAID)]))
def test_damaged_records_give_dialogues_or_one_line(records: object) -> None:
    check(json.dumps(records).encode())
    check(json.dumps(records).encode(), "wizard-of-wikipedia")


@settings(deadline=None)
@given(st.lists(st.text("abc \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=20))
def test_what_was_said_comes_back(said: list[str]) -> None:
    assert same(read([talk(*said)])[0], ([], []), said)
