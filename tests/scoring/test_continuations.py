"""Replies after a context that is read once cost what they cost in whole passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from personagpt.scoring import continuations
from personagpt.scoring.continuations import continuations_nll
from tests.scoring.helpers import PLAIN

ASKED = [
    ([5, 6, 7, 8], [[9, 10, 0], [11, 0]]),
    ([5, 6], [[0]]),  # an empty reply: its <eos> alone
    ([7, 8, 9, 10, 11, 12, 13], [[14, 15, 16, 17, 18, 0], [0], [19, 0]]),
    ([3, 4], [[5, 6, 0]]),
]


def slow_nll(model, context: list[int], reply: list[int]) -> float:
    with torch.no_grad():
        log_probabilities = model(torch.tensor([context + reply])).logits[0].double().log_softmax(1)
    return -sum(float(log_probabilities[len(context) - 1 + place, token]) for place, token in enumerate(reply))


@pytest.mark.parametrize("most", [1, 20, 4096])  # a context in each batch; some; all
@pytest.mark.parametrize("chosen", [slice(None), slice(1, 4, 2), slice(1, 2)])  # padded and not, with an empty reply
def test_equal_to_whole_passes(tiny_model, monkeypatch, most, chosen) -> None:
    monkeypatch.setattr(continuations, "TOKENS_PER_BATCH", {"cpu": most})
    found = continuations_nll(tiny_model.eval(), ASKED[chosen], PLAIN)
    for nll, (context, replies) in zip(found, ASKED[chosen], strict=True):
        np.testing.assert_allclose(nll, [slow_nll(tiny_model, context, reply) for reply in replies], rtol=1e-5)


def test_up_to_the_last_position(tiny_model) -> None:
    """A reply's last token is never an input. Padding beyond the last position does not matter."""
    tiny_model.config.n_positions = 8
    asked = [([1, 2, 3], [[4, 5, 6, 7, 8, 0]]), ([1, 2, 3, 4, 5, 6, 7], [[8, 0]])]
    found = continuations_nll(tiny_model.eval(), asked, PLAIN)
    tiny_model.config.n_positions = 320
    assert [nll.tolist() for nll in found] == [
        [pytest.approx(slow_nll(tiny_model, context, replies[0]), rel=1e-5)] for context, replies in asked
    ]
    assert continuations_nll(tiny_model, [], PLAIN) == []
