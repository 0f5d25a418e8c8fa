"""Splitting: by persona where possible, else by dialogue; little left out, and always the same."""

from __future__ import annotations

import random

import pytest

from personagpt.errors import UserError
from personagpt.text.dialogues import Dialogue
from personagpt.text.splitting import Split, split_dialogues


def talk(*personas: str) -> Dialogue:
    """A dialogue between one-fact personas; "" is a speaker without facts."""
    return Dialogue(personas=tuple([fact] if fact else [] for fact in personas), utterances=["hi", "ho"])


def facts(dialogues: list[Dialogue]) -> set[str]:
    return {fact for dialogue in dialogues for persona in dialogue.personas for fact in persona}


def split(dialogues: list[Dialogue], share: float) -> Split:
    """Split, and check what holds of every split."""
    parts = split_dialogues(dialogues, share)
    assert sorted(map(id, [*parts.train, *parts.valid, *parts.left_out])) == sorted(map(id, dialogues))
    assert parts.train
    assert parts.valid
    if parts.held_back:
        assert not facts(parts.train) & facts(parts.valid)
        assert parts.warning is None
    else:
        assert facts(parts.train) == facts(dialogues)
        assert parts.left_out == []
    assert split_dialogues(dialogues, share) == parts
    return parts


def by_persona(dialogues: list[Dialogue], share: float) -> tuple[int, int, int]:
    """The sizes of the parts of a split by persona."""
    parts = split(dialogues, share)
    assert parts.warning is None
    return len(parts.train), len(parts.valid), len(parts.left_out)


def by_dialogue(dialogues: list[Dialogue], share: float) -> tuple[int, int]:
    """The sizes of the two parts of a split by dialogue."""
    parts = split(dialogues, share)
    assert parts.warning
    return len(parts.train), len(parts.valid)


def test_personas_that_meet_in_pairs() -> None:
    assert by_persona([talk(f"a{number}", f"b{number}") for number in range(50)], 0.1) == (45, 5, 0)


def test_one_speakers_personas() -> None:
    # Each of ten personas ten times: whole personas validate.
    dialogues = [talk("", f"a{number % 10}") for number in range(100)]
    assert by_persona(dialogues, 0.1) == (90, 10, 0)
    assert by_persona(dialogues, 0.29) == (80, 20, 0)
    assert split(dialogues, 0.29).held_back == 2
    # Without personas every dialogue stands for itself.
    assert by_persona([talk("", "") for _ in range(30)], 0.1) == (27, 3, 0)


def test_a_share_too_small_for_a_persona() -> None:
    assert by_persona([talk("", "abbcccc"[number]) for number in range(7)], 0.01) == (6, 1, 0)
    # The smallest persona has two dialogues, twice as many as are wanted.
    assert by_dialogue([talk("", "aabbb"[number]) for number in range(5)], 0.01) == (4, 1)


def test_whole_personas_far_from_the_share_are_not_held_back() -> None:
    for count, share, valid in ((4, 0.1, 10), (5, 0.1, 10), (2, 0.2, 20)):
        dialogues = [talk("", f"a{number % count}") for number in range(100)]
        assert by_dialogue(dialogues, share) == (100 - valid, valid)
    # One of seven is 14 of 98 dialogues in place of 10; one of six is 16 of 96.
    assert by_persona([talk("", f"a{number % 7}") for number in range(98)], 0.1) == (84, 14, 0)
    assert by_dialogue([talk("", f"a{number % 6}") for number in range(96)], 0.1) == (86, 10)
    # A rare persona alone is too little to validate on, and it is trained.
    rare = [talk("", "rare")] + [talk("", f"a{number % 2}") for number in range(99)]
    assert by_dialogue(rare, 0.1) == (90, 10)


def test_one_persona_is_split_by_dialogue_with_a_warning() -> None:
    dialogues = [talk("", "vex") for _ in range(20)]
    assert by_dialogue(dialogues, 0.1) == (18, 2)
    assert by_dialogue([talk("a", "b") for _ in range(9)], 0.1) == (8, 1)
    assert split(dialogues, 0.1).warning == (
        "personas are in both parts: validation says how well a model plays personas that it knows, not new ones"
    )


def test_validation_dialogues_come_from_the_whole_file() -> None:
    dialogues = [Dialogue(([], ["vex"]), [f"line {number}", "ho"]) for number in range(100)]
    places = [dialogues.index(dialogue) for dialogue in split(dialogues, 0.05).valid]
    assert places == [10, 30, 50, 70, 90]


def test_the_star_of_every_talk() -> None:
    dialogues = [talk("star", f"guest {number % 3}") for number in range(30)]
    assert by_dialogue(dialogues, 0.1) == (27, 3)


def test_groups_go_whole_where_they_can() -> None:
    groups = [(f"{group}{a}", f"{group}{b}") for group in "abcdefghij" for a in range(4) for b in range(a)]
    assert by_persona([talk(*pair) for pair in groups], 0.1) == (54, 6, 0)


def test_personas_that_all_meet() -> None:
    drawn = random.Random(0)
    dialogues = [talk(*(f"p{number}" for number in drawn.sample(range(100), 2))) for _ in range(500)]
    _, valid, left_out = by_persona(dialogues, 0.1)
    assert 40 <= valid <= 50
    assert left_out < 200  # drawn blindly, a third of the personas would have to validate: 220


def test_the_order_and_case_of_facts_does_not_tell_personas_apart() -> None:
    first = Dialogue(personas=(["I sing.", "i ski."], []), utterances=["hi"])
    second = Dialogue(personas=([], ["I ski.", "i sing."]), utterances=["hi", "ho"])
    others = [talk("", f"a{number}") for number in range(9)]
    parts = split_dialogues([first, *others, second], 0.3)
    assert parts.held_back
    assert (first in parts.train) == (second in parts.train)


@pytest.mark.parametrize("dialogues", [[talk("", "")], [talk("a", "b")], [talk("a", "b"), talk("a", "c")]])
def test_dialogues_that_cannot_be_split(dialogues) -> None:
    with pytest.raises(UserError, match="cannot be split so that every persona is trained: import them with --valid 0"):
        split_dialogues(dialogues, 0.1)
