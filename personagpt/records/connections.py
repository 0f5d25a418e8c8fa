"""Connections to one SQLite file, which somebody may move, remove, damage or lock while a program runs.

SQLite keeps on writing to a file that has lost its name, and nobody would find those words again. So before each use of
an open connection its file is compared with the file that has the name now.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from personagpt.errors import RunError, UserError
from personagpt.output import warn

MAGIC = b"SQLite format 3\0"  # the first bytes of every file that is not empty
MOST_IDLE = 4  # connections that stay open while nobody uses them
PRAGMAS = ("foreign_keys = ON", "secure_delete = ON", "synchronous = FULL", "temp_store = MEMORY")


class FileUnusable(UserError):
    """The file is damaged, or cannot be written. The message is for the operator, because it names a path."""


class Connections:
    """The connections of a program to the file at `path`. Each use has a connection of its own, and waits for no other.

    Every method raises FileUnusable if the file cannot be used, RunError if another program keeps it or the machine
    fails, and OSError if the disk is full.
    """

    def __init__(self, path: Path, prepare: Callable[[sqlite3.Connection], None]) -> None:
        """`prepare` makes the tables of a new connection's file, where it has none."""
        self.path, self._prepare = path, prepare
        self._log = path.with_name(path.name + "-wal")
        self._lock = threading.RLock()
        self._idle: list[sqlite3.Connection] = []
        self._in_use = 0
        # A handle on the file that the connections have open. It is closed after them: when a program closes any handle
        # on a file, the system forgets all its locks on that file, SQLite's locks, too.
        self._handle: int | None = None
        self._status: tuple[int, ...] = ()  # of the file, when it was opened
        self._log_status: tuple[int, ...] = ()

    def exists(self) -> bool:
        """Return whether there is a file."""
        with self._lock, translated_errors(self.path):
            self._check()
            return bool(_status(self.path))

    @contextlib.contextmanager
    def use(self, patience: float) -> Iterator[sqlite3.Connection]:
        """Yield a connection that waits up to `patience` seconds for other programs. A missing file is created."""
        with translated_errors(self.path):
            with self._lock:
                self._check()
                if self._handle is None:
                    self._open_handle()
                handle = self._handle
                connection = self._idle.pop() if self._idle else None
                self._in_use += 1
            is_fine = False
            try:
                connection = connection or self._connect(patience)
                connection.execute(f"PRAGMA busy_timeout = {round(1000 * patience)}")
                yield connection
                is_fine = True
            finally:
                with self._lock:
                    self._in_use -= 1
                    if is_fine and handle == self._handle and len(self._idle) < MOST_IDLE:
                        self._idle.append(connection)
                        self._log_status = self._log_status or _status(self._log)
                    elif connection is not None:
                        connection.close()
                    if not self._idle and not self._in_use:  # SQLite removes the log with the last connection
                        self._log_status = ()

    def close(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop().close()
            if self._handle is not None:
                os.close(self._handle)
            self._handle, self._log_status = None, ()

    def _check(self) -> None:
        """Close the connections if their file, or SQLite's log beside it, is no longer the file with that name."""
        if self._handle is None:
            return
        status, log_status = _status(self.path), _status(self._log)
        if status[:2] != self._status[:2]:
            warn(f"{self.path}: this file was moved or removed; from now on talks are recorded in a new file there")
            with contextlib.suppress(sqlite3.Error):  # a damaged file, which was moved for that reason
                self._write_log()
            self.close()
            if not status:  # else SQLite would read the new file by the log of the moved file
                for ending in ("-wal", "-shm"):
                    self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        elif self._log_status not in ((), log_status):
            if not log_status:  # the connections still have the log's content
                warn(f"{self._log}: this file was removed; what it held is written into {self.path.name}")
                self._write_log()
            self.close()
        elif status != self._status:  # who may write it has changed
            self.close()
        elif os.pread(self._handle, len(MAGIC), 0) not in (b"", MAGIC):
            raise damaged(self.path, "its first bytes were overwritten")

    def _write_log(self) -> None:
        """Write SQLite's log into the file that the connections have open, wherever that file is now."""
        for connection in self._idle[:1]:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _open_handle(self) -> None:
        """Open the file, and create it if there is none. It becomes its owner's alone."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            self.path.parent.chmod(0o700)
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        with contextlib.suppress(PermissionError):  # an old file, which another user owns
            os.fchmod(self._handle, os.stat(self._handle).st_mode & 0o700)
        self._status = _status(self.path)

    def _connect(self, patience: float) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=patience, isolation_level=None, check_same_thread=False)
        try:
            for pragma in PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            deadline = time.monotonic() + patience
            while True:  # SQLite does not wait by itself if several programs open a new file at once
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                    break
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorname not in ("SQLITE_BUSY", "SQLITE_LOCKED") or time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _status(path: Path) -> tuple[int, ...]:
    """Return what tells a file from another one, and who may use it; nothing where there is no file."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return status.st_dev, status.st_ino, status.st_mode, status.st_uid


def damaged(path: Path, reason: object) -> FileUnusable:
    return FileUnusable(
        f"{path}: not a file of recorded talks, or damaged ({reason}): move it away, with its -wal and -shm files, and "
        "the next talk makes a new file"
    )


@contextlib.contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into a line for the user, or into the OSError of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            raise FileUnusable(f"{path}: cannot write there ({error.strerror}); choose another save_path") from None
        raise
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_FULL":
            raise OSError(errno.ENOSPC, "No space left on device", str(path)) from None
        if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
            raise damaged(path, error) from None
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
            raise FileUnusable(f"{path}: cannot write there ({error}); choose another save_path") from None
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise FileBusy(f"{path}: another program keeps it busy; try again when that program has ended") from None
        if name.startswith("SQLITE_IOERR"):
            raise RunError(f"{path}: the disk does not take it ({error}); is it full?") from None
        raise


class FileBusy(RunError):
    """Another program has kept the file for longer than the patience of this one."""
