"""published.py: what the published figures count, and which text and vocabulary they are of."""

import hashlib

import numpy as np
import pytest

from personagpt.scoring import published
from personagpt.scoring.published import SHARE_OF_TOKENS, by_turn
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import read_corpus


def perplexities(lengths: np.ndarray, nats: float) -> tuple[float, float]:
    """The published perplexity and turn_perplexity of responses with `lengths` tokens of `nats` each, one <eos> in it.

    The published program adds a second <eos>, which costs nothing, and both leave out a first token, which is not here.
    """
    responses = [np.full(length, nats) for length in lengths.astype(int)]
    published_mean = np.mean([np.append(response, 0.0).mean() for response in responses])
    return np.exp(published_mean), np.exp(np.mean([response.mean() for response in responses]))


def test_a_second_eos_that_costs_nothing_makes_a_perplexity_smaller() -> None:
    # Responses of 1 and 3 tokens at ln 16 each: means of 1/2 and 3/4 ln 16, together 5/8 ln 16 = ln 2^2.5.
    as_published, ours = perplexities(np.array([1, 3]), np.log(16))
    assert (as_published, ours) == pytest.approx((2**2.5, 16))
    assert by_turn(2**2.5, share=5 / 8) == pytest.approx(16)


def test_the_published_perplexities_over_convai2_s_responses(shared, real_tokenizer) -> None:
    text = shared / "convai2" / TEXT_NAMES["valid"]
    said = [utterance for dialogue, _ in read_corpus(text) for utterance in dialogue.utterances[:20]]
    # One token is left out at the beginning, and one <eos> joins at the end.
    lengths = np.array([len(ids) for ids in real_tokenizer(said, add_special_tokens=False)["input_ids"]])
    share = (lengths / (lengths + 1)).mean()
    assert share == pytest.approx(SHARE_OF_TOKENS, abs=1e-3)
    for as_published, about in ((10.2, 12.6), (11.4, 14.2)):
        assert by_turn(as_published, share) == pytest.approx(about, abs=0.05)
        assert perplexities(lengths, np.log(about))[0] == pytest.approx(as_published, abs=0.05)
        assert f"{by_turn(as_published):.1f}" == f"{about}"


def test_the_published_text_and_vocabulary(monkeypatch, real_tokenizer, tokenizer, tmp_path) -> None:
    assert published.has_published_vocabulary(real_tokenizer)
    assert not published.has_published_vocabulary(tokenizer)
    plain, with_candidates = tmp_path / "plain.txt", tmp_path / "candidates.txt"
    plain.write_text("1 your persona: x\n2 a\tb\n")
    with_candidates.write_text("1 your persona: x\n2 a\tb\t\tc|b\n")
    monkeypatch.setattr(published, "CONVAI2_VALID_MD5", hashlib.md5(plain.read_bytes()).hexdigest())
    assert published.is_published_text(plain)
    assert published.is_published_text(with_candidates)
    assert not published.is_published_text(tmp_path / "absent.txt")
