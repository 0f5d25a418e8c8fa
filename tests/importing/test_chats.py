"""What the layouts of chat programs share."""

from __future__ import annotations

from collections import Counter

from personagpt.importing.chats import ChatMessage, chat_talk, id_at, list_at, text_at


def messages(*lines: str) -> list[ChatMessage]:
    """Return a message for each `WRITER TIME TEXT`."""
    parts = [line.split(" ", 2) for line in lines]
    return [ChatMessage(writer, text, None if time == "?" else float(time)) for writer, time, text in parts]


def test_the_oldest_message_comes_first() -> None:
    talk = chat_talk(" a\nb", messages("1 5 c", "2 3 a", "1 3 b"), {"1": "Ann"}, Counter())
    assert talk.place == "a b"
    assert [(turn.speaker, turn.text, turn.seconds) for turn in talk.turns] == [
        ("2", "a", 3.0),
        ("Ann", "b", 3.0),
        ("Ann", "c", 5.0),
    ]


def test_without_all_times_the_order_stays() -> None:
    talk = chat_talk("", messages("1 5 c", "2 ? a"), {}, Counter())
    assert [turn.text for turn in talk.turns] == ["c", "a"]


def test_two_people_of_one_name_keep_apart() -> None:
    talk = chat_talk("", messages("1 1 a", "2 2 b", "3 3 c"), {"1": "Ann", "2": "Ann", "3": "Bob"}, Counter())
    assert talk.speakers == ["Ann (1)", "Ann (2)", "Bob"]


def test_one_who_talks_alone_is_counted() -> None:
    left_out: Counter[str] = Counter()
    assert chat_talk("", messages("1 1 a", "1 2 b"), {}, left_out) is None
    assert chat_talk("", [], {}, left_out) is None
    assert left_out == {"chats in which fewer than two people write": 2}


def test_values() -> None:
    record = {"a": " ", "b": "x", "c": 7, "d": [1], "e": True}
    assert [text_at(record, "a", "b"), text_at(record, "c"), text_at(None, "a")] == ["x", "", ""]
    assert [id_at(record, "b"), id_at(record, "c"), id_at(record, "e"), id_at([], "b")] == ["x", "7", "", ""]
    assert [list_at(record, "d"), list_at(record, "b"), list_at(7, "d")] == [[1], [], []]
