"""surprise.py: the model's surprise at utterances, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from personagpt.detection.sides import TalkSide, sides_of_talks
from personagpt.detection.surprise import Surprise, surprises_of
from personagpt.model.loading import TrainedModel
from personagpt.sequences.format import Encoder
from tests.detection.making import UTTERANCES, dogs_talk


@pytest.fixture
def trained(tiny_model, tokenizer):  # noqa: ANN201
    return TrainedModel("m", None, tiny_model.eval(), tokenizer, Encoder(tokenizer), "fp32", "c0ffee", None)


def test_a_surprise_by_hand() -> None:
    """Two tokens: (1 + 5 - 2 - 1) / root(4 + 5) = 1."""
    figures = ([1.0, 5.0], [0.0, 3.0], [2.0, 1.0], [4.0, 5.0])
    assert Surprise.of(*map(np.array, figures)) == (3.0, 1.5, 1.0, 5.0)


def nats_by_hand(trained: TrainedModel, context: list[int], text: str) -> torch.Tensor:
    """Return the log-probabilities (n, V) in the places of the text's n tokens, and the tokens (n, 1)."""
    reply = [*trained.encoder.texts([text])[0], trained.encoder.eos]
    ids = torch.tensor([context + reply])
    with torch.inference_mode():
        return trained.model(ids).logits[0, len(context) - 1 : -1].log_softmax(1), torch.tensor(reply)[:, None]


def test_surprise_at_the_utterances_after_the_first(trained) -> None:
    """The same by hand: each utterance behind the talk from the speaker's first utterance on, without the persona."""
    program = sides_of_talks([dogs_talk()])[0][1]
    (told,) = surprises_of(trained, [program], 2)
    assert len(told) == 2
    for surprise, index in zip(told, (3, 5), strict=True):
        context = trained.encoder.context(0, [], list(program.utterances[1:index]), 1000)
        log_p, tokens = nats_by_hand(trained, context, program.utterances[index])
        nll = -log_p.gather(1, tokens)
        entropy = -(log_p.exp() * log_p).sum(1, keepdim=True)
        variance = (log_p.exp() * (log_p + entropy) ** 2).sum(1)
        assert surprise.nats == pytest.approx(nll.mean().item(), rel=1e-4)
        assert surprise.end == pytest.approx(nll[-1].item(), rel=1e-4)
        assert surprise.rank == pytest.approx(((log_p > -nll).sum(1) + 1).log().mean().item(), rel=1e-4)
        curvature = (nll - entropy).sum().item() / math.sqrt(variance.sum().item())
        assert surprise.curvature == pytest.approx(curvature, rel=1e-2, abs=1e-3)
    assert program.persona


def test_a_base_that_was_never_trained_on_personas_reads_the_utterances_alone(trained) -> None:
    trained.knows_format = False
    program = sides_of_talks([dogs_talk()])[0][1]
    (told,) = surprises_of(trained, [program], 1)
    (line_end,) = trained.encoder.texts(["\n"])[0]
    texts = trained.encoder.texts(list(program.utterances[1:3]))
    context = [trained.encoder.eos, *(token for text in texts for token in [*text, line_end])]
    trained.encoder.eos = line_end  # as the end of the utterance
    log_p, tokens = nats_by_hand(trained, context, program.utterances[3])
    assert told[0].nats == pytest.approx(-log_p.gather(1, tokens).mean().item(), rel=1e-4)


@pytest.mark.parametrize("knows_format", [True, False])
def test_what_exceeds_the_context_is_cut(trained, knows_format) -> None:
    trained.knows_format = knows_format
    long = "word " * 3 * trained.context_length
    sides = []
    for where in range(6):
        utterances = (*UTTERANCES[:where], long, *UTTERANCES[where + 1 :])
        sides += [TalkSide("t", speaker, True, (), utterances) for speaker in (0, 1)]
    told = surprises_of(trained, sides, 2)
    assert {len(surprises) for surprises in told} == {2}
    assert np.isfinite(np.array(told)).all()


def test_an_utterance_without_a_word_has_its_end(trained) -> None:
    (told,) = surprises_of(trained, [TalkSide("t", 0, True, (), ("hi", "", "", "", ""))], 2)
    assert told[0].nats == told[0].end


def test_the_surprise_at_the_same_words_is_the_same_whoever_talks_first(trained) -> None:
    first = TalkSide("t", 0, True, ("i ski .",), tuple(UTTERANCES[1:]))
    second = TalkSide("t", 1, True, ("i ski .",), tuple(UTTERANCES))
    one, other = surprises_of(trained, [first, second], 2)
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
