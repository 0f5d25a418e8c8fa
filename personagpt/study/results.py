"""Compute the figures of a blind study by condition, each with an interval. report.py shows them.

The source of a study's talk is "study:STUDY:CONDITION". The answers that a participant gave after it are its ratings:

    fluency, consistency, engagement    1 to 5
    persona                             {"shown": [[fact, ...], [fact, ...]], "chosen": 0 or 1, "true": 0 or 1}
    partner                             "person" or "program"
    waited                              true where a program stepped in, because nobody else came
    ended                               "left" where the participant gave the talk up; then there are no answers

A study's own questions have answers from 1 to 5, a text that was chosen, or {"words": the participant's own words}.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from personagpt.records.talks import ANSWERS, FLAGS, SCALES, Talk, has_answers, is_scale, program_of, public_model
from personagpt.scoring.bootstrap import PERCENT, RESAMPLES, percentile_interval, resamples

Figure = dict[str, Any]  # value, count (the answers or turns behind it), low, high; no value where the count is 0


def is_programs(talk: Talk) -> bool:
    """Return whether the participant talked with a program."""
    return talk.partner != "person"


def participant_of(talk: Talk) -> str:
    return talk.participant or talk.id


def partner_turns(talk: Talk) -> list[int]:
    """Return the indices of the partner's turns."""
    return [number for number, turn in enumerate(talk.turns) if turn.speaker != "human"]


