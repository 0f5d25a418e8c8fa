"""What the scripts share: the command line, the line and the exit status of a failing script, its output.

    0    done, or already finished
    1    the machine gave out: disk full, out of memory, a loss that is not finite
    2    the user must change something; one line says what
    130  Ctrl-C        143  SIGTERM, or the terminal was closed

A script imports large libraries in the function that needs them, after it has checked its options and settings. So
`--help` and a mistake are answered before the seconds that torch takes.
"""

from __future__ import annotations

import personagpt.startup

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
from personagpt.output import check_processes, is_first_process, warn
from personagpt.settings import ENV_FILE, VALUE_TYPES
from personagpt.signals import ignore_signals, raise_on_signals

Options = TypeVar("Options")


def new_parser(doc: str) -> argparse.ArgumentParser:
    """Return the parser of a script whose docstring is `doc`, with the `--env FILE` that every script has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--env", metavar="FILE", type=Path, default=ENV_FILE, help="settings file (default: .env beside the scripts)"
    )
    return parser


def parse_options(parser: argparse.ArgumentParser, kind: type[Options], arguments: list[str] | None) -> Options:
    """Parse `arguments` (None: the command line) into a `kind`, a dataclass with a field for each option.

    Raises UserError where a setting is written as an option, or the environment names processes that cannot meet.
    """
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
        if name.lower() in VALUE_TYPES and name.lower() not in os.environ:
            right = f"{name.lower()}={shlex.quote(os.environ[name])}"
            warn(f"{name} in the environment changes nothing: settings are lower case, {right}")
    check_processes()
    return kind(**vars(options))


def command(script: str, env_file: Path, **changed: object) -> str:
    """Return the command that runs another script with the same settings, those from the environment included."""
    values = {key: os.environ[key] for key in VALUE_TYPES if key in os.environ} | changed
    parts = [f"{key}={shlex.quote(str(value))}" for key, value in values.items()]
    python = shutil.which("python")
    is_this = python is not None and os.path.abspath(python) == sys.executable
    parts += ["python" if is_this else _shown(sys.executable), _shown(str(Path(__file__).resolve().parent / script))]
    if env_file != ENV_FILE:
        parts += ["--env", shlex.quote(str(env_file))]
    return " ".join(parts)


def _shown(path: str) -> str:
    """Return `path` as a command needs it: relative where it lies below the current folder, else absolute."""
    return shlex.quote(os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path)


def run_script(main: Callable[[], int]) -> NoReturn:
    """Run `main` and end the process with its exit status."""
    personagpt.startup.set_environment()
    # torch and transformers make millions of objects while they are imported. With its default threshold, Python takes
    # a quarter of the time to look for garbage among them.
    gc.set_threshold(100_000)
    status = exit_status(main)
    ignore_signals()
    sys.exit(status)


OUT_OF_MEMORY = (
    "out of memory ({}). Lower batch_size and raise gradient_accumulation_steps by the same factor (the result stays "
    "the same), or set gradient_checkpointing = True, precision = bf16, or a smaller model_name; the last checkpoint "
    "is intact, and running the same command again goes on from it"
)

# The system's error numbers for a path that the user must change.
UNUSABLE_PATH = (
    errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip


def exit_status(main: Callable[..., int], *arguments: object) -> int:
    """Run `main` and return its exit status. Print one line on stderr in place of an expected traceback."""
    escape_unencodable()
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
        # The reader of the output has gone (`... | head`). Without a stdout, Python prints no second error at its end.
        sys.stdout = None
        return 1
    except Exception as error:
        if (line := _machine_gave_out(error)) is not None:
            return print_line(line, 1)
        if isinstance(error, OSError) and error.filename and error.errno in UNUSABLE_PATH:
            return print_line(f"{error.filename}: {error.strerror}", 2)
        raise


def _machine_gave_out(error: Exception) -> str | None:
    """Return the line for a full disk or used-up memory, None for any other error."""
    # safetensors gives the system's error number in its message only.
    written = re.search(r"os error (\d+)", str(error))
    number = error.errno if isinstance(error, OSError) else int(written.group(1)) if written else None
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
    # Of torchrun's processes the first speaks for all, except where a machine gives out.
    if status == 1 or is_first_process():
        lines = "\n".join(map(printable, str(message).split("\n")))
        with contextlib.suppress(OSError):  # the reader may have gone
            print(f"error: {lines}" if status in (1, 2) else lines, file=sys.stderr)
    return status


def escape_unencodable() -> None:
    """Escape characters that the terminal cannot encode (`\\u2028`) instead of crashing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class ClosedPipeStream:
    """A standard stream whose reader may leave (`| head`, a closed terminal). It drops text that nobody reads."""

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream or open(os.devnull, "w")  # noqa: SIM115  open until the process ends

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        try:
            self.stream.write(text)
            if "\n" in text:
                self.stream.flush()  # so that a log file has each line at once
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
def closed_pipe_output() -> Iterator[None]:
    """While open, printing never fails because the reader has gone."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(ClosedPipeStream, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
