"""Load a base model and its tokenizer to train on, or a trained model to use."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import torch
import transformers
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils.hub import cached_file

from personagpt.device import autocast, configure_cuda, pick_device, resolve_precision
from personagpt.errors import UserError
from personagpt.files import read_json
from personagpt.model.decoders import context_length, find_obstacle
from personagpt.model.folders import MANIFEST, STATE, find_model, named_model
from personagpt.model.gpt2 import use_fused_gelu
from personagpt.model.held_weights import hold_weights, needs_autocast
from personagpt.model.tokenizer import as_published, lost_text
from personagpt.output import say, warn
from personagpt.sequences.format import SPECIAL_TOKENS, Encoder, add_special_tokens
from personagpt.settings import Settings
from personagpt.text.style import STYLE, Style, read_style

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")

# How every model is made. The library then chooses the attention, for GPT-2 always sdpa, which the forward pass of this
# repository needs: sdpa is causal without a mask.
MODEL_OPTIONS = {"dtype": torch.float32, "trust_remote_code": False}


class ModelError(UserError):
    """A base model or checkpoint that cannot be loaded or cannot be a base."""


def quiet_libraries() -> None:
    """Let the libraries that load models print no warnings and bars. An error here says what matters of them."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    huggingface_hub.logging.set_verbosity_error()  # else it warns of every retry


def load_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """Return the fast tokenizer of the folder or hub model `name`, with the persona tokens. Raises UserError.

    Warns where text does not come back from its ids.
    """
    tokenizer = add_special_tokens(load_bare_tokenizer(name))
    if line := lost_text(name, tokenizer):
        warn(f"warning: {line}")
    return tokenizer


def load_bare_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """Return the fast tokenizer of `name` as it was published, but with padding on the left. Raises ModelError.

    A tokenizer without an end token gets one, as `as_published` says.
    """
    quiet_libraries()
    try:
        say_if_fetched(name, "tokenizer", "tokenizer.json", "vocab.json")
        # The library's `generate` goes on after a batch's last column, which must be a token of every chat. Only a
        # side that is given here is saved. The batches of this repository are padded without the tokenizer.
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left", trust_remote_code=False)
        if tokenizer.is_fast:
            tokenizer = as_published(name, tokenizer)
    except Exception as error:  # a damaged or foreign folder makes the library raise anything; the user gets a line
        raise _unusable(name, "tokenizer", error) from None
    if not tokenizer.is_fast or tokenizer.eos_token_id is None or len(tokenizer) < 2:
        raise ModelError(
            f"{name}: no usable fast tokenizer with an end token: it needs a tokenizer.json, or vocab.json and "
            "merges.txt, or vocab.txt, and an eos_token (or sep_token) in its tokenizer_config.json"
        )
    return tokenizer


def knows_format(name: str) -> bool:
    """Return whether the model `name` was trained on persona dialogues before: its own tokenizer has the tokens."""
    return set(SPECIAL_TOKENS) <= set(load_bare_tokenizer(name).get_vocab())


def load_config(name: str) -> PreTrainedConfig:
    """Return the configuration of `name`. Raises ModelError where it is no causal language model's."""
    quiet_libraries()
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except Exception as error:
        raise _unusable(name, "config.json", error) from None
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.is_encoder_decoder:
        raise ModelError(
            f"{name}: its model type is {config.model_type!r}; expected a causal language model such as DialoGPT "
            "(a GPT-2) or SmolLM2 (a Llama)"
        )
    if not hasattr(config.get_text_config(), "max_position_embeddings"):
        raise ModelError(f"{name}: its config.json does not say how many tokens the model reads; choose another model")
    for key, value in config.to_dict().items():
        if ("dropout" in key or key.endswith("pdrop")) and isinstance(value, int | float) and not 0 <= value < 1:
            raise ModelError(f"{name}: its config.json has {key} = {value}; expected 0 to below 1")
    return config


def load_model(name: str, vocabulary: int, seed: int = 0) -> PreTrainedModel:
    """Return the model of the folder or hub name `name`, in float32 on the CPU, with the weights kept there.

    It has at least `vocabulary` embedding rows. New rows lie about the mean of the rows that are there, drawn under
    `seed` (Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models"): rows far from the others
    make the first gradients many times as long. Raises ModelError.
    """
    load_config(name)
    return _checked(_with_rows(_load_weights(name), vocabulary, seed, like_mean=True), name)


