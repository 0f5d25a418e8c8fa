"""Files: text, JSON, checksums, names, and writing so that a reader never sees half a file."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from personagpt.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_UTF8 = "byte 0x{:02x} is not UTF-8; save the file as UTF-8"


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, without a byte-order mark. Raises UserError where it cannot be read."""
    try:
        return decode(path.read_bytes(), path)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise UserError(f"{path}: cannot read it: {getattr(error, 'strerror', None) or error}") from None


def expanded(path: str) -> Path:
    """Return `path` with ~ as the home folder. The ~ of somebody who is no user here stays as it is."""
    with contextlib.suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


def read_bytes(path: Path, kind: str = "this file") -> bytes:
    """Return what the file at `path` holds. Raises UserError, which calls the file `kind`, where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read {kind}: {error.strerror}") from None


def decode(data: bytes, path: Path, line: int = 1) -> str:
    """Return `data` as text, without a byte-order mark at the start of the file.

    `line` is the number of the first line of `data` in the file at `path`. Raises UserError where a byte is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        text = error.object  # `data` without the mark
        line += text.count(b"\n", 0, error.start)
        raise UserError(f"{path}:{line}: {NOT_UTF8.format(text[error.start])}") from None


def check_present(path: Path, command: str) -> None:
    """Raise UserError unless there is a file at `path`, which `command` makes."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; first run `{command}`")


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=2, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in the file, None where there is no file or no whole object in it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_path(path: Path) -> None:
    """Return when a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: str | bytes, beside: Path | None = None) -> None:
    """Replace the file at `path` in one step, as `replacing` does."""
    with replacing(path, beside) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def write_figure(path: Path, figure: Figure) -> None:
    """Draw a figure of matplotlib into `path`, a .png, and beside it as PDF, for papers."""
    for each in (path, path.with_suffix(".pdf")):
        image = io.BytesIO()
        figure.savefig(image, format=each.suffix[1:])
        write_atomically(each, image.getvalue())


@contextlib.contextmanager
def replacing(path: Path, beside: Path | None = None) -> Iterator[BinaryIO]:
    """Yield a file to write, which replaces the file at `path` when the block ends.

    A reader, or a power cut, gets the old file or the whole new file. Until then the new file lies next to `beside`
    (default: `path`) under a hidden random name, because two programs may write `path` at once. A program locks its new
    file. A new file without a lock belongs to a killed program and is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = beside or path
    for left in beside.parent.glob(f".{glob.escape(beside.name)}.*.new"):
        with contextlib.suppress(OSError), open(left, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
    while True:
        new = beside.with_name(f".{beside.name}.{secrets.token_hex(4)}.new")
        with open(new, "xb") as file:
            with contextlib.suppress(OSError):  # on a file system without locks nothing is removed either
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not new.exists():  # another program removed it before it was locked
                continue
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(new, path)
            finally:
                new.unlink(missing_ok=True)
            return


def unused_name(path: Path) -> Path:
    """Return the first of `path`, `path`.1, `path`.2, ... that does not exist."""
    number, name = 0, path
    while os.path.lexists(name):
        number += 1
        name = path.with_name(f"{path.name}.{number}")
    return name


def set_aside_damaged(path: Path) -> Path:
    """Rename `path` to an unused name that starts with "damaged-". Return the new path."""
    return path.rename(unused_name(path.with_name(f"damaged-{path.name}")))
