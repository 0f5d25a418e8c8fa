"""Kill training at random instants, many of them inside a save, start it again, and see whether anything is lost.

    python -m bench.torture [--kills 200] [--seed 0]      (make torture)

Trains on a few dialogues of data/sample in a temporary folder, dropout on: once without interruption, then again and
again under SIGKILL, every other time while a checkpoint is being written, until a run ends. Its weights, loss.csv,
eval.csv and responses.txt must equal the uninterrupted run's byte for byte (columns of time and speed left out).
Meanwhile another process loads `checkpoint/model` and `checkpoint/best` with from_pretrained over and over.

Prints kills survived, checkpoints read, and what was lost, which must be 0; exits with 1 if it is not.

Every run is forked from one process that has imported everything and computed nothing, so that a start costs a tenth
of a second and not several. That process reads one request a line; this file is both ends.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "sample"
TIMES = ("tokens_per_second", "seconds", "peak_gpu_memory_gb")


@dataclass
class Tally:
    """What happened."""

    kills: int = 0
    kills_inside_save: int = 0
    runs_finished: int = 0
    checkpoints_read: int = 0
    lost: list[str] = field(default_factory=list)


class RunServer:
    """The process that forks runs: `start` one, `wait` for it, or kill it by its process id."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "bench.torture", "--serve"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )
        assert self._read() == {"ready": True}

    def start(self, kind: str, arguments: list[str], log: Path, file_limit: int = 0) -> int:
        """Fork a run of `kind` ("train", "preprocess" or "read"); returns its process id.

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
    import transformers  # noqa: F401
    from matplotlib.figure import Figure  # noqa: F401
    from transformers import GPT2LMHeadModel  # noqa: F401

    import preprocess_dataset
    import train
    from utils import exit_status

    kinds = {"train": train.main, "preprocess": preprocess_dataset.main, "read": read_checkpoints}
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            pid = os.fork()
            if pid == 0:
                log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(log, 1)
                os.dup2(log, 2)
                status = 1
                if request["file_limit"]:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"],) * 2)
                try:
                    status = exit_status(kinds[request["start"]], request["arguments"])
                finally:
                    sys.stdout.flush()
                    os._exit(status)
            answer = {"pid": pid}
        else:
            found, result = os.waitpid(request["status"], 0 if request["wait"] else os.WNOHANG)
            answer = {"status": os.waitstatus_to_exitcode(result) if found else None}
        print(json.dumps(answer), flush=True)


def read_checkpoints(arguments: list[str]) -> int:
    """Load the checkpoints in turn until SIGTERM; prints how many were read. Any failure ends it with a traceback."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    count = 0
    while not stopped:
        for link in map(Path, arguments):
            if link.exists():
                model, tokenizer = AutoModelForCausalLM.from_pretrained(link), AutoTokenizer.from_pretrained(link)
                assert model.get_input_embeddings().num_embeddings == len(tokenizer)
                count += 1
        time.sleep(0.005)
    print(f"read {count}")
    return 0


def first_dialogues(path: Path, count: int) -> str:
    """The text of the first `count` dialogues of a ConvAI2 file."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    starts = [index for index, line in enumerate(lines) if line.startswith("1 ")]
    return "".join(lines[: starts[count]])


def write_data(folder: Path, train: int, valid: int) -> None:
    """The first dialogues of the sample corpus."""
    for name, count in (("train", train), ("valid", valid)):
        file = f"{name}_both_original_no_cands.txt"
        (folder / file).write_text(first_dialogues(SAMPLE / file, count), encoding="utf-8")


def copy_base(folder: Path, dropout: float) -> Path:
    """The sample's base model with another dropout: with it on, a run depends on every random number it draws."""
    shutil.copytree(SAMPLE / "base", folder)
    config = json.loads((folder / "config.json").read_text())
    config |= dict.fromkeys(("attn_pdrop", "resid_pdrop", "embd_pdrop"), dropout)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_run_settings(folder: Path, data: Path) -> Path:
    """Settings of a run of 12 steps that saves at every second one; `data` holds the text and `base/`."""
    folder.mkdir()
    env = folder / ".env"
    env.write_text(
        f"save_path = './save'\ndata_path = '{data}'\nmodel_name = '{data / 'base'}'\n"
        "epochs = 3\nlearn_rate = 1e-3\ngradient_accumulation_steps = 2\nbatch_size = 2\nweight_decay = 0.0\n"
        "logging_steps = 3\nsave_steps = 2\nprecision = fp32\n"
    )
    return env


