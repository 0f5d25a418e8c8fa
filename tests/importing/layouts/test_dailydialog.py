"""A talk a line, with a mark between the utterances."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personagpt.errors import UserError
from personagpt.importing.layouts import dailydialog
from tests.importing.helpers import check, layout, read, same, source

SAID = ["Say , Jim , how about a walk ?", "Good idea .", "Let 's go : now ."]
# Of other lengths than the first talk, as in each file of this kind: the cells of a table would be as many in each row.
OTHERS = [["hi", "ho"], ["hi", "ho", "hi", "ho"], ["a", "b"]]


def lines(mark: str, end: str) -> str:
    return "".join(mark.join(said) + end + "\n" for said in [SAID, *OTHERS])


@pytest.mark.parametrize(
    ("mark", "end"),
    [
        (" __eou__ ", " __eou__"),
        ("__eou__", ""),
        (" __eou__ ", " __eou__ "),
        ("</s>", "</s>"),
        (" </s> ", ""),
        ("\t", ""),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_talk_a_line(mark: str, end: str, line_end: str) -> None:
    text = lines(mark, end).replace("\n", line_end)
    assert layout(text) == "dailydialog"
    assert [dialogue.utterances for dialogue in read(text)] == [SAID, *OTHERS]
    assert same(read(text)[0], ([], []), SAID)


def test_a_mark_at_the_start_of_a_talk_is_no_text() -> None:
    text = "<s>hi</s>ho</s>\n<s> a</s>b\n"
    assert [dialogue.utterances for dialogue in read(text)] == [["hi", "ho"], ["a", "b"]]


@pytest.mark.parametrize(
    "text",
    [
        "Ann: hi</s>Ben: ho</s>\n",
        "1 hi\tho\n2 hi\tho\n",
        "no mark\n",
        "hi __eou__ ho\n" + "no mark\n" * 9,
        "Ann: hi\tBen: ho\tAnn: hi\n",
    ],
)
def test_other_text_is_not_recognised(text: str) -> None:
    assert not dailydialog.recognises(source(text))


def test_a_line_that_is_no_dialogue() -> None:
    assert read(lines(" __eou__ ", "") + "alone\na __eou__ __eou__ b\n")[4:] == [
        "line 5: 1 speaker ('first speaker'); expected two",
        "line 6: utterance 2 is empty",
    ]


def test_text_without_a_mark() -> None:
    with pytest.raises(UserError, match="expected a talk a line, with `__eou__`, `</s>` or tabs between"):
        read("hello", "dailydialog")


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["__eou__", "</s>", "\t"]),
    st.integers(0, 99),
    st.sampled_from(['"', "\n", "__eou__", "</s>", "\t", "\x1b", "\u202e", ""]),
    st.integers(0, 9),
)
def test_a_damaged_file_gives_dialogues_or_one_line(mark: str, place: int, piece: str, cut: int) -> None:
    text = lines(mark, mark)
    data = (text[:place] + piece + text[place + cut :]).encode()
    check(data)
    check(data, "dailydialog")


@pytest.mark.parametrize("mark", [" __eou__ ", "</s>", "\t"])
@settings(deadline=None)
@given(
    said=st.lists(st.text("abc \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=9)
)
def test_what_was_said_comes_back(mark: str, said: list[str]) -> None:
    assert same(read(mark.join(said) + mark.rstrip(" ") + "\n", "dailydialog")[0], ([], []), said)
