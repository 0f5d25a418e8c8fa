"""The material of a metric: an entry for each response, with its dialogue and turn.

The metric of a text, its course over the turns of a talk, and its interval over dialogues are all computed from these
entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Places:
    """The places of n entries in the text."""

    dialogues: np.ndarray  # (n,) int: the dialogue, counted from 0
    turns: np.ndarray  # (n,) int: the utterance's number in its dialogue, from 1; 0 for an entry of a whole side

    def __getitem__(self, chosen: np.ndarray | slice) -> Places:
        return Places(self.dialogues[chosen], self.turns[chosen])


@dataclass(frozen=True)
class Entries:
    """n entries of one metric, in the order of the text. For most metrics the figure is sum(values) / sum(weights)."""

    places: Places
    values: np.ndarray  # (n,), or (n, K) where a figure needs K sums
    weights: np.ndarray  # (n,)

    @classmethod
    def of_equals(cls, places: Places, values: np.ndarray) -> Entries:
        """Return entries that all have the weight 1."""
        return cls(places, values, np.ones(len(values)))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, chosen: np.ndarray) -> Entries:
        """Return the `chosen` entries (n,) bool."""
        return Entries(self.places[chosen], self.values[chosen], self.weights[chosen])


@dataclass(frozen=True)
class Metric:
    """A metric's name, how its figure follows from its entries, and how people see it."""

    name: str
    meaning: str
    as_percent: bool = False
    in_training: bool = False  # computed by every evaluation of a run
    is_exponential: bool = False  # the exponential of the entries' mean
    of_counts: Callable[[np.ndarray], float] | None = None  # the figure, of the counts of the values (G,)
    of_totals: Callable[[np.ndarray, float], float] | None = None  # the figure, of sums of values (K,), of weights
    per_token: bool = False  # depends on the vocabulary: no comparison of models with different vocabularies

    def figure(self, entries: Entries) -> float:
        """Return the metric of these entries."""
        if self.of_counts:
            return self.of_counts(np.unique(entries.values, return_counts=True)[1])
        return float(self.of_sums(entries.values.sum(axis=0), entries.weights.sum()))

    def of_sums(self, values: np.ndarray | float, weights: float) -> float:
        """Return the metric for the sums of its entries, `values` () or (K,), for a metric without `of_counts`."""
        if self.of_totals:
            return self.of_totals(values, weights)
        return perplexity(values / weights) if self.is_exponential else values / weights


def perplexity(loss: float) -> float:
    """Return exp(loss), infinite where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf
