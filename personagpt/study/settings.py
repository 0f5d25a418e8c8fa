"""A blind study, as study.toml describes it: who talks with whom, for how long, and what they agree to first.

    name = "pilot"                # stands with every talk that is recorded
    title = "A talk between two"
    consent = "consent.txt"       # a text file; paths start at the folder of study.toml
    turns = 6                     # utterances of each side; then come the questions
    [[condition]]
    name = "model"                # a model (by default the one that app.py serves), and how its replies are drawn
    temperature = 0.8
    [[condition]]
    name = "person"
    partner = "person"            # another participant

Imports no torch: mistakes in the file are told before the seconds that takes.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from personagpt.errors import UserError
from personagpt.model.folders import named_model
from personagpt.model.sampling import Sampling
from personagpt.text.convai2 import read_corpus

NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
FEWEST_PERSONAS = 3  # the participant's, the partner's, and one to choose between
MOST_LETTERS = 50_000  # of a consent text


@dataclass(frozen=True)
class Condition:
    """Whom a participant talks with: a model, and how its replies are drawn; or another participant."""

    name: str
    model: str | None  # a folder's path or a hub name; None: another participant
    sampling: Sampling
    history: int | None  # how many utterances the model is shown at most (0: what its context holds; None: its own)


@dataclass(frozen=True)
class Study:
    name: str
    title: str
    consent: str  # the text itself
    turns: int  # utterances of each side
    conditions: tuple[Condition, ...]
    personas: tuple[tuple[str, ...], ...]
    wait: float = 20.0  # seconds for which a participant waits for another one
    away: float = 60.0  # seconds without a partner's page, after which the other one is told
    letters_per_second: float = 4.0  # a program's typing; 0: replies come at once

    @property
    def programs(self) -> list[Condition]:
        return [condition for condition in self.conditions if condition.model is not None]

    @property
    def with_person(self) -> Condition | None:
        """The condition in which two participants talk, where there is one."""
        return next((condition for condition in self.conditions if condition.model is None), None)

    def source(self, condition: Condition) -> str:
        """What a talk of this condition is recorded by."""
        return f"study:{self.name}:{condition.name}"

    def condition_of(self, source: str) -> Condition | None:
        return next((condition for condition in self.conditions if self.source(condition) == source), None)


# Each key of the file: the type of its value, whether that will do, and how it is said.
KEYS: dict[str, tuple[type | tuple[type, ...], Callable[[Any], bool], str]] = {
    "name": (str, lambda value: bool(NAME.fullmatch(value)), "1 to 40 letters a-z, digits, - and _"),
    "title": (str, lambda value: 1 <= len(value.strip()) <= 200, "1 to 200 letters"),
    "consent": (str, lambda value: bool(value.strip()), "the path of a text file"),
    "turns": (int, lambda value: 1 <= value <= 100, "a whole number from 1 to 100"),
    "personas": (str, lambda value: bool(value.strip()), "the path of a text in the ConvAI2 format"),
    "wait": ((int, float), lambda value: 0 <= value <= 3600, "seconds, 0 to 3600"),
    "away": ((int, float), lambda value: 5 <= value <= 3600, "seconds, 5 to 3600"),
    "letters_per_second": ((int, float), lambda value: 0 <= value <= 1000, "0 (replies come at once) to 1000"),
    "condition": (list, bool, "one or more [[condition]] tables"),
}
REQUIRED = ("name", "title", "consent", "turns", "condition")
SAMPLING = {field.name for field in fields(Sampling)}
CONDITION_KEYS = {"name", "model", "partner", "history", *SAMPLING}


def read_study(path: Path, valid_text: Path, default_model: Callable[[], str]) -> Study:
    """The study of a file. `valid_text` has the personas where the file names none; `default_model` is asked for the
    model of conditions that name none, and raises UserError where it is not there.

    Raises UserError with one line that names file, key and what is allowed.
    """
    raw = _read_toml(path)
    _check_keys(raw, set(KEYS), f"{path}")
    missing = [key for key in REQUIRED if key not in raw]
    if missing:
        raise UserError(f"{path}: {', '.join(missing)} missing; add {_example(missing[0])} ({KEYS[missing[0]][2]})")
    for key, value in raw.items():
        kind, holds, allowed = KEYS[key]
        _check_value(value, kind, holds, f"{path}: {key} = {_written(value)} is not allowed; expected {allowed}")
    conditions = tuple(_condition(one, number, path, default_model) for number, one in enumerate(raw["condition"], 1))
    names = [condition.name for condition in conditions]
    for number, condition in enumerate(conditions):
        if condition.name in names[:number]:
            raise UserError(f"{path}: condition {number + 1}: name = '{condition.name}' is another condition's")
        if condition.model is None and None in [one.model for one in conditions[:number]]:
            raise UserError(f"{path}: condition '{condition.name}': partner = 'person': one condition may have that")
    if raw.get("wait") == 0 and None in [one.model for one in conditions] and len(conditions) > 1:
        raise UserError(f"{path}: wait = 0: nobody would ever meet another participant; expected some seconds")
    times = {key: float(raw[key]) for key in ("wait", "away", "letters_per_second") if key in raw}
    consent, personas = _consent(path, raw["consent"]), _personas(path, raw.get("personas"), valid_text)
    return Study(raw["name"], raw["title"].strip(), consent, raw["turns"], conditions, personas, **times)


def study_name(path: Path) -> str:
    """The name of a file's study, whatever else is wrong there. Raises UserError."""
    kind, holds, allowed = KEYS["name"]
    name = _read_toml(path).get("name")
    _check_value(name, kind, holds, f"{path}: name = {_written(name)} is not allowed; expected {allowed}")
    return name


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"--study {path}: cannot read it: {error.strerror}") from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise UserError(f"--study {path}: not a TOML file: {error}") from None


def _check_keys(found: dict[str, Any], known: set[str], where: str) -> None:
    for key in found:
        if key not in known:
            nearest = difflib.get_close_matches(key.lower(), sorted(known), n=1, cutoff=0)[0]
            raise UserError(f"{where}: unknown key {key!r}; the nearest known one is {nearest!r}")


def _check_value(value: Any, kind: type | tuple[type, ...], holds: Callable[[Any], bool], problem: str) -> None:
    is_kind = isinstance(value, kind) and not isinstance(value, bool)
    if not is_kind or (isinstance(value, float) and not math.isfinite(value)) or not holds(value):
        raise UserError(problem)


def _condition(raw: Any, number: int, path: Path, default_model: Callable[[], str]) -> Condition:
    where = f"{path}: condition {number}"
    if not isinstance(raw, dict):
        raise UserError(f"{where}: expected a [[condition]] table")
    _check_keys(raw, CONDITION_KEYS, where)
    if "name" not in raw:
        raise UserError(f'{where}: name missing; add name = "..." ({KEYS["name"][2]})')
    kind, holds, allowed = KEYS["name"]
    _check_value(
        raw["name"], kind, holds, f"{where}: name = {_written(raw['name'])} is not allowed; expected {allowed}"
    )
    where = f"{path}: condition '{raw['name']}'"
    if "partner" in raw:
        if raw["partner"] != "person":
            raise UserError(
                f"{where}: partner = {_written(raw['partner'])} is not allowed; expected 'person', or model = '...'"
            )
        if beside := [key for key in raw if key not in ("name", "partner")]:
            raise UserError(f"{where}: {beside[0]} says how a model replies, and here the partner is a person")
        return Condition(raw["name"], None, Sampling(), None)
    history = raw.get("history")
    if history is not None:
        problem = f"{where}: history = {_written(history)} is not allowed; expected 0 (what the model's context holds)"
        _check_value(history, int, lambda value: value >= 0, f"{problem}, or how many utterances")
    try:
        sampling = Sampling(**{key: value for key, value in raw.items() if key in SAMPLING})
        model = _model(raw.get("model"), path, default_model)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return Condition(raw["name"], model, sampling, history)


def _model(wanted: Any, path: Path, default_model: Callable[[], str]) -> str:
    if wanted is None:
        return default_model()
    if not isinstance(wanted, str) or not wanted.strip() or "\0" in wanted:
        raise UserError(f"model = {_written(wanted)} is not allowed; expected a folder, or a hub name")
    beside = path.parent / Path(wanted).expanduser()
    return named_model(str(beside.absolute()) if beside.is_dir() else wanted, "model = ")


def _consent(path: Path, name: str) -> str:
    try:
        text = (path.parent / name).read_bytes().decode("utf-8-sig").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"{path}: consent = '{name}': cannot read {path.parent / name}: {reason}") from None
    if not 1 <= len(text) <= MOST_LETTERS:
        reason = "is empty" if not text else f"has more than {MOST_LETTERS} letters"
        raise UserError(f"{path}: consent = '{name}': the file {reason}; expected what a participant agrees to")
    return text


def _personas(path: Path, name: str | None, valid_text: Path) -> tuple[tuple[str, ...], ...]:
    """All personas of the text, each once. Raises UserError where they are too few."""
    text = valid_text if name is None else path.parent / name
    key = f"{path}: personas = '{name}'" if name is not None else f"{path}: personas missing"
    if not text.is_file():
        raise UserError(f"{key}: there is no file {text}; expected {KEYS['personas'][2]}")
    dialogues = read_corpus(text).dialogues
    found = tuple(dict.fromkeys(tuple(facts) for dialogue in dialogues for facts in dialogue.personas if facts))
    if len(found) < FEWEST_PERSONAS:
        raise UserError(f"{key}: {text} has {len(found)} different personas; at least {FEWEST_PERSONAS} are needed")
    return found


def _example(key: str) -> str:
    return "[[condition]]" if key == "condition" else f"{key} = ..."


def _written(value: Any) -> str:
    """A value as a message shows it: in one line, and not all of a long one."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
