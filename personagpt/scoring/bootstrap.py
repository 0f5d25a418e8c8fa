"""The bootstrap: how far a figure may be chance, from the same figure of resamples of its material (Efron 1979)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

RESAMPLES, PERCENT = 2000, 95


def resamples(count: int, seed: int) -> Iterator[np.ndarray]:
    """Draw `count` things with replacement, RESAMPLES times; yield how often each thing was drawn (count,)."""
    random = np.random.RandomState(seed)
    for _ in range(RESAMPLES):
        yield np.bincount(random.randint(count, size=count), minlength=count)


def percentile_interval(figures: np.ndarray | list[float]) -> tuple[float, float]:
    """Return the interval that holds the middle PERCENT of the figures (R,). A nan, a failed figure, does not count."""
    low, high = np.nanpercentile(figures, [50 - PERCENT / 2, 50 + PERCENT / 2]).tolist()
    return low, high
