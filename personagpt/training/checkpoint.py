"""Saving and resuming without loss.

    save_path/checkpoint/model     -> step-00000500    the newest complete checkpoint (a symbolic link)
    save_path/checkpoint/previous  -> step-00000250    the one before it, the fallback
    save_path/checkpoint/best      -> best-00000400    lowest validation loss so far, without optimizer state

A checkpoint is written into a temporary folder, listed with sizes and checksums in its manifest, flushed to the disk,
renamed, and only then does the link move, in one atomic step: a reader of `model` finds the old one or the new one.
Tensors are safetensors, everything else is JSON: nothing is ever unpickled.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from personagpt.device import file_checksum
from personagpt.errors import RunError, UserError

MANIFEST, STATE, OPTIMIZER = "manifest.json", "training_state.json", "optimizer.safetensors"
LINKS = ("model", "previous", "best")
SLACK = 64 << 20  # bytes left free beyond a checkpoint's own: logs, plots and the tokenizer need room too


class CheckpointError(UserError):
    """A checkpoint that cannot be used, or a `save_path` that another run is using."""


class RunLock:
    """Keeps a second run out of `save_path`. The system drops the lock when the process ends, however it ends."""

    def __init__(self, save_path: Path) -> None:
        save_path.mkdir(parents=True, exist_ok=True)
        path = save_path / "run.lock"
        self.file = open(path, "a+")  # noqa: SIM115  held open as long as the run lasts
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.seek(0)
            holder = self.file.read().strip() or "another process"
            raise CheckpointError(
                f"{save_path}: {holder} is training there; wait for it, stop it, or choose another save_path"
            ) from None
        except OSError as error:
            raise CheckpointError(
                f"{save_path}: this file system has no locks ({error.strerror}): choose a save_path on another one"
            ) from None
        self.file.truncate(0)
        self.file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self.file.flush()

    def release(self) -> None:
        self.file.close()


def save_checkpoint(
    folder: Path, step: int, write_model: Callable[[Path], None], state: dict[str, Any], tensors: dict[str, Tensor]
) -> Path:
    """Make `folder/model` the checkpoint of `step`, and the one it was `folder/previous`.

    `write_model` writes model and tokenizer into a folder; `state` is JSON, `tensors` the optimizer's.
    Raises RunError where there is no room; the old checkpoint is then untouched.
    """

    def write(target: Path) -> None:
        write_model(target)
        save_file(tensors, target / OPTIMIZER)
        (target / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")

    saved = _write_complete(folder, f"step-{step:08d}", write)
    current = folder / "model"
    if current.exists():
        _point(folder / "previous", os.readlink(current))
    _point(current, saved.name)
    prune(folder)
    return saved


def save_best(folder: Path, step: int, write_model: Callable[[Path], None]) -> None:
    """Make `folder/best` the model of `step`."""
    _point(folder / "best", _write_complete(folder, f"best-{step:08d}", write_model).name)
    prune(folder)


def check_room(folder: Path, size: int) -> None:
    """Raise RunError unless `size` bytes and some slack are free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < size + SLACK:
        raise RunError(
            f"{folder}: a checkpoint needs {(size + SLACK) / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; nothing was "
            "written and the last checkpoint is intact: free some space, then run the same command again to go on"
        )


def newest_checkpoint(folder: Path, say: Callable[[str], None]) -> Path | None:
    """The newest complete checkpoint, or None where none was ever saved; `say` is told of damaged ones passed over.

    A damaged newest one is set aside under another name and `folder/model` points to what is used instead.
    Raises CheckpointError where there are checkpoints, but none is sound.
    """
    if not folder.is_dir():
        return None
    _adopt_copied(folder)
    linked = [folder / os.readlink(folder / name) for name in LINKS[:2] if (folder / name).is_symlink()]
    unlinked = sorted((path for path in folder.glob("step-*") if path.is_dir()), reverse=True)
    problems: dict[Path, str] = {}
    for path in dict.fromkeys(linked + unlinked):
        problem = find_problem(path)
        if problem is None:
            _point(folder / "model", os.path.relpath(path, folder))
            for damaged in filter(Path.is_dir, problems):
                damaged.rename(_free(damaged.with_name(f"damaged-{damaged.name}")))
            if problems:
                say(f"set aside as damaged-...; using {path.name} instead")
            return path
        problems[path] = problem
        say(f"damaged checkpoint {path}: {problem}")
    if problems:
        raise CheckpointError(
            f"no sound checkpoint in {folder} ({', '.join(problems.values())}): restore it from a copy, or start over with --restart, "
            "which moves the old files to save_path/old-N/"
        )
    return None


