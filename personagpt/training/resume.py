"""Whether a run may start or go on in `save_path`, and from where."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from personagpt.device import Processes
from personagpt.sequences.format import PersonaChatDataset
from personagpt.settings import Settings
from personagpt.training.checkpoint import CheckpointError, RunLock, newest_checkpoint, prune, read_state, set_aside

# What makes a run this run; with any of it changed, going on would be another one.
IDENTITY = {
    "model": "model_name",
    "init": "init",
    "seed": "seed",
    "sequences_per_step": "batch_size x gradient_accumulation_steps x processes",
    "training_data": "the training text, its tokenizer or max_turns",
    "validation_data": "the validation text, its tokenizer or max_turns",
}


def run_identity(
    settings: Settings, per_step: int, train_data: PersonaChatDataset, valid_data: PersonaChatDataset
) -> dict[str, Any]:
    """What must stay the same for a run to go on."""

    def made_from(data: PersonaChatDataset) -> str:
        names = ("text_sha256", "tokenizer_sha256", "max_turns", "context")
        return hashlib.sha256(repr([data.metadata.get(name) for name in names]).encode()).hexdigest()

    return {
        "model": _model_identity(settings.model_name),
        "init": settings.init,
        "seed": settings.seed,
        "sequences_per_step": per_step,
        "training_data": made_from(train_data),
        "validation_data": made_from(valid_data),
    }


def _model_identity(name: str) -> str:
    """A hub name, or what tells one folder's model from another's wherever the folder lies."""
    if not Path(name).is_dir():
        return name
    sizes = sorted(
        (path.name, path.stat().st_size) for path in Path(name).iterdir() if path.suffix in (".safetensors", ".bin")
    )
    config = (Path(name) / "config.json").read_bytes()
    return "folder " + hashlib.sha256(config + repr(sizes).encode()).hexdigest()[:16]


@contextlib.contextmanager
def claim_run(
    save_path: Path, restart: bool, processes: Processes, say: Callable[[str], None]
) -> Iterator[tuple[Path | None, dict[str, Any]]]:
    """Lock `save_path`; yields the checkpoint to go on from (None: start) and its state. Raises CheckpointError."""
    lock = RunLock(save_path) if processes.is_first else None
    folder = save_path / "checkpoint"
    try:
        if processes.is_first:
            if restart and (old := set_aside(save_path)):
                say(f"the old run is in {old} now")
            newest_checkpoint(folder, say)
            prune(folder)
        processes.wait()  # the first process has found the newest sound checkpoint, and `model` points to it
        checkpoint = (folder / "model").resolve() if (folder / "model").exists() else None
        state = read_state(checkpoint) if checkpoint else _new_state()
        if not processes.agree(state["step"]):
            raise CheckpointError(
                f"{save_path} holds different checkpoints on different machines: use one shared folder"
            )
        yield checkpoint, state
    finally:
        if lock:
            lock.release()


def _new_state() -> dict[str, Any]:
    return {
        "step": 0,
        "seconds": 0.0,
        "since_row": {"loss_sum": 0.0, "label_tokens": 0},
        "best": None,
        "evaluation": None,
    }


def check_same_run(
    state: dict[str, Any], identity: dict[str, Any], settings: Settings, say: Callable[[str], None]
) -> None:
    """List the settings that changed since the checkpoint. Raises CheckpointError where it would be another run."""
    if "identity" not in state:
        return
    other = [IDENTITY[key] for key in IDENTITY if state["identity"].get(key) != identity[key]]
    if other:
        raise CheckpointError(
            f"{settings.save_path} holds a run with other settings ({'; '.join(other)}): set them back, start over with "
            "--restart (which moves the old run to save_path/old-N/), or choose another save_path"
        )
    now = settings.plain()
    for key, before in state["settings"].items():
        if key not in ("env_file", "save_path", "data_path", "model_name") and now.get(key) != before:
            say(f"changed since the last save: {key} was {before}, is {now.get(key)}")
