"""Messenger's exports."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personagpt.importing.layouts.messenger import mended
from tests.importing.helpers import check, damaged, layout, read, same, talks


def message(minute: int, who: str, **more: object) -> dict[str, object]:
    return {"sender_name": who, "timestamp_ms": 1706781600000 + minute * 60_000, "type": "Generic"} | more


BROKEN = "caf\u00c3\u00a9 \u00f0\u009f\u0098\u008d"
CHAT = {
    "participants": [{"name": "Kim Lee"}, {"name": "Ola"}],
    "title": "Kim Lee",
    "thread_path": "inbox/kim_1",
    "messages": [
        message(9, "Ola", content="Ola sent a photo.", photos=[{"uri": "2.jpg"}]),
        message(8, "Ola", content="there", photos=[{"uri": "1.jpg"}]),
        message(7, "Kim Lee", content="https://a.org", share={"link": "https://a.org"}, type="Share"),
        message(6, "Kim Lee", content="Kim called you.", call_duration=60, type="Call"),
        message(5, "Ola", is_unsent=True),
        message(4, "Ola", content="Reacted \u00f0\u009f\u0098\u008d to your message "),
        message(3, "Kim Lee", photos=[{"uri": "1.jpg"}], reactions=[{"reaction": "x", "actor": "Ola"}]),
        message(2, "Ola", content="when?"),
        message(1, "Kim Lee", content=BROKEN, reactions=[{"reaction": "x", "actor": "Ola"}]),
    ],
    "magic_words": [],
}


def test_a_chat() -> None:
    left_out: Counter[str] = Counter()
    assert layout(CHAT) == "messenger"
    (dialogue,) = read(CHAT, left_out=left_out)
    assert same(dialogue, ([], []), ["caf\u00e9 \U0001f60d", "when? there"])
    assert +left_out == {
        "messages of media": 2,
        "shared links": 1,
        "notices of calls and changes": 2,
        "deleted messages": 1,
    }


def test_an_export_of_an_encrypted_chat() -> None:
    said = [("Ola", "f\u00fcr wen?"), ("Kim", "cake")]
    messages = [
        {"senderName": who, "text": text, "timestamp": 1706781600000 - number, "type": "text", "isUnsent": False}
        for number, (who, text) in enumerate(said)
    ]
    chat = {"participants": ["Kim", "Ola"], "threadName": "Kim_1", "messages": messages}
    assert layout(chat) == "messenger"
    assert same(read(chat)[0], ([], []), ["cake", "f\u00fcr wen?"])


def test_messages_of_one_moment_keep_their_order() -> None:
    newest_first = [message(2, "Kim", content="c"), message(1, "Ola", content="b"), message(1, "Kim", content="a")]
    assert same(read({"messages": newest_first})[0], ([], []), ["a", "b", "c"])
    oldest_first = [message(1, "Kim", content="a"), message(1, "Ola", content="b"), message(2, "Kim", content="c")]
    assert same(read({"messages": oldest_first})[0], ([], []), ["a", "b", "c"])


@pytest.mark.parametrize(
    ("text", "is_said"),
    [
        ("Kim sent an attachment.", False), ("You sent a photo.", False), ("Kim Lee hat ein Foto gesendet.", False),
        ("Kim a envoy\u00e9 une photo.", False), ("Kim Lee named the group soup.", False), ("Liked a message", False),
        ("Kim set your nickname to Spoon.", False), ("Kim Lee changed the theme to Love.", False),
        ("You missed the bus.", True), ("Kim sent a letter.", True), ("Kim here!", True), ("i liked a message", True),
    ],
)  # fmt: skip
def test_what_messenger_says_itself(text: str, is_said: bool) -> None:
    chat = {
        "messages": [
            message(1, "Ola", content="a"),
            message(2, "Kim Lee", content=text),
            message(3, "Kim Lee", content="b"),
        ]
    }
    assert ([turn.text for turn in talks(chat)[0].turns] == ["a", text, "b"]) is is_said


@given(st.text(st.characters(codec="utf-8")))
def test_broken_text_is_mended(text: str) -> None:
    assert mended(text.encode().decode("latin-1")) == text


@pytest.mark.parametrize("text", ["caf\u00e9", "na\u00efve \u2019", "", "plain"])
def test_whole_text_stays(text: str) -> None:
    assert mended(text) == text


@settings(max_examples=100, deadline=None)
@given(damaged(CHAT))
def test_a_damaged_export_gives_dialogues_or_one_line(document: object) -> None:
    check(json.dumps(document).encode())
    check(json.dumps(document).encode(), "messenger")


@given(st.lists(st.text("abc \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=30))
def test_what_was_said_comes_back(said: list[str]) -> None:
    broken = [text.encode().decode("latin-1") for text in said]
    messages = [message(number, "AB"[number % 2], content=text) for number, text in enumerate(broken)]
    assert same(read({"messages": messages[::-1]})[0], ([], []), said)
