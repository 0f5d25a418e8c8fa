"""Replies from a model: batched, after contexts made by `dialogue.Encoder.context`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from transformers import PreTrainedModel

from dialogue import Encoder

MAX_NEW_TOKENS = 40


def generate_replies(
    model: PreTrainedModel,
    encoder: Encoder,
    contexts: list[list[int]],
    autocast: AbstractContextManager,
    max_new_tokens: int = MAX_NEW_TOKENS,
    **sampling: Any,
) -> list[str]:
    """The reply to each context (token ids), greedy unless `sampling` says otherwise; a batch's replies equal single ones."""
    width = max(map(len, contexts))
    # Padded on the left, so that every context ends where generation begins; the mask hides the padding, and
    # generate() counts positions from it.
    ids = [[encoder.eos] * (width - len(context)) + context for context in contexts]
    mask = [[0] * (width - len(context)) + [1] * len(context) for context in contexts]
    was_training = model.training
    model.eval()
    with torch.inference_mode(), autocast:
        output = model.generate(
            torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=max_new_tokens,
            eos_token_id=encoder.eos,
            pad_token_id=encoder.eos,
            **({"do_sample": False} | sampling),
        )
    model.train(was_training)
    return [encoder.decode_reply(row[width:].tolist()) for row in output]
