"""A dialogue's lines in its file, worked by hand, and a corpus as pairs."""

from __future__ import annotations

import pytest

from personagpt.text.dialogues import NO_CANDIDATES, Corpus, Dialogue

FACTS = (["i ski.", "i swim."], ["i sing."])


def test_where_each_utterance_stands() -> None:
    # Lines 11 to 13 hold the facts.
    pairs = Dialogue(FACTS, ["a", "b", "c", "d"], line=11)
    assert not pairs.silence_first
    assert [pairs.line_of(index) for index in range(4)] == [14, 14, 15, 15]
    after_silence = Dialogue(FACTS, ["a", "b", "c"], line=11)
    assert after_silence.silence_first
    assert [after_silence.line_of(index) for index in range(3)] == [14, 15, 15]
    assert Dialogue(([], []), ["a"]).line_of(0) == 1


def test_no_dialogue_can_give_its_candidates_to_others() -> None:
    assert Dialogue(([], []), ["a"]).candidates is NO_CANDIDATES
    with pytest.raises(TypeError):
        NO_CANDIDATES[0] = ["b"]  # type: ignore[index]


def test_a_corpus_gives_each_dialogue_with_its_sides() -> None:
    first, second = Dialogue(FACTS, ["a", "b"]), Dialogue(FACTS, ["c"])
    corpus = Corpus([first, second], [(0, 1), (1,)], [])
    assert len(corpus) == 2
    assert list(corpus) == [(first, (0, 1)), (second, (1,))]
    with pytest.raises(ValueError, match="shorter"):
        list(Corpus([first, second], [(0, 1)], []))
