"""validation.py: the cross-validation, its figures and its interval."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from personagpt.detection import validation
from personagpt.detection.learning import Material
from personagpt.detection.sides import TalkSide
from personagpt.detection.validation import (
    Validated,
    calibration,
    cut_without,
    interval,
    leave_out,
    shuffled,
    threshold,
)
from personagpt.errors import UserError
from tests.detection.making import side


def cross_validate(sides: list[TalkSide], markers: list[str], values: np.ndarray, seed: int) -> Validated:
    """Cross-validate a table of markers (S, M) of one number of utterances, without n-grams."""
    return validation.cross_validate(Material(sides, markers, {1: values}), seed, 2)[0]


def validate_shuffled(sides: list[TalkSide], markers: list[str], values: np.ndarray, seed: int) -> Validated:
    return validation.validate_shuffled(Material(sides, markers, {1: values}), seed)[0]


def test_the_seed_decides_the_parts(monkeypatch) -> None:
    monkeypatch.setattr(validation, "SHUFFLES", 3)
    sides = [side(number, number % 2 == 0, number) for number in range(40)]
    values = np.random.RandomState(0).normal(size=(40, 1))
    one, again, other = (cross_validate(sides, ["x"], values, seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other
    one, again, other = (validate_shuffled(sides, ["x"], values, seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other
    cross_validate(sides, ["x"], values, 2**32 - 1)  # the largest seed


def test_auc_of_what_can_and_what_cannot_be_told() -> None:
    random = np.random.RandomState(0)
    is_program = np.arange(300) % 2 == 0
    sides = [side(number, bool(program), number) for number, program in enumerate(is_program)]
    noise, sign = random.normal(size=(300, 1)), is_program[:, None] * 1.5
    told = cross_validate(sides, ["x"], noise + sign, 0)
    # Two normal distributions 1.5 apart: the share of won pairs is Phi(1.5 / sqrt 2).
    expected = 0.5 * (1 + math.erf(1.5 / 2))
    assert told.low < expected < told.high
    assert told.auc == pytest.approx(expected, abs=0.05)
    assert told.accuracy == pytest.approx(0.5 * (1 + math.erf(0.75 / math.sqrt(2))), abs=0.06)
    chance = cross_validate(sides, ["x"], noise, 0)
    assert chance.low < 0.5 < chance.high


def test_an_interval_without_width_is_none() -> None:
    sides = [side(number, number % 2 == 0, number) for number in range(60)]
    sign = np.array([[float(side.is_program)] for side in sides])
    for values, auc in ((sign, 1.0), (0 * sign, 0.5)):  # all pairs are won; all are ties
        told = cross_validate(sides, ["x"], values, 0)
        assert (told.auc, told.low, told.high) == (auc, None, None)


def test_accuracy_is_the_mean_over_both_kinds() -> None:
    """Of 20 programs all look like programs; of 80 people half do."""
    is_program = np.arange(100) < 20
    sides = [side(number, bool(program), number) for number, program in enumerate(is_program)]
    values = np.where(is_program | (np.arange(100) % 2 == 0), 1.0, 0.0)[:, None]
    told = cross_validate(sides, ["x"], values, 0)
    assert told.accuracy == pytest.approx(0.75)  # and 60 of 100 sides are judged rightly
    assert told.auc == pytest.approx(0.75)


def test_an_interval_by_hand() -> None:
    """AUC 0.8, the resamples' deviation 0.02: 1.5 * 0.02 / (0.8 * 0.2) = 0.1875 on the logit's scale, t(9) = 2.2622."""
    low, high = interval(0.8, np.array([0.78, 0.82]), 10)
    center, reach = math.log(4), 0.1875 * 2.262157
    assert low == pytest.approx(1 / (1 + math.exp(reach - center)))
    assert high == pytest.approx(1 / (1 + math.exp(-reach - center)))
    assert interval(0.8, np.array([0.78, math.nan, 0.82]), 10) == (low, high)
    for auc, aucs, fewest in (
        (0.8, [0.78, 0.82], 1),
        (1.0, [1.0, 1.0], 10),
        (0.0, [0.0, 0.1], 10),
        (0.5, [0.5, 0.5], 9),
    ):
        assert interval(auc, np.array(aucs), fewest) == (None, None)


def test_the_interval_knows_that_sides_share_personas() -> None:
    """Eight personas a class, whose talks are alike: forty talks tell hardly more than eight."""
    random, holds, widths = np.random.RandomState(0), [], {}
    for _ in range(8):
        persona = np.arange(80) // 5
        values = random.normal(size=(16, 3))[persona] + 0.5 * random.normal(size=(80, 3))
        for shared in (True, False) if len(holds) < 3 else (True,):
            sides = [side(n, n < 40, int(persona[n]) if shared else n) for n in range(80)]
            told = cross_validate(sides, ["a", "b", "c"], values, 0)
            widths.setdefault(shared, []).append(told.high - told.low)
            holds += [told.low <= 0.5 <= told.high] if shared else []
    assert sum(holds) >= 7
    assert np.mean(widths[True]) > 1.5 * np.mean(widths[False])


def test_shared_personas_or_participants_leave_nobody_to_learn_from() -> None:
    for shared in ({"persona": 1}, {"participant": "p"}):
        sides = [side(number, number < 20, **shared if number < 20 else {}) for number in range(40)]
        with pytest.raises(UserError, match="share personas or participants"):
            cross_validate(sides, ["x"], np.zeros((40, 1)), 0)


def test_shuffled_labels_tell_nothing_even_of_two_heaps() -> None:
    """All sides of a talk are of one kind, and far from the other's: a single shuffle leaves the heaps uneven."""
    random = np.random.RandomState(0)
    is_program = np.arange(200) % 4 < 2
    sides = [side(number // 2, bool(program), number) for number, program in enumerate(is_program)]
    values = is_program[:, None] * 10 + random.normal(size=(200, 1))
    found = validate_shuffled(sides, ["x"], values, 0)
    assert found.low < 0.5 < found.high
    assert found.auc == pytest.approx(0.5, abs=0.05)
    assert cross_validate(sides, ["x"], values, 0).auc == 1.0


def test_labels_go_to_other_talks_as_they_are() -> None:
    """Three talks of two programs, three of a person and a program, two sides that stand alone."""
    is_program = np.array([True] * 6 + [False, True] * 3 + [True, False])
    talks = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7]
    sides = [side(talk, bool(program)) for talk, program in zip(talks, is_program, strict=True)]
    random, seen = np.random.RandomState(0), set()
    for _ in range(50):
        labels = shuffled(sides, is_program, random)
        pairs = sorted(tuple(sorted(labels[i : i + 2].tolist())) for i in range(0, 12, 2))
        assert pairs == [(False, True)] * 3 + [(True, True)] * 3
        assert labels[12:].sum() == 1
        seen.add(tuple(labels.tolist()))
    assert len(seen) > 30


def test_a_threshold_by_hand() -> None:
    """Of people's logits 0 to 100, 5 % lie above 95; a rate needs five people beyond its threshold."""
    logits = np.arange(101.0)
    assert threshold(logits, 0.05, 100) == 95
    assert threshold(logits, 0.01, 500) == 99
    assert math.isnan(threshold(logits, 0.05, 99))
    assert math.isnan(threshold(logits, 0.01, 499))
    assert math.isnan(threshold(np.array([]), 0.05, 1000))


def test_programs_caught_and_people_accused() -> None:
    """Programs lie 3 above people: 3 - 1.645 = 1.355 above the threshold that 5 % of people exceed."""
    random = np.random.RandomState(0)
    sides = [side(number, number % 2 == 0, number) for number in range(800)]
    values = random.normal(size=(800, 1)) + 3 * np.array([[each.is_program] for each in sides])
    told = cross_validate(sides, ["x"], values, 0)
    (caught, accused), at_1 = told.caught
    assert caught == pytest.approx(0.912, abs=0.04)
    assert accused == pytest.approx(0.05, abs=0.02)
    assert at_1 is None  # 320 people to learn from: three lie beyond
    assert 0.03 < told.brier < 0.07
    chances, shares = zip(*told.calibration, strict=True)
    assert np.abs(np.subtract(chances, shares))[[0, -1]].max() < 0.05


def test_a_calibration_by_hand() -> None:
    """Three programs and one person count as if both were as many: each program weighs 1/3."""
    points = calibration(np.array([0.91, 0.99, 0.05, 0.93]), np.array([True, True, True, False]))
    assert points == (
        pytest.approx((0.05, 1.0)),
        pytest.approx(((0.91 / 3 + 0.99 / 3 + 0.93) / (5 / 3), 2 / 5)),
    )


def of_programs() -> list[TalkSide]:
    """Forty people, and forty sides of two programs; each program talks with half of the people."""
    people = [side(number, False, participant=f"p{number}") for number in range(40)]
    return people + [replace(side(number, True), program="ab"[number % 2]) for number in range(40)]


def test_a_program_that_is_left_out_is_not_learnt_from() -> None:
    sides = of_programs()
    left_out = np.array([index for index, each in enumerate(sides) if each.program == "a"])
    cut = cut_without(sides, left_out, 0)
    people = []
    for learnt, judged in cut:
        assert {sides[i].program for i in learnt} == {"", "b"}
        assert not {sides[i].talk for i in learnt} & {sides[i].talk for i in judged}
        assert set(left_out.tolist()) <= set(judged.tolist())
        people += [i for i in judged if not sides[i].is_program]
    assert sorted(people) == list(range(40))


def test_a_program_unlike_the_others_is_not_told() -> None:
    """Program a lies above people in the one marker, program b below."""
    sides, random = of_programs(), np.random.RandomState(0)
    place = {"": 0.0, "a": 5.0, "b": -5.0}
    values = np.array([[place[each.program] + random.normal()] for each in sides])
    found = leave_out(Material(sides, ["x"], {1: 0 * values, 2: values}), 0)
    assert {name: count for name, (count, _) in found.items()} == {"a": 20, "b": 20}
    assert max(told.auc for _, told in found.values()) < 0.1
    assert leave_out(Material(sides[:41], ["x"], {1: values[:41]}), 0) == {}
