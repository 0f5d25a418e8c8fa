"""`.env` -> one validated `Settings` object.

Reads a file in dotenv syntax (by default the `.env` beside the scripts) and the environment, in which a variable of
the same name wins: `epochs=1 python train.py`. Imports nothing heavy: a script checks its settings before torch.
"""

from __future__ import annotations

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

TEXT_NAMES = {split: f"{split}_both_original_no_cands.txt" for split in ("train", "valid")}
ENV_FILE = Path(__file__).resolve().parents[1] / ".env"


class SettingsError(UserError):
    """A setting that is missing, unknown, unreadable or out of range."""


@dataclass(frozen=True)
class ValueType:
    """How one setting is read: `parse` raises ValueError or KeyError on anything that is not `allowed`."""

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

    return ValueType(
        parse, f"a number {'above' if above else 'from'} {least:g} {'and at most' if above else 'to'} {most:g}"
    )


def choice(*names: str) -> ValueType:
    def parse(text: str) -> str:
        return {name.lower(): name for name in names}[text.lower()]

    return ValueType(parse, "one of " + ", ".join(names))


def flag() -> ValueType:
    return ValueType(lambda text: {"true": True, "false": False}[text.lower()], "True or False")


def folder() -> ValueType:
    def parse(text: str) -> str:
        if "\0" in text:
            raise ValueError
        return text

    return ValueType(parse, "a path")


def setting(value_type: ValueType, default: Any = None) -> Any:
    """A field of `Settings`; without a default the key is required."""
    return field(default=default, metadata={"type": value_type, "required": default is None})


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on. Paths are absolute; `model_name` is a folder's path or a hub name."""

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
    goals: str = setting(folder(), "")                     # a goals file: replies that can be asked for
    seed: int = setting(integer(0, 2**32 - 1), 42)
    precision: str = setting(choice("auto", "fp32", "bf16", "fp16", "apex-O1", "apex-O2"), "auto")
    compile: str = setting(choice("auto", "True", "False"), "auto")
    gradient_checkpointing: bool = setting(flag(), False)  # recompute activations: less memory, more time
    tensorboard: bool = setting(flag(), False)
    # fmt: on

    def plain(self) -> dict[str, Any]:
        """The settings as JSON holds them."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in vars(self).items()}

    def tensors(self, split: str) -> Path:
        """Where the tensors of `split` ("train" or "valid") are."""
        return self.save_path / f"{split}_data.safetensors"

    def text(self, split: str) -> Path:
        """Where the text of `split` ("train" or "valid") is."""
        return self.data_path / TEXT_NAMES[split]


VALUE_TYPES: dict[str, ValueType] = {
    name: spec.metadata["type"] for name, spec in Settings.__dataclass_fields__.items() if spec.metadata
}
REQUIRED = [name for name in VALUE_TYPES if Settings.__dataclass_fields__[name].metadata["required"]]


def read_settings(env_file: Path = ENV_FILE, environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings of `env_file`, each overridden by the variable of its name in `environ`.

    Raises SettingsError with one line that names file, line or key, value and what is allowed.
    """
    environ = os.environ if environ is None else environ
    env_file = Path(env_file)
    values: dict[str, Any] = {}
    for key, (text, line) in _read_file(env_file).items():
        values[key] = _checked(key, text, f"{env_file}:{line}", env_file.parent)
    for key in VALUE_TYPES:
        if key in environ:
            values[key] = _checked(key, environ[key], "environment variable", Path.cwd())
    missing = [key for key in REQUIRED if key not in values]
    if missing:
        allowed = VALUE_TYPES[missing[0]].allowed
        raise SettingsError(f"{env_file}: {', '.join(missing)} missing; add a line `{missing[0]} = ...` ({allowed})")
    return Settings(env_file=env_file.resolve(), **values)


