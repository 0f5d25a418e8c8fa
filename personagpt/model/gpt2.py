"""GPT-2's forward pass, and exact replacements of its parts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


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


def hidden_states(model: PreTrainedModel, input_ids: Tensor) -> Tensor:
    """GPT-2's last hidden states (B, T, C) for input_ids (B, T), of which only the right end may be padding.

    No mask: padding is where a causal model never looks. The library's own forward pass looks for packed sequences in
    the positions. Compiled, it then makes a (B, 1, T, T) mask, which rules out flash attention; otherwise it waits for
    the GPU.
    """
    gpt2 = model.transformer
    positions = torch.arange(input_ids.shape[1], device=input_ids.device)
    hidden = gpt2.drop(gpt2.wte(input_ids) + gpt2.wpe(positions))
    for block in gpt2.h:
        hidden = block(hidden)
    return gpt2.ln_f(hidden)
