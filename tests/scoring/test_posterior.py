"""The formulas of interviews, worked by hand."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from personagpt.scoring.posterior import entropy, expected_drop, likeliest, measures, posterior, with_intervals

NEVER = 1e4  # nats: the negative log-likelihood of a reply that a persona does not give


def nll(*probabilities: float) -> np.ndarray:
    return -np.log(np.array(probabilities))


def test_the_posteriors_of_three_personas() -> None:
    """Two replies, whose likelihoods under the personas are 1/2, 1/4, 1/4 and then 1/8, 1/2, 1/8."""
    first, second = nll(1 / 2, 1 / 4, 1 / 4), nll(1 / 8, 1 / 2, 1 / 8)
    assert posterior(np.zeros(3)) == pytest.approx([1 / 3] * 3)  # before the first reply
    assert posterior(first) == pytest.approx([1 / 2, 1 / 4, 1 / 4])
    assert posterior(first + second) == pytest.approx([2 / 7, 4 / 7, 1 / 7])  # of 1/16, 1/8, 1/32
    # Likelihoods of long talks are smaller than any float, and a reply may be impossible.
    assert posterior(np.stack([first, second]) + 5000)[1] == pytest.approx([1 / 6, 4 / 6, 1 / 6])
    assert posterior(np.array([NEVER, 0.0, 0.0])).tolist() == [0, 0.5, 0.5]


def test_entropy() -> None:
    found = entropy(np.array([[1 / 2, 1 / 4, 1 / 4], [1 / 3, 1 / 3, 1 / 3], [0, 1, 0]]))
    assert found == pytest.approx([1.5 * log(2), log(3), 0])


def test_what_a_question_is_worth() -> None:
    """Three personas, equally likely."""
    before = np.zeros(3)
    everybody_differs = np.where(np.eye(3), 0, NEVER)
    assert expected_drop(before, everybody_differs) == pytest.approx(log(3))
    assert expected_drop(before, np.full((3, 3), 7.0)) == pytest.approx(0)
    # Persona 0 says yes, the others no: after a no, two of them are left.
    yes, no = [0, NEVER, NEVER], [NEVER, 0, 0]
    assert expected_drop(before, np.array([yes, no, no])) == pytest.approx(log(3) - 2 / 3 * log(2))
    # The same question is worth less where persona 0 is unlikely: H(1/5, 2/5, 2/5) - 4/5 log 2.
    drop = expected_drop(nll(1 / 5, 2 / 5, 2 / 5), np.array([yes, no, no]))
    assert drop == pytest.approx(1 / 5 * log(5) + 4 / 5 * log(5 / 2) - 4 / 5 * log(2))
    # Two personas, of which each gives its reply with 3/4 and the other's with 1/4.
    unsure = nll(3 / 4, 1 / 4, 1 / 4, 3 / 4).reshape(2, 2)
    assert expected_drop(np.zeros(2), unsure) == pytest.approx(3 / 4 * log(3) - log(2))


def test_the_personas_that_are_likely() -> None:
    assert likeliest(np.zeros(20)).tolist() == list(range(20))  # each has 5 %
    assert likeliest(nll(0.3, 0.695, 0.005)).tolist() == [1, 0]
    assert likeliest(nll(0.002, 0.004, 0.994)).tolist() == [2]
    assert likeliest(np.array([NEVER, 0.0])).tolist() == [1]


def test_the_measures_of_each_interview() -> None:
    found = measures(np.array([nll(1 / 2, 1 / 4, 1 / 4), nll(1 / 7, 4 / 7, 2 / 7), np.zeros(3)]), [0, 2, 1])
    assert found["persona_at_1"] == pytest.approx([1, 0, 1 / 3])
    assert found["persona_mrr"] == pytest.approx([1, 1 / 2, (1 + 1 / 2 + 1 / 3) / 3])
    assert found["persona_entropy"][[0, 2]] == pytest.approx([1.5 * log(2), log(3)])


def test_intervals_of_means() -> None:
    values = {"a": np.array([0.0, 1.0] * 50), "b": np.full(100, 3.0)}
    found = with_intervals(values, 1)
    assert found["b"] == pytest.approx({"value": 3, "low": 3, "high": 3})
    # The mean of 100 coins: 0.5 and 1.96 standard errors of 0.05.
    assert found["a"] == pytest.approx({"value": 0.5, "low": 0.4, "high": 0.6}, abs=0.015)
    assert found == with_intervals(values, 1)
    assert with_intervals({"a": np.array([2.0])}, 1) == {"a": {"value": 2}}
