"""How well detectors tell sides apart that they did not learn from: cross-validation, with an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from personagpt.detection.learning import Material, learn
from personagpt.detection.parts import FOLDS, groups_of, parts
from personagpt.detection.sides import TalkSide
from personagpt.errors import UserError
from personagpt.scoring.bootstrap import PERCENT, percentile_interval, resamples

CUTS, SHUFFLES = 5, 20
RATES = (0.05, 0.01)  # the share of people that may be taken for programs
FEWEST_BEYOND = 5  # people or personas: so many must lie beyond the threshold of a rate, or it is chance
BINS = 10  # of the probability, for the calibration
# The detectors of a cross-validation learn from one another's judged sides, so that its figure varies more than that of
# detectors that are given: the variance is 1/FOLDS + 1/(FOLDS - 1) in place of 1/FOLDS (Nadeau and Bengio 2003).
WIDER = math.sqrt(1 + FOLDS / (FOLDS - 1))
Cut = list[tuple[np.ndarray, np.ndarray]]  # of each part the sides to learn from and the sides to judge


@dataclass(frozen=True)
class Validated:
    """How well a detector tells sides apart that it did not learn from."""

    auc: float
    low: float | None  # None where the sides are too few, or too well told apart, for an interval
    high: float | None
    accuracy: float  # the mean over both kinds
    brier: float  # the mean over both kinds of the squared error of the probability
    # For each of RATES: the share of programs caught, and of people accused, with the threshold that accuses this share
    # of the people to learn from. None: too few people.
    caught: tuple[tuple[float, float] | None, ...]
    # For each tenth of the probability with judged sides: the mean probability, and the share of programs among the
    # sides, as if both kinds were as many.
    calibration: tuple[tuple[float, float], ...]


class JudgedPart(NamedTuple):
    """The logits of the sides of one part, after each of K numbers of utterances."""

    sides: np.ndarray  # (J,)
    logits: np.ndarray  # (K, J)
    thresholds: np.ndarray  # (RATES, K); nan: too few people


class ComparedPart(NamedTuple):
    """The programs (P,) and the people (Q,) that one part judged, each by the number of its group."""

    programs: np.ndarray
    people: np.ndarray
    wins: np.ndarray  # (P, Q): 1 if the program has the higher logit, 0.5 if both are equal


def cuts_of(sides: list[TalkSide], seed: int, cuts: int | None = None) -> list[Cut]:
    """Return `cuts` (default: CUTS) ways to cut the sides into FOLDS parts."""
    is_program, random = labels_of(sides), np.random.RandomState(seed)
    return [list(parts(sides, is_program, random)) for _ in range(cuts or CUTS)]


def labels_of(sides: list[TalkSide]) -> np.ndarray:
    """Return whether a program spoke, for each side (S,)."""
    return np.array([side.is_program for side in sides])


def cross_validate(material: Material, seed: int, cuts: int | None = None) -> list[Validated]:
    """Judge each side with detectors that learnt from other talks, personas and participants.

    Return the figures for each number of utterances seen. The AUC is the share of pairs, a program and a person of the
    same part, in which the program has the higher logit; equal logits count half. All figures are means over `cuts`
    ways to cut the sides into parts. Raises UserError if no pair can be judged.
    """
    labels = labels_of(material.sides)
    judged = [judge(material, cut, labels, seed) for cut in cuts_of(material.sides, seed, cuts)]
    return [summary(material.sides, judged, place, seed) for place in range(len(material.values))]


def judge(material: Material, cut: Cut, is_program: np.ndarray, seed: int) -> list[JudgedPart]:
    """Judge the sides of each part with a detector that learnt from the others, by the labels (S,)."""
    groups, judged_parts = np.array(groups_of(material.sides)), []
    for learnt, judged in cut:
        if len(set(is_program[learnt].tolist())) < 2 or not len(judged):
            continue
        found = learn(material, learnt, is_program, seed)
        people = len(set(groups[learnt[~is_program[learnt]]]))
        thresholds = [[threshold(own, rate, people) for own in found.people.values()] for rate in RATES]
        judged_parts.append(JudgedPart(judged, found.logits(material, judged), np.array(thresholds)))
    return judged_parts


def threshold(logits: np.ndarray, rate: float, people: int) -> float:
    """Return the logit that the share `rate` of people's logits (Q,) exceed; nan where there are too few people."""
    return float(np.quantile(logits, 1 - rate)) if len(logits) and rate * people >= FEWEST_BEYOND else math.nan


