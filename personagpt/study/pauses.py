"""How long a program's reply stays hidden from a participant, so that its speed does not tell what the partner is."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import datetime

from personagpt.records.talks import Talk, Turn

READING = 20.0  # letters a second; Brysbaert 2019: 238 words a minute


def seconds_to_answer(utterance: str, reply: str, letters_per_second: float, draw: random.Random) -> float:
    """Return how long a person would take to read `utterance`, to think, and to type `reply`.

    The default of 4 letters a second is the 52 words a minute of Dhakal et al. 2018.
    """
    if letters_per_second == 0:
        return 0.0
    typing = len(reply) / letters_per_second * draw.uniform(0.8, 1.25)
    return len(utterance) / READING + draw.uniform(0.5, 2.5) + typing


class Pauses:
    """Hide a program's last reply while a person would still read, think and type.

    The first look at a reply decides when the pause ends.
    """

    def __init__(self, letters_per_second: float, clock: Callable[[], float]) -> None:
        """`clock` is the pairing's."""
        self.letters_per_second, self.clock = letters_per_second, clock
        self.ends: dict[tuple[str, int], float] = {}  # by the talk's id and the reply's index

    def visible_turns(self, talk: Talk) -> list[Turn]:
        """Return the talk's turns, except a hidden last one."""
        if not talk.turns or talk.turns[-1].speaker != "model":
            return talk.turns
        place = talk.id, len(talk.turns) - 1
        if place not in self.ends:
            if len(self.ends) > 10_000:
                self.ends = {key: end for key, end in self.ends.items() if end > self.clock()}
            self.ends[place] = self.clock() + self._seconds_left(talk)
        return talk.turns if self.clock() >= self.ends[place] else talk.turns[:-1]

    def _seconds_left(self, talk: Talk) -> float:
        """Return how long the last reply is still hidden: the whole pause, where the clock was set back since."""
        *before, reply = talk.turns
        utterance, since = (before[-1].text, before[-1].time) if before else ("", talk.started)
        draw = random.Random(f"{talk.id} {len(before)}")  # the same pause after a restart
        seconds = seconds_to_answer(utterance, reply.text, self.letters_per_second, draw)
        return seconds - max(0.0, time.time() - datetime.fromisoformat(since).timestamp())