def find_problem(path: Path) -> str | None:
    """What is wrong with the checkpoint at `path` by its manifest; None if nothing is."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        listed = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in manifest["files"].items()}
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is damaged"
    for name, (size, checksum) in listed.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes, not {size}"
        if file_checksum(file) != checksum:
            return f"{name} was altered (its checksum differs)"
    absent = [name for name in (STATE, OPTIMIZER, "model.safetensors", "config.json") if name not in listed]
    return f"{absent[0]} is not listed in {MANIFEST}" if absent else None


def read_state(path: Path) -> dict[str, Any]:
    """The training state saved in the checkpoint at `path`."""
    return json.loads((path / STATE).read_text(encoding="utf-8"))


def optimizer_tensors(optimizer: torch.optim.Optimizer, masters: bool) -> dict[str, Tensor]:
    """The optimizer's state as named tensors; with `masters` also its float32 copies of half-precision weights."""
    state = optimizer.state_dict()["state"]
    tensors = {f"{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}
    if masters:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        tensors |= {f"{index}.master": parameter.detach() for index, parameter in enumerate(parameters)}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Put the tensors saved in the checkpoint at `path` back into `optimizer`."""
    if hasattr(optimizer, "_amp_lazy_init"):  # apex makes its float32 master weights late; they are wanted now
        optimizer._amp_lazy_init()
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in load_file(path / OPTIMIZER).items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    with torch.no_grad():
        for index, entry in state.items():
            if "master" in entry:
                parameters[index].copy_(entry.pop("master"))
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def set_aside(save_path: Path) -> Path | None:
    """Move `checkpoint/` and `samples/` to the first free `old-N/`; None where there is nothing to move."""
    # The logs first: killed in between, the old run goes on without them, and no log is cut back to nothing.
    present = [save_path / name for name in ("samples", "checkpoint") if (save_path / name).exists()]
    if not present:
        return None
    number = 1
    while (save_path / f"old-{number}").exists():
        number += 1
    target = save_path / f"old-{number}"
    target.mkdir()
    for path in present:
        path.rename(target / path.name)
    return target


def write_atomically(path: Path, data: str | bytes) -> None:
    """Replace the file at `path` in one step: a reader, or a power cut, sees the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")  # two programs may write eval.json at once
    try:
        with open(new, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def prune(folder: Path) -> None:
    """Remove what an interrupted save left, and the checkpoints that no link names."""
    kept = {os.readlink(folder / name) for name in LINKS if (folder / name).is_symlink()}
    for path in folder.iterdir() if folder.is_dir() else []:
        if path.is_dir() and not path.is_symlink() and path.name not in kept:
            if re.fullmatch(r"tmp-.*|(step|best)-[0-9]{8}(\.[0-9]+)?", path.name):
                # On a network disk a reader may still hold a file open; the next save tries again.
                shutil.rmtree(path, ignore_errors=True)


def _write_complete(folder: Path, name: str, write: Callable[[Path], None]) -> Path:
    """A new folder `name` with what `write` puts there and a manifest, all of it on the disk when this returns."""
    target = _free(folder / name)  # the same step may come once more, after a fallback
    new = folder / f"tmp-{target.name}"
    if new.exists():
        shutil.rmtree(new)
    new.mkdir(parents=True)
    try:
        write(new)
        # The model card is for people, who may edit it.
        listed = sorted(path for path in new.iterdir() if path.name != "README.md")
        files = {path.name: {"bytes": path.stat().st_size, "sha256": file_checksum(path)} for path in listed}
        (new / MANIFEST).write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")
        for path in new.iterdir():
            shutil.copymode(new / MANIFEST, path)  # safetensors leaves its files to their owner only
            _flush(path)
        _flush(new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    new.rename(target)
    _flush(folder)
    return target


def _free(path: Path) -> Path:
    """`path`, or where that is taken the first of `path`.1, `path`.2, ... that is not."""
    number, found = 0, path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}.{number}")
    return found


def _point(link: Path, name: str) -> None:
    """Make `link` a symbolic link to `name`, in one step whatever it was before."""
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(name)
    os.replace(new, link)
    _flush(link.parent)


def _adopt_copied(folder: Path) -> None:
    """Turn links that a copying tool replaced by real folders into links again."""
    for name in LINKS:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            try:
                number = int(read_state(path)["step"])
            except (OSError, ValueError, KeyError, TypeError):
                number = 0  # `best` has none, and a damaged one is found out later
            real = _free(folder / f"{'best' if name == 'best' else 'step'}-{number:08d}")
            path.rename(real)
            _point(path, real.name)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
