"""WhatsApp's exports."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personagpt.importing.talks import ImportedTalk
from tests.importing.helpers import check, layout, read, same, talks

ANDROID = """\
12/11/23, 21:55 - Messages and calls are end-to-end encrypted. No one outside of this chat can read them.
12/11/23, 21:56 - Mira: are you home yet
12/11/23, 21:57 - Tom K: almost,
the bus is late again

(as ever)
12/11/23, 22:01 - Tom K: i bring bread: white
12/11/23, 22:02 - Mira: <Media omitted>
12/11/23, 22:03 - Mira: You deleted this message
12/11/23, 22:04 - Mira: great <This message was edited>
"""
IPHONE = """\
[12.11.23, 21:55:01] Mira: \u200eNachrichten und Anrufe sind Ende-zu-Ende-verschl\u00fcsselt.
[12.11.23, 21:56:10] Mira: bist du da
[12.11.23, 21:57:14] ~\u202fTom\u00a0K: gleich
\u200e[12.11.23, 22:01:02] Mira: \u200eBild weggelassen
\u200e[12.11.23, 22:01:40] Mira: schau mal \u200e<Anhang: 00000046-PHOTO-2023.jpg>
\u200e[12.11.23, 22:02:00] Mira: plan.pdf \u2022 \u200e2 Seiten \u200eDokument weggelassen
[12.11.23, 22:03:00] Tom K: \u200eDiese Nachricht wurde gel\u00f6scht.
[12.11.23, 22:04:00] Tom K: sch\u00f6n \u200e<Diese Nachricht wurde bearbeitet>
"""


def texts(content: str) -> list[str]:
    (talk,) = talks(content)
    assert isinstance(talk, ImportedTalk)
    return [f"{turn.speaker}: {turn.text.strip()}" for turn in talk.turns]


def test_an_export_of_android() -> None:
    left_out: Counter[str] = Counter()
    assert layout(ANDROID) == "whatsapp"
    (dialogue,) = read(ANDROID, left_out=left_out)
    said = ["are you home yet", "almost, the bus is late again (as ever) i bring bread: white", "great"]
    assert same(dialogue, ([], []), said)
    assert +left_out == {
        "notices of WhatsApp": 1,
        "messages of media, calls and notices": 1,
        "deleted messages": 1,
    }


def test_an_export_of_the_iphone() -> None:
    left_out: Counter[str] = Counter()
    assert layout(IPHONE) == "whatsapp"
    (dialogue,) = read(IPHONE, left_out=left_out)
    assert same(dialogue, ([], []), ["bist du da", "gleich", "schau mal", "sch\u00f6n"])
    assert talks(IPHONE)[0].speakers == ["Mira", "Tom K"]
    assert +left_out == {
        "messages of media, calls and notices": 3,
        "deleted messages": 1,
        "attachments beside a text": 1,
    }


@pytest.mark.parametrize(
    "header",
    [
        "30/11/2023, 21:55 - {}: {}", "11/30/23, 9:55 PM - {}: {}", "11/30/23, 9:55\u202fPM - {}: {}",
        "2023-11-30, 9:55 p.m. - {}: {}", "30/11/2023, 9:55 p.\u00a0m. - {}: {}", "30.11.23, 21:55 - {}: {}",
        "30-11-2023 21:55 - {}: {}", "2023/11/30 21:55 - {}: {}", "2023/11/30 \u4e0b\u53489:55 - {}: {}",
        "2023\ub144 11\uc6d4 30\uc77c \uc624\ud6c4 9:55, {} : {}", "30 Nov 21:55 - {}: {}",
        "21:55, 30 Nov 2023 - {}: {}",
        "[30/11/2023, 21:55:01] {}: {}", "[11/30/23, 9:55:01 PM] {}: {}", "[11/30/23, 9:55:01\u202fPM] {}: {}",
        "[30.11.23, 21:55:01] {}: {}", "[30/11/2023 \u00e0 21:55:01] {}: {}", "[30.11.2023 klo 21.55.01] {}: {}",
        "[21:55:01, 30/11/2023] {}: {}", "[2023/11/30 \u4e0b\u53489:55:01] {}: {}", "30/11/23 21:55:01: {}: {}",
        "\ufeff\u200e[\u200f30\u200f/11\u200f/2023\u060c 21:55:01] {}: {}", "[30/11, 21:55] {}: {}",
    ],
)  # fmt: skip
def test_times_of_every_country(header: str) -> None:
    lines = [
        header.format("Mira", "hi"),
        header.format("+49\u00a0151 23", "ho: no"),
        "- more",
        header.format("Mira", "x"),
    ]
    assert layout("\n".join(lines)) == "whatsapp"
    assert texts("\n".join(lines)) == ["Mira: hi", "+49 151 23: ho: no\n- more", "Mira: x"]
    assert all(turn.seconds is not None for turn in talks("\n".join(lines))[0].turns)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<Media omitted>", None), ("<Medien ausgeschlossen>", None), ("<M\u00e9dias omis>", None), ("null", None),
        ("<\u0411\u0435\u0437 \u043c\u0435\u0434\u0438\u0430\u0444\u0430\u0439\u043b\u043e\u0432>", None),
        ("<\u5a92\u4f53\u6587\u4ef6\u5df2\u5ffd\u7565>", None), ("<Media omitted>\nmy garden", "my garden"),
        ("\u200eIMG-20231112-WA0001.jpg (file attached)", None), ("\u200eIMG-20231112-WA0001.jpg (foo bar)", None),
        ("IMG-20231112-WA0001.jpg (file attached)\nmy garden", "my garden"), ("tea.vcf (Datei angeh\u00e4ngt)", None),
        ("Missed voice call", None), ("Missed video call, tap to call back", None), ("voice call me", "voice call me"),
        ("location: https://maps.google.com/?q=52.1,5.1", None), ("see a.txt (it is new)", "see a.txt (it is new)"),
        ("POLL:\nsoup?\nOPTION: yes (2 votes)\nOPTION: no (0 votes)", None), ("<b>", "<b>"), ("<3 you", "<3 you"),
        ("This message was deleted", None), ("Ce message a \u00e9t\u00e9 supprim\u00e9.", None), ("a <b c>", "a <b c>"),
        ("You deleted this message as admin", None),
        ("this message was deleted by me", "this message was deleted by me"),
        ("ok <This message was edited>", "ok"), ("", None), ("\u200ehello", "\u200ehello"),
    ],
)  # fmt: skip
def test_what_is_no_message(text: str, rest: str | None) -> None:
    head = "12/11/23, 21:5{} - {}: {}"
    lines = "\n".join([head.format(1, "Ann", "a"), head.format(2, "Bob", text), head.format(3, "Ann", "c")])
    assert texts(lines) == ["Ann: a", *([f"Bob: {rest}"] if rest else []), "Ann: c"]


def test_notices_with_a_colon() -> None:
    lines = [
        '12/11/23, 21:51 - Mira changed the subject from "a" to "Soup: now"',
        "12/11/23, 21:52 - Ann \"Annie\" Lee: hi",
        "12/11/23, 21:53 - Mira: ho",
        "12/11/23, 21:54 - Ann \"Annie\" Lee: hi",
        "12/11/23, 21:55 - Mira added Tom",
    ]  # fmt: skip
    left_out: Counter[str] = Counter()
    assert same(read("\n".join(lines), left_out=left_out)[0], ([], []), ["hi", "ho", "hi"])
    assert left_out["notices of WhatsApp"] == 2


def test_a_time_in_a_message_is_no_header() -> None:
    lines = ["[12.11.23, 21:56:10] Mira: trains:", "12/11/23, 10:15 - Ulm: late", "[12.11.23, 21:56:20] Tom: ok"]
    assert texts("\n".join(lines)) == ["Mira: trains:\n12/11/23, 10:15 - Ulm: late", "Tom: ok"]


def test_many_notices_first() -> None:
    notices = [f"12/11/23, 21:55 - +49 {number} joined using this group's invite link" for number in range(50)]
    said = ["12/11/23, 21:56 - Mira: hi", "12/11/23, 21:57 - Tom: ho"]
    assert layout("\n".join(notices + said)) == "whatsapp"
    assert texts("\n".join(notices + said)) == ["Mira: hi", "Tom: ho"]


def test_a_pause_of_hours_starts_a_new_talk() -> None:
    lines = ["12/11/23, 23:59 - A: a", "13/11/23, 00:01 - B: b", "13/11/23, 09:00 - B: c", "13/11/23, 09:01 - A: d"]
    assert [dialogue.utterances for dialogue in read("\n".join(lines))] == [["a", "b"], ["c", "d"]]


def test_lines_with_only_a_clock_are_plain_talks() -> None:
    assert layout("[10:11] Ann: hi\n[10:12] Ben: ho") == "plain"


PIECES = st.text("ab:-,[]<>() \u200e\u202f/0123456789\nPM.", max_size=30)
LINES = st.one_of(
    st.builds("12/11/23, 21:55 - {}: {}".format, PIECES, PIECES),
    st.builds("\u200e[12.11.23, 21:55:01] {}: {}".format, PIECES, PIECES),
    st.builds("{}/{}/{}, {}:{} - A: b".format, *[st.integers(0, 40)] * 5),
    PIECES,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=8))
def test_any_lines_give_dialogues_or_one_line(lines: list[str]) -> None:
    check("\n".join(["12/11/23, 21:55 - A: a", *lines]).encode(), None)
    check("\n".join(lines).encode(), "whatsapp")


WORDS = st.text("abc \u00e9\U0001f600.!?", min_size=1, max_size=20).map(str.strip).filter(bool)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=2, max_size=12), st.sampled_from(["%d/%m/%y, %H:%M - ", "[%m/%d/%Y, %I:%M:%S %p] "]))
def test_what_was_said_comes_back(said: list[str], form: str) -> None:
    start = datetime(2023, 12, 29, 23, 30)
    lines = [
        f"{start + timedelta(minutes=number):{form}}{'AB'[number % 2]}: {text}" for number, text in enumerate(said)
    ]
    (dialogue,) = read("\n".join(lines))
    assert dialogue.utterances == said
