"""Any decoder of the library as the base: its context, hidden states and output matrix, and the check of all three.

A decoder can be a base where its logits are its last hidden states times its output matrix. GPT-2 has a forward pass of
its own (gpt2.py), and every other decoder runs the library's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel

from personagpt.model import gpt2
from personagpt.model.gpt2 import evaluation_mode

LONGEST_CONTEXT = 2048  # tokens: a talk of Persona-Chat has at most about 500
AMPLIFIED = 1024  # by a power of two, so that products stay exact; a cap on logits shows at this size


def context_length(config: PreTrainedConfig) -> int:
    """Return how many tokens of a sequence the model reads: all its positions, at most LONGEST_CONTEXT."""
    return min(config.get_text_config().max_position_embeddings, LONGEST_CONTEXT)


def hidden_states(model: PreTrainedModel, input_ids: Tensor, rows: Tensor) -> Tensor:
    """Return the last hidden states (N, C) for input_ids (B, T), which may be padded on the right only.

    `rows` (N,) are the wanted rows of the flattened (B * T). Where the output layer has a bias, C counts one column of
    ones more, which `output_matrix` multiplies with the bias.
    """
    if model.config.model_type == "gpt2":
        return gpt2.hidden_states(model, input_ids, rows)
    positions = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
    hidden = decode(model, input_ids, positions).flatten(0, 1).index_select(0, rows)
    return for_output_matrix(model, hidden)


def decode(
    model: PreTrainedModel,
    input_ids: Tensor,
    positions: Tensor | None = None,
    mask: Tensor | None = None,
    cache: DynamicCache | None = None,
) -> Tensor:
    """Return the last hidden states (B, T, C) for input_ids (B, T).

    `positions` (B or 1, T) count from the first token. `mask` (B, all columns so far) is 0 where a sequence is padded.
    Keys and values of the T columns join `cache`.
    """
    if model.config.model_type == "gpt2" and cache is not None:
        return gpt2.decode(model, input_ids, positions, mask, cache)
    # Not the model's own forward pass, because apex turns its output into a plain dict.
    output = model.base_model(
        input_ids, position_ids=positions, attention_mask=mask, past_key_values=cache, use_cache=cache is not None
    )
    return output.last_hidden_state


def output_matrix(model: PreTrainedModel) -> Tensor:
    """Return the matrix (V, C) that makes logits of `hidden_states`: their product with its transpose."""
    head = model.get_output_embeddings()
    bias = getattr(head, "bias", None)
    return head.weight if bias is None else torch.cat([head.weight, bias[:, None]], dim=1)


def for_output_matrix(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Return hidden (N, C) for the product with `output_matrix`: a bias of the output layer needs a column of ones."""
    if getattr(model.get_output_embeddings(), "bias", None) is None:
        return hidden
    return torch.cat([hidden, hidden.new_ones(len(hidden), 1)], dim=1)


@torch.inference_mode()
def find_obstacle(model: PreTrainedModel) -> str | None:
    """Return why `model` cannot be a base, None where it can: compared with its own logits for a few tokens.

    Whatever the library raises for the tokens passes.
    """
    places = torch.arange(8, device=model.device)
    ids = places[None] % model.get_input_embeddings().num_embeddings  # (1, 8)
    seen: list[Tensor] = []

    def amplify(_: torch.nn.Module, __: tuple[Tensor], products: Tensor) -> Tensor:
        seen.append(products)
        return products * AMPLIFIED

    with evaluation_mode(model):
        hook = model.get_output_embeddings().register_forward_hook(amplify)
        try:
            logits = model(ids).logits
        finally:
            hook.remove()
        products, cache = seen[0][0], DynamicCache(config=model.config)  # (8, V)
        if not torch.equal(logits[0], products * AMPLIFIED):
            return "it scales or caps its logits after the output matrix"
        hidden = hidden_states(model, ids, places)
        parts = [decode(model, ids[:, part], places[None, part], None, cache) for part in (slice(5), slice(5, 8))]
    pieces = for_output_matrix(model, torch.cat(parts, dim=1)[0])
    for states, obstacle in (
        (hidden, "its logits are not its last hidden states times its output matrix"),
        (pieces, "a text read in two parts gives it other hidden states than the whole text"),
    ):
        error = (states @ output_matrix(model).T - products).abs().max()
        if not error <= 1e-3 * products.abs().max():  # float32 rounds some 1e-6 of it
            return obstacle
    return None
