"""Learn to tell programs from people: n-grams of single utterances, then markers and n-grams together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from personagpt.detection.detectors import Detector
from personagpt.detection.ngrams import NGRAMS, Counted, Ngrams, count_ngrams
from personagpt.detection.parts import parts
from personagpt.detection.sides import TalkSide

INNER = 10  # parts that a training part is cut into: with 5 the thresholds accuse too few people, with 3 even fewer
STRENGTHS = (10.0, 100.0)  # of the n-grams' regression, the inverse of the penalty; the inner parts choose


@dataclass(frozen=True)
class Material:
    """What there is to learn from of S sides."""

    sides: list[TalkSide]
    markers: list[str]
    values: dict[int, np.ndarray]  # utterances seen -> (S, M)
    counted: Counted | None = None  # the n-grams of all counted utterances; None: no n-grams
    starts: np.ndarray | None = None  # (S + 1,) where each side's utterances start in the table of counts

    @classmethod
    def of(cls, sides: list[TalkSide], markers: list[str], values: dict[int, np.ndarray]) -> Material:
        """Return the material with the n-grams of all utterances that count."""
        starts = np.cumsum([0, *(len(side.counted) for side in sides)])
        return cls(sides, markers, values, count_ngrams([text for side in sides for text in side.counted]), starts)


class Learnt(NamedTuple):
    """What was learnt from some sides."""

    ngrams: Ngrams | None
    detectors: dict[int, Detector]  # utterances seen -> regression
    people: dict[int, np.ndarray]  # the logits of the people learnt from, by regressions that did not learn from them

    def logits(self, material: Material, judged: np.ndarray) -> np.ndarray:
        """Return the logits (K, J) of the sides with the indices `judged` (J,), after each number of utterances."""
        means = _means(self.ngrams, material, judged)
        return np.array([self.detectors[n].logits(_columns(material, judged, n, means)) for n in material.values])


def learn(material: Material, learnt: np.ndarray, is_program: np.ndarray, seed: int) -> Learnt:
    """Learn from the sides with the indices `learnt` (L,); `is_program` (S,) are the labels of all sides.

    The second regression must see how the n-grams judge strangers. So its column of n-grams comes from regressions
    that learnt from INNER - 1 of INNER parts of the sides. The strength with the highest AUC in these parts is taken.
    """
    random = np.random.RandomState(seed)
    inner = list(parts([material.sides[index] for index in learnt], is_program[learnt], random, INNER))
    # Where personas or participants are few, a part may be empty, or leave a single kind to learn from.
    inner = [part for part in inner if len(set(is_program[learnt[part[0]]].tolist())) == 2 and len(part[1])]
    from sklearn.metrics import roc_auc_score

    ngrams, strangers = None, {seen: np.zeros(len(learnt)) for seen in material.values}
    if material.counted is not None:
        tried = {strength: _strangers(material, learnt, is_program, inner, strength) for strength in STRENGTHS}
        last = max(material.values)
        aucs = {strength: roc_auc_score(is_program[learnt], means[last]) for strength, means in tried.items()}
        best = max(STRENGTHS, key=aucs.__getitem__)
        strangers = tried[best]
        ngrams = _fit_ngrams(material, learnt, is_program, best)
    markers = [NGRAMS, *material.markers] if ngrams else material.markers
    labels, detectors, people = is_program[learnt], {}, {}
    for seen in material.values:
        columns = _columns(material, learnt, seen, strangers if ngrams else None)
        detectors[seen] = Detector.fit(markers, columns, labels)
        judged = [
            Detector.fit(markers, columns[others], labels[others]).logits(columns[held[~labels[held]]])
            for others, held in inner
        ]
        people[seen] = np.concatenate([*judged, []])
    return Learnt(ngrams, detectors, people)


def _columns(material: Material, indices: np.ndarray, seen: int, means: dict[int, np.ndarray] | None) -> np.ndarray:
    """Return the values of the sides' markers, behind the n-grams' column where there are n-grams."""
    values = material.values[seen][indices]
    return values if means is None else np.c_[means[seen], values]


def _fit_ngrams(material: Material, learnt: np.ndarray, is_program: np.ndarray, strength: float) -> Ngrams:
    """Learn from every utterance of the sides, also from those beyond the number that is judged."""
    rows = np.concatenate([np.arange(*material.starts[index : index + 2]) for index in learnt])
    sides = np.repeat(learnt, np.diff(material.starts)[learnt])
    return Ngrams.fit(material.counted.counts[rows], is_program[sides], sides, strength)


def _means(ngrams: Ngrams | None, material: Material, judged: np.ndarray) -> dict[int, np.ndarray] | None:
    """Return for each number of utterances seen the mean logits (J,) of the sides' utterances."""
    if ngrams is None:
        return None
    last = max(material.values)
    rows = material.starts[judged][:, None] + np.arange(last)
    logits = ngrams.logits(material.counted.counts[rows.reshape(-1)]).reshape(-1, last)
    return {seen: logits[:, :seen].mean(1) for seen in material.values}


def _strangers(
    material: Material,
    learnt: np.ndarray,
    is_program: np.ndarray,
    inner: list[tuple[np.ndarray, np.ndarray]],
    strength: float,
) -> dict[int, np.ndarray]:
    """Return what `_means` gives for the sides learnt from, each judged by n-grams of the other inner parts."""
    means = {seen: np.zeros(len(learnt)) for seen in material.values}
    for others, held in inner:
        ngrams = _fit_ngrams(material, learnt[others], is_program, strength)
        for seen, judged in _means(ngrams, material, learnt[held]).items():
            means[seen][held] = judged
    return means
