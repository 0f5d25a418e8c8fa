"""Recorded talks: one SQLite file, save_path/conversations/talks.sqlite, written by several programs at once.

A talk is saved after everything that is said in it: what was committed survives a kill and a power cut. Its tables are
`talks`, and for each `turns`, `flags` and `ratings`, which go with it when it is deleted. JSON lines that an earlier
version recorded in the folder are taken over when the file is first opened.
"""

from __future__ import annotations

import contextlib
import errno
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from personagpt.errors import RunError, UserError, printable
from personagpt.files import write_atomically
from personagpt.records.talks import DELETED, Flag, Talk, Turn, parse_talk, twin_of

NAME = "talks.sqlite"
VERSION = 1  # the schema's; in the file's user_version
PATIENCE = 30.0  # seconds to wait for another program that writes
DAMAGED = "damaged-"  # before the name of a file of JSON lines: those of its lines that are no talks

SCHEMA = (
    """CREATE TABLE talks (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, started TEXT NOT NULL, source TEXT NOT NULL,
        participant TEXT, model TEXT NOT NULL, model_checksum TEXT NOT NULL, sampling TEXT NOT NULL,
        persona TEXT NOT NULL, partner TEXT NOT NULL, partner_persona TEXT NOT NULL)""",
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
    f"PRAGMA user_version = {VERSION}",
)
COLUMNS = "id, started, source, participant, model, model_checksum, sampling, persona, partner, partner_persona"
IS_JSON = {"sampling", "persona", "partner_persona"}
TURN = "speaker, text, time, goal, replaced, corrected"
SAVE_TURN = f"""INSERT INTO turns (talk, turn, {TURN}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (talk, turn) DO UPDATE SET ({TURN}) = (excluded.{TURN.replace(", ", ", excluded.")})
    WHERE ({TURN}) IS NOT (excluded.{TURN.replace(", ", ", excluded.")})"""


class TalkDeleted(UserError):
    """The talk was deleted while it went on."""


