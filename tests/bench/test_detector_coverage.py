"""bench/detector_coverage.py: a simulated table of markers is judged, and its interval compared with the truth."""

from __future__ import annotations

import re
import sys

import numpy as np

from bench import detector_coverage
from bench.detector_coverage import simulated, true_auc


def test_a_case_from_its_tables_to_its_row(monkeypatch, capsys) -> None:
    monkeypatch.setattr(detector_coverage, "CASES", {"30 talks, a strong marker": (30, 30, 3.0, 0.0)})
    monkeypatch.setattr(sys, "argv", ["detector_coverage", "--tables", "1"])
    detector_coverage.main()
    _, row = capsys.readouterr().out.splitlines()
    truth, mean = map(float, re.match(r"30 talks, a strong marker +(\S+) +(\S+) +\S+ % of 1 ", row).groups())
    assert 0.9 < truth < 1
    assert abs(mean - truth) < 0.1


def test_the_sides_of_a_simulated_table() -> None:
    sides, values = simulated(4, 2, 50.0, 0.0, np.random.RandomState(0))
    assert [side.is_program for side in sides] == [True] * 4 + [False] * 4
    assert [side.persona[0] for side in sides] == [f"persona {number}" for number in (0, 1, 0, 1, 2, 3, 2, 3)]
    assert ((values[:, 0] > 25) == ([True] * 4 + [False] * 4)).all()


def test_nothing_to_tell_is_chance() -> None:
    assert true_auc(30, 30, 0.0, 0.0, np.random.RandomState(0)) == 0.5