def draw_model(name: str, vocabulary: int, seed: int) -> PreTrainedModel:
    """Return a model as the configuration of `name` describes it, with all weights drawn under `seed`.

    It is what `load_model` returns, apart from the weights. Raises ModelError.
    """
    config = load_config(name)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, **MODEL_OPTIONS)
    return _checked(_with_rows(model, vocabulary, seed, like_mean=False), name)


def _with_rows(model: PreTrainedModel, vocabulary: int, seed: int, like_mean: bool) -> PreTrainedModel:
    """Add embedding rows to `model` until it has `vocabulary`: near the mean of its rows, or drawn as its rows were."""
    if model.get_input_embeddings().num_embeddings < vocabulary:
        torch.manual_seed(seed)  # what loading drew must not matter
        model.resize_token_embeddings(vocabulary, mean_resizing=like_mean)
    return model


def _checked(model: PreTrainedModel, name: str) -> PreTrainedModel:
    """Return `model`. Raises ModelError where the forward passes of this repository do not compute what it computes."""
    try:
        obstacle = find_obstacle(model)
    except Exception as error:  # another kind of network: no cache of keys and values, no positions
        obstacle = str(error).strip().split("\n", 1)[0]
    if obstacle:
        raise ModelError(
            f"{name}: a {model.config.model_type} model cannot be the base: {obstacle}; choose another model"
        )
    return model


def _load_weights(name: str) -> PreTrainedModel:
    try:
        say_if_fetched(name, "weights", *WEIGHTS)
        # The library reads a .bin with torch.load(weights_only=True), so no code in it runs.
        model, info = AutoModelForCausalLM.from_pretrained(name, output_loading_info=True, **MODEL_OPTIONS)
    except MemoryError:
        raise
    except Exception as error:
        raise _unusable(name, "weights", error) from None
    if info["missing_keys"]:
        raise ModelError(
            f"{name}: its weights lack {sorted(info['missing_keys'])[0]} (damaged, or another architecture?)"
        )
    # A second head beside the language model's is of no use here. A layer that config.json leaves out is.
    if unused := sorted(key for key in info["unexpected_keys"] if key.startswith(f"{model.base_model_prefix}.")):
        raise ModelError(f"{name}: its config.json has no place for the weights {unused[0]} (edited, or damaged?)")
    return model


def say_if_fetched(name: str, part: str, *files: str) -> None:
    """Print that `part` of a hub model comes from the network, unless this machine has one of `files`."""
    kept = (huggingface_hub.try_to_load_from_cache(name, file) for file in files)
    if not Path(name).is_dir() and not any(isinstance(path, str) for path in kept):
        say(f"fetching {name}'s {part} from the hub ...")


def _unusable(name: str, part: str, error: Exception) -> ModelError:
    reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
    if Path(name).is_dir():
        return ModelError(f"{name}: cannot load its {part}: {reason}")
    return ModelError(
        f"model_name {name!r}: cannot load its {part} from the model hub: {reason} (is the name right, and this "
        "machine online? a folder works too: start its path with ./)"
    )


@dataclass
class TrainedModel:
    """A model that speaks the format, on its device and in evaluation mode."""

    name: str  # a folder's path, or a hub name
    folder: Path | None  # where it was read: `name` with its links resolved; None for a hub name
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    encoder: Encoder
    precision: str  # of its matrix products: fp32, bf16 or fp16
    checksum: str  # of its weights
    step: int | None  # the optimizer step after which a run saved it; None: no run of this repository did
    style: Style | None = None  # how its training text is written, where a file beside the model says so
    knows_format: bool = True  # False: a base that was never trained on personas

    @property
    def context_length(self) -> int:
        """How many tokens the model can read."""
        return context_length(self.model.config)

    @property
    def goals(self) -> list[str] | None:
        """The goals that the model was trained with; None if its config.json does not say."""
        return recorded_goals(self.model.config)

    @property
    def autocast(self) -> AbstractContextManager:
        """A new context for forward passes, because threads cannot share one."""
        if not needs_autocast(self.model):
            return contextlib.nullcontext()
        return autocast(self.precision, self.model.device)


def recorded_goals(config: PreTrainedConfig) -> list[str] | None:
    """Return the goals that a model was trained with; None if its configuration does not say."""
    goals = getattr(config, "goals", None)
    return goals if isinstance(goals, list) else None


