"""personagpt/study/questions.py: the questions of study.toml."""

from __future__ import annotations

import tomllib

import pytest

from personagpt.errors import UserError
from personagpt.records.talks import SCALES
from personagpt.study.questions import FIVE, Question, read_questions

SCALE = {"name": "humour", "text": "Funny?", "least": "no", "most": "yes"}


def test_the_five_questions_are_the_default() -> None:
    assert read_questions(None, "x") == FIVE
    assert [question.name for question in FIVE] == [*SCALES, "persona", "partner"]
    assert [question.allowed for question in FIVE] == [[1, 2, 3, 4, 5]] * 3 + [[0, 1], ["person", "program"]]


def test_own_questions_take_the_place_of_the_five() -> None:
    text = """
    [[question]]
    name = "humour"
    text = " Wie lustig war das? "
    least = "gar nicht"
    most = "sehr"
    [[question]]
    name = "tongue"
    text = "Ist Deutsch Ihre Muttersprache?"
    answers = ["ja", "nein"]
    [[question]]
    name = "remarks"
    text = "Sonst noch etwas?"
    open = true
    [[question]]
    name = "partner"
    text = "Wer war das?"
    answers = ["ein Mensch", "ein Programm"]
    [[question]]
    name = "persona"
    text = "Wen spielte Ihr Gegenüber?"
    """
    questions = read_questions(tomllib.loads(text)["question"], "x")
    assert questions == (
        Question("humour", "Wie lustig war das?", "scale", ("gar nicht", "sehr")),
        Question("tongue", "Ist Deutsch Ihre Muttersprache?", "choice", ("ja", "nein")),
        Question("remarks", "Sonst noch etwas?", "open"),
        Question("partner", "Wer war das?", "partner", ("ein Mensch", "ein Programm")),
        Question("persona", "Wen spielte Ihr Gegenüber?", "persona"),
    )
    assert questions[1].allowed == ["ja", "nein"]
    assert questions[3].allowed == ["person", "program"]  # recorded so in every language


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "a b"}, "question 1: name = 'a b' is not allowed; expected 1 to 40 letters"),
        ({"name": "waited"}, "question 1: name = 'waited' is not allowed, because the program records"),
        ({"text": " "}, "question 1: text = ' ' is not allowed; expected 1 to 300 letters"),
        ({"text": None}, "question 1: text missing; add text = ..."),
        ({"lest": "x"}, "question 1: unknown key 'lest'; the nearest known one is 'least'"),
        ({"most": None}, "name = 'humour': expected least and most (a scale) or answers = [...] (a choice) or open"),
        ({"open": True}, "name = 'humour': expected least and most (a scale) or answers"),
        ({"most": None, "least": None, "open": False}, "open = False is not allowed; expected true"),
        ({"most": None, "least": None, "answers": ["a"]}, "answers = ['a'] is not allowed; expected 2 to 20 different"),
        ({"most": None, "least": None, "answers": ["a", "a "]}, "is not allowed; expected 2 to 20 different texts"),
        ({"most": None, "least": None, "answers": ["a", 1]}, "is not allowed; expected 2 to 20 different texts"),
        ({"name": "persona"}, "name = 'persona': expected no other key but text"),
        ({"name": "partner"}, "name = 'partner': expected answers = ['a person', 'a program']"),
        (
            {"name": "fluency", "most": None, "least": None, "open": True},
            "'fluency': expected least and most (a scale)",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_question(changes, words) -> None:
    table = {key: value for key, value in (SCALE | changes).items() if value is not None}
    with pytest.raises(UserError) as caught:
        read_questions([table], "study.toml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("study.toml: question 1")


@pytest.mark.parametrize(("tables", "words"), [([1], "expected a [[question]] table"), ([SCALE] * 2, "is another")])
def test_tables_that_are_no_questions(tables, words) -> None:
    with pytest.raises(UserError, match="question") as caught:
        read_questions(tables, "x")
    assert words in str(caught.value)