class Recordings:
    """The recorded talks of a folder. Threads may share it, and other processes may use the same folder.

    Nothing is created before the first talk is saved. Every method raises UserError where the file cannot be used,
    RunError where the machine does not let it, and OSError where the disk is full.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = print) -> None:
        """`say` is told what became of JSON lines."""
        self.path = folder / NAME
        self._say = say
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._saved: set[str] = set()  # ids: one that is no longer in the file was deleted

    def save(self, *talks: Talk) -> None:
        """Make the file hold the talks as they are now; without a turn it holds none. On the disk when this returns.

        All or none. Raises TalkDeleted where one was saved before, and deleted since.
        """
        changed = [talk for talk in talks if talk.turns or talk.id in self._saved]
        if not changed:
            return
        with self._transaction() as database:
            together = {talk.id for talk in changed}
            for talk in changed:
                alone = talk.partner == "person" and twin_of(talk.id) not in together and not _has_twin(database, talk)
                _save(database, _without_partner(talk) if alone else talk, is_new=talk.id not in self._saved)
        for talk in changed:
            (self._saved.add if talk.turns else self._saved.discard)(talk.id)

    def refuse(self, talk_id: str) -> None:
        """Take nothing of this talk that is not in the file: it counts as deleted."""
        self._saved.add(talk_id)

    def talks(self, participant: str | None = None, ids: list[str] | None = None) -> list[Talk]:
        """All talks, oldest first; or a participant's, or those of these ids."""
        if not self._is_there():
            return []
        chosen, values = _chosen(participant, ids)
        with self._transaction("DEFERRED") as database:
            found = _read(database, chosen, values)
        self._saved |= {talk.id for talk in found}
        return found

    def count(self, participant: str | None = None) -> int:
        """How many talks there are; or how many of a participant."""
        if not self._is_there():
            return 0
        chosen, values = _chosen(participant, None)
        with self._transaction("DEFERRED") as database:
            return database.execute(f"SELECT COUNT(*) FROM talks {chosen}", values).fetchone()[0]

    def count_by_source(self, prefix: str) -> dict[str, int]:
        """How many talks there are of each source that begins so, without those that were given up."""
        if not self._is_there():
            return {}
        with self._transaction("DEFERRED") as database:
            rows = database.execute(
                """SELECT source, COUNT(*) FROM talks WHERE substr(source, 1, ?) = ? AND NOT EXISTS (SELECT 1 FROM
                ratings WHERE talk = id AND question = 'ended' AND answer = '"left"') GROUP BY source""",
                (len(prefix), prefix),
            )
            return dict(rows.fetchall())

    def delete(self, participant: str | None = None, ids: list[str] | None = None) -> int:
        """Delete a participant's talks, or those of these ids; returns how many there were.

        Their text is gone from the file and from its log when this returns, whatever it returns. Where the participant
        talked with another one, it is gone from the other one's talk, too.
        """
        if not self._is_there():
            return 0
        chosen, values = _chosen(participant, ids)
        with self._transaction() as database:
            people = database.execute(f"SELECT id, partner FROM talks {chosen}", values).fetchall()
            count = database.execute(f"DELETE FROM talks {chosen}", values).rowcount
            twins = [(DELETED, twin_of(talk_id)) for talk_id, partner in people if partner == "person"]
            database.executemany("UPDATE turns SET text = ? WHERE talk = ? AND speaker = 'partner'", twins)
        with self._lock, self._told():
            # In the file deleted text is overwritten (secure_delete); the log is emptied here.
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

    def _is_there(self) -> bool:
        return self.path.exists() or any(_json_lines(self.path.parent))

    @contextlib.contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """All or nothing; nobody else writes meanwhile, unless `kind` is DEFERRED: then it only reads."""
        with self._lock, self._told():
            database = self._opened()
            database.execute(f"BEGIN {kind}")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
                    database.execute("ROLLBACK")
                raise

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepare(self, database: sqlite3.Connection) -> None:
        """Set what every connection sets, make the tables where there are none, and take over JSON lines."""
        for pragma in ("foreign_keys = ON", "secure_delete = ON", "synchronous = FULL", "temp_store = MEMORY"):
            database.execute(f"PRAGMA {pragma}")
        deadline = time.monotonic() + PATIENCE
        while True:  # where several programs open a new file at once, SQLite does not wait by itself
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
                raise UserError(f"{self.path}: recorded by a newer version of PersonaGPT; use that one")
            for statement in SCHEMA if version == 0 else ():
                database.execute(statement)
            taken = take_over(database, self.path.parent, self._say)
        for path in taken:  # their talks are committed
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's errors as a line for the user, or as the full disk that they are."""
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            if name == "SQLITE_FULL":
                raise OSError(errno.ENOSPC, "No space left on device", str(self.path)) from None
            if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
                raise UserError(
                    f"{self.path}: not a file of recorded talks, or damaged ({error}): move it away, with its -wal and "
                    "-shm files, and a new one is made"
                ) from None
            if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
                raise UserError(f"{self.path}: cannot write there ({error}); choose another save_path") from None
            if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise RunError(f"{self.path}: another program keeps it busy for {PATIENCE:.0f} s; try again") from None
            if name.startswith("SQLITE_IOERR"):
                raise RunError(f"{self.path}: the disk does not take it ({error}); is it full?") from None
            raise


