"""convogym's talks."""

from __future__ import annotations

import csv
import io
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personagpt.errors import UserError
from tests.importing.helpers import check, layout, read, same, talks

FACTS = ["i bake .", "i row ."], ["i sing ."]
SAID = ["hi !", 'you\'re "new" ?', "yes ."]


def table(*rows: tuple[object, ...], header: tuple[str, ...] = ("hx", "p1", "p2", "split")) -> str:
    file = io.StringIO()
    csv.writer(file).writerows([header, *rows])
    return file.getvalue()


CSV = table((SAID, *FACTS, "train"), (["a", "b"], [], [], "valid"), (["c", "d"], [], [], "test"))


def test_talks_with_their_parts() -> None:
    left_out: Counter[str] = Counter()
    assert layout(CSV) == "convogym"
    first, second = read(CSV, left_out=left_out)
    assert same(first, FACTS, SAID)
    assert same(second, ([], []), ["a", "b"])
    assert [talk.part for talk in talks(CSV)] == ["train", "valid"]
    assert left_out["records of the test part"] == 1


def test_special_tokens_at_the_ends() -> None:
    said = ["<|start|>hi !<|endoftext|>", "hello !<|endoftext|>"]
    text = table((said, ["i bake .<|endoftext|>"], []), header=("hx", "p1", "p2"))
    assert same(read(text)[0], (["i bake ."], []), ["hi !"])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("hi", [], []), "'hx' is 'hi'; expected a list as Python writes it"),
        (([1], [], []), "'hx' has 1 in it; expected text"),
        (({}, [], []), "'hx' is {}; expected a list"),
        ((["a", ""], [], []), "utterance 2 is empty"),
        (([], [], []), "nobody says anything"),
        (("open('x')", [], []), "'hx' is \"open('x')\"; expected a list as Python writes it"),
    ],
)
def test_a_row_that_is_no_dialogue(row: tuple[object, ...], reason: str) -> None:
    assert read(table((SAID, *FACTS, "train"), (*row, "train")))[1:] == [f"record 2: {reason}"]


def test_personas_without_talks() -> None:
    text = "Fact 1,Fact 2\ni row.,i bake.\ni sing.,\n"
    assert layout(text) == "convogym"
    with pytest.raises(
        UserError, match="talks: personas without talks; import talks, and give a persona with --speaker"
    ):
        read(text)


def test_other_columns() -> None:
    with pytest.raises(UserError, match="expected a CSV with the columns hx, p1, p2"):
        read("text,p1\na,b\n", "convogym")


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, len(CSV)),
    st.sampled_from(['"', "\n", "[", "(" * 300, "'", "\x1b", "\\ud800", ""]),
    st.integers(0, 9),
)
def test_a_damaged_file_gives_dialogues_or_one_line(place: int, piece: str, cut: int) -> None:
    data = (CSV[:place] + piece + CSV[place + cut :]).encode()
    check(data)
    check(data, "convogym")


@settings(deadline=None)
@given(st.lists(st.text("abc \u00e9\U0001f600.!?,\"'", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=9))
def test_what_was_said_comes_back(said: list[str]) -> None:
    assert same(read(table((said, *FACTS, "")))[0], FACTS, said)


GOALS = (
    "context,response\n"
    "<|act|> ask about pets.<|sep|><|p1|><|sep|><|start|> hi !EOShello !EOS,any pets ?EOS\n"
    "<|p2|>i bake .EOSi row .EOS<|sep|><|start|> hi !EOS,<|start|> hello .EOS\n"
).replace("EOS", "<|endoftext|>")


def test_goal_data() -> None:
    left_out: Counter[str] = Counter()
    assert layout(GOALS) == "convogym"
    first, second = read(GOALS, left_out=left_out)
    assert same(first, ([], []), ["hi !", "hello !", "any pets ?"])
    assert same(second, ([], ["i bake .", "i row ."]), ["hi !", "hello ."])
    assert +left_out == {"goals of replies": 1}


def test_a_context_without_control_tokens_is_named() -> None:
    (*_, last) = read(GOALS + "hi !,hello !\n")
    assert last == "record 3: 'context' is 'hi !'; expected such as <|act|>GOAL<|p1|><|sep|><|start|>..."
