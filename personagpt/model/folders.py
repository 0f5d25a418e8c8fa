"""Where a trained model lies: the file names of a checkpoint, and the model that a user names.

This module imports nothing heavy, because a script looks for its model before it imports torch.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from personagpt.errors import UserError
from personagpt.settings import Settings

# The files that a training run leaves in a checkpoint's folder beside the model.
MANIFEST, STATE, OPTIMIZER = "manifest.json", "training_state.json", "optimizer.safetensors"


def find_model(wanted: str | None, settings: Settings, train_command: str = "train.py") -> str:
    """Return the model that the user asks for: the path of a folder, or a hub name. None asks for the last checkpoint.

    Raises UserError where there is no such model. `train_command` is the command that trains one.
    """
    if wanted is not None:
        return named_model(wanted, "--model ")
    link = settings.save_path / "checkpoint" / "model"
    if not link.is_dir():
        raise UserError(f"{link}: no trained model there yet; run `{train_command}` first, or name one with --model")
    # Return the link and not the folder that it points to, because a training that goes on may remove that folder.
    return str(link)


def named_model(wanted: str, option: str = "") -> str:
    """Return the absolute path of a model's folder, or its hub name. Raises UserError where `wanted` is neither."""
    folder = Path(wanted)
    with contextlib.suppress(RuntimeError):  # ~somebody who is no user here
        folder = folder.expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"{wanted}: no model in this folder (config.json is missing)")
        return str(folder.absolute())  # not resolved: the folder may be a link of a training that goes on
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", wanted, re.ASCII):
        raise UserError(f"{option}{wanted}: there is no such folder, and it is no hub name such as af1tang/personaGPT")
    return wanted
