"""hits@1 by hand; test_evaluate.py compares it with a pass for each candidate."""

from __future__ import annotations

import contextlib

import pytest
import torch

from personagpt.scoring.candidates import Choice, ChoicePass, choice_passes, hits_at_1, pass_scores
from personagpt.sequences.format import Encoder
from personagpt.text.convai2 import parse_corpus


def test_candidates_of_one_token(tiny_model) -> None:
    (scores,) = pass_scores(tiny_model.eval(), ChoicePass([7, 8, 9], [Choice(3, [[10], [12]])]))
    with torch.no_grad():
        expected = tiny_model(torch.tensor([[7, 8, 9]])).logits[0, -1].double().log_softmax(0)
    assert scores == pytest.approx([float(expected[10]), float(expected[12])], abs=1e-5)


def test_where_hits_stand(tiny_model, tokenizer) -> None:
    text = b"1 your persona: i ski .\n2 a\tb\n3 a\tb\t\tc|b\n1 your persona: i ski .\n2 a\tb\t\tc|b\n3 a\tb\t\tc|b\n"
    passes = choice_passes(parse_corpus(text, "t"), Encoder(tokenizer), 20, 320)
    assert [(made.dialogue, [choice.turn for choice in made.choices]) for made in passes] == [(0, [4]), (1, [2, 4])]
    found = hits_at_1(tiny_model.train(), passes, contextlib.nullcontext())
    assert tiny_model.training
    assert found.places.dialogues.tolist() == [0, 1, 1]
    assert found.places.turns.tolist() == [4, 2, 4]
    assert found.values.dtype == float
    # As many turns as are used, and no more.
    assert [len(made.choices) for made in choice_passes(parse_corpus(text, "t"), Encoder(tokenizer), 3, 320)] == [1]
    assert choice_passes(parse_corpus(text, "t"), Encoder(tokenizer), 1, 320) == []
