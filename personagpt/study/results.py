"""What came out of a blind study: its figures by condition, each with an interval. study_report.py shows them.

A study's talks have the source "study:STUDY:CONDITION". What a participant answered after a talk is in its ratings:

    fluency, consistency, engagement    1 to 5
    persona                             {"shown": [[fact, ...], [fact, ...]], "chosen": 0 or 1, "true": 0 or 1}
    partner                             "person" or "program"
    waited                              true where nobody came to be joined with, and a program stepped in
    ended                               "left" where the participant gave the talk up; it then has no answers
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from personagpt.records.talks import FLAGS, SCALES, Talk
from personagpt.scoring.bootstrap import PERCENT, RESAMPLES, percentile_interval, resamples

Figure = dict[str, Any]  # value, count (of what it is a mean), low, high; no value where the count is 0


def is_programs(talk: Talk) -> bool:
    """Whether the participant talked to a program."""
    return talk.partner != "person"


def partner_turns(talk: Talk) -> list[int]:
    """The indices of what the participant's partner said."""
    return [number for number, turn in enumerate(talk.turns) if turn.speaker != "human"]


class Sample:
    """A study's participants, who are drawn again and again: talks of one participant are not independent."""

    def __init__(self, talks: list[Talk], seed: int) -> None:
        self.numbers = {name: number for number, name in enumerate(dict.fromkeys(map(_participant, talks)))}
        self.drawn = np.array(list(resamples(len(self.numbers), seed)))  # (R, P)

    def mean(self, parts: Iterable[tuple[Talk, float, int]]) -> Figure:
        """From the sum of some values of each talk, and how many those are.

        No interval where every resample gives the same: one participant, or answers that are all alike.
        """
        sums, counts = np.zeros((2, len(self.numbers)))
        for talk, value, count in parts:
            number = self.numbers[_participant(talk)]
            sums[number] += value
            counts[number] += count
        if not counts.any():
            return {"count": 0}
        figure = {"value": float(sums.sum() / counts.sum()), "count": int(counts.sum())}
        with np.errstate(invalid="ignore"):  # resamples without anybody who was asked this
            low, high = percentile_interval(self.drawn @ sums / (self.drawn @ counts))
        return figure | ({"low": low, "high": high} if low < high else {})

    def share(self, answers: Iterable[tuple[Talk, bool]]) -> Figure:
        return self.mean((talk, float(answer), 1) for talk, answer in answers)


def results(talks: list[Talk], seed: int) -> dict[str, Any]:
    """The figures of one study, as JSON holds them."""
    sample = Sample(talks, seed)
    by_condition: dict[str, list[Talk]] = {}
    for talk in sorted(talks, key=lambda talk: talk.source):
        by_condition.setdefault(talk.source.rpartition(":")[2], []).append(talk)
    judged = [talk for talk in talks if "partner" in talk.ratings]
    programs = [(talk, talk.ratings["partner"] == "person") for talk in judged if is_programs(talk)]
    people = [(talk, talk.ratings["partner"] == "program") for talk in judged if not is_programs(talk)]
    return {
        "talks": len(talks),
        "participants": len(sample.numbers),
        "answered": len(judged),
        "resamples": RESAMPLES,
        "percent": PERCENT,
        "seed": seed,
        "conditions": {name: of_condition(some, sample) for name, some in by_condition.items()},
        "programs_taken_for_people": sample.share(programs),
        "people_taken_for_programs": sample.share(people),
    }


def of_condition(talks: list[Talk], sample: Sample) -> dict[str, Any]:
    """The figures of a condition's talks. Flags are counted for each 100 of the partner's turns."""
    rated = [(talk, talk.ratings) for talk in talks]
    guesses = [(talk, given["persona"]) for talk, given in rated if "persona" in given]
    longest = max(len(partner_turns(talk)) for talk in talks)
    return {
        "partner": "program" if any(map(is_programs, talks)) else "person",
        "talks": len(talks),
        "participants": len(set(map(_participant, talks))),
        "answered": sum("partner" in given for _, given in rated),
        "given_up": sum(given.get("ended") == "left" for _, given in rated),
        "waited": sum(bool(given.get("waited")) for _, given in rated),
        "ratings": {
            question: sample.mean((talk, given[question], 1) for talk, given in rated if question in given)
            for question in SCALES
        },
        "persona_guessed": sample.share((talk, guess["chosen"] == guess["true"]) for talk, guess in guesses),
        "taken_for_person": sample.share((talk, x["partner"] == "person") for talk, x in rated if "partner" in x),
        "partner_turns": sum(len(partner_turns(talk)) for talk in talks),
        "flags_by_kind": {kind: flagged(talks, sample, kind=kind) for kind in FLAGS},
        "flags_by_turn": [flagged(talks, sample, place=place) for place in range(longest)],
    }


def flagged(talks: list[Talk], sample: Sample, kind: str | None = None, place: int | None = None) -> Figure:
    """Flags for each 100 of the partner's turns: of one kind, or of the turn at one place; `flags` counts them."""
    parts = []
    for talk in talks:
        turns = partner_turns(talk)
        turns = turns if place is None else turns[place : place + 1]
        flags = [flag for flag in talk.flags if flag.turn in turns and kind in (None, flag.kind)]
        parts.append((talk, 100 * len(flags), len(turns)))
    return sample.mean(parts) | {"flags": sum(value for _, value, _ in parts) // 100}


def _participant(talk: Talk) -> str:
    return talk.participant or talk.id
