"""personagpt/page/log_clearing.py: the words of deleted talks leave SQLite's log."""

from __future__ import annotations

import contextlib
import sqlite3
import threading

import pytest

from personagpt.page import problems
from personagpt.page.log_clearing import NOTE, LogClearing
from personagpt.records.database import Recordings
from tests.page.served import wait_until
from tests.records.making import make_talk


@pytest.fixture
def recordings(tmp_path):  # noqa: ANN201
    with contextlib.closing(Recordings(tmp_path)) as opened:
        yield opened


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "clear log"]


def test_one_thread_serves_all_deletions_while_another_program_reads(recordings, tmp_path) -> None:
    log, talks = LogClearing(recordings), [make_talk("secret", "words", str(number)) for number in range(4)]
    recordings.save(*talks)
    assert log.after(0) == {"deleted": 0, "note": ""}
    reader = sqlite3.connect(recordings.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM talks").fetchall()
    for talk in talks[:3]:
        assert log.after(recordings.delete(ids=[talk.id])) == {"deleted": 1, "note": NOTE}
    assert len(threads()) == 1
    reader.close()
    wait_until(lambda: not threads())
    assert log.after(recordings.delete(ids=[talks[3].id])) == {"deleted": 1, "note": ""}
    assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_line_that_cannot_be_written_makes_no_deletion_fail(recordings, monkeypatch) -> None:
    """As on a full disk: `app.py 2> log`."""

    def full(*given: object) -> None:
        raise OSError("No space left on device")

    log, talk = LogClearing(recordings), make_talk("hi")
    recordings.save(talk)
    with monkeypatch.context() as patch:
        patch.setattr(problems, "warn", full)
        patch.setattr(recordings, "clear_log", full)
        patch.setattr("personagpt.page.log_clearing.CLEARING", 0.0)
        assert log.after(recordings.delete(ids=[talk.id]))["note"] == NOTE
        wait_until(threads)
    wait_until(lambda: not threads())
