"""Loading a base model and its tokenizer, and the exact replacements that make GPT-2's forward pass faster."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from personagpt.errors import UserError
from personagpt.sequences.format import add_special_tokens

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
huggingface_hub.logging.set_verbosity_error()  # it tells of every retry; what it comes to is told below
# The tokenizer's threads live in Rust; without this a later fork (a data loader, a test) makes it warn.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

# What every model is made as. hidden_states gives no mask; of the library's attentions, sdpa is then still causal.
KIND = {"dtype": torch.float32, "attn_implementation": "sdpa", "trust_remote_code": False}


class ModelError(UserError):
    """A base model or checkpoint that cannot be loaded or is not a GPT-2."""


def load_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """The fast tokenizer of the folder or hub model `name`, with the persona tokens. Raises ModelError."""
    return add_special_tokens(load_bare_tokenizer(name))


def load_bare_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """The fast tokenizer of `name` as it is published."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # whatever a damaged or foreign folder makes the library raise, the user gets a line
        raise _unusable(name, "tokenizer", error) from None
    if not tokenizer.is_fast or tokenizer.eos_token_id is None or len(tokenizer) < 2:
        raise ModelError(
            f"{name}: no usable fast tokenizer with an end token there (vocab.json and merges.txt missing?)"
        )
    return tokenizer


def load_config(name: str) -> transformers.GPT2Config:
    """The configuration of `name`. Raises ModelError where it is no GPT-2."""
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except Exception as error:
        raise _unusable(name, "config.json", error) from None
    if config.model_type != "gpt2":
        raise ModelError(f"{name}: its model type is {config.model_type!r}; expected a GPT-2 such as DialoGPT")
    return config


def load_model(name: str, vocabulary: int, init: str = "pretrained", seed: int = 0) -> PreTrainedModel:
    """GPT-2 in float32 on the CPU, with at least `vocabulary` embedding rows; new rows are drawn under `seed`.

    `init` "random" draws all weights under `seed` from the folder's configuration. Raises ModelError.
    """
    config = load_config(name)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, **KIND) if init == "random" else _load_weights(name)
    if model.get_input_embeddings().num_embeddings < vocabulary:
        # The seed again: what loading drew must not matter. Rows are drawn as GPT-2's were, from N(0, 0.02).
        torch.manual_seed(seed)
        model.resize_token_embeddings(vocabulary, mean_resizing=False)
    return model


def _load_weights(name: str) -> PreTrainedModel:
    try:
        # Weights published only as .bin are read with torch.load(weights_only=True): nothing in them can run.
        model, info = AutoModelForCausalLM.from_pretrained(name, output_loading_info=True, **KIND)
    except MemoryError:
        raise
    except Exception as error:
        raise _unusable(name, "weights", error) from None
    if info["missing_keys"]:
        raise ModelError(
            f"{name}: its weights lack {sorted(info['missing_keys'])[0]} (damaged, or another architecture?)"
        )
    return model


def _unusable(name: str, part: str, error: Exception) -> ModelError:
    reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
    if Path(name).is_dir():
        return ModelError(f"{name}: cannot load its {part}: {reason}")
    return ModelError(
        f"model_name {name!r}: cannot load its {part} from the model hub: {reason} (is the name right, and this "
        "machine online? a folder works too: start its path with ./)"
    )


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
    the positions: compiled, it then makes a (B, 1, T, T) mask, which rules out flash attention; else it waits for the GPU.
    """
    gpt2 = model.transformer
    positions = torch.arange(input_ids.shape[1], device=input_ids.device)
    hidden = gpt2.drop(gpt2.wte(input_ids) + gpt2.wpe(positions))
    for block in gpt2.h:
        hidden = block(hidden)
    return gpt2.ln_f(hidden)
