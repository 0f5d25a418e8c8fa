"""Slack's exports."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personagpt.importing.recognition import read_talks
from tests.importing.helpers import check, damaged, layout, read, same, talks, write


def message(minute: int, user: str, text: str, **more: object) -> dict[str, object]:
    return {"type": "message", "user": user, "ts": f"{1706781600 + minute * 60}.000{minute}00", "text": text} | more


DAY = [
    message(0, "U2", "<@U2> has joined the channel", subtype="channel_join"),
    message(1, "U1", "hi <@U2>", user_profile={"real_name": "Kim Lee", "display_name": "Kim"}),
    message(2, "U2", "hello", user_profile={"real_name": "Ola", "display_name": ""}, reactions=[{"name": "x"}]),
    message(3, "U2", "", files=[{"name": "a.png"}]),
    message(4, "U1", "lunch?", thread_ts="1706781840.000400", reply_count=1),
    message(5, "U1", "bye"),
    message(6, "U2", "at one", thread_ts="1706781840.000400", parent_user_id="U1"),
]


def test_a_day() -> None:
    left_out: Counter[str] = Counter()
    assert layout(DAY) == "slack"
    channel, thread = read(DAY, left_out=left_out)
    assert same(channel, ([], []), ["hi @Ola", "hello", "bye"])
    assert same(thread, ([], []), ["lunch?", "at one"])
    assert +left_out == {"notices": 1, "messages of files": 1}
    assert talks(DAY)[0].speakers == ["Kim", "Ola"]


def test_a_thread_that_nobody_answered_stays_in_the_channel() -> None:
    day = [message(1, "U1", "a", thread_ts="x"), message(2, "U2", "b"), message(3, "U2", "c", thread_ts="y")]
    assert same(read(day)[0], ([], []), ["a", "b c"])


def test_names_of_the_export(tmp_path: Path) -> None:
    users = [{"id": "U1", "name": "kim", "profile": {"display_name": "Kim"}}, {"id": "U2", "name": "ola"}, 7]
    write(tmp_path / "users.json", users)
    (tmp_path / "general").mkdir()
    path = write(tmp_path / "general" / "2024-02-01.json", [message(1, "U1", "hi <@U2>"), message(2, "U2", "ho")])
    (talk,) = read_talks(path, None, None, Counter())[1]
    assert [(turn.speaker, turn.text) for turn in talk.turns] == [("Kim", "hi @ola"), ("ola", "ho")]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("&lt;3 &amp;amp;", "<3 &amp;"),
        ("<@U9|zoe> <#C1|soup> <#C2> <!here> <!subteam^S1|@cooks>", "@zoe #soup #C2 @here @cooks"),
        ("<https://a.org/?b|label> <https://a.org> <mailto:a@b.c|a@b.c>", "label https://a.org a@b.c"),
    ],
)
def test_markup(text: str, plain: str) -> None:
    assert talks([message(1, "U1", text), message(2, "U2", "b")])[0].turns[0].text == plain


@settings(max_examples=100, deadline=None)
@given(damaged(DAY))
def test_a_damaged_export_gives_dialogues_or_one_line(document: object) -> None:
    check(json.dumps(document).encode())
    check(json.dumps(document).encode(), "slack")


@given(st.lists(st.text("abc \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=9))
def test_what_was_said_comes_back(said: list[str]) -> None:
    day = [message(number, "AB"[number % 2], text) for number, text in enumerate(said)]
    assert same(read(day)[0], ([], []), said)
