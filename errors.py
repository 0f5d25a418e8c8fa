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
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            where = f" while writing {error.filename}" if error.filename else ""
            return _say(f"the disk is full{where}: free some space, then run the same command again to go on", 1)
        if isinstance(error, (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)):
            return _say(f"{error.filename}: {error.strerror}", 2)
        raise
    except (MemoryError, RuntimeError) as error:
        # torch's OutOfMemoryError is a RuntimeError, and so is its CPU allocator's failure; torch may not be imported.
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return _say(OUT_OF_MEMORY.format(_first_line(error) or "no memory left"), 1)
        if "can't allocate memory" in str(error):
            return _say(OUT_OF_MEMORY.format("the CPU's memory is used up"), 1)
        raise


def _say(message: object, status: int) -> int:
    print(f"error: {message}" if status in (1, 2) else str(message), file=sys.stderr)
    return status


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0].split(". ", 1)[0]
