"""Replies from a model: one loop over new tokens makes every reply, in batches and as text that streams.

A `ReplyRequest` says what is asked for. Its context is token ids: `Encoder.context` makes them from text, `fit_context` from a
sequence of a dataset.
"""

from __future__ import annotations

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
from personagpt.model.sampling import GREEDY, Sampling
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder

DRAWS = 8  # how often a reply, or the rest of one, is drawn at most
REPLIES_PER_BATCH = {"cpu": 16, "cuda": 64, "mps": 32}
SAMPLED_DIALOGUES, SHOWN_TURNS = 4, 3  # of a run's sample replies: how many, and how many utterances before each
SENTENCE_ENDS = (".", "!", "?")
INCOMPLETE = "\ufffd"  # what a decoder shows for the first bytes of a character


@dataclass(frozen=True)
class ReplyRequest:
    """A reply that is asked for: after which tokens, how it is drawn, and what it is not to say."""

    context: list[int]
    sampling: Sampling = GREEDY
    random: Random | None = None  # its numbers decide; the most likely tokens need none
    unwanted: tuple[str, ...] = ()  # texts that are drawn again
    earlier: tuple[str, ...] = ()  # its speaker's replies so far, which `sampling.no_repeat` is about


def generate_replies(
    model: PreTrainedModel,
    encoder: Encoder,
    drafts: list[ReplyRequest],
    autocast: AbstractContextManager,
    title: str = "",
) -> list[str]:
    """The reply to each draft, up to its <eos>: one line, without what could control a terminal.

    They are made in batches of similar length; with a `title` a bar shows how far. In float32 they equal those made
    one by one. In half precision a few differ: products of other shapes round otherwise, and where two tokens are
    almost as likely that decides.
    """
    order = sorted(range(len(drafts)), key=lambda index: -len(drafts[index].context))
    replies = [""] * len(drafts)
    size = REPLIES_PER_BATCH[model.device.type]
    with tqdm(total=len(drafts), desc=title, unit="reply", leave=False, disable=None if title else True) as bar:
        for batch in (order[start : start + size] for start in range(0, len(order), size)):
            *_, made = stream_replies(model, encoder, [drafts[index] for index in batch], autocast)
            for index, reply in zip(batch, made, strict=True):
                replies[index] = reply.text
            bar.update(len(batch))
    return replies


def stream_replies(
    model: PreTrainedModel, encoder: Encoder, drafts: list[ReplyRequest], autocast: AbstractContextManager
) -> Iterator[list[Reply]]:
    """The replies to one batch of drafts after each new token, and last when all are whole.

    A reply is drawn again from its start where it is unwanted, and from its last sentence where that repeats what its
    speaker said before. After DRAWS draws it stands; in the last one, tokens that would repeat something are held back.
    """
    replies = [Reply(draft, encoder) for draft in drafts]
    was_training = model.training
    if was_training:
        model.eval()
    try:
        drawn = replies
        for left in reversed(range(DRAWS)):
            for _ in _draw(model, drawn, encoder.eos, autocast):
                yield replies
            drawn = [reply for reply in drawn if left and reply.drawn_again(is_last=left == 1)]
            if not drawn:
                break
        for reply in replies:
            reply.stands = True
        yield replies
    finally:
        if was_training:
            model.train()


