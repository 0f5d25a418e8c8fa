"""The truecased corpus: a record for each response, put together by conversation."""

from __future__ import annotations

import pytest

from tests.importing.helpers import HUNTER, TALK, history, layout, read, same


def rows(said: list[str], conversation: int = 0) -> list[dict[str, object]]:
    record = history(said)
    return [
        {"conv_id": conversation, "utterance_idx": number, "personality": HUNTER, **part}
        for number, part in enumerate(record["utterances"])
    ]


def test_the_order_of_the_rows_does_not_matter() -> None:
    content = [*rows(TALK), *rows(["__ SILENCE __", "Hi."], 7)][::-1]
    assert layout(content) == "truecased"
    dialogues = read(content)
    assert len(dialogues) == 2
    assert same(dialogues[0], (HUNTER, []), ["Hi."])
    assert same(dialogues[1], ([], HUNTER), TALK)


def test_a_number_of_a_conversation_counts_within_its_part() -> None:
    first, second = read({"train": rows(TALK), "valid": rows(["__ SILENCE __", "Hi."])})
    assert same(first, ([], HUNTER), TALK)
    assert same(second, (HUNTER, []), ["Hi."])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (rows(TALK)[0] | {"utterance_idx": "1"}, "'utterance_idx' is '1'; expected a whole number"),
        (rows(TALK)[0] | {"utterance_idx": True}, "'utterance_idx' is True; expected a whole number"),
        ({"conv_id": 3}, "no 'utterance_idx'"),
    ],
)
def test_a_record_that_is_no_dialogue(content: dict, reason: str) -> None:
    (line,) = read([content])
    assert line.startswith(f"record 1: {reason}")


def test_a_row_without_a_conversation_stays_alone() -> None:
    results = read([*rows(TALK), 7])
    assert same(results[0], ([], HUNTER), TALK)
    assert results[1] == "record 3: expected an object with 'utterance_idx', got 7"
