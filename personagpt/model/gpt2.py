"""GPT-2's forward pass, exact replacements of its parts, and its evaluation mode."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import DynamicCache, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch `model` to evaluation mode while open; afterwards, also after an error, restore its mode."""
    was_training = model.training
    if was_training:  # else nothing is written: several threads may use one model
        model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()


def replace_modules(model: nn.Module, kind: type[nn.Module], make: Callable[[nn.Module], nn.Module]) -> None:
    """Replace every module of `kind` in `model` by make(module)."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, kind):
                setattr(parent, name, make(child))


def use_fused_gelu(model: PreTrainedModel) -> None:
    """Compute GPT-2's tanh-approximated GELU in one kernel instead of eight elementwise ones: the same function."""
    if model.config.model_type == "gpt2" and model.config.activation_function == "gelu_new":
        for block in model.transformer.h:
            block.mlp.act = torch.nn.GELU(approximate="tanh")


def hidden_states(model: PreTrainedModel, input_ids: Tensor, rows: Tensor, branches: Tensor | None = None) -> Tensor:
    """Return GPT-2's last hidden states (N, C) for input_ids (B, T), which may be padded on the right only.

    `rows` (N,) are the wanted rows of the flattened (B * T), `branches` (B, T) a Batch's.

    Without branches no mask is needed, because a causal model never looks at padding to its right. The library's own
    forward pass looks for packed sequences in the positions. Compiled, that makes a (B, 1, T, T) mask, which rules out
    flash attention; uncompiled, it waits for the GPU.
    """
    gpt2 = model.transformer
    positions, mask = torch.arange(input_ids.shape[1], device=input_ids.device), None
    if branches is not None:
        mask = visible(branches)
        # A token's position counts what it sees. Padding may pass the last position, and nobody reads it.
        positions = (mask[:, 0].sum(2) - 1).clamp(max=len(gpt2.wpe.weight) - 1)  # (B, T)
    hidden = gpt2.drop(gpt2.wte(input_ids) + gpt2.wpe(positions))
    for block in gpt2.h[:-1]:
        hidden = block(hidden, attention_mask=mask)
    return gpt2.ln_f(last_block(gpt2.h[-1], hidden, rows, mask))


def visible(branches: Tensor) -> Tensor:
    """Return which columns each token sees, (B, 1, T, T) bool: itself, and before it the context and its own branch."""
    own = (branches[:, None, :] == 0) | (branches[:, None, :] == branches[:, :, None])  # (B, T, T)
    return own.tril()[:, None]


def last_block(block: nn.Module, hidden: Tensor, rows: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the output of `block` for hidden (B, T, C) at `rows` (N,) of the flattened (B * T) -> (N, C).

    `mask` is `visible`'s.

    Keys and values are computed at all positions, because `rows` attend to all of them. No later block reads the other
    rows, so everything after attention is computed for `rows` only. No checkpointing here: the backward pass starts in
    this block.
    """
    attention = block.attn
    query, key, value = queries_keys_values(block, hidden)
    attend = ALL_ATTENTION_FUNCTIONS[attention.config._attn_implementation]
    dropout = attention.attn_dropout.p if attention.training else 0.0
    attended, _ = attend(attention, query, key, value, mask, dropout=dropout, scaling=attention.scaling)  # (B, T, H, D)
    attended, hidden = (states.reshape(-1, hidden.shape[-1]).index_select(0, rows) for states in (attended, hidden))
    hidden = hidden + attention.resid_dropout(attention.c_proj(attended))
    return hidden + block.mlp(block.ln_2(hidden))


def queries_keys_values(block: nn.Module, hidden: Tensor) -> list[Tensor]:
    """Return the queries, keys and values (B, H, T, D) of `block` for hidden (B, T, C)."""
    parts = block.attn.c_attn(block.ln_1(hidden)).chunk(3, dim=-1)
    return [part.unflatten(-1, (block.attn.num_heads, -1)).transpose(1, 2) for part in parts]


def decode(
    model: PreTrainedModel, input_ids: Tensor, positions: Tensor | None, mask: Tensor | None, cache: DynamicCache
) -> Tensor:
    """Return GPT-2's last hidden states (B, T, C), without dropout. The arguments are those of `decoders.decode`.

    A token passes 24 blocks of DialoGPT-medium in a few milliseconds, of which the library's own forward pass adds one.
    """
    gpt2, new, earlier = model.transformer, input_ids.shape[1], cache.get_seq_length()
    if positions is None:
        positions = torch.arange(earlier, earlier + new, device=input_ids.device)
    seen = None  # a single token sees all columns; the first tokens need no mask either, because sdpa is causal
    if mask is not None or (earlier and new > 1):
        seen = torch.ones(new, earlier + new, dtype=torch.bool, device=input_ids.device).tril(earlier)
        seen = seen if mask is None else seen & mask[:, None, None].bool()  # (B, 1, T, all columns so far)
    is_causal = seen is None and new > 1
    hidden = gpt2.wte(input_ids) + gpt2.wpe(positions)
    for number, block in enumerate(gpt2.h):
        query, key, value = queries_keys_values(block, hidden)
        keys, values = cache.update(key, value, number)
        attended = scaled_dot_product_attention(
            query, keys, values, seen, is_causal=is_causal, scale=block.attn.scaling
        )
        hidden = hidden + block.attn.c_proj(attended.transpose(1, 2).flatten(2))
        hidden = hidden + block.mlp(block.ln_2(hidden))
    return gpt2.ln_f(hidden)
