"""Loading a trained model to use it: to score it, to talk to it."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from personagpt.device import autocast, pick_device, resolve_precision
from personagpt.errors import UserError
from personagpt.model.cpu_products import use_cpu_products
from personagpt.model.loading import ModelError, load_bare_tokenizer, load_config, load_model, use_fused_gelu
from personagpt.sequences.format import SPECIAL_TOKENS, Encoder, add_special_tokens
from personagpt.settings import Settings
from personagpt.training.checkpoint import MANIFEST, STATE, read_state


@dataclass
class TrainedModel:
    """A model that speaks the format, on its device and in evaluation mode."""

    name: str  # a folder's path, or a hub name
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    encoder: Encoder
    autocast: AbstractContextManager
    checksum: str  # tells one model's weights from another's
    step: int | None  # the optimizer step it was saved at, where a run saved it

    @property
    def context(self) -> int:
        """How many tokens it can read."""
        return self.model.config.n_positions


def load_trained(wanted: str | None, settings: Settings) -> TrainedModel:
    """The model of the folder or hub name `wanted`; without one, the last checkpoint in `save_path`. Raises UserError."""
    name = find_model(wanted, settings)
    tokenizer = load_bare_tokenizer(name)
    missing = [token for token in SPECIAL_TOKENS if token not in tokenizer.get_vocab()]
    config = load_config(name)
    if missing or config.vocab_size < len(tokenizer):
        raise ModelError(
            f"{name}: not trained on personas ({'its tokenizer has no ' + missing[0] if missing else 'too few embeddings'}): "
            "set model_name to it, run preprocess_dataset.py and train.py, then use save_path/checkpoint/model"
        )
    add_special_tokens(tokenizer)  # nothing new: marks as special what a published tokenizer has as ordinary words
    device = pick_device()
    model = load_model(name, len(tokenizer)).to(device).eval()
    use_fused_gelu(model)
    use_cpu_products(model)
    context = autocast(_precision(settings.precision, device), device)
    saved = Path(name) / STATE
    step = read_state(Path(name))["step"] if saved.is_file() else None
    return TrainedModel(name, model, tokenizer, Encoder(tokenizer), context, _checksum(name, config), step)


def find_model(wanted: str | None, settings: Settings) -> str:
    """A folder's path, or a hub name. Raises UserError where it can be neither."""
    if wanted is None:
        link = settings.save_path / "checkpoint" / "model"
        if not link.is_dir():
            raise UserError(f"{link}: no trained model there yet; run train.py first, or name a model with --model")
        # The link and not what it points to: training beside us may remove that at any moment.
        return str(link)
    folder = Path(wanted).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(f"{wanted}: no model in this folder (config.json is missing)")
        return str(folder.absolute())  # as above: it may be a link of a run that goes on
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", wanted, re.ASCII):
        raise UserError(f"--model {wanted}: there is no such folder, and it is no hub name such as af1tang/personaGPT")
    return wanted


def _precision(name: str, device: torch.device) -> str:
    """The training's precision where this machine has it: a model trained in fp16 on a GPU also talks on a laptop."""
    name = "fp16" if name.startswith("apex") else name
    return resolve_precision("auto" if name == "fp16" and device.type != "cuda" else name, device)


def _checksum(name: str, config: object) -> str:
    """The hub's commit, or the SHA-256 of the weights: the one in the manifest, where there is one."""
    folder = Path(name)
    if not folder.is_dir():
        return str(getattr(config, "_commit_hash", None))
    weights = folder / "model.safetensors"
    if (folder / MANIFEST).is_file() and weights.is_file():
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"][weights.name]["sha256"]
    total = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
        with open(path, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