def summary(sides: list[TalkSide], cuts: list[list[JudgedPart]], place: int, seed: int | None) -> Validated:
    """Return the figures of the judged sides, for the number of utterances in this place; without `seed` no interval.

    Raises UserError if no pair was judged.
    """
    labels, groups = labels_of(sides), np.array(groups_of(sides))
    judged = [part for cut in cuts for part in cut]
    compared = [compare(part, place, labels, groups) for part in judged]
    if not any(part.wins.size for part in compared):
        raise UserError(
            "the sides of programs, or of people, share personas or participants: there are no others to learn from; "
            "add talks with others"
        )
    in_pairs = np.concatenate([part.sides for part in judged])
    logits = np.concatenate([part.logits[place] for part in judged])
    truth = labels[in_pairs]
    chances = (1 + np.tanh(logits / 2)) / 2
    fewest = min(len(set(groups[in_pairs[truth == kind]])) for kind in (True, False))
    count = len(set(groups))
    auc = float(aucs_of(compared, np.ones((1, count)))[0])
    aucs = np.array([auc] if seed is None else aucs_of(compared, np.array(list(resamples(count, seed)), float)))
    low, high = interval(auc, aucs, fewest)
    caught = []
    for rate in range(len(RATES)):
        limits = np.concatenate([np.full(len(part.sides), part.thresholds[rate, place]) for part in judged])
        shares = tuple(float(np.mean(logits[truth == kind] > limits[truth == kind])) for kind in (True, False))
        caught.append(None if np.isnan(limits).any() else shares)
    accuracy = _of_both((logits > 0) == truth, truth)
    brier = _of_both((chances - truth) ** 2, truth)
    return Validated(auc, low, high, accuracy, brier, tuple(caught), calibration(chances, truth))


def _of_both(figures: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean of the mean figure of programs and the mean figure of people."""
    return float(np.mean([figures[truth].mean(), figures[~truth].mean()]))


def calibration(chances: np.ndarray, truth: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Return a point for each of BINS equal bins of the probability that has sides, as `Validated` describes it."""
    weights = np.where(truth, 1 / max(1, truth.sum()), 1 / max(1, (~truth).sum()))
    bins = np.minimum((chances * BINS).astype(int), BINS - 1)
    points = []
    for number in sorted(set(bins.tolist())):
        inside = bins == number
        total = weights[inside].sum()
        points.append((float((weights * chances)[inside].sum() / total), float(weights[inside & truth].sum() / total)))
    return tuple(points)


def compare(part: JudgedPart, place: int, labels: np.ndarray, groups: np.ndarray) -> ComparedPart:
    """Return the pairs of a program and a person of the part, by the labels (S,) and the groups (S,) of all sides."""
    numbers = np.unique(groups, return_inverse=True)[1][part.sides]
    logits, is_program = part.logits[place], labels[part.sides]
    high, low = logits[is_program][:, None], logits[~is_program][None]
    return ComparedPart(numbers[is_program], numbers[~is_program], (high > low) + 0.5 * (high == low))


def leave_out(material: Material, seed: int) -> dict[str, tuple[int, Validated]]:
    """Judge each program with detectors that never saw it, among people that they never saw.

    Return for each program the number of its sides and its figures after the last number of utterances. The people are
    judged in FOLDS parts. Nothing is learnt from a side that shares a talk, a persona or a participant with a judged
    side. A program is left out of the result if there are no others to learn from.
    """
    sides, labels = material.sides, labels_of(material.sides)
    last = max(material.values)
    material = replace(material, values={last: material.values[last]})
    programs = np.array([side.program for side in sides])
    found = {}
    for program in sorted(set(programs[labels].tolist())):
        cut = cut_without(sides, np.flatnonzero(programs == program), seed)
        judged = judge(material, cut, labels, seed)
        if judged:
            found[program] = (int((programs == program).sum()), summary(sides, [judged], 0, seed))
    return found


def cut_without(sides: list[TalkSide], left_out: np.ndarray, seed: int) -> Cut:
    """Return FOLDS parts of the people, each judged beside the sides `left_out` of one program."""
    people = np.flatnonzero(~labels_of(sides))
    keys = [set(side.keys.values()) for side in sides]
    program, cut = sides[left_out[0]].program, []
    for _, place in parts([sides[index] for index in people], np.zeros(len(people), bool), np.random.RandomState(seed)):
        judged = np.concatenate([left_out, people[place]])
        known = set().union(*(keys[index] for index in judged))
        others = [i for i, side in enumerate(sides) if side.program != program and known.isdisjoint(keys[i])]
        cut.append((np.array(others, int), judged))
    return cut


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


def validate_shuffled(material: Material, seed: int) -> list[Validated]:
    """Do as `cross_validate` with labels that are shuffled among the talks, SHUFFLES times, with one cut each.

    Return the means, and the interval in which PERCENT of the AUCs lie. A single shuffle may by chance leave a marker's
    values uneven, in all parts alike.
    """
    sides, random, found = material.sides, np.random.RandomState(seed), []
    for _ in range(SHUFFLES):
        labels = shuffled(sides, labels_of(sides), random)
        relabelled = [replace(side, is_program=bool(label)) for side, label in zip(sides, labels, strict=True)]
        judged = [judge(material, list(parts(sides, labels, random)), labels, seed)]
        found.append([summary(relabelled, judged, place, None) for place in range(len(material.values))])
    rows = []
    for place in range(len(material.values)):
        each = [result[place] for result in found]
        low, high = percentile_interval([result.auc for result in each])
        auc, accuracy, brier = (
            float(np.mean([getattr(result, name) for result in each])) for name in ("auc", "accuracy", "brier")
        )
        rows.append(Validated(auc, low, high, accuracy, brier, (None,) * len(RATES), ()))
    return rows


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


def aucs_of(compared: list[ComparedPart], weights: np.ndarray) -> np.ndarray:
    """Return for each of the weights (R, G) of the groups the share of pairs that the program wins; nan without any."""
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for programs, people, wins in compared:
        won += (weights[:, programs] @ wins * weights[:, people]).sum(1)
        pairs += weights[:, programs].sum(1) * weights[:, people].sum(1)
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
