"""Subtitles that name the speakers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personagpt.errors import UserError
from tests.importing.helpers import check, layout, read, same

SRT = """\
1
00:00:01,000 --> 00:00:04,000
{\\an8}<i>Ann: can you
hear me ?</i>

2
00:00:05,000 --> 00:00:07,000
[door]
- Ben: yes .

3
00:00:08,000 --> 00:00:09,000
- Ann: good .
- Ben: go on .
"""
VTT = """\
WEBVTT

NOTE a comment: with a colon

intro
00:01.000 --> 00:04.000 align:start
<v.loud Ann>can you hear me ?</v>

00:05.000 --> 00:07.000
<v Ben>yes .</v>
"""


def test_srt() -> None:
    left_out: Counter[str] = Counter()
    assert layout(SRT) == "subtitles"
    (talk,) = read(SRT, left_out=left_out)
    assert same(talk, ([], []), ["can you hear me ?", "yes .", "good .", "go on ."])
    assert left_out["stage directions"] == 1


def test_webvtt() -> None:
    assert layout(VTT) == "subtitles"
    assert same(read(VTT)[0], ([], []), ["can you hear me ?", "yes ."])


@pytest.mark.parametrize("text", [SRT.replace("Ann: ", ""), "1\n00:00:01,000 --> 00:00:04,000\nhi there\n"])
def test_a_film_names_nobody(text: str) -> None:
    with pytest.raises(UserError, match=r"subtitles that do not say who speaks .*: write `NAME: ` in front"):
        read(text)


LINES = st.sampled_from([*SRT.splitlines(), *VTT.splitlines(), "<v >", "<v Ann>", "Ann:", "\u202e", "-->"])


@settings(max_examples=100, deadline=None)
@given(st.lists(LINES, max_size=12))
def test_any_lines_give_a_dialogue_or_one_line(lines: list[str]) -> None:
    check("\n".join(lines).encode())
    check("\n".join(lines).encode(), "subtitles")


@settings(deadline=None)
@given(st.lists(st.text("abc \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=20))
def test_what_was_said_comes_back(said: list[str]) -> None:
    cues = [f"00:00:01,000 --> 00:00:02,000\n{'AB'[number % 2]}: {text}\n" for number, text in enumerate(said)]
    assert same(read("\n".join(cues), "subtitles")[0], ([], []), said)
