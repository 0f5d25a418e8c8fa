"""Replies from a model: one loop over new tokens, for batches of contexts and for a reply that streams.

Contexts are token ids: `dialogue.Encoder.context` makes them from text, `fit_context` from a sequence of a dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from personagpt.sequences.format import Encoder

MAX_NEW_TOKENS = 40
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
        probabilities = probabilities.masked_fill(before >= self.top_p, 0)
        return tokens.gather(1, torch.multinomial(probabilities, 1, generator=generator))[:, 0]


def generate_replies(
    model: PreTrainedModel,
    encoder: Encoder,
    contexts: list[list[int]],
    autocast: AbstractContextManager,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> list[str]:
    """The greedy reply to each context, up to its <eos>; a batch's replies equal those made one by one."""
    replies: list[list[int]] = [[] for _ in contexts]
    ended = torch.zeros(len(contexts), dtype=torch.bool, device=model.device)
    was_training = model.training
    model.eval()
    with autocast:
        for tokens in next_tokens(model, contexts, encoder.eos, max_new_tokens, lambda logits: logits.argmax(1)):
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
    return model(
        ids, position_ids=positions, attention_mask=seen, past_key_values=cache, use_cache=True, logits_to_keep=1
    ).logits[:, -1]


def fit_context(tokens: list[int], encoder: Encoder, room: int) -> list[int]:
    """A sequence's tokens up to a response, at most `room` of them: the oldest utterances go, the persona stays."""
    start = tokens.index(encoder.start) + 1
    prefix, talk = tokens[:start], tokens[start:]
    while talk and len(prefix) + len(talk) > room:
        talk = talk[talk.index(encoder.eos) + 1 :]
    return (prefix + talk)[:room]
