"""`.env` -> one checked `Settings` object.

The file has dotenv syntax; by default it is the `.env` beside the scripts. A variable of the environment wins over the
key of the same name: `epochs=1 python train.py`. This module imports nothing heavy, because a script checks its
settings before it imports torch.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from personagpt.errors import UserError
from personagpt.files import read_text

TEXT_NAMES = {split: f"{split}_both_original_no_cands.txt" for split in ("train", "valid")}
ENV_FILE = Path(__file__).resolve().parents[1] / ".env"
PATHS = (
    "env_file",
    "save_path",
    "data_path",
    "model_name",
    "goals",
    "preferences",
)  # the settings that hold paths of this machine

FILES = {
    "goals": "a goals file (docs/goals.md)",
    "preferences": "preferences, JSON lines as `interact.py --export` writes them (docs/learn.md)",
}


@dataclass(frozen=True)
class ValueType:
    """How the text of a setting is read. `parse` raises ValueError or KeyError where the text is not `allowed`."""

    parse: Callable[[str], Any]
    allowed: str


def integer(least: int, most: int = 10**9) -> ValueType:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return ValueType(parse, f"a whole number from {least} to {most}")


def real(least: float, most: float, above: bool = False) -> ValueType:
    def parse(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or not least <= value <= most or (above and value == least):
            raise ValueError
        return value

    bounds = f"above {least:g} and at most {most:g}" if above else f"from {least:g} to {most:g}"
    return ValueType(parse, f"a number {bounds}")


def choice(*names: str) -> ValueType:
    return ValueType(lambda text: {name.lower(): name for name in names}[text.lower()], "one of " + ", ".join(names))


def flag() -> ValueType:
    return ValueType(lambda text: {"true": True, "false": False}[text.lower()], "True or False")


def folder() -> ValueType:
    def parse(text: str) -> str:
        if "\0" in text:
            raise ValueError
        return text

    return ValueType(parse, "a path")


def setting(value_type: ValueType, default: Any = None) -> Any:
    """Return a field of `Settings`. A key without a default is required."""
    return field(default=default, metadata={"type": value_type, "required": default is None})


@dataclass(frozen=True)
class Settings:
    """All settings of a run. Paths are absolute. `model_name` is the path of a folder, or a hub name."""

    env_file: Path
    # fmt: off
    save_path: Path = setting(folder())                    # logs, checkpoints, tensors
    data_path: Path = setting(folder())                    # the ConvAI2 text files
    epochs: int = setting(integer(1))                      # passes over the training sequences
    learn_rate: float = setting(real(0, 1, above=True))    # peak; decays linearly to 0
    gradient_accumulation_steps: int = setting(integer(1)) # forward passes per optimizer step
    batch_size: int = setting(integer(1))                  # sequences per forward pass and process
    weight_decay: float = setting(real(0, 1))              # AdamW's; none on biases and LayerNorm
    logging_steps: int = setting(integer(1))               # optimizer steps per row of loss.csv
    save_steps: int = setting(integer(1))                  # optimizer steps per checkpoint
    model_name: str = setting(folder(), "microsoft/DialoGPT-medium")
    init: str = setting(choice("pretrained", "random"), "pretrained")
    warmup_steps: int = setting(integer(0), 0)             # steps of linear warm-up
    max_grad_norm: float = setting(real(0, 1e9, above=True), 1.0)
    max_turns: int = setting(integer(1), 20)               # utterances used of a dialogue
    shuffle_facts: bool = setting(flag(), False)           # a persona's facts in another order in each epoch
    goals: str = setting(folder(), "")                     # a goals file: replies that can be asked for
    preferences: str = setting(folder(), "")               # pairs of replies, one better than the other
    preference_weight: float = setting(real(0, 1000), 1.0) # of their loss beside that of the sequences; 0: not learned
    preference_beta: float = setting(real(0, 100, above=True), 0.1)
    seed: int = setting(integer(0, 2**32 - 1), 42)
    precision: str = setting(choice("auto", "fp32", "bf16", "fp16", "apex-O1", "apex-O2"), "auto")
    compile: str = setting(choice("auto", "True", "False"), "auto")
    gradient_checkpointing: bool = setting(flag(), False)  # recompute activations: less memory, more time
    tensorboard: bool = setting(flag(), False)
    # fmt: on

    def plain(self) -> dict[str, Any]:
        """Return the settings as JSON holds them."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in vars(self).items()}

    @property
    def learns_preferences(self) -> bool:
        return bool(self.preferences) and self.preference_weight > 0

    @property
    def preference_tensors(self) -> Path:
        return self.save_path / "preferences.safetensors"

    def tensors(self, split: str) -> Path:
        """Return the path of the tensors of `split` ("train" or "valid")."""
        return self.save_path / f"{split}_data.safetensors"

    def text(self, split: str) -> Path:
        """Return the path of the text of `split` ("train" or "valid")."""
        return self.data_path / TEXT_NAMES[split]


