"""The questions that a participant answers after a talk: five, or those of study.toml.

    [[question]]
    name = "humour"               # recorded with every answer
    text = "How funny was your partner?"
    least = "not at all"          # a scale from 1 to 5: the words for 1 ...
    most = "very"                 # ... and for 5
    [[question]]
    name = "language"
    text = "Is English your first language?"
    answers = ["yes", "no"]       # a choice
    [[question]]
    name = "remarks"
    text = "Is there anything else?"
    open = true                   # an answer in the participant's own words, which may be empty

Two names have a meaning. "persona" asks which of two personas the partner had. "partner" asks what the partner was; its
two `answers` are the words for a person and for a program.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from personagpt.errors import UserError
from personagpt.model.tables import NAME, NAME_ALLOWED, Keys, check_table
from personagpt.records.talks import ANSWERS, SCALES

PARTNERS: list[str] = ANSWERS["partner"]  # a person, a program


@dataclass(frozen=True)
class Question:
    name: str
    text: str
    kind: str  # scale, choice, open, persona or partner
    answers: tuple[str, ...] = ()  # a scale's words for 1 and for 5; a choice's answers; "partner": person, program

    @property
    def allowed(self) -> list[Any]:
        """The answers that the browser may send, except for an open question."""
        return {"scale": [1, 2, 3, 4, 5], "persona": [0, 1], "partner": PARTNERS}.get(self.kind, [*self.answers])


FIVE = (
    Question("fluency", "How well was your partner's English written?", "scale", ("badly", "very well")),
    Question(
        "consistency",
        "Did your partner's words fit together, from the first to the last?",
        "scale",
        ("not at all", "entirely"),
    ),
    Question("engagement", "Would you have liked to go on talking?", "scale", ("not at all", "very much")),
    Question("persona", "Which of these two personas did your partner have?", "persona"),
    Question(
        "partner", "What do you think: was your partner a person or a program?", "partner", ("a person", "a program")
    ),
)


def _are_answers(value: list[Any]) -> bool:
    texts = [text.strip() for text in value if isinstance(text, str)]
    return len(texts) == len(value) and 2 <= len(value) <= 20 and all(texts) and len({*texts}) == len(texts)


WORDS = (str, lambda value: 1 <= len(value.strip()) <= 300, "1 to 300 letters")
KEYS: Keys = {
    "name": (str, lambda value: bool(NAME.fullmatch(value)), NAME_ALLOWED),
    "text": WORDS,
    "least": WORDS,
    "most": WORDS,
    "answers": (list, _are_answers, "2 to 20 different texts"),
    "open": (bool, lambda value: value, "true"),
}
# The keys that belong together, by the kind of question.
KINDS = {"scale": {"least", "most"}, "choice": {"answers"}, "open": {"open"}}
KIND_WORDS = {"scale": "least and most (a scale)", "choice": "answers = [...] (a choice)", "open": "open = true"}
TAKEN = {*ANSWERS} - {"partner"}  # what the program itself records beside the answers


def read_questions(tables: list[Any] | None, path: object, above: Iterable[str] = ()) -> tuple[Question, ...]:
    """Return the questions of the file's [[question]] tables, or the five. `above` are the study's keys.

    Raises UserError.
    """
    questions: list[Question] = []
    for number, table in enumerate(tables or [], 1):
        question = _read_question(table, f"{path}: question {number}", {*above} - KEYS.keys())
        if question.name in [other.name for other in questions]:
            raise UserError(f"{path}: question {number}: name = '{question.name}' is another question's")
        questions.append(question)
    return tuple(questions) or FIVE


def _read_question(table: Any, where: str, above: set[str]) -> Question:
    if not isinstance(table, dict):
        raise UserError(f"{where}: expected a [[question]] table")
    check_table(table, KEYS, ("name", "text"), where, above=above)
    name, given = table["name"], table.keys() - {"name", "text"}
    kinds = {"scale": KINDS["scale"]} if name in SCALES else KINDS
    if name in TAKEN:
        raise UserError(f"{where}: name = '{name}' is not allowed, because the program records something else so")
    if name == "persona":
        kind, expected = "persona", "no other key but text, because the two personas are the answers"
        fits = not given
    elif name == "partner":
        kind, expected = "partner", "answers = ['a person', 'a program'], in your words and in this order"
        fits = given == {"answers"} and len(table["answers"]) == 2
    else:
        kind = next((kind for kind, keys in kinds.items() if given == keys), "")
        expected, fits = " or ".join(map(KIND_WORDS.get, kinds)), bool(kind)
    if not fits:
        raise UserError(f"{where}: name = '{name}': expected {expected}")
    answers = (table["least"], table["most"]) if kind == "scale" else table.get("answers", ())
    return Question(name, table["text"].strip(), kind, tuple(answer.strip() for answer in answers))
