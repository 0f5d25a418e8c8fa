"""Telegram Desktop's exports."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.helpers import check, damaged, layout, read, same, talks


def message(number: int, who: str | None, text: object, **more: object) -> dict[str, object]:
    date = f"2024-02-01T10:{number:02}:00"
    return {"id": number, "type": "message", "date": date, "from": who, "from_id": f"user{who}", "text": text} | more


CHAT = {
    "name": "Kim",
    "type": "personal_chat",
    "id": 4711,
    "messages": [
        {"id": 1, "type": "service", "date": "2024-02-01T10:00:00", "actor": "Kim", "action": "phone_call", "text": ""},
        message(2, "Kim", "film\ntonight?"),
        message(3, "Ola", ["yes! see ", {"type": "link", "text": "example.org"}, {"type": "bold", "text": " now"}]),
        message(4, "Ola", "", media_type="sticker", sticker_emoji="\U0001f600"),
        message(5, "Ola", "read this", forwarded_from="News"),
        message(6, "Kim", "the queue", photo="photos/1.jpg", width=1),
        message(7, "Ola", [], poll={"question": "which?"}),
        message(8, "Ola", "got tickets", edited="2024-02-01T10:09:00"),
    ],
}


def test_a_chat() -> None:
    left_out: Counter[str] = Counter()
    assert layout(CHAT) == "telegram"
    (dialogue,) = read(CHAT, left_out=left_out)
    assert same(dialogue, ([], []), ["film tonight?", "yes! see example.org now", "the queue", "got tickets"])
    assert +left_out == {"service messages": 1, "messages of media": 2, "forwarded messages": 1}
    assert talks(CHAT)[0].place == "chat Kim"


def test_an_export_of_all_chats() -> None:
    saved = {"name": None, "type": "saved_messages", "messages": [message(1, "Kim", "milk")]}
    everything = {
        "about": "...",
        "contacts": {"list": []},
        "chats": {"about": "...", "list": [saved, CHAT]},
        "left_chats": {"list": [{"name": "club", "messages": [message(1, None, "a"), message(2, "Kim", "b")]}]},
    }
    left_out: Counter[str] = Counter()
    assert layout(everything) == "telegram"
    first, second = read(everything, left_out=left_out)
    assert (first.utterances[0], second.utterances) == ("film tonight?", ["a", "b"])
    assert [talk.place for talk in talks(everything)] == ["chat 2 Kim", "chat 3 club"]
    assert talks(everything)[1].speakers == ["Deleted Account", "Kim"]
    assert left_out["chats in which fewer than two people write"] == 1


def test_the_time_is_the_one_of_the_world() -> None:
    said = [message(1, "Kim", "a", date_unixtime="1706781600"), message(2, "Ola", "b", date_unixtime="1706781660")]
    assert [turn.seconds for turn in talks({"messages": said})[0].turns] == [1706781600, 1706781660]


@settings(max_examples=100, deadline=None)
@given(damaged(CHAT))
def test_a_damaged_export_gives_dialogues_or_one_line(document: object) -> None:
    check(json.dumps(document).encode())
    check(json.dumps(document).encode(), "telegram")


@given(st.lists(st.text("abc \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=30))
def test_what_was_said_comes_back(said: list[str]) -> None:
    chat = {"messages": [message(number, ("Kim", "Ola")[number % 2], text) for number, text in enumerate(said)]}
    assert same(read(chat)[0], ([], []), said)
