"""bootstrap.py: how often each is drawn, and the interval."""

import numpy as np
import pytest

from personagpt.scoring.bootstrap import RESAMPLES, percentile_interval, resamples


def test_as_many_are_drawn_as_there_are() -> None:
    drawn = np.array(list(resamples(2, seed=3)))
    assert drawn.shape == (RESAMPLES, 2)
    assert set(map(tuple, drawn.tolist())) == {(2, 0), (1, 1), (0, 2)}
    assert (drawn == [1, 1]).all(axis=1).mean() == pytest.approx(0.5, abs=0.05)
    assert (np.array(list(resamples(2, seed=3))) == drawn).all()
    assert next(resamples(1, seed=3)).tolist() == [1]


def test_the_middle_is_of_figures_that_could_be_computed() -> None:
    assert percentile_interval(list(range(101))) == (2.5, 97.5)
    assert percentile_interval([float("nan"), *range(101), float("nan")]) == (2.5, 97.5)
