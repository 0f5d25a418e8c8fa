"""Persona-Chat as a CSV of persona and chat."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personagpt.errors import UserError
from tests.importing.helpers import check, layout, read, same

FACTS = ["i bake bread.", "i have a goat."]
SAID = ["hi , any pets ?", "a goat , she eats my shoes ."]
CSV = ',Persona,chat\n0,"i bake bread. i have a goat.","hi , any pets ?\na goat , she eats my shoes .\n"\n'


@pytest.mark.parametrize("text", [CSV, "\ufeff" + CSV.replace("\n", "\r\n"), CSV.replace(",Persona", "id,persona")])
def test_a_talk(text: str) -> None:
    assert layout(text) == "persona-csv"
    (dialogue,) = read(text)
    # Two short sentences are two facts, too.
    assert same(dialogue, ([], FACTS), SAID)


def test_what_comes_after_the_last_reply_is_cut_off() -> None:
    assert same(read('persona,chat\n"i row.","a\nb\nc"\n')[0], ([], ["i row."]), ["a", "b"])


def test_a_first_speaker_who_is_silent() -> None:
    assert same(read('persona,chat\n"i row.","__ SILENCE __\nb\nc\nd"\n')[0], (["i row."], []), ["b", "c", "d"])


def test_a_row_that_is_no_dialogue() -> None:
    assert read(CSV + '1,"i row.",hi\n2,i row.\n3,"i row.",\n')[1:] == [
        "record 2: you says nothing",
        "record 3: no 'chat'",
        "record 4: you says nothing",
    ]


def test_other_columns() -> None:
    with pytest.raises(UserError, match="expected a CSV with the columns persona, chat"):
        read("text,persona\na,b\n", "persona-csv")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(CSV)), st.sampled_from(['"', "\n", ",", "\r", "\t", "\x1b", "\u202e", ""]), st.integers(0, 9))
def test_a_damaged_file_gives_dialogues_or_one_line(place: int, piece: str, cut: int) -> None:
    data = (CSV[:place] + piece + CSV[place + cut :]).encode() or b"x"
    check(data)
    check(data, "persona-csv")


@settings(deadline=None)
@given(
    st.lists(st.text("abc \u00e9\U0001f600.!?,\"'", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=20)
)
def test_what_was_said_comes_back(said: list[str]) -> None:
    said = said[: len(said) // 2 * 2]
    file = io.StringIO()
    csv.writer(file).writerows([["Persona", "chat"], ["i row.", "\n".join(said)]])
    assert same(read(file.getvalue())[0], ([], ["i row."]), said)
