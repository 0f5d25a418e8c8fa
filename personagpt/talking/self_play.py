"""Talks of the model with itself, or with a program behind an API.

A single talk is printed. Many talks are made at once, for a detector. Every utterance is recorded when it is said.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace

from personagpt.output import say
from personagpt.records.database import Recordings
from personagpt.records.talks import SELF_PLAY, Talk, Turn
from personagpt.sequences.format import DataError
from personagpt.talking.api_persona import ApiPersona
from personagpt.talking.persona import Persona
from personagpt.talking.session import Session

TOGETHER = 64  # talks made together
SPEAKERS = ("partner", "model")  # the partner talks first


def self_play(session: Session, turns: int) -> None:
    """Let both personas of the session's talk say `turns` utterances."""
    for turn in range(turns):
        last = session.talk.texts[-1] if turn else None
        try:
            is_said = session.reply(SPEAKERS[turn % 2], last)
        except DataError as error:
            say(f"({error})")
            return
        if not is_said:
            say("(nothing more to say)")
            return


class _Round:
    """One utterance of each of the `talks`, which are the talks that go on. Threads may share it."""

    def __init__(self, recordings: Recordings, talks: list[Talk], name: str, goal: str | None) -> None:
        self.recordings, self.talks, self.name, self.goal = recordings, talks, name, goal
        self.lock = threading.Lock()
        self.awaited = set(range(len(talks)))

    def hear(self, replies: Mapping[int, str]) -> None:
        """Add replies to the talks at these places, and record them. A talk with an empty reply stays as it is.

        Openings are recorded in the order of the talks, because that is the order of the talks on record.
        """
        with self.lock:
            for place, reply in replies.items():
                self.talks[place].turns += [Turn(self.name, reply, goal=self.goal)] if reply else []
            self.awaited -= replies.keys()
            opened = min(self.awaited, default=len(self.talks))  # so many first talks have their opening
            known = [talk for place, talk in enumerate(self.talks) if talk.base or place < opened]
            self.recordings.save(*(talk for talk in known if len(talk.turns) > count_recorded(talk)))


def count_recorded(talk: Talk) -> int:
    """Return how many turns of the talk are on record."""
    return len(talk.base.turns) if talk.base else 0


def model_replies(asked: list[tuple[Persona, str | None]], goal: str | None) -> dict[int, str]:
    """Return the reply of each persona to its text, by its place: empty where both do not fit the model's context."""

    def fits(persona: Persona, text: str | None) -> bool:
        try:
            persona.draft(text, goal=goal)
        except DataError:
            return False
        return True

    places = [place for place, pair in enumerate(asked) if fits(*pair)]
    replies = Persona.replies([asked[place] for place in places], goal=goal)
    return dict.fromkeys(range(len(asked)), "") | dict(zip(places, replies, strict=True))


def play(session: Session, pairs: list[tuple[list[str], list[str]]], count: int, turns: int) -> Iterator[list[Talk]]:
    """Yield `count` recorded talks between drawn `pairs` of personas, TOGETHER at a time.

    The first persona of a pair is the partner's. The session's goal is for the other persona's replies. A talk ends
    after `turns` utterances, or where a speaker has nothing to say, or cannot read an utterance because it is too long.
    After an error, such as the ApiError of a program that fails, the talks so far are yielded, and then it is raised.
    """
    chance = random.Random(session.seed)
    for first in range(0, count, TOGETHER):
        drawn = [chance.choice(pairs) for _ in range(min(TOGETHER, count - first))]
        going = [session.new_talk(facts, True, partner_facts) for partner_facts, facts in drawn]
        talks = [replace(talk, source=SELF_PLAY) for talk, _ in going]
        going = [(talk, speakers) for talk, (_, speakers) in zip(talks, going, strict=True)]
        try:
            for turn in range(turns):
                name = SPEAKERS[turn % 2]
                goal = session.goal if name == "model" else None
                asked = [(speakers[name], talk.texts[-1] if turn else None) for talk, speakers in going]
                heard = _Round(session.recordings, [talk for talk, _ in going], name, goal)
                if name == "partner" and session.program is not None:
                    ApiPersona.replies(asked, heard.hear)
                else:
                    heard.hear(model_replies(asked, goal))
                going = [(talk, speakers) for talk, speakers in going if len(talk.turns) > turn]
        except BaseException:  # Ctrl-C, too
            yield [talk for talk in talks if talk.base]
            raise
        yield talks
