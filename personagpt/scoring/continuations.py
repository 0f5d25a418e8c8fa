"""The likelihoods of several replies after each of many contexts. A context is read once for all of its replies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import numpy as np
import torch
from tqdm import tqdm
from transformers import DynamicCache, PreTrainedModel

from personagpt.model.decoders import context_length, decode
from personagpt.model.gpt2 import evaluation_mode
from personagpt.scoring.candidates import candidates_nll

Question = tuple[list[int], list[list[int]]]  # the ids of a context; those of each reply to it, with <eos>

# Tokens in a batch: those of each reply, and its context's. A token's keys and values are 200 KB in DialoGPT-medium.
TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 8192, "mps": 4096}


def continuations_nll(
    model: PreTrainedModel, asked: list[Question], autocast: AbstractContextManager, title: str = ""
) -> list[np.ndarray]:
    """Return for each context the negative log-likelihood (R,) of its R replies, in nats. A `title` shows a bar.

    A context, and a reply but for its last token, must fit the model's positions together.
    """
    results: list[np.ndarray] = [np.empty(0)] * len(asked)
    with (
        evaluation_mode(model),
        autocast,
        tqdm(total=len(asked), desc=title, leave=False, disable=None if title else True) as bar,
    ):
        for batch in _batches(asked, TOKENS_PER_BATCH[model.device.type]):
            for index, nll in zip(batch, _batch_nll(model, [asked[index] for index in batch]), strict=True):
                results[index] = nll
            bar.update(len(batch))
    return results


def _batches(asked: list[Question], most: int) -> Iterator[list[int]]:
    """Yield the indices of contexts in batches of similar length, of at most `most` tokens or a single context."""
    batch, width, rows = [], 0, 0
    for index in sorted(range(len(asked)), key=lambda index: -len(asked[index][0])):
        context, replies = asked[index]
        wider = max(width, len(context) + max(map(len, replies)))
        if batch and wider * (rows + len(replies)) > most:
            yield batch
            batch, wider, rows = [], len(context) + max(map(len, replies)), 0
        batch.append(index)
        width, rows = wider, rows + len(replies)
    if batch:
        yield batch


@torch.inference_mode()
def _batch_nll(model: PreTrainedModel, asked: list[Question]) -> list[np.ndarray]:
    """Return `continuations_nll` of B contexts with N replies in all."""
    device = model.device
    width = max(len(context) for context, _ in asked)
    # Padding on the left puts every context's end into the last column. Positions count from a context's first token.
    ids = torch.tensor([[0] * (width - len(context)) + context for context, _ in asked], device=device)  # (B, T)
    mask = torch.tensor([[0] * (width - len(context)) + [1] * len(context) for context, _ in asked], device=device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)  # (B, T)
    is_padded = any(len(context) < width for context, _ in asked)
    cache = DynamicCache(config=model.config)
    hidden = decode(model, ids, positions, mask if is_padded else None, cache)[:, -1:]  # (B, 1, C)
    rows = torch.tensor([row for row, (_, replies) in enumerate(asked) for _ in replies], device=device)  # (N,)
    replies = [reply for _, replies in asked for reply in replies]
    hidden, longest = hidden[rows], max(map(len, replies))  # (N, 1, C)
    if longest > 1:
        # The last token predicts nothing, so it is no input. A causal model never looks at padding to its right.
        cache.batch_select_indices(rows)
        ids = torch.tensor([reply[:-1] + [0] * (longest - len(reply)) for reply in replies], device=device)
        steps = torch.arange(1, longest, device=device)
        positions = (positions[rows, -1:] + steps).clamp(max=context_length(model.config) - 1)
        mask = torch.cat([mask[rows], mask.new_ones(len(rows), longest - 1)], dim=1)
        hidden = torch.cat([hidden, decode(model, ids, positions, mask if is_padded else None, cache)], dim=1)
    sums = np.array([float(nll.double().sum()) for nll in candidates_nll(model, hidden, replies)])
    return np.split(sums, np.cumsum([len(replies) for _, replies in asked])[:-1])
