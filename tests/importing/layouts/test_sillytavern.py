"""SillyTavern's chat files."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.helpers import check, damaged, json_lines, layout, read, same, talks

ABOUT = {"user_name": "You", "character_name": "Vex", "create_date": "2024-01-01@10h00m00s", "chat_metadata": {}}


def message(name: str, text: str, **more: object) -> dict:
    return {"name": name, "is_user": name == "You", "send_date": "June 1, 2024 10:00am", "mes": text} | more


CHAT = [
    ABOUT,
    message("Vex", "*looks up* Who are you?", swipes=["Hm?", "*looks up* Who are you?"], swipe_id=1),
    message("You", "the new kid"),
    message("System", "hidden", is_system=True),
    message("Narrator", "It rains.", extra={"type": "narrator"}),
    message("Vex", "Then hold this, {{user}}.\nI am {{Char}}."),
    message("Vex", ""),
    message("You", "why?"),
]
SAID = ["*looks up* Who are you?", "the new kid", "Then hold this, You. I am Vex."]


def test_a_chat() -> None:
    left_out: Counter[str] = Counter()
    content = json_lines(*CHAT)
    assert layout(content) == "sillytavern"
    # The character replies, so that the talk ends with what the character says.
    assert same(read(content, left_out=left_out)[0], ([], []), SAID)
    assert +left_out == {"hidden messages": 1, "messages of the narrator": 1, "empty messages": 1}
    assert talks(content)[0].replier == "Vex"


def test_chats_after_each_other_are_talks() -> None:
    first, second = read(json_lines(*CHAT, *CHAT))
    assert same(first, ([], []), SAID)
    assert same(second, ([], []), SAID)


def test_a_file_without_the_line_about_the_chat() -> None:
    assert same(read(json_lines(*CHAT[1:]))[0], ([], []), SAID)


def test_a_group_chat_has_no_single_replier() -> None:
    (talk,) = talks(json_lines(ABOUT, message("Vex", "a"), message("You", "b"), message("Pim", "I am {{char}}.")))
    assert (talk.replier, talk.speakers, talk.turns[2].text) == (None, ["Vex", "You", "Pim"], "I am Pim.")


def test_a_user_with_the_name_of_the_character() -> None:
    (talk,) = talks(json_lines(ABOUT, message("Vex", "a"), message("Vex", "b", is_user=True), message("Vex", "c")))
    assert talk.speakers == ["Vex", "Vex (user)"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"name": "Vex", "is_user": false}', "the message of line 9: no 'mes'"),
        ('{"is_user": false, "mes": "hi"}', "the message of line 9: no 'name'"),
        ('{"name": "Vex", "mes": "cut', "the message of line 9: expected an object with 'mes', got None"),
    ],
)
def test_a_damaged_message_leaves_the_chat_out(line: str, reason: str) -> None:
    assert read(json_lines(*CHAT) + line) == [f"line 1: {reason}"]


def test_a_chat_in_which_the_character_says_nothing() -> None:
    assert read(json_lines(ABOUT, message("You", "hi {{char}}"), message("You", "ho"))) == [
        "line 1: 1 speaker ('You'); expected two"
    ]
    assert read(json_lines(message("You", "hi {{char}}"), message("You", "ho"))) == [
        "line 1: 1 speaker ('You'); expected two"
    ]


@settings(max_examples=100, deadline=None)
@given(damaged({"lines": CHAT}))
def test_a_damaged_chat_gives_dialogues_or_one_line(document: object) -> None:
    records = document.get("lines") if isinstance(document, dict) else document
    data = json_lines(*(records if isinstance(records, list) else [records])).encode() or b"x"
    check(data)
    check(data, "sillytavern")


@settings(deadline=None)
@given(st.lists(st.text("abc \u00e9\U0001f600.!?*", min_size=1).map(str.strip).filter(bool), min_size=3, max_size=20))
def test_what_was_said_comes_back(said: list[str]) -> None:
    messages = [message(("Vex", "You")[number % 2], text) for number, text in enumerate(said)]
    assert same(read(json_lines(ABOUT, *messages))[0], ([], []), said[: (len(said) - 1) // 2 * 2 + 1])
