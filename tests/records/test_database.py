"""database.py: recorded talks survive concurrent writers and kills, and are gone when they are deleted."""

import contextlib
import errno
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import pytest

from personagpt.errors import RunError, UserError
from personagpt.records import database
from personagpt.records.database import NAME, Recordings, TalkChanged, TalkDeleted
from personagpt.records.talks import DELETED, Flag, Talk, Thumb, Turn
from tests.helpers import ROOT
from tests.records.making import make_talk, make_twins


@pytest.fixture
def recordings(tmp_path):  # noqa: ANN201
    """Recordings in a folder of their own."""
    opened = Recordings(tmp_path)
    yield opened
    opened.close()


def read_talks(folder: Path) -> list[Talk]:
    """Return the talks that a new connection reads."""
    with contextlib.closing(Recordings(folder)) as opened:
        return opened.talks()


def everything(folder: Path) -> bytes:
    """All bytes of all files."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_a_talk_comes_back_as_it_was(recordings, tmp_path) -> None:
    talk = make_talk("hi", "日本\n😀\0", flags=((1, "off-topic", "no answer"),), participant="p", source="app.py")
    talk.turns[1] = replace(talk.turns[1], goal="ask about pets.", replaced="日", corrected=True)
    talk.ratings = {"fluency": 4, "partner": "a person"}
    talk.thumbs = [Thumb(1, False), Thumb(1, True)]
    recordings.save(talk)
    assert recordings.talks() == [talk]
    assert read_talks(tmp_path) == [talk]  # another connection


def test_a_talk_is_saved_as_it_is_now(recordings) -> None:
    talk = make_talk("hi", "hello", "who are you ?", "me", flags=((1, "other"), (3, "unsafe", "x")))
    recordings.save(talk)
    talk.turns[1] = Turn("model", "good morning", replaced="hello", corrected=True)
    del talk.turns[2:]
    talk.flags, talk.thumbs = [Flag(1, "repetitive")], [Thumb(1, True)]
    recordings.save(talk)
    assert recordings.talks() == [talk]
    del talk.turns[:], talk.flags[:], talk.thumbs[:]
    recordings.save(talk)
    assert recordings.talks() == []
    talk.turns.append(Turn("human", "again"))
    recordings.save(talk)
    assert recordings.talks() == [talk]


def test_an_answer_that_changes_is_saved_as_it_is_now(recordings) -> None:
    talk = make_talk("hi", "hello", ratings={"fluency": 3, "engagement": 2})
    recordings.save(talk)
    recordings.save(replace(talk, ratings={"fluency": 4}))
    assert recordings.talks()[0].ratings == {"engagement": 2, "fluency": 4}


def test_talks_are_added_once(recordings) -> None:
    one, two = make_talk("a", "b"), make_talk("c", "d")
    assert recordings.add([one, one]) == (1, 0)
    one.turns.pop()
    assert recordings.add([one, two]) == (1, 0)
    assert [talk.texts for talk in recordings.talks()] == [["a", "b"], ["c", "d"]]


def test_nothing_is_created_before_something_is_said(recordings, tmp_path) -> None:
    recordings.save(make_talk())
    assert recordings.talks() == []
    assert recordings.delete(ids=["x"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_saved_talks_are_flushed_to_the_disk(recordings) -> None:
    """PRAGMA synchronous: 2 is FULL, which flushes at every commit; write-ahead logging says what is flushed."""
    recordings.save(make_talk("hi"))
    with recordings._connections.use(1.0) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_talks_of_a_participant_and_of_ids(recordings) -> None:
    mine, yours = make_talk("a", participant="me"), make_talk("b", participant="you")
    for talk in (mine, yours):
        recordings.save(talk)
    assert recordings.talks("me") == [mine]
    assert recordings.talks(ids=[yours.id, "nobody's"]) == [yours]
    assert recordings.talks("me", [yours.id]) == []
    assert recordings.delete("me", [yours.id]) == 0
    assert recordings.delete("me' OR '1' = '1") == 0
    assert recordings.delete(ids=[mine.id, yours.id]) == 2
    assert recordings.talks() == []


@pytest.mark.parametrize("how", ["one talk", "a participant"])
@pytest.mark.parametrize("seed", range(3))
def test_deleted_text_is_in_no_file_any_more(recordings, tmp_path, how, seed) -> None:
    """Talks of all lengths grow, shrink and change side by side, so that pages split and cells move."""
    chance = random.Random(f"{seed} {how}")
    secret, *others = talks = [make_talk(participant=name) for name in "abbbb"]
    secret.persona, secret.ratings = ["secret persona ."], {"opinion": "secret rating"}
    for _ in range(40):
        talk = chance.choice(talks)
        words = ("secret " if talk is secret else "kept ") * chance.randrange(1, chance.choice([5, 60, 900]))
        talk.turns.append(Turn("human", words, replaced=words[:40]))
        if chance.random() < 0.3:
            del talk.turns[-2:]
        recordings.save(talk)
    secret.turns.append(Turn("model", "better", replaced="secret first try", corrected=True))
    secret.flags.append(Flag(0, "other", "secret note"))
    recordings.save(secret)
    reader = Recordings(tmp_path)
    kept = [talk for talk in reader.talks() if talk.id != secret.id]  # an open connection is in nobody's way
    assert b"secret" in everything(tmp_path)
    assert recordings.delete(**({"ids": [secret.id]} if how == "one talk" else {"participant": "a"})) == 1
    assert recordings.clear_log(0)
    assert b"secret" not in everything(tmp_path)
    assert secret.id.encode() not in everything(tmp_path)
    assert reader.talks() == kept
    assert {talk.id for talk in kept} == {talk.id for talk in others if talk.turns}
    reader.close()


def test_text_that_cannot_be_removed_from_the_log_yet_is_told(recordings, tmp_path) -> None:
    """Another program reads the file. Meanwhile talks go on."""
    talk = make_talk("secret")
    recordings.save(talk)
    reader = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM talks").fetchall()
    assert recordings.delete(ids=[talk.id]) == 1
    assert not recordings.clear_log(0)
    waiting = threading.Thread(target=recordings.clear_log, args=[3600.0])
    waiting.start()
    recordings.save(make_talk("goes on"))
    assert waiting.is_alive()
    reader.close()
    waiting.join()
    assert b"secret" not in everything(tmp_path)
    assert [talk.texts for talk in recordings.talks()] == [["goes on"]]


def test_a_talk_deleted_meanwhile_does_not_come_back(recordings, tmp_path) -> None:
    talk = make_talk("hi", "hello")
    recordings.save(talk)
    other = Recordings(tmp_path)
    assert other.delete(ids=[talk.id]) == 1
    talk.turns.append(Turn("human", "still there ?"))
    with pytest.raises(TalkDeleted):
        recordings.save(talk)
    assert other.talks() == []
    other.close()


def test_a_talk_that_went_on_elsewhere_is_not_overwritten(recordings, tmp_path) -> None:
    """Two programs have the same talk open. Only who knows what stands there may change it."""
    talk = make_talk("hi", "hello")
    recordings.save(talk)
    other = Recordings(tmp_path)
    (same,) = other.talks()
    stale = replace(same, turns=list(same.turns))
    same.turns.append(Turn("human", "from the other program"))
    other.save(same)
    for turns in ([*talk.turns, Turn("human", "from this program")], talk.turns[:1], []):
        recordings.talks()  # a look at it elsewhere in this program changes nothing
        with pytest.raises(TalkChanged, match="went on in another program or window"):
            recordings.save(replace(talk, turns=turns))
        with pytest.raises(TalkChanged):
            other.save(replace(stale, turns=turns))
    assert [stored.texts for stored in recordings.talks()] == [["hi", "hello", "from the other program"]]
    (again,) = recordings.talks()
    recordings.save(replace(again, turns=again.turns[:1]))
    with pytest.raises(TalkChanged):
        other.save(replace(same, turns=same.turns[:2]))
    assert [stored.texts for stored in other.talks()] == [["hi"]]
    other.close()


def test_a_flag_given_elsewhere_is_not_lost(recordings, tmp_path) -> None:
    talk = make_talk("hi", "hello")
    recordings.save(talk)
    with contextlib.closing(Recordings(tmp_path)) as other:
        (same,) = other.talks()
        other.save(replace(same, flags=[Flag(1, "unsafe")]))
    talk.turns.append(Turn("human", "and you ?"))
    with pytest.raises(TalkChanged):
        recordings.save(talk)
    assert [flag.kind for flag in recordings.talks()[0].flags] == ["unsafe"]


@pytest.mark.parametrize("saved_between", [False, True])
def test_words_of_a_deleted_talk_do_not_come_back_under_a_new_id(recordings, tmp_path, saved_between) -> None:
    """A talk that goes on as another one, as after /set or another draw of a flagged reply."""
    talk = make_talk("a secret", "hello")
    recordings.save(talk)
    branch = replace(talk, id="b", turns=list(talk.turns))
    if saved_between:
        recordings.save(branch)
    with contextlib.closing(Recordings(tmp_path)) as other:
        other.delete()
    with pytest.raises(TalkDeleted):
        recordings.save(replace(branch, id="c", turns=[*branch.turns, Turn("human", "hi")]))
    assert recordings.talks() == []
    recordings.save(replace(branch, id="d", turns=[Turn("human", "new words")], base=None))
    assert [stored.texts for stored in recordings.talks()] == [["new words"]]


WRITER = """
import random, sys
from pathlib import Path
from personagpt.records.database import Recordings
from personagpt.records.talks import Talk, Thumb, Turn
recordings, name = Recordings(Path(sys.argv[1])), sys.argv[2]
for talk_number in range(int(sys.argv[3])):
    talk = Talk("m", "c", {}, ["i am old ."], id=f"{name}-{talk_number}")
    for number in range(8):
        talk.turns.append(Turn(("human", "model")[number % 2], f"{name} says {number} " * 9))
        print(talk.id, number, "begun", flush=True)
        recordings.save(talk)
        print(talk.id, number, "said", flush=True)
