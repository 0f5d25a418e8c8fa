"""files.py: text, JSON, checksums, names, writing in one step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from personagpt.errors import UserError
from personagpt.files import (
    check_present,
    decode,
    expanded,
    file_checksum,
    read_bytes,
    read_json,
    read_text,
    set_aside_damaged,
    unused_name,
    write_atomically,
    write_json,
)


def test_text_with_and_without_a_byte_order_mark(tmp_path: Path) -> None:
    for data in ("caf\u00e9\r\n\ufeff".encode(), "\ufeffcaf\u00e9\r\n\ufeff".encode()):
        (tmp_path / "text").write_bytes(data)
        assert read_text(tmp_path / "text") == "caf\u00e9\r\n\ufeff"
    assert decode("\ufeffa".encode(), tmp_path, line=2) == "\ufeffa"  # inside a file it is a character


@pytest.mark.parametrize(
    ("data", "line"), [(b"\xff\xfea", 1), (b"\xef\xbb\xbf\xff", 1), (b"a\nb\n c\xff", 3), (b"a\n\xff\n", 2)]
)
def test_text_that_is_not_utf_8_is_named_with_its_line(tmp_path: Path, data: bytes, line: int) -> None:
    path = tmp_path / "text"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_text(path)
    assert str(caught.value) == f"{path}:{line}: byte 0xff is not UTF-8; save the file as UTF-8"
    with pytest.raises(UserError, match=f":{line + 6}: byte 0xff is not UTF-8"):
        decode(data, path, line=7)


def test_a_text_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "absent", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (Path("a\0b"), "embedded null byte"),
    ):
        with pytest.raises(UserError) as caught:
            read_text(path)
        assert str(caught.value) == f"{path}: cannot read it: {reason}"


def test_a_missing_file_names_the_command_that_makes_it(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    check_present(tmp_path / "there", "make it")
    with pytest.raises(UserError, match=r"absent: no such file; first run `make it`$"):
        check_present(tmp_path / "absent", "make it")


def test_the_checksum_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"abc")
    assert file_checksum(tmp_path / "text") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_is_damaged_is_kept_under_another_name(tmp_path: Path) -> None:
    for name in ("damaged-log", "damaged-log.1"):
        (tmp_path / "log").write_text(name)
        assert set_aside_damaged(tmp_path / "log") == tmp_path / name
        assert (tmp_path / name).read_text() == name


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


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from personagpt import files

files.os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
files.write_atomically(Path(sys.argv[2]), "new")
"""


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "eval.json"
    done = subprocess.run([sys.executable, "-c", KILLED, str(root), str(path)])
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    write_atomically(path, "whole")
    assert [left.name for left in tmp_path.iterdir()] == ["eval.json"]


def test_writers_of_one_file_leave_each_other_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, replace = tmp_path / "eval.json", os.replace

    def another_writes_first(new: Path, old: Path) -> None:
        monkeypatch.setattr(os, "replace", replace)
        write_atomically(path, "the other")
        assert path.read_text() == "the other"
        replace(new, old)

    monkeypatch.setattr(os, "replace", another_writes_first)
    write_atomically(path, "mine")
    assert path.read_text() == "mine"
    assert [left.name for left in tmp_path.iterdir()] == ["eval.json"]


@pytest.mark.parametrize("text", ["[1]", "7", "[" * 100_000, '{"step": ', "\ud800"])
def test_json_that_is_no_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "eval.json").write_bytes(text.encode(errors="surrogatepass"))
    assert read_json(tmp_path / "eval.json") is None


def test_a_file_that_cannot_be_read_is_named_with_its_kind(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\0")
    assert read_bytes(tmp_path / "a") == b"\xff\0"
    with pytest.raises(UserError, match=f"^{tmp_path / 'b'}: cannot read this goals file: No such file or directory$"):
        read_bytes(tmp_path / "b", "this goals file")
    with pytest.raises(UserError, match=f"^{tmp_path}: cannot read this file: Is a directory$"):
        read_bytes(tmp_path)


def test_a_path_of_nobodys_home_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert [expanded(path) for path in ("~/x", "~nosuchuser/x", "x/~")] == [
        Path("/home/ann/x"),
        Path("~nosuchuser/x"),
        Path("x/~"),
    ]
