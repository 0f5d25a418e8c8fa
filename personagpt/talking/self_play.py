"""Talks of the model with itself, many at once: material for a detector, and for looking at what it says."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from dataclasses import asdict

from personagpt.model.loading import TrainedModel
from personagpt.model.sampling import Sampling
from personagpt.records.talks import Talk, Turn
from personagpt.talking.persona import Persona

TOGETHER = 64  # talks; what a kill loses at most


def play(
    model: TrainedModel,
    personas: list[tuple[list[str], list[str]]],
    count: int,
    turns: int,
    sampling: Sampling,
    seed: int,
    max_history: int | None = None,
    goal: str | None = None,
) -> Iterator[list[Talk]]:
    """`count` talks of at most `turns` utterances between pairs drawn from `personas`, TOGETHER at a time.

    The first of a pair is the partner's, which talks first; `max_history` is Persona's, and `goal` what the other one's
    replies shall do. Nothing is typed, so nothing is brought into a style. A talk ends where a speaker has nothing to
    say.
    """
    chance = random.Random(seed)
    for first in range(0, count, TOGETHER):
        talks, speakers = [], []
        for number in range(first, min(first + TOGETHER, count)):
            pair = chance.choice(personas)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # more facts than in training: of every talk alike
                made = [
                    Persona(model, facts, seed=own, max_history=max_history, as_typed=True, **asdict(sampling))
                    for own, facts in zip((seed + number + 2**62, seed + number), pair, strict=True)
                ]
            used = asdict(sampling) | {"seed": seed + number}
            names = model.name, model.checksum
            talks.append(Talk(*names, used, made[1].facts, "partner", made[0].facts, source="self-play"))
            speakers.append(made)
        going = list(range(len(talks)))
        for turn in range(turns):
            wanted = goal if turn % 2 else None
            last = [talks[index].texts[-1] if turn else None for index in going]
            asked = [(speakers[index][turn % 2], text) for index, text in zip(going, last, strict=True)]
            for index, reply in zip(list(going), Persona.replies(asked, goal=wanted), strict=True):
                if reply:
                    talks[index].turns.append(Turn(("partner", "model")[turn % 2], reply, goal=wanted))
                else:
                    going.remove(index)
        yield talks
