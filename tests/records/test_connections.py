"""connections.py: what happens to the file while a program has it open is noticed, and told."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from personagpt.errors import RunError
from personagpt.records.connections import FileUnusable
from personagpt.records.database import NAME, Recordings, TalkDeleted
from personagpt.records.talks import Turn
from tests.helpers import ROOT
from tests.records.making import make_talk


@pytest.fixture
def recordings(tmp_path):  # noqa: ANN201
    opened = Recordings(tmp_path)
    yield opened
    opened.close()


def texts_in(folder: Path) -> list[list[str]]:
    """Return the texts of the talks that another program finds."""
    with contextlib.closing(Recordings(folder)) as other:
        return [talk.texts for talk in other.talks()]


@pytest.mark.parametrize("how", ["moved", "removed", "replaced", "moved with its folder"])
def test_a_file_that_is_gone_gets_no_more_words(recordings, tmp_path, capsys, how) -> None:
    old = tmp_path / "elsewhere"
    recordings = Recordings(tmp_path / "conversations")
    talk = make_talk("hi", "hello")
    recordings.save(talk)
    if how == "moved with its folder":
        recordings.path.parent.rename(old)
    else:
        old.mkdir()
        for path in recordings.path.parent.iterdir():
            path.rename(old / path.name)
    if how == "removed":
        shutil.rmtree(old)
    if how == "replaced":
        with contextlib.closing(Recordings(recordings.path.parent)) as another:
            another.save(make_talk("from elsewhere"))
    talk.turns.append(Turn("human", "still there ?"))
    with pytest.raises(TalkDeleted, match=r"this talk is no longer on record.*start a new talk"):
        recordings.save(talk)
    assert "this file was moved or removed; from now on talks are recorded in a new file" in capsys.readouterr().err
    recordings.save(make_talk("a new talk"))
    assert texts_in(recordings.path.parent)[-1:] == [["a new talk"]]
    if how != "removed":
        assert texts_in(old) == [["hi", "hello"]]
    assert capsys.readouterr().err == ""
    recordings.close()


def test_a_file_that_is_moved_without_its_log_has_all_words(tmp_path, capsys) -> None:
    """Two programs have it open; each notices in its own time, and nothing that either recorded is lost."""
    recordings = Recordings(tmp_path)
    recordings.save(make_talk("hi"))
    other = "import sys; from personagpt.records.database import Recordings; from pathlib import Path\n"
    other += "from tests.records.making import make_talk; recordings = Recordings(Path(sys.argv[1]))\n"
    other += "for line in sys.stdin: recordings.save(make_talk(line.strip())); print(flush=True)"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", other, tmp_path], cwd=ROOT, bufsize=1, **pipes) as program:

        def record_there(text: str) -> None:
            program.stdin.write(f"{text}\n")
            assert program.stdout.readline()

        record_there("hello")
        (tmp_path / "old").mkdir()
        recordings.path.rename(tmp_path / "old" / NAME)
        recordings.save(make_talk("a new talk"))
        record_there("another")
        recordings.save(make_talk("the last"))
        program.stdin.close()
    assert texts_in(tmp_path) == [["a new talk"], ["another"], ["the last"]]
    assert texts_in(tmp_path / "old") == [["hi"], ["hello"]]
    assert capsys.readouterr().err.count("moved or removed") == 1
    recordings.close()


def test_a_reader_notices_that_the_file_is_gone(recordings, capsys) -> None:
    recordings.save(make_talk("hi"))
    recordings.path.unlink()
    assert (recordings.talks(), recordings.count()) == ([], 0)
    assert capsys.readouterr().err.count("this file was moved or removed") == 1
    assert not recordings.path.exists()


def test_words_in_a_log_that_is_removed_are_kept(recordings, tmp_path, capsys) -> None:
    talk = make_talk("hi", "hello")
    recordings.save(talk)
    for path in tmp_path.glob(f"{NAME}-*"):
        path.unlink()
    talk.turns.append(Turn("human", "still there ?"))
    recordings.save(talk)
    assert texts_in(tmp_path) == [["hi", "hello", "still there ?"]]
    recordings.close()
    assert texts_in(tmp_path) == [["hi", "hello", "still there ?"]]
    assert f"{NAME}-wal: this file was removed" in capsys.readouterr().err


def test_a_header_that_is_damaged_while_the_file_is_open_is_told(recordings) -> None:
    recordings.save(make_talk("hi"))
    with open(recordings.path, "r+b") as file:
        file.write(b"x" * 50)
    for use in (lambda: recordings.save(make_talk("again")), recordings.talks):
        with pytest.raises(FileUnusable, match=r"not a file of recorded talks, or damaged .*move it away"):
            use()


def test_a_file_that_becomes_read_only_is_told() -> None:
    """As a user for whom permissions hold: not as root."""
    folder, user = Path(tempfile.mkdtemp()), os.geteuid()
    try:
        if user == 0:
            os.chown(folder, 65534, -1)
            os.seteuid(65534)
        recordings = Recordings(folder)
        recordings.save(make_talk("hi"))
        recordings.path.chmod(0o400)
        with pytest.raises(FileUnusable, match=r"cannot write there .*choose another save_path"):
            recordings.save(make_talk("again"))
        recordings.path.chmod(0o600)
        recordings.save(make_talk("again"))
        assert texts_in(folder) == [["hi"], ["again"]]
        recordings.close()
    finally:
        os.seteuid(user)
        shutil.rmtree(folder)


def test_the_file_and_its_folder_are_the_owners_only(tmp_path) -> None:
    folder = tmp_path / "save" / "conversations"
    folder.mkdir(parents=True, mode=0o755)  # a study keeps its consent text there first
    recordings = Recordings(folder)
    recordings.save(make_talk("hi"))
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    recordings.close()
    recordings.path.chmod(0o644)  # an old version's file
    assert len(recordings.talks()) == 1
    assert recordings.path.stat().st_mode & 0o777 == 0o600
    recordings.close()


def test_readers_do_not_wait_for_a_writer_and_writers_wait_once(tmp_path) -> None:
    """Another program keeps the file: only the first writer waits its whole patience, so that waits do not add up."""
    recordings = Recordings(tmp_path, patience=3600.0)
    recordings.save(make_talk("hi"))
    holder = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    waiting = threading.Thread(target=recordings.save, args=[make_talk("waits")])
    waiting.start()
    time.sleep(0.2)
    assert [talk.texts for talk in recordings.talks()] == [["hi"]]
    assert waiting.is_alive()
    hasty = Recordings(tmp_path, patience=0.0)
    with pytest.raises(RunError, match="another program keeps it busy"):
        hasty.save(make_talk("again"))
    hasty.patience = 3600.0
    with pytest.raises(RunError, match="another program keeps it busy"):
        hasty.save(make_talk("again"))
    holder.close()
    waiting.join()
    hasty.save(make_talk("again"))
    assert hasty._is_busy is False
    assert [talk.texts for talk in recordings.talks()] == [["hi"], ["waits"], ["again"]]
    recordings.close()
    hasty.close()
