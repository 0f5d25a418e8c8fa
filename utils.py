"""What the scripts share: the --env option, the line and the exit status of a failing script, signals.

    0    done, or already finished
    1    the machine gave out: disk full, out of memory, a loss that is not finite
    2    something the user must change; one line says what
    130  Ctrl-C        143  SIGTERM

Imports nothing heavy: a script answers `--help` and a mistake in the settings before the seconds that torch takes.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from personagpt.errors import RunError, Stopped, UserError, is_out_of_memory, printable
from personagpt.settings import ENV_FILE, VALUE_TYPES


def add_env_option(parser: argparse.ArgumentParser) -> None:
    """Give a script's command line the `--env FILE` that every script has."""
    parser.add_argument(
        "--env", metavar="FILE", type=Path, default=ENV_FILE, help="settings file (default: .env beside the scripts)"
    )


def env_option(env_file: Path) -> str:
    """What to add to the next script's command so that it uses the same settings file."""
    return "" if env_file == ENV_FILE else f" --env {shlex.quote(str(env_file))}"


def command(script: str, env_file: Path) -> str:
    """The command that runs another script with the same settings, those from the environment included."""
    changed = [f"{key}={shlex.quote(os.environ[key])} " for key in VALUE_TYPES if key in os.environ]
    return f"{''.join(changed)}python {script}{env_option(env_file)}"


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
    print_everything()
    try:
        return main(*arguments)
    except UserError as error:
        return print_line(error, 2)
    except RunError as error:
        return print_line(error, 1)
    except Stopped as error:
        return print_line(error, error.status)
    except KeyboardInterrupt:
        return print_line("stopped by Ctrl-C", 130)
    except BrokenPipeError:
        # The reader of our output has gone (`... | head`); leave no second error from closing stdout.
        sys.stdout = None
        return 1
    except Exception as error:
        if (line := _machine_gave_out(error)) is not None:
            return print_line(line, 1)
        if isinstance(error, OSError) and error.filename and error.errno in UNUSABLE_PATH:
            return print_line(f"{error.filename}: {error.strerror}", 2)
        raise


def _machine_gave_out(error: Exception) -> str | None:
    """The line for a full disk or used-up memory, None for any other error."""
    # safetensors reports the system's error number in its message only.
    found = re.search(r"os error (\d+)", str(error))
    number = error.errno if isinstance(error, OSError) else int(found.group(1)) if found else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        where = f" while writing {error.filename}" if getattr(error, "filename", None) else ""
        return f"the disk is full{where}: free some space, then run the same command again to go on"
    if is_out_of_memory(error):
        return OUT_OF_MEMORY.format(str(error).split("\n", 1)[0].split(". ", 1)[0] or "no memory left")
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        reason = str(error).strip().partition("\n")[0]
        return f"compiling the model failed ({reason}): set compile = False and run again"
    return None


def print_line(message: object, status: int) -> int:
    """Print why a script ends, and return `status`."""
    # Of torchrun's processes the first one speaks for all, except where a machine gives out.
    if status == 1 or os.environ.get("RANK", "0") == "0":
        lines = "\n".join(map(printable, str(message).split("\n")))
        print(f"error: {lines}" if status in (1, 2) else lines, file=sys.stderr)
    return status


def print_everything() -> None:
    """Let no letter that the terminal cannot show end a script: `\\u2028` is printed for it."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class StopSignals:
    """While open, the first SIGINT or SIGTERM only sets `status` (130, 143); a second Ctrl-C stops at once."""

    def __enter__(self) -> StopSignals:
        self.status = 0
        self.before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.status = 128 + number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def end_on_signals() -> Iterator[None]:
    """While open, SIGTERM and a closed terminal end the talk as Ctrl-C does: it is recorded first."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped("stopped; the talk is recorded", 128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
