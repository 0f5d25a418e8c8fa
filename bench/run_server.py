"""A server process that imports every module, computes nothing, and forks the runs that bench/torture.py kills.

A forked run starts in a tenth of a second, in place of several seconds. The server reads a request a line. This module
holds both ends: `RunServer` asks, `serve` answers.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class RunServer:
    """A handle on the server process. A run is known by its process id."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "bench.run_server"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )
        assert self._read() == {"ready": True}

    def start(self, kind: str, arguments: list[str], log: Path, file_limit: int = 0, processes: int = 1) -> int:
        """Fork a run of `kind`, a key of `serve`'s table. Return its process id, which is also its process group's.

        With `file_limit`, no file of the run may grow beyond so many bytes: to the run, the disk looks full.
        Several `processes` work together as those of torchrun do. The id is that of the first process, and the
        other processes die with it.
        """
        request = {"start": kind, "arguments": arguments, "log": str(log), "file_limit": file_limit}
        request["processes"] = processes
        return self._ask(request)["pid"]

    def status(self, pid: int, wait: bool) -> int | None:
        """Return the exit status of `pid`, None while it runs. A run that a signal killed has the negative signal."""
        return self._ask({"status": pid, "wait": wait})["status"]

    def close(self) -> None:
        """End the server process."""
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def _ask(self, request: dict) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that forks runs has ended with status {self.process.wait()}")
        return json.loads(line)


def serve() -> None:
    """Import every module, then fork runs on request."""
    from utils import exit_status

    import transformers  # noqa: F401
    from matplotlib.figure import Figure  # noqa: F401
    from transformers import GPT2LMHeadModel  # noqa: F401

    import evaluate
    import interact
    import preprocess_dataset
    import train

    kinds = {
        "train": train.main,
        "preprocess": preprocess_dataset.main,
        "export": interact.main,
        "read": read_checkpoints,
        "evaluate": lambda arguments: evaluate_over_and_over(evaluate.main, arguments),
    }
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            pid = os.fork()
            if pid == 0:
                _die_with_parent()
                _become(request, exit_status, kinds[request["start"]])
            os.setpgid(pid, pid)  # so that one call can kill all processes of the run
            answer = {"pid": pid}
        else:
            ended_pid, result = os.waitpid(request["status"], 0 if request["wait"] else os.WNOHANG)
            answer = {"status": os.waitstatus_to_exitcode(result) if ended_pid else None}
        print(json.dumps(answer), flush=True)


def _become(request: dict, exit_status: Callable, main: Callable) -> None:
    """Turn this fork into the requested run, and end the process with the run's exit status."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    if request["file_limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"],) * 2)
    os.rename, os.replace = _slowly(os.rename), _slowly(os.replace)
    others = _join(request["processes"]) if request["processes"] > 1 else []
    try:
        status = exit_status(main, request["arguments"])
        status = max([status, *(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in others)], key=abs)
    except Exception:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _join(count: int) -> list[int]:
    """Fork until there are `count` processes, each with the environment that torchrun gives. Return the forks' ids.

    In the forks the list is empty.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    forks = []
    for rank in range(1, count):
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        pid = os.fork()
        if pid == 0:
            _die_with_parent()
            return []
        forks.append(pid)
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0"}
    return forks


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _slowly(rename: Callable) -> Callable:
    """Return a `rename` that waits a moment first, so that kills fall between two renames."""

    def slow(*paths: object, **options: object) -> None:
        time.sleep(0.002)
        rename(*paths, **options)

    return slow


def until_terminated() -> Iterator[None]:
    """Yield until SIGTERM comes."""
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    while not stopped:
        yield
        time.sleep(0.005)


def read_checkpoints(arguments: list[str]) -> int:
    """Load the checkpoints in turn until SIGTERM, then print how many were read. A failure is a traceback."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    count = 0
    for _ in until_terminated():
        for link in map(Path, arguments):
            if link.is_dir():
                model, tokenizer = AutoModelForCausalLM.from_pretrained(link), AutoTokenizer.from_pretrained(link)
                assert model.get_input_embeddings().num_embeddings == len(tokenizer)
                count += 1
    print(f"read {count}")
    return 0


def evaluate_over_and_over(main: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Run evaluate.py until SIGTERM, then print how often it finished. A UserError is no failure."""
    from personagpt.errors import UserError

    count = 0
    for _ in until_terminated():
        with contextlib.suppress(UserError):  # there is no model before the first checkpoint
            main(arguments)
            count += 1
    print(f"scored {count}")
    return 0


if __name__ == "__main__":
    serve()
