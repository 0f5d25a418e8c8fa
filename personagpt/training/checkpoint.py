"""The folders of checkpoints: each is complete or absent, and links name the folders to use.

    save_path/checkpoint/model     -> step-00000500    the newest complete checkpoint (a symbolic link)
    save_path/checkpoint/previous  -> step-00000250    the checkpoint before it, in case the newest gets damaged
    save_path/checkpoint/best      -> best-00000400    the lowest validation loss so far, without optimizer state

A checkpoint is written into a temporary folder. Its manifest lists the files with sizes and checksums. The folder is
flushed to the disk and renamed, and only then does the link move, in one atomic step: a reader of `model` gets the old
checkpoint or the new one. Tensors are safetensors and everything else is JSON, so nothing is ever unpickled.

A tool that copies the folder may turn links into folders or small text files, or drop them. They are then made again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from personagpt.errors import UserError
from personagpt.files import file_checksum, fsync_path, read_json, set_aside_damaged, unused_name
from personagpt.model.folders import MANIFEST, OPTIMIZER, STATE
from personagpt.output import say

MODEL_FILES = ("model.safetensors", "config.json")  # what the best model needs
RESUME_FILES = (STATE, OPTIMIZER, *MODEL_FILES)  # what resuming reads; users may edit the other files
LINKS = ("model", "previous", "best")
SAVED = r"(step|best)-[0-9]{8,}(\.[0-9]+)?"  # the names of the folders that links point to


class CheckpointError(UserError):
    """A checkpoint that cannot be used, or a `save_path` that another run uses."""


def save_checkpoint(
    folder: Path, step: int, write_model: Callable[[Path], None], state: dict[str, Any], tensors: dict[str, Tensor]
) -> Path:
    """Write the checkpoint of `step`: `folder/model` then names it, and `folder/previous` the checkpoint before it.

    `write_model` writes model and tokenizer into a folder; `state` is JSON, `tensors` the optimizer's. Return the new
    folder. Where writing fails, the old checkpoints are untouched.
    """

    def write(target: Path) -> None:
        write_model(target)
        save_file(tensors, target / OPTIMIZER)
        (target / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")

    saved = _write_complete(folder, f"step-{step:08d}", RESUME_FILES, write)
    current = folder / "model"
    _restore_links(folder)  # somebody may have copied the folder since
    if current.exists():
        redirect_link(folder / "previous", os.readlink(current))
    redirect_link(current, saved.name)
    prune(folder)
    return saved


def save_best(folder: Path, step: int, write_model: Callable[[Path], None]) -> None:
    """Make `folder/best` the model of `step`."""
    _restore_links(folder)
    redirect_link(folder / "best", _write_complete(folder, f"best-{step:08d}", MODEL_FILES, write_model).name)
    prune(folder)


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest undamaged checkpoint, None where no checkpoint was ever saved.

    Damaged checkpoints that are newer are named, and set aside under another name. `folder/model` then names the
    checkpoint that is returned. Raises CheckpointError where all checkpoints are damaged.
    """
    if not folder.is_dir():
        return None
    _restore_links(folder)
    linked = [folder / os.readlink(folder / name) for name in LINKS[:2] if (folder / name).is_symlink()]
    problems: dict[Path, str] = {}
    for path in dict.fromkeys(linked + _saved_folders(folder, "step")):
        problem = find_problem(path, RESUME_FILES)
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


def find_problem(path: Path, needed: tuple[str, ...] = RESUME_FILES) -> str | None:
    """Compare the `needed` files in the folder `path` with its manifest. Return the first difference, None if equal."""
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


def prune(folder: Path) -> None:
    """Delete what an interrupted save left, and old checkpoints, which no link names."""
    kept = {os.readlink(folder / name) for name in LINKS if (folder / name).is_symlink()}
    for kind, links in (("step", LINKS[:2]), ("best", LINKS[2:])):
        if not all((folder / name).is_dir() for name in links):  # nobody knows which folder a lost link named
            kept |= {path.name for path in _saved_folders(folder, kind)}
    for path in folder.iterdir() if folder.is_dir() else []:
        if path.is_symlink() and re.fullmatch(r"\.(model|previous|best)\.new", path.name):
            path.unlink()
        if path.is_dir() and not path.is_symlink() and path.name not in kept:
            if re.fullmatch(rf"tmp-.*|{SAVED}", path.name):
                # On a network disk a reader may hold a file open. The next save tries again.
                shutil.rmtree(path, ignore_errors=True)


def _write_complete(folder: Path, name: str, listed: tuple[str, ...], write: Callable[[Path], None]) -> Path:
    """Make a folder `name` with what `write` puts into it and a manifest of the files `listed`. Return its path.

    Everything is on the disk before the folder gets its name.
    """
    target = unused_name(folder / name)  # after a damaged checkpoint, the same step is saved again
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
    """Make `link` a symbolic link to `name`, in one step."""
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(name)
    os.replace(new, link)
    fsync_path(link.parent)


def _restore_links(folder: Path) -> None:
    """Make links again where a tool that copied `folder` made them real folders or small text files."""
    for link in map(folder.joinpath, LINKS):
        if link.is_symlink() or not link.exists():
            continue
        if link.is_dir():
            # `best` has no step. Damage shows later.
            step = (read_json(link / STATE) or {}).get("step")
            number = step if isinstance(step, int) and 0 <= step < 10**9 else 0
            real = unused_name(folder / f"{'best' if link.name == 'best' else 'step'}-{number:08d}")
            link.rename(real)
            redirect_link(link, real.name)
            continue
        # The text holds the folder's name; some tools pad it, or write two bytes a character.
        text = link.read_bytes()[:4096].replace(b"\0", b"").decode("latin-1")
        if named := re.search(SAVED, text):
            redirect_link(link, named.group())
        else:
            set_aside_damaged(link)


def _adopt_previous(folder: Path) -> None:
    """If the link `previous` is lost, let it name the newest checkpoint beside the one that `model` names."""
    others = [path for path in _saved_folders(folder, "step") if path.name != os.readlink(folder / "model")]
    if others and not (folder / "previous").is_dir():
        redirect_link(folder / "previous", others[0].name)


def _adopt_best(folder: Path) -> None:
    """If it is not clear what `best` names, let it name an undamaged best model.

    The model that it names comes first, then the model that the newest checkpoint knows of, then the newest.
    """
    link, saved = folder / "best", _saved_folders(folder, "best")
    if not saved or (link.is_dir() and len(saved) == 1):
        return
    known = (read_json(folder / "model" / STATE) or {}).get("best")
    step = known.get("step") if isinstance(known, dict) else None
    name = f"best-{step:08d}" if isinstance(step, int) else ""
    saved.sort(key=lambda path: (link.is_dir() and not path.samefile(link), path.name != name))
    undamaged = [path for path in saved if find_problem(path, MODEL_FILES) is None]
    redirect_link(link, (undamaged or saved)[0].name)


def _saved_folders(folder: Path, kind: str) -> list[Path]:
    """Return the folders of `kind` "step" or "best", newest first, whether or not a link names them."""
    saved = [path for path in folder.glob(f"{kind}-*") if re.fullmatch(SAVED, path.name) and path.is_dir()]
    return sorted(saved, reverse=True)
