"""Where a trained model lies: the file names of a checkpoint, and the model that a user names.

This module imports nothing heavy, because a script looks for its model before it imports torch.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from personagpt.errors import UserError
from personagpt.files import expanded, read_json
from personagpt.settings import Settings, model_folder

# The files that a training run leaves in a checkpoint's folder beside the model.
MANIFEST, STATE, OPTIMIZER = "manifest.json", "training_state.json", "optimizer.safetensors"
NLI_LABELS = ("entailment", "neutral", "contradiction")
HUB_PATIENCE = 1.0  # seconds that a connection to the model hub may take


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
    """Return the absolute path of a model's folder, or its hub name. Raises UserError where `wanted` is neither.

    A run's save_path stands for its newest checkpoint.
    """
    folder = expanded(wanted)
    if folder.is_dir():
        folder = model_folder(folder.absolute())  # not resolved: it may be a link of a training that goes on
        if not (folder / "config.json").is_file():
            raise UserError(f"{wanted}: no model in this folder (config.json is missing)")
        return str(folder)
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", wanted, re.ASCII):
        raise UserError(f"{option}{wanted}: there is no such folder, and it is no hub name such as af1tang/personaGPT")
    _check_hub(wanted, option)
    return wanted


def find_classifier(wanted: str) -> str:
    """Return the absolute path of a folder, or the hub name, of a classifier of sentence pairs.

    Raises UserError where there is no such model, or its labels are not NLI_LABELS. The labels of a hub model that is
    not on this machine are checked when it is loaded.
    """
    name = named_model(wanted, "--nli ")
    config: Any = str(Path(name) / "config.json")
    if not Path(config).is_file():
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(name, "config.json")
    if isinstance(config, str):
        check_labels(wanted, (read_json(Path(config)) or {}).get("id2label"))
    return name


def check_labels(name: str, labels: Any) -> None:
    """Raise UserError unless `labels`, from the number to the name of each, are NLI_LABELS in any order."""
    names = sorted(str(label).lower() for label in labels.values()) if isinstance(labels, dict) else []
    if names != sorted(NLI_LABELS):
        raise UserError(
            f"--nli {name}: its labels are {', '.join(names) or 'not named'}; expected a classifier of sentence pairs "
            f"with the labels {', '.join(NLI_LABELS)}"
        )


def _check_hub(name: str, option: str) -> None:
    """Raise UserError where the hub model `name` is neither on this machine nor within reach.

    Without a network the hub's library would try for most of a minute. So it gets to know that there is none.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    asked = (os.environ.get(variable, "") for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    stays_offline = any(value.upper() in ("1", "ON", "YES", "TRUE") for value in asked)
    constants.HF_HUB_OFFLINE = stays_offline or not _answers(constants.ENDPOINT)
    kept = None
    with contextlib.suppress(ValueError):  # a name that the hub allows nobody
        kept = try_to_load_from_cache(name, "config.json")
    if constants.HF_HUB_OFFLINE and not isinstance(kept, str):
        reason = "HF_HUB_OFFLINE is set" if stays_offline else f"{constants.ENDPOINT} cannot be reached"
        raise UserError(
            f"{option}{name}: not on this machine, and {reason}: go online, or name a folder (start its path with ./)"
        )


def _answers(url: str) -> bool:
    """Return whether a connection to the server of `url`, or to the proxy before it, opens within HUB_PATIENCE."""
    proxies, address = getproxies(), urlsplit(url)
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(address.hostname or ""):
        address = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    opened = threading.Event()

    def connect() -> None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: no port, or no name of a server
            port = address.port or (443 if address.scheme == "https" else 80)
            socket.create_connection((address.hostname, port), HUB_PATIENCE).close()
            opened.set()

    # In a thread, because a look-up of the server's name knows no time limit.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(HUB_PATIENCE)
    return opened.is_set()
