"""Replies from a model. One loop, `stream_replies`, makes every reply: single or in a batch, whole or as it grows.

request = ReplyRequest(encoder.context(1, facts, utterances, room), Sampling(), Random(seed))
for (reply,) in stream_replies(model, encoder, [request], autocast):
    reply.shown    the text so far
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerFast

from personagpt.errors import printable
from personagpt.model.cache import growing_cache
from personagpt.model.decoders import context_length, decode
from personagpt.model.gpt2 import evaluation_mode
from personagpt.model.sampling import GREEDY, Sampling
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder
from personagpt.text.words import SENTENCE_ENDS

DRAWS = 8  # how often a reply, or the rest of it, is drawn at most
REPLIES_PER_BATCH = {"cpu": 16, "cuda": 64, "mps": 32}
SAMPLED_DIALOGUES, SHOWN_TURNS = 4, 3  # a run's sample replies: how many, and how many utterances before each
INCOMPLETE = "\ufffd"  # a decoder's sign for the first bytes of a character


@dataclass(frozen=True)
class ReplyRequest:
    """A request for a reply: the tokens before it, how to draw it, and which texts to avoid."""

    context: list[int]
    sampling: Sampling = GREEDY
    random: Random | None = None  # the numbers that decide the draws; greedy replies need none
    unwanted: tuple[str, ...] = ()  # a reply with one of these texts is drawn again
    earlier: tuple[str, ...] = ()  # the speaker's replies so far, which `sampling.no_repeat` refers to


def stream_replies(
    model: PreTrainedModel, encoder: Encoder, requests: list[ReplyRequest], autocast: AbstractContextManager
) -> Iterator[list[Reply]]:
    """Make the replies to one batch of requests; yield all replies after each new token, until every reply is done.

    Raises ValueError where a context and its reply do not fit the model's positions together.
    """
    replies = [Reply(request, encoder) for request in requests]
    with evaluation_mode(model):
        while unfinished := [reply for reply in replies if not reply.done]:
            for reply in unfinished:
                reply.begin_draw()
            for _ in _draw(model, unfinished, autocast):
                yield replies


def _draw(model: PreTrainedModel, replies: list[Reply], autocast: AbstractContextManager) -> Iterator[None]:
    """Add tokens to the B replies, one each at a time, until this draw of every reply has ended."""
    contexts = [reply.request.context + reply.tokens for reply in replies]
    positions_in_model, device = context_length(model.config), model.device
    for reply in replies:
        context, count = len(reply.request.context), reply.request.sampling.max_new_tokens
        if context + count - 1 > positions_in_model:
            raise ValueError(f"{context} + {count} tokens do not fit into {positions_in_model} positions")
    # Padding on the left, by any token, puts every context's end into the last column. Positions count from a context's
    # first token.
    width = max(map(len, contexts))
    ids = torch.tensor([[0] * (width - len(context)) + context for context in contexts], device=device)
    mask = torch.tensor([[0] * (width - len(context)) + [1] * len(context) for context in contexts], device=device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)  # (B, T), as ids and mask
    padded = any(len(context) < width for context in contexts)
    cache = growing_cache(model.config)
    while not all(reply.ended for reply in replies):
        with autocast:  # closed before the yield: a context belongs to its thread, and another thread may ask next
            logits = _last_logits(model, ids, positions, mask if padded else None, cache)
        tokens = _choose(logits, replies)  # (B,)
        for reply, token in zip(replies, tokens.tolist(), strict=True):
            if not reply.ended:
                reply.add(token)
        yield
        # A reply that has ended may pass the model's last position: nobody reads its further tokens.
        ids, positions = tokens[:, None], (positions[:, -1:] + 1).clamp(max=positions_in_model - 1)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)


@torch.inference_mode()
def _last_logits(
    model: PreTrainedModel, ids: Tensor, positions: Tensor, mask: Tensor | None, cache: DynamicCache
) -> Tensor:
    """Return the logits (B, V) after the last column of `ids`; keys and values of all columns join the cache."""
    hidden = decode(model, ids, positions, mask, cache)  # (B, T, C)
    return model.get_output_embeddings()(hidden[:, -1:])[:, -1]


@torch.inference_mode()
def _choose(logits: Tensor, replies: list[Reply]) -> Tensor:
    """Return each reply's next token (B,) for logits (B, V)."""
    tokens = torch.empty(len(replies), dtype=torch.long, device=logits.device)
    for row, reply in enumerate(replies):
        if reply.avoids_repeating:
            logits[row, reply.repeating(reply.tokens)] = -torch.inf
    for sampling in dict.fromkeys(reply.request.sampling for reply in replies):
        rows = [row for row, reply in enumerate(replies) if reply.request.sampling == sampling]
        tokens[rows] = sampling.draw(logits[rows], [replies[row].random_number() for row in rows])
    return tokens