class Reply:
    """A reply on its way. Its text is made when somebody asks for it: in a batch nobody does before the end."""

    def __init__(self, draft: ReplyRequest, encoder: Encoder) -> None:
        self.draft, self.encoder = draft, encoder
        self.unwanted = draft.unwanted + (draft.earlier if draft.sampling.no_repeat else ())
        self.tokens: list[int] = []
        self.stands = False  # whether it is not drawn again, whatever it says
        self._shown = ""
        self._sure = 0  # how many tokens are sentences that repeat nothing
        self._repeats = False  # whether the last token made it repeat something
        # Whether such tokens are held back. A sentence that is drawn again is better language than one that is bent,
        # but the most likely tokens would be the same once more.
        self.holds_back = draft.sampling.top_k == 1
        # What the speaker has said: n - 1 tokens in a row -> those that came next.
        self._said: dict[tuple[int, ...], list[int]] = {}
        if n := draft.sampling.no_repeat:
            for ids in encoder.texts(list(draft.earlier)):
                for start in range(len(ids) - n + 1):
                    *before, following = ids[start : start + n]
                    self._said.setdefault(tuple(before), []).append(following)

    @property
    def repeating(self) -> list[int]:
        """The tokens with which it would say n tokens in a row that its speaker has said before."""
        last = self.tokens[1 - self.draft.sampling.no_repeat :] if self._said else []
        return self._said.get(tuple(last), [])

    def add(self, token: int) -> None:
        self._repeats = token in self.repeating
        self.tokens.append(token)
        if self._said and not self._repeats and self.text.endswith(SENTENCE_ENDS):
            self._sure = len(self.tokens)

    def drawn_again(self, is_last: bool) -> bool:
        """Whether this draw does not stand; then what is drawn again is forgotten."""
        if self._repeats:
            del self.tokens[self._sure :]
        elif self.text in self.unwanted and self.draft.sampling.top_k != 1:
            self.tokens, self._sure = [], 0
        else:
            return False
        self._repeats, self.holds_back = False, is_last
        return True

    @property
    def ended(self) -> bool:
        """Whether this draw of it is over."""
        complete = len(self.tokens) == self.draft.sampling.max_new_tokens
        return complete or self._repeats or self.tokens[-1:] == [self.encoder.eos]

    @property
    def text(self) -> str:
        """What it says now: one line, without what could control a terminal."""
        return printable(self.encoder.decode_reply(self.tokens)).strip()

    @property
    def shown(self) -> str:
        """As much of it as is certain; this only ever grows.

        What may still become a text that is drawn again is kept back: a sentence under way, where it may repeat
        something; and so is a character whose bytes are not all there yet.
        """
        may_repeat = self._said and not self.stands and not self.holds_back
        grown = printable(self.encoder.decode_reply(self.tokens[: self._sure] if may_repeat else self.tokens))
        certain = grown.strip() if self.stands else grown.rstrip(INCOMPLETE).lstrip()
        held = not self.stands and any(other.startswith(certain) for other in self.unwanted)
        if len(certain) > len(self._shown) and not held:
            self._shown = certain
        return self._shown

    def number(self) -> float:
        """What decides the next token. One that has ended takes no number: the next reply is the same as alone."""
        return 0.0 if self.ended or self.draft.random is None else self.draft.random.random()


def _draw(model: PreTrainedModel, replies: list[Reply], pad: int, autocast: AbstractContextManager) -> Iterator[None]:
    """Draw the replies to their end, a token of each at a time."""
    for tokens in _next_tokens(model, replies, pad, autocast):
        for reply, token in zip(replies, tokens, strict=True):
            if not reply.ended:
                reply.add(token)
        yield
        if all(reply.ended for reply in replies):
            return


def _next_tokens(
    model: PreTrainedModel, replies: list[Reply], pad: int, autocast: AbstractContextManager
) -> Iterator[list[int]]:
    """The next token of every reply, B at a time, until the longest is complete.

    Raises ValueError where a context and its new tokens do not fit the model's positions together.
    """
    contexts = [reply.draft.context + reply.tokens for reply in replies]
    counts = [reply.draft.sampling.max_new_tokens - len(reply.tokens) for reply in replies]
    most = model.config.n_positions
    for context, count in zip(contexts, counts, strict=True):
        if len(context) + count - 1 > most:
            raise ValueError(f"{len(context)} + {count} tokens do not fit into {most} positions")
    width = max(map(len, contexts))
    # Padded on the left, so that every context ends in the last column; positions count from each one's first token.
    ids = torch.tensor([[pad] * (width - len(context)) + context for context in contexts], device=model.device)
    seen = torch.tensor([[0] * (width - len(context)) + [1] * len(context) for context in contexts])
    seen = seen.to(model.device)  # (B, T): 0 hides padding
    positions = (seen.cumsum(1) - 1).clamp(min=0)
    padded = any(len(context) < width for context in contexts)
    cache = DynamicCache(config=model.config)
    for _ in range(max(counts)):
        with autocast:  # left before anything is yielded: it belongs to the thread, and the next token may be another's
            logits = _last_logits(model, ids, positions, seen if padded else None, cache)
        tokens = _choose(logits, replies)
        yield tokens.tolist()
        # A reply that has ended may be past the last position: nobody reads what follows it.
        ids, positions = tokens[:, None], (positions[:, -1:] + 1).clamp(max=most - 1)
        seen = torch.cat([seen, seen.new_ones(len(seen), 1)], dim=1)


