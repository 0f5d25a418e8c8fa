"""The tables of talks.sqlite, and how a file of an older version gets them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from personagpt.errors import UserError
from personagpt.records.talks import twin_before_stored

VERSION = 6  # of the schema; the file holds it as user_version

THUMBS = (  # a reply that was joined from several messages may have several thumbs
    """CREATE TABLE thumbs (
        talk TEXT NOT NULL, turn INTEGER NOT NULL, up INTEGER NOT NULL,
        FOREIGN KEY (talk, turn) REFERENCES turns (talk, turn) ON DELETE CASCADE)""",
    "CREATE INDEX thumbs_of_turn ON thumbs (talk, turn)",
)
REVIEWS = (
    """CREATE TABLE reviews (
        talk TEXT NOT NULL REFERENCES talks (id) ON DELETE CASCADE, reviewer TEXT NOT NULL, ordering TEXT NOT NULL,
        started TEXT NOT NULL, finished TEXT, closed INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (talk, reviewer))""",
    """CREATE TABLE labels (
        talk TEXT NOT NULL, reviewer TEXT NOT NULL, turn INTEGER NOT NULL, kind TEXT NOT NULL,
        note TEXT NOT NULL DEFAULT '', PRIMARY KEY (talk, reviewer, turn, kind),
        FOREIGN KEY (talk, reviewer) REFERENCES reviews (talk, reviewer) ON DELETE CASCADE,
        FOREIGN KEY (talk, turn) REFERENCES turns (talk, turn) ON DELETE CASCADE)""",
    "CREATE INDEX labels_of_turn ON labels (talk, turn)",
)
SCHEMA = (
    """CREATE TABLE talks (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, started TEXT NOT NULL, source TEXT NOT NULL,
        participant TEXT, model TEXT NOT NULL, model_checksum TEXT NOT NULL, sampling TEXT NOT NULL,
        persona TEXT NOT NULL, partner TEXT NOT NULL, partner_persona TEXT NOT NULL, twin TEXT)""",
    "CREATE INDEX talks_of_participant ON talks (participant)",
    """CREATE TABLE turns (
        talk TEXT NOT NULL REFERENCES talks (id) ON DELETE CASCADE, turn INTEGER NOT NULL,
        speaker TEXT NOT NULL CHECK (speaker IN ('human', 'model', 'partner')), text TEXT NOT NULL, time TEXT NOT NULL,
        goal TEXT, replaced TEXT, corrected INTEGER NOT NULL, chosen INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (talk, turn))""",
    """CREATE TABLE flags (
        talk TEXT NOT NULL, turn INTEGER NOT NULL, kind TEXT NOT NULL, note TEXT NOT NULL,
        FOREIGN KEY (talk, turn) REFERENCES turns (talk, turn) ON DELETE CASCADE)""",
    "CREATE INDEX flags_of_turn ON flags (talk, turn)",
    """CREATE TABLE ratings (
        talk TEXT NOT NULL REFERENCES talks (id) ON DELETE CASCADE, question TEXT NOT NULL, answer TEXT NOT NULL,
        PRIMARY KEY (talk, question))""",
    *THUMBS,
    *REVIEWS,
)


def bring_up_to_date(database: sqlite3.Connection, path: Path) -> None:
    """Create the tables in a new file, and update the tables of an old file. Raises UserError for a newer file."""
    if _version(database) == VERSION:
        return
    database.execute("BEGIN IMMEDIATE")
    with database:  # commits, or rolls back
        version = _version(database)
        if version > VERSION:
            raise UserError(f"{path}: a newer version of PersonaGPT recorded these talks; use that version")
        for statement in SCHEMA if version == 0 else ():
            database.execute(statement)
        if version == 1:
            _add_twins(database)
        if version in (1, 2):  # nobody knows which replies were chosen before
            database.execute("ALTER TABLE turns ADD COLUMN chosen INTEGER NOT NULL DEFAULT 0")
        for statement in (*(THUMBS if 0 < version < 4 else ()), *(REVIEWS if 0 < version < 5 else ())):
            database.execute(statement)
        if version == 5:
            database.execute("ALTER TABLE labels ADD COLUMN note TEXT NOT NULL DEFAULT ''")
        database.execute(f"PRAGMA user_version = {VERSION}")


def _version(database: sqlite3.Connection) -> int:
    return database.execute("PRAGMA user_version").fetchone()[0]


def _add_twins(database: sqlite3.Connection) -> None:
    """Add the column `twin` to the tables of schema version 1."""
    database.execute("ALTER TABLE talks ADD COLUMN twin TEXT")
    ids = database.execute("SELECT id FROM talks WHERE partner = 'person'").fetchall()
    twins = [(twin_before_stored(talk_id), talk_id) for (talk_id,) in ids]
    database.executemany("UPDATE talks SET twin = ? WHERE id = ?", twins)
