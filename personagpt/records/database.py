"""Recorded talks: one SQLite file, save_path/conversations/talks.sqlite, that several programs may write at once.

A talk is saved after every utterance. A saved utterance survives a kill of the program and a power cut. The tables are
`talks`, and `turns`, `flags` and `ratings`, whose rows are deleted with their talk.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from personagpt.errors import RunError, UserError
from personagpt.records.talks import DELETED, Flag, Talk, Turn, twin_before_stored

NAME = "talks.sqlite"
VERSION = 2  # of the schema; the file holds it as user_version
PATIENCE = 30.0  # seconds to wait while another program writes

SCHEMA = (
    """CREATE TABLE talks (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, started TEXT NOT NULL, source TEXT NOT NULL,
        participant TEXT, model TEXT NOT NULL, model_checksum TEXT NOT NULL, sampling TEXT NOT NULL,
        persona TEXT NOT NULL, partner TEXT NOT NULL, partner_persona TEXT NOT NULL, twin TEXT)""",
    "CREATE INDEX talks_of_participant ON talks (participant)",
    """CREATE TABLE turns (
        talk TEXT NOT NULL REFERENCES talks (id) ON DELETE CASCADE, turn INTEGER NOT NULL,
        speaker TEXT NOT NULL CHECK (speaker IN ('human', 'model', 'partner')), text TEXT NOT NULL, time TEXT NOT NULL,
        goal TEXT, replaced TEXT, corrected INTEGER NOT NULL, PRIMARY KEY (talk, turn))""",
    """CREATE TABLE flags (
        talk TEXT NOT NULL, turn INTEGER NOT NULL, kind TEXT NOT NULL, note TEXT NOT NULL,
        FOREIGN KEY (talk, turn) REFERENCES turns (talk, turn) ON DELETE CASCADE)""",
    "CREATE INDEX flags_of_turn ON flags (talk, turn)",
    """CREATE TABLE ratings (
        talk TEXT NOT NULL REFERENCES talks (id) ON DELETE CASCADE, question TEXT NOT NULL, answer TEXT NOT NULL,
        PRIMARY KEY (talk, question))""",
)
TALK = "id, started, source, participant, model, model_checksum, sampling, persona, partner, partner_persona, twin"
IS_JSON = {"sampling", "persona", "partner_persona"}  # columns of talks
TURN = "speaker, text, time, goal, replaced, corrected"
# A turn that is in the file already and has not changed is not written again.
SAVE_TURN = f"""INSERT INTO turns (talk, turn, {TURN}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (talk, turn) DO UPDATE SET ({TURN}) = (excluded.{TURN.replace(", ", ", excluded.")})
    WHERE ({TURN}) IS NOT (excluded.{TURN.replace(", ", ", excluded.")})"""


class TalkDeleted(UserError):
    """Somebody deleted the talk while it went on."""


class Recordings:
    """The recorded talks of a folder. Threads may share an instance, and other processes may use the same folder.

    The file is created when the first talk is saved. Every method raises UserError if the file cannot be used, RunError
    if the machine fails, and OSError if the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._saved: set[str] = set()  # ids of talks that were in the file: if an id is missing there, it was deleted

    def save(self, *talks: Talk, continues: str | None = None) -> None:
        """Store the present state of all talks, or of none. The talks are on the disk when this returns.

        `continues` is the id of the talk whose words the talks repeat, if there is such a talk.

        A talk without turns is removed. A person's talk whose twin is neither saved along with it nor in the file is
        stored without the partner's words, because the partner has deleted them. Raises TalkDeleted if a talk, or the
        talk that it continues, was saved before and deleted since.
        """
        changed = [talk for talk in talks if talk.turns or talk.id in self._saved]
        if not changed:
            return
        ids = {talk.id for talk in changed}
        with self._transaction() as database:
            if continues in self._saved:
                _check_stored(database, continues)
            for talk in changed:
                is_alone = talk.partner == "person" and talk.twin not in ids and not _is_stored(database, talk.twin)
                _save(database, _without_partner(talk) if is_alone else talk, is_new=talk.id not in self._saved)
        for talk in changed:
            (self._saved.add if talk.turns else self._saved.discard)(talk.id)

    def refuse(self, talk_id: str) -> None:
        """Treat a talk that is not in the file as deleted, so that nothing of it is saved."""
        self._saved.add(talk_id)

    def talks(self, participant: str | None = None, ids: list[str] | None = None) -> list[Talk]:
        """Return the talks, oldest first: all of them, or those of a participant or with one of the ids."""
        if not self.path.exists():
            return []
        with self._transaction("DEFERRED") as database:
            talks = _read(database, *_where(participant, ids))
        self._saved |= {talk.id for talk in talks}
        return talks

    def count(self, participant: str | None = None) -> int:
        """Return the number of talks, or of a participant's talks."""
        if not self.path.exists():
            return 0
        where, values = _where(participant)
        with self._transaction("DEFERRED") as database:
            return database.execute(f"SELECT COUNT(*) FROM talks {where}", values).fetchone()[0]

    def count_by_source(self, prefix: str) -> dict[str, int]:
        """Return the number of talks for each source that begins with `prefix`, without abandoned talks."""
        if not self.path.exists():
            return {}
        with self._transaction("DEFERRED") as database:
            rows = database.execute(
                """SELECT source, COUNT(*) FROM talks WHERE substr(source, 1, ?) = ? AND NOT EXISTS (SELECT 1 FROM
                ratings WHERE talk = id AND question = 'ended' AND answer = '"left"') GROUP BY source""",
                (len(prefix), prefix),
            )
            return dict(rows.fetchall())

    def delete(self, participant: str | None = None, ids: list[str] | None = None) -> int:
        """Delete a participant's talks, or the talks with one of the ids, and return their number.

        When this returns, even if it deleted nothing, the file and its log hold no deleted text any more. The words of
        a person whose talk is deleted are also removed from its twin.
        """
        if not self.path.exists():
            return 0
        where, values = _where(participant, ids)
        with self._transaction() as database:
            twins = f"talk IN (SELECT twin FROM talks {where})"
            database.execute(f"UPDATE turns SET text = ? WHERE speaker = 'partner' AND {twins}", (DELETED, *values))
            count = database.execute(f"DELETE FROM talks {where}", values).rowcount
        with self._lock, self._translated_errors():
            # In the file, SQLite overwrites deleted text (secure_delete). This empties the log.
            if self._opened().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise RunError(
                    f"{self.path}: the talks are deleted, but another program is reading the file, so that its log may "
                    "still hold their text: run the same command again"
                )
        return count

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Commit all changes at the end, or none after an error. A DEFERRED transaction only reads."""
        with self._lock, self._translated_errors():
            database = self._opened()
            database.execute(f"BEGIN {kind}")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # after a full disk, SQLite has rolled back by itself
                    database.execute("ROLLBACK")
                raise

    def _opened(self) -> sqlite3.Connection:
        """Return the connection, which the first call opens."""
        if self._connection is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(OSError):  # the file is there, or SQLite says why it cannot be
                # Readable by its owner only; SQLite gives its log the same permissions.
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, 0o600))
            connection = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepare(self, database: sqlite3.Connection) -> None:
        """Set up a new connection. Create the tables in a new file, and update the tables of an old file."""
        for pragma in ("foreign_keys = ON", "secure_delete = ON", "synchronous = FULL", "temp_store = MEMORY"):
            database.execute(f"PRAGMA {pragma}")
        deadline = time.monotonic() + PATIENCE
        while True:  # SQLite does not wait by itself if several programs open a new file at once
            try:
                database.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorname not in ("SQLITE_BUSY", "SQLITE_LOCKED") or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        database.execute("BEGIN IMMEDIATE")
        with database:  # commits, or rolls back
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise UserError(f"{self.path}: a newer version of PersonaGPT recorded these talks; use that version")
            if version == VERSION:
                return
            for statement in SCHEMA if version == 0 else ():
                database.execute(statement)
            if version == 1:
                _add_twins(database)
            database.execute(f"PRAGMA user_version = {VERSION}")

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Turn SQLite's errors into a line for the user, or into the OSError of a full disk."""
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            if name == "SQLITE_FULL":
                raise OSError(errno.ENOSPC, "No space left on device", str(self.path)) from None
            if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
                raise UserError(
                    f"{self.path}: not a file of recorded talks, or damaged ({error}): move it away, with its -wal and "
                    "-shm files, and the next talk makes a new file"
                ) from None
            if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
                raise UserError(f"{self.path}: cannot write there ({error}); choose another save_path") from None
            if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise RunError(f"{self.path}: another program keeps it busy for {PATIENCE:.0f} s; try again") from None
            if name.startswith("SQLITE_IOERR"):
                raise RunError(f"{self.path}: the disk does not take it ({error}); is it full?") from None
            raise


def _add_twins(database: sqlite3.Connection) -> None:
    """Add the column `twin` to the tables of schema version 1."""
    database.execute("ALTER TABLE talks ADD COLUMN twin TEXT")
    ids = database.execute("SELECT id FROM talks WHERE partner = 'person'").fetchall()
    twins = [(twin_before_stored(talk_id), talk_id) for (talk_id,) in ids]
    database.executemany("UPDATE talks SET twin = ? WHERE id = ?", twins)


def _where(participant: str | None, ids: list[str] | None = None) -> tuple[str, list[str]]:
    """Return the SQL condition that chooses talks, and its values."""
    conditions, values = [], []
    if participant is not None:
        conditions, values = ["participant = ?"], [participant]
    if ids is not None:
        conditions.append("id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(ids))
    return ("WHERE " + " AND ".join(conditions) if conditions else ""), values


def _save(database: sqlite3.Connection, talk: Talk, is_new: bool) -> None:
    if is_new:
        pairs = [(name, getattr(talk, name)) for name in TALK.split(", ")]
        values = [json.dumps(value) if name in IS_JSON else value for name, value in pairs]
        database.execute(f"INSERT INTO talks ({TALK}) VALUES ({', '.join('?' * len(values))})", values)
    else:
        _check_stored(database, talk.id)
    if not talk.turns:
        database.execute("DELETE FROM talks WHERE id = ?", (talk.id,))
        return
    database.execute("DELETE FROM flags WHERE talk = ?", (talk.id,))
    database.execute("DELETE FROM turns WHERE talk = ? AND turn >= ?", (talk.id, len(talk.turns)))
    for number, turn in enumerate(talk.turns):
        database.execute(SAVE_TURN, (talk.id, number, *vars(turn).values()))
    flags = [(talk.id, flag.turn, flag.kind, flag.note) for flag in talk.flags]
    database.executemany("INSERT INTO flags (talk, turn, kind, note) VALUES (?, ?, ?, ?)", flags)
    ratings = [(talk.id, question, json.dumps(answer)) for question, answer in talk.ratings.items()]
    database.executemany("INSERT OR REPLACE INTO ratings (talk, question, answer) VALUES (?, ?, ?)", ratings)


def _check_stored(database: sqlite3.Connection, talk_id: str) -> None:
    if not _is_stored(database, talk_id):
        raise TalkDeleted("this talk was deleted meanwhile; start a new one")


def _is_stored(database: sqlite3.Connection, talk_id: str | None) -> bool:
    return database.execute("SELECT 1 FROM talks WHERE id = ?", (talk_id,)).fetchone() is not None


def _without_partner(talk: Talk) -> Talk:
    turns = [replace(turn, text=DELETED) if turn.speaker == "partner" else turn for turn in talk.turns]
    return replace(talk, turns=turns)


def _read(database: sqlite3.Connection, where: str, values: list[str]) -> list[Talk]:
    talks: dict[str, Talk] = {}
    for row in database.execute(f"SELECT {TALK} FROM talks {where} ORDER BY number", values):
        pairs = zip(TALK.split(", "), row, strict=True)
        talk = Talk(**{name: json.loads(value) if name in IS_JSON else value for name, value in pairs})
        talks[talk.id] = talk
    where = f"WHERE talk IN (SELECT id FROM talks {where})"
    for talk_id, *turn, corrected in database.execute(f"SELECT talk, {TURN} FROM turns {where} ORDER BY turn", values):
        talks[talk_id].turns.append(Turn(*turn, bool(corrected)))
    for talk_id, *flag in database.execute(f"SELECT talk, turn, kind, note FROM flags {where} ORDER BY rowid", values):
        talks[talk_id].flags.append(Flag(*flag))
    for talk_id, question, answer in database.execute(f"SELECT * FROM ratings {where} ORDER BY rowid", values):
        talks[talk_id].ratings[question] = json.loads(answer)
    return list(talks.values())