def load(model: str | Path, precision: str = "auto") -> TrainedModel:
    """Return the model of a folder, such as save/checkpoint/model, or of the hub, such as af1tang/personaGPT.

    `precision` is as in .env: auto, fp32, bf16 or fp16. Raises UserError where there is no such model.
    """
    if precision not in (allowed := ("auto", "fp32", "bf16", "fp16")):
        raise UserError(f"precision {precision!r}: expected {', '.join(allowed)}")
    return _read_unchanging(str(model), precision)


def load_trained(wanted: str | None, settings: Settings) -> TrainedModel:
    """Return the model of the folder or hub name `wanted`; None stands for the last checkpoint. Raises UserError."""
    return _read_unchanging(find_model(wanted, settings), settings.precision)


def load_reader(wanted: str | None, settings: Settings) -> TrainedModel:
    """Return what `load_trained` does, or a base that was never trained on personas: it reads text all the same."""
    return _read_unchanging(find_model(wanted, settings), settings.precision, any_base=True)


def _read_unchanging(wanted: str, precision: str, any_base: bool = False) -> TrainedModel:
    """Return the model of a folder or hub name, all of its files from one checkpoint.

    A training run that goes on meanwhile moves the link to a newer checkpoint, and later removes the old one. So the
    link is followed once, for all files. Where a file vanished while the files were read, the link is followed again.
    """
    while True:
        name = named_model(wanted)
        if not Path(name).is_dir():
            return _read_trained(name, None, precision, any_base)
        folder, failure = Path(name).resolve(), None
        before = _file_names(folder)
        try:
            trained = _read_trained(name, folder, precision, any_base)
        except Exception as error:
            failure = error
        if folder.is_dir() and before <= _file_names(folder):
            if failure:
                raise failure
            return trained


def _file_names(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()


def _read_trained(name: str, folder: Path | None, precision: str, any_base: bool) -> TrainedModel:
    place = str(folder or name)
    tokenizer = load_bare_tokenizer(place)
    missing = [token for token in SPECIAL_TOKENS if token not in tokenizer.get_vocab()]
    config = load_config(place)
    if not (any_base and missing) and (missing or config.vocab_size < len(tokenizer)):
        reason = f"its tokenizer has no {missing[0]}" if missing else "too few embeddings"
        raise ModelError(
            f"{name}: not trained on personas ({reason}): set model_name to it, run preprocess_dataset.py "
            "and train.py, then use save_path/checkpoint/model"
        )
    add_special_tokens(tokenizer)  # adds none: marks the persona tokens special, which a published tokenizer may not
    device = pick_device()
    configure_cuda()
    model, precision = load_model(place, len(tokenizer)).to(device).eval(), usable_precision(precision, device)
    use_fused_gelu(model)
    hold_weights(model, precision)
    step = (read_json(Path(place) / STATE) or {}).get("step")
    return TrainedModel(
        name,
        folder,
        model,
        tokenizer,
        Encoder(tokenizer),
        precision,
        weights_checksum(place),
        step if isinstance(step, int) else None,
        read_style(_style_folder(name, folder)),
        knows_format=not missing,
    )


def _style_folder(name: str, folder: Path | None) -> Path | None:
    """Return the folder of a model's style.json, of a hub model in the library's cache; None where it has none."""
    if folder is not None:
        return folder
    path = cached_file(
        name,
        STYLE,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return Path(path).parent if path else None


def usable_precision(name: str, device: torch.device) -> str:
    """Return the training's precision where `device` has it, else its own: an fp16 model also talks on a laptop."""
    name = "fp16" if name.startswith("apex") else name
    return resolve_precision("auto" if name == "fp16" and device.type != "cuda" else name, device)


def weights_checksum(name: str) -> str:
    """Return a hub model's commit, or the SHA-256 of a folder's weights: its manifest's, else computed."""
    folder = Path(name)
    if not folder.is_dir():
        config = huggingface_hub.try_to_load_from_cache(name, "config.json")  # .../snapshots/COMMIT/config.json
        return Path(config).parent.name
    weights = folder / "model.safetensors"
    if weights.is_file():
        with contextlib.suppress(KeyError, TypeError):  # no manifest, or a file that only has its name
            listed = read_json(folder / MANIFEST)["files"][weights.name]["sha256"]
            if re.fullmatch("[0-9a-f]{64}", listed):
                return listed
    total = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
        with open(path, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
