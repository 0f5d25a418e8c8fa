"""checkpoint.py: folders complete or absent, damage noticed, links that copies lost, a full disk."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from personagpt.model.folders import OPTIMIZER
from personagpt.training.checkpoint import (
    CheckpointError,
    find_problem,
    newest_checkpoint,
    prune,
    save_best,
    save_checkpoint,
)


def write_model(weight: float) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(str(weight).encode() * 1000)

    return write


def save(folder: Path, step: int) -> None:
    save_checkpoint(folder, step, write_model(step), {"step": step}, {"0.exp_avg": torch.full((3,), float(step))})


def quiet_newest(folder: Path) -> Path | None:
    """Return the newest checkpoint of `folder`. Nothing may be printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        newest = newest_checkpoint(folder)
    assert printed.getvalue() == ""
    return newest


def list_size(path: Path, size: str) -> None:
    """Write `size` where the manifest of the checkpoint at `path` says how long the training state is."""
    manifest = path / "manifest.json"
    manifest.write_text(
        re.sub(r'("training_state.json".*?"bytes": )[0-9]+', rf"\g<1>{size}", manifest.read_text(), flags=re.S)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Checkpoints of steps 2, 4 and 6, of which the first is gone."""
    folder = tmp_path / "checkpoint"  # which the first save makes
    for step in (2, 4, 6):
        save(folder, step)
    return folder


def test_the_links_and_what_is_kept(folder: Path) -> None:
    assert os.readlink(folder / "model") == "step-00000006"
    assert os.readlink(folder / "previous") == "step-00000004"
    assert sorted(path.name for path in folder.iterdir()) == ["model", "previous", "step-00000004", "step-00000006"]
    assert json.loads((folder / "model" / "training_state.json").read_text()) == {"step": 6}
    assert find_problem(folder / "model") is None


def test_all_is_on_the_disk_before_a_link_names_it(folder: Path, disk_events: list[str]) -> None:
    save(folder, 8)
    files = [event for event in disk_events if event.endswith((".json", ".safetensors"))]
    assert sorted(files) == [
        f"fsync {name}"
        for name in (
            "config.json",
            "manifest.json",
            "model.safetensors",
            "optimizer.safetensors",
            "training_state.json",
        )
    ]
    assert disk_events[len(files) :] == [
        "fsync tmp-step-00000008",  # the names of its files
        "rename step-00000008",
        "fsync checkpoint",
        "replace previous",
        "fsync checkpoint",
        "replace model",
        "fsync checkpoint",
    ]


def test_others_may_read_what_they_may_read_elsewhere(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save(tmp_path, 2)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()} == {0o640}


def test_best_is_kept_beside_them(folder: Path) -> None:
    save_best(folder, 5, write_model(5))
    save_best(folder, 6, write_model(6))
    save(folder, 8)
    assert os.readlink(folder / "best") == "best-00000006"
    assert not (folder / "best-00000005").exists()
    assert not (folder / "best" / OPTIMIZER).exists()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda path: (path / "model.safetensors").write_bytes(b"6"), "model.safetensors has 1 bytes, not 1000"),
        (lambda path: (path / "model.safetensors").write_bytes(b"7" * 1000), "model.safetensors was altered"),
        (lambda path: (path / "optimizer.safetensors").unlink(), "optimizer.safetensors is missing"),
        (lambda path: (path / "training_state.json").write_text("{"), "training_state.json has 1 bytes"),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json is damaged"),
        (lambda path: (path / "manifest.json").write_text('{"files": {}}'), "training_state.json is not listed"),
        (lambda path: (path / "manifest.json").write_text('{"files": []}'), "training_state.json is not listed"),
        (lambda path: (path / "manifest.json").write_text("[" * 100_000), "manifest.json is damaged"),
        (lambda path: list_size(path, "1e999"), "manifest.json is damaged"),
        (lambda path: list_size(path, "[[]]"), "manifest.json is damaged"),
        (lambda path: list_size(path, "9" * 5000), "manifest.json is damaged"),
    ],
)
def test_damage_in_the_newest_is_named_and_the_previous_one_used(
    folder: Path, damage: Callable[[Path], None], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folder / "model")
    assert newest_checkpoint(folder) == folder / "step-00000004"
    said = capsys.readouterr().out.splitlines()
    assert named in said[0]
    assert str(folder / "step-00000006") in said[0]
    assert os.readlink(folder / "model") == "step-00000004"
    assert (folder / "damaged-step-00000006").is_dir()
    save(folder, 6)
    assert find_problem(folder / "model") is None
    assert (folder / "damaged-step-00000006").is_dir()


PEOPLE_EDIT = ("README.md", "generation_config.json", "tokenizer_config.json", "chat_template.jinja")


@pytest.mark.parametrize("name", PEOPLE_EDIT)
def test_what_resuming_does_not_read_may_be_edited(folder: Path, name: str) -> None:
    def write(target: Path) -> None:
        write_model(8)(target)
        (target / name).write_text("as saved")

    save_checkpoint(folder, 8, write, {"step": 8}, {})
    (folder / "model" / name).write_text("edited")
    assert quiet_newest(folder) == folder / "step-00000008"


def test_a_name_too_long_for_the_disk_in_the_manifest(folder: Path) -> None:
    manifest = folder / "model" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"config.json"', f'"{"x" * 300}": {{}}, "config.json"'))
    assert quiet_newest(folder) == folder / "step-00000006"


def test_a_folder_that_is_gone_is_passed_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree((folder / "model").resolve())
    assert newest_checkpoint(folder) == folder / "step-00000004"
    said = capsys.readouterr().out.splitlines()
    assert "step-00000006: manifest.json is missing" in said[0]


def test_the_same_step_damaged_twice(folder: Path) -> None:
    for _ in range(2):
        (folder / "model" / "model.safetensors").write_bytes(b"x")
        newest_checkpoint(folder)
        save(folder, 6)
    assert len(list(folder.glob("damaged-step-00000006*"))) == 2


def test_without_a_sound_one_it_stops(folder: Path) -> None:
    for name in ("model", "previous"):
        (folder / name / "model.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"no sound checkpoint in .* start over with --restart"):
        newest_checkpoint(folder)
    assert (folder / "model").exists()


def test_none_was_ever_saved(tmp_path: Path) -> None:
    prune(tmp_path / "checkpoint")
    assert quiet_newest(tmp_path / "checkpoint") is None
    (tmp_path / "checkpoint" / "tmp-step-00000002").mkdir(parents=True)
    assert quiet_newest(tmp_path / "checkpoint") is None
    prune(tmp_path / "checkpoint")
    assert not list((tmp_path / "checkpoint").iterdir())


def lose(link: Path) -> None:
    link.unlink()


def become_folder(link: Path) -> None:
    target = link.resolve()
    link.unlink()
    target.rename(link)


def become_second_folder(link: Path) -> None:
    target = link.resolve()
    link.unlink()
    shutil.copytree(target, link)


def become_text(link: Path) -> None:
    name = os.readlink(link)
    link.unlink()
    link.write_text(f"{name}\n")


def become_cygwin_text(link: Path) -> None:
    name = os.readlink(link)
    link.unlink()
    link.write_bytes(b"!<symlink>\xff\xfe" + name.encode("utf-16-le") + b"\0\0")


def become_nonsense(link: Path) -> None:
    link.unlink()
    link.write_bytes(b"\xff nothing of ours")


COPIES = [lose, become_folder, become_second_folder, become_text, become_cygwin_text, become_nonsense]


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_that_lost_its_links_keeps_everything(folder: Path, copy: Callable[[Path], None]) -> None:
    """What `tar`, `rsync -r`, a cloud's or a version control's copy make of the links."""
    save_best(folder, 5, write_model(5))
    for name in ("model", "previous", "best"):
        copy(folder / name)
    prune(folder)
    assert quiet_newest(folder)
    prune(folder)
    assert {name: weight(folder / name) for name in LINKS} == {"model": 6, "previous": 4, "best": 5}
    assert all((folder / name).is_symlink() for name in LINKS)
    assert len([path for path in folder.glob("[sb][te]*-*") if path.is_dir() and not path.is_symlink()]) == 3
    save_best(folder, 8, write_model(8))
    save(folder, 8)
    assert {name: weight(folder / name) for name in LINKS} == {"model": 8, "previous": 6, "best": 8}


def test_folders_in_place_of_links_get_the_names_of_their_steps(folder: Path) -> None:
    save_best(folder, 5, write_model(5))
    for step in (10**9 - 1, 10**9):  # which is too many for a name
        save(folder, step)
    for name in LINKS:
        become_folder(folder / name)
    assert quiet_newest(folder)
    assert [os.readlink(folder / name) for name in LINKS] == ["step-00000000", "step-999999999", "best-00000000"]
    become_folder(folder / "best")  # alone
    assert quiet_newest(folder)
    assert (folder / "best").is_symlink()


@pytest.mark.parametrize("copy", [become_text, become_cygwin_text])
def test_a_link_that_became_text_is_believed(folder: Path, copy: Callable[[Path], None]) -> None:
    (folder / "model").unlink()
    (folder / "model").symlink_to("step-00000004")
    copy(folder / "model")
    (folder / "previous").unlink()
    assert quiet_newest(folder) == folder / "step-00000004"


def test_a_folder_of_another_name_is_no_checkpoint(folder: Path) -> None:
    shutil.copytree(folder / "model", folder / "step-copy")
    for name in ("model", "previous"):
        (folder / name).unlink()
    assert quiet_newest(folder) == folder / "step-00000006"


def test_what_cannot_be_removed_yet_waits_for_the_next_save(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*arguments: object, **options: object) -> None:
        raise OSError("in use")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", busy)
        save(folder, 8)
    assert (folder / "step-00000004").is_dir()
    save(folder, 10)
    assert not (folder / "step-00000004").exists()


def test_what_ends_a_save_is_told_where_tidying_up_fails_too(folder: Path) -> None:
    def write(new: Path) -> None:
        shutil.rmtree(new)
        raise ValueError("the cause")

    with pytest.raises(ValueError, match="the cause"):
        save_checkpoint(folder, 8, write, {"step": 8}, {})


@pytest.mark.parametrize("copy", COPIES)
def test_links_that_are_lost_while_a_run_goes_on(folder: Path, copy: Callable[[Path], None]) -> None:
    save_best(folder, 5, write_model(5))
    for name in ("model", "previous", "best"):
        copy(folder / name)
    save(folder, 8)
    assert weight(folder / "model") == 8
    assert any(path.is_dir() for path in folder.glob("best*"))
    save_best(folder, 8, write_model(8))
    assert weight(folder / "best") == 8


def weight(path: Path) -> float:
    """What `write_model` made the model at `path` of."""
    text = (path / "model.safetensors").read_text()
    return float(text[: len(text) // 1000])


LINKS = ("model", "previous", "best")


def test_the_best_model_that_the_checkpoint_knows_of_is_preferred(folder: Path) -> None:
    save_best(folder, 5, write_model(5))
    shutil.copytree(folder / "best", folder / "best-00000009")  # written when a kill came before the link moved
    (folder / "best").unlink()
    save_checkpoint(folder, 8, write_model(8), {"step": 8, "best": {"step": 5, "loss": 1.0}}, {})
    assert quiet_newest(folder)
    assert os.readlink(folder / "best") == "best-00000005"
    (folder / "best" / "model.safetensors").write_text("half a copy")
    (folder / "best").unlink()
    assert quiet_newest(folder)
    assert os.readlink(folder / "best") == "best-00000009"


def test_of_two_best_models_the_linked_one_stays_while_it_is_whole(folder: Path) -> None:
    save_best(folder, 5, write_model(5))
    save_checkpoint(folder, 8, write_model(8), {"step": 8, "best": {"step": 9, "loss": 1.0}}, {})
    for name in ("best-00000003", "best-00000009"):  # one not yet removed, one written when a kill came before the link
        shutil.copytree(folder / "best", folder / name)
    assert quiet_newest(folder)
    assert os.readlink(folder / "best") == "best-00000005"
    (folder / "best" / "model.safetensors").write_text("half a copy")
    assert quiet_newest(folder)
    assert os.readlink(folder / "best") == "best-00000009"
    shutil.rmtree(folder / "best-00000005")
    (folder / "best" / "model.safetensors").write_text("half a copy")
    assert quiet_newest(folder)
    assert os.readlink(folder / "best") == "best-00000003"


def test_a_checkpoint_that_no_link_names_takes_no_place(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_best(folder, 7, write_model(7))
    shutil.copytree(folder / "previous", folder / "step-00000005")
    assert quiet_newest(folder) == folder / "step-00000006"
    assert os.readlink(folder / "previous") == "step-00000004"
    # It is used where those with a link are damaged. The best model, which cannot go on, is not asked.
    for name in ("model", "previous"):
        (folder / name / "model.safetensors").write_bytes(b"x")
    assert newest_checkpoint(folder) == folder / "step-00000005"
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert not any("best" in line for line in said)
    assert weight(folder / "best") == 7


def test_what_a_killed_save_left_of_the_same_step_is_no_part_of_the_next(folder: Path) -> None:
    (folder / "tmp-step-00000008").mkdir()
    (folder / "tmp-step-00000008" / "half").write_text("a file")
    save(folder, 8)
    assert weight(folder / "model") == 8
    assert not (folder / "model" / "half").exists()


def test_a_best_model_without_a_checkpoint_is_found_again(folder: Path) -> None:
    save_best(folder, 5, write_model(5))
    for path in [folder / "best", *folder.glob("step-*"), folder / "model", folder / "previous"]:
        path.unlink() if path.is_symlink() else shutil.rmtree(path)
    assert quiet_newest(folder) is None
    prune(folder)
    assert weight(folder / "best") == 5


def test_a_link_that_was_being_made_is_swept(folder: Path) -> None:
    (folder / ".best.new").symlink_to("best-00000007")
    prune(folder)
    assert not (folder / ".best.new").is_symlink()


def test_a_failed_save_leaves_the_old_one(folder: Path) -> None:
    def fail(target: Path) -> None:
        (target / "config.json").write_text("{}")
        raise OSError(28, "No space left on device", str(target))

    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(folder, 8, fail, {"step": 8}, {})
    assert os.readlink(folder / "model") == "step-00000006"
    assert not list(folder.glob("tmp-*"))


FULL_DISK = """
import resource, sys
sys.path.insert(0, {root!r})
from pathlib import Path
import torch
from personagpt.training.checkpoint import save_checkpoint
from utils import exit_status

def write(folder):
    (folder / "config.json").write_text("{{}}")
    (folder / "model.safetensors").write_bytes(b"x" * 1000)

def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    save_checkpoint(Path({folder!r}), 8, write, {{"step": 8}}, {{"0.exp_avg": torch.zeros(100_000)}})

sys.exit(exit_status(main))
"""


def test_a_full_disk_is_one_line(folder: Path, root: Path) -> None:
    # A limit on a file's size fails as a full disk does, in the middle of writing a tensor file.
    script = FULL_DISK.format(root=str(root), folder=str(folder))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the disk is full")
    assert done.stderr.count("\n") == 1
    assert os.readlink(folder / "model") == "step-00000006"
    assert find_problem(folder / "model") is None
    assert not list(folder.glob("tmp-*"))
