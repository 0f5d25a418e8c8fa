"""N-grams of characters and words: a logistic regression on how often an utterance has each of them (TF-IDF)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer

CHARACTERS, WORDS = (1, 4), (1, 2)  # the shortest and the longest n-gram
FEWEST_UTTERANCES = 2  # of those to learn from must have an n-gram, or it does not count
LARGEST = 1e9  # of a saved number, or of its inverse for a scale: beyond it sums may overflow
NGRAMS = "ngrams"  # the marker: the mean logit of the utterances by their n-grams


class Counted(NamedTuple):
    """How often U utterances have each of V n-grams."""

    counts: csr_matrix  # (U, V)
    names: list[str]  # "char " or "word ", and the n-gram


def count_ngrams(utterances: list[str], names: list[str] | None = None) -> Counted:
    """Count the n-grams of the utterances: those in `names`, or all that occur.

    A line end stands before and after each utterance, so that an n-gram may say where an utterance starts or ends.
    """
    from scipy.sparse import csr_matrix, hstack

    texts = [f"\n{utterance}\n" for utterance in utterances]
    counts, found = [csr_matrix((len(texts), 0))], []
    for kind in ("char ", "word "):
        chosen = None if names is None else [name.removeprefix(kind) for name in names if name.startswith(kind)]
        if chosen == []:
            continue
        vectorizer = _vectorizer(kind, chosen)
        counts.append(vectorizer.fit_transform(texts))
        found += [kind + gram for gram in vectorizer.get_feature_names_out()]
    return Counted(hstack(counts).tocsr().astype(np.float64), found)


def _vectorizer(kind: str, vocabulary: list[str] | None) -> CountVectorizer:
    from sklearn.feature_extraction.text import CountVectorizer

    options: dict[str, Any] = {"lowercase": False, "vocabulary": vocabulary}
    if kind == "char ":
        return CountVectorizer(analyzer="char", ngram_range=CHARACTERS, **options)
    # A word, a mark, or the line end before and after an utterance.
    return CountVectorizer(token_pattern=r"\w+|[^\w\s]|\n", ngram_range=WORDS, **options)


@dataclass(frozen=True)
class Ngrams:
    """A program wrote an utterance with the logit weights . x + intercept, where x is its TF-IDF vector."""

    columns: np.ndarray  # (N,) where the N n-grams stand in a table of counts
    idf: np.ndarray  # (N,)
    weights: np.ndarray  # (N,)
    intercept: float

    @classmethod
    def fit(cls, counts: csr_matrix, is_program: np.ndarray, sides: np.ndarray, strength: float) -> Ngrams:
        """Learn from the counts (U, V) of utterances, from who wrote them (U,), and from the side (U,) of each.

        All sides weigh the same, and so do both kinds. `strength` is the inverse of the penalty.
        """
        from sklearn.linear_model import LogisticRegression

        frequencies = np.bincount(counts.indices, minlength=counts.shape[1])
        columns = np.flatnonzero(frequencies >= FEWEST_UTTERANCES)
        # scikit-learn's smoothed idf, as if one more utterance had every n-gram.
        idf = np.log((1 + counts.shape[0]) / (1 + frequencies[columns])) + 1
        empty = cls(columns, idf, np.zeros(len(columns)), 0.0)
        if not len(columns):
            return empty
        _, places, sizes = np.unique(sides, return_inverse=True, return_counts=True)
        # The default solver, lbfgs, needs a tolerance of 1e-5 for the same AUC, and many times as long.
        regression = LogisticRegression(C=strength, class_weight="balanced", solver="liblinear", tol=1e-2)
        fitted = regression.fit(empty.vectors(counts), is_program, sample_weight=1 / sizes[places])
        return cls(columns, idf, fitted.coef_[0], float(fitted.intercept_[0]))

    def vectors(self, counts: csr_matrix) -> csr_matrix:
        """Return the TF-IDF vectors (U, N), of length 1, of counts (U, V): (1 + log count) x idf."""
        from sklearn.preprocessing import normalize

        vectors = counts[:, self.columns].astype(np.float64)
        vectors.data = 1 + np.log(vectors.data)
        vectors.data *= self.idf[vectors.indices]
        return normalize(vectors, copy=False)

    def logits(self, counts: csr_matrix) -> np.ndarray:
        """Return the logits (U,) of utterances with the counts (U, V)."""
        return self.vectors(counts) @ self.weights + self.intercept

    def plain(self, names: list[str]) -> dict[str, Any]:
        """Return the regression as JSON holds it; `names` (V,) are those of the table of counts."""
        rows = zip(self.columns.tolist(), self.idf.tolist(), self.weights.tolist(), strict=True)
        grams = {names[column]: [_rounded(idf), _rounded(weight)] for column, idf, weight in rows}
        return {"intercept": self.intercept, "grams": grams}

    @classmethod
    def of_plain(cls, raw: dict[str, Any]) -> tuple[Ngrams, list[str]]:
        """Return the regression that the JSON holds, and its n-grams, the names of its table of counts.

        Raises KeyError, TypeError, ValueError or AttributeError if it holds none.
        """
        names = sorted(raw["grams"].keys())
        pairs = [raw["grams"][name] for name in names]
        if any(type(pair) is not list or len(pair) != 2 for pair in pairs):
            raise ValueError("an n-gram without idf and weight")
        if not names or any(name[:5] not in ("char ", "word ") or len(name) == 5 for name in names):
            raise ValueError("no n-gram, or an n-gram of an unknown kind")
        numbers = np.array([[number(value) for value in pair] for pair in pairs]).reshape(-1, 2)
        return cls(np.arange(len(names)), numbers[:, 0], numbers[:, 1], number(raw["intercept"])), names


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def number(value: object) -> float:
    """Return a number of a saved detector. Raises ValueError if `value` is none, or may make sums overflow."""
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > LARGEST:
        raise ValueError(f"{value} is no number of a detector")
    return float(value)
