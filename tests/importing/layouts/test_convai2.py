"""ConvAI2's own text, to be mixed with other talks."""

from __future__ import annotations

from collections import Counter

import pytest

from personagpt.errors import UserError
from personagpt.text.convai2 import parse_corpus, write_corpus
from tests.importing.helpers import layout, read, same

TEXT = """\
1 your persona: i have two dogs .
2 partner's persona: i paint .
3 hi !\thello !\t\tno .|hello !
4 any pets ?\ttwo dogs .
1 hi !\tho !
"""


def test_it_is_read_back_as_it_was() -> None:
    assert layout(TEXT) == "convai2"
    first, second = read(TEXT)
    assert same(first, (["i paint ."], ["i have two dogs ."]), ["hi !", "hello !", "any pets ?", "two dogs ."])
    assert same(second, ([], []), ["hi !", "ho !"])
    text = write_corpus([first, second])
    assert [dialogue.utterances for dialogue, _ in parse_corpus(text.encode(), "")] == [
        first.utterances, second.utterances,
    ]  # fmt: skip
    assert read(text) == [first, second]


def test_what_is_left_out_is_counted() -> None:
    left_out: Counter[str] = Counter()
    assert len(read(TEXT + "1 hi !\t \n", left_out=left_out)) == 2
    assert left_out["dialogues with an empty utterance"] == 1


def test_a_mistake_names_its_line() -> None:
    with pytest.raises(UserError, match="talks:4: number 5 is out of order"):
        read(TEXT.replace("\n4 any", "\n5 any"))


def test_a_numbered_list_is_no_convai2_text() -> None:
    with pytest.raises(UserError, match="text of no format that is known; its first line: '1 get up'"):
        layout("1 get up\n2 make tea\n")
