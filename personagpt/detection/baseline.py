"""The baseline that every detector must beat: TF-IDF of characters and a logistic regression, five lines."""

from __future__ import annotations

import numpy as np

from personagpt.detection.sides import TalkSide
from personagpt.detection.validation import RATES, Cut, JudgedPart, labels_of


def judge_baseline(sides: list[TalkSide], cut: Cut, seen: list[int]) -> list[JudgedPart]:
    """Judge the sides of each part after each number of utterances `seen`, without thresholds."""
    is_program, judged_parts = labels_of(sides), []
    for learnt, judged in cut:
        if len(set(is_program[learnt].tolist())) == 2 and len(judged):
            logits = [_five_lines(sides, learnt, judged, is_program, count) for count in seen]
            judged_parts.append(JudgedPart(judged, np.array(logits), np.full((len(RATES), len(seen)), np.nan)))
    return judged_parts


def _five_lines(
    sides: list[TalkSide], learnt: np.ndarray, judged: np.ndarray, is_program: np.ndarray, count: int
) -> np.ndarray:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts = np.array(["\n".join(side.counted[:count]) for side in sides], object)
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), sublinear_tf=True, lowercase=False)
    known, unknown = vectorizer.fit_transform(texts[learnt] + "\n"), vectorizer.transform(texts[judged] + "\n")
    regression = LogisticRegression(C=10, class_weight="balanced", max_iter=1000).fit(known, is_program[learnt])
    return regression.decision_function(unknown)
