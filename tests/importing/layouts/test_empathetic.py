"""Empathetic Dialogues."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personagpt.errors import UserError
from tests.importing.helpers import check, layout, read, same

HEADER = "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags\n"


def rows(*said: str, talk: int = 1, first: int = 1) -> str:
    return "".join(
        f"hit:0_conv:{talk},{number},proud,I baked.,{number % 2},{text},5|5|5_2|2|5,\n"
        for number, text in enumerate(said, start=first)
    )


CSV = HEADER + rows("I baked a cake_comma_ at last!", '"Great" cake') + rows("a", "b", "c", talk=2)
CAKE = ["I baked a cake, at last!", '"Great" cake']


def test_the_published_form() -> None:
    assert layout(CSV) == "empathetic"
    first, second = read(CSV)
    assert same(first, ([], []), CAKE)
    assert same(second, ([], []), ["a", "b", "c"])


def test_commas_in_quotes() -> None:
    text = HEADER + rows('"I baked a cake, at last!"', '"""Great"" cake"')
    assert layout(text) == "empathetic"
    assert same(read(text)[0], ([], []), CAKE)


def test_a_speaker_may_have_one_number_in_both_columns() -> None:
    text = HEADER + rows("a", "b").replace(",0,b", ",1,b")
    assert same(read(text)[0], ([], []), ["a", "b"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (rows("a", talk=2) + rows("c", talk=2, first=3), "expected utterance_idx 2, a whole number, got '3'"),
        ("hit:0_conv:2,one,proud,x,1,a,5,\n", "expected utterance_idx, a whole number, got 'one'"),
        ("hit:0_conv:2,1,proud,x,1\n", "no 'utterance'"),
        (rows("a", "", talk=2), "utterance 2 is empty"),
    ],
)
def test_a_conversation_that_is_no_dialogue(text: str, reason: str) -> None:
    dialogue, line = read(HEADER + rows("I baked a cake_comma_ at last!", '"Great" cake') + text)
    assert same(dialogue, ([], []), CAKE)
    assert line == f"line 4: {reason}"


def test_other_columns() -> None:
    with pytest.raises(UserError, match="expected a CSV with the columns conv_id, utterance_idx, utterance"):
        read("conv_id,text\na,b\n", "empathetic")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(CSV)), st.sampled_from(['"', "\n", ",", "\r", "\t", "\x1b", "\u202e", ""]), st.integers(0, 9))
def test_a_damaged_file_gives_dialogues_or_one_line(place: int, piece: str, cut: int) -> None:
    data = (CSV[:place] + piece + CSV[place + cut :]).encode()
    check(data)
    check(data, "empathetic")


@settings(deadline=None)
@given(st.lists(st.text("abc, \u00e9\U0001f600.!?\"'", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=9))
def test_what_was_said_comes_back(said: list[str]) -> None:
    # A conversation before it has a comma, so that the file is one of the published form.
    text = HEADER + rows("a_comma_ b", "c", talk=2) + rows(*(line.replace(",", "_comma_") for line in said))
    assert same(read(text)[1], ([], []), said)
