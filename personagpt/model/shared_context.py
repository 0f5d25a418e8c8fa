"""A context computed once and continued in many ways: its keys and values serve every continuation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel

KeysAndValues = list[tuple[Tensor, Tensor]]  # of each layer, (B, H, T, D) for B contexts of T tokens


@torch.inference_mode()
def read_contexts(model: PreTrainedModel, contexts: list[list[int]]) -> tuple[Tensor, KeysAndValues]:
    """The hidden states (B, T, C) of B contexts of T tokens, and their keys and values."""
    ids = torch.tensor(contexts, device=model.device)
    output = model.transformer(ids, past_key_values=DynamicCache(config=model.config), use_cache=True)
    return output.last_hidden_state, [(layer.keys, layer.values) for layer in output.past_key_values.layers]


@torch.inference_mode()
def read_after(
    model: PreTrainedModel, contexts: KeysAndValues, which: Tensor, input_ids: Tensor, rows: Tensor
) -> Tensor:
    """The hidden states (N, C) at `rows` (N,) of the flattened (B * L) input_ids (B, L), each after its context.

    Of the contexts, all of one length, `which` (B,) says whose is whose. Only the right end may be padding.
    """
    gpt2, length = model.transformer, contexts[0][0].shape[2]
    positions = torch.arange(length, length + input_ids.shape[1], device=input_ids.device)
    hidden = gpt2.wte(input_ids) + gpt2.wpe(positions)
    future = torch.full((len(positions), length + len(positions)), -torch.inf, device=hidden.device).triu_(length + 1)
    for number, (block, pair) in enumerate(zip(gpt2.h, contexts, strict=True), 1):
        keys, values = (part.index_select(0, which) for part in pair)
        # Nobody looks at the last block's own output but at `rows`.
        hidden = _block_after(block, hidden, keys, values, future, rows if number == len(contexts) else None)
    return gpt2.ln_f(hidden)


def _block_after(
    block: nn.Module, hidden: Tensor, keys: Tensor, values: Tensor, future: Tensor, rows: Tensor | None
) -> Tensor:
    """GPT-2's block on hidden (B, L, C) after a context of keys and values (B, H, T, D) -> (B, L, C), or (N, C).

    `future` (L, T + L) is -inf where a position may not look, else 0.
    """
    attention = block.attn
    query, key, value = (  # (B, H, L, D)
        part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for part in attention.c_attn(block.ln_1(hidden)).chunk(3, dim=-1)
    )
    attended = functional.scaled_dot_product_attention(
        query,
        torch.cat([keys, key], 2),
        torch.cat([values, value], 2),
        attn_mask=future.to(query.dtype),
        scale=attention.scaling,
    )
    attended = attended.transpose(1, 2).flatten(2)  # (B, L, C)
    if rows is not None:
        attended, hidden = (states.flatten(0, 1).index_select(0, rows) for states in (attended, hidden))
    hidden = hidden + attention.c_proj(attended)
    return hidden + block.mlp(block.ln_2(hidden))
