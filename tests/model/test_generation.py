"""generation.py: the loop over new tokens, sampling, and text that streams."""

import contextlib

import pytest
import torch
from transformers.generation.logits_process import TopKLogitsWarper, TopPLogitsWarper

from personagpt.model.generation import Sampling, fit_context, generate_replies, next_tokens, stream_reply
from personagpt.sequences.format import Encoder

PLAIN = contextlib.nullcontext()


@pytest.fixture(scope="module")
def encoder(tokenizer) -> Encoder:
    return Encoder(tokenizer)


@pytest.fixture
def contexts(encoder) -> list[list[int]]:
    """Contexts of lengths far apart, for both speakers."""
    facts = ["i have two dogs.", "i work as a nurse."]
    talk = ["hi ! how are you ?", "great . just walking my dogs .", "nice ! what do you do for a living ?"]
    return [
        encoder.context(1, facts, talk[:1], 300),
        encoder.context(0, facts, [], 300),
        encoder.context(1, facts * 5, talk, 300),
        encoder.context(1, [], talk[:1], 300),
    ]


def test_a_batch_of_unequal_lengths_replies_as_one_by_one(tiny_model, encoder, contexts) -> None:
    batch = generate_replies(tiny_model, encoder, contexts, PLAIN)
    assert batch == [generate_replies(tiny_model, encoder, [context], PLAIN)[0] for context in contexts]
    assert len(set(batch)) > 1


def test_replies_equal_the_library_s_greedy_ones(tiny_model, encoder, contexts) -> None:
    tiny_model.eval()
    for context in contexts:
        output = tiny_model.generate(
            torch.tensor([context]), do_sample=False, max_new_tokens=12, eos_token_id=encoder.eos, pad_token_id=0
        )
        expected = encoder.decode_reply(output[0, len(context) :].tolist())
        assert generate_replies(tiny_model, encoder, [context], PLAIN, max_new_tokens=12) == [expected]


def test_replies_stay_greedy_whatever_the_model_s_defaults(tiny_model, encoder, contexts) -> None:
    before = generate_replies(tiny_model, encoder, contexts, PLAIN)
    tiny_model.generation_config.update(do_sample=True, top_k=50, temperature=5.0)
    assert generate_replies(tiny_model, encoder, contexts, PLAIN) == before


def test_the_most_likely_token_always_stays() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    for top_p in (1e-3, 1e-300):
        assert Sampling(0, top_p).draw(logits, torch.Generator().manual_seed(0)).tolist() == [1]


def test_generation_stops_at_eos(tiny_model, encoder) -> None:
    calls = []
    tiny_model.transformer.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():  # every hidden state ends as the same vector, whose largest logit is eos's
        tiny_model.transformer.ln_f.weight.zero_()
        tiny_model.transformer.ln_f.bias.copy_(100 * tiny_model.lm_head.weight[encoder.eos])
    assert generate_replies(tiny_model, encoder, [[5, 6], [7]], PLAIN) == ["", ""]
    assert len(calls) == 1


def test_the_model_s_mode_is_put_back(tiny_model, encoder) -> None:
    tiny_model.train()
    generate_replies(tiny_model, encoder, [[5]], PLAIN, max_new_tokens=1)
    assert tiny_model.training


def test_more_than_the_model_s_positions_is_refused(tiny_model) -> None:
    with pytest.raises(ValueError, match="positions"):
        next(next_tokens(tiny_model, [[5] * 300], 0, 40, lambda logits: logits.argmax(1)))


def test_drawing_by_hand() -> None:
    # Probabilities 0.5, 0.3, 0.15, 0.05: top_p 0.6 keeps the first two, as 0.5 alone is less than 0.6.
    logits = torch.tensor([[0.05, 0.5, 0.15, 0.3]]).log().expand(4000, -1)
    drawn = Sampling(top_k=0, top_p=0.6).draw(logits, torch.Generator().manual_seed(1))
    counts = torch.bincount(drawn, minlength=4) / 4000
    assert counts[0] == counts[2] == 0
    assert counts[1] == pytest.approx(0.625, abs=0.03)
    assert set(Sampling(top_k=1, top_p=1.0).draw(logits, torch.Generator()).tolist()) == {1}


def test_top_p_keeps_no_token_beyond_those_that_make_it_up() -> None:
    logits = torch.zeros(1, 2).expand(200, -1)  # probabilities of just one half
    assert len(set(Sampling(0, 0.5).draw(logits, torch.Generator().manual_seed(1)).tolist())) == 1
    assert len(set(Sampling(0, 0.51).draw(logits, torch.Generator().manual_seed(1)).tolist())) == 2


def test_top_k_and_top_p_keep_what_the_library_keeps() -> None:
    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(3)) * 2
    kept = TopPLogitsWarper(0.8)(None, TopKLogitsWarper(12)(None, logits / 0.7))
    expected = kept.softmax(1)[0]
    drawn = Sampling(12, 0.8, 0.7).draw(logits.expand(20000, -1), torch.Generator().manual_seed(5))
    counts = torch.bincount(drawn, minlength=50) / 20000
    assert set(drawn.tolist()) == set(torch.nonzero(expected)[:, 0].tolist())
    torch.testing.assert_close(counts, expected, atol=0.02, rtol=0)


def test_a_seed_repeats_what_is_drawn() -> None:
    logits = torch.randn(200, 50)
    draws = [Sampling().draw(logits, torch.Generator().manual_seed(9)) for _ in range(2)]
    assert torch.equal(*draws)


def test_text_streams_in_whole_characters(tiny_model, encoder) -> None:
    text = "say 日本 😀 !"
    ids = [*encoder.texts([text])[0], encoder.eos, 5]
    assert any("\ufffd" in encoder.decode_reply(ids[:n]) for n in range(len(ids)))  # characters of several tokens
    script = iter(ids)
    pieces = list(stream_reply(tiny_model, encoder, [5], PLAIN, lambda _: torch.tensor([next(script)]), 60))
    assert pieces[-1] == text
    assert len(pieces) > 3
    assert all(text.startswith(piece) for piece in pieces)
    assert next(script) == 5  # nothing was asked for after eos


def test_a_character_left_incomplete_is_shown_at_the_end(tiny_model, encoder) -> None:
    ids = encoder.texts(["a 😀"])[0][:-1]
    script = iter(ids)
    pieces = list(stream_reply(tiny_model, encoder, [5], PLAIN, lambda _: torch.tensor([next(script)]), len(ids)))
    assert pieces[-1] == encoder.decode_reply(ids)
    assert pieces[-1].endswith("\ufffd")


def test_streaming_yields_a_piece_before_the_next_token_is_computed(tiny_model, encoder) -> None:
    calls = []
    tiny_model.transformer.register_forward_hook(lambda *_: calls.append(1))
    pieces = stream_reply(tiny_model, encoder, [5], PLAIN, lambda _: torch.tensor(encoder.texts(["a"])[0]), 10)
    assert next(pieces) == "a"
    assert len(calls) == 1


def test_a_context_is_cut_at_whole_utterances(encoder) -> None:
    tokens = encoder.context(1, ["x y"], ["a b c", "d e", "f"], 300)
    shorter = encoder.context(1, ["x y"], ["d e", "f"], 300)
    assert fit_context(tokens, encoder, len(tokens)) == tokens
    assert fit_context(tokens, encoder, len(tokens) - 1) == shorter
    assert fit_context(tokens, encoder, len(shorter)) == shorter
    assert fit_context(tokens, encoder, 3) == tokens[:3]
