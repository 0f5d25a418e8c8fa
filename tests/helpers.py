"""What several test modules use: where things are, a small run of train.py, and what it left behind."""

from __future__ import annotations

from utils import exit_status

import csv
import json
import multiprocessing
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import preprocess_dataset
import train
from personagpt.sequences.batches import StepPlan
from personagpt.sequences.dataset import Tensors
from personagpt.settings import TEXT_NAMES

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "data" / "sample"
SHARED = ROOT.parent / "shared"

# The settings file that must work as it is: the nine required keys and nothing else.
NINE_LINES = """\
save_path = './save'
data_path = './data'
epochs = 3
learn_rate = 5e-5
gradient_accumulation_steps = 8
batch_size = 1
weight_decay = 0.0
logging_steps = 10
save_steps = 250
"""
NINE_KEYS = {key: value.strip("'") for key, value in (line.split(" = ") for line in NINE_LINES.splitlines())}


# Three sequences of a vocabulary of 10, in two dialogues.
VALID = Tensors(
    tokens=np.array([5, 6, 7, 8, 9, 5, 6, 7, 8], np.int32),
    offsets=np.array([0, 5, 9]),
    responses=np.array([[1, 2], [3, 5], [7, 9]]),
    response_offsets=np.array([0, 2, 3]),
    dialogues=np.array([0, 0]),
)
METADATA = {"vocabulary": "10", "context": "5", "max_turns": "20"}

# The settings that the exactness of a resume could depend on. Each two values of two settings meet in one variety.
# Few utterances a dialogue keep bf16 quick: many a processor computes it slowly.
GOALS = "ask about work.\task\twork job living\nask about music.\task\tmusic listen\n"
_BF16 = {"precision": "bf16", "max_turns": 2}
_GOALS = {"goals": "goals.tsv", "max_turns": 2, "gradient_accumulation_steps": 3}  # 3 steps an epoch, as without goals
_GOALS |= {"shuffle_facts": True}
_CHECKPOINTING = {"gradient_checkpointing": True}
_RANDOM = {"init": "random"}
VARIETIES: dict[str, dict[str, object]] = {
    "plain": {},
    "bf16-goals-checkpointing": _BF16 | _GOALS | _CHECKPOINTING,
    "random-goals-checkpointing": _RANDOM | _GOALS | _CHECKPOINTING,
    "random-bf16-checkpointing": _RANDOM | _BF16 | _CHECKPOINTING,
    "random-bf16-goals": _RANDOM | _BF16 | _GOALS,
}


# What torchrun tells the second of two processes.
SECOND_PROCESS = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}

COMMIT = "1234567890" * 4  # what the hub calls a version of a model

TIMES = ("tokens_per_second", "seconds", "peak_gpu_memory_gb")  # columns of loss.csv that differ from run to run


@dataclass
class Outcome:
    """What a script left: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """What stderr ends with, after the progress bars."""
        return self.err.rpartition("\r")[2].removesuffix("\n")


def be_process(monkeypatch: pytest.MonkeyPatch, rank: str) -> None:
    """Let this process be the first, "0", or the second of two that torchrun started."""
    for name, value in (SECOND_PROCESS | {"RANK": rank}).items():
        monkeypatch.setenv(name, value)


def keep_from_the_hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files of nobody/a-model lie, as if they had been fetched before."""
    cache = tmp_path / "hub" / "models--nobody--a-model"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return Path(shutil.copytree(folder, cache / "snapshots" / COMMIT))


def write_data(folder: Path, **counts: int) -> None:
    """Write the first dialogues of the sample corpus: `train=12, valid=3`."""
    for split, count in counts.items():
        lines = (SAMPLE / TEXT_NAMES[split]).read_text().splitlines(keepends=True)
        starts = [index for index, line in enumerate(lines) if line.startswith("1 ")]
        (folder / TEXT_NAMES[split]).write_text("".join(lines[: starts[count]]))


def copy_base(folder: Path, dropout: float) -> Path:
    """Copy the first two blocks of the sample's base model: a quick base. With dropout, all random numbers matter."""
    shutil.copytree(SAMPLE / "base", folder)
    config = json.loads((folder / "config.json").read_text())
    config |= dict.fromkeys(("attn_pdrop", "resid_pdrop", "embd_pdrop"), dropout) | {"n_layer": 2}
    (folder / "config.json").write_text(json.dumps(config))
    kept = {
        name: tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
        if not re.search(r"\bh\.([2-9]|\d\d)\.", name)
    }
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return folder


def prepare_run(folder: Path, data: Path, **changes: object) -> Path:
    """A settings file for a run of 3 steps an epoch; preprocesses where there are no tensors yet."""
    values = {
        "save_path": folder / "save",
        "data_path": data,
        "model_name": data / "base",
        "epochs": 2,
        "learn_rate": 1e-3,
        "gradient_accumulation_steps": 2,
        "batch_size": 4,
        "weight_decay": 0.01,
        "logging_steps": 2,
        "save_steps": 2,
        "max_turns": 6,  # short sequences are quick
    } | changes
    env = folder / ".env"
    env.write_text("".join(f"{key} = '{value}'\n" for key, value in values.items()))
    (folder / "goals.tsv").write_text(GOALS)
    if not (folder / "save" / "train_data.safetensors").exists():
        assert preprocess_dataset.main(["--env", str(env)]) == 0
    return env


def train_run(env: Path, *options: str) -> int:
    return exit_status(train.main, ["--env", str(env), *options])


def free_port() -> int:
    """Return a port of this machine on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def group_before(step: int, act: Callable[[], None]) -> Callable:
    """StepPlan.group that does `act` before the sequences of `step` are given out."""
    plan_group = StepPlan.group

    def group(plan: StepPlan, asked: int) -> object:
        if asked == step:
            act()
        return plan_group(plan, asked)

    return group


def die(*_: object) -> None:
    """Stand in for a process that dies: nothing is saved."""
    raise ZeroDivisionError


def train_in_two_processes(env: Path, prepare: Callable[[int], None] | None = None) -> tuple[list[int], str]:
    """Run train.py in two processes as torchrun would. Return their exit statuses, and what the first one printed.

    prepare(rank) is called in each process before. The processes are forks of one that has imported torch already.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.helpers", "personagpt.training.recorder"])
    port = free_port()
    logs = [env.with_name(f"process-{rank}.log") for rank in (0, 1)]
    processes = [context.Process(target=_train_as, args=(rank, port, env, logs[rank], prepare)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes], logs[0].read_text()


def _train_as(rank: int, port: int, env: Path, log: Path, prepare: Callable[[int], None] | None) -> None:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2, "RANK": rank, "LOCAL_RANK": rank}
    os.environ |= {name: str(value) for name, value in place.items()}
    with open(log, "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    if prepare:
        prepare(rank)
    sys.exit(train_run(env))


def rows(env: Path, name: str = "loss.csv") -> list[dict[str, str]]:
    """A log's rows without the columns of time."""
    with open(env.parent / "save" / "samples" / name, newline="") as file:
        return [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(file)]


def weights(env: Path, name: str = "model") -> dict[str, torch.Tensor]:
    return load_file(env.parent / "save" / "checkpoint" / name / "model.safetensors")


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
