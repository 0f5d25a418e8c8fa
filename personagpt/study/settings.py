"""Read study.toml, which describes a blind study: who talks with whom, for how long, after which consent.

    name = "pilot"                # recorded with every talk
    title = "A talk between two"
    consent = "consent.txt"       # a text file; paths start at the folder of study.toml
    turns = 6                     # utterances of each side; then come the questions
    [[condition]]
    name = "model"                # a model (by default the model that app.py serves), and how its replies are drawn
    temperature = 0.8
    [[condition]]
    name = "person"
    partner = "person"            # another participant
    [[condition]]
    name = "large"
    url = "https://api.example.com/v1"      # a program behind an OpenAI-style API (docs/api.md)
    api_model = "large-1"
    key_env = "EXAMPLE_KEY"

questions.py reads its [[question]] tables. docs/study.md explains every key.

This module does not import torch, so that a mistake in the file is answered at once.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from personagpt.errors import UserError
from personagpt.files import read_text
from personagpt.model.api_settings import API_KEYS, NAMED, Api, api_of
from personagpt.model.folders import named_model
from personagpt.model.sampling import Sampling
from personagpt.model.tables import NAME, NAME_ALLOWED, Keys, check_table
from personagpt.records.talks import Talk
from personagpt.study.questions import FIVE, Question, read_questions
from personagpt.text.convai2 import read_corpus
from personagpt.text.dialogues import Corpus
from personagpt.text.style import Writing, measure_style

FEWEST_PERSONAS = 3  # the participant's, the partner's, and a false persona to choose from
MOST_LETTERS = 50_000  # of a consent text
TRIAL_WAIT = 3.0  # seconds
STYLE_TURNS = 20  # utterances of a dialogue that show how people write


@dataclass(frozen=True)
class Condition:
    """The partner of a participant: a model, with the way its replies are drawn, a program behind an API, or another
    participant."""

    name: str
    model: str | Api | None  # a folder's path or a hub name; a program behind an API; None: another participant
    sampling: Sampling  # of a model; an Api has its own
    history: int | None  # most utterances that the model sees (0: as many as fit its context; None: its own number)


@dataclass(frozen=True)
class Study:
    name: str
    title: str
    consent: str  # the text itself
    turns: int  # utterances of each side
    conditions: tuple[Condition, ...]
    personas: tuple[tuple[str, ...], ...]
    wait: float = 20.0  # seconds for which a participant waits for another participant
    away: float = 60.0  # seconds after which a participant whose page is closed counts as gone
    letters_per_second: float = 4.0  # a program's typing; 0: replies come at once
    questions: tuple[Question, ...] = FIVE
    talks: int | None = None  # a participant's talks with answers, at most
    closing: str = ""  # what a participant reads after the last answers
    language: str = "en"  # of the title, the consent, the questions and the closing text
    writing: Writing | None = None  # of the text with the personas, where every program is behind an API
    is_trial: bool = False  # without pauses

    def for_trial(self) -> Study:
        """Return the study as its author tries it: without pauses, and with a short wait for another participant."""
        times = {"wait": min(self.wait, TRIAL_WAIT), "letters_per_second": 0.0}
        return replace(self, title=f"{self.title} (trial)", is_trial=True, **times)

    @property
    def programs(self) -> list[Condition]:
        return [condition for condition in self.conditions if condition.model is not None]

    @property
    def local_programs(self) -> list[Condition]:
        """The conditions with a model on this machine."""
        return [condition for condition in self.conditions if isinstance(condition.model, str)]

    @property
    def with_person(self) -> Condition | None:
        """The condition in which two participants talk, if the study has one."""
        return next((condition for condition in self.conditions if condition.model is None), None)

    def source(self, condition: Condition) -> str:
        """Return the source of a recorded talk of this condition."""
        return f"study:{self.name}:{condition.name}"

    def has(self, talk: Talk) -> bool:
        """Return whether `talk` was recorded in this study, whatever became of its condition."""
        return talk.source.startswith(f"study:{self.name}:")

    def condition_of(self, source: str) -> Condition | None:
        return next((condition for condition in self.conditions if self.source(condition) == source), None)

    def goes_on_with(self, talk: Talk) -> bool:
        """Return whether `talk` can go on: the file may have changed a condition since the talk began."""
        condition = self.condition_of(talk.source)
        return condition is not None and (talk.partner == "person") == (condition.model is None)


LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")

KEYS: Keys = {
    "name": (str, lambda value: bool(NAME.fullmatch(value)), NAME_ALLOWED),
    "title": (str, lambda value: 1 <= len(value.strip()) <= 200, "1 to 200 letters"),
    "consent": (str, lambda value: bool(value.strip()), "the path of a text file"),
    "turns": (int, lambda value: 1 <= value <= 100, "a whole number from 1 to 100"),
    "talks": (int, lambda value: 1 <= value <= 200, "a whole number from 1 to 200"),
    "closing": (str, lambda value: 1 <= len(value.strip()) <= 5000, "1 to 5000 letters"),
    "language": (str, lambda value: bool(LANGUAGE.fullmatch(value)), "a code such as 'en', 'de' or 'pt-BR'"),
    "personas": (str, lambda value: bool(value.strip()), "the path of a text in the ConvAI2 format"),
    "wait": ((int, float), lambda value: 0 <= value <= 3600, "seconds, 0 to 3600"),
    "away": ((int, float), lambda value: 5 <= value <= 3600, "seconds, 5 to 3600"),
    "letters_per_second": ((int, float), lambda value: 0 <= value <= 1000, "0 (replies come at once) to 1000"),
    "condition": (list, bool, "one or more [[condition]] tables"),
    "question": (list, bool, "one or more [[question]] tables"),
}
TIMES = ("wait", "away", "letters_per_second")
REQUIRED = ("name", "title", "consent", "turns", "condition")
PARTNER_KEYS: Keys = {
    "name": KEYS["name"],
    "partner": (str, lambda value: value == "person", "'person', or model = '...'"),
    "model": (str, lambda value: value.strip() and "\0" not in value, "a folder, or a hub name"),
    "history": (int, lambda value: value >= 0, "0 (as many as fit the model's context), or how many utterances"),
}
SAMPLING = {field.name for field in fields(Sampling)}  # Sampling checks their values
API_CONDITION_KEYS = {key: PARTNER_KEYS[key] for key in ("name", "history")} | API_KEYS
CONDITION_KEYS = {*PARTNER_KEYS, *SAMPLING, *API_KEYS}


def read_study(path: Path, valid_text: Path, default_model: Callable[[], str]) -> Study:
    """Read the study of a file. `valid_text` has the personas of a file that names no text for them.

    `default_model` returns the model of conditions that name none, and raises UserError where there is no such model.
    Raises UserError with one line that names the file, the key, and the allowed values.
    """
    table = _read_toml(path)
    check_table(table, KEYS, REQUIRED, f"{path}")
    conditions: list[Condition] = []
    for number, part in enumerate(table["condition"], 1):
        condition = _condition(part, number, path, default_model)
        if condition.name in [other.name for other in conditions]:
            raise UserError(f"{path}: condition {number}: name = '{condition.name}' is another condition's")
        if condition.model is None and None in [other.model for other in conditions]:
            raise UserError(f"{path}: condition '{condition.name}': partner = 'person': only one condition may have it")
        conditions.append(condition)
    if table.get("wait") == 0 and None in [condition.model for condition in conditions] and len(conditions) > 1:
        raise UserError(f"{path}: wait = 0: nobody would ever meet another participant; expected some seconds")
    others: dict[str, Any] = {key: float(table[key]) for key in TIMES if key in table}
    others |= {key: table[key] for key in ("talks", "closing", "language") if key in table}
    others["questions"] = read_questions(table.get("question"), path, KEYS)
    consent, (personas, corpus) = _consent(path, table["consent"]), _personas(path, table.get("personas"), valid_text)
    study = Study(table["name"], table["title"].strip(), consent, table["turns"], tuple(conditions), personas, **others)
    if study.programs and not study.local_programs:
        study = replace(study, writing=measure_style(corpus, STYLE_TURNS).utterances)
    return study


def study_names(path: Path) -> tuple[str, list[str]]:
    """Return the names of the study and of its conditions, whatever else is wrong in the file. Raises UserError."""
    table = _read_toml(path)
    check_table({"name": table.get("name")}, KEYS, (), f"{path}")
    conditions = table.get("condition")
    parts = conditions if isinstance(conditions, list) else []
    return table["name"], [
        part["name"] for part in parts if isinstance(part, dict) and isinstance(part.get("name"), str)
    ]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"--study {path}: not a TOML file: {error}") from None


def _condition(table: Any, number: int, path: Path, default_model: Callable[[], str]) -> Condition:
    where = f"{path}: condition {number}"
    if not isinstance(table, dict):
        raise UserError(f"{where}: expected a [[condition]] table")
    check_table({key: value for key, value in table.items() if key == "name"}, PARTNER_KEYS, ("name",), where)
    name, where = table["name"], f"{path}: condition '{table['name']}'"
    if any(key in table for key in NAMED):
        return Condition(name, _api(table, path, where), Sampling(), table.get("history"))
    if others := [key for key in table if key in API_KEYS and key not in SAMPLING]:
        raise UserError(f"{where}: {others[0]} goes with url and api_model: add both, or leave it out")
    check_table(table, PARTNER_KEYS, (), where, {*SAMPLING, *API_KEYS}, KEYS.keys() - CONDITION_KEYS)
    if "partner" in table:
        if others := [key for key in table if key not in ("name", "partner")]:
            raise UserError(f"{where}: {others[0]} is about a model's replies, and here the partner is a person")
        return Condition(name, None, Sampling(), None)
    try:
        sampling = Sampling(**{key: value for key, value in table.items() if key in SAMPLING})
        model = _model(table["model"], path) if "model" in table else default_model()
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return Condition(name, model, sampling, table.get("history"))


def _api(table: dict[str, Any], path: Path, where: str) -> Api:
    """Return the condition's program behind an API, whose key the environment must hold."""
    if others := [key for key in table if key in CONDITION_KEYS and key not in API_CONDITION_KEYS]:
        raise UserError(f"{where}: {others[0]} is about a model or a person, and here the partner is behind an API")
    check_table(table, API_CONDITION_KEYS, NAMED, where, (), KEYS.keys() - CONDITION_KEYS)
    api = api_of({key: value for key, value in table.items() if key in API_KEYS}, path, where)
    try:
        api.key()
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return api


