"""generation.py: the loop over new tokens, replies drawn again, and text that streams."""

import contextlib
from dataclasses import replace
from random import Random

import pytest
import torch

from personagpt.model import generation
from personagpt.model.generation import DRAWS, ReplyRequest, fit_context, generate_replies, stream_replies
from personagpt.model.sampling import GREEDY, Sampling
from personagpt.sequences.format import Encoder

PLAIN = contextlib.nullcontext()


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


def greedy(contexts: list[list[int]], **sampling: int) -> list[ReplyRequest]:
    return [ReplyRequest(context, replace(GREEDY, **sampling)) for context in contexts]


def spell(monkeypatch, ids: list[int]) -> list[int]:
    """Let the draws spell these tokens; returns what is still to come."""
    waiting = list(ids)
    monkeypatch.setattr(Sampling, "draw", lambda *_: torch.tensor([waiting.pop(0)]))
    return waiting


def test_a_batch_of_unequal_lengths_replies_as_one_by_one(tiny_model, encoder, contexts) -> None:
    requests = greedy(contexts)
    batch = generate_replies(tiny_model, encoder, requests, PLAIN)
    assert batch == [generate_replies(tiny_model, encoder, [request], PLAIN)[0] for request in requests]
    assert len(set(batch)) > 1


def test_drawn_replies_in_a_batch_are_those_drawn_one_by_one(tiny_model, encoder, contexts) -> None:
    """Each has its own sampling and random numbers, of which it takes as many as alone."""

    def requests() -> list[ReplyRequest]:
        samplings = [Sampling(), Sampling(temperature=0.5, max_new_tokens=7), Sampling(), GREEDY]
        return [ReplyRequest(*pair, Random(7)) for pair in zip(contexts, samplings, strict=True)]

    together = requests()
    batch = generate_replies(tiny_model, encoder, together, PLAIN)
    single = requests()
    assert batch == [generate_replies(tiny_model, encoder, [request], PLAIN)[0] for request in single]
    assert [request.random.random() for request in together] == [request.random.random() for request in single]


def test_more_requests_than_a_batch_holds_come_back_in_order(tiny_model, encoder, contexts, monkeypatch) -> None:
    requests = greedy(contexts)
    expected = generate_replies(tiny_model, encoder, requests, PLAIN)
    monkeypatch.setitem(generation.REPLIES_PER_BATCH, "cpu", 3)
    assert generate_replies(tiny_model, encoder, requests, PLAIN) == expected
    assert generate_replies(tiny_model, encoder, [], PLAIN) == []


def test_replies_equal_the_library_s_greedy_ones(tiny_model, encoder, contexts) -> None:
    tiny_model.eval()
    for context in contexts:
        output = tiny_model.generate(
            torch.tensor([context]), do_sample=False, max_new_tokens=12, eos_token_id=encoder.eos, pad_token_id=0
        )
        expected = encoder.decode_reply(output[0, len(context) :].tolist())
        assert generate_replies(tiny_model, encoder, greedy([context], max_new_tokens=12), PLAIN) == [expected.strip()]


def test_replies_stay_greedy_whatever_the_model_s_defaults(tiny_model, encoder, contexts) -> None:
    before = generate_replies(tiny_model, encoder, greedy(contexts), PLAIN)
    tiny_model.generation_config.update(do_sample=True, top_k=50, temperature=5.0)
    assert generate_replies(tiny_model, encoder, greedy(contexts), PLAIN) == before


def test_generation_stops_at_eos(tiny_model, encoder) -> None:
    calls = []
    tiny_model.transformer.ln_f.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():  # every hidden state ends as the same vector, whose largest logit is eos's
        tiny_model.transformer.ln_f.weight.zero_()
        tiny_model.transformer.ln_f.bias.copy_(100 * tiny_model.lm_head.weight[encoder.eos])
    assert generate_replies(tiny_model, encoder, greedy([[5, 6], [7]]), PLAIN) == ["", ""]
    assert len(calls) == 1


def test_the_model_s_mode_is_put_back(tiny_model, encoder) -> None:
    tiny_model.train()
    generate_replies(tiny_model, encoder, greedy([[5]], max_new_tokens=1), PLAIN)
    assert tiny_model.training


def test_more_than_the_model_s_positions_is_refused(tiny_model, encoder) -> None:
    with pytest.raises(ValueError, match="positions"):
        next(stream_replies(tiny_model, encoder, greedy([[5] * 300]), PLAIN))


