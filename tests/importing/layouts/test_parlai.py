"""ParlAI's text format."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.helpers import check, layout, read, same

TEXT = (
    "text:your persona: i bake .\\nyour persona: i row .\\npartner's persona: i sing .\\nhi !"
    "\tlabels:hello !\tepisode_done:False\n"
    "text:any pets ?\tlabels:a goat .\tlabel_candidates:no .|a goat .\tepisode_done:True\n"
    "\n"
    "id:x\ttext:a\\nb\tlabels:c __PIPE__ d|e\treward:1\tepisode_done:True\n"
)
FACTS = ["i sing ."], ["i bake .", "i row ."]
SAID = ["hi !", "hello !", "any pets ?", "a goat ."]


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("\n", "\r\n"), TEXT.replace("\tepisode_done:False", "")])
def test_episodes(text: str) -> None:
    left_out: Counter[str] = Counter()
    assert layout(text) == "parlai"
    first, second = read(text, left_out=left_out)
    assert same(first, FACTS, SAID)
    assert same(second, ([], []), ["a b", "c | d"])
    assert left_out["labels after the first"] == 1


def test_a_first_text_of_persona_lines_alone() -> None:
    text = "text:your persona: i row .\tlabels:hi\ntext:b\teval_labels:c\tepisode_done:True"
    assert same(read(text)[0], (["i row ."], []), ["hi", "b", "c"])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("text:a\tepisode_done:True", "line 5 has no `labels:`"),
        ("labels:a\tepisode_done:True", "line 5 has no `text:`"),
        ("text:a\tlabels:b\tcut\tepisode_done:True", "line 5 has 'cut' in it; expected `name:value` between tabs"),
        ("text:a\tlabels:b\ntext:\tlabels:c\tepisode_done:True", "utterance 3 is empty"),
    ],
)
def test_an_episode_that_is_no_dialogue(line: str, reason: str) -> None:
    assert read(TEXT + line)[2:] == [f"line 5: {reason}"]


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, len(TEXT)), st.sampled_from(["\n", "|", "\t", ":", "\x1b", "\u202e", "\\n", ""]), st.integers(0, 9)
)
def test_a_damaged_file_gives_dialogues_or_one_line(place: int, piece: str, cut: int) -> None:
    data = (TEXT[:place] + piece + TEXT[place + cut :]).encode()
    check(data)
    check(data, "parlai")


@settings(deadline=None)
@given(st.lists(st.text("abc| \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=20))
def test_what_was_said_comes_back(said: list[str]) -> None:
    said = said[: len(said) // 2 * 2]
    pairs = zip(said[::2], (reply.replace("|", "__PIPE__") for reply in said[1::2]), strict=True)
    lines = [f"text:{text}\tlabels:{reply}" for text, reply in pairs]
    assert same(read("\n".join(lines) + "\tepisode_done:True\n")[0], ([], []), said)