class Reply:
    """A reply in progress. Its state is tokens only; its text is decoded on demand.

    A reply is drawn again from its start where its text is unwanted, and from its last sentence where it repeats words
    of its speaker. It stands after DRAWS draws. In the last draw, tokens that would repeat something have no chance.
    """

    def __init__(self, request: ReplyRequest, encoder: Encoder) -> None:
        self.request, self.encoder = request, encoder
        self.tokens: list[int] = []
        self.draws = 0  # draws begun so far
        self.sound = 0  # the first tokens that are whole sentences and repeat nothing
        n = request.sampling.no_repeat
        self.unwanted = request.unwanted + (request.earlier if n else ())
        # Every n tokens in a row of the speaker's earlier replies: n - 1 tokens -> the tokens that came next.
        self._said: dict[tuple[int, ...], list[int]] = {}
        for ids in encoder.texts(list(request.earlier)) if n else ():
            for end in range(n, len(ids) + 1):
                self._said.setdefault(tuple(ids[end - n : end - 1]), []).append(ids[end - 1])

    def begin_draw(self) -> None:
        """Begin the first draw, or the next one without the tokens that must not stand."""
        del self.tokens[self.sound if self.repeats else 0 :]
        self.sound = len(self.tokens)
        self.draws += 1

    def add(self, token: int) -> None:
        """Add a token to this draw."""
        self.tokens.append(token)
        if self._said and not self.repeats and self.text.endswith(tuple(SENTENCE_ENDS)):
            self.sound = len(self.tokens)

    def random_number(self) -> float:
        """Return the number that decides the next token. An ended reply uses up none, so a batch changes no reply."""
        return 0.0 if self.ended or self.request.random is None else self.request.random.random()

    def repeating(self, tokens: list[int]) -> list[int]:
        """Return the tokens that, after `tokens`, complete n tokens in a row of an earlier reply."""
        return self._said.get(tuple(tokens[1 - self.request.sampling.no_repeat :]), []) if self._said else []

    @property
    def repeats(self) -> bool:
        """Whether the last token completes n tokens in a row of an earlier reply."""
        return bool(self.tokens) and self.tokens[-1] in self.repeating(self.tokens[:-1])

    @property
    def avoids_repeating(self) -> bool:
        """Whether tokens that would repeat something have no chance.

        A sentence that is drawn again is better language than a sentence that was bent. But a greedy reply would be the
        same again, and the last draw must stand.
        """
        return self.request.sampling.top_k == 1 or self.draws == DRAWS

    @property
    def ended(self) -> bool:
        """Whether this draw is over."""
        is_longest = len(self.tokens) == self.request.sampling.max_new_tokens
        return is_longest or self.repeats or self.tokens[-1:] == [self.encoder.eos]

    @property
    def done(self) -> bool:
        """Whether this draw is over and stands."""
        if not self.draws or not self.ended:
            return False
        return self.avoids_repeating or not (self.repeats or self.text in self.unwanted)

    @property
    def text(self) -> str:
        """The text of all tokens: one line, without characters that could control a terminal."""
        return self._decode(self.tokens).strip()

    @property
    def shown(self) -> str:
        """The part of the text that no later token or draw changes. It only ever grows."""
        if self.done:
            return self.text
        # A sentence in progress may yet repeat something; a character's last bytes may yet come.
        certain = self.tokens[: self.sound] if self._said and not self.avoids_repeating else self.tokens
        text = self._decode(certain).rstrip(INCOMPLETE).strip()
        return "" if any(unwanted.startswith(text) for unwanted in self.unwanted) else text

    def _decode(self, tokens: list[int]) -> str:
        return printable(self.encoder.decode_reply(tokens))


