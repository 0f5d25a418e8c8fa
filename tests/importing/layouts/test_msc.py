"""Multi-Session Chat's sessions."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.helpers import check, damaged, json_lines, layout, read, same

FACTS = ["I have a boat.", "I sing."], ["I teach math."]
EARLIER = {"personas": [["I have a boat."], ["I teach."]], "dialog": [{"text": "Hi!"}, {"text": "Hello."}]}
SAID = ["Did the boat arrive?", "Not yet."]


def talk(*said: str) -> dict:
    dialog = [{"text": text, "id": f"Speaker {number % 2 + 1}"} for number, text in enumerate(said)]
    return {"personas": [*FACTS], "dialog": dialog, "previous_dialogs": [EARLIER], "metadata": {"session_id": 1}}


@pytest.mark.parametrize("content", [json_lines(talk(*SAID), talk(*SAID)), json_lines(talk(*SAID)), [talk(*SAID)]])
def test_a_session(content: object) -> None:
    left_out: Counter[str] = Counter()
    assert layout(content) == "msc"
    dialogues = read(content, left_out=left_out)
    assert all(same(dialogue, FACTS, SAID) for dialogue in dialogues)
    assert left_out["earlier dialogs, which stand in the files of their sessions"] == len(dialogues)


def test_the_second_speaker_may_begin() -> None:
    record = talk("a", "b", "c")
    del record["dialog"][0]
    assert same(read([record])[0], (FACTS[1], FACTS[0]), ["b", "c"])


def test_utterances_without_an_id_take_turns() -> None:
    record = {"personas": [*FACTS], "dialog": [{"text": text} for text in SAID]}
    assert same(read([record])[0], FACTS, SAID)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"personas": [["a"]]}, "1 personas; expected those of Speaker 1 and Speaker 2"),
        ({"personas": [["a"], "b"]}, "'personas' is 'b'; expected a list"),
        ({"dialog": [{"text": "a", "id": "Speaker 3"}]}, "utterance 1 has the id 'Speaker 3'; expected Speaker 1 or"),
        ({"dialog": [{"id": "Speaker 1"}]}, "no 'text'"),
        ({"dialog": []}, "nobody says anything"),
    ],
)
def test_a_record_that_is_no_dialogue(change: dict, reason: str) -> None:
    dialogue, line = read(json_lines(talk(*SAID), talk(*SAID) | change))
    assert same(dialogue, FACTS, SAID)
    assert line.startswith(f"line 2: {reason}")


@settings(max_examples=100, deadline=None)
@given(damaged([talk(*SAID), talk(*SAID)]))
def test_damaged_records_give_dialogues_or_one_line(records: object) -> None:
    check(json.dumps(records).encode())
    check(json.dumps(records).encode(), "msc")


@settings(deadline=None)
@given(st.lists(st.text("abc \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=20))
def test_what_was_said_comes_back(said: list[str]) -> None:
    assert same(read(json_lines(talk(*said)))[0], FACTS, said)