def outcome(env: Path) -> dict[str, str]:
    """What a run ends with: a checksum of its weights, and its logs without the columns of time."""
    save = env.parent / "save"
    logs = {}
    for name in ("loss.csv", "eval.csv"):
        with open(save / "samples" / name, newline="") as file:
            logs[name] = repr([{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)])
    weights = {
        name: hashlib.sha256((save / "checkpoint" / name / "model.safetensors").read_bytes()).hexdigest()
        for name in ("model", "best")
    }
    return weights | logs | {"responses.txt": (save / "samples" / "responses.txt").read_text()}


def torture(server: RunServer, folder: Path, kills: int, seed: int = 0, say: object = print) -> Tally:
    """Kill `kills` times and compare every run that ends with one that was never interrupted."""
    tally, chance = Tally(), random.Random(seed)
    data = folder / "data"
    data.mkdir()
    write_data(data, train=8, valid=2)
    copy_base(data / "base", dropout=0.1)
    calm = write_run_settings(folder / "calm", data)
    started = time.monotonic()
    for kind in ("preprocess", "train"):
        pid = server.start(kind, ["--env", str(calm)], folder / "calm.log")
        if server.status(pid, wait=True) != 0:
            raise RuntimeError((folder / "calm.log").read_text())
    length = time.monotonic() - started
    expected = outcome(calm)
    while tally.kills < kills or tally.runs_finished == 0:
        env = write_run_settings(folder / f"run-{tally.runs_finished}", data)
        server.status(server.start("preprocess", ["--env", str(env)], env.parent / "log"), wait=True)
        links = [str(env.parent / "save" / "checkpoint" / name) for name in ("model", "best")]
        reader = server.start("read", links, env.parent / "reader.log")
        while not _run_once(server, env, tally, chance, length if tally.kills < kills else None):
            pass
        os.kill(reader, signal.SIGTERM)
        if server.status(reader, wait=True) != 0:
            tally.lost.append(f"the reader failed: {(env.parent / 'reader.log').read_text()[-400:]}")
        else:
            tally.checkpoints_read += int((env.parent / "reader.log").read_text().split()[-1])
        found = outcome(env)
        tally.lost += [
            f"run {tally.runs_finished}: {name} differs" for name in expected if found[name] != expected[name]
        ]
        tally.runs_finished += 1
        say(f"{tally.kills} kills, {tally.runs_finished} runs finished, {len(tally.lost)} lost")
    return tally


def _run_once(server: RunServer, env: Path, tally: Tally, chance: random.Random, length: float | None) -> bool:
    """Start training, and kill it at a random instant within `length` seconds (never if None); whether it ended."""
    pid = server.start("train", ["--env", str(env)], env.parent / "log")
    if length is None:
        status = server.status(pid, wait=True)
    else:
        status = _kill_later(server, pid, env.parent / "save" / "checkpoint", tally, chance, length)
    if status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"status {status}: {(env.parent / 'log').read_text()[-800:]}")
    return status == 0


def _kill_later(
    server: RunServer, pid: int, checkpoints: Path, tally: Tally, chance: random.Random, length: float
) -> int:
    """SIGKILL after a random time, or every other time as soon as a save is under way and a little later."""
    inside_save = tally.kills % 2 == 1
    deadline = time.monotonic() + chance.uniform(0.05, 1.0) * length
    while time.monotonic() < deadline:
        if inside_save and any(checkpoints.glob("tmp-*")):
            time.sleep(chance.uniform(0, 0.02))
            break
        if (ended := server.status(pid, wait=False)) is not None:
            return ended
        time.sleep(0.001)
    inside = any(checkpoints.glob("tmp-*"))
    os.kill(pid, signal.SIGKILL)
    status = server.status(pid, wait=True)
    tally.kills += status == -signal.SIGKILL  # it may have ended just before
    tally.kills_inside_save += inside and status == -signal.SIGKILL
    return status


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return 0
    server = RunServer()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = torture(server, Path(folder), options.kills, options.seed)
    server.close()
    print(f"kills survived        {tally.kills} ({tally.kills_inside_save} of them inside a save)")
    print(f"runs compared         {tally.runs_finished}, each byte for byte with one never interrupted")
    print(f"checkpoints read      {tally.checkpoints_read} while they were being replaced")
    print(f"lost                  {len(tally.lost)}")
    print(f"seconds               {time.monotonic() - start:.0f}")
    for line in tally.lost:
        print("  " + line)
    return 1 if tally.lost else 0


if __name__ == "__main__":
    sys.exit(main())
