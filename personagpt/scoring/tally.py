"""What a metric is made of: an entry for each response, with its dialogue and turn.

The metric itself, its course over the turns of a talk and its interval over dialogues all come from these entries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Places:
    """Where each of n entries stands in the text."""

    dialogues: np.ndarray  # (n,) int: the dialogue, counted from 0
    turns: np.ndarray  # (n,) int: the utterance's number in its dialogue, from 1; 0 where an entry is a whole side's

    def __getitem__(self, chosen: np.ndarray | slice) -> Places:
        return Places(self.dialogues[chosen], self.turns[chosen])


@dataclass(frozen=True)
class Tally:
    """n entries of one metric, in the order of the text. Of most metrics the figure is sum(values) / sum(weights)."""

    places: Places
    values: np.ndarray  # (n,)
    weights: np.ndarray  # (n,)

    @classmethod
    def of_equals(cls, places: Places, values: np.ndarray) -> Tally:
        """Every entry counts alike."""
        return cls(places, values, np.ones(len(values)))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, chosen: np.ndarray) -> Tally:
        """The `chosen` entries (n,) bool."""
        return Tally(self.places[chosen], self.values[chosen], self.weights[chosen])


@dataclass(frozen=True)
class Metric:
    """One of the figures, and how people see it."""

    name: str
    meaning: str
    as_percent: bool = False
    in_training: bool = False  # whether every evaluation of a run computes it
    is_exponential: bool = False  # the exponential of the mean of its entries
    is_distinct: bool = False  # values are numbers of n-grams: how many different ones there are of each
    per_token: bool = False  # of the vocabulary's tokens: models with different vocabularies do not compare

    def figure(self, tally: Tally) -> float:
        """The metric of these entries."""
        if self.is_distinct:
            return len(np.unique(tally.values)) / max(1, len(tally))
        return float(self.of_sums(tally.values.sum(), tally.weights.sum()))

    def of_sums(self, values: float, weights: float) -> float:
        """The metric of the sums of its entries; not for one `is_distinct`."""
        return perplexity(values / weights) if self.is_exponential else values / weights


def perplexity(loss: float) -> float:
    """exp(loss); infinite where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf
