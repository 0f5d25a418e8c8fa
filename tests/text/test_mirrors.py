"""Dialogues that repeat another one from the other side: all of them go, and no other."""

from __future__ import annotations

import pytest

from personagpt.text.convai2 import SILENCE, parse_corpus, read_corpus, write_corpus
from personagpt.text.dialogues import Dialogue
from personagpt.text.mirrors import plain

SEEN = ["1 your persona: i sing.", "2 partner's persona: i ski.", "3 hi !\thello .", "4 i am tall .\tme too !"]
MIRROR = ["1 your persona: i ski.", "2 partner's persona: i sing.", f"3 {SILENCE}\thi !", "4 hello .\ti'm tall ."]


def left_out(*dialogues: list[str]) -> set[int]:
    """The first lines of those that go, of a file of these dialogues."""
    corpus = parse_corpus("\n".join(line for lines in dialogues for line in lines).encode(), "t")
    assert len(corpus.dialogues) == len(corpus.sides) == len(dialogues) - len(corpus.mirrors)
    assert corpus.mirrors.isdisjoint(dialogue.line for dialogue in corpus.dialogues)
    return corpus.mirrors


def test_a_mirror_goes() -> None:
    assert left_out(SEEN, MIRROR) == {5}
    assert left_out(SEEN, MIRROR, SEEN, MIRROR, MIRROR) == {5, 13, 17}


def changed(lines: list[str], old: str, new: str) -> list[str]:
    assert any(old in line for line in lines)
    return [line.replace(old, new) for line in lines]


@pytest.mark.parametrize(
    "other",
    [
        SEEN,  # the same from the same side
        [*MIRROR[:3]],  # two utterances fewer
        changed(MIRROR, "hello .", "good day ."),
        changed(MIRROR, "tall", "small"),
        changed(MIRROR, "your persona: i ski", "your persona: i swim"),
        changed(MIRROR, "partner's persona: i sing", "partner's persona: i act"),
        # The personas stay with "you" and the partner, the utterances move.
        ["1 your persona: i sing.", "2 partner's persona: i ski.", *MIRROR[2:]],
        # Personas and words coincide, but it is the other who says them.
        ["1 your persona: i ski.", "2 partner's persona: i sing.", *SEEN[2:]],
        [*MIRROR, "5 me too !\tgood .", "6 bye\tbye"],
    ],
)
def test_what_only_looks_like_a_mirror_stays(other) -> None:
    assert left_out(SEEN, other) == set()


def test_the_order_of_facts_does_not_matter() -> None:
    two = ["1 partner's persona: i sing.", "2 partner's persona: i'm old.", f"3 {SILENCE}\thi"]
    both = ["1 your persona: i act.", *(f"{int(line[0]) + 1}{line[1:]}" for line in two)]
    seen = ["1 your persona: I am old.", "2 your persona: i sing.", "3 partner's persona: i act.", "4 hi\thello"]
    assert left_out(seen, both) == {5}


def test_the_one_with_every_response_stays() -> None:
    # The mirror comes first, and one that goes on where the first one ends.
    assert left_out(MIRROR, SEEN) == {1}
    assert left_out(SEEN, [*MIRROR, "5 me too !\tgood ."]) == {1}


def test_no_mirror_without_both_sides() -> None:
    # With one persona only, "your" side alone is made: the mirror has the other's responses.
    assert left_out(["1 your persona: i sing.", "2 a\tb"], ["1 your persona: i ski.", f"2 {SILENCE}\ta"]) == set()
    assert left_out(["1 your persona: x", "2 c\td"], ["1 a\tb"], [f"1 {SILENCE}\ta"]) == set()
    # With none both are.
    assert left_out(["1 a\tb"], [f"1 {SILENCE}\ta"]) == {2}


def test_one_left_out_for_an_empty_utterance_covers_nothing() -> None:
    corpus = parse_corpus(f"1 a\t\n1 {SILENCE}\ta\n".encode(), "t")
    assert [dialogue.utterances for dialogue in corpus.dialogues] == [["a"]]
    assert corpus.left_out == [1]


@pytest.mark.parametrize(
    ("contracted", "expanded"),
    [
        ("I'm tall.", "i am tall"),
        ("that'sn't so , it's not", "that is not so , it is not"),  # so they are in ConvAI2
        ("it wasn'thing", "it was nothing"),
        ("she\u2019s got , we've , you'll , they're", "she has got , we have , you will , they are"),
        ("i can't / cannot / won't", "i cannot can not will not"),
        ("i'd gone , i'd go", "i had gone , i would go"),
        ("let's see", "let us see"),
    ],
)
def test_contractions(contracted, expanded) -> None:
    assert plain(contracted) == plain(expanded)


def test_plain_keeps_words() -> None:
    assert plain("Hi !\nHow are you, 2 \u00e9?") == "hi\nhowareyou2\u00e9"


CONTRACTIONS = [(" am ", "'m "), (" is ", "'s "), (" not ", "n't "), (" have ", "'ve "), (" will ", "'ll ")]


def contracted(text: str) -> str:
    for words, contraction in CONTRACTIONS:
        text = text.replace(words, contraction)
    return text


def test_every_mirror_of_the_real_text_goes_and_no_other(shared) -> None:
    # As ConvAI2's training file was made: the text once more, personas exchanged, __SILENCE__ in front, the last
    # utterance left out, and words contracted in one of two copies in half of the dialogues.
    dialogues = read_corpus(shared / "convai2" / "train_both_original_no_cands.txt").dialogues
    # Two talks of the same two people, and one that begins as another does.
    dialogues += [Dialogue(dialogues[0].personas, dialogues[1].utterances)]
    dialogues += [Dialogue(dialogues[2].personas, [*dialogues[2].utterances, "bye", "bye"])]
    text, copies, varied = write_corpus(dialogues), [], 0
    for number, dialogue in enumerate(dialogues):
        change = contracted if number % 2 else str
        facts = tuple([change(fact) for fact in persona] for persona in dialogue.personas)
        copies.append(Dialogue(facts, [change(utterance) for utterance in dialogue.utterances[:-1]]))
        varied += copies[-1].utterances != dialogue.utterances[:-1] or facts != dialogue.personas
    doubled = parse_corpus((text + write_corpus(copies)).encode(), "t")
    assert varied > len(dialogues) / 3
    assert [(d.personas, d.utterances) for d in doubled.dialogues] == [(d.personas, d.utterances) for d in dialogues]
    assert len(doubled.mirrors) == len(dialogues)
    # Without the copies nothing goes.
    assert parse_corpus(text.encode(), "t").mirrors == set()
