"""resume.py: one run at a time in a save_path, the old one set aside, the state that a run goes on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from personagpt.device import Processes
from personagpt.files import file_checksum
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.settings import read_settings
from personagpt.training.checkpoint import CheckpointError, save_checkpoint
from personagpt.training.resume import RunState, claim_run, run_identity, run_lock, set_aside
from tests.helpers import METADATA, VALID


def test_a_second_run_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    refusal = pytest.raises(CheckpointError, match=rf"process {os.getpid()} on \S+ is training there")
    with run_lock(tmp_path), refusal, run_lock(tmp_path):
        pass
    with run_lock(tmp_path):
        pass


def test_a_lock_that_is_a_link_empties_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "run.lock").symlink_to("precious")
    with pytest.raises(CheckpointError, match=r"run\.lock: a symbolic link; remove it"), run_lock(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "kept"


def test_a_dead_process_holds_no_lock(tmp_path: Path, root: Path) -> None:
    script = (
        "import sys, os, signal; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from personagpt.training import resume\n"
        "with resume.run_lock(Path(sys.argv[2])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(root), str(tmp_path)])
    assert done.returncode == -signal.SIGKILL
    assert "process " in (tmp_path / "run.lock").read_text()
    with run_lock(tmp_path):
        pass


def test_set_aside_takes_the_first_free_number(tmp_path: Path) -> None:
    assert set_aside(tmp_path) is None
    for number in (1, 2):
        for name in ("checkpoint", "samples"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "kept").write_text(str(number))
        assert set_aside(tmp_path) == tmp_path / f"old-{number}"
    assert (tmp_path / "old-1" / "checkpoint" / "kept").read_text() == "1"
    assert (tmp_path / "old-2" / "samples" / "kept").read_text() == "2"


@pytest.mark.parametrize("renames", [0, 1, 2])
@pytest.mark.parametrize("restart", [True, False])
def test_a_killed_restart_is_finished_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], renames: int, restart: bool
) -> None:
    for name in ("checkpoint", "samples", "old-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept").touch()
    rename, done = Path.rename, []

    def dies(path: Path, target: Path) -> Path:
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(path.name)
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dies)
        with pytest.raises(KeyboardInterrupt):
            set_aside(tmp_path)
    assert done == ["samples", "checkpoint"][:renames]
    (tmp_path / "samples").mkdir(exist_ok=True)  # evaluate.py wrote there meanwhile
    with claim_run(tmp_path, restart, Processes(0, 1, torch.device("cpu"))) as (checkpoint, state):
        assert (checkpoint, state.step) == (None, 0)
    assert capsys.readouterr().out == f"the old run is in {tmp_path / 'old-2'} now\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old-1", "old-2", "run.lock"]
    assert all((tmp_path / "old-2" / name / "kept").exists() for name in ("checkpoint", "samples"))


@pytest.mark.parametrize("text", ["{}", "[1]", "[" * 100_000, '{"since_row": {}, "x": 1}', '{"since_row": [1]}'])
def test_a_state_that_is_none(tmp_path: Path, text: str) -> None:
    def write(folder: Path) -> None:
        (folder / "config.json").touch()
        (folder / "model.safetensors").touch()

    saved = save_checkpoint(tmp_path / "checkpoint", 2, write, {}, {})
    (saved / "training_state.json").write_text(text)
    entry = {"bytes": len(text), "sha256": file_checksum(saved / "training_state.json")}
    manifest = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps({"files": manifest["files"] | {"training_state.json": entry}}))
    with (
        pytest.raises(CheckpointError, match=r"training_state.json: not a run's state; start over with --restart"),
        claim_run(tmp_path, False, Processes(0, 1, torch.device("cpu"))),
    ):
        pass


def test_the_state_comes_back_from_json() -> None:
    state = RunState(step=7, loss_sum=1.5, label_tokens=3, best={"loss": 2.0, "step": 4}, identity={"seed": 1})
    saved = state.to_json()
    assert saved["since_row"] == {"loss_sum": 1.5, "label_tokens": 3}
    assert RunState.from_json(saved) == state


def test_the_logs_are_set_aside_first(tmp_path: Path, disk_events: list[str]) -> None:
    # Stopped in between, the old run goes on without them; the other way round its logs would be cut back to nothing.
    for name in ("checkpoint", "samples"):
        (tmp_path / name).mkdir()
    set_aside(tmp_path)
    moves = ["rename samples", "rename checkpoint", "rename old-1"]  # the last says that the others are done
    assert [event for event in disk_events if event.startswith("rename")] == moves


@pytest.mark.parametrize("changed", ["text_sha256", "tokenizer_sha256", "max_turns", "context", "goals_sha256"])
def test_other_data_makes_another_run(write_settings, tmp_path: Path, changed: str) -> None:
    settings = read_settings(write_settings(), {})
    described = METADATA | {"text_sha256": "a", "tokenizer_sha256": "b"}
    data = []
    for number, metadata in enumerate((described, described, described | {changed: "6"})):
        VALID.save(tmp_path / str(number), metadata)
        data.append(PersonaChatDataset(tmp_path / str(number)))
    one, alike, other = data
    identity = run_identity(settings, 8, one, one)
    assert run_identity(settings, 8, alike, alike) == identity
    for train_data, valid_data, name in ((other, one, "training_data"), (one, other, "validation_data")):
        found = run_identity(settings, 8, train_data, valid_data)
        assert [key for key in identity if found[key] != identity[key]] == [name]
