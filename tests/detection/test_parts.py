"""parts.py: parts that share nothing."""

from __future__ import annotations

import numpy as np

from personagpt.detection.parts import groups_of, parts
from tests.detection.making import side


def test_parts_share_no_talk_no_persona_and_no_participant() -> None:
    random = np.random.RandomState(0)
    sides = [
        side(number // 2, bool(number % 2), random.randint(60), participant=f"p{random.randint(40)}")
        for number in range(200)
    ]
    is_program = np.array([side.is_program for side in sides])
    judged_once = []
    for learnt, judged in parts(sides, is_program, np.random.RandomState(3)):
        assert not {sides[i].talk for i in learnt} & {sides[i].talk for i in judged}
        assert not {sides[i].persona for i in learnt} & {sides[i].persona for i in judged}
        assert not {sides[i].participant for i in learnt} & {sides[i].participant for i in judged}
        assert len(learnt)
        judged_once += judged.tolist()
    assert sorted(judged_once) == list(range(200))


def test_each_part_has_its_share_of_each_kind() -> None:
    sides = [side(number, number < 10, number) for number in range(30)]
    is_program = np.array([side.is_program for side in sides])
    for seed in range(5):
        for _, judged in parts(sides, is_program, np.random.RandomState(seed)):
            assert (sum(is_program[judged]), len(judged)) == (2, 6)


def test_groups_are_personas_or_participants_whichever_are_fewer() -> None:
    """Four people play two personas; three programs have a persona each, a fourth none."""
    people = [side(number, False, number % 2, participant=f"p{number}") for number in range(4)]
    programs = [side(number, True, number) for number in range(5, 8)] + [side(8, True)]
    assert groups_of(people + programs) == [
        *["persona fact 0", "persona fact 1"] * 2,
        *[f"persona fact {number}" for number in range(5, 8)],
        "talk talk 8",
    ]
    people = [side(number, False, number, participant=f"p{number % 2}") for number in range(4)]
    assert groups_of(people) == ["participant p0", "participant p1"] * 2
