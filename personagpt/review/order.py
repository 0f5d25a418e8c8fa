"""Which recorded talks are reviewed, and in which order. Talks that another reviewer began come first: reviewers.py.

    doubt     the talks first about which least is known: nobody has judged them, or the judgements contradict
    detector  the talks first of which a saved detector says least surely who speaks, a program or a person; talks that
              it cannot judge come last (detector.py)
    random    every talk is as likely to come first as any other

A judgement of a talk says how bad it is, from 0 to 1: a flag (1), a thumb (1 if it is down), or a rating from 1 to 5
(0 for 5). With n judgements, whose sum is s, the talk is bad with probability p = (s + 1) / (n + 2), Laplace's rule of
succession. The doubt is p (1 - p), the largest at one half. Talks of equal doubt come in random order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from personagpt.records.talks import DELETED, SCALES, Talk, branches_of, is_blind, is_scale

ORDERS = ("doubt", "detector", "random")
RATINGS = (*SCALES, "eval_score")  # from 1, bad, to 5


def to_review(talks: list[Talk]) -> list[Talk]:
    """Return the talks that can be reviewed, in the order of `talks`.

    A talk of a study that still runs is left out. Of two twins the first speaker's talk stands for both, and of talks
    that went on from one another the longest. A talk whose partner has deleted it is left out, too.
    """
    chosen = [talk for talk in talks if judged_turns(talk) and not is_blind(talk) and DELETED not in talk.texts]
    longest = {id(max(branches, key=lambda talk: len(talk.turns))) for branches in branches_of(chosen).values()}
    return [
        talk
        for talk in chosen
        if id(talk) in longest and not (talk.partner == "person" and talk.speakers[0] == "partner")
    ]


def judged_turns(talk: Talk) -> list[int]:
    """Return the indices of the turns that reviewers label: the program's replies, or those of a participant's partner.

    In a self-play that is the program whose persona is the talk's. A correction is a person's, and is not labelled.
    """
    speaker = "partner" if talk.partner == "person" else "model"
    return [number for number, turn in enumerate(talk.turns) if turn.speaker == speaker and not turn.corrected]


def in_order(talks: list[Talk], order: str, seed: int, doubts: Mapping[str, float] | None = None) -> list[Talk]:
    """Return the talks in an order of ORDERS. The seed decides the random order.

    `doubts` has a detector's doubt by the talk's id, and takes the place of the judgements on record.
    """
    at_random = sorted(talks, key=lambda talk: hashlib.sha256(f"{seed} {talk.id}".encode()).digest())
    if order == "random":
        return at_random
    return sorted(at_random, key=doubt if doubts is None else lambda talk: doubts.get(talk.id, -1.0), reverse=True)


def doubt(talk: Talk) -> float:
    """Return how little the judgements on record tell whether the talk is bad, from 0 to 1/4."""
    judgements = [1.0] * len(talk.flags) + [0.0 if thumb.up else 1.0 for thumb in talk.thumbs]
    ratings = [talk.ratings[name] for name in RATINGS if is_scale(talk.ratings.get(name))]
    judgements += [(5 - rating) / 4 for rating in ratings]
    bad = (sum(judgements) + 1) / (len(judgements) + 2)
    return bad * (1 - bad)
