"""How far reviewers agree: Krippendorff's alpha for each kind of failure, with an interval, and where they disagree.

A unit is a reply that at least two finished reviews are about. Its values are 0 or 1, whether each reviewer gave the
label. alpha = 1 - D_o / D_e, the observed over the expected disagreement (Krippendorff 2018, chapter 12): 1 if they
always agree, 0 if they agree no more than chance. The library krippendorff computes it. Its interval comes from
resamples of the talks, because the replies of a talk are not independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import krippendorff
import numpy as np

from personagpt.records.reviews import Review
from personagpt.records.talks import FLAGS, Talk
from personagpt.review.order import judged_turns
from personagpt.scoring.bootstrap import percentile_interval, resamples

ANY = "any"  # a label of any kind


def finished_by_two(reviews: list[Review]) -> list[Review]:
    """Return the finished reviews of the talks that at least two reviewers have finished."""
    by_talk = reviews_by_talk(reviews)
    return [review for part in by_talk.values() if len(part) > 1 for review in part]


def reviews_by_talk(reviews: list[Review]) -> dict[str, list[Review]]:
    """Return the finished reviews of each talk."""
    by_talk: dict[str, list[Review]] = {}
    for review in reviews:
        if review.finished:
            by_talk.setdefault(review.talk, []).append(review)
    return by_talk


def has_label(kinds: set[str], kind: str) -> bool:
    return bool(kinds) if kind == ANY else kind in kinds


def agreement(reviews: list[Review], talks: Mapping[str, Talk], seed: int) -> dict[str, dict[str, Any]]:
    """Return for each kind, and for ANY, alpha, its interval, and the number of replies with and without agreement.

    `reviews` come from `finished_by_two`; `talks` has their talks by id. There is no alpha of a kind that everybody
    gave to every reply, or nobody to any, and no interval where every resample has the same alpha.
    """
    by_talk = {talk: part for talk, part in reviews_by_talk(reviews).items() if talk in talks}
    drawn = np.array(list(resamples(len(by_talk), seed))) if by_talk else np.empty((0, 0))  # (R, K)
    return {kind: _agreement(kind, by_talk, talks, drawn) for kind in (*FLAGS, ANY)}


def _agreement(
    kind: str, by_talk: dict[str, list[Review]], talks: Mapping[str, Talk], drawn: np.ndarray
) -> dict[str, Any]:
    counts = [value_counts(kind, talks[talk], part) for talk, part in by_talk.items()]  # for each talk (T, 2)
    units = np.concatenate([np.empty((0, 2), int), *counts])  # (U, 2)
    figure: dict[str, Any] = {
        "replies": len(units),
        "labelled": int((units[:, 1] > 0).sum()),
        "disagreed": int((units > 0).all(1).sum()),
    }
    if not (units.sum(0) > 0).all():
        return figure
    figure["alpha"] = float(krippendorff.alpha(value_counts=units, level_of_measurement="nominal"))
    low, high = percentile_interval(alphas(counts, drawn))
    return figure | ({"low": low, "high": high} if low < high else {})


def value_counts(kind: str, talk: Talk, reviews: list[Review]) -> np.ndarray:
    """Return for each reply that two reviewers read how many did not give the label, and how many did: (T, 2)."""
    readings = [(review.labels, read_turns(talk, review)) for review in reviews]
    given = [
        [has_label(labels.get(turn, set()), kind) for labels, read in readings if turn in read]
        for turn in judged_turns(talk)
    ]
    return np.array([(len(each) - sum(each), sum(each)) for each in given if len(each) > 1], int).reshape(-1, 2)


def read_turns(talk: Talk, review: Review) -> list[int]:
    """Return the judged turns that a finished review is about: those that were said before it was finished."""
    return [turn for turn in judged_turns(talk) if talk.turns[turn].time <= review.finished]


def alphas(counts: list[np.ndarray], drawn: np.ndarray) -> np.ndarray:
    """Return the alpha (R,) of each resample; `drawn` (R, K) says how often it has each talk. nan where there is none.

    With two values, n_0 and n_1 times in all, alpha is 1 - (n - 1) sum_u n_u0 n_u1 / (m_u - 1) / (n_0 n_1), where the
    m_u values of unit u are n_u0 times 0 and n_u1 times 1, and n = n_0 + n_1.
    """
    apart = np.array([(part.prod(1) / (part.sum(1) - 1)).sum() for part in counts])  # (K,)
    zeros, ones = (drawn @ np.array([part.sum(0) for part in counts])).T  # (R,) each
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - (zeros + ones - 1) * (drawn @ apart) / np.where(zeros * ones > 0, zeros * ones, np.nan)


def disagreements(
    reviews: list[Review], talks: Mapping[str, Talk], reviewer: str
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield the talk and turn of each reply that a reviewer labelled otherwise than another reviewer of it, with the
    labels of all who read it."""
    for talk, part in reviews_by_talk(reviews).items():
        readings = {review.reviewer: read_turns(talks[talk], review) for review in part} if talk in talks else {}
        for turn in readings.get(reviewer, ()):
            labels = {
                each.reviewer: sorted(each.labels.get(turn, ())) for each in part if turn in readings[each.reviewer]
            }
            yours, theirs = labels.pop(reviewer), list(labels.values())
            if any(other != yours for other in theirs):
                yield talk, turn, {"yours": yours, "theirs": theirs}
