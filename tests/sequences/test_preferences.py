"""preferences.py: what a line of preferences may hold, and the sequences it gives."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from personagpt.errors import UserError
from personagpt.sequences.preferences import (
    held_back_personas,
    read_preferences,
    unknown_personas,
)
from personagpt.text.convai2 import parse_corpus
from tests.sequences.pairs import messages, pair, said, written

BAD = [
    ("{", "no JSON that is UTF-8 text; expected a pair"),
    ("[]", "no prompt, completion, label; expected a pair"),
    ({"messages": []}, "no prompt, completion, label; expected a pair"),
    ({"prompt": [], "chosen": said("x")}, "no rejected, source; expected a pair"),
    (pair(rejected=said("good")), "the chosen and the rejected reply are equal; remove the line"),
    (pair(rejected=said(" good\t")), "the chosen and the rejected reply are equal; remove the line"),
    (pair(source="made up"), "the source 'made up'; expected one of corrected, chosen, flagged"),
    (pair(source=["x"]), r"the source \['x'\]; expected one of"),
    (pair(goal=3), "the goal 3; expected text or null"),
    (pair(prompt="hi"), "'prompt' is 'hi'; expected a list of messages with role and content"),
    (pair(prompt=messages("hi", " ")), "'prompt' is .*; expected a list of messages"),
    (pair(prompt=messages("hi", last="assistant")), "the roles of the prompt are 'system, assistant'; expected"),
    (pair(prompt=messages("hi") * 2), "the roles of the prompt are 'system, user, system, user'; expected"),
    (pair(chosen="good"), "'chosen' is 'good'; expected a list of messages"),
    (pair(chosen=messages("good")), "'chosen' is .*; expected one message of the assistant"),
    (pair(chosen=[]), r"'chosen' is \[\]; expected one message of the assistant"),
    (pair(rejected=said("\ud800")), "no JSON that is UTF-8 text"),
    ({"prompt": messages("hi"), "completion": said("x"), "label": True}, "the label True; expected false"),
]


@pytest.mark.parametrize(("line", "mistake"), BAD)
def test_a_line_of_another_form_is_named(tmp_path, line, mistake) -> None:
    with pytest.raises(UserError, match=rf"preferences.jsonl:3: {mistake}") as caught:
        read_preferences(written(tmp_path, pair(), "", line))
    assert "\n" not in str(caught.value)


def test_a_file_without_a_preference(tmp_path) -> None:
    with pytest.raises(UserError, match="no preference in this file; expected a pair"):
        read_preferences(written(tmp_path))
    assert read_preferences("") == []


def test_every_tenth_persona_is_held_back(tmp_path) -> None:
    lines = [pair(prompt=messages("hi", persona=f"i am number {number % 20} .")) for number in range(40)]
    items = read_preferences(written(tmp_path, *lines))
    assert held_back_personas(items) == {("i am number 9 .",), ("i am number 19 .",)}
    assert held_back_personas(items[:9]) == set()


def test_personas_of_no_text_are_told(tmp_path) -> None:
    text = b"1 your persona: i sing .\n2 your persona: i ski .\n3 hi\tho\n"
    corpus = parse_corpus(text, "x")
    known = pair(prompt=messages("hi", persona="i ski .\ni sing ."))
    others = [pair(prompt=messages("hi", persona=f"{number} .")) for number in range(7)]
    items = read_preferences(written(tmp_path, known, pair(prompt=messages("hi", persona="")), *others))
    assert unknown_personas(items[:2], [corpus], "f") is None
    expected = "f:3, 4, 5, 6, 7, ...: 7 of 9 preferences have a persona that is in no text"
    assert unknown_personas(items, [corpus], "f") == expected


texts = st.text(max_size=8) | st.sampled_from(["system", "user", "assistant", "prompt", "label", "\ud800", "a\r\nb"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.sampled_from(["role", "content"]), inner),
    max_leaves=8,
)
fields = st.sampled_from(["prompt", "chosen", "rejected", "goal", "source", "completion", "label"])


@given(st.dictionaries(fields, values), st.sets(fields), st.binary(max_size=40))
@example({}, set(), b"[" * 100_000)
@example({}, set(), b"9" * 5000)
@settings(max_examples=150, deadline=None)
def test_any_json_and_any_bytes(changes, dropped, data) -> None:
    """Either every line is an item of the promised form, or each mistake is a line with the file and its number."""
    line = {name: value for name, value in (pair() | changes).items() if name not in dropped}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.jsonl"
        path.write_bytes(json.dumps(pair()).encode() + b"\n" + json.dumps(line).encode() + b"\n" + data)
        try:
            items = read_preferences(path)
        except UserError as error:
            noted = str(error).split("\n")
            assert all(note.startswith((f"{path}:2: ", f"{path}:3: ", f"{path}:4: ", "these are")) for note in noted)
            return
    for item in items:
        assert item.rejected.strip()
        assert item.chosen != item.rejected
        assert item.speaker == len(item.utterances) % 2
        assert all(text.strip() for text in [*item.replies, *item.facts, *item.utterances])
        "".join([*item.replies, *item.facts, *item.utterances, item.goal or ""]).encode()
