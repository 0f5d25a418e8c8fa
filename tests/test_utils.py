"""Exit statuses and the one line on stderr."""

from __future__ import annotations

from utils import command, exit_status, new_parser

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from personagpt.errors import RunError, Stopped, UserError
from personagpt.model.loading import ModelError
from personagpt.sequences.format import DataError
from personagpt.settings import ENV_FILE
from personagpt.text.convai2 import TextError
from tests.helpers import ROOT, be_process


def raising(error: BaseException):  # noqa: ANN201
    def main() -> int:
        raise error

    return main


def os_error(code: int, name: str | None = "/there") -> OSError:
    return OSError(code, os.strerror(code), name) if name else OSError(code, os.strerror(code))


@pytest.mark.parametrize(
    ("rank", "error", "status", "printed"),
    [
        ("0", UserError("a"), 2, "error: a\n"),
        ("1", UserError("a"), 2, ""),
        ("1", Stopped("b", 143), 143, ""),
        ("1", RunError("c"), 1, "error: c\n"),  # its own machine gave out, perhaps
    ],
)
def test_the_first_process_speaks_for_all(rank, error, status, printed, monkeypatch, capsys) -> None:
    be_process(monkeypatch, rank)
    assert exit_status(raising(error)) == status
    assert capsys.readouterr().err == printed


class OutOfMemoryError(RuntimeError):
    """Named as torch's, which needs a GPU."""


class SafetensorError(Exception):
    """Named as safetensors', which tells the system's error number in its message only."""


CompilerError = type("BackendCompilerFailed", (RuntimeError,), {"__module__": "torch._dynamo.exc"})


def test_a_terminal_that_cannot_show_a_letter() -> None:
    program = "from utils import exit_status; exit_status(lambda: print('caf\\u00e9 \\u4f60\\udc80'))"
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("caf\\xe9 \\u4f60\\udc80\n", "")


def test_an_error_cannot_control_the_terminal(capsys) -> None:
    assert exit_status(raising(TextError("t:1: \x1b[31m\nt:2: b"))) == 2
    assert capsys.readouterr().err == "error: t:1:  [31m\nt:2: b\n"


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("mend it"), 2, "error: mend it"),
        (TextError("t:1: b"), 2, "error: t:1: b"),
        (DataError("d"), 2, "error: d"),
        (ModelError("m"), 2, "error: m"),
        (RunError("the loss is not finite"), 1, "error: the loss is not finite"),
        (Stopped("stopped at step 3", 130), 130, "stopped at step 3"),
        (Stopped("stopped at step 3", 143), 143, "stopped at step 3"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
        (os_error(errno.ENOSPC), 1, "error: the disk is full while writing /there: free some space, then "),
        (os_error(errno.EDQUOT), 1, "error: the disk is full while writing /there: free some space, then "),
        (os_error(errno.ENOSPC, None), 1, "error: the disk is full: free some space, then "),
        (os_error(errno.EACCES), 2, "error: /there: Permission denied"),
        (os_error(errno.EISDIR), 2, "error: /there: Is a directory"),
        (os_error(errno.ENOTDIR), 2, "error: /there: Not a directory"),
        (os_error(errno.EEXIST), 2, "error: /there: File exists"),
        (os_error(errno.EROFS), 2, "error: /there: Read-only file system"),
        (os_error(errno.ENAMETOOLONG), 2, "error: /there: File name too long"),
        (
            SafetensorError("Error: I/O error: No space left on device (os error 28)"), 1,
            "error: the disk is full: free ",
        ),
        (
            CompilerError("backend='inductor' raised:\nno compiler"), 1,
            "error: compiling the model failed (backend='inductor' ",
        ),
        (
            MemoryError("Unable to allocate 9 TiB"), 1,
            "error: out of memory (Unable to allocate 9 TiB). Lower batch_size",
        ),
        (MemoryError(), 1, "error: out of memory (no memory left). Lower batch_size"),
        (OutOfMemoryError("CUDA out of memory. Tried 3 GiB.\nMore"), 1, "error: out of memory (CUDA out of memory). "),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1,
            "error: out of memory (DefaultCPUAllocator: can't allocate memory",
        ),
    ],
)  # fmt: skip
def test_one_line_and_the_status(capsys, error, status, line) -> None:
    assert exit_status(raising(error)) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert err.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("a bug"), os_error(errno.EIO), SystemExit(3)])
def test_a_bug_keeps_its_traceback(error) -> None:
    with pytest.raises(type(error)) as caught:
        exit_status(raising(error))
    assert caught.value is error


def test_mains_own_status_and_arguments_pass() -> None:
    assert exit_status(lambda: 0) == 0
    assert exit_status(lambda first, second: first + second, 3, 4) == 7


@pytest.mark.parametrize("number", [1, 2])
def test_a_reader_who_leaves_does_not_end_a_training(root, tmp_path, number) -> None:
    """`python train.py | head`: what is printed then is dropped, on stdout (1) and stderr (2)."""
    program = (
        "import sys; from utils import closed_pipe_output, run_script\n"
        "def main():\n"
        "    with closed_pipe_output():\n"
        f"        for _ in range(99): print('x' * 9999, file=(sys.stdout, sys.stderr)[{number} - 1])\n"
        "    open(sys.argv[1], 'w').write('trained'); return 0\n"
        "run_script(main)"
    )
    reader, writer = os.pipe()
    os.close(reader)
    outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {("stdout", "stderr")[number - 1]: writer}
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "log")], cwd=root, **outputs)
    os.close(writer)
    assert done.returncode == 0
    assert not done.stdout
    assert not done.stderr
    assert (tmp_path / "log").read_text() == "trained"


def test_a_reader_who_leaves_causes_no_traceback(root) -> None:
    program = "import sys; from utils import exit_status\n"
    program += "sys.exit(exit_status(lambda: [print('x' * 9999) for _ in range(999)] and 0))"
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 1


def test_the_option_every_script_has() -> None:
    parser = new_parser("what it does")
    assert parser.parse_args([]).env == ENV_FILE
    assert parser.parse_args(["--env", "other"]).env == Path("other")


def test_a_printed_command_has_the_settings_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("epochs", "2")
    monkeypatch.setenv("save_path", "my runs")
    monkeypatch.setenv("EPOCHS", "3")
    assert command("train.py", ENV_FILE).startswith("save_path='my runs' epochs=2 ")
    assert command("train.py", ENV_FILE, epochs=1).startswith("save_path='my runs' epochs=1 ")
    assert command("train.py", tmp_path / "b c").endswith(f" --env '{tmp_path}/b c'")
