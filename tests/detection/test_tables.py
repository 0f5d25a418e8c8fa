"""tables.py: the rows that detect.py prints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from personagpt.detection.learning import Material
from personagpt.detection.sides import TalkSide
from personagpt.detection.tables import baseline_aucs, say_programs, say_rows
from personagpt.detection.validation import Validated
from personagpt.errors import UserError
from tests.detection.making import side

ROWS = [
    Validated(0.9, 0.85, 0.95, 0.8, 0.125, ((0.7, 0.05), None), ()),
    Validated(1.0, None, None, 1.0, 0.0, ((1.0, 0.0), (1.0, 0.0)), ()),
]
HEADING = "utterances seen   accuracy     AUC   95 % interval     caught at 5 %    caught at 1 %   Brier"
FIRST = "              1     80.0 %   0.900   0.850 to 0.950   70.0 % (5.0 %)   too few people   0.125"
SECOND = "              2    100.0 %   1.000   none            100.0 % (0.0 %)  100.0 % (0.0 %)   0.000"


def test_a_row_for_each_number_of_utterances(capsys) -> None:
    assert say_rows("as written", ROWS, []) == {1: ROWS[0], 2: ROWS[1]}
    assert capsys.readouterr().out == f"\nthe text as written\n{HEADING}\n{FIRST}\n{SECOND}\n"


def test_the_baseline_stands_beside_each_row(capsys) -> None:
    say_rows("made alike", ROWS, [0.75, 0.5])
    heading, first, second = capsys.readouterr().out.splitlines()[2:]
    assert heading == HEADING + "   baseline's AUC"
    assert (first, second) == (FIRST + "            0.750", SECOND + "            0.500")
    assert len({len(line) for line in (heading, first, second)}) == 1


def test_the_baseline_by_utterances_seen() -> None:
    """Programs differ from people in their third utterance only: after 1 of those that count, nothing is told."""
    sides = [
        replace(side(number, number < 10, number), utterances=("hi", "-", "yes", "-", "no!" if number < 10 else "no"))
        for number in range(20)
    ]
    nothing = np.zeros((20, 0))
    assert baseline_aucs(Material(sides, [], {1: nothing, 2: nothing}), 0) == [0.5, 1.0]


def programs_and_people(**counts: int) -> list[TalkSide]:
    """Return 40 people and these numbers of sides of programs, in talks of their own."""
    sides = [side(number, False, number) for number in range(40)]
    for program, count in counts.items():
        sides += [replace(side(len(sides) + i, True, len(sides) + i), program=program) for i in range(count)]
    return sides


def test_a_row_for_each_program_and_the_worst(capsys) -> None:
    """In the one marker, programs a and b lie above people, and the small program c below. All say the same words."""
    sides = programs_and_people(a=20, b=20, c=5)
    values = np.array([[{"": 0.0, "a": 5.0, "b": 5.0, "c": -5.0}[each.program]] for each in sides])
    say_programs("as written", Material(sides, ["x"], {1: 0 * values, 2: values}), True, 0)
    title, heading, *rows = capsys.readouterr().out.splitlines()[1:]
    assert title == "the text as written, 2 utterances seen"
    assert heading.startswith("program left out   sides   accuracy     AUC ")
    assert [(row.split()[0], row.split()[1], row.split()[4], row.split()[-1]) for row in rows[:3]] == [
        ("a", "20", "1.000", "0.500"),
        ("b", "20", "1.000", "0.500"),
        ("c", "5", "0.000", "0.500"),
    ]
    assert {len(row) for row in rows[:3]} == {len(heading)}
    assert rows[3:] == [
        "all programs: AUC 0.667 on average, 0.000 at worst",
        "all programs: baseline's AUC 0.500 on average, 0.500 at worst",
        "programs of 20 sides or more: AUC 1.000 on average, 1.000 at worst",
        "programs of 20 sides or more: baseline's AUC 0.500 on average, 0.500 at worst",
    ]


def test_a_single_program_has_no_others_to_learn_from() -> None:
    sides = programs_and_people(a=20)
    with pytest.raises(UserError, match="there is no other program to learn from; add talks of other programs"):
        say_programs("as written", Material(sides, ["x"], {1: np.zeros((60, 1))}), False, 0)