VALUE_TYPES: dict[str, ValueType] = {
    name: spec.metadata["type"] for name, spec in Settings.__dataclass_fields__.items() if spec.metadata
}
REQUIRED = [name for name in VALUE_TYPES if Settings.__dataclass_fields__[name].metadata["required"]]


def read_settings(env_file: Path = ENV_FILE, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of `env_file`. A variable in `environ` (default: os.environ) wins over the key of its name.

    Raises UserError with one line that names file, line or key, value and what is allowed.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for key, (text, line) in _read_file(env_file).items():
        values[key] = _checked(key, text, f"{env_file}:{line}", env_file.parent)
    for key in VALUE_TYPES.keys() & environ.keys():
        values[key] = _checked(key, environ[key], "environment variable", Path.cwd())
    missing = [key for key in REQUIRED if key not in values]
    if missing:
        allowed = VALUE_TYPES[missing[0]].allowed
        raise UserError(f"{env_file}: {', '.join(missing)} missing; add a line `{missing[0]} = ...` ({allowed})")
    return Settings(env_file=env_file.resolve(), **values)


def _read_file(env_file: Path) -> dict[str, tuple[str | None, int]]:
    """Return the value of each key in the file (None for a key without a value) and the number of its line."""
    if not env_file.exists():
        raise UserError(f"{env_file}: no such settings file; name one with --env FILE")
    text = read_text(env_file)
    lines: dict[str, int] = {}
    for binding in parse_stream(io.StringIO(text)):
        # python-dotenv counts from the blank lines above a binding. The user looks for the line with the key.
        source = binding.original.string
        line = binding.original.line + source[: len(source) - len(source.lstrip())].count("\n")
        place, key = f"{env_file}:{line}", binding.key
        if binding.error:
            content = source.strip().split("\n", 1)[0]
            raise UserError(f"{place}: cannot read {content!r}; expected `key = value`, or `# comment`")
        if key is None:
            continue
        if key not in VALUE_TYPES:
            nearest = difflib.get_close_matches(key.lower(), VALUE_TYPES, n=1, cutoff=0)[0]
            raise UserError(f"{place}: unknown key {key!r}; the nearest known one is {nearest!r}")
        if key in lines:
            raise UserError(f"{place}: {key} is set twice, first on line {lines[key]}; keep one of them")
        lines[key] = line
    values = dotenv_values(stream=io.StringIO(text))
    return {key: (values[key], line) for key, line in lines.items()}


def _checked(key: str, text: str | None, place: str, base: Path) -> Any:
    """Return the value of `key`. Relative paths start at `base`."""
    value_type = VALUE_TYPES[key]
    if text is None or not text.strip():
        raise UserError(f"{place}: {key} has no value; expected {value_type.allowed}")
    try:
        value = value_type.parse(text.strip())
    except (ValueError, KeyError):
        raise UserError(f"{place}: {key} = {text!r} is not allowed; expected {value_type.allowed}") from None
    if value_type.allowed != folder().allowed:
        return value
    path = _absolute(value, base, f"{place}: {key} = {value!r}")
    if key == "model_name":
        return _model_name(value, path, place)
    if key in FILES:
        if not path.is_file():
            raise UserError(f"{place}: {key} = {value!r}: there is no file {path}; expected {FILES[key]}")
        return str(path)
    return path


def _absolute(text: str, base: Path, setting: str) -> Path:
    try:
        path = (base / Path(text).expanduser()).resolve()
        str(path).encode()  # messages and files that hold the path are UTF-8
    except UnicodeEncodeError:
        raise UserError(f"{setting} is not a usable path: {str(path)!a} is not UTF-8") from None
    except (RuntimeError, OSError) as error:
        raise UserError(f"{setting} is not a usable path: {error}") from None
    return path


def model_folder(folder: Path) -> Path:
    """Return the folder of a model: `folder`, or where that is a run's save_path, its newest checkpoint."""
    checkpoint = folder / "checkpoint" / "model"
    return checkpoint if checkpoint.is_dir() and not (folder / "config.json").is_file() else folder


def _model_name(text: str, path: Path, place: str) -> str:
    """Return the folder of the model if `path` is a folder, else the hub name `text`."""
    with contextlib.suppress(OSError):  # a name too long for the disk
        if path.is_dir():
            return str(model_folder(path).resolve())
    if text.startswith((".", "/", "~")):
        raise UserError(f"{place}: model_name = {text!r}: there is no folder {path}; expected a folder or a hub name")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", text, re.ASCII):
        raise UserError(
            f"{place}: model_name = {text!r} is neither a folder nor a hub name such as microsoft/DialoGPT-medium"
        )
    return text
