"""Programs or people? A logistic regression on the markers of a side, cross-validated; saved as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from personagpt.detection.sides import Side
from personagpt.errors import UserError
from personagpt.scoring.bootstrap import percentile_interval, resamples

FOLDS, SHUFFLES = 5, 100


@dataclass(frozen=True)
class Detector:
    """What a side's markers say: the probability that a program spoke is 1 / (1 + exp(-logit))."""

    markers: list[str]
    mean: np.ndarray  # (M,)
    scale: np.ndarray  # (M,)
    weights: np.ndarray  # (M,) of the standardized markers
    intercept: float

    @classmethod
    def fit(cls, markers: list[str], values: np.ndarray, is_program: np.ndarray) -> Detector:
        """From values (S, M); both classes weigh alike, however many sides they have."""
        from sklearn.linear_model import LogisticRegression  # only who learns needs it

        mean, scale = values.mean(0), values.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        found = LogisticRegression(class_weight="balanced", max_iter=1000).fit((values - mean) / scale, is_program)
        return cls(markers, mean, scale, found.coef_[0], float(found.intercept_[0]))

    def logits(self, values: np.ndarray) -> np.ndarray:
        """(S, M) -> (S,); above 0 a program is likelier."""
        return (values - self.mean) / self.scale @ self.weights + self.intercept

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        parts = zip(self.markers, self.weights.tolist(), self.mean.tolist(), self.scale.tolist(), strict=True)
        found = {name: {"weight": weight, "mean": mean, "scale": scale} for name, weight, mean, scale in parts}
        return {"markers": found, "intercept": self.intercept}

    @classmethod
    def of_plain(cls, raw: dict[str, Any]) -> Detector:
        """Raises KeyError, TypeError or ValueError where it is none."""
        parts = [[float(part[key]) for part in raw["markers"].values()] for key in ("mean", "scale", "weight")]
        return cls(list(raw["markers"]), *map(np.array, parts), float(raw["intercept"]))


def parts(sides: list[Side], seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """FOLDS times the sides (by index) to learn from and those to judge: of no talk and no persona in common.

    Every persona is judged once; sides that share a talk with one that is judged are left out of learning.
    """
    keys = list(dict.fromkeys(side.persona_or_talk for side in sides))
    order = np.random.RandomState(seed).permutation(len(keys))
    part_of = {keys[number]: place % FOLDS for place, number in enumerate(order)}
    of_side = np.array([part_of[side.persona_or_talk] for side in sides])
    for part in range(FOLDS):
        judged = np.flatnonzero(of_side == part)
        talks = {sides[index].talk for index in judged}
        others = [index for index in np.flatnonzero(of_side != part) if sides[index].talk not in talks]
        yield np.array(others, int), judged


@dataclass(frozen=True)
class Validated:
    """How well sides that were not learnt from are told apart."""

    auc: float
    low: float
    high: float
    accuracy: float  # the mean over both classes


def cross_validate(
    sides: list[Side], markers: list[str], values: np.ndarray, is_program: np.ndarray, seed: int
) -> Validated:
    """Judge each side by a detector that learnt from other talks and personas.

    AUC is the share of pairs, a program and a person of one part, of which the program has the higher logit (ties
    count half). Its interval comes from RESAMPLES resamples of the talks; the detectors stay as they are. Raises
    UserError where nobody can be judged.
    """
    compared, right = _judge(sides, markers, values, is_program, seed)
    numbers = 1 + max(max(programs.max(initial=0), people.max(initial=0)) for programs, people, _ in compared)
    low, high = percentile_interval([_auc(compared, drawn) for drawn in resamples(numbers, seed)])
    return Validated(_auc(compared, np.ones(numbers)), low, high, _accuracy(right, is_program))


def validate_shuffled(
    sides: list[Side], markers: list[str], values: np.ndarray, is_program: np.ndarray, seed: int
) -> Validated:
    """The same with the labels shuffled among talks, SHUFFLES times: the means, and between what PERCENT of the AUCs
    lie. One shuffle alone may leave some marker's values a little uneven by chance, in all parts alike."""
    random, aucs, accuracies = np.random.RandomState(seed), [], []
    for _ in range(SHUFFLES):
        labels = shuffled(sides, is_program, random)
        compared, right = _judge(sides, markers, values, labels, seed)
        aucs.append(_auc(compared, np.ones(len(sides))))
        accuracies.append(_accuracy(right, labels))
    low, high = percentile_interval(aucs)
    return Validated(float(np.mean(aucs)), low, high, float(np.mean(accuracies)))


def shuffled(sides: list[Side], is_program: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """The labels of each talk's sides given to another talk with as many sides, in any order."""
    of_talk: dict[str, list[int]] = {}
    for index, side in enumerate(sides):
        of_talk.setdefault(side.talk, []).append(index)
    labels = is_program.copy()
    for size in {len(indices) for indices in of_talk.values()}:
        talks = [indices for indices in of_talk.values() if len(indices) == size]
        for place, taken in enumerate(random.permutation(len(talks))):
            labels[talks[place]] = random.permutation(is_program[talks[taken]])
    return labels


def _judge(
    sides: list[Side], markers: list[str], values: np.ndarray, is_program: np.ndarray, seed: int
) -> tuple[list[tuple[np.ndarray, np.ndarray, np.ndarray]], np.ndarray]:
    """For each part the talks of its programs (P,) and of its people (Q,), numbered, and which pairs are won (P, Q);
    and for each side whether it was judged rightly, nan where there was nobody to learn from."""
    numbers = {talk: number for number, talk in enumerate(dict.fromkeys(side.talk for side in sides))}
    talks = np.array([numbers[side.talk] for side in sides])
    compared, right = [], np.full(len(sides), np.nan)
    for learnt, judged in parts(sides, seed):
        if len(set(is_program[learnt].tolist())) < 2 or not len(judged):
            continue
        logits = Detector.fit(markers, values[learnt], is_program[learnt]).logits(values[judged])
        right[judged] = (logits > 0) == is_program[judged]
        high, low = logits[is_program[judged]][:, None], logits[~is_program[judged]][None]
        programs, people = judged[is_program[judged]], judged[~is_program[judged]]
        compared.append((talks[programs], talks[people], (high > low) + 0.5 * (high == low)))
    if not any(wins.size for _, _, wins in compared):
        raise UserError("all sides of programs, or of people, share a persona: there is no other one to learn from")
    return compared, right


def _accuracy(right: np.ndarray, is_program: np.ndarray) -> float:
    """The mean over both kinds."""
    return float(np.mean([np.nanmean(right[is_program]), np.nanmean(right[~is_program])]))


def _auc(compared: list[tuple[np.ndarray, np.ndarray, np.ndarray]], weights: np.ndarray) -> float:
    """The share of won pairs, a side counted as often as `weights` says of its talk; nan without any pair."""
    won = sum(float(weights[programs] @ wins @ weights[people]) for programs, people, wins in compared)
    pairs = sum(float(weights[programs].sum() * weights[people].sum()) for programs, people, _ in compared)
    return won / pairs if pairs else float("nan")