def generate_replies(
    model: PreTrainedModel,
    encoder: Encoder,
    requests: list[ReplyRequest],
    autocast: AbstractContextManager,
    title: str = "",
    stop: threading.Event | None = None,
) -> list[str]:
    """Return the texts of the replies, made in batches of similar length; a `title` shows a progress bar.

    As soon as another thread sets `stop`, no further batch is made, and the texts that are left stay empty.

    In float32 a batch gives the same replies as one request at a time. In half precision a few replies differ, because
    products of other shapes round differently, which decides between two tokens that are almost equally likely.
    """
    order = sorted(range(len(requests)), key=lambda index: -len(requests[index].context))
    texts = [""] * len(requests)
    size = REPLIES_PER_BATCH[model.device.type]
    with tqdm(total=len(requests), desc=title, unit="reply", leave=False, disable=None if title else True) as bar:
        for batch in (order[start : start + size] for start in range(0, len(order), size)):
            if stop and stop.is_set():
                break
            *_, replies = stream_replies(model, encoder, [requests[index] for index in batch], autocast)
            for index, reply in zip(batch, replies, strict=True):
                texts[index] = reply.text
            bar.update(len(batch))
    return texts


def fit_context(tokens: list[int], encoder: Encoder, room: int) -> list[int]:
    """Return the last part of a context that fits `room` tokens: the oldest utterances go, the persona stays."""
    start = tokens.index(encoder.start) + 1
    prefix, talk = tokens[:start], tokens[start:]
    while talk and len(prefix) + len(talk) > room:
        talk = talk[talk.index(encoder.eos) + 1 :]
    return (prefix + talk)[:room]


def sample_replies(
    model: PreTrainedModel, data: PersonaChatDataset, encoder: Encoder, autocast: AbstractContextManager
) -> str:
    """Return persona, last turns, the human's reply and the model's greedy reply, for a few dialogues of `data`."""
    requests, dialogues = [], []
    for index in np.linspace(0, len(data) - 1, min(SAMPLED_DIALOGUES, len(data)), dtype=int):
        tokens, spans = data.sequence(int(index))
        start, end = spans[len(spans) // 2]  # from the middle of the talk: neither a greeting nor a good-bye
        if start > context_length(model.config) - GREEDY.max_new_tokens:
            continue
        _, facts, utterances = encoder.decode(tokens[:end].tolist())
        requests.append(ReplyRequest(tokens[:start].tolist()))
        dialogues.append((facts, utterances))
    replies = generate_replies(model, encoder, requests, autocast)
    return "".join(_sample_text(*dialogue, reply) for dialogue, reply in zip(dialogues, replies, strict=True))


def _sample_text(facts: list[str], utterances: list[str], reply: str) -> str:
    """Return one dialogue; the last of `utterances` is the human's reply."""
    *before, human = utterances
    # The reply's speaker also spoke every second utterance before it.
    turns = [("partner" if (len(before) - i) % 2 else "speaker", text) for i, text in enumerate(before)][-SHOWN_TURNS:]
    lines = ["persona: " + " ".join(facts)]
    lines += [f"  {who}: {text}" for who, text in turns]
    lines += [f"  speaker, the human: {human}", f"  speaker, the model: {reply}"]
    return "\n".join(lines) + "\n\n"


def set_generation_defaults(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Set what the library's `generate()` does by default. The defaults are saved in generation_config.json."""
    sampling = Sampling()
    model.generation_config.update(
        do_sample=True,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
