"""The talks between people and programs of ConvAI2's site."""

from __future__ import annotations

import datetime
import json
from collections import Counter

import pytest
from hypothesis import given, settings

from personagpt.importing.talks import RecordError
from tests.importing.helpers import check, damaged, json_lines, layout, older, read, same, talks, wild

PERSONAS = ["i take walks."], ["i like tacos.", "i sing."]  # the person's, the program's


def test_who_spoke_to_whom_and_when() -> None:
    record = wild((1, "Hi!"), (2, "hello! "), (2, "are you there?"), thumbs={1: 1, 2: 0})
    assert layout([record]) == layout(json_lines(record, record)) == "human-bot"
    (talk,) = talks([record])
    assert [(turn.speaker, turn.text, turn.thumbs) for turn in talk.turns] == [
        ("person", "Hi!", ()),
        ("program", "hello! ", (True,)),
        ("program", "are you there?", (False,)),
    ]
    about = talk.encounter
    assert (about.model, about.participant) == ("Bot 6", "User 7")
    assert about.started == datetime.datetime(2018, 10, 30, 8, 29, 23, 340_000)
    assert about.ended == datetime.datetime(2018, 10, 30, 8, 43, 19)  # some times have no fraction of a second
    assert (about.ratings, about.is_assumed) == ({"eval_score": 3, "profile_match": 1}, False)


def test_what_is_said_in_a_row_is_one_utterance() -> None:
    record = wild((2, "Hi!\nHow are you?"), (2, "Hello??"), (1, "fine"), (1, "and you"), (2, "ok"))
    assert same(read([record])[0], PERSONAS[::-1], ["Hi! How are you? Hello??", "fine and you", "ok"])


def test_the_classes_decide_who_is_the_program() -> None:
    """The program may be participant1; a message without a class has that of its participant."""
    ids = {"participant1_id": {"class": "Bot", "user_id": "Bot 1"}}
    ids["participant2_id"] = {"class": "User", "user_id": "User 2"}
    record = wild((2, "hi"), (1, "ho"), **ids)
    for message, name in zip(record["dialog"], ("Human", "Bot"), strict=True):
        message["sender_class"] = name
    for _ in range(2):
        (talk,) = talks([record])
        assert [turn.speaker for turn in talk.turns] == ["person", "program"]
        assert (talk.encounter.model, talk.encounter.participant) == ("Bot 1", "User 2")
        assert not talk.encounter.is_assumed
        for message in record["dialog"]:
            message.pop("sender_class", None)


def test_an_older_export_has_fewer_keys() -> None:
    record = older(wild((1, "hi"), (2, "ho"), eval_score=None) | {"eval_score": None})
    assert layout([record]) == "human-bot"
    (talk,) = talks([record])
    about = talk.encounter
    assert (about.model, about.participant, about.started, about.ended) == (None, None, None, None)
    assert (about.ratings, about.is_assumed) == ({"profile_match": 1}, True)
    assert same(read([record])[0], PERSONAS, ["hi", "ho"])


@pytest.mark.parametrize("none", [None, "", -1])
def test_a_talk_without_ratings(none: object) -> None:
    record = wild((1, "hi"), (2, "ho")) | {"eval_score": none, "profile_match": none, "start_time": ""}
    record["dialog"][1]["evaluation_score"] = none
    (talk,) = talks([record])
    assert (talk.encounter.ratings, talk.encounter.started, talk.turns[1].thumbs) == ({}, None, ())


def test_messages_are_read_in_the_order_of_their_ids() -> None:
    record = wild((1, "a"), (2, "b"), (1, "c"), thumbs={1: 1})
    record["dialog"].reverse()
    assert [(turn.text, turn.thumbs) for turn in talks([record])[0].turns] == [("a", ()), ("b", (True,)), ("c", ())]
    record["dialog"][0]["id"] = 0  # two messages have this id
    assert [turn.text for turn in talks([record])[0].turns] == ["c", "b", "a"]


def test_ids_and_profiles_that_are_absent() -> None:
    ids = {"participant1_id": {"class": None, "user_id": None}, "participant2_id": {"class": "Bot"}}
    record = wild((1, "a"), (2, "b"), user_profile=None, bot_profile=None, **ids)
    assert layout([record]) == "human-bot"
    (talk,) = talks([record])
    assert (talk.facts, talk.encounter.model, talk.encounter.participant) == ({}, None, None)


def test_talks_of_one_side_and_empty_messages_are_counted_and_left_out() -> None:
    left_out: Counter[str] = Counter()
    records = [wild((1, "hi"), (1, "hello?")), wild((2, "hi"), (1, " \n")), wild((1, "a"), (2, ""), (2, "b")), wild()]
    assert [dialogue.utterances for dialogue in read(records, "human-bot", left_out=left_out)] == [["a", "b"]]
    assert left_out["talks in which only one of the two speaks"] == 3
    assert left_out["empty messages"] == 2


def test_profiles_that_are_absent_are_no_personas() -> None:
    record = wild((1, "a"), (2, "b"), user_profile=None)
    assert same(read([record])[0], ([], PERSONAS[1]), ["a", "b"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"eval_score": 7}, "'eval_score' is 7; expected 1 to 5, or null"),
        ({"eval_score": True}, "'eval_score' is True; expected 1 to 5, or null"),
        ({"profile_match": "yes"}, "'profile_match' is 'yes'; expected 0 to 1, or null"),
        ({"start_time": "noon"}, "'start_time' is 'noon'; expected a time such as 2018-10-30 08:29:23"),
        ({"bot_profile": "i sing."}, "'bot_profile' is 'i sing.'; expected a list"),
        ({"participant2_id": "Bot 6"}, "'participant2_id' is 'Bot 6'; expected an object"),
        ({"participant2_id": {"class": "Bot", "user_id": 6}}, "'user_id' is 6; expected text"),
        (
            {"participant1_id": {"class": "Bot"}},
            "message 1 is from participant1, a Bot by its id, but its class is Human",
        ),
        ({"dialog": [{"sender": "participant1"}]}, "no 'text'"),
        ({"dialog": [{"sender": "participant3", "text": "a"}]}, "message 1 is from 'participant3'; expected a Human"),
        ({"dialog": [{"sender": "x", "text": "a", "sender_class": "Cat"}]}, "message 1 is from 'Cat'; expected a Hum"),
        ({"dialog": wild((1, "a"), thumbs={0: 1})["dialog"]}, "message 1 is the person's and has a thumb"),
        ({"dialog": wild((2, "a"), thumbs={0: 2})["dialog"]}, "'evaluation_score' is 2; expected 0 to 1, or null"),
    ],
)
def test_a_record_that_is_wrong(change: dict, reason: str) -> None:
    good = wild((1, "a"), (2, "b"))
    talk, error = talks([good, good | change])
    assert len(talk.turns) == 2
    assert isinstance(error, RecordError)
    assert error.place == "record 2"
    assert str(error).startswith(reason)


@settings(max_examples=100, deadline=None)
@given(damaged([wild((1, "a"), (2, "b"), thumbs={1: 0}), older(wild((2, "a"), (1, "b")))]))
def test_damaged_records_give_dialogues_or_one_line(records: object) -> None:
    check(json.dumps(records).encode())
    check(json.dumps(records).encode(), "human-bot")