def _read_file(env_file: Path) -> dict[str, tuple[str | None, int]]:
    """Each key of the file with its value (None where it has none) and its line number."""
    text = _decode(env_file)
    lines: dict[str, int] = {}
    for binding in parse_stream(io.StringIO(text)):
        # python-dotenv counts from the blank lines above a binding; the reader looks for the line with the key.
        written = binding.original.string
        line = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
        if binding.error:
            content = written.strip().split("\n", 1)[0]
            raise SettingsError(f"{env_file}:{line}: cannot read {content!r}; expected `key = value`, or `# comment`")
        if binding.key is None:
            continue
        if binding.key not in VALUE_TYPES:
            nearest = difflib.get_close_matches(binding.key.lower(), VALUE_TYPES, n=1, cutoff=0)[0]
            raise SettingsError(f"{env_file}:{line}: unknown key {binding.key!r}; the nearest known one is {nearest!r}")
        if binding.key in lines:
            raise SettingsError(
                f"{env_file}:{line}: {binding.key} is set twice, first on line {lines[binding.key]}; keep one of them"
            )
        lines[binding.key] = line
    values = dotenv_values(stream=io.StringIO(text))
    return {key: (values[key], line) for key, line in lines.items()}


def _decode(env_file: Path) -> str:
    try:
        raw = env_file.read_bytes()
    except FileNotFoundError:
        raise SettingsError(f"{env_file}: no such settings file; name one with --env FILE") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"{env_file}: cannot read this settings file: {reason}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SettingsError(
            f"{env_file}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8 text"
        ) from None


def _checked(key: str, text: str | None, where: str, base: Path) -> Any:
    """The value of `key`, parsed; relative paths start at `base`."""
    allowed = VALUE_TYPES[key].allowed
    if text is None or not text.strip():
        raise SettingsError(f"{where}: {key} has no value; expected {allowed}")
    try:
        value = VALUE_TYPES[key].parse(text.strip())
    except (ValueError, KeyError, OverflowError):
        raise SettingsError(f"{where}: {key} = {text!r} is not allowed; expected {allowed}") from None
    if key == "model_name":
        return _model_name(value, where, base)
    if key == "goals":
        return _goals(value, where, base)
    return _absolute(value, where, key, base) if key in ("save_path", "data_path") else value


def _absolute(text: str, where: str, key: str, base: Path) -> Path:
    try:
        path = (base / Path(text).expanduser()).resolve()
        str(path).encode()  # it goes into messages and files, which are UTF-8
    except UnicodeEncodeError:
        raise SettingsError(f"{where}: {key} = {text!r} is not a usable path: {str(path)!a} is not UTF-8") from None
    except (RuntimeError, OSError) as error:
        raise SettingsError(f"{where}: {key} = {text!r} is not a usable path: {error}") from None
    return path


def _goals(text: str, where: str, base: Path) -> str:
    path = _absolute(text, where, "goals", base)
    if not path.is_file():
        raise SettingsError(
            f"{where}: goals = {text!r}: there is no file {path}; expected a goals file (docs/goals.md)"
        )
    return str(path)


def _model_name(text: str, where: str, base: Path) -> str:
    """A folder's absolute path where there is one; else a hub name, unless the text can only mean a folder."""
    path = _absolute(text, where, "model_name", base)
    try:
        is_folder = path.is_dir()
    except OSError:
        is_folder = False
    if is_folder:
        return str(path)
    if text.startswith((".", "/", "~")):
        raise SettingsError(
            f"{where}: model_name = {text!r}: there is no folder {path}; expected a folder or a hub name"
        )
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", text, re.ASCII):
        raise SettingsError(f"{where}: model_name = {text!r} is neither a folder nor a hub name such as {_HUB_EXAMPLE}")
    return text


_HUB_EXAMPLE = Settings.__dataclass_fields__["model_name"].default


def find_model(wanted: str | None, settings: Settings, train_command: str = "train.py") -> str:
    """The trained model a user asked for: a folder's path, or a hub name; None asks for the run's last checkpoint.

    Raises UserError where it can be neither; `train_command` then says what makes one.
    """
    if wanted is None:
        link = settings.save_path / "checkpoint" / "model"
        if not link.is_dir():
            raise UserError(
                f"{link}: no trained model there yet; run `{train_command}` first, or name one with --model"
            )
        # The link and not what it points to: training beside us may remove that at any moment.
        return str(link)
    return named_model(wanted, "--model ")


def named_model(wanted: str, option: str = "") -> str:
    """A model's folder as an absolute path, or its hub name. Raises UserError where `wanted` can be neither."""
    folder = Path(wanted).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"{wanted}: no model in this folder (config.json is missing)")
        return str(folder.absolute())  # as above: it may be a link of a run that goes on
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", wanted, re.ASCII):
        raise UserError(f"{option}{wanted}: there is no such folder, and it is no hub name such as af1tang/personaGPT")
    return wanted
