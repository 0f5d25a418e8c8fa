"""Parts of the sides that share no talk, no persona and no participant."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from personagpt.detection.sides import TalkSide

FOLDS = 5


def groups_of(sides: list[TalkSide]) -> list[str]:
    """Return the group of each side: the sides of one persona, or of one participant. A group is in one part.

    Of each kind of sides the personas or the participants are the groups, whichever are fewer. A side without both is
    in the group of its talk.
    """
    groups = [""] * len(sides)
    for is_program in (False, True):
        indices = [index for index, side in enumerate(sides) if side.is_program == is_program]
        ways = []
        for order in (("persona", "participant", "talk"), ("participant", "persona", "talk")):
            ways.append([next(sides[i].keys[kind] for kind in order if kind in sides[i].keys) for i in indices])
        for index, group in zip(indices, min(ways, key=lambda way: len(set(way))), strict=True):
            groups[index] = group
    return groups


def parts(
    sides: list[TalkSide], is_program: np.ndarray, random: np.random.RandomState, count: int = FOLDS
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield `count` times the indices of the sides to learn from and of the sides to judge.

    The two share no talk, no persona and no participant. Every side is judged once. The groups of each kind are spread
    evenly. A side that shares a key with a judged side, but not the group, is not learnt from.
    """
    groups = groups_of(sides)
    kinds = dict(zip(groups, is_program.tolist(), strict=True))
    names = list(kinds)
    order = [names[number] for number in random.permutation(len(names))]
    part_of = {group: place % count for place, group in enumerate(sorted(order, key=kinds.__getitem__))}
    part_of_side = np.array([part_of[group] for group in groups])
    keys = [set(side.keys.values()) for side in sides]
    for part in range(count):
        judged = np.flatnonzero(part_of_side == part)
        known = set().union(*(keys[index] for index in judged))
        others = [index for index in np.flatnonzero(part_of_side != part) if known.isdisjoint(keys[index])]
        yield np.array(others, int), judged
