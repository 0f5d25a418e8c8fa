"""Talks for the tests."""

from __future__ import annotations

from dataclasses import replace

from personagpt.records.talks import Flag, Talk, Turn, new_id


def make_talk(*texts: str, flags: tuple = (), partner: str = "human", **changes: object) -> Talk:
    """Return a talk of these utterances; each of `flags` is a turn, a kind, and perhaps a note."""
    turns = [Turn((partner, "model")[number % 2], text) for number, text in enumerate(texts)]
    values = {"persona": ["i have two dogs ."], "sampling": {"seed": 7}} | changes
    return Talk("m", "c0ffee", partner=partner, turns=turns, flags=[Flag(*flag) for flag in flags], **values)


def make_twins(*texts: str, source: str = "study:s:people") -> tuple[Talk, Talk]:
    """Return the talks of two people who said these utterances to each other; the first talk's person began."""
    one, two = ["i am one ."], ["i am two ."]
    said = [Turn(("human", "partner")[number % 2], text) for number, text in enumerate(texts)]
    heard = [replace(turn, speaker="partner" if turn.speaker == "human" else "human") for turn in said]
    ids = new_id(), new_id()
    began = Talk("", "", {}, two, "person", one, said, id=ids[0], twin=ids[1], source=source)
    other = Talk("", "", {}, one, "person", two, heard, id=ids[1], twin=ids[0], source=source, started=began.started)
    return began, other
