"""How far a figure might be chance: computed again for resamples of what it was computed from (Efron 1979)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

RESAMPLES, PERCENT = 2000, 95


def resamples(count: int, seed: int) -> Iterator[np.ndarray]:
    """RESAMPLES times how often each of `count` things was drawn (count,), when `count` are drawn and put back."""
    random = np.random.RandomState(seed)
    for _ in range(RESAMPLES):
        yield np.bincount(random.randint(count, size=count), minlength=count)


def percentile_interval(figures: np.ndarray | list[float]) -> tuple[float, float]:
    """Between what PERCENT of the figures (R,) lie; those that are nan could not be computed, and do not count."""
    low, high = np.nanpercentile(figures, [50 - PERCENT / 2, 50 + PERCENT / 2]).tolist()
    return low, high
