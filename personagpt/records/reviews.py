"""Reviews: what people who read a recorded talk afterwards say about its replies, apart from the talk's own flags.

Each reviewer has a set of labels of their own on each talk: the kinds of a flag, on any reply. A review without labels
on a reply means that the reply is fine, as soon as the review is finished. A finished review is not about replies that
are said later. After a reviewer has seen where others disagree, their reviews are closed, and stay as they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field

from personagpt.records.database import Recordings, TalkDeleted
from personagpt.records.talks import now


@dataclass
class Review:
    """A reviewer's reading of a talk."""

    talk: str  # its id
    reviewer: str
    ordering: str  # how the talks were ordered: "doubt" or "random"
    started: str
    finished: str | None = None
    closed: bool = False
    labels: dict[int, set[str]] = field(default_factory=dict)  # kinds by turn
    notes: dict[int, str] = field(default_factory=dict)  # by turn, of turns with labels


class Reviews:
    """The reviews in the file of the recorded talks. Methods raise what those of Recordings raise."""

    def __init__(self, recordings: Recordings) -> None:
        self.recordings = recordings

    def all(self) -> list[Review]:
        """Return every review, oldest first."""
        if not self.recordings.path.exists():
            return []
        with self.recordings.transaction("DEFERRED") as database:
            return _read(database)

    def begin(self, talk: str, reviewer: str, ordering: str) -> None:
        """Begin a review. Raises TalkDeleted if the talk is no longer on record."""
        with self.recordings.transaction() as database:
            if not database.execute("SELECT 1 FROM talks WHERE id = ?", (talk,)).fetchone():
                raise TalkDeleted
            database.execute(
                "INSERT OR IGNORE INTO reviews (talk, reviewer, ordering, started) VALUES (?, ?, ?, ?)",
                (talk, reviewer, ordering, now()),
            )

    def label(self, talk: str, reviewer: str, turn: int, kinds: Iterable[str], note: str = "") -> bool:
        """Let `kinds` be the reviewer's labels on a turn, with a note. Return False where the review is not under way.

        Without labels there is no note.
        """
        with self.recordings.transaction() as database:
            under_way = "SELECT 1 FROM reviews WHERE talk = ? AND reviewer = ? AND finished IS NULL"
            if not database.execute(under_way, (talk, reviewer)).fetchone():
                return False
            database.execute("DELETE FROM labels WHERE talk = ? AND reviewer = ? AND turn = ?", (talk, reviewer, turn))
            rows = [(talk, reviewer, turn, kind, note) for kind in dict.fromkeys(kinds)]
            database.executemany("INSERT INTO labels (talk, reviewer, turn, kind, note) VALUES (?, ?, ?, ?, ?)", rows)
        return True

    def finish(self, talk: str, reviewer: str) -> bool:
        """Finish a review. Return False where it is not under way."""
        return self._change("finished = ?", "finished IS NULL", (now(), talk, reviewer))

    def reopen(self, talk: str, reviewer: str) -> bool:
        """Let a finished review be under way again. Return False where it is closed or not finished."""
        return self._change("finished = NULL", "finished IS NOT NULL AND NOT closed", (talk, reviewer))

    def close(self, reviewer: str) -> None:
        """Close the reviewer's finished reviews for ever."""
        with self.recordings.transaction() as database:
            database.execute("UPDATE reviews SET closed = 1 WHERE reviewer = ? AND finished IS NOT NULL", (reviewer,))

    def _change(self, change: str, condition: str, values: tuple[str, ...]) -> bool:
        with self.recordings.transaction() as database:
            statement = f"UPDATE reviews SET {change} WHERE talk = ? AND reviewer = ? AND {condition}"
            return database.execute(statement, values).rowcount == 1


def _read(database: sqlite3.Connection) -> list[Review]:
    reviews: dict[tuple[str, str], Review] = {}
    rows = database.execute("SELECT talk, reviewer, ordering, started, finished, closed FROM reviews ORDER BY rowid")
    for *values, closed in rows:
        review = Review(*values, closed=bool(closed))
        reviews[review.talk, review.reviewer] = review
    for talk, reviewer, turn, kind, note in database.execute("SELECT talk, reviewer, turn, kind, note FROM labels"):
        review = reviews[talk, reviewer]
        review.labels.setdefault(turn, set()).add(kind)
        if note:
            review.notes[turn] = note
    return list(reviews.values())
