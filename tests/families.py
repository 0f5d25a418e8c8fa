"""Tiny base models of other families than GPT-2, with random weights and the sample's vocabulary."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.helpers import SAMPLE

_SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 320}
_WIDE = _SIZE | {"intermediate_size": 48}
_GROUPED = _WIDE | {"num_key_value_heads": 2}
# Each has something that the others lack: shared keys and dropout of attention, a tied matrix and biases of attention,
# parallel blocks, learned positions with an offset and narrow embeddings, an output layer with a bias.
FAMILIES: dict[str, dict[str, object]] = {
    "llama": _GROUPED | {"attention_dropout": 0.1, "tie_word_embeddings": False},
    "qwen2": _GROUPED | {"tie_word_embeddings": True},
    "gpt_neox": _WIDE | {"hidden_dropout": 0.1, "attention_dropout": 0.1},
    "opt": _SIZE | {"ffn_dim": 48, "word_embed_proj_dim": 16, "dropout": 0.1},
    "phi": _WIDE,
}


def write_base(folder: Path, family: str, **changes: object) -> Path:
    """Write a base model of `family` to `folder`. Return `folder`."""
    shutil.copytree(SAMPLE / "base", folder)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    vocabulary = AutoConfig.from_pretrained(SAMPLE / "base").vocab_size
    tokens = {"vocab_size": vocabulary, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    config = AutoConfig.for_model(family, **FAMILIES.get(family, _WIDE), **tokens, initializer_range=0.3)
    for name, value in changes.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder
