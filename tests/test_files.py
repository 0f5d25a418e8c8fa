"""files.py: JSON, checksums, names, writing in one step."""

from __future__ import annotations

from pathlib import Path

from personagpt.files import read_json, unused_name, write_atomically, write_json


def test_damaged_json_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "eval.json"
    assert read_json(path) is None
    path.write_text('{"step": 1')
    assert read_json(path) is None
    write_json(path, {"step": 1})
    assert read_json(path) == {"step": 1}


def test_the_first_unused_name(tmp_path: Path) -> None:
    assert unused_name(tmp_path / "step") == tmp_path / "step"
    (tmp_path / "step").touch()
    (tmp_path / "step.1").touch()
    assert unused_name(tmp_path / "step") == tmp_path / "step.2"


def test_writing_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "log", "one")
    write_atomically(tmp_path / "new" / "log", b"two")
    assert (tmp_path / "new" / "log").read_text() == "two"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["log"]


def test_the_content_is_on_the_disk_before_it_takes_the_place_of_the_old(tmp_path: Path, disk_events) -> None:
    write_atomically(tmp_path / "log", "one")
    assert [event.split()[0] for event in disk_events][:2] == ["fsync", "replace"]
    assert "empty" not in disk_events[0]
    assert disk_events[1] == "replace log"
