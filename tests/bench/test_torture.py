"""bench/torture.py in small: kills at random instants. `make torture` is the long form."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from bench import torture
from personagpt.training.checkpoint import find_problem
from tests.helpers import copy_base, write_data


@pytest.fixture(scope="module")
def server():  # noqa: ANN201
    server = torture.RunServer()
    yield server
    server.close()


def test_nothing_is_lost_under_kills(server: torture.RunServer, tmp_path: Path) -> None:
    seed = 1
    assert torture.VARIETIES[seed].preferences
    assert torture.VARIETIES[seed].processes == 2
    tally = torture.torture(server, tmp_path, kills=4, seed=seed)
    assert tally.kills >= 4
    assert tally.kills_inside_save >= 1
    assert tally.runs_finished >= 1
    assert tally.checkpoints_read > 0
    assert tally.lost == []


def test_a_difference_would_be_noticed(server: torture.RunServer, tmp_path: Path) -> None:
    write_data(tmp_path, train=8, valid=2)
    copy_base(tmp_path / "base", dropout=0.1)
    env = torture.write_run_settings(tmp_path / "run", tmp_path)
    for kind in ("preprocess", "train"):
        assert server.status(server.start(kind, ["--env", str(env)], tmp_path / "log"), wait=True) == 0
    before = torture.outcome(env)
    log = tmp_path / "run" / "save" / "samples" / "loss.csv"
    log.write_text(log.read_text().replace("\n6,", "\n7,"))
    weights = tmp_path / "run" / "save" / "checkpoint" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    after = torture.outcome(env)
    assert {name for name in before if before[name] != after[name]} == {"model", "loss.csv"}


def test_a_full_disk_then_room_again(server: torture.RunServer, tmp_path: Path) -> None:
    write_data(tmp_path, train=8, valid=2)
    copy_base(tmp_path / "base", dropout=0.1)
    calm, full = (torture.write_run_settings(tmp_path / name, tmp_path) for name in ("calm", "full"))
    for env in (calm, full):
        assert server.status(server.start("preprocess", ["--env", str(env)], tmp_path / "log"), wait=True) == 0
    assert server.status(server.start("train", ["--env", str(calm)], tmp_path / "log"), wait=True) == 0

    model = full.parent / "save" / "checkpoint" / "model"
    pid = server.start("train", ["--env", str(full)], tmp_path / "log")
    while not model.exists():
        time.sleep(0.005)
    os.kill(pid, signal.SIGTERM)
    assert server.status(pid, wait=True) == 143
    before = os.readlink(model)

    # The weights fit, the optimizer's state does not.
    pid = server.start("train", ["--env", str(full)], tmp_path / "full.log", file_limit=3_000_000)
    assert server.status(pid, wait=True) == 1
    said = (tmp_path / "full.log").read_text()
    assert said.count("error: the disk is full") == 1
    assert "Traceback" not in said
    assert os.readlink(model) == before
    assert find_problem(model) is None

    assert server.status(server.start("train", ["--env", str(full)], tmp_path / "log"), wait=True) == 0
    assert torture.outcome(full) == torture.outcome(calm)


def test_two_runs_on_one_save_path(server: torture.RunServer, tmp_path: Path) -> None:
    write_data(tmp_path, train=8, valid=2)
    copy_base(tmp_path / "base", dropout=0.1)
    env = torture.write_run_settings(tmp_path / "run", tmp_path)
    assert server.status(server.start("preprocess", ["--env", str(env)], tmp_path / "log"), wait=True) == 0
    pids = [server.start("train", ["--env", str(env)], tmp_path / f"log{number}") for number in range(2)]
    statuses = [server.status(pid, wait=True) for pid in pids]
    assert sorted(statuses) == [0, 2]
    refused, other = statuses.index(2), pids[statuses.index(0)]
    said = (tmp_path / f"log{refused}").read_text()
    # It may have looked before the other one had written who it is.
    assert f"process {other} on " in said or "another process" in said
    assert "is training there; wait for it, stop it, or choose another save_path" in said
