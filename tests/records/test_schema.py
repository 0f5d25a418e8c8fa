"""schema.py: the tables of files of other versions."""

import sqlite3
from pathlib import Path

import pytest

from personagpt.errors import UserError
from personagpt.records.database import NAME, Recordings
from personagpt.records.reviews import Reviews
from personagpt.records.schema import VERSION
from personagpt.records.talks import DELETED, Flag, Talk, Thumb, Turn
from tests.records.making import make_talk, make_twins


@pytest.fixture
def recordings(tmp_path):  # noqa: ANN201
    """Recordings in a folder of their own."""
    opened = Recordings(tmp_path)
    yield opened
    opened.close()


def everything(folder: Path) -> bytes:
    """All bytes of all files."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


VERSION_1 = """
CREATE TABLE talks (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, started TEXT NOT NULL, source TEXT NOT NULL,
    participant TEXT, model TEXT NOT NULL, model_checksum TEXT NOT NULL, sampling TEXT NOT NULL,
    persona TEXT NOT NULL, partner TEXT NOT NULL, partner_persona TEXT NOT NULL);
CREATE INDEX talks_of_participant ON talks (participant);
CREATE TABLE turns (
    talk TEXT NOT NULL REFERENCES talks (id) ON DELETE CASCADE, turn INTEGER NOT NULL,
    speaker TEXT NOT NULL CHECK (speaker IN ('human', 'model', 'partner')), text TEXT NOT NULL, time TEXT NOT NULL,
    goal TEXT, replaced TEXT, corrected INTEGER NOT NULL, PRIMARY KEY (talk, turn));
CREATE TABLE flags (
    talk TEXT NOT NULL, turn INTEGER NOT NULL, kind TEXT NOT NULL, note TEXT NOT NULL,
    FOREIGN KEY (talk, turn) REFERENCES turns (talk, turn) ON DELETE CASCADE);
CREATE INDEX flags_of_turn ON flags (talk, turn);
CREATE TABLE ratings (
    talk TEXT NOT NULL REFERENCES talks (id) ON DELETE CASCADE, question TEXT NOT NULL, answer TEXT NOT NULL,
    PRIMARY KEY (talk, question));
PRAGMA user_version = 1;
INSERT INTO talks VALUES
    (1, '0a', 't1', 'interact.py', NULL, 'm', 'c', '{"seed": 1}', '["i ski ."]', 'human', '[]'),
    (2, '000000000000000000000000000000a0', 't2', 'study:s:people', 'p', '', '', '{}', '[]', 'person', '[]'),
    (3, '000000000000000000000000000000a1', 't2', 'study:s:people', 'q', '', '', '{}', '[]', 'person', '[]');
INSERT INTO turns VALUES ('0a', 0, 'human', 'hi', 't', NULL, NULL, 0), ('0a', 1, 'model', 'ho', 't', NULL, NULL, 0),
    ('000000000000000000000000000000a0', 0, 'human', 'secret', 't', NULL, NULL, 0),
    ('000000000000000000000000000000a1', 0, 'partner', 'secret', 't', NULL, NULL, 0);
INSERT INTO flags VALUES ('0a', 1, 'other', 'n');
"""


def test_a_file_of_version_1_is_read_on(tmp_path, recordings) -> None:
    """In that version twins had ids that differed in the last bit; now the file stores their relation."""
    old = sqlite3.connect(tmp_path / NAME)
    old.executescript(VERSION_1)
    old.close()
    one, two = f"{0xA0:032x}", f"{0xA1:032x}"
    talks = recordings.talks()
    assert [(talk.id, talk.twin) for talk in talks] == [("0a", None), (one, two), (two, one)]
    turns = [Turn("human", "hi", "t"), Turn("model", "ho", "t")]
    first = Talk("m", "c", {"seed": 1}, ["i ski ."], turns=turns, flags=[Flag(1, "other", "n")], started="t1", id="0a")
    assert talks[0] == first
    recordings.close()
    reopened = Recordings(tmp_path)
    assert reopened.talks() == talks
    new = make_twins("good", "day")
    reopened.save(*new)
    assert reopened.talks(ids=[new[0].id, new[1].id]) == list(new)
    assert reopened.delete(ids=[one]) == 1
    assert reopened.clear_log(0)
    assert [talk.texts for talk in reopened.talks(ids=[two])] == [[DELETED]]
    reopened.close()
    assert b"secret" not in everything(tmp_path)


def test_in_a_file_of_version_2_no_reply_was_chosen(tmp_path, recordings) -> None:
    old = sqlite3.connect(tmp_path / NAME)
    old.executescript(VERSION_1 + "ALTER TABLE talks ADD COLUMN twin TEXT; PRAGMA user_version = 2;")
    old.close()
    (talk,) = recordings.talks(ids=["0a"])
    assert not talk.turns[1].chosen
    talk.turns[1] = talk.turns[1].instead("hello", corrected=False)
    recordings.save(talk)
    assert recordings.talks(ids=["0a"])[0].turns[1] == Turn("model", "hello", "t", replaced="ho", chosen=True)


def test_a_file_of_version_3_gets_thumbs_and_reviews(tmp_path, recordings) -> None:
    talk = make_talk("hi", "ho")
    recordings.save(talk)
    recordings.close()
    old = sqlite3.connect(tmp_path / NAME)
    old.executescript("DROP TABLE thumbs; DROP TABLE labels; DROP TABLE reviews; PRAGMA user_version = 3;")
    old.close()
    assert recordings.talks() == [talk]
    talk.thumbs.append(Thumb(1, False))
    recordings.save(talk)
    assert recordings.talks() == [talk]
    Reviews(recordings).begin(talk.id, "ann", "random")
    assert [review.talk for review in Reviews(recordings).all()] == [talk.id]


def test_the_labels_of_a_file_of_version_5_get_notes(tmp_path, recordings) -> None:
    talk = make_talk("hi", "ho")
    recordings.save(talk)
    reviews = Reviews(recordings)
    reviews.begin(talk.id, "ann", "random")
    reviews.label(talk.id, "ann", 1, ["other"])
    recordings.close()
    old = sqlite3.connect(tmp_path / NAME)
    old.executescript("ALTER TABLE labels DROP COLUMN note; PRAGMA user_version = 5;")
    old.close()
    assert [(review.labels, review.notes) for review in reviews.all()] == [({1: {"other"}}, {})]
    assert reviews.label(talk.id, "ann", 1, ["other"], "rude")
    assert reviews.all()[0].notes == {1: "rude"}


def test_a_newer_versions_file_is_left_alone(tmp_path, recordings) -> None:
    recordings.save(make_talk("hi"))
    with recordings._connections.use(1.0) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    recordings.close()
    with pytest.raises(UserError, match="a newer version of PersonaGPT recorded these talks"):
        recordings.talks()
