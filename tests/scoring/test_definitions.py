"""definitions.py: formulas by hand, and how the tables show figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from personagpt.scoring.definitions import METRICS, bleu, entropy, share_of_different, shown, spread


def test_formulas_of_counts() -> None:
    assert share_of_different(np.array([3, 1])) == 2 / 4
    assert entropy(np.array([2, 1, 1])) == pytest.approx(1.5 * math.log(2))
    assert share_of_different(np.array([], int)) == entropy(np.array([], int)) == 0


def test_bleu_of_no_word() -> None:
    assert bleu(2, np.zeros(10), 0) == 0
    assert bleu(1, np.array([1, 0, 0, 0, 2, 1, 0, 0, 2, 1]), 1) == pytest.approx(1 / 2)


def test_spread_is_a_range_of_perplexities() -> None:
    assert spread(np.array([6.0, 3.0]), 3) == pytest.approx(math.exp(2) - math.exp(1))


def test_figures_as_the_tables_show_them() -> None:
    metrics = {metric.name: metric for metric in METRICS}
    assert len(metrics) == len(METRICS)
    assert shown(metrics["loss"], 0.53004) == "0.5300"
    assert shown(metrics["c_score"], -0.25, "+") == "-0.25"
    assert shown(metrics["bleu_2"], 0.1234, "+") == "+12.3 %"
