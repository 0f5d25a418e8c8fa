"""Several processes under torchrun (gloo, on the CPU) take the steps one process takes, and resume after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.families import write_base
from tests.helpers import (
    ROOT,
    VARIETIES,
    copy_base,
    prepare_run,
    rows,
    same,
    train_in_two_processes,
    train_run,
    weights,
    write_data,
)
from tests.sequences.pairs import of_corpus, written

LONGEST = 600  # seconds that a run may take on a busy machine


def torchrun(env: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, str(ROOT / "train.py"), "--env", str(env)], env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9 training dialogues: 18 sequences, so that the last step is smaller and one process's share of it is empty.

    Beside them, a file of preferences.
    """
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, train=9, valid=2)
    copy_base(folder / "base", dropout=0.1)
    written(folder, *of_corpus(folder / "train_both_original_no_cands.txt", 8))
    return folder


def test_two_processes_equal_one(tmp_path: Path, data: Path) -> None:
    base = copy_base(tmp_path / "base", dropout=0.0)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    common = {"model_name": base, "epochs": 1, "logging_steps": 1, "save_steps": 100, "batch_size": 2}
    common |= {"shuffle_facts": True, "preferences": data / "preferences.jsonl"}
    one = prepare_run(tmp_path / "one", data, gradient_accumulation_steps=4, **common)
    two = prepare_run(tmp_path / "two", data, gradient_accumulation_steps=2, **common)
    assert train_run(one) == 0
    statuses, output = train_in_two_processes(two)
    assert statuses == [0, 0], output
    assert len(rows(one)) == 3
    for ours, theirs in zip(rows(one), rows(two), strict=True):
        for column in ("loss", "learn_rate", "grad_norm", "preference_loss", "preference_accuracy"):
            assert float(ours[column]) == pytest.approx(float(theirs[column]), abs=1e-5)
    assert output.count("finished: 3 steps") == 1  # only the first process speaks


def test_a_killed_process_costs_nothing(tmp_path: Path, data: Path) -> None:
    """The process that writes is killed; torchrun stops the other. `make torture` kills more kinds of runs.

    The base is of another family than in the other tests of several processes.
    """
    base = write_base(tmp_path / "llama", "llama")
    envs = []
    for name in ("calm", "killed"):
        (tmp_path / name).mkdir()
        shared_out = {"batch_size": 1, "gradient_accumulation_steps": 1}  # between two processes
        changes = VARIETIES["random-bf16-goals"] | shared_out | {"model_name": base, "epochs": 1, "save_steps": 3}
        changes["preferences"] = data / "preferences.jsonl"
        envs.append(prepare_run(tmp_path / name, data, **changes))
    calm, killed = envs
    statuses, output = train_in_two_processes(calm)
    assert statuses == [0, 0], output

    model = killed.parent / "save" / "checkpoint" / "model"
    process = torchrun(killed)
    while not model.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    process.communicate(timeout=LONGEST)
    assert process.returncode != 0
    statuses, output = train_in_two_processes(killed)
    assert statuses == [0, 0], output
    assert "going on after step" in output
    assert rows(killed) == rows(calm)
    assert rows(killed, "eval.csv") == rows(calm, "eval.csv")
    assert same(weights(killed), weights(calm))
