"""DiscordChatExporter's files."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.helpers import check, damaged, layout, read, same, talks

KIM = {"id": "1", "name": "kim", "discriminator": "0000", "nickname": "Kim", "isBot": False}
OLA = {"id": "2", "name": "ola", "discriminator": "1234", "nickname": "Ola", "isBot": False}


def message(minute: int, author: dict, content: str, kind: str = "Default", **more: object) -> dict[str, object]:
    time = f"2024-02-01T10:{minute:02}:00.123+01:00"
    return {"id": str(minute), "type": kind, "timestamp": time, "content": content, "author": author, **more}


CHANNEL = {
    "guild": {"id": "0", "name": "Direct Messages"},
    "channel": {"id": "3", "type": "DirectTextChat", "name": "Ola"},
    "messages": [
        message(0, OLA, "Joined the server.", "GuildMemberJoin"),
        message(1, KIM, "hi <@2> <:soup:99>", mentions=[OLA]),
        message(2, OLA, "hello\nthere", "Reply"),
        message(3, OLA, "", attachments=[{"url": "1.png"}]),
        message(4, OLA, "", forwardedMessage={"content": "news"}),
        message(5, KIM, "bye"),
    ],
    "messageCount": 6,
}
TABLE = """\
AuthorID,Author,Date,Content,Attachments,Reactions
"2","ola#1234","{}","Joined the server.","",""
"1","kim","{}","hi @Ola, you","",""
"2","ola#1234","{}","he said ""hello""
there","","x (1)"
"2","ola#1234","{}","","https://a.org/1.png",""
"1","kim","{}","bye","",""
"""


def test_json() -> None:
    left_out: Counter[str] = Counter()
    assert layout(CHANNEL) == "discord"
    (dialogue,) = read(CHANNEL, left_out=left_out)
    assert same(dialogue, ([], []), ["hi @Ola :soup:", "hello there", "bye"])
    assert +left_out == {"notices": 1, "messages of media": 1, "forwarded messages": 1}
    assert talks(CHANNEL)[0].speakers == ["Kim", "Ola"]


def test_two_people_of_one_nickname() -> None:
    channel = CHANNEL | {"messages": [message(1, KIM, "a"), message(2, OLA | {"nickname": "Kim"}, "b")]}
    assert talks(channel)[0].speakers == ["Kim (1)", "Kim (2)"]


def test_csv() -> None:
    for form in (
        "01-Feb-24 10:0{} AM",
        "2/1/2024 10:0{} AM",
        "01/02/2024 10:0{}",
        "2024-02-01T10:0{}:00.0000000+01:00",
    ):
        left_out: Counter[str] = Counter()
        table = TABLE.format(*(form.format(minute) for minute in range(5)))
        assert layout(table) == "discord"
        (dialogue,) = read(table, left_out=left_out)
        assert same(dialogue, ([], []), ["hi @Ola, you", 'he said "hello" there', "bye"])
        assert +left_out == {"notices": 1, "messages of media": 1}
        (talk,) = talks(table)
        assert talk.speakers == ["kim", "ola"]
        assert talk.turns[-1].seconds - talk.turns[0].seconds == 180


@settings(max_examples=100, deadline=None)
@given(damaged(CHANNEL))
def test_a_damaged_export_gives_dialogues_or_one_line(document: object) -> None:
    check(json.dumps(document).encode())
    check(json.dumps(document).encode(), "discord")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(TABLE.replace("{}", "1/2/24 9:00 PM").splitlines()) | st.text(max_size=20), max_size=8))
def test_damaged_csv_gives_dialogues_or_one_line(lines: list[str]) -> None:
    check("\n".join([TABLE.split("\n")[0], *lines]).encode())


SAID = st.lists(st.text('abc ,"\u00e9\U0001f600.!?', min_size=1).map(str.strip).filter(bool), min_size=2, max_size=30)


@given(SAID)
def test_what_was_said_comes_back(said: list[str]) -> None:
    messages = [message(number, (KIM, OLA)[number % 2], text) for number, text in enumerate(said)]
    assert same(read(CHANNEL | {"messages": messages})[0], ([], []), said)
    file = io.StringIO()
    rows = [[number % 2, "AB"[number % 2], f"2/1/24 9:{number:02}", text, "", ""] for number, text in enumerate(said)]
    csv.writer(file).writerows([["AuthorID", "Author", "Date", "Content", "Attachments", "Reactions"], *rows])
    assert same(read(file.getvalue())[0], ([], []), said)
