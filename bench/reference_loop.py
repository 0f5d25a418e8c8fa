"""The training algorithm of the original PersonaGPT, written anew as a yardstick for speed and for the loss.

It trains on one (context, response) pair at a time: the context is a persona and all utterances before the response.
A first forward pass reads the context and keeps its keys and values, a second one reads the response. Batches hold one
pair, eight of them share a plain AdamW step. The model is GPT-2 as it was loaded.

Where the original left a response's first token out of the loss, this counts it, so that both loops compute the same.
Not a script: train_speed.py and tests/test_reference_loop.py use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from transformers import PreTrainedModel

from personagpt.sequences.dataset import PersonaChatDataset

Pair = tuple[Tensor, Tensor]  # context (T,), response (n,) with its <eos>

ACCUMULATED = 8  # pairs per optimizer step


def dialogue_pairs(dataset: PersonaChatDataset, indices: Iterable[int]) -> Iterator[Pair]:
    """The (context, response) pairs of the sequences `indices`."""
    for index in indices:
        tokens, spans = dataset.sequence(index)
        for start, end in spans:
            yield torch.from_numpy(tokens[:start]), torch.from_numpy(tokens[start:end])


def pair_nll(model: PreTrainedModel, context: Tensor, response: Tensor) -> Tensor:
    """Negative log-likelihood (n,) of each token of `response` (n,) after `context` (T,)."""
    # As in the original, this pass computes the logits of the whole context and nobody reads them.
    read = model(context[None], use_cache=True, output_hidden_states=True)
    first = model.lm_head(read.hidden_states[-1][:, -1:])  # (1, 1, V)
    logits = model(response[None], past_key_values=read.past_key_values, use_cache=True).logits  # (1, n, V)
    logits = torch.cat([first, logits[:, :-1]], dim=1)[0]
    return torch.nn.functional.cross_entropy(logits.float(), response, reduction="none")


def train_pairs(
    model: PreTrainedModel, pairs: Iterable[Pair], learn_rate: float, accumulated: int = ACCUMULATED, steps: int = 0
) -> Iterator[list[Pair]]:
    """Train on `pairs`; each step yields the pairs it saw. A rest smaller than a step is left out.

    The learning rate decays linearly to 0 over `steps`; without them it stays.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learn_rate, eps=1e-8, weight_decay=0.0)
    model.train()
    seen: list[Pair] = []
    step = 0
    for context, response in pairs:
        loss = pair_nll(model, context.to(model.device), response.to(model.device)).mean()
        (loss / accumulated).backward()
        seen.append((context, response))
        if len(seen) == accumulated:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            if steps:
                optimizer.param_groups[0]["lr"] = learn_rate * max(0, steps - step) / steps
            step += 1
            optimizer.step()
            optimizer.zero_grad()
            yield seen
            seen = []