def _model(name: str, path: Path) -> str:
    """Return the folder or hub name of a model. The path of a folder starts at the folder of the study's file."""
    folder = path.parent / name
    return named_model(str(folder.absolute()) if folder.is_dir() else name, "model = ")


def _consent(path: Path, name: str) -> str:
    try:
        text = read_text(path.parent / name).strip()
    except UserError as error:
        raise UserError(f"{path}: consent = '{name}': {error}") from None
    if not 1 <= len(text) <= MOST_LETTERS:
        reason = "is empty" if not text else f"has more than {MOST_LETTERS} letters"
        raise UserError(f"{path}: consent = '{name}': the file {reason}; expected what a participant agrees to")
    return text


def _personas(path: Path, name: str | None, valid_text: Path) -> tuple[tuple[tuple[str, ...], ...], Corpus]:
    """Return the different personas of the text, and the text. Raises UserError where they are too few."""
    text = valid_text if name is None else path.parent / name
    key = f"{path}: personas = '{name}'" if name is not None else f"{path}: personas missing"
    if not text.is_file():
        raise UserError(f"{key}: there is no file {text}; expected {KEYS['personas'][2]}")
    corpus = read_corpus(text)
    personas = tuple(
        dict.fromkeys(tuple(facts) for dialogue in corpus.dialogues for facts in dialogue.personas if facts)
    )
    if len(personas) < FEWEST_PERSONAS:
        raise UserError(f"{key}: {text} has {len(personas)} different personas; at least {FEWEST_PERSONAS} are needed")
    return personas, corpus
