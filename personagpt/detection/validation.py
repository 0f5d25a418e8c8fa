"""How well a detector tells sides apart that it did not learn from: cross-validation, with an interval."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from personagpt.detection.detectors import Detector
from personagpt.detection.sides import TalkSide
from personagpt.errors import UserError
from personagpt.scoring.bootstrap import PERCENT, percentile_interval, resamples

FOLDS, CUTS, SHUFFLES = 5, 10, 100
# The detectors of a cross-validation learn from one another's judged sides, so that its figure varies more than that of
# detectors that are given: the variance is 1/FOLDS + 1/(FOLDS - 1) in place of 1/FOLDS (Nadeau and Bengio 2003).
WIDER = math.sqrt(1 + FOLDS / (FOLDS - 1))


@dataclass(frozen=True)
class Validated:
    """How well a detector tells sides apart that it did not learn from."""

    auc: float
    low: float | None  # None where the sides are too few, or too well told apart, for an interval
    high: float | None
    accuracy: float  # the mean over both kinds


class ComparedPart(NamedTuple):
    """The programs (P,) and the people (Q,) that one part judged, each by the number of its group."""

    programs: np.ndarray
    people: np.ndarray
    wins: np.ndarray  # (P, Q): 1 if the program has the higher logit, 0.5 if both are equal


def groups_of(sides: list[TalkSide]) -> list[str]:
    """Return the group of each side: the sides of one persona, or of one participant. A group is in one part.

    Of each kind of sides the personas or the participants are the groups, whichever are fewer. A side without both is
    in the group of its talk.
    """
    groups = [""] * len(sides)
    for is_program in (False, True):
        indices = [index for index, side in enumerate(sides) if side.is_program == is_program]
        ways = []
        for order in (("persona", "participant", "talk"), ("participant", "persona", "talk")):
            ways.append([next(sides[i].keys[kind] for kind in order if kind in sides[i].keys) for i in indices])
        for index, group in zip(indices, min(ways, key=lambda way: len(set(way))), strict=True):
            groups[index] = group
    return groups


def parts(
    sides: list[TalkSide], is_program: np.ndarray, random: np.random.RandomState
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield FOLDS times the indices of the sides to learn from and of the sides to judge.

    The two share no talk, no persona and no participant. Every side is judged once. The groups of each kind are spread
    evenly. A side that shares a key with a judged side, but not the group, is not learnt from.
    """
    groups = groups_of(sides)
    kinds = dict(zip(groups, is_program.tolist(), strict=True))
    names = list(kinds)
    order = [names[number] for number in random.permutation(len(names))]
    part_of = {group: place % FOLDS for place, group in enumerate(sorted(order, key=kinds.__getitem__))}
    part_of_side = np.array([part_of[group] for group in groups])
    keys = [set(side.keys.values()) for side in sides]
    for part in range(FOLDS):
        judged = np.flatnonzero(part_of_side == part)
        known = set().union(*(keys[index] for index in judged))
        others = [index for index in np.flatnonzero(part_of_side != part) if known.isdisjoint(keys[index])]
        yield np.array(others, int), judged


def cross_validate(sides: list[TalkSide], markers: list[str], values: np.ndarray, seed: int) -> Validated:
    """Judge each side, by its values (S, M), with detectors that learnt from other talks, personas and participants.

    The AUC is the share of pairs, a program and a person of the same part, in which the program has the higher logit;
    equal logits count half. AUC and accuracy are means over CUTS ways to cut the sides into parts. Raises UserError if
    no pair can be judged.
    """
    is_program = np.array([side.is_program for side in sides])
    random = np.random.RandomState(seed)
    cuts = [_judge(sides, markers, values, is_program, random) for _ in range(CUTS)]
    compared = [part for cut, _ in cuts for part in cut]
    groups = np.array(groups_of(sides))
    count = len(set(groups))
    auc = float(_aucs(compared, np.ones((1, count)))[0])
    aucs = _aucs(compared, np.array(list(resamples(count, seed)), float))
    low, high = interval(auc, aucs, min(len(set(groups[is_program])), len(set(groups[~is_program]))))
    return Validated(auc, low, high, float(np.mean([accuracy for _, accuracy in cuts])))


def interval(auc: float, aucs: np.ndarray, fewest: int) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of `auc`, from the AUCs (R,) of resamples of the groups; `fewest` groups are of one kind.

    It is Student's, with `fewest` - 1 degrees of freedom, of the AUC's logit. Where all AUCs are the same, there is
    none.
    """
    from scipy.special import expit, logit
    from scipy.stats import t

    deviation = WIDER * float(np.nanstd(aucs)) / max(auc * (1 - auc), 1e-300)
    if fewest < 2 or not 0 < auc < 1 or deviation < 1e-9:
        return None, None
    reach = deviation * t.ppf(0.5 + PERCENT / 200, fewest - 1)
    return float(expit(logit(auc) - reach)), float(expit(logit(auc) + reach))


def validate_shuffled(sides: list[TalkSide], markers: list[str], values: np.ndarray, seed: int) -> Validated:
    """Do the same with labels that are shuffled among the talks, SHUFFLES times, with one cut each.

    Return the means, and the interval in which PERCENT of the AUCs lie. A single shuffle may by chance leave a marker's
    values uneven, in all parts alike.
    """
    is_program = np.array([side.is_program for side in sides])
    groups = np.ones((1, len(set(groups_of(sides)))))
    random, aucs, accuracies = np.random.RandomState(seed), [], []
    for _ in range(SHUFFLES):
        compared, accuracy = _judge(sides, markers, values, shuffled(sides, is_program, random), random)
        aucs.append(_aucs(compared, groups)[0])
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
    sides: list[TalkSide],
    markers: list[str],
    values: np.ndarray,
    is_program: np.ndarray,
    random: np.random.RandomState,
) -> tuple[list[ComparedPart], float]:
    """Return the pairs of each part, and the accuracy: the mean over both kinds of the share judged rightly."""
    numbers: dict[str, int] = {}
    groups = np.array([numbers.setdefault(group, len(numbers)) for group in groups_of(sides)])
    compared, is_right = [], np.full(len(sides), np.nan)  # nan: nobody to learn from
    for learnt, judged in parts(sides, is_program, random):
        if len(set(is_program[learnt].tolist())) < 2 or not len(judged):
            continue
        logits = Detector.fit(markers, values[learnt], is_program[learnt]).logits(values[judged])
        labels = is_program[judged]
        is_right[judged] = (logits > 0) == labels
        high, low = logits[labels][:, None], logits[~labels][None]
        wins = (high > low) + 0.5 * (high == low)
        compared.append(ComparedPart(groups[judged[labels]], groups[judged[~labels]], wins))
    if not any(part.wins.size for part in compared):
        raise UserError(
            "the sides of programs, or of people, share personas or participants: there are no others to learn from; "
            "add talks with others"
        )
    return compared, float(np.mean([np.nanmean(is_right[is_program]), np.nanmean(is_right[~is_program])]))


def _aucs(compared: list[ComparedPart], weights: np.ndarray) -> np.ndarray:
    """Return for each of the weights (R, G) of the groups the share of pairs that the program wins; nan without any."""
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for programs, people, wins in compared:
        won += (weights[:, programs] @ wins * weights[:, people]).sum(1)
        pairs += weights[:, programs].sum(1) * weights[:, people].sum(1)
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