@torch.inference_mode()
def _choose(logits: Tensor, replies: list[Reply]) -> Tensor:
    """Each reply's next token: logits (B, V) -> (B,)."""
    tokens = torch.empty(len(replies), dtype=torch.long, device=logits.device)
    for row, reply in enumerate(replies):
        if reply.holds_back and reply.repeating:
            logits[row, reply.repeating] = -torch.inf
    for sampling in dict.fromkeys(reply.draft.sampling for reply in replies):
        rows = [row for row, reply in enumerate(replies) if reply.draft.sampling == sampling]
        tokens[rows] = sampling.draw(logits[rows], [replies[row].number() for row in rows])
    return tokens


@torch.inference_mode()
def _last_logits(
    model: PreTrainedModel, ids: Tensor, positions: Tensor, seen: Tensor | None, cache: DynamicCache
) -> Tensor:
    """The logits (B, V) after the last column of `ids`; keys and values of all columns join the cache."""
    # Not the model's own forward pass: apex turns its output into a plain dict.
    output = model.transformer(ids, position_ids=positions, attention_mask=seen, past_key_values=cache, use_cache=True)
    return model.lm_head(output.last_hidden_state[:, -1:])[:, -1]


def fit_context(tokens: list[int], encoder: Encoder, room: int) -> list[int]:
    """A sequence's tokens up to a response, at most `room` of them: the oldest utterances go, the persona stays."""
    start = tokens.index(encoder.start) + 1
    prefix, talk = tokens[:start], tokens[start:]
    while talk and len(prefix) + len(talk) > room:
        talk = talk[talk.index(encoder.eos) + 1 :]
    return (prefix + talk)[:room]


def sample_replies(
    model: PreTrainedModel, data: PersonaChatDataset, encoder: Encoder, autocast: AbstractContextManager
) -> str:
    """Persona, last turns, the human's reply and the model's greedy one, at responses spread over the data."""
    drafts, shown = [], []
    for index in np.linspace(0, len(data) - 1, min(SAMPLED_DIALOGUES, len(data)), dtype=int):
        tokens, spans = data.sequence(int(index))
        # Neither the opening line nor the good-bye: a response from the middle of the talk.
        start, end = spans[len(spans) // 2]
        room = model.config.n_positions - GREEDY.max_new_tokens
        if start > room:
            continue
        _, facts, utterances = encoder.decode(tokens[:end].tolist())
        drafts.append(ReplyRequest(tokens[:start].tolist()))
        shown.append((facts, utterances))
    replies = generate_replies(model, encoder, drafts, autocast)
    return "".join(_sample_text(*parts, reply) for parts, reply in zip(shown, replies, strict=True))


def _sample_text(facts: list[str], utterances: list[str], reply: str) -> str:
    """One dialogue; the last of `utterances` is the human's reply."""
    *before, human = utterances
    # The speaker of the reply spoke every second utterance before it.
    turns = [("partner" if (len(before) - i) % 2 else "speaker", text) for i, text in enumerate(before)][-SHOWN_TURNS:]
    lines = ["persona: " + " ".join(facts)]
    lines += [f"  {who}: {text}" for who, text in turns]
    lines += [f"  speaker, the human: {human}", f"  speaker, the model: {reply}"]
    return "\n".join(lines) + "\n\n"


def set_generation_defaults(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """What `generate()` does unless told otherwise; goes into generation_config.json."""
    sampling = Sampling()
    model.generation_config.update(
        do_sample=True,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
