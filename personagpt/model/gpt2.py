"""GPT-2's forward pass, and exact replacements of its parts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


def replace_modules(model: nn.Module, kind: type[nn.Module], make: Callable[[nn.Module], nn.Module]) -> None:
    """Put make(module) in the place of every module of `kind` in `model`."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, kind):
                setattr(parent, name, make(child))


def use_fused_gelu(model: PreTrainedModel) -> None:
    """Compute GPT-2's tanh-approximated GELU in one kernel in place of eight elementwise ones: the same function."""
    if model.config.activation_function == "gelu_new":
        for block in model.transformer.h:
            block.mlp.act = torch.nn.GELU(approximate="tanh")


def hidden_states(model: PreTrainedModel, input_ids: Tensor, rows: Tensor) -> Tensor:
    """GPT-2's last hidden states (N, C) for input_ids (B, T), of which only the right end may be padding.

    `rows` (N,) says where: indices into the flattened (B * T).

    No mask: padding is where a causal model never looks. The library's own forward pass looks for packed sequences in
    the positions. Compiled, it then makes a (B, 1, T, T) mask, which rules out flash attention; otherwise it waits for
    the GPU.
    """
    gpt2 = model.transformer
    positions = torch.arange(input_ids.shape[1], device=input_ids.device)
    hidden = gpt2.drop(gpt2.wte(input_ids) + gpt2.wpe(positions))
    for block in gpt2.h[:-1]:
        hidden = block(hidden)
    return gpt2.ln_f(last_block(gpt2.h[-1], hidden, rows))


def last_block(block: nn.Module, hidden: Tensor, rows: Tensor) -> Tensor:
    """What `block` makes of hidden (B, T, C) at `rows` (N,) of the flattened (B * T) -> (N, C).

    All positions are looked at, so keys and values are those of all. Nobody looks at this block's own output, so what
    comes after attention is computed only where it is wanted. Without checkpointing: the backward pass starts here.
    """
    attention = block.attn
    query, key, value = (  # (B, H, T, D)
        part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for part in attention.c_attn(block.ln_1(hidden)).chunk(3, dim=-1)
    )
    attend = ALL_ATTENTION_FUNCTIONS[attention.config._attn_implementation]
    dropout = attention.attn_dropout.p if attention.training else 0.0
    attended, _ = attend(attention, query, key, value, None, dropout=dropout, scaling=attention.scaling)  # (B, T, H, D)
    attended, hidden = (states.reshape(-1, hidden.shape[-1]).index_select(0, rows) for states in (attended, hidden))
    hidden = hidden + attention.resid_dropout(attention.c_proj(attended))
    return hidden + block.mlp(block.ln_2(hidden))
