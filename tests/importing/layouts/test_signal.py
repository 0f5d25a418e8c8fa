"""Signal's chats in the files of signal-export."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.helpers import check, damaged, json_lines, layout, read, same


def message(minute: int, sender: str, body: str, **more: object) -> dict[str, object]:
    none = {"quote": "", "sticker": None, "reactions": [], "attachments": []}
    return {"date": f"2024-02-01T10:{minute:02}:00.500000", "sender": sender, "body": body} | none | more


CHAT = [
    message(1, "Me", "film tonight?  "),
    message(2, "Ola", "yes!\nthe late one  ", quote="\n\n> film\n\n", reactions=[["Me", "x"]]),
    message(3, "Ola", "  ", attachments=[{"name": "a.png", "path": "media/a.png"}]),
    message(4, "Ola", "  ", deleted=True),
    message(5, "Me", "Outgoing voice call (accepted, 3m 2s)  ", call=True),
    message(6, "Me", "got tickets  "),
]
MARKDOWN = """\
[2024-02-01 10:01:00] Me: film tonight?{s}

[2024-02-01 10:02:00] Ola:{c}

> film

yes!
the late one{s}
(- Me: x -)

[2024-02-01 10:03:00] Ola: {s}![a.png](./media/a.png){s}

[2024-02-01 10:04:00] Ola: (This message was deleted)

[2024-02-01 10:05:00] Me: Outgoing voice call (accepted, 3m 2s){s}

[2024-02-01 10:06:00] Me: got tickets{s}
""".format(s="  ", c=" ")
SAID = ["film tonight?", "yes! the late one", "got tickets"]
LEFT_OUT = {"messages of media": 1, "deleted messages": 1, "calls": 1}


def test_json_lines() -> None:
    left_out: Counter[str] = Counter()
    assert layout(json_lines(*CHAT)) == "signal"
    assert same(read(json_lines(*CHAT), left_out=left_out)[0], ([], []), SAID)
    assert +left_out == LEFT_OUT


def test_markdown() -> None:
    left_out: Counter[str] = Counter()
    assert layout(MARKDOWN) == "signal"
    assert same(read(MARKDOWN, left_out=left_out)[0], ([], []), SAID)
    assert +left_out == LEFT_OUT


def test_older_files_have_a_comma_in_the_time() -> None:
    text = "[2019-05-29, 15:04] Me: How is everyone?  \n[2019-05-29, 15:10] Aya: We're great!  \n"
    assert layout(text) == "signal"
    assert same(read(text)[0], ([], []), ["How is everyone?", "We're great!"])


def test_whatsapp_may_write_such_times() -> None:
    assert layout("[2019-05-29, 15:04] Me: How is everyone?\n[2019-05-29, 15:10] Aya: We're great!\n") == "whatsapp"


@settings(max_examples=100, deadline=None)
@given(damaged(CHAT))
def test_a_damaged_export_gives_dialogues_or_one_line(messages: object) -> None:
    text = json_lines(*(messages if isinstance(messages, list) else [messages]))
    check(text.encode())
    check(text.encode(), "signal")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(MARKDOWN.splitlines()) | st.text("[]2019-: (>)ab", max_size=30), max_size=10))
def test_any_lines_give_dialogues_or_one_line(lines: list[str]) -> None:
    check("\n".join(lines).encode(), "signal")


@given(st.lists(st.text("abc \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=9))
def test_what_was_said_comes_back(said: list[str]) -> None:
    chat = [message(number, "AB"[number % 2], text) for number, text in enumerate(said)]
    assert same(read(json_lines(*chat))[0], ([], []), said)
    markdown = [f"[2024-02-01 10:{number:02}:00] {'AB'[number % 2]}: {text}  \n" for number, text in enumerate(said)]
    assert same(read("\n".join(markdown))[0], ([], []), said)
