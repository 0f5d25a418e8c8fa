"""Goals, for controlled replies: a goals file, and which responses of a text follow a goal.

    ask about pets.<TAB>ask<TAB>pet pets dog dogs cat cats
    talk about work.<TAB>talk<TAB>work job boss

A response follows an `ask` goal if one of its sentences that ends in a question mark has one of the words. It follows a
`talk` goal if any of its sentences has. A goal's word in a script without spaces is letters in a row, and it may stand
anywhere in the sentence. Nobody has to annotate anything; `data/goals.tsv` has the published goals.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from personagpt.errors import UserError
from personagpt.files import decode, read_bytes
from personagpt.text.dialogues import Corpus
from personagpt.text.words import asks, split_sentences, split_words

EXPECTED = "expected GOAL<TAB>ask or talk<TAB>words separated by spaces"


@dataclass(frozen=True)
class Goal:
    """What a reply should do."""

    text: str  # as it stands in front of a sequence
    is_question: bool  # ask: only sentences that ask count
    words: frozenset[str]  # such a sentence has at least one of them

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The pattern of one of the words in a text that `_spaced` wrote."""
        return re.compile("|".join(re.escape(_spaced(word)) for word in sorted(self.words)))


def read_goals(path: Path | str) -> list[Goal]:
    """Return the goals of a file in its order, none for an empty path. Raises UserError, which names file and line."""
    if not path:
        return []
    data = read_bytes(Path(path), "this goals file")
    goals: dict[str, tuple[Goal, int]] = {}  # a goal's text -> the goal and its line
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            text = decode(line, Path(path), number).strip(" \r")
            if not text or text.startswith("#"):
                continue
            goal = _parse(text)
            if goal.text in goals:
                raise ValueError(f"the goal {goal.text!r} stands on line {goals[goal.text][1]} already")
            goals[goal.text] = goal, number
        except ValueError as error:
            raise UserError(f"{path}:{number}: {error}") from None
    if not goals:
        raise UserError(f"{path}: no goal in this file; {EXPECTED}")
    return [goal for goal, _ in goals.values()]


def _parse(line: str) -> Goal:
    """Return the goal of a line. Raises ValueError with the mistake in it."""
    columns = [column.strip() for column in line.split("\t")]
    if len(columns) != 3:
        raise ValueError(f"{len(columns)} column{'s' * (len(columns) > 1)}, not three; {EXPECTED}")
    text, kind, words = columns[0], columns[1], columns[2].lower().split()
    if not text:
        raise ValueError(f"no goal before the first tab; {EXPECTED}")
    if kind not in ("ask", "talk"):
        raise ValueError(f"unknown kind {kind!r}; {EXPECTED}")
    if not words:
        raise ValueError(f"no words; {EXPECTED}")
    for word in words:
        if "".join(split_words(word)) != word:
            raise ValueError(f"{word!r} is no word; expected letters and digits, a space between two words")
    return Goal(text, kind == "ask", frozenset(words))


def goals_checksum(goals: list[Goal]) -> str:
    """Return the SHA-256 of what decides which sequences the goals give."""
    parts = [(goal.text, goal.is_question, sorted(goal.words)) for goal in goals]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def followed_goals(goals: list[Goal], response: str) -> list[Goal]:
    """Return the goals that a response follows, in the order of `goals`."""
    # Each sentence keeps the spaces at its ends, so that no word runs from one sentence into the next.
    spaced = [(_spaced(sentence), asks(sentence)) for sentence in split_sentences(response)]
    said = "".join(words for words, _ in spaced)
    asked = "".join(words for words, is_question in spaced if is_question)
    return [goal for goal in goals if goal.pattern.search(asked if goal.is_question else said)]


def _spaced(text: str) -> str:
    """Return the words of `text` with a space before and after each word."""
    return f" {' '.join(split_words(text))} "


class GoalDraw:
    """Draws the goal and the response of a side's additional sequence, under a seed. `drawn` counts the goals."""

    def __init__(self, goals: list[Goal], counts: Counter[str], seed: int) -> None:
        """`counts` comes from `count_followed`: of a side's goals the one that fewest responses follow is drawn."""
        self.counts = counts
        self.goals = sorted(goals, key=lambda goal: counts[goal.text])
        self.drawn = Counter({goal.text: 0 for goal in goals})
        self._random = random.Random(seed)

    def draw(self, utterances: list[str], speaker: int) -> tuple[str, int] | None:
        """Return a side's goal and the index of its response, None where no response follows a goal."""
        followed = {
            index: followed_goals(self.goals, utterances[index]) for index in range(speaker, len(utterances), 2)
        }
        for goal in self.goals:
            if indices := [index for index, goals in followed.items() if goal in goals]:
                self.drawn[goal.text] += 1
                # Of the generator's methods, only random() gives the same numbers in every version of Python.
                return goal.text, indices[int(self._random.random() * len(indices))]
        return None


def count_followed(goals: list[Goal], corpus: Corpus, max_turns: int) -> Counter[str]:
    """Return how many responses of a corpus follow each goal, by the goal's text."""
    counts = Counter({goal.text: 0 for goal in goals})
    for dialogue, sides in corpus:
        for speaker in sides:
            for response in dialogue.utterances[speaker:max_turns:2]:
                counts.update(goal.text for goal in followed_goals(goals, response))
    return counts
