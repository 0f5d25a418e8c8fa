"""Claim `save_path` for a run: the lock, the move of an old run, the checkpoint to go on from, its state."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personagpt.device import Processes
from personagpt.files import read_json, unused_name
from personagpt.model.folders import STATE
from personagpt.output import is_first_process, say
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.settings import PATHS, Settings
from personagpt.training.checkpoint import CheckpointError, newest_checkpoint, prune

# What identifies a run, and its words in a message. With any of it changed, going on would be another run.
IDENTITY = {
    "model": "model_name",
    "init": "init",
    "seed": "seed",
    "sequences_per_step": "batch_size x gradient_accumulation_steps x processes",
    "training_data": "the training text, its tokenizer, max_turns or goals",
    "validation_data": "the validation text, its tokenizer, max_turns or goals",
    "preferences": "the preferences",  # only where the run learns some
}

RUN_FOLDERS = ("samples", "checkpoint")  # what --restart moves
UNFINISHED = ".unfinished"  # ends the name of an `old-N` while it is filled


@dataclass
class RunState:
    """What a run that goes on needs, beside the weights and the optimizer's tensors."""

    step: int = 0
    seconds: float = 0.0  # spent training
    loss_sum: float = 0.0  # nats, summed over the response tokens since the last row of loss.csv
    label_tokens: int = 0  # the number of those tokens
    preference_tally: list[float] | None = None  # `Replies.weigh`'s, since the last row; None without preferences
    best: dict[str, Any] | None = None  # loss and step of the lowest validation loss so far
    evaluation: dict[str, Any] | None = None  # the last evaluation, as eval.json holds it
    batch_size: int | None = None  # the size that fits into memory; None before the first save
    scaling: dict[str, Any] | None = None  # the loss scale, `Trainer.scaling`
    identity: dict[str, Any] | None = None  # `run_identity`; None before the first save
    settings: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        content = dict(vars(self))
        since_row = {name: content.pop(name) for name in ("loss_sum", "label_tokens", "preference_tally")}
        if self.preference_tally is None:
            del since_row["preference_tally"]
        return content | {"since_row": since_row}

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> RunState:
        return cls(**{key: value for key, value in saved.items() if key != "since_row"}, **saved["since_row"])


def run_identity(
    settings: Settings,
    per_step: int,
    train_data: PersonaChatDataset,
    valid_data: PersonaChatDataset,
    preferences: PersonaChatDataset | None = None,
) -> dict[str, Any]:
    """Return what must stay the same for a run to go on: a value for each key of IDENTITY."""
    learned = {} if preferences is None else {"preferences": data_identity(preferences.metadata)}
    return learned | {
        "model": _model_identity(settings.model_name),
        "init": settings.init,
        "seed": settings.seed,
        "sequences_per_step": per_step,
        "training_data": data_identity(train_data.metadata),
        "validation_data": data_identity(valid_data.metadata),
    }


def data_identity(metadata: dict[str, str]) -> str:
    """Return a checksum of what a tensor file was made from, by its `metadata`."""
    names = ["text_sha256", "tokenizer_sha256", "max_turns", "context"]
    names += ["goals_sha256"] * ("goals_sha256" in metadata)  # so that a run without goals keeps its identity
    return hashlib.sha256(repr([metadata.get(name) for name in names]).encode()).hexdigest()


def _model_identity(name: str) -> str:
    """Return a hub name, or a checksum of a folder's model that does not depend on where the folder lies."""
    if not Path(name).is_dir():
        return name
    sizes = sorted(
        (path.name, path.stat().st_size) for path in Path(name).iterdir() if path.suffix in (".safetensors", ".bin")
    )
    config = (Path(name) / "config.json").read_bytes()
    return "folder " + hashlib.sha256(config + repr(sizes).encode()).hexdigest()[:16]