def _chosen(participant: str | None, ids: list[str] | None) -> tuple[str, list[str]]:
    """The SQL that chooses talks, and its values."""
    parts, values = [], []
    if participant is not None:
        parts, values = ["participant = ?"], [participant]
    if ids is not None:
        parts.append("id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(ids))
    return ("WHERE " + " AND ".join(parts) if parts else ""), values


def _save(database: sqlite3.Connection, talk: Talk, is_new: bool) -> None:
    if is_new:
        values = [json.dumps(value) if name in IS_JSON else value for name, value in _columns(talk).items()]
        database.execute(f"INSERT INTO talks ({COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)
    elif not database.execute("SELECT 1 FROM talks WHERE id = ?", (talk.id,)).fetchone():
        raise TalkDeleted("this talk was deleted meanwhile; start a new one")
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


def _has_twin(database: sqlite3.Connection, talk: Talk) -> bool:
    return database.execute("SELECT 1 FROM talks WHERE id = ?", (twin_of(talk.id),)).fetchone() is not None


def _without_partner(talk: Talk) -> Talk:
    """A person's talk without what their partner said."""
    turns = [replace(turn, text=DELETED) if turn.speaker == "partner" else turn for turn in talk.turns]
    return replace(talk, turns=turns)


def _columns(talk: Talk) -> dict[str, object]:
    return {name: getattr(talk, name) for name in COLUMNS.split(", ")}


def _read(database: sqlite3.Connection, chosen: str, values: list[str]) -> list[Talk]:
    talks: dict[str, Talk] = {}
    for row in database.execute(f"SELECT {COLUMNS} FROM talks {chosen} ORDER BY number", values):
        pairs = zip(COLUMNS.split(", "), row, strict=True)
        talk = Talk(**{name: json.loads(value) if name in IS_JSON else value for name, value in pairs})
        talks[talk.id] = talk
    those = f"WHERE talk IN (SELECT id FROM talks {chosen})"
    for talk, *turn, corrected in database.execute(f"SELECT talk, {TURN} FROM turns {those} ORDER BY turn", values):
        talks[talk].turns.append(Turn(*turn, bool(corrected)))
    for talk, *flag in database.execute(f"SELECT talk, turn, kind, note FROM flags {those} ORDER BY rowid", values):
        talks[talk].flags.append(Flag(*flag))
    for talk, question, answer in database.execute(f"SELECT * FROM ratings {those} ORDER BY rowid", values):
        talks[talk].ratings[question] = json.loads(answer)
    return list(talks.values())


def read_talks(folder: Path, say: Callable[[str], None] = print) -> list[Talk]:
    """All talks recorded in `folder`, oldest first; `say` is told what became of JSON lines."""
    with contextlib.closing(Recordings(folder, say)) as recordings:
        return recordings.talks()


def _json_lines(folder: Path) -> list[Path]:
    """The files that an earlier version recorded in: DATE.jsonl."""
    return [path for path in sorted(folder.glob("*.jsonl")) if not path.name.startswith(DAMAGED)]


def take_over(database: sqlite3.Connection, folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Put the talks of all JSON lines in `folder` into the tables; returns the files, to be removed after the commit.

    Of an id that stands on several lines, the last counts. A line that is no talk is named, and kept in a file of its
    own. Where a kill came between commit and removal, the same talks are found again, and change nothing.
    """
    talks: dict[str, Talk] = {}
    files = _json_lines(folder)
    for path in files:
        damaged = []
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                talk = parse_talk(line)
                talks[talk.id] = talk
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                damaged.append(line)
                reason = printable(f"{type(error).__name__}: {str(error)[:80]}")
                say(f"{path}:{number}: damaged recording, kept in {DAMAGED}{path.name} ({reason})")
        if damaged:
            _keep(path.with_name(DAMAGED + path.name), damaged)
    new = [talk for talk in talks.values() if talk.turns and not _is_recorded(database, talk)]
    for talk in new:
        _save(database, talk, is_new=True)
    if files:
        say(f"{folder / NAME}: took over {len(new)} talks from {', '.join(path.name for path in files)}")
    return files


def _is_recorded(database: sqlite3.Connection, talk: Talk) -> bool:
    return database.execute("SELECT 1 FROM talks WHERE id = ?", (talk.id,)).fetchone() is not None


def _keep(path: Path, lines: list[bytes]) -> None:
    """Add to the file those of `lines` that it does not have yet."""
    kept = path.read_bytes().rstrip(b"\n").split(b"\n") if path.exists() else []
    write_atomically(path, b"".join(line + b"\n" for line in [*kept, *(line for line in lines if line not in kept)]))
