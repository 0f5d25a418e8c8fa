"""Talks and sides for the tests of this folder."""

from __future__ import annotations

from personagpt.detection.sides import TalkSide
from personagpt.records.talks import Talk, Turn

UTTERANCES = ["hi there !", "hello !", "do you have dogs ?", "i have two dogs .", "dogs ? what dogs ?"]
UTTERANCES.append("i have two dogs . they bark")


def dogs_talk(partner: str = "human", **changes: object) -> Talk:
    """Return a talk of six utterances, said 0, 1, 5, 9, 15 and 17 seconds after its start, recorded elsewhere."""
    turns = [
        Turn((partner, "model")[number % 2], text, f"2026-01-01T10:00:{second:02}Z")
        for number, (text, second) in enumerate(zip(UTTERANCES, (0, 1, 5, 9, 15, 17), strict=True))
    ]
    values = {"id": "t", "source": "elsewhere"} | changes
    return Talk("m", "c", {}, ["i own two dogs ."], partner, ["i am ann ."], turns, **values)


def side(
    number: int, is_program: bool = False, persona: int | None = None, count: int = 4, participant: str | None = None
) -> TalkSide:
    """Return the first speaker's side of a talk in which both say `count` times the same."""
    facts = () if persona is None else (f"fact {persona}",)
    return TalkSide(f"talk {number}", 0, is_program, facts, ("a", "b") * count, participant=participant)
