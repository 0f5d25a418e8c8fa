"""Replies from a model: one loop over new tokens, for batches of contexts and for a reply that streams.

Contexts are token ids: `Encoder.context` makes them from text, `fit_context` from a sequence of a dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerFast

from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder

MAX_NEW_TOKENS = 40
SAMPLED_DIALOGUES, SHOWN_TURNS = 4, 3  # of a run's sample replies: how many, and how many utterances before each
INCOMPLETE = "\ufffd"  # what a decoder shows for the first bytes of a character


@dataclass(frozen=True)
class Sampling:
    """Draw from the `top_k` most likely tokens (0: all), of those from the fewest that make up `top_p`."""

    top_k: int = 10
    top_p: float = 0.92  # nucleus sampling, Holtzman et al. 2020
    temperature: float = 1.0

    def draw(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """One token for each row of logits (B, V) -> (B,)."""
        values, tokens = (logits.float() / self.temperature).topk(min(self.top_k or logits.shape[1], logits.shape[1]))
        probabilities = values.softmax(1)  # (B, K), largest first
        # A token stays as long as those before it make up less than top_p; the first one always does.
        before = probabilities.cumsum(1) - probabilities
        unlikely = before >= self.top_p
        unlikely[:, 0] = False  # also where top_p is too small for a float32
        probabilities = probabilities.masked_fill(unlikely, 0)
        return tokens.gather(1, torch.multinomial(probabilities, 1, generator=generator))[:, 0]


def most_likely(logits: Tensor) -> Tensor:
    """The greedy choice: (B, V) -> (B,)."""
    return logits.argmax(1)


def generate_replies(
    model: PreTrainedModel,
    encoder: Encoder,
    contexts: list[list[int]],
    autocast: AbstractContextManager,
    max_new_tokens: int = MAX_NEW_TOKENS,
    pick: Callable[[Tensor], Tensor] = most_likely,
) -> list[str]:
    """The reply to each context, up to its <eos>.

    In float32 a batch's greedy replies equal those made one by one. In half precision a few differ: products of other
    shapes round otherwise, and where two tokens are almost as likely that decides.
    """
    replies: list[list[int]] = [[] for _ in contexts]
    ended = torch.zeros(len(contexts), dtype=torch.bool, device=model.device)
    was_training = model.training
    model.eval()
    with autocast:
        for tokens in next_tokens(model, contexts, encoder.eos, max_new_tokens, pick):
            for reply, token in zip(replies, tokens.tolist(), strict=True):
                reply.append(token)
            ended |= tokens == encoder.eos
            if ended.all():
                break
    model.train(was_training)
    return [encoder.decode_reply(reply) for reply in replies]


def stream_reply(
    model: PreTrainedModel,
    encoder: Encoder,
    context: list[int],
    autocast: AbstractContextManager,
    pick: Callable[[Tensor], Tensor],
    max_new_tokens: int,
) -> Iterator[str]:
    """The text so far after each new token that lengthens it; `pick` chooses tokens (1,) from logits (1, V).

    A character whose bytes are not all there yet is held back, until the reply ends.
    """
    tokens: list[int] = []
    shown = text = ""
    with autocast:
        for token in next_tokens(model, [context], encoder.eos, max_new_tokens, pick):
            tokens.append(int(token))
            text = encoder.decode_reply(tokens)
            if tokens[-1] == encoder.eos:
                break
            complete = text.rstrip(INCOMPLETE)
            if len(complete) > len(shown):
                shown = complete
                yield shown
    if text != shown:
        yield text


def next_tokens(
    model: PreTrainedModel, contexts: list[list[int]], pad: int, count: int, pick: Callable[[Tensor], Tensor]
) -> Iterator[Tensor]:
    """`count` times the next token of every context, (B,): `pick` chooses it from the logits (B, V).

    A context and its new tokens must fit the model's positions together.
    """
    width = max(map(len, contexts))
    if width + count - 1 > model.config.n_positions:
        raise ValueError(f"{width} + {count} tokens do not fit into {model.config.n_positions} positions")
    # Padded on the left, so that every context ends in the last column; positions count from each one's first token.
    ids = torch.tensor([[pad] * (width - len(context)) + context for context in contexts], device=model.device)
    seen = torch.tensor([[0] * (width - len(context)) + [1] * len(context) for context in contexts])
    seen = seen.to(model.device)  # (B, T): 0 hides padding
    positions = (seen.cumsum(1) - 1).clamp(min=0)
    padded = any(len(context) < width for context in contexts)
    cache = DynamicCache(config=model.config)
    for _ in range(count):
        tokens = pick(_last_logits(model, ids, positions, seen if padded else None, cache))
        yield tokens
        ids, positions = tokens[:, None], positions[:, -1:] + 1
        seen = torch.cat([seen, seen.new_ones(len(seen), 1)], dim=1)


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
    contexts, shown = [], []
    for index in np.linspace(0, len(data) - 1, min(SAMPLED_DIALOGUES, len(data)), dtype=int):
        tokens, spans = data.sequence(int(index))
        # Neither the opening line nor the good-bye: a response from the middle of the talk.
        start, end = spans[len(spans) // 2]
        room = model.config.n_positions - MAX_NEW_TOKENS
        if start > room:
            continue
        _, facts, utterances = encoder.decode(tokens[:end].tolist())
        contexts.append(tokens[:start].tolist())
        shown.append((facts, utterances))
    replies = generate_replies(model, encoder, contexts, autocast) if contexts else []
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
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