"""


def start_writer(folder: Path, name: str, talks: int) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, str(folder), name, str(talks)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def check_said(lines: list[str], talks: dict[str, Talk]) -> int:
    """What was said must be there, whole, and no more than the turn that was being said; returns how much it was."""
    said = [line.split()[:2] for line in lines if line.endswith("said\n")]
    begun = [line.split()[:2] for line in lines if line.endswith("begun\n")]
    for name in {name for name, _ in begun}:
        ours, theirs = (sum(other == name for other, _ in pairs) for pairs in (said, begun))
        found = talks[name].texts if name in talks else []
        assert ours <= len(found) <= theirs
        assert all(text.startswith(f"{name.split('-')[0]} says {number} ") for number, text in enumerate(found))
    return len(said)


def test_eight_writers_at_once_lose_nothing(tmp_path) -> None:
    """A new file, which all of them want to create."""
    writers = [start_writer(tmp_path, f"w{number}", 4) for number in range(8)]
    lines = [writer.communicate()[0].splitlines(keepends=True) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 8
    talks = {talk.id: talk for talk in read_talks(tmp_path)}
    assert sum(check_said(part, talks) for part in lines) == 8 * 4 * 8
    assert sorted(talks) == sorted(f"w{writer}-{number}" for writer in range(8) for number in range(4))


def test_kills_lose_at_most_the_turn_being_said(tmp_path) -> None:
    """Eight writers again and again, each killed after a while; what lies there then is opened again."""
    chance, said, killed = random.Random(1), 0, 0
    for attempt in range(3):
        writers = [start_writer(tmp_path, f"a{attempt}w{number}", 100) for number in range(8)]
        parts = [[] for _ in writers]

        def kill_later(writer: subprocess.Popen, part: list[str], lines: int) -> None:
            for line in writer.stdout:
                part.append(line)
                if len(part) == lines:
                    time.sleep(lines % 7 / 3000)
                    os.kill(writer.pid, signal.SIGKILL)

        jobs = [(writer, part, chance.randrange(1, 40)) for writer, part in zip(writers, parts, strict=True)]
        threads = [threading.Thread(target=kill_later, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread, writer in zip(threads, writers, strict=True):
            thread.join()
            killed += writer.wait() == -signal.SIGKILL
        talks = {talk.id: talk for talk in read_talks(tmp_path)}
        said += sum(check_said(part, talks) for part in parts)
    assert killed == 24
    assert said > 100
    check = sqlite3.connect(tmp_path / NAME)
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert check.execute("PRAGMA foreign_key_check").fetchall() == []
    check.close()


def test_threads_share_one_object(recordings) -> None:
    def talk(name: str) -> None:
        own = make_talk(participant=name)
        for number in range(5):
            own.turns.append(Turn(("human", "model")[number % 2], f"{name} {number}"))
            recordings.save(own)
            assert recordings.talks(name) == [own]

    threads = [threading.Thread(target=talk, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(talk.turns) for talk in recordings.talks()] == [5] * 8


def test_talks_are_counted_by_source_without_the_abandoned(recordings) -> None:
    assert (recordings.count(), recordings.count_by_source("")) == (0, {})
    for source, ratings in (("study:s:a", {}), ("study:s:a", {"ended": "rating"}), ("study:s:b", {"ended": "left"})):
        recordings.save(make_talk("hi", source=source, ratings=ratings, participant="me"))
    recordings.save(make_talk("hi", source="study:s-2:a"), make_talk("hi", source="app.py"))
    assert recordings.count_by_source("study:s:") == {"study:s:a": 2}
    assert (recordings.count(), recordings.count("me"), recordings.count("you")) == (5, 3, 0)


def test_a_refused_talk_is_not_saved(recordings) -> None:
    talk = make_talk("hi")
    recordings.refuse(talk.id)
    with pytest.raises(TalkDeleted):
        recordings.save(talk, make_talk("another"))
    assert recordings.talks() == []


def test_a_save_under_way_ends_before_its_talk_is_refused(recordings, monkeypatch) -> None:
    """Otherwise a program's first words would come on record after their participant has left."""
    talk, is_saving, may_end, insert = make_talk("hi"), threading.Event(), threading.Event(), database._insert

    def slow(*arguments: object) -> None:
        insert(*arguments)
        is_saving.set()
        may_end.wait()

    def refuse() -> list[Talk]:
        recordings.refuse(talk.id)
        return recordings.talks()

    monkeypatch.setattr(database, "_insert", slow)
    with ThreadPoolExecutor(2) as pool:
        saving = pool.submit(recordings.save, talk)
        is_saving.wait()
        refusing = pool.submit(refuse)
        try:
            assert wait([refusing], timeout=0.2).done == set()
        finally:
            may_end.set()
        saving.result()
        assert [found.id for found in refusing.result()] == [talk.id]


