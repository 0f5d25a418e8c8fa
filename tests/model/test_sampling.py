"""sampling.py: drawing a token, by hand and against the library."""

from random import Random

import pytest
import torch
from transformers.generation.logits_process import TopKLogitsWarper, TopPLogitsWarper

from personagpt.errors import UserError
from personagpt.model.sampling import Sampling


def numbers(count: int, seed: int) -> list[float]:
    random = Random(seed)
    return [random.random() for _ in range(count)]


def test_the_most_likely_token_always_stays() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    for top_p in (1e-3, 1e-300):
        assert Sampling(0, top_p).draw(logits, [0.999]).tolist() == [1]


def test_drawing_by_hand() -> None:
    # Probabilities 0.5, 0.3, 0.15, 0.05: top_p 0.6 keeps the first two, as 0.5 alone is less than 0.6.
    logits = torch.tensor([[0.05, 0.5, 0.15, 0.3]]).log().expand(4000, -1)
    drawn = Sampling(top_k=0, top_p=0.6).draw(logits, numbers(4000, 1))
    counts = torch.bincount(drawn, minlength=4) / 4000
    assert counts[0] == counts[2] == 0
    assert counts[1] == pytest.approx(0.625, abs=0.03)
    assert set(Sampling(top_k=1, top_p=1.0).draw(logits, numbers(4000, 1)).tolist()) == {1}


def test_top_p_keeps_no_token_beyond_those_that_make_it_up() -> None:
    logits = torch.zeros(1, 2).expand(200, -1)  # probabilities of just one half
    assert len(set(Sampling(0, 0.5).draw(logits, numbers(200, 1)).tolist())) == 1
    assert len(set(Sampling(0, 0.51).draw(logits, numbers(200, 1)).tolist())) == 2


def test_top_k_and_top_p_keep_what_the_library_keeps() -> None:
    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(3)) * 2
    kept = TopPLogitsWarper(0.8)(None, TopKLogitsWarper(12)(None, logits / 0.7))
    expected = kept.softmax(1)[0]
    drawn = Sampling(12, 0.8, 0.7).draw(logits.expand(20000, -1), numbers(20000, 5))
    counts = torch.bincount(drawn, minlength=50) / 20000
    assert set(drawn.tolist()) == set(torch.nonzero(expected)[:, 0].tolist())
    torch.testing.assert_close(counts, expected, atol=0.02, rtol=0)


def test_a_number_as_good_as_one_draws_the_last_token_kept() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    for top_p, last in ((0.6, 1), (1.0, 3)):
        assert Sampling(0, top_p).draw(logits, [1 - 2**-53]).tolist() == [last]
        assert Sampling(0, top_p).draw(logits, [0.0]).tolist() == [0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"top_k": -1}, "top_k -1: expected 0 (all tokens) or more"),
        ({"top_p": 0}, "top_p 0: expected above 0"),
        ({"temperature": float("nan")}, "temperature nan: expected 0.001"),
        ({"max_new_tokens": 0}, "max_new_tokens 0"),
        ({"top_k": 1.5}, "top_k 1.5: expected a number"),
        ({"temperature": "hot"}, "temperature 'hot': expected a number"),
    ],
)
def test_sampling_out_of_range(wrong, words) -> None:
    with pytest.raises(UserError) as raised:
        Sampling(**wrong)
    assert words in str(raised.value)
