"""Program or person? A logistic regression on the markers of a side, n-grams among them, and its form as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from personagpt.detection.ngrams import LARGEST, NGRAMS, Ngrams, number


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
        # Of a marker that is the same for all sides, rounding leaves a tiny deviation.
        scale = np.where(scale > 1e-6 * np.maximum(1, np.abs(mean)), scale, 1.0)
        fitted = LogisticRegression(class_weight="balanced", max_iter=1000).fit((values - mean) / scale, is_program)
        return cls(markers, mean, scale, fitted.coef_[0], float(fitted.intercept_[0]))

    def logits(self, values: np.ndarray) -> np.ndarray:
        """Return the logits (S,) of values (S, M). Above 0 a program is likelier."""
        return (values - self.mean) / self.scale @ self.weights + self.intercept

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Return the probabilities (S,), from values (S, M), that programs spoke."""
        return (1 + np.tanh(self.logits(values) / 2)) / 2  # the same as in the class's docstring; never overflows

    def plain(self) -> dict[str, Any]:
        """Return the detector as JSON holds it."""
        rows = zip(self.markers, self.weights.tolist(), self.mean.tolist(), self.scale.tolist(), strict=True)
        markers = {name: {"weight": weight, "mean": mean, "scale": scale} for name, weight, mean, scale in rows}
        return {"markers": markers, "intercept": self.intercept}

    @classmethod
    def of_plain(cls, raw: dict[str, Any]) -> Detector:
        """Return the detector that `plain` gave. Raises KeyError, TypeError, ValueError or AttributeError otherwise."""
        rows = raw["markers"].values()
        mean, scale, weights = (np.array([number(row[key]) for row in rows]) for key in ("mean", "scale", "weight"))
        if not len(rows) or (scale < 1 / LARGEST).any():
            raise ValueError("no marker, or a scale that is not above 0")
        return cls(list(raw["markers"]), mean, scale, weights, number(raw["intercept"]))


class SavedView(NamedTuple):
    """The detector of one view of the text: the regression, and the n-grams whose logit is one of its markers."""

    detector: Detector
    ngrams: Ngrams
    names: list[str]  # of the n-grams

    @classmethod
    def of_plain(cls, raw: dict[str, Any]) -> SavedView:
        """Return what the JSON holds. Raises KeyError, TypeError, ValueError or AttributeError otherwise."""
        return cls(Detector.of_plain(raw), *Ngrams.of_plain(raw["ngrams"]))


@dataclass(frozen=True)
class SavedDetector:
    """A detector with what it needs to judge, as detector.json holds it."""

    written: SavedView
    alike: SavedView
    model: str
    model_checksum: str
    utterances: int  # that it looks at, after each speaker's first
    learnt_from: frozenset[str]  # the digests of the sides that it learnt from

    @classmethod
    def of_plain(cls, raw: dict[str, Any], known_markers: set[str]) -> SavedDetector:
        """Return what the JSON holds. Raises what `Detector.of_plain` raises if it holds no detector."""
        saved = cls(
            SavedView.of_plain(raw), SavedView.of_plain(raw["alike"]), raw["model"], raw["model_checksum"],
            raw["utterances"], frozenset(raw["learnt_from"]),
        )  # fmt: skip
        if raw.get("with_personas"):
            raise ValueError("a detector of an older version, whose model read personas")
        given = (saved.model, saved.model_checksum, saved.utterances)
        if tuple(map(type, given)) != (str, str, int) or saved.utterances < 1 or not saved.model.strip():
            raise ValueError("not the types of a detector")
        for view in (saved.written, saved.alike):
            names = view.detector.markers
            if names[0] != NGRAMS or set(names[1:]) - known_markers or names != [NGRAMS, *saved.markers]:
                raise ValueError(f"unknown markers in {names}")
        return saved

    @property
    def markers(self) -> list[str]:
        """The markers that both views look at, without the n-grams."""
        return self.written.detector.markers[1:]
