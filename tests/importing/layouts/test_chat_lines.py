"""KakaoTalk's, LINE's, Telegram's and IRC programs' text."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.helpers import check, layout, read

# Two messages in the evening, two the next morning, and what is no message.
KAKAO = """Mira \ub2d8\uacfc \uce74\uce74\uc624\ud1a1 \ub300\ud654
\uc800\uc7a5\ud55c \ub0a0\uc9dc : 2023\ub144 11\uc6d4 13\uc77c \uc624\ud6c4 10:00

--------------- 2023\ub144 11\uc6d4 12\uc77c \uc77c\uc694\uc77c ---------------
[Mira] [\uc624\ud6c4 9:56] home yet ?
[Tom] [\uc624\ud6c4 9:57] almost ,
the bus is late
[Mira] [\uc624\ud6c4 9:58] \uc0ac\uc9c4
--------------- 2023\ub144 11\uc6d4 13\uc77c \uc6d4\uc694\uc77c ---------------
[Mira] [\uc624\uc804 9:00] morning .
[Tom] [\uc624\uc804 9:01] hi .
"""
LINE = """[LINE] Chat history with Mira
Saved on: 2023/11/13 22:00

2023/11/12(Sun)
21:56\tMira\thome yet ?
21:57\tTom\talmost ,
the bus is late
21:58\tMira\t[Sticker]

2023/11/13(Mon)
09:00\tMira\tmorning .
09:01\tTom\thi .
"""
TELEGRAM = """Mira, [12.11.2023 21:56]
home yet ?

Tom, [12.11.2023 21:57]
almost ,
the bus is late

Mira, [13.11.2023 09:00]
morning .

Tom, [13.11.2023 09:01]
hi .
"""
IRC = """--- Log opened Sun Nov 12 21:00:00 2023
21:56 <@mira> home yet ?
21:56 -!- bob [~bob@x] has joined #bees
21:57 < tom> almost , the bus is late
21:58 * mira waves
--- Day changed Mon Nov 13 2023
[09:00] <mira> morning .
[09:01] <tom> hi .
"""


@pytest.mark.parametrize(
    ("content", "counts"),
    [
        (KAKAO, {"notices": 2, "messages of media": 1}),
        (LINE, {"notices": 2, "messages of media": 1}),
        (
            LINE.replace("2023/11/12(Sun)", "Sun, 2023/11/12").replace("2023/11/13(Mon)", "Mon, 2023/11/13"),
            {"notices": 2, "messages of media": 1},
        ),
        (TELEGRAM, {}),
        (IRC, {"notices": 2}),
    ],
)
def test_chats_of_two_days(content: str, counts: dict[str, int]) -> None:
    left_out: Counter[str] = Counter()
    assert layout(content) == "chat-lines"
    evening, morning = read(content, left_out=left_out)
    assert evening.utterances == ["home yet ?", "almost , the bus is late"]
    assert morning.utterances == ["morning .", "hi ."]
    assert +left_out == counts


def test_a_clock_that_goes_back_leaves_the_order_of_the_file() -> None:
    text = LINE.replace("21:58\tMira\t[Sticker]\n", "").replace("2023/11/13(Mon)", "the next day")
    (talk,) = read(text)
    assert talk.utterances == ["home yet ?", "almost , the bus is late the next day", "morning .", "hi ."]


@pytest.mark.parametrize("content", ["[10:11] Ann: hi\n[10:12] Ben: ho\n", "10:11 Ann: <b> c\n10:12 Ben: <d> e\n"])
def test_names_with_colons_are_not_these(content: str) -> None:
    assert layout(content) == "plain"


PIECES = st.sampled_from(
    [*KAKAO.split("\n"), *LINE.split("\n"), *TELEGRAM.split("\n"), *IRC.split("\n"), "\x1b[2J", "\u202e"]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=12))
def test_any_lines_give_dialogues_or_one_line(lines: list[str]) -> None:
    check("\n".join(lines).encode())
    check("\n".join(lines).encode(), "chat-lines")


TEXTS = st.text("abc .!?", min_size=1).map(str.strip).filter(bool)


@given(st.lists(TEXTS, min_size=2, max_size=6))
def test_what_was_said_comes_back(said: list[str]) -> None:
    lines = ["2023/11/12(Sun)", *(f"21:5{n}\t{'AB'[n % 2]}\t{text}" for n, text in enumerate(said))]
    assert read("\n".join(lines), "chat-lines")[0].utterances == said


def test_a_year_ends() -> None:
    days = ["2023\ub144 12\uc6d4 31\uc77c \uc77c\uc694\uc77c", "2024\ub144 1\uc6d4 1\uc77c \uc6d4\uc694\uc77c"]
    hours = "[Mira] [\uc624\uc804 9:56] a\n[Tom] [\uc624\uc804 9:57] b\n"
    talk, other = read("".join(f"--------------- {day} ---------------\n{hours}" for day in days))
    assert talk.utterances == other.utterances == ["a", "b"]
