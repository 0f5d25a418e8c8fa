"""A context computed once and continued in many ways: its keys and values serve every continuation."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

KeysAndValues = list[tuple[Tensor, Tensor]]  # of each layer, (1, H, T, D)


@torch.inference_mode()
def read_context(model: PreTrainedModel, tokens: list[int]) -> tuple[Tensor, KeysAndValues]:
    """The hidden states (1, T, C) of a context of T tokens, and its keys and values."""
    ids = torch.tensor([tokens], device=model.device)
    output = model.transformer(ids, past_key_values=DynamicCache(config=model.config), use_cache=True)
    return output.last_hidden_state, [(layer.keys, layer.values) for layer in output.past_key_values.layers]


@torch.inference_mode()
def continue_context(model: PreTrainedModel, context: KeysAndValues, length: int, input_ids: Tensor) -> Tensor:
    """The hidden states (B, L, C) of continuations (B, L), each after the first `length` tokens of the context.

    Only their right end may be padding.
    """
    cache = DynamicCache(config=model.config)
    for number, pair in enumerate(context):
        keys, values = (part[:, :, :length].expand(len(input_ids), -1, -1, -1) for part in pair)
        cache.update(keys, values, number)
    return model.transformer(input_ids, past_key_values=cache, use_cache=True).last_hidden_state
