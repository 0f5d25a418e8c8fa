"""Splitting by persona where that goes, else by dialogue."""

from __future__ import annotations

import pytest

from personagpt.errors import UserError
from personagpt.importing.parts import split_dialogues
from personagpt.text.convai2 import Dialogue


def talks(count: int, personas: int) -> list[Dialogue]:
    return [Dialogue(([], [f"i am {number % personas} ."]), ["hi", f"{number}"]) for number in range(count)]


def test_many_personas_are_kept_apart() -> None:
    split = split_dialogues(talks(40, 20), 0.1)
    assert (len(split.train), len(split.valid), split.warning) == (36, 4, None)
    assert not {d.personas[1][0] for d in split.train} & {d.personas[1][0] for d in split.valid}


@pytest.mark.parametrize("personas", [1, 2, 3])
def test_few_characters_are_in_both_parts(personas: int) -> None:
    split = split_dialogues(talks(30, personas), 0.1)
    assert (len(split.train), len(split.valid), split.left_out) == (27, 3, [])
    assert "in both parts" in split.warning
    assert split == split_dialogues(talks(30, personas), 0.1)


def test_a_dialogue_cannot_be_split() -> None:
    with pytest.raises(UserError, match="--valid 0"):
        split_dialogues(talks(1, 1), 0.5)
