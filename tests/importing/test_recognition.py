"""What an unknown file is answered with, and that any bytes give talks or one line."""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personagpt.errors import UserError
from personagpt.importing.layouts.columns import parse_mapping
from personagpt.importing.recognition import read_talks, recognise
from personagpt.importing.sources import Source
from personagpt.importing.table import LAYOUTS
from personagpt.text.convai2 import Dialogue
from tests.importing.helpers import HUNTER, TALK, check, history, json_lines, layout, messages, read, write


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("of no kind", "talks: text of no format that is known; its first line: 'of no kind'; expected "),
        ({"a": 1}, "talks: JSON of no format that is known, with the keys 'a'; its first record: {'a': 1}; try --col"),
        ([], "talks: JSON of no format that is known, with no objects; its first record: none; try --columns "),
        ([7], "talks: JSON of no format that is known, with no objects; its first record: 7; try --columns "),
        ('{"messages": [}', "talks: not JSON: Expecting value"),
        (
            "text,User\na,b\n",
            "talks: a CSV of no format that is known, with the columns 'text', 'user'; its first record: ['a', 'b']; "
            'try --columns "speaker=user, text=text"',
        ),
        (
            json_lines({"lines": [{"from": "Ann", "value": "hi"}]}),
            "talks: JSON of no format that is known, with the keys 'lines'; its first record: "
            "{'lines': [{'from': 'Ann', 'value': 'hi'}]}; try --columns "
            '"speaker=lines.from, text=lines.value"',
        ),
    ],
)  # fmt: skip
def test_an_unknown_file(content: object, line: str) -> None:
    with pytest.raises(UserError) as caught:
        layout(content)
    assert str(caught.value).startswith(line)
    assert "--format" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_summary_names_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "name,line,scene\nA,a,1\nB,b,1\n")
    assert read_talks(path, None, None, Counter())[0] == "columns (speaker=name, text=line, talk=scene)"
    assert read_talks(path, None, parse_mapping("text=line"), Counter())[0] == "columns (text=line)"
    assert read_talks(write(tmp_path / "b.txt", "A: a\nB: b"), None, None, Counter())[0] == "plain"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone: cannot read this file: No such file or directory"):
        read_talks(tmp_path / "gone", None, None, Counter())


# Pieces of which files of each layout are made, and of which damaged ones are.
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    [
        "hi",
        "a: b",
        "__SILENCE__",
        "12:30",
        "\x1b[31m",
        "\u202e",
        "your persona: x",
        "Mr. A. B. is",
        '"',
        "user 1: hi",
        "(x)",
        "",
    ]
)
NAMES = st.sampled_from(["Ann", "Bob", "user", "assistant", "", "A:B", "VEX"]) | TEXTS
KEYS = st.sampled_from(
    ["messages", "role", "content", "weight", "utterances", "history", "candidates", "personality", "conv_id",
     "utterance_idx", "train", "valid", "test", "text", "name", "speaker", "persona"]
)  # fmt: skip
VALUES = st.recursive(
    TEXTS | st.none() | st.integers() | st.floats() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
CHAT = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXTS), max_size=5).map(
    lambda pairs: messages(*pairs)
)
HISTORIES = st.builds(history, st.lists(TEXTS, min_size=2, max_size=6), st.lists(TEXTS, max_size=2))
LINES = st.one_of(
    st.builds("{}: {}".format, NAMES, TEXTS), st.builds("{}'s persona: {}".format, NAMES, TEXTS), TEXTS, NAMES,
    st.builds("{},{}".format, NAMES, TEXTS), st.builds("1 {}\t{}".format, TEXTS, TEXTS), st.just(""),
    st.sampled_from(["name,line", "user 1 personas,user 2 personas,Best Generated Conversation", "<|endoftext|>"]),
)  # fmt: skip
FILES = st.one_of(
    st.binary(max_size=60),
    st.lists(LINES, max_size=8).map(lambda lines: "\n".join(lines).encode()),
    (VALUES | st.lists(CHAT | HISTORIES, max_size=3)).map(lambda value: json.dumps(value).encode()),
    st.lists(VALUES | CHAT | HISTORIES, max_size=4).map(lambda values: json_lines(*values).encode()),
    st.builds(lambda a, b: a.encode(errors="replace") + b, TEXTS, st.binary(max_size=20)),
)


@settings(max_examples=300, deadline=None)
@given(FILES)
def test_any_bytes_give_dialogues_or_one_line(data: bytes) -> None:
    check(data, None, None)


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=60, deadline=None)
@given(data=FILES)
def test_any_bytes_in_a_named_layout(name: str, data: bytes) -> None:
    check(data, name, None)


@settings(max_examples=100, deadline=None)
@given(
    FILES,
    st.sampled_from(
        ["text=text", "speaker=name, text=line", "speaker=messages.role, text=messages.content, persona=persona"]
    ),
)
def test_any_bytes_by_columns(data: bytes, columns: str) -> None:
    check(data, None, columns)


@pytest.mark.parametrize("content", ["hello", [], [{"a": 1}], "a,b\n1,2\n"])
def test_an_unknown_file_where_only_one_layout_will_do(content: object) -> None:
    data = content if isinstance(content, str) else json.dumps(content)
    with pytest.raises(UserError, match=r"no format that is known.*; x\.json is right$"):
        recognise(Source("f", data.encode()), "x.json is right")


def test_each_example_is_recognised_as_its_layout() -> None:
    examples = {
        "transfertransfo": [history(TALK, HUNTER)],
        "messages": [messages(("user", "hi"))],
        "plain": "A: a\nB: b",
    }
    assert all(layout(content) == name for name, content in examples.items())


def test_each_example_of_the_page_is_read_as_it_stands(root: Path) -> None:
    text = (root / "data/README.md").read_text("utf-8")
    page = text[text.index("### Chat programs") : text.index("### Any table or JSON")]
    blocks = [block for block in page.split("\n\n") if block.startswith("    ")]
    named = [re.fullmatch(r"(.*?)\s+\(([a-z0-9-]+)(?:, \w+)?\)\s*", block, re.DOTALL) for block in blocks]
    assert len(named) > 25
    for example in named:
        content = textwrap.dedent(example[1]).replace("<TAB>", "\t")
        assert layout(content) == example[2]
        results = read(content)
        assert results
        assert all(isinstance(result, Dialogue) for result in results)
