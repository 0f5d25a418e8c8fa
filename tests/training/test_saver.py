"""saver.py: saves beside training, their errors and their end; room on the disk and in memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
import types
from pathlib import Path

import pytest
import torch

from personagpt.errors import RunError
from personagpt.training import saver
from personagpt.training.checkpoint import save_checkpoint
from personagpt.training.saver import SaveThread


def write_model(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")


def save(folder: Path, step: int) -> None:
    save_checkpoint(folder, step, write_model, {"step": step}, {})


def test_room_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"needs [0-9.]+ GB and [0-9.]+ GB are free; nothing was written"):
        saver.check_room(tmp_path, 1 << 60)
    saver.check_room(tmp_path, 1)


def test_some_room_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 1000 + saver.SLACK
    assert saver.SLACK == 64 * 1024 * 1024
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=free))
    saver.check_room(tmp_path, 1000)
    with pytest.raises(RunError, match=r"needs 0\.07 GB and 0\.07 GB are free"):
        saver.check_room(tmp_path, 1001)


def test_one_save_at_a_time_and_its_error_where_it_is_asked_for() -> None:
    events: list[str] = []
    go_on = threading.Event()

    def first() -> None:
        events.append("first begins")
        go_on.wait(60)
        events.append("first ends")

    def second() -> None:
        events.append("second begins")
        raise RunError("no room")

    saves = SaveThread()
    saves.start(first)
    saves.check()
    threading.Timer(0.05, go_on.set).start()
    saves.start(second)
    with pytest.raises(RunError, match="no room"):
        saves.wait()
    saves.wait()
    assert events == ["first begins", "first ends", "second begins"]


@pytest.mark.parametrize("error", [ValueError, None])
def test_a_save_ends_also_where_an_error_ends_the_run(tmp_path: Path, error: type[Exception] | None) -> None:
    def late() -> None:
        time.sleep(0.1)
        save(tmp_path, 8)

    with pytest.raises(error) if error else contextlib.nullcontext(), SaveThread() as saves:
        saves.start(late)
        if error:
            raise error
    assert os.readlink(tmp_path / "model") == "step-00000008"


def test_a_ctrl_c_while_it_is_waited_for_ends_a_save_in_order(tmp_path: Path) -> None:
    save(tmp_path, 6)
    begun = threading.Event()

    def write(target: Path) -> None:
        begun.set()
        while True:
            time.sleep(0.01)

    def press() -> None:
        with SaveThread() as saves:
            saves.start(lambda: save_checkpoint(tmp_path, 8, write, {"step": 8}, {}))
            begun.wait(60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        press()
    assert os.readlink(tmp_path / "model") == "step-00000006"
    assert not list(tmp_path.glob("tmp-*"))


def test_copies_do_not_follow_the_weights() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    copied = saver.copies({"weight": weight})
    with torch.no_grad():
        weight.add_(1)
    assert copied["weight"].tolist() == [1, 1, 1]
    assert not copied["weight"].requires_grad


def test_memory_for_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    assert saver.has_memory(1)
    if Path("/proc/meminfo").exists():
        assert not saver.has_memory(1 << 60)
    monkeypatch.setattr(Path, "read_text", lambda path: "MemTotal: 90 kB\nMemFree: 80 kB\nMemAvailable:    4 kB\n")
    assert saver.has_memory(2047)
    assert not saver.has_memory(2048)  # 4 kB are 4,096 bytes, which must be more than twice as many
    monkeypatch.setattr(Path, "read_text", lambda path: "MemTotal: 90 kB\n")
    assert saver.has_memory(1 << 60)
    monkeypatch.undo()
    monkeypatch.setattr(Path, "read_text", lambda path: (path / "nothing").read_bytes())  # another system has no file
    assert saver.has_memory(1 << 60)


def test_a_size_in_bytes() -> None:
    assert saver.size_of({"a": torch.zeros(3, 5), "b": torch.zeros(7, dtype=torch.bfloat16)}) == 60 + 14
    assert saver.size_of({}) == 0
