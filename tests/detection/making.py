"""Talks and sides for the tests of this folder."""

from __future__ import annotations

from personagpt.detection.sides import TalkSide
from personagpt.records.talks import Talk, Turn

UTTERANCES = ["hi there !", "i have two dogs .", "dogs ? what dogs ?", "i have two dogs . they bark"]


def dogs_talk(partner: str = "human", **changes: object) -> Talk:
    """Return a talk of four utterances, the answers after 4, 6 and 2 seconds."""
    times = ["2026-01-01T10:00:00+00:00", "2026-01-01T10:00:04+00:00", "2026-01-01T10:00:10Z", "2026-01-01T10:00:12Z"]
    turns = [
        Turn((partner, "model")[number % 2], text, time)
        for number, (text, time) in enumerate(zip(UTTERANCES, times, strict=True))
    ]
    return Talk("m", "c", {}, ["i own two dogs ."], partner, ["i am ann ."], turns, id="t", **changes)


def side(number: int, is_program: bool = False, persona: int | None = None, count: int = 4) -> TalkSide:
    """Return the first speaker's side of a talk in which both say `count` times the same."""
    facts = () if persona is None else (f"fact {persona}",)
    return TalkSide(f"talk {number}", 0, is_program, facts, ("a", "b") * count)