class Sample:
    """A study's participants, and resamples of them: the talks of a participant are not independent."""

    def __init__(self, talks: list[Talk], seed: int) -> None:
        self.numbers = {name: number for number, name in enumerate(dict.fromkeys(map(participant_of, talks)))}
        self.drawn = np.array(list(resamples(len(self.numbers), seed)))  # (R, P)

    def mean(self, parts: Iterable[tuple[Talk, float, int]]) -> Figure:
        """Return the mean of values, given for each talk as their sum and their count.

        There is no interval where every resample has the same mean: one participant, or values that are all equal.
        """
        sums, counts = np.zeros((2, len(self.numbers)))
        for talk, value, count in parts:
            number = self.numbers[participant_of(talk)]
            sums[number] += value
            counts[number] += count
        if not counts.any():
            return {"count": 0}
        figure = {"value": float(sums.sum() / counts.sum()), "count": int(counts.sum())}
        with np.errstate(invalid="ignore"):  # a resample may have no value at all
            low, high = percentile_interval(self.drawn @ sums / (self.drawn @ counts))
        return figure | ({"low": low, "high": high} if low < high else {})

    def share(self, answers: Iterable[tuple[Talk, bool]]) -> Figure:
        return self.mean((talk, float(answer), 1) for talk, answer in answers)

    def flags(self, talks: list[Talk], kind: str | None = None, place: int | None = None) -> Figure:
        """Return the flags for each 100 of the partner's turns: flags of one kind, or flags on the turn at one place.

        `flags` of the figure is their number.
        """
        parts = []
        for talk in talks:
            turns = partner_turns(talk)
            turns = turns if place is None else turns[place : place + 1]
            flags = [flag for flag in talk.flags if flag.turn in turns and kind in (None, flag.kind)]
            parts.append((talk, 100 * len(flags), len(turns)))
        return self.mean(parts) | {"flags": sum(value for _, value, _ in parts) // 100}


def results(talks: list[Talk], seed: int, order: Sequence[str] = ()) -> dict[str, Any]:
    """Return the figures of a study's talks, as JSON holds them. Conditions in `order` come first, in that order.

    A condition whose program was changed during the study has an entry for each program: "usual (1)", "usual (2)".
    """
    sample = Sample(talks, seed)
    by_condition: dict[str, list[Talk]] = {name: [] for name in order}
    for talk in sorted(talks, key=lambda talk: talk.source):
        by_condition.setdefault(talk.source.rpartition(":")[2], []).append(talk)
    parts = {name: part for condition in by_condition.items() for name, part in by_program(*condition).items()}
    judged, scales, choices = [talk for talk in talks if "partner" in talk.ratings], scales_of(talks), choices_of(talks)
    programs = [(talk, talk.ratings["partner"] == "person") for talk in judged if is_programs(talk)]
    people = [(talk, talk.ratings["partner"] == "program") for talk in judged if not is_programs(talk)]
    return {
        "talks": len(talks),
        "participants": len(sample.numbers),
        "answered": sum(map(has_answers, talks)),
        "resamples": RESAMPLES,
        "percent": PERCENT,
        "seed": seed,
        "conditions": {name: condition_results(part, sample, scales, choices) for name, part in parts.items()},
        "programs_taken_for_people": sample.share(programs),
        "people_taken_for_programs": sample.share(people),
    }


def by_program(name: str, talks: list[Talk]) -> dict[str, list[Talk]]:
    """Return the talks of the condition `name` for each program that was behind this name."""
    parts: dict[str, list[Talk]] = {}
    for talk in talks:
        parts.setdefault(program_of(talk), []).append(talk)
    if len(parts) == 1:
        return {name: talks}
    return {f"{name} ({number})": part for number, part in enumerate(parts.values(), 1)}


def scales_of(talks: list[Talk]) -> list[str]:
    """Return the names of the questions that were answered on a scale: the usual three, and a study's own."""
    rated = dict.fromkeys(name for talk in talks for name, answer in talk.ratings.items() if is_scale(answer))
    own = [name for name in rated if name not in SCALES]
    return own if own and not rated.keys() & {*SCALES} else [*SCALES, *own]


def choices_of(talks: list[Talk]) -> dict[str, list[str]]:
    """Return the answers that were chosen, for each of a study's own questions with answers to choose from."""
    chosen: dict[str, list[str]] = {}
    for talk in talks:
        for name, answer in talk.ratings.items():
            if isinstance(answer, str) and name not in ANSWERS and answer not in chosen.setdefault(name, []):
                chosen[name].append(answer)
    return {name: sorted(answers) for name, answers in chosen.items()}


def condition_results(
    talks: list[Talk], sample: Sample, scales: list[str], choices: dict[str, list[str]]
) -> dict[str, Any]:
    """Return the figures of a condition's talks."""

    def rated(question: str) -> list[Talk]:
        return [talk for talk in talks if question in talk.ratings]

    guesses = [(talk, talk.ratings["persona"]) for talk in rated("persona")]
    counts = [len(partner_turns(talk)) for talk in talks]
    return {
        "condition": talks[0].source.rpartition(":")[2],
        "partner": "program" if any(map(is_programs, talks)) else "person",
        "program": {
            "model": public_model(talks[0]),
            "model_checksum": talks[0].model_checksum,
            **{name: value for name, value in talks[0].sampling.items() if name != "seed"},
        },
        "talks": len(talks),
        "participants": len(set(map(participant_of, talks))),
        "answered": sum(map(has_answers, talks)),
        "given_up": sum(talk.ratings.get("ended") == "left" for talk in talks),
        "waited": sum(bool(talk.ratings.get("waited")) for talk in talks),
        "ratings": {scale: sample.mean((talk, talk.ratings[scale], 1) for talk in rated(scale)) for scale in scales},
        "choices": {
            name: {
                answer: sample.share((talk, talk.ratings[name] == answer) for talk in rated(name)) for answer in all_
            }
            for name, all_ in choices.items()
        },
        "persona_guessed": sample.share((talk, guess["chosen"] == guess["true"]) for talk, guess in guesses),
        "taken_for_person": sample.share((talk, talk.ratings["partner"] == "person") for talk in rated("partner")),
        "partner_turns": sum(counts),
        "flags_by_kind": {kind: sample.flags(talks, kind=kind) for kind in FLAGS},
        "flags_by_turn": [sample.flags(talks, place=place) for place in range(max(counts))],
    }
