"""`NAME: text` lines."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from personagpt.text.convai2 import Dialogue
from tests.importing.helpers import layout, read, same

PLAIN = """\
anna's persona: i bake .
Anna: hi : how are you ?
Bob: fine .

Bob\u2019s persona: i ski .

Bob: hello ?
A b: who is it ?
Bob: me .
"""


def test_talks() -> None:
    assert layout(PLAIN) == "plain"
    first, second = read(PLAIN)
    # Only Anna's persona is given, so the talk ends with her last word.
    assert same(first, (["i bake ."], []), ["hi : how are you ?"])
    assert same(second, (["i ski ."], []), ["hello ?", "who is it ?", "me ."])
    first, second = read("\n\nA: a\nA: b\nB: c\r\nA: d\n\n\n\nB: e\nA: f")
    assert same(first, ([], []), ["a b", "c", "d"])
    assert same(second, ([], []), ["e", "f"])


@pytest.mark.parametrize("page", ["data/README.md", "docs/settings.md"])
def test_the_example_of_the_docs_is_right(root: Path, page: str) -> None:
    blocks = re.findall(r"(?:^    (?:Anna|Ben).*\n|^\n(?=    Ben))+", (root / page).read_text("utf-8"), re.MULTILINE)
    assert len(blocks) == 1
    dialogues = read(textwrap.dedent(blocks[0]))
    assert dialogues[0].personas == (["i have two dogs ."], [])
    assert dialogues[0].utterances[-1] == "tired . i just walked my dogs ."
    assert all(isinstance(dialogue, Dialogue) for dialogue in dialogues)


@pytest.mark.parametrize(
    "lines",
    [
        "James' persona: i sew .\nJames: hello !\nIris: hi .\nJames: a suit ?",
        "James\u2019 persona\uff1ai sew .\nJames\uff1ahello !\nIris\uff1ahi .\nJames\uff1aa suit ?",
        "JAMES's Persona: i sew .\nJames:\nhello !\nIris:\nhi .\nJames:\na\nsuit ?",
        "James's persona: i sew .\n00:01 James: hello !\n00:02 Iris: hi .\n00:03 James: a suit ?",
        "James's persona: i sew .\nJames (09:01): hello !\nIris (09:01): hi .\nJames [09:02]: a suit ?",
        "James's persona: i sew .\n[01.02.24, 10:11:05 PM] James: hello !\n[Nods.]\nIris (V.O.): hi .\nJames: a suit ?",
        "James's persona: i sew .\n12/11/23, 21:55 - James: hello !\n12/11/23, 21:55 - Iris: hi .\nJames: a suit ?",
    ],
)  # fmt: skip
def test_names_as_people_write_them(lines: str) -> None:
    (dialogue,) = read(lines, "plain")
    assert same(dialogue, (["i sew ."], []), ["hello !", "hi .", "a suit ?"])


def test_names_with_colons() -> None:
    declared = "R2:D2's persona: i beep .\nLuke: hi\nR2:D2: beep\nLuke: Note: bye\nR2:D2: beep : beep"
    assert same(read(declared)[0], ([], ["i beep ."]), ["hi", "beep", "Note: bye", "beep : beep"])
    repeated = "Unit 7: Alpha: hello\nBob: well: no\nUnit 7: Alpha: bye\nBob: well: yes"
    assert same(read(repeated)[0], ([], []), ["hello", "well: no", "bye", "well: yes"])


@pytest.mark.parametrize(
    "lines",
    [
        "A: a<|endoftext|>\nB: b\n\nA: c<|endoftext|>\n",
        "<s>\nA: a\n</s>\n<s>\nB: b\n\nA: c\n</s>",
        "<|startoftext|>A: a\n<|startoftext|>B: b\nA: c",
        "<|startoftext|>A: a<|endoftext|>\n<|startoftext|>B: b\nA: c<|endoftext|>",
    ],
)
def test_markers_separate_talks(lines: str) -> None:
    first, second = read(lines)
    assert first.endswith("1 speaker ('A'); expected two")
    assert same(second, ([], []), ["b", "c"])


def test_stage_directions_are_counted() -> None:
    left_out: Counter[str] = Counter()
    assert same(read("A: a\n[A leaves.]\n(Rain.)\nB: b [loud]", left_out=left_out)[0], ([], []), ["a", "b [loud]"])
    assert +left_out == {"stage directions": 2}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A: a\nB: b\nC: c", "line 1: 3 speakers ('A, B, C'); expected two"),
        ("A: a\nA: b", "line 1: 1 speaker ('A'); expected two"),
        ("A's persona: i sing .", "line 1: a persona of 'A', who says nothing"),
        ("A: a\nB: b\nand more", "line 1: expected `NAME: what they say`, got 'and more'"),
        ("A: a\nB: b\nhttps://example.org/a", "line 1: expected `NAME: what they say`, got 'https://example.org/a'"),
        ("A: a\nB: b\n21:55: c", "line 1: expected `NAME: what they say`, got '21:55: c'"),
        ("\nA: a\nB:", "line 2: utterance 2 is empty"),
        ("A: a\nB: b\nA's persona: i sing .", 'line 1: "A\'s persona: i sing ." stands in the talk; expected all '),
        ("C's persona: i sing .\nA: a\nB: b", "line 1: a persona of 'C', who says nothing"),
        (b"A: a\nB: caf\xe9", "line 1: byte 0xe9 in utterance 2 is not UTF-8 text; save the file as UTF-8"),
        ("A: a\nB: __SILENCE__", "line 1: utterance 2 is __SILENCE__"),
        ("A: a\n" + "B: " + "b" * 2_000_000, "line 1: utterance 2 has 2,000,000 characters"),
    ],
)
def test_a_talk_that_is_no_dialogue(text: object, reason: str) -> None:
    (line,) = read(text)
    assert line.startswith(reason)


def test_the_layout_can_be_named() -> None:
    text = "1 a\tb: hi\nB: ho"
    assert layout(text) == "convai2"
    assert same(read(text, "plain")[0], ([], []), ["hi", "ho"])


@pytest.mark.parametrize(
    "text",
    [
        "Ann: hi\n\nBen: ho\n\nAnn: a\n\n\nBen: b\n\nAnn: c\n",
        "Ann:\nhi\n\nBen:\nho\n\nAnn:\na\n\n\nBen:\nb\n\nAnn:\nc\n",
        "Ann> hi\n\n<Ben> ho\n\nAnn> a\n\n\nBen> b\n\nAnn> c\n",
        "**Ann:** hi\n\n**Ben:** ho\n\n**Ann**: a\n\n---\n\n**Ben:** b\n\n**Ann:** c\n",
    ],
)
def test_a_blank_line_after_every_utterance_separates_no_talks(text: str) -> None:
    first, second = read(text)
    assert first.utterances == ["hi", "ho", "a"]
    assert second.utterances == ["b", "c"]


def test_stage_directions_and_headings_between_talks_are_no_talks() -> None:
    left_out: Counter[str] = Counter()
    first, second = read("# One\n\nAnn: hi\nBen: ho\n\n[They leave.]\n\nAnn: a\nBen: b\n", left_out=left_out)
    assert (first.utterances, second.utterances) == (["hi", "ho"], ["a", "b"])
    assert +left_out == {"stage directions": 2}
