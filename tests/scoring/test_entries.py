"""entries.py: figures of entries, by hand."""

import math

import numpy as np
import pytest

from personagpt.scoring.definitions import METRICS
from personagpt.scoring.entries import Entries, Metric, Places, perplexity

PLACES = Places(np.array([0, 0, 1, 1]), np.array([1, 3, 1, 2]))


def metric(name: str) -> Metric:
    return next(metric for metric in METRICS if metric.name == name)


def test_perplexity() -> None:
    assert perplexity(0.0) == 1.0
    assert perplexity(math.log(50)) == pytest.approx(50)
    assert perplexity(1e6) == perplexity(700) == math.inf
    assert perplexity(-1e6) == 0.0


def test_figures_of_entries() -> None:
    entries = Entries(PLACES, np.array([2.0, 4.0, 4.0, 2.0]), np.array([2, 2, 1, 1]))
    assert metric("loss").figure(entries) == 12 / 6
    assert metric("perplexity").figure(entries) == pytest.approx(math.exp(2))
    assert metric("loss").figure(entries[np.array([True, False, True, False])]) == 6 / 3
    grams = Entries.of_equals(PLACES, np.array([0, 1, 0, 0]))
    assert metric("distinct_1").figure(grams) == 2 / 4
    assert metric("distinct_1").figure(grams[PLACES.turns == 1]) == 1 / 2
    assert metric("distinct_1").figure(grams[PLACES.turns == 2]) == 1
    assert metric("distinct_1").figure(grams[PLACES.turns == 7]) == 0
