"""Goals, for controlled replies: a goals file, and which responses of a text follow a goal.

    ask about pets.<TAB>ask<TAB>pet pets dog dogs cat cats
    talk about work.<TAB>talk<TAB>work job boss

A response follows an `ask` goal if one of its sentences that ends in `?` has one of the words, a `talk` goal if any of
its sentences has. Nobody has to annotate anything; `data/goals.tsv` has the published goals.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from personagpt.errors import UserError
from personagpt.text.dialogues import Corpus

EXPECTED = "expected GOAL<TAB>ask or talk<TAB>words separated by spaces"
# After a question or exclamation mark, or a full stop before a space: `how are you ? fine .` and `How are you? Fine.`
SENTENCE_END = re.compile(r"(?<=[?!])(?![?!])|(?<=\.)\s+")
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Goal:
    """What a reply should do."""

    text: str  # as it stands in front of a sequence
    is_question: bool  # ask: only sentences that ask count
    words: frozenset[str]  # one of which such a sentence has


def read_goals(path: Path | str) -> list[Goal]:
    """The goals of a file, in its order; none for no file. Raises UserError: one line with file and number."""
    if not path:
        return []
    goals: list[Goal] = []
    lines: dict[str, int] = {}  # goal -> where it stands
    try:
        with open(path, "rb") as file:
            for number, data in enumerate(file, start=1):
                where = f"{path}:{number}"
                line = _decoded(data.removeprefix(codecs.BOM_UTF8) if number == 1 else data, where)
                if not line or line.startswith("#"):
                    continue
                goal = _parse(line, where)
                if goal.text in lines:
                    raise UserError(f"{where}: the goal {goal.text!r} stands on line {lines[goal.text]} already")
                lines[goal.text] = number
                goals.append(goal)
    except OSError as error:
        raise UserError(f"{path}: cannot read this goals file: {error.strerror}") from None
    if not goals:
        raise UserError(f"{path}: no goal in this file; {EXPECTED}")
    return goals


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode().strip(" \r\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8") from None


def _parse(line: str, where: str) -> Goal:
    columns = [column.strip() for column in line.split("\t")]
    if len(columns) != 3:
        raise UserError(f"{where}: {len(columns)} column{'s' * (len(columns) > 1)}, not three; {EXPECTED}")
    text, kind, listed = columns
    if not text:
        raise UserError(f"{where}: no goal before the first tab; {EXPECTED}")
    if kind not in ("ask", "talk"):
        raise UserError(f"{where}: unknown kind {kind!r}; {EXPECTED}")
    words = listed.lower().split()
    if not words:
        raise UserError(f"{where}: no words; {EXPECTED}")
    for word in words:
        if not WORD.fullmatch(word):
            raise UserError(f"{where}: {word!r} is no word; expected letters and digits, a space between two words")
    return Goal(text, kind == "ask", frozenset(words))


def goals_checksum(goals: list[Goal]) -> str:
    """SHA-256 of what decides which sequences are made for them."""
    parts = [(goal.text, goal.is_question, sorted(goal.words)) for goal in goals]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def followed_goals(goals: list[Goal], response: str) -> list[Goal]:
    """The goals that a response follows, in their order."""
    response = response.lower()
    questions = (sentence for sentence in SENTENCE_END.split(response) if "?" in sentence)
    said, asked = set(WORD.findall(response)), set(WORD.findall(" ".join(questions)))
    return [goal for goal in goals if not goal.words.isdisjoint(asked if goal.is_question else said)]


class GoalDraw:
    """Which goal and response a side's additional sequence has, drawn under a seed; `drawn` counts them."""

    def __init__(self, goals: list[Goal], counts: Counter[str], seed: int) -> None:
        """`counts` are `count_followed`'s: a side's goal is the one that fewest responses of the text follow."""
        self.counts = counts
        self.goals = sorted(goals, key=lambda goal: counts[goal.text])
        self.drawn = Counter({goal.text: 0 for goal in goals})
        self._random = random.Random(seed)

    def draw(self, utterances: list[str], speaker: int) -> tuple[str, int] | None:
        """The goal, and the index of the response, for a side; None where no response of it follows any."""
        followed = {
            index: followed_goals(self.goals, utterances[index]) for index in range(speaker, len(utterances), 2)
        }
        for goal in self.goals:
            if following := [index for index, found in followed.items() if goal in found]:
                self.drawn[goal.text] += 1
                # Of the generator's methods, random() alone gives the same numbers in every version of Python.
                return goal.text, following[int(self._random.random() * len(following))]
        return None


def count_followed(goals: list[Goal], corpus: Corpus, max_turns: int) -> Counter[str]:
    """How many responses of a corpus follow each goal."""
    counts = Counter({goal.text: 0 for goal in goals})
    for dialogue, sides in corpus:
        for speaker in sides:
            for response in dialogue.utterances[speaker:max_turns:2]:
                counts.update(goal.text for goal in followed_goals(goals, response))
    return counts
