"""One process that has imported everything and computed nothing, and forks the runs that bench/torture.py kills.

A start then costs a tenth of a second and not several. It reads one request a line; this file is both ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class RunServer:
    """The process that forks runs: `start` one, `wait` for it, or kill it by its process id."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "bench.run_server"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )
        assert self._read() == {"ready": True}

    def start(self, kind: str, arguments: list[str], log: Path, file_limit: int = 0) -> int:
        """Fork a run of `kind`, one of `serve`'s; returns its process id.

        With `file_limit` no file of its may grow beyond so many bytes: the disk is full, as far as it can tell.
        """
        request = {"start": kind, "arguments": arguments, "log": str(log), "file_limit": file_limit}
        return self._ask(request)["pid"]

    def status(self, pid: int, wait: bool) -> int | None:
        """The exit status of `pid`, minus the signal that killed it, or None while it runs."""
        return self._ask({"status": pid, "wait": wait})["status"]

    def close(self) -> None:
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
    """The other end: import everything, compute nothing, fork on request."""
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
                _become(request, exit_status, kinds[request["start"]])
            answer = {"pid": pid}
        else:
            found, result = os.waitpid(request["status"], 0 if request["wait"] else os.WNOHANG)
            answer = {"status": os.waitstatus_to_exitcode(result) if found else None}
        print(json.dumps(answer), flush=True)


def _become(request: dict, exit_status: Callable, main: Callable) -> None:
    """What a fork does: the run that was asked for, and end with its status."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    if request["file_limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"],) * 2)
    os.rename, os.replace = _slowly(os.rename), _slowly(os.replace)
    try:
        status = exit_status(main, request["arguments"])
    except Exception:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _slowly(rename: Callable) -> Callable:
    """A moment before every rename, so that kills fall between two of them."""

    def slow(*paths: object, **options: object) -> None:
        time.sleep(0.002)
        rename(*paths, **options)

    return slow


def until_terminated() -> Iterator[None]:
    """Yields until SIGTERM came."""
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    while not stopped:
        yield
        time.sleep(0.005)


def read_checkpoints(arguments: list[str]) -> int:
    """Load the checkpoints in turn until SIGTERM; prints how many were read. Any failure ends it with a traceback."""
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
    """Run evaluate.py until SIGTERM; prints how often it came to an end. A line for the user is no failure."""
    from personagpt.errors import UserError

    count = 0
    for _ in until_terminated():
        with contextlib.suppress(UserError):  # before the first checkpoint there is nothing to score
            main(arguments)
            count += 1
    print(f"scored {count}")
    return 0


if __name__ == "__main__":
    serve()
