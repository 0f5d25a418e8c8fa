"""Program or person? A logistic regression on the markers of a side, its cross-validation, and its form as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from personagpt.detection.sides import TalkSide
from personagpt.errors import UserError
from personagpt.scoring.bootstrap import percentile_interval, resamples

FOLDS, SHUFFLES = 5, 100


@dataclass(frozen=True)
class Detector:
    """A program spoke with the probability 1 / (1 + exp(-logit))."""

    markers: list[str]
    mean: np.ndarray  # (M,)
    scale: np.ndarray  # (M,)
    weights: np.ndarray  # (M,) of the standardized markers
    intercept: float

    @classmethod
    def fit(cls, markers: list[str], values: np.ndarray, is_program: np.ndarray) -> Detector:
        """Learn from values (S, M) and labels (S,). Both kinds weigh the same, whatever their numbers of sides."""
        from sklearn.linear_model import LogisticRegression  # judging does not need scikit-learn

        mean, scale = values.mean(0), values.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        fitted = LogisticRegression(class_weight="balanced", max_iter=1000).fit((values - mean) / scale, is_program)
        return cls(markers, mean, scale, fitted.coef_[0], float(fitted.intercept_[0]))

    def logits(self, values: np.ndarray) -> np.ndarray:
        """Return the logits (S,) of values (S, M). Above 0 a program is likelier."""
        return (values - self.mean) / self.scale @ self.weights + self.intercept

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Return the probabilities (S,), from values (S, M), that programs spoke."""
        return 1 / (1 + np.exp(-self.logits(values)))

    def plain(self) -> dict[str, Any]:
        """Return the detector as JSON holds it."""
        rows = zip(self.markers, self.weights.tolist(), self.mean.tolist(), self.scale.tolist(), strict=True)
        markers = {name: {"weight": weight, "mean": mean, "scale": scale} for name, weight, mean, scale in rows}
        return {"markers": markers, "intercept": self.intercept}

    @classmethod
    def of_plain(cls, raw: dict[str, Any]) -> Detector:
        """Return the detector that `plain` gave. Raises KeyError, TypeError, ValueError or AttributeError otherwise."""
        columns = [[float(row[key]) for row in raw["markers"].values()] for key in ("mean", "scale", "weight")]
        return cls(list(raw["markers"]), *map(np.array, columns), float(raw["intercept"]))


def parts(sides: list[TalkSide], seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield FOLDS times the indices of the sides to learn from and of the sides to judge.

    The two share no talk and no persona. Every side is judged once. A side that shares a talk with a judged side is not
    learnt from.
    """
    keys = list(dict.fromkeys(side.persona_or_talk for side in sides))
    order = np.random.RandomState(seed).permutation(len(keys))
    part_of = {keys[number]: place % FOLDS for place, number in enumerate(order)}
    part_of_side = np.array([part_of[side.persona_or_talk] for side in sides])
    for part in range(FOLDS):
        judged = np.flatnonzero(part_of_side == part)
        talks = {sides[index].talk for index in judged}
        others = [index for index in np.flatnonzero(part_of_side != part) if sides[index].talk not in talks]
        yield np.array(others, int), judged


@dataclass(frozen=True)
class Validated:
    """How well a detector tells sides apart that it did not learn from."""

    auc: float
    low: float
    high: float
    accuracy: float  # the mean over both kinds


class ComparedPart(NamedTuple):
    """The programs (P,) and the people (Q,) that one part judged, each by the number of its talk."""

    programs: np.ndarray
    people: np.ndarray
    wins: np.ndarray  # (P, Q): 1 if the program has the higher logit, 0.5 if both are equal


def cross_validate(sides: list[TalkSide], markers: list[str], values: np.ndarray, seed: int) -> Validated:
    """Judge each side, by its values (S, M), with a detector that learnt from other talks and personas.

    The AUC is the share of pairs, a program and a person of the same part, in which the program has the higher logit;
    equal logits count half. Its interval comes from RESAMPLES resamples of the talks, with the detectors unchanged.
    Raises UserError if no pair can be judged.
    """
    is_program = np.array([side.is_program for side in sides])
    compared, accuracy = _judge(sides, markers, values, is_program, seed)
    talks = len({side.talk for side in sides})
    low, high = percentile_interval([_auc(compared, weights) for weights in resamples(talks, seed)])
    return Validated(_auc(compared, np.ones(talks)), low, high, accuracy)


def validate_shuffled(sides: list[TalkSide], markers: list[str], values: np.ndarray, seed: int) -> Validated:
    """Do the same with labels that are shuffled among the talks, SHUFFLES times.

    Return the means, and the interval in which PERCENT of the AUCs lie. A single shuffle may by chance leave a marker's
    values uneven, in all parts alike.
    """
    is_program = np.array([side.is_program for side in sides])
    random, aucs, accuracies = np.random.RandomState(seed), [], []
    for _ in range(SHUFFLES):
        compared, accuracy = _judge(sides, markers, values, shuffled(sides, is_program, random), seed)
        aucs.append(_auc(compared, np.ones(len(sides))))
        accuracies.append(accuracy)
    low, high = percentile_interval(aucs)
    return Validated(float(np.mean(aucs)), low, high, float(np.mean(accuracies)))


def shuffled(sides: list[TalkSide], is_program: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Return labels (S,) in which each talk has those of another talk with as many sides, in any order."""
    indices_of: dict[str, list[int]] = {}
    for index, side in enumerate(sides):
        indices_of.setdefault(side.talk, []).append(index)
    labels = is_program.copy()
    for size in {len(indices) for indices in indices_of.values()}:
        talks = [indices for indices in indices_of.values() if len(indices) == size]
        for place, taken in enumerate(random.permutation(len(talks))):
            labels[talks[place]] = random.permutation(is_program[talks[taken]])
    return labels


def _judge(
    sides: list[TalkSide], markers: list[str], values: np.ndarray, is_program: np.ndarray, seed: int
) -> tuple[list[ComparedPart], float]:
    """Return the pairs of each part, and the accuracy: the mean over both kinds of the share judged rightly."""
    numbers = {talk: number for number, talk in enumerate(dict.fromkeys(side.talk for side in sides))}
    talks = np.array([numbers[side.talk] for side in sides])
    compared, is_right = [], np.full(len(sides), np.nan)  # nan: nobody to learn from
    for learnt, judged in parts(sides, seed):
        if len(set(is_program[learnt].tolist())) < 2 or not len(judged):
            continue
        logits = Detector.fit(markers, values[learnt], is_program[learnt]).logits(values[judged])
        labels = is_program[judged]
        is_right[judged] = (logits > 0) == labels
        high, low = logits[labels][:, None], logits[~labels][None]
        wins = (high > low) + 0.5 * (high == low)
        compared.append(ComparedPart(talks[judged[labels]], talks[judged[~labels]], wins))
    if not any(part.wins.size for part in compared):
        raise UserError("all sides of programs, or of people, share a persona: there is no other one to learn from")
    return compared, float(np.mean([np.nanmean(is_right[is_program]), np.nanmean(is_right[~is_program])]))


def _auc(compared: list[ComparedPart], weights: np.ndarray) -> float:
    """Return the share of pairs that the program wins, each talk weighing `weights` (T,); nan without any pair."""
    won = sum(float(weights[part.programs] @ part.wins @ weights[part.people]) for part in compared)
    pairs = sum(float(weights[part.programs].sum() * weights[part.people].sum()) for part in compared)
    return won / pairs if pairs else float("nan")