@contextlib.contextmanager
def run_lock(save_path: Path) -> Iterator[None]:
    """Keep a second run out of `save_path`. The system releases the lock when the process ends, however it ends."""
    save_path.mkdir(parents=True, exist_ok=True)
    path = save_path / "run.lock"
    if path.is_symlink():  # writing there would empty the file that it points to
        raise CheckpointError(f"{path}: a symbolic link; remove it, then run the same command again")
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            problem = f"{holder} is training there; wait for it, stop it, or choose another save_path"
            raise CheckpointError(f"{save_path}: {problem}") from None
        except OSError as error:
            problem = f"this file system has no locks ({error.strerror}): choose a save_path on another one"
            raise CheckpointError(f"{save_path}: {problem}") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def set_aside(save_path: Path) -> Path | None:
    """Move `checkpoint/` and `samples/` to the first free `old-N/`. Return its path, None where nothing is to move."""
    if not any((save_path / name).exists() for name in RUN_FOLDERS):
        return None
    number = 1
    while any((save_path / f"old-{number}{ending}").exists() for ending in ("", UNFINISHED)):
        number += 1
    (save_path / f"old-{number}{UNFINISHED}").mkdir()
    return finish_move(save_path)


def finish_move(save_path: Path) -> Path | None:
    """Finish a move to `old-N/`, perhaps of a run that was killed. Return its path, None without such a move."""
    for unfinished in save_path.glob(f"old-*{UNFINISHED}"):
        for path in map(save_path.joinpath, RUN_FOLDERS):
            if path.exists():
                path.rename(unused_name(unfinished / path.name))
        return unfinished.rename(unfinished.with_suffix(""))
    return None


@contextlib.contextmanager
def claim_run(save_path: Path, restart: bool, processes: Processes) -> Iterator[tuple[Path | None, RunState]]:
    """Lock `save_path`. Yield the checkpoint to go on from, None for a new run, and its state.

    Raises CheckpointError where another run holds the lock, or no checkpoint can be used.
    """
    folder = save_path / "checkpoint"
    with run_lock(save_path) if is_first_process() else contextlib.nullcontext():
        if is_first_process():
            if old := finish_move(save_path) or (set_aside(save_path) if restart else None):
                say(f"the old run is in {old} now")
            newest_checkpoint(folder)
            prune(folder)
        processes.wait()  # until the first process has let `model` point to the newest undamaged checkpoint
        checkpoint = (folder / "model").resolve() if (folder / "model").exists() else None
        state = _read_state(checkpoint) if checkpoint else RunState()
        if not processes.agree(state.step):
            problem = "holds different checkpoints on different machines: use one shared folder"
            raise CheckpointError(f"{save_path} {problem}")
        yield checkpoint, state


def _read_state(checkpoint: Path) -> RunState:
    try:
        return RunState.from_json(read_json(checkpoint / STATE) or {})
    except (KeyError, TypeError):
        raise CheckpointError(f"{checkpoint / STATE}: not a run's state; start over with --restart") from None


def check_same_run(state: RunState, identity: dict[str, Any], settings: Settings) -> None:
    """Print the settings that changed since the checkpoint. Raises CheckpointError where it is another run."""
    if state.identity is None:
        return
    different = [key for key in IDENTITY if state.identity.get(key) != identity.get(key)]
    other = list(dict.fromkeys(_change(key, state, identity, settings) for key in different))
    if other:
        raise CheckpointError(
            f"{settings.save_path} holds a run with other settings ({'; '.join(other)}): set them back, start over "
            "with --restart (which moves the old run to save_path/old-N/), or choose another save_path"
        )
    now = settings.plain()
    for key, before in state.settings.items():
        if key not in PATHS and now.get(key) != before:
            say(f"changed since the last save: {key} was {before}, is {now.get(key)}")


def _change(key: str, state: RunState, identity: dict[str, Any], settings: Settings) -> str:
    """Return the old and new value of an IDENTITY key. For a checksum, return the settings behind it that changed."""
    if key in ("init", "seed", "sequences_per_step"):
        return f"{IDENTITY[key]} was {state.identity.get(key)}, is {identity[key]}"
    behind = {"model": ("model_name",), "preferences": ("preferences", "preference_weight")}
    behind = behind.get(key, ("data_path", "max_turns", "goals", "model_name"))
    before, now = state.settings or {}, settings.plain()
    pairs = [
        (name, *("not set" if value in (None, "") else value for value in (before.get(name), now[name])))
        for name in behind
    ]
    changed = [f"{name} was {then}, is {value}" for name, then, value in pairs if then != value]
    return ", ".join(changed) or f"{IDENTITY[key]} changed, under the same name"
