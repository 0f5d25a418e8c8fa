"""What a failing script prints, and the status it exits with.

    0    done, or already finished
    1    the machine gave out: disk full, out of memory, a loss that is not finite
    2    something the user must change; one line says what
    130  Ctrl-C        143  SIGTERM

Every module raises its own subclass of `UserError` (`SettingsError`, `TextError`, `DataError`, `CheckpointError`);
only `exit_status` turns them into lines.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake the user can mend. The message is one line that says what is wrong and what to do."""


class RunError(Exception):
    """The run cannot go on, through no mistake in the settings. The message is one line."""


class Stopped(Exception):
    """The user or the system asked the run to stop; `status` is 130 (SIGINT) or 143 (SIGTERM)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


OUT_OF_MEMORY = (
    "out of memory ({}). Lower batch_size and raise gradient_accumulation_steps by the same factor (the result stays "
    "the same), or set gradient_checkpointing = True, precision = bf16, or a smaller model_name; the last checkpoint "
    "is intact, and running the same command again goes on from it"
)

# What the system answers to a path that the user must change.
UNUSABLE_PATH = (
    errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip


def exit_status(main: Callable[..., int], *arguments: object) -> int:
    """Run `main` and return its exit status, with one line on stderr in place of an expected traceback."""
    try:
        return main(*arguments)
    except UserError as error:
        return _say(error, 2)
    except RunError as error:
        return _say(error, 1)
    except Stopped as error:
        return _say(error, error.status)
    except KeyboardInterrupt:
        return _say("stopped by Ctrl-C", 130)
    except BrokenPipeError:
        # The reader of our output has gone (`... | head`); leave no second error from closing stdout.
        sys.stdout = None
        return 1
    except Exception as error:
        if (line := _machine_gave_out(error)) is not None:
            return _say(line, 1)
        if isinstance(error, OSError) and error.filename and error.errno in UNUSABLE_PATH:
            return _say(f"{error.filename}: {error.strerror}", 2)
        raise


def _machine_gave_out(error: Exception) -> str | None:
    """The line for a full disk or used-up memory, None for any other error."""
    # safetensors reports the system's error number in its message only.
    found = re.search(r"os error (\d+)", str(error))
    number = error.errno if isinstance(error, OSError) else int(found.group(1)) if found else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        where = f" while writing {error.filename}" if getattr(error, "filename", None) else ""
        return f"the disk is full{where}: free some space, then run the same command again to go on"
    # torch's OutOfMemoryError and what CUDA's libraries, MPS and the CPU's allocator raise are all RuntimeErrors.
    full = isinstance(error, RuntimeError) and re.search("out of memory|can't allocate memory|ALLOC_FAILED", str(error))
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or full:
        return OUT_OF_MEMORY.format(str(error).split("\n", 1)[0].split(". ", 1)[0] or "no memory left")
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return f"compiling the model failed ({str(error).strip().partition(chr(10))[0]}): set compile = False and run again"
    return None


def _say(message: object, status: int) -> int:
    # Of torchrun's processes the first one speaks for all, except where a machine gives out.
    if status == 1 or os.environ.get("RANK", "0") == "0":
        print(f"error: {message}" if status in (1, 2) else str(message), file=sys.stderr)
    return status
