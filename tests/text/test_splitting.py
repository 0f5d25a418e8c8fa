"""Splitting by persona: no persona on both sides, little left out, always the same."""

from __future__ import annotations

import random

import pytest

from personagpt.errors import UserError
from personagpt.text.convai2 import Dialogue
from personagpt.text.splitting import split_by_persona


def talk(*personas: str) -> Dialogue:
    """A dialogue between one-fact personas; "" is a speaker without one."""
    return Dialogue(personas=tuple([fact] if fact else [] for fact in personas), utterances=["hi", "ho"])


def facts(dialogues: list[Dialogue]) -> set[str]:
    return {fact for dialogue in dialogues for persona in dialogue.personas for fact in persona}


def check(dialogues: list[Dialogue], share: float) -> tuple[int, int, int]:
    """How many dialogues each part has, after what must hold of every split."""
    train, valid, crossing = parts = split_by_persona(dialogues, share)
    assert sorted(map(id, [*train, *valid, *crossing])) == sorted(map(id, dialogues))
    assert not facts(train) & facts(valid)
    assert split_by_persona(dialogues, share) == parts
    return tuple(map(len, parts))


def test_personas_that_meet_in_pairs() -> None:
    assert check([talk(f"a{number}", f"b{number}") for number in range(50)], 0.1) == (45, 5, 0)


def test_one_speakers_personas() -> None:
    # Each of ten personas ten times: a whole one validates.
    assert check([talk("", f"a{number % 10}") for number in range(100)], 0.1) == (90, 10, 0)
    assert check([talk("", f"a{number % 10}") for number in range(100)], 0.29) == (80, 20, 0)
    # Without personas every dialogue stands for itself.
    assert check([talk("", "") for _ in range(30)], 0.1) == (27, 3, 0)


def test_a_share_too_small_for_a_persona_takes_the_smallest() -> None:
    assert check([talk("", "abbcccc"[number]) for number in range(7)], 0.01) == (6, 1, 0)
    assert check([talk("", "aabbb"[number]) for number in range(5)], 0.01) == (3, 2, 0)


def test_groups_go_whole_where_they_can() -> None:
    groups = [(f"{group}{a}", f"{group}{b}") for group in "abcdefghij" for a in range(4) for b in range(a)]
    train, valid, crossing = check([talk(*pair) for pair in groups], 0.1)
    assert (train, valid, crossing) == (54, 6, 0)


def test_personas_that_all_meet() -> None:
    drawn = random.Random(0)
    dialogues = [talk(*(f"p{number}" for number in drawn.sample(range(100), 2))) for _ in range(500)]
    _, valid, crossing = check(dialogues, 0.1)
    assert 40 <= valid <= 50
    assert crossing < 200  # drawn blindly, a third of the personas would have to validate: 220


def test_the_order_and_case_of_facts_does_not_tell_personas_apart() -> None:
    first = Dialogue(personas=(["I sing.", "i ski."], []), utterances=["hi"])
    second = Dialogue(personas=([], ["I ski.", "i sing."]), utterances=["hi", "ho"])
    others = [talk("", f"a{number}") for number in range(9)]
    train, _, _ = split_by_persona([first, *others, second], 0.3)
    assert (first in train) == (second in train)


@pytest.mark.parametrize("dialogues", [[talk("a", "b")] * 9, [talk("", "a")] * 9, [talk("", "")]])
def test_one_persona_cannot_be_split(dialogues) -> None:
    with pytest.raises(UserError, match="cannot be split so that none is in both parts: import with --valid 0"):
        split_by_persona(dialogues, 0.1)
