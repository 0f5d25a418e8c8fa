"""Files: checksums, writing without a half-written file, JSON."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


def file_checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: str | bytes, beside: Path | None = None) -> None:
    """Replace the file at `path` in one step, as `replacing` does."""
    with replacing(path, beside) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def replacing(path: Path, beside: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write, which then replaces the one at `path`: a reader, or a power cut, sees the old or the new.

    Until it is whole the new file lies next to `beside` (`path` itself), under a hidden name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _new_file(beside or path) as (file, new):
        yield file
        file.flush()
        os.fsync(file.fileno())
        os.replace(new, path)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """An empty file next to `path`, under a name of its own: two programs may write eval.json at once.

    It is locked while it is written. One without a lock was left by a program that was killed, and is removed.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.new"):
        with contextlib.suppress(OSError), open(left, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
    while True:
        new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
        with open(new, "xb") as file:
            with contextlib.suppress(OSError):  # a file system without locks: what is left there stays
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not new.exists():  # another program took it for a left one before it was locked
                continue
            try:
                yield file, new
            finally:
                new.unlink(missing_ok=True)
            return


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=2, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in the file; None where there is no such file, or no whole object in it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def fsync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unused_name(path: Path) -> Path:
    """`path`, or where that is taken the first of `path`.1, `path`.2, ... that is not."""
    number, found = 0, path
    while os.path.lexists(found):
        number += 1
        found = path.with_name(f"{path.name}.{number}")
    return found


def set_aside_damaged(path: Path) -> Path:
    """Give `path` a name that says it is damaged, and return that name."""
    return path.rename(unused_name(path.with_name(f"damaged-{path.name}")))
