"""Recorded talks: one SQLite file, save_path/conversations/talks.sqlite, that several programs may write at once.

A talk is saved after every utterance. A saved utterance survives a kill of the program and a power cut. The tables are
`talks`, and `turns`, `flags`, `thumbs`, `ratings`, and for what reviewers say afterwards (reviews.py) `reviews` and
`labels`. Their rows are deleted with their talk (schema.py).
"""

from __future__ import annotations

import contextlib
import errno
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from personagpt.errors import RunError, UserError
from personagpt.records.connections import Connections, FileBusy
from personagpt.records.schema import bring_up_to_date
from personagpt.records.talks import DELETED, Flag, Talk, Thumb, Turn

NAME = "talks.sqlite"
PATIENCE = 30.0  # seconds to wait while another program writes
AT_ONCE = 0.1  # ... seconds, while that other program is known to keep the file

TALK = "id, started, source, participant, model, model_checksum, sampling, persona, partner, partner_persona, twin"
IS_JSON = {"sampling", "persona", "partner_persona"}  # columns of talks
TURN = "speaker, text, time, goal, replaced, corrected, chosen"
# A turn that is in the file already and has not changed is not written again.
SAVE_TURN = f"""INSERT INTO turns (talk, turn, {TURN}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (talk, turn) DO UPDATE SET ({TURN}) = (excluded.{TURN.replace(", ", ", excluded.")})
    WHERE ({TURN}) IS NOT (excluded.{TURN.replace(", ", ", excluded.")})"""


class TalkDeleted(UserError):
    """The talk is no longer on record."""

    def __init__(self) -> None:
        super().__init__(
            "this talk is no longer on record: it was deleted, or the file of recorded talks was moved or removed; "
            "start a new talk"
        )


class TalkChanged(UserError):
    """Another program, or another window, has changed the talk that is saved."""

    def __init__(self) -> None:
        super().__init__(
            "this talk went on in another program or window, and stays as it is there; open it again to go on"
        )


