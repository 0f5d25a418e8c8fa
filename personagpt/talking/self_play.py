"""Talks of the model with itself: a single talk that is printed, or many talks at once for a detector."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from personagpt.output import say
from personagpt.records.talks import Talk, Turn
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
    after `turns` utterances, or where a speaker has nothing to say.
    """
    chance = random.Random(session.seed)
    for first in range(0, count, TOGETHER):
        drawn = [chance.choice(pairs) for _ in range(min(TOGETHER, count - first))]
        going = [session.new_talk(facts, True, partner_facts) for partner_facts, facts in drawn]
        talks = [replace(talk, source="self-play") for talk, _ in going]
        going = [(talk, speakers) for talk, (_, speakers) in zip(talks, going, strict=True)]
        for turn in range(turns):
            name = SPEAKERS[turn % 2]
            goal = session.goal if name == "model" else None
            asked = [(speakers[name], talk.texts[-1] if turn else None) for talk, speakers in going]
            replies = Persona.replies(asked, goal=goal)
            for (talk, _), reply in zip(going, replies, strict=True):
                talk.turns += [Turn(name, reply, goal=goal)] if reply else []
            going = [pair for pair, reply in zip(going, replies, strict=True) if reply]
        yield talks
