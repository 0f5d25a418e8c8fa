"""The training loops of the original PersonaGPT, written anew as yardsticks for speed and for the loss.

The original is two programs (https://github.com/illidanlab/personaGPT; docs/references.md):

- October 2020: an item is a whole dialogue. The context is the personas of both speakers. The first forward pass reads
  the context and keeps its keys and values, and the second reads the whole talk, all of it labels. Items may be padded
  to batches, with masks and positions; `batch_size` is 1. Eight batches share a step. apex was an option, and off.
- August 2021: an item is a (context, response) pair. The context is the speaker's persona and all utterances before the
  response. Each pair takes both passes alone, and 64 pairs share a step.

Both take plain AdamW steps with the library's GPT-2, in float32. The originals left the first token of an item's labels
out of the loss, and ended an utterance with one <eos> (2020) or two (2021). These loops count the first token and write
one <eos>, so that all loops compute the same loss. The words "person 1: " before a persona (2020) are left out.
This module has no command line: bench/train_speed.py and bench/same_quality.py import it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder

Item = tuple[Tensor, Tensor]  # context (T,), labels (n,) with each <eos>

DIALOGUES_PER_BATCH, BATCHES_PER_STEP, PAIRS_PER_STEP = 1, 8, 64


def dialogue_pairs(dataset: PersonaChatDataset, indices: Iterable[int]) -> Iterator[Item]:
    """Yield the (context, response) pairs of the sequences `indices`: the items of 2021."""
    for index in indices:
        tokens, spans = dataset.sequence(index)
        for start, end in spans:
            yield torch.from_numpy(tokens[:start]), torch.from_numpy(tokens[start:end])


def whole_dialogues(dataset: PersonaChatDataset, encoder: Encoder, dialogues: Iterable[int]) -> Iterator[Item]:
    """Yield (both personas, whole talk) of each of `dialogues` that has one sequence a side: the items of 2020."""
    for dialogue in dialogues:
        sides = [dataset.sequence(index)[0] for index in np.flatnonzero(dataset.tensors.dialogues == dialogue)]
        if [tokens[0] for tokens in sides] != encoder.speakers:  # cut, because it is longer than the context
            continue
        starts = [int(np.argmax(tokens == encoder.start)) for tokens in sides]
        personas = [tokens[:start] for tokens, start in zip(sides, starts, strict=True)]
        talk = max((tokens[start + 1 :] for tokens, start in zip(sides, starts, strict=True)), key=len)
        yield torch.from_numpy(np.concatenate([*personas, [encoder.start]])), torch.from_numpy(talk)


def pair_nll(model: PreTrainedModel, context: Tensor, response: Tensor) -> Tensor:
    """Return the negative log-likelihood (n,) of each token of `response` (n,) after `context` (T,)."""
    # As in the original, this pass computes the logits of the whole context, although nothing reads them.
    context_pass = model(context[None], use_cache=True, output_hidden_states=True)
    first = model.lm_head(context_pass.hidden_states[-1][:, -1:])  # (1, 1, V)
    logits = model(response[None], past_key_values=context_pass.past_key_values, use_cache=True).logits  # (1, n, V)
    logits = torch.cat([first, logits[:, :-1]], dim=1)[0]
    return torch.nn.functional.cross_entropy(logits.float(), response, reduction="none")


def batch_nll(model: PreTrainedModel, items: list[Item]) -> Tensor:
    """Return the negative log-likelihood (N,) of all label tokens of `items`, padded to a batch of B."""
    contexts, labels = zip(*items, strict=True)
    context, context_mask = _padded(contexts)  # (B, T)
    label, label_mask = _padded(labels)  # (B, n)
    lengths = context_mask.sum(1, keepdim=True)  # (B, 1)
    positions = torch.arange(context.shape[1], device=context.device).expand_as(context)
    context_pass = model(
        context, attention_mask=context_mask, position_ids=positions, use_cache=True, output_hidden_states=True
    )
    last = context_pass.hidden_states[-1][torch.arange(len(items)), lengths[:, 0] - 1]  # (B, C)
    logits = model(
        label,
        attention_mask=torch.cat([context_mask, label_mask], dim=1),
        position_ids=lengths + torch.arange(label.shape[1], device=label.device),
        past_key_values=context_pass.past_key_values,
        use_cache=True,
    ).logits  # (B, n, V)
    logits = torch.cat([model.lm_head(last[:, None]), logits[:, :-1]], dim=1)
    nll = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), label.flatten(), reduction="none")
    return nll[label_mask.flatten().bool()]


def _padded(rows: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Return the rows padded on the right with 0, and a mask that is 1 where they have a token; both (B, longest)."""
    return pad_sequence(list(rows), True), pad_sequence([torch.ones_like(row) for row in rows], True)


def train_pairs(
    model: PreTrainedModel, pairs: Iterable[Item], learn_rate: float, per_step: int = PAIRS_PER_STEP, steps: int = 0
) -> Iterator[list[Item]]:
    """Train as in 2021 on `pairs`, and yield the pairs of each step. Pairs that do not fill a last step are left out.

    The learning rate decays linearly to 0 over `steps`. With `steps` 0 it stays the same.
    """
    batches = ([pair] for pair in pairs)
    return _train(model, batches, lambda batch: pair_nll(model, *batch[0]), learn_rate, per_step, steps)


def train_dialogues(
    model: PreTrainedModel, dialogues: Iterable[Item], learn_rate: float, batch_size: int = DIALOGUES_PER_BATCH
) -> Iterator[list[Item]]:
    """Train as in 2020 on `dialogues`, and yield the dialogues of each step of BATCHES_PER_STEP batches."""
    rest = iter(dialogues)
    batches = iter(lambda: list(itertools.islice(rest, batch_size)), [])
    return _train(model, batches, lambda batch: batch_nll(model, batch), learn_rate, BATCHES_PER_STEP, 0)


def _train(
    model: PreTrainedModel,
    batches: Iterable[list[Item]],
    nll: Callable[[list[Item]], Tensor],
    learn_rate: float,
    per_step: int,
    steps: int,
) -> Iterator[list[Item]]:
    """Take a step after every `per_step` batches, on the mean over batches of the mean over a batch's labels."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learn_rate, eps=1e-8, weight_decay=0.0)
    model.train()
    seen: list[Item] = []
    for number, batch in enumerate(batches, 1):
        loss = nll([(context.to(model.device), labels.to(model.device)) for context, labels in batch]).mean()
        (loss / per_step).backward()
        seen += batch
        if number % per_step == 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            if steps:
                optimizer.param_groups[0]["lr"] = learn_rate * max(0, steps - number // per_step + 1) / steps
            optimizer.step()
            optimizer.zero_grad()
            yield seen
            seen = []
