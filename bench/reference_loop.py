"""The training algorithm of the original PersonaGPT, written anew as a yardstick for speed and for the loss.

It trains on one (context, response) pair at a time. The context is a persona and all utterances before the response.
The first forward pass reads the context and keeps its keys and values. The second pass reads the response. A batch
holds one pair, and eight batches share a plain AdamW step. The model is the library's GPT-2.

The original left a response's first token out of the loss. This loop counts it, so that both loops compute the same
loss.
This module has no command line: bench/train_speed.py and bench/same_quality.py import it.
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
    """Yield the (context, response) pairs of the sequences `indices`."""
    for index in indices:
        tokens, spans = dataset.sequence(index)
        for start, end in spans:
            yield torch.from_numpy(tokens[:start]), torch.from_numpy(tokens[start:end])


def pair_nll(model: PreTrainedModel, context: Tensor, response: Tensor) -> Tensor:
    """Return the negative log-likelihood (n,) of each token of `response` (n,) after `context` (T,)."""
    # As in the original, this pass computes the logits of the whole context, although nothing reads them.
    context_pass = model(context[None], use_cache=True, output_hidden_states=True)
    first = model.lm_head(context_pass.hidden_states[-1][:, -1:])  # (1, 1, V)
    logits = model(response[None], past_key_values=context_pass.past_key_values, use_cache=True).logits  # (1, n, V)
    logits = torch.cat([first, logits[:, :-1]], dim=1)[0]
    return torch.nn.functional.cross_entropy(logits.float(), response, reduction="none")


def train_pairs(
    model: PreTrainedModel, pairs: Iterable[Pair], learn_rate: float, accumulated: int = ACCUMULATED, steps: int = 0
) -> Iterator[list[Pair]]:
    """Train on `pairs`, and yield the pairs of each step. Pairs that do not fill a last step are left out.

    The learning rate decays linearly to 0 over `steps`. With `steps` 0 it stays the same.
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