class Recordings:
    """The recorded talks of a folder. Threads may share an instance, and other processes may use the same folder.

    The file is created when the first talk is saved. Every method raises UserError if the file cannot be used, RunError
    if the machine fails, and OSError if the disk is full.
    """

    def __init__(self, folder: Path, patience: float = PATIENCE) -> None:
        """Wait at most `patience` seconds while another program keeps the file.

        After that the next requests do not wait again until the file is free, so that many of them do not add up.
        """
        self.path, self.patience = folder / NAME, patience
        self._connections = Connections(self.path, partial(bring_up_to_date, path=self.path))
        self._is_busy = False  # another program kept the file longer than `patience`
        self._saved: set[str] = set()  # ids of talks that were in the file: if an id is missing there, it was deleted

    def save(self, *talks: Talk) -> None:
        """Store the present state of all talks, or of none. The talks are on the disk when this returns.

        A talk without turns is removed. A person's talk whose twin is neither saved along with it nor in the file is
        stored without the partner's words, because the partner has deleted them. Raises TalkDeleted if a talk, or the
        talk that it goes on from, was deleted since the program saw it, and TalkChanged if it was changed since.
        """
        changed = [talk for talk in talks if talk.turns or talk.id in self._saved]
        if not changed:
            return
        ids = {talk.id for talk in changed}
        with self.transaction() as database:
            for talk in changed:
                is_alone = talk.partner == "person" and talk.twin not in ids and not _is_stored(database, talk.twin)
                prepared = _without_partner(talk) if is_alone else talk
                (_change if talk.id in self._saved else _insert)(database, prepared)
                _save_turns(database, prepared)
        for talk in changed:
            talk.set_base(is_stored=bool(talk.turns))
            (self._saved.add if talk.turns else self._saved.discard)(talk.id)

    def add(self, talks: list[Talk]) -> tuple[int, int]:
        """Store imported talks, all or none of them. A talk on record gets what it lacks and its copy has.

        Return the number of new talks, and of talks on record that got something.
        """
        new = filled = 0
        with self.transaction() as database:
            for talk in talks:
                if _is_stored(database, talk.id):
                    filled += _fill(database, talk)
                else:
                    _insert(database, talk)
                    _save_turns(database, talk)
                    new += 1
        return new, filled

    def refuse(self, talk_id: str) -> None:
        """Treat a talk that is not in the file as deleted, so that nothing of it is saved.

        A save of another thread that is under way ends first, so that its talk is in the file afterwards.
        """
        self._saved.add(talk_id)
        if self._connections.exists():
            with contextlib.suppress(UserError), self.transaction():  # busy: no save is under way in this program
                pass

    def talks(self, participant: str | None = None, ids: list[str] | None = None) -> list[Talk]:
        """Return the talks, oldest first: all of them, or those of a participant or with one of the ids."""
        if not self._connections.exists():
            return []
        with self.transaction("DEFERRED") as database:
            talks = _read(database, *_where(participant, ids))
        for talk in talks:
            talk.set_base(is_stored=True)
        self._saved |= {talk.id for talk in talks}
        return talks

    def count(self, participant: str | None = None) -> int:
        """Return the number of talks, or of a participant's talks."""
        if not self._connections.exists():
            return 0
        where, values = _where(participant)
        with self.transaction("DEFERRED") as database:
            return database.execute(f"SELECT COUNT(*) FROM talks {where}", values).fetchone()[0]

    def count_by_source(self, prefix: str) -> dict[str, int]:
        """Return the number of talks for each source that begins with `prefix`, without abandoned talks."""
        if not self._connections.exists():
            return {}
        with self.transaction("DEFERRED") as database:
            rows = database.execute(
                """SELECT source, COUNT(*) FROM talks WHERE substr(source, 1, ?) = ? AND NOT EXISTS (SELECT 1 FROM
                ratings WHERE talk = id AND question = 'ended' AND answer = '"left"') GROUP BY source""",
                (len(prefix), prefix),
            )
            return dict(rows.fetchall())

    def delete(self, participant: str | None = None, ids: list[str] | None = None) -> int:
        """Delete a participant's talks, or the talks with one of the ids, and return their number.

        `clear_log` then removes the deleted text from SQLite's log. The words of a person whose talk is deleted are
        also removed from its twin. Raises RunError if the disk is too full.
        """
        if not self._connections.exists():
            return 0
        where, values = _where(participant, ids)
        try:
            with self.transaction() as database:
                twins = f"talk IN (SELECT twin FROM talks {where})"
                database.execute(f"UPDATE turns SET text = ? WHERE speaker = 'partner' AND {twins}", (DELETED, *values))
                return database.execute(f"DELETE FROM talks {where}", values).rowcount
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise RunError(
                f"{self.path}: no talk is deleted, because the disk is full: make room, then delete again"
            ) from None

    def clear_log(self, patience: float) -> bool:
        """Remove deleted text from SQLite's log; in the file SQLite overwrites deleted text by itself.

        Wait at most `patience` seconds for another program that reads the file. Return whether the log is cleared.
        """
        deadline = time.monotonic() + patience
        while True:
            # SQLite must not wait for the reader itself, because nobody could write meanwhile.
            with self._connections.use(AT_ONCE) as database:
                if database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0:
                    return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)

    def close(self) -> None:
        self._connections.close()

    @contextlib.contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Commit all changes at the end, or none after an error. A DEFERRED transaction only reads."""
        try:
            with self._connections.use(AT_ONCE if self._is_busy else self.patience) as database:
                database.execute(f"BEGIN {kind}")
                if kind == "IMMEDIATE":
                    self._is_busy = False
                try:
                    yield database
                    database.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):  # after a full disk, SQLite has rolled back by itself
                        database.execute("ROLLBACK")
                    raise
        except FileBusy:
            self._is_busy = True
            raise


def _where(participant: str | None, ids: list[str] | None = None) -> tuple[str, list[str]]:
    """Return the SQL condition that chooses talks, and its values."""
    conditions, values = [], []
    if participant is not None:
        conditions, values = ["participant = ?"], [participant]
    if ids is not None:
        conditions.append("id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(ids))
    return ("WHERE " + " AND ".join(conditions) if conditions else ""), values


def _insert(database: sqlite3.Connection, talk: Talk) -> None:
    """Insert the row of a new talk. Raises TalkDeleted if the talk that it goes on from was deleted meanwhile."""
    if talk.base is not None and not _is_stored(database, talk.base.id):
        raise TalkDeleted
    pairs = [(name, getattr(talk, name)) for name in TALK.split(", ")]
    values = [json.dumps(value) if name in IS_JSON else value for name, value in pairs]
    database.execute(f"INSERT INTO talks ({TALK}) VALUES ({', '.join('?' * len(values))})", values)


def _change(database: sqlite3.Connection, talk: Talk) -> None:
    """Make room for the present state of a talk. Raises TalkDeleted or TalkChanged."""
    if not _is_stored(database, talk.id):
        raise TalkDeleted
    (stored,) = _read(database, "WHERE id = ?", [talk.id])
    if talk.base is None:
        is_as_seen = stored.turns == talk.turns[: len(stored.turns)] and stored.flags == talk.flags
    else:
        is_as_seen = (stored.turns, stored.flags) == (talk.base.turns, talk.base.flags)
    if not is_as_seen:
        raise TalkChanged
    if not talk.turns:
        database.execute("DELETE FROM talks WHERE id = ?", (talk.id,))
    database.execute("DELETE FROM flags WHERE talk = ?", (talk.id,))
    database.execute("DELETE FROM thumbs WHERE talk = ?", (talk.id,))
    database.execute("DELETE FROM turns WHERE talk = ? AND turn >= ?", (talk.id, len(talk.turns)))


def _fill(database: sqlite3.Connection, copy: Talk) -> bool:
    """Add to the talk on record what it lacks and its copy, of the same words, has. Return whether there was any."""
    (stored,) = _read(database, "WHERE id = ?", [copy.id])
    talk = replace(stored.filled_from(copy), base=stored) if stored.texts == copy.texts else stored
    if talk == stored:
        return False
    _change(database, talk)
    _save_turns(database, talk)
    values = (talk.model, talk.participant, talk.started, talk.id)
    database.execute("UPDATE talks SET model = ?, participant = ?, started = ? WHERE id = ?", values)
    return True


def _save_turns(database: sqlite3.Connection, talk: Talk) -> None:
    """Store the turns, flags, thumbs and ratings of a talk whose row is there."""
    for number, turn in enumerate(talk.turns):
        database.execute(SAVE_TURN, (talk.id, number, *vars(turn).values()))
    flags = [(talk.id, flag.turn, flag.kind, flag.note) for flag in talk.flags]
    database.executemany("INSERT INTO flags (talk, turn, kind, note) VALUES (?, ?, ?, ?)", flags)
    thumbs = [(talk.id, thumb.turn, thumb.up) for thumb in talk.thumbs]
    database.executemany("INSERT INTO thumbs (talk, turn, up) VALUES (?, ?, ?)", thumbs)
    ratings = [(talk.id, question, json.dumps(answer)) for question, answer in talk.ratings.items() if talk.turns]
    database.executemany("INSERT OR REPLACE INTO ratings (talk, question, answer) VALUES (?, ?, ?)", ratings)


def _is_stored(database: sqlite3.Connection, talk_id: str | None) -> bool:
    return database.execute("SELECT 1 FROM talks WHERE id = ?", (talk_id,)).fetchone() is not None


def _without_partner(talk: Talk) -> Talk:
    turns = [replace(turn, text=DELETED) if turn.speaker == "partner" else turn for turn in talk.turns]
    base = talk.base and _without_partner(talk.base)
    return replace(talk, turns=turns, base=base)


def _read(database: sqlite3.Connection, where: str, values: list[str]) -> list[Talk]:
    talks: dict[str, Talk] = {}
    for row in database.execute(f"SELECT {TALK} FROM talks {where} ORDER BY number", values):
        pairs = zip(TALK.split(", "), row, strict=True)
        talk = Talk(**{name: json.loads(value) if name in IS_JSON else value for name, value in pairs})
        talks[talk.id] = talk
    where = f"WHERE talk IN (SELECT id FROM talks {where})"
    for row in database.execute(f"SELECT talk, {TURN} FROM turns {where} ORDER BY turn", values):
        talk_id, *turn, corrected, chosen = row
        talks[talk_id].turns.append(Turn(*turn, bool(corrected), bool(chosen)))
    for talk_id, *flag in database.execute(f"SELECT talk, turn, kind, note FROM flags {where} ORDER BY rowid", values):
        talks[talk_id].flags.append(Flag(*flag))
    for talk_id, turn, up in database.execute(f"SELECT talk, turn, up FROM thumbs {where} ORDER BY rowid", values):
        talks[talk_id].thumbs.append(Thumb(turn, bool(up)))
    for talk_id, question, answer in database.execute(f"SELECT * FROM ratings {where} ORDER BY rowid", values):
        talks[talk_id].ratings[question] = json.loads(answer)
    return list(talks.values())
