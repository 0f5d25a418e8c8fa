"""bench/long_talk.py: the judgement of a model's replies in a long talk."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import long_talk
from personagpt.model.loading import TrainedModel, load_model, load_tokenizer
from personagpt.sequences.format import Encoder


def test_a_long_talk_is_judged_by_the_sentences_of_the_corpus(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert long_talk.sentences("cool ! i have a cat , and a dog . bye !") == [
        "cool !",
        "i have a {} , and a {} .",
        "bye !",
    ]
    monkeypatch.setattr(long_talk, "PERSONAS", 2)
    monkeypatch.setattr(long_talk, "QUESTIONS", 3)
    tokenizer = load_tokenizer(str(base))
    model = load_model(str(base), len(tokenizer)).eval()
    trained = TrainedModel(str(base), None, model, tokenizer, Encoder(tokenizer), "fp32", "", None)
    turns = long_talk.long_talks(trained)
    assert [len(turn["farewells"]) for turn in turns] == [2 * long_talk.ROUNDS] * 3
    assert all(sum(turn["unknown sentences"]) >= sum(turn["unknown words"]) for turn in turns)