def test_words_that_were_deleted_do_not_come_back(recordings, tmp_path) -> None:
    """Another program saves a talk that it read before the partner deleted the twin."""
    talk, twin = make_twins("a secret", "hi")
    recordings.save(twin, talk)
    other = Recordings(tmp_path)
    other.delete(ids=[talk.id])
    recordings.save(replace(twin, ratings={"fluency": 4}))
    (stored,) = recordings.talks()
    assert (stored.texts, stored.ratings) == ([DELETED, "hi"], {"fluency": 4})
    recordings.close()
    other.close()
    assert b"secret" not in everything(tmp_path)


def test_a_talk_is_saved_with_its_twin_or_beside_it(recordings) -> None:
    talk, twin = make_twins("hi there", "hello you")
    recordings.save(talk, twin)
    talk.ratings = {"fluency": 4}
    recordings.save(talk)
    assert recordings.talks() == [talk, twin]


@pytest.mark.parametrize("content", [b"no database at all, but text of some length" * 30, None])
def test_a_file_that_is_no_database_is_one_line(tmp_path, recordings, content) -> None:
    recordings.save(make_talk("hi"))
    recordings.close()
    path = tmp_path / NAME
    path.write_bytes(content or path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"not a file of recorded talks, or damaged .*move it away"):
        recordings.save(make_talk("hi"))


