"""Saving and resuming without loss.

    save_path/checkpoint/model     -> step-00000500    the newest complete checkpoint (a symbolic link)
    save_path/checkpoint/previous  -> step-00000250    the one before it, the fallback
    save_path/checkpoint/best      -> best-00000400    lowest validation loss so far, without optimizer state

A checkpoint is written into a temporary folder, listed with sizes and checksums in its manifest, flushed to the disk,
renamed, and only then does the link move, in one atomic step: a reader of `model` finds the old one or the new one.
Tensors are safetensors, everything else is JSON: nothing is ever unpickled. All of that happens beside the next steps,
in a thread that has copies of the tensors.

Copies lose links: they arrive as folders, as small text files, or not at all, and are then made again.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from personagpt.errors import RunError, UserError
from personagpt.files import file_checksum, fsync_path, read_json, set_aside_damaged, unused_name
from personagpt.model.loading import MANIFEST, STATE
from personagpt.output import say

OPTIMIZER = "optimizer.safetensors"
WEIGHTS = ("model.safetensors", "config.json")  # what the best model is made of
RESUME = (STATE, OPTIMIZER, *WEIGHTS)  # what going on reads; the rest is for other programs, and people may edit it
LINKS = ("model", "previous", "best")
SAVED = r"(step|best)-[0-9]{8,}(\.[0-9]+)?"  # the names of the folders that links lead to
SLACK = 64 << 20  # bytes left free beyond a checkpoint's own: logs, plots and the tokenizer need room too


class CheckpointError(UserError):
    """A checkpoint that cannot be used, or a `save_path` that another run is using."""


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

    saved = _write_complete(folder, f"step-{step:08d}", RESUME, write)
    current = folder / "model"
    _restore_links(folder)  # someone may have copied the folder while we trained
    if current.exists():
        redirect_link(folder / "previous", os.readlink(current))
    redirect_link(current, saved.name)
    prune(folder)
    return saved


def save_best(folder: Path, step: int, write_model: Callable[[Path], None]) -> None:
    """Make `folder/best` the model of `step`."""
    _restore_links(folder)
    redirect_link(folder / "best", _write_complete(folder, f"best-{step:08d}", WEIGHTS, write_model).name)
    prune(folder)


def check_room(folder: Path, size: int) -> None:
    """Raise RunError unless `size` bytes and some slack are free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < size + SLACK:
        raise RunError(
            f"{folder}: a checkpoint needs {(size + SLACK) / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; nothing was "
            "written and the last checkpoint is intact: free some space, then run the same command again to go on"
        )


class SaveThread:
    """Runs saves beside training, one at a time. What a save raises is raised where the run next asks for it."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def start(self, save: Callable[[], None]) -> None:
        """Run `save` beside what follows, after the one that is under way."""

        def run() -> None:
            try:
                save()
            except BaseException as error:
                self.error = error

        self.wait()
        self.thread = threading.Thread(target=run, name="save")
        self.thread.start()

    def wait(self) -> None:
        """Return when no save is under way. Raises what one raised."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        self.check()

    def check(self) -> None:
        """Raise what a save raised, if one did; does not wait."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def __enter__(self) -> SaveThread:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let a save come to its end, also where an error ends the run; a Ctrl-C ends it where it is."""
        if kind is None:
            return self.wait()
        if self.thread is not None:
            if not issubclass(kind, Exception):  # as if the key had been pressed in that thread: it tidies up
                interrupt = ctypes.pythonapi.PyThreadState_SetAsyncExc
                interrupt(ctypes.c_ulong(self.thread.ident), ctypes.py_object(KeyboardInterrupt))
            self.thread.join()


def copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` on the CPU, in memory of their own: the next step changes the weights in place."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def size_of(tensors: dict[str, Tensor]) -> int:
    """Bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def has_memory(size: int) -> bool:
    """Whether `size` bytes of memory can be had twice over; where the system does not say, yes."""
    try:
        available = re.search(r"MemAvailable: +([0-9]+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return True
    return available is None or int(available[1]) * 1024 > 2 * size


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint, or None where none was ever saved. Say which damaged checkpoints are passed over.

    A damaged newest one is set aside under another name and `folder/model` points to what is used instead.
    Raises CheckpointError where there are checkpoints, but none is sound.
    """
    if not folder.is_dir():
        return None
    _restore_links(folder)
    linked = [folder / os.readlink(folder / name) for name in LINKS[:2] if (folder / name).is_symlink()]
    problems: dict[Path, str] = {}
    for path in dict.fromkeys(linked + _saved_folders(folder, "step")):
        problem = find_problem(path, RESUME)
        if problem is None:
            redirect_link(folder / "model", os.path.relpath(path, folder))
            for damaged in filter(Path.is_dir, problems):
                set_aside_damaged(damaged)
            if problems:
                say(f"set aside as damaged-...; using {path.name} instead")
            _adopt_previous(folder)
            _adopt_best(folder)
            return path
        problems[path] = problem
        say(f"damaged checkpoint {path}: {problem}")
    if problems:
        raise CheckpointError(
            f"no sound checkpoint in {folder} ({', '.join(problems.values())}): restore it from a copy, or start over "
            "with --restart, which moves the old files to save_path/old-N/"
        )
    _adopt_best(folder)
    return None


def find_problem(path: Path, needed: tuple[str, ...] = RESUME) -> str | None:
    """What is wrong with one of the `needed` files of the folder at `path`, by its manifest; None if nothing is."""
    if not (path / MANIFEST).exists():
        return f"{MANIFEST} is missing"
    manifest = read_json(path / MANIFEST) or {}
    for name in needed:
        file = path / name
        try:
            size, checksum = manifest["files"][name]["bytes"], manifest["files"][name]["sha256"]
        except (KeyError, TypeError):
            return f"{name} is not listed in {MANIFEST}" if "files" in manifest else f"{MANIFEST} is damaged"
        if not isinstance(size, int) or not isinstance(checksum, str):
            return f"{MANIFEST} is damaged"
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes, not {size}"
        if file_checksum(file) != checksum:
            return f"{name} was altered (its checksum differs)"
    return None


def optimizer_tensors(optimizer: torch.optim.Optimizer, with_masters: bool) -> dict[str, Tensor]:
    """The optimizer's state as named tensors; `with_masters` also its float32 copies of half-precision weights."""
    state = optimizer.state_dict()["state"]
    tensors = {f"{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}
    if with_masters:
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


def prune(folder: Path) -> None:
    """Remove what an interrupted save left, and the checkpoints that no link names."""
    kept = {os.readlink(folder / name) for name in LINKS if (folder / name).is_symlink()}
    for kind, links in (("step", LINKS[:2]), ("best", LINKS[2:])):
        if not all((folder / name).is_dir() for name in links):  # a link was lost: which folder it named is not known
            kept |= {path.name for path in _saved_folders(folder, kind)}
    for path in folder.iterdir() if folder.is_dir() else []:
        if path.is_symlink() and re.fullmatch(r"\.(model|previous|best)\.new", path.name):
            path.unlink()
        if path.is_dir() and not path.is_symlink() and path.name not in kept:
            if re.fullmatch(rf"tmp-.*|{SAVED}", path.name):
                # On a network disk a reader may still hold a file open; the next save tries again.
                shutil.rmtree(path, ignore_errors=True)


def _write_complete(folder: Path, name: str, listed: tuple[str, ...], write: Callable[[Path], None]) -> Path:
    """A new folder `name` with what `write` puts there and a manifest of the `listed` files, all of it on the disk."""
    target = unused_name(folder / name)  # the same step may come once more, after a fallback
    new = folder / f"tmp-{target.name}"
    if new.exists():
        shutil.rmtree(new)
    new.mkdir(parents=True)
    try:
        write(new)
        files = {
            file.name: {"bytes": file.stat().st_size, "sha256": file_checksum(file)}
            for file in map(new.joinpath, listed)
        }
        (new / MANIFEST).write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")
        for path in new.iterdir():
            shutil.copymode(new / MANIFEST, path)  # safetensors leaves its files to their owner only
            fsync_path(path)
        fsync_path(new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    new.rename(target)
    fsync_path(folder)
    return target


def redirect_link(link: Path, name: str) -> None:
    """Make `link` a symbolic link to `name`, in one step whatever it was before."""
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(name)
    os.replace(new, link)
    fsync_path(link.parent)


def _restore_links(folder: Path) -> None:
    """Turn links that a copying tool made into real folders or into small text files back into links."""
    for link in map(folder.joinpath, LINKS):
        if link.is_symlink() or not link.exists():
            continue
        if link.is_dir():
            # `best` has no step, and a damaged one is found out later.
            step = (read_json(link / STATE) or {}).get("step")
            number = step if isinstance(step, int) and 0 <= step < 10**9 else 0
            real = unused_name(folder / f"{'best' if link.name == 'best' else 'step'}-{number:08d}")
            link.rename(real)
            redirect_link(link, real.name)
            continue
        # The text holds the name that the link had; some tools pad it, or write two bytes a character.
        text = link.read_bytes()[:4096].replace(b"\0", b"").decode("latin-1")
        if named := re.search(SAVED, text):
            redirect_link(link, named.group())
        else:
            set_aside_damaged(link)


def _adopt_previous(folder: Path) -> None:
    """Where `previous` lost its link, make it name the newest checkpoint but the one that `model` names."""
    others = [path for path in _saved_folders(folder, "step") if path.name != os.readlink(folder / "model")]
    if others and not (folder / "previous").is_dir():
        redirect_link(folder / "previous", others[0].name)


def _adopt_best(folder: Path) -> None:
    """Where `best` lost its link, make it name the one the newest checkpoint knows of, or else the newest."""
    link, found = folder / "best", _saved_folders(folder, "best")
    if not found or (link.is_dir() and len(found) == 1):
        return
    known = (read_json(folder / "model" / STATE) or {}).get("best")
    step = known.get("step") if isinstance(known, dict) else None
    named = f"best-{step:08d}" if isinstance(step, int) else ""
    found.sort(key=lambda path: (not path.samefile(link) if link.is_dir() else 0, path.name != named))
    whole = [path for path in found if find_problem(path, WEIGHTS) is None]
    redirect_link(link, (whole or found)[0].name)


def _saved_folders(folder: Path, kind: str) -> list[Path]:
    """The folders of `kind` "step" or "best", newest first, whether or not a link names them."""
    found = [path for path in folder.glob(f"{kind}-*") if re.fullmatch(SAVED, path.name) and path.is_dir()]
    return sorted(found, reverse=True)
