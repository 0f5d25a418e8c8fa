"""TransferTransfo's JSON: the last history and the last candidate are the talk."""

from __future__ import annotations

import json

import pytest

from personagpt.importing.talks import ImportedTalk
from tests.importing.helpers import HUNTER, TALK, history, json_lines, layout, read, same, talks


def test_talks_and_their_parts() -> None:
    silent = history(["__ SILENCE __", *TALK[:3]])
    content = {"train": [history(TALK), silent], "valid": [history(TALK[:2])]}
    assert layout(content) == "transfertransfo"
    dialogues = read(content)
    assert same(dialogues[0], ([], HUNTER), TALK)
    # The persona's speaker began.
    assert same(dialogues[1], (HUNTER, []), TALK[:3])
    assert same(dialogues[2], ([], HUNTER), TALK[:2])
    assert [(talk.place, talk.part) for talk in talks(content)] == [
        ("train record 1", "train"), ("train record 2", "train"), ("valid record 1", "valid"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", [json.dumps([history(TALK)]), json.dumps(history(TALK)), json_lines(history(TALK), history(TALK))]
)
def test_a_list_or_a_record_a_line(text: str) -> None:
    assert layout(text) == "transfertransfo"
    assert all(same(dialogue, ([], HUNTER), TALK) for dialogue in read(text))


def test_the_true_response_must_be_last() -> None:
    record = history(TALK)
    record["utterances"][0]["candidates"].reverse()
    assert read([history(TALK), record])[1] == (
        "record 2: the last candidate of response 1 is 'i sing .', but the next history goes on after 'you must be "
        "very fast .'; put the true response last among the candidates"
    )
    # Case and spaces may differ between the two.
    record = history(TALK)
    record["utterances"][0]["candidates"][-1] = "You must be very fast."
    assert same(read([record])[0], ([], HUNTER), TALK)


UTTERANCE = history(TALK)["utterances"][-1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"utterances": []}, "no 'personality'"),
        ({"personality": HUNTER, "utterances": []}, "no utterances"),
        ({"personality": "i sing", "utterances": [UTTERANCE]}, "'personality' is 'i sing'; expected a list"),
        ({"personality": [7], "utterances": [UTTERANCE]}, "'personality' has 7 in it; expected text"),
        ({"personality": [], "utterances": {}}, "'utterances' is {}; expected a list"),
        ({"personality": [], "utterances": [1]}, "expected an object with 'history', got 1"),
        ({"personality": [], "utterances": [{"history": ["a"]}]}, "no 'candidates'"),
        ({"personality": [], "utterances": [{"history": ["a"], "candidates": []}]}, "no candidates; expected the "),
        ({"personality": [], "utterances": [{"history": ["a"], "candidates": [None]}]}, "'candidates' has None in it"),
        ({"personality": [], "utterances": [{"history": ["a"], "candidates": [" "]}]}, "utterance 2 is empty"),
        ({"personality": [], "utterances": [UTTERANCE] * 3}, "3 responses, but a history of 3 utterances: it was cut"),
        (history(["a", "__SILENCE__"]), "utterance 2 is __SILENCE__"),
        (history(["a", "\ud800"]), "half a character (\\ud800) in utterance 2 is not UTF-8 text"),
        (history(["a", "b" * 100_001]), "utterance 2 has 100,001 characters; at most 100,000 are read"),
        (history(["a", "b"], ["c" * 200_000]), "a fact has 200,000 characters"),
    ],
)
def test_a_record_that_is_no_dialogue(content: dict, reason: str) -> None:
    (line,) = read([content])
    assert line.startswith(f"record 1: {reason}")


def test_the_reader_keeps_the_text_as_it_is() -> None:
    (talk,) = talks([history(["a\tb", "c\nd"])])
    assert isinstance(talk, ImportedTalk)
    assert [turn.text for turn in talk.turns] == ["a\tb", "c\nd"]
    assert talk.replier == "you"
