"""style.py: measuring how a text is written, and writing that way."""

import json
import re

import pytest

from personagpt.errors import UserError
from personagpt.text.convai2 import parse_corpus
from personagpt.text.style import STYLE, Style, Writing, measure_style, newest, parse_style, read_style

SPACED = Writing(lower=1.0, spaced=1.0, ended=0.6)  # as ConvAI2's utterances
CLOSE = Writing(lower=1.0, spaced=0.0, ended=1.0)  # as its facts


def measured(text: str, max_turns: int = 20) -> Style:
    return measure_style(parse_corpus(text.encode(), "t"), max_turns)


def test_measured_by_hand() -> None:
    style = measured(
        "1 your persona: i have a dog.\n2 your persona: I am old\n3 partner's persona: i like tea.\n"
        "4 hi !\thello , you .\n5 A cat? yes\tno . no. 3.5\n6 a\tb\n",
        max_turns=4,
    )
    assert style.facts == Writing(lower=0.6667, spaced=0.0, ended=0.6667)
    # Two marks end a text. Of the other four, `cat?` and `no.` are not spaced.
    assert style.utterances == Writing(lower=0.75, spaced=1.0, ended=0.5, spaced_inside=0.5)
    assert (style.fewest_facts_a_persona, style.facts_a_persona, style.utterances_a_dialogue) == (1, 2, 4)


def test_the_fewest_facts_are_those_of_a_side_that_is_trained() -> None:
    own = "1 your persona: i am old.\n2 your persona: i like tea.\n3 a\tb\n"
    assert measured(own).fewest_facts_a_persona == 2  # the partner's side, without a persona, is not trained
    assert measured("1 a\tb\n").fewest_facts_a_persona == 0


def test_how_far_back_a_talk_is_shown() -> None:
    dialogues = ["1 a\tb\n"] + ["1 a\tb\n2 c\td\n3 e\tf\n4 g\th\n"] * 19
    assert measured("".join(dialogues)).utterances_a_dialogue == 8  # one in twenty is shorter
    assert measured("".join(dialogues)).max_history == 5
    assert measured("".join(dialogues[:19])).utterances_a_dialogue == 2
    assert measured("".join(dialogues[:19])).max_history == 3


def test_the_newest_utterances_begin_with_the_first_speaker() -> None:
    talk = ["a", "b", "c", "d", "e"]
    assert [newest(talk, count) for count in (0, 5, 4, 3, 2)] == [talk, talk, talk[2:], talk[2:], talk[4:]]
    assert newest(talk[:4], 1) == ["d"]  # the last utterance stays, whoever said it
    assert newest([], 3) == []


def test_letters_without_capitals_get_no_full_stop() -> None:
    writing = Writing(lower=1.0, spaced=1.0, ended=1.0)
    assert [writing.bring(text) for text in ("Hi 42", "你好", "ok 吗？")] == ["hi 42 .", "你好", "ok 吗？"]


def test_a_script_without_capitals_tells_nothing() -> None:
    style = measured("1 你好。\t你好！\n")
    assert style.utterances == Writing(lower=None, spaced=None, ended=1.0)
    assert style.facts == Writing(None, None, None)
    assert style.utterances.bring("What?  Yes!") == "What?  Yes!"


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("What is your name?", "what is your name ?"),
        ("what is your name ?", "what is your name ?"),
        ("Hi,  I'm Bob... really?!", "hi , i'm bob . . . really ? !"),
        ("it is 3.5 miles at 5:30.", "it is 3.5 miles at 5:30 ."),
        (":) hello", ":) hello"),
        ("", ""),
    ],
)
def test_an_utterance_as_the_text_has_it(typed, written) -> None:
    assert SPACED.bring(typed) == written
    assert SPACED.bring(written) == written


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("I have a dog", "i have a dog."),
        ("I have a dog .", "i have a dog."),
        ("really ?", "really?"),
        ("tea , cake and milk", "tea, cake and milk."),
    ],
)
def test_a_fact_as_the_text_has_it(typed, written) -> None:
    assert CLOSE.bring(typed) == written
    assert CLOSE.bring(written) == written


def test_marks_inside_a_text_and_at_its_end_are_two_styles() -> None:
    style = measured("1 your persona: my car is red , like all.\n2 hi !\tho !\n")
    assert style.facts == Writing(lower=1.0, spaced=0.0, ended=1.0, spaced_inside=1.0)
    for typed in ("My car is red, like all", "my car is red , like all ."):
        assert style.facts.bring(typed) == "my car is red , like all."
    # Where a text has only one of them, it stands for both.
    assert style.utterances.bring("Yes, hi!") == "yes , hi !"
    assert Writing(1.0, None, 0.0, spaced_inside=0.0).bring("yes , hi !") == "yes, hi!"


def test_what_is_not_decided_is_left_alone() -> None:
    typed = "What is this?  I see."
    assert Writing(lower=0.94, spaced=1.0, ended=1.0).bring(typed) == typed
    assert Writing(lower=0.95, spaced=0.94, ended=0.94).bring(typed) == "what is this? i see."
    assert Writing(lower=1.0, spaced=None, ended=0.95).bring("I see") == "i see."
    assert Writing(lower=1.0, spaced=0.95, ended=0.95).bring("I see") == "i see ."


def test_the_sample_and_convai2_are_decided(sample, shared) -> None:
    for folder in (sample, shared / "convai2"):
        text = (folder / "train_both_original_no_cands.txt").read_text()
        style = measured(text, 24)
        assert style.utterances.bring("What is your name?") == "what is your name ?"
        assert style.facts.bring("I have a dog") == "i have a dog."
        facts = re.findall(r"(?m)^\d+ .* persona: (.*)$", text)
        assert len(facts) > 3000
        assert list(map(style.facts.bring, facts)) == facts  # what training showed stays as it is


def test_reading_it_back(tmp_path) -> None:
    style = Style(CLOSE, SPACED, 5, 16)
    assert read_style(tmp_path) is None
    assert read_style(None) is None
    (tmp_path / STYLE).write_text(json.dumps(style.plain()))
    assert read_style(tmp_path) == style


def test_an_older_file_does_not_say_the_fewest_facts() -> None:
    raw = Style(CLOSE, SPACED, 5, 16, 3).plain()
    del raw["fewest_facts_a_persona"]
    assert parse_style(raw) == Style(CLOSE, SPACED, 5, 16, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"facts": None},
        {"facts": {"lower": 2, "spaced": 0, "ended": 0}},
        {"facts_a_persona": "5"},
        {"utterances": {}},
        {"fewest_facts_a_persona": -1},
    ],
)
def test_what_is_no_style(tmp_path, change) -> None:
    raw = Style(CLOSE, SPACED, 5, 16).plain() | change
    with pytest.raises((KeyError, TypeError, ValueError)):
        parse_style(raw)
    (tmp_path / STYLE).write_text(json.dumps(raw))
    with pytest.raises(UserError, match="delete it to leave typed text alone"):
        read_style(tmp_path)
    (tmp_path / STYLE).write_text("{")
    with pytest.raises(UserError, match="not a style"):
        read_style(tmp_path)