def test_a_short_reply_after_a_full_context_beside_a_long_one(tiny_model, encoder) -> None:
    """Each fits the positions; the batch is wider than they are."""
    full, short = ReplyRequest([5] * 318, replace(GREEDY, max_new_tokens=2)), ReplyRequest([5, 6], GREEDY)
    made = generate_replies(tiny_model, encoder, [full, short], PLAIN)
    assert made == [generate_replies(tiny_model, encoder, [request], PLAIN)[0] for request in (full, short)]


def test_text_streams_in_whole_characters(tiny_model, encoder, monkeypatch) -> None:
    text = "say 日本 😀 !"
    ids = [*encoder.texts([text])[0], encoder.eos, 5]
    assert any("\ufffd" in encoder.decode_reply(ids[:n]) for n in range(len(ids)))  # characters of several tokens
    waiting = spell(monkeypatch, ids)
    pieces = [
        replies[0].shown for replies in stream_replies(tiny_model, encoder, greedy([[5]], max_new_tokens=60), PLAIN)
    ]
    assert pieces[-1] == text
    assert len(set(pieces)) > 3
    assert all(text.startswith(piece) for piece in pieces)
    assert waiting == [5]  # nothing was asked for after eos


def test_a_character_left_incomplete_is_shown_at_the_end(tiny_model, encoder, monkeypatch) -> None:
    ids = encoder.texts(["a 😀"])[0][:-1]
    spell(monkeypatch, ids)
    requests = greedy([[5]], max_new_tokens=len(ids))
    pieces = [replies[0].shown for replies in stream_replies(tiny_model, encoder, requests, PLAIN)]
    assert pieces[-1] == encoder.decode_reply(ids)
    assert pieces[-1].endswith("\ufffd")
    assert not pieces[-2].endswith("\ufffd")


def test_streaming_yields_a_piece_before_the_next_token_is_computed(tiny_model, encoder, monkeypatch) -> None:
    calls = []
    tiny_model.transformer.ln_f.register_forward_hook(lambda *_: calls.append(1))
    spell(monkeypatch, encoder.texts(["a"])[0])
    assert [reply.shown for reply in next(stream_replies(tiny_model, encoder, greedy([[5]]), PLAIN))] == ["a"]
    assert len(calls) == 1


def test_no_context_is_left_open_between_tokens(tiny_model, encoder) -> None:
    """Another thread may ask for the next one."""
    autocast = torch.autocast("cpu", torch.bfloat16)
    pieces = stream_replies(tiny_model, encoder, greedy([[5]]), autocast)
    next(pieces)
    assert not torch.is_autocast_enabled("cpu")
    assert not torch.is_inference_mode_enabled()


def test_a_sentence_that_repeats_is_drawn_again_and_never_shown(tiny_model, encoder, monkeypatch) -> None:
    earlier = ("hi . what is your name ?",)
    whole, first, other = encoder.texts(["i am old . what is your name ?", "i am old .", " do you ski ?"])
    repeat = next(end for end in range(len(first) + 1, len(whole)) if whole[end - 3 : end] in windows(earlier, encoder))
    waiting = spell(monkeypatch, [*whole[:repeat], *other, encoder.eos])
    request = ReplyRequest([5], Sampling(no_repeat=3), Random(1), earlier=earlier)
    shown = [replies[0].shown for replies in stream_replies(tiny_model, encoder, [request], PLAIN)]
    assert shown[-1] == "i am old . do you ski ?"
    assert list(dict.fromkeys(shown)) == ["", "i am old .", "i am old . do you ski ?"]  # whole sentences
    assert waiting == []


def windows(texts: tuple[str, ...], encoder: Encoder, n: int = 3) -> list[list[int]]:
    """All n tokens in a row of the texts."""
    return [ids[start : start + n] for ids in encoder.texts(list(texts)) for start in range(len(ids) - n + 1)]


