"""bench/detector_coverage.py: a simulated table of markers is judged, and talks are halved."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import numpy as np

from bench import detector_coverage
from bench.detector_coverage import halves, part_of, simulated, true_auc
from personagpt.detection.learning import Material
from personagpt.detection.sides import TalkSide


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


def test_halves_share_no_key_and_are_alike_in_size() -> None:
    sides, _ = simulated(20, 15, 0.0, 0.0, np.random.RandomState(0))
    # Both sides of a talk, as recorded talks have them.
    sides = [replace(side, talk=f"talk {index % 20}") for index, side in enumerate(sides)]
    first, second = halves(sides, np.random.RandomState(1))
    known = [set().union(*(sides[index].keys.values() for index in half)) for half in (first, second)]
    assert known[0].isdisjoint(known[1])
    assert len(first) + len(second) >= 30
    for half in (first, second):
        assert 5 <= sum(sides[index].is_program for index in half) <= 12


def test_a_part_has_the_chosen_sides_values_and_ngrams() -> None:
    sides = [TalkSide(f"t{i}", 0, i > 1, (), ("hi", "yes", text, "no", "bye")) for i, text in enumerate("abc")]
    whole = Material.of(sides, ["words"], {1: np.array([[1.0], [2.0], [3.0]])})
    part = part_of(whole, np.array([2, 0]))
    assert [side.talk for side in part.sides] == ["t2", "t0"]
    assert part.values[1].tolist() == [[3.0], [1.0]]
    assert part.starts.tolist() == [0, 2, 4]
    has_c = part.counted.counts[:, whole.counted.names.index("char c")].toarray()[:, 0]
    assert has_c.tolist() == [1.0, 0.0, 0.0, 0.0]
