"""Talks of the model with itself, or with a program behind an API.

A single talk is printed. Many talks are made at once, for a detector.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from personagpt.model.api import ApiError
from personagpt.output import say
from personagpt.records.talks import SELF_PLAY, Talk, Turn
from personagpt.talking.api_persona import ApiPersona
from personagpt.talking.persona import Persona
from personagpt.talking.session import Session

TOGETHER = 64  # talks made together; a kill loses at most so many
SPEAKERS = ("partner", "model")  # the partner talks first


def self_play(session: Session, turns: int) -> None:
    """Let both personas of the session's talk say `turns` utterances."""
    for turn in range(turns):
        last = session.talk.texts[-1] if turn else None
        if not session.reply(SPEAKERS[turn % 2], last):
            say("(nothing more to say)")
            return


def play(session: Session, pairs: list[tuple[list[str], list[str]]], count: int, turns: int) -> Iterator[list[Talk]]:
    """Yield `count` talks between drawn `pairs` of personas, TOGETHER at a time.

    The first persona of a pair is the partner's. The session's goal is for the other persona's replies. A talk ends
    after `turns` utterances, or where a speaker has nothing to say. Raises ApiError where the session's program fails,
    after the talks so far.
    """
    chance = random.Random(session.seed)
    for first in range(0, count, TOGETHER):
        drawn = [chance.choice(pairs) for _ in range(min(TOGETHER, count - first))]
        going = [session.new_talk(facts, True, partner_facts) for partner_facts, facts in drawn]
        talks = [replace(talk, source=SELF_PLAY) for talk, _ in going]
        going = [(talk, speakers) for talk, (_, speakers) in zip(talks, going, strict=True)]
        for turn in range(turns):
            name = SPEAKERS[turn % 2]
            goal = session.goal if name == "model" else None
            asked = [(speakers[name], talk.texts[-1] if turn else None) for talk, speakers in going]
            try:
                is_far = name == "partner" and session.program is not None
                replies = ApiPersona.replies(asked) if is_far else Persona.replies(asked, goal=goal)
            except ApiError:
                yield [talk for talk in talks if talk.turns]
                raise
            for (talk, _), reply in zip(going, replies, strict=True):
                talk.turns += [Turn(name, reply, goal=goal)] if reply else []
            going = [pair for pair, reply in zip(going, replies, strict=True) if reply]
        yield talks
