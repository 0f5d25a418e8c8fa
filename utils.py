"""What the scripts share: the command line, the line and the exit status of a failing script, its output.

    0    done, or already finished
    1    the machine gave out: disk full, out of memory, a loss that is not finite
    2    something the user must change; one line says what
    130  Ctrl-C        143  SIGTERM, or the terminal was closed

Imports nothing heavy: a script answers `--help` and a mistake in the settings before the seconds that torch takes.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import gc
import itertools
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

from personagpt.errors import RunError, Stopped, UserError, is_out_of_memory, printable
from personagpt.settings import ENV_FILE, VALUE_TYPES
from personagpt.signals import raise_on_signals, stay_at_the_end

T = TypeVar("T")


def add_env_option(parser: argparse.ArgumentParser) -> None:
    """Give a script's command line the `--env FILE` that every script has."""
    parser.add_argument(
        "--env", metavar="FILE", type=Path, default=ENV_FILE, help="settings file (default: .env beside the scripts)"
    )


def parse_options(parser: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    """The options of a command line. Raises UserError where a setting is written as an option."""
    options, unknown = parser.parse_known_args(arguments)
    for word, following in itertools.zip_longest(unknown, unknown[1:], fillvalue=""):
        name, _, value = word.partition("=")
        near = difflib.get_close_matches(name[2:].replace("-", "_").lower(), VALUE_TYPES, n=1, cutoff=0.75)
        if word.startswith("--") and near:
            value = value or (following if not following.startswith("-") else "") or "VALUE"
            right = command(parser.prog, options.env, **{near[0]: value})
            raise UserError(f"{name}: {near[0]} is a setting, not an option: run `{right}`, or set it in {options.env}")
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    for name in set(os.environ) - set(VALUE_TYPES):
        if name.lower() in VALUE_TYPES and name.lower() not in os.environ and os.environ.get("RANK", "0") == "0":
            right = f"{name.lower()}={shlex.quote(os.environ[name])}"
            print(f"{name} in the environment changes nothing: settings are lower case, {right}", file=sys.stderr)
    return options


def command(script: str, env_file: Path, **changed: object) -> str:
    """The command that runs another script with the same settings, those from the environment included."""
    values = {key: os.environ[key] for key in VALUE_TYPES if key in os.environ} | changed
    parts = [f"{key}={shlex.quote(str(value))}" for key, value in values.items()]
    found = shutil.which("python")
    is_this = found is not None and os.path.abspath(found) == sys.executable
    parts += ["python" if is_this else _shown(sys.executable), _shown(str(Path(__file__).resolve().parent / script))]
    if env_file != ENV_FILE:
        parts += ["--env", shlex.quote(str(env_file))]
    return " ".join(parts)


def _shown(path: str) -> str:
    """`path` as a command needs it here: below the current folder relative, else absolute."""
    return shlex.quote(os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path)


def before_torch(prepare: Callable[[], T]) -> T:
    """What `prepare` returns. A mistake it finds ends the script now, before the seconds that importing torch takes."""
    found: list[T] = []
    if status := exit_status(lambda: found.append(prepare()) or 0):
        sys.exit(status)
    gc.disable()  # until run_script: nothing imported is garbage, and looking for some is a quarter of the time
    return found[0]


def run_script(main: Callable[..., int], *arguments: object) -> NoReturn:
    """Run `main` and end the process with its exit status."""
    gc.freeze()
    gc.enable()
    status = exit_status(main, *arguments)
    stay_at_the_end()
    sys.exit(status)


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
        with raise_on_signals():
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
        with contextlib.suppress(OSError):  # nobody may be there to read it
            print(f"error: {lines}" if status in (1, 2) else lines, file=sys.stderr)
    return status


def print_everything() -> None:
    """Let no letter that the terminal cannot show end a script: `\\u2028` is printed for it."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class LastingStream:
    """A standard stream whose reader may leave (`| head`, a closed terminal): what nobody reads is dropped."""

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream or open(os.devnull, "w")  # noqa: SIM115  as long as the process lasts

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        try:
            self.stream.write(text)
            if "\n" in text:
                self.stream.flush()  # a log file has each line when it is said
        except OSError as error:
            self._drop(error)
        return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise error
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """While open, printing never fails because the reader has gone."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(LastingStream, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