def test_in_the_last_draw_tokens_are_held_back(tiny_model, encoder, monkeypatch) -> None:
    ids = encoder.texts(["i am old ."])[0]
    held, real = [], Sampling.draw

    def draw(self: Sampling, logits: torch.Tensor, numbers: list[float]) -> torch.Tensor:
        held.append(torch.isinf(logits[0]).nonzero()[:, 0].tolist())
        place = len(held) - 1 - 3 * (DRAWS - 1)
        wanted = ids[place if place >= 0 else (len(held) - 1) % 3] if place < 2 else None
        return torch.tensor([wanted]) if wanted is not None else real(self, logits, numbers)

    monkeypatch.setattr(Sampling, "draw", draw)
    request = ReplyRequest([5], Sampling(no_repeat=3), Random(1), earlier=("i am old .",))
    (reply,) = generate_replies(tiny_model, encoder, [request], PLAIN)
    assert held[: 3 * (DRAWS - 1)] == [[]] * 3 * (DRAWS - 1)
    assert held[3 * (DRAWS - 1) + 2] == [ids[2]]
    assert not any(window in windows((reply,), encoder) for window in windows(request.earlier, encoder))


def test_the_most_likely_tokens_repeat_nothing(tiny_model, encoder, contexts) -> None:
    first = generate_replies(tiny_model, encoder, greedy(contexts, max_new_tokens=20), PLAIN)
    requests = [
        ReplyRequest(context, replace(GREEDY, no_repeat=3, max_new_tokens=20), earlier=(reply,))
        for context, reply in zip(contexts, first, strict=True)
    ]
    assert max(len(ids) for ids in encoder.texts(first)) > 3
    for reply, other in zip(first, generate_replies(tiny_model, encoder, requests, PLAIN), strict=True):
        assert not any(window in windows((other,), encoder) for window in windows((reply,), encoder))
    off = [replace(request, sampling=replace(request.sampling, no_repeat=0)) for request in requests]
    assert generate_replies(tiny_model, encoder, off, PLAIN) == first


def test_replies_that_repeat_nothing_are_in_a_batch_as_alone(tiny_model, encoder, contexts) -> None:
    def requests() -> list[ReplyRequest]:
        earlier = ("i have a dog . what do you do ?", "i am a big fan of rock . and you ?")
        return [ReplyRequest(context, Sampling(no_repeat=2), Random(3), earlier=earlier) for context in contexts]

    batch = generate_replies(tiny_model, encoder, requests(), PLAIN)
    assert batch == [generate_replies(tiny_model, encoder, [request], PLAIN)[0] for request in requests()]


def test_a_context_is_cut_at_whole_utterances(encoder) -> None:
    tokens = encoder.context(1, ["x y"], ["a b c", "d e", "f"], 300)
    shorter = encoder.context(1, ["x y"], ["d e", "f"], 300)
    assert fit_context(tokens, encoder, len(tokens)) == tokens
    assert fit_context(tokens, encoder, len(tokens) - 1) == shorter
    assert fit_context(tokens, encoder, len(shorter)) == shorter
    assert fit_context(tokens, encoder, 3) == tokens[:3]


def test_the_model_s_mode_is_put_back_where_replies_are_left_early(tiny_model, encoder) -> None:
    tiny_model.train()
    replies = stream_replies(tiny_model, encoder, greedy([[5]]), PLAIN)
    next(replies)
    assert not tiny_model.training
    replies.close()
    assert tiny_model.training


def test_a_reply_is_done_when_it_stands_and_not_when_it_repeats(tiny_model, encoder, monkeypatch) -> None:
    """Whoever watches must not take a draw that ended in a repetition for the reply."""
    (said,) = encoder.texts(["what is your name ?"])
    (other,) = encoder.texts(["hi ."])
    spell(monkeypatch, [*said[:3], *other, encoder.eos])
    request = ReplyRequest([5], Sampling(no_repeat=3), Random(1), earlier=("what is your name ?",))
    states = [
        (replies[0].ended, replies[0].done, replies[0].shown)
        for replies in stream_replies(tiny_model, encoder, [request], PLAIN)
    ]
    assert states[2] == (True, False, "")
    assert states[-1] == (True, True, "hi .")
    assert not any(done for _, done, _ in states[:-1])


def test_spaces_after_an_unwanted_text_are_not_shown(tiny_model, encoder, monkeypatch) -> None:
    """The text without them is unwanted, and is drawn again."""
    (unwanted,), (other,) = encoder.texts(["no "]), encoder.texts(["yes"])
    spell(monkeypatch, [*unwanted, encoder.eos, *other, encoder.eos])
    request = ReplyRequest([5], Sampling(), Random(1), unwanted=("no",))
    shown = [replies[0].shown for replies in stream_replies(tiny_model, encoder, [request], PLAIN)]
    assert shown[: len(unwanted) + 1] == [""] * (len(unwanted) + 1)
    assert shown[-1] == "yes"