def test_a_full_disk_is_told_as_one_and_leaves_the_file_whole(recordings) -> None:
    talk = make_talk("hi")
    recordings.save(talk)
    with recordings._connections.use(1.0) as connection:
        connection.execute("PRAGMA max_page_count = 1")  # the present size at least
    with pytest.raises(OSError, match="No space left on device"):
        recordings.save(make_talk("long " * 100_000))
    recordings.close()
    assert recordings.talks() == [talk]


def test_a_full_disk_that_prevents_a_deletion_says_so(recordings) -> None:
    talk = make_talk("hi")
    recordings.save(talk)

    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recordings, "transaction", fail)
        with pytest.raises(RunError, match="no talk is deleted, because the disk is full: make room"):
            recordings.delete(ids=[talk.id])
    assert recordings.talks() == [talk]


def test_a_file_in_use_for_long_is_told(tmp_path, recordings) -> None:
    recordings.save(make_talk("hi"))
    holder = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(RunError, match="another program keeps it busy"):
        Recordings(tmp_path, patience=0.1).save(make_talk("hi"))
    holder.close()


def test_the_file_says_what_it_holds(tmp_path, recordings) -> None:
    """What other programs read: DESIGN's tables and columns."""
    recordings.save(make_talk("hi", "ho", flags=((1, "other", "n"),), ratings={"fluency": 5}))
    database = sqlite3.connect(tmp_path / NAME)
    assert database.execute("SELECT speaker, text FROM turns ORDER BY turn").fetchall() == [
        ("human", "hi"),
        ("model", "ho"),
    ]
    assert json.loads(database.execute("SELECT persona FROM talks").fetchone()[0]) == ["i have two dogs ."]
    assert database.execute("SELECT turn, kind, note FROM flags").fetchall() == [(1, "other", "n")]
    assert database.execute("SELECT question, answer FROM ratings").fetchall() == [("fluency", "5")]
    database.close()


def test_only_the_owner_can_read_the_talks(tmp_path) -> None:
    recordings = Recordings(tmp_path / "new" / "conversations")
    recordings.save(make_talk("hi", "ho"))
    files = list(recordings.path.parent.iterdir())
    assert {recordings.path.name, recordings.path.name + "-wal"} <= {file.name for file in files}
    assert [file for file in [recordings.path.parent, *files] if file.stat().st_mode & 0o077] == []


def test_a_talk_that_goes_on_from_a_deleted_talk_is_not_saved(tmp_path) -> None:
    recordings, talk = Recordings(tmp_path), make_talk("a secret", "b", flags=((1, "other"),))
    recordings.save(talk)
    other = talk.without(1)  # another talk, because the flag stays
    other.turns.append(Turn("model", "c"))
    recordings.save(other)
    recordings.delete(ids=[talk.id, other.id])
    with pytest.raises(TalkDeleted):
        recordings.save(replace(other, id="0" * 32))
    assert recordings.talks() == []
