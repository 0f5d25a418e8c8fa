"""publishing.py: the data for others does not tell who took part, and its card describes it."""

import contextlib
from dataclasses import fields

import pytest
from huggingface_hub import DatasetCard

from personagpt.detection.sides import read_exported, sides_of_talks
from personagpt.errors import UserError
from personagpt.records.consents import keep_consent
from personagpt.records.database import Recordings
from personagpt.records.publishing import anonymous, publish, read_license, without_private
from personagpt.records.talks import INTERVIEW, SELF_PLAY, Flag, Talk, Turn
from tests.records.making import make_talk, make_twins

KEYS = [f"{number:032x}" for number in (0xA1, 0xB2)]
FOLDER = "/srv/lab/models/best"


def record(folder) -> list[Talk]:
    """Six talks of two participants, the operator and a free visitor, as the programs record them."""
    bot = {"source": "study:first:bot", "ratings": {"fluency": 4, "partner": "person"}}
    talks = [make_talk("hello", f"reply {number}", participant=KEYS[number % 2], **bot) for number in range(3)]
    for talk in talks:
        talk.model = FOLDER
    talks[0].flags = [Flag(1, "other", "odd"), Flag(1, "unsafe")]
    twins = make_twins("good day", "to you too", source="study:first:person")
    for talk, key in zip(twins, KEYS, strict=True):
        talk.participant = key
    talks += [*twins, make_talk("mine", "yours"), make_talk("free", "talk", source="app.py", participant="f" * 32)]
    with contextlib.closing(Recordings(folder)) as recordings:
        recordings.save(*talks)
        return recordings.talks()


@pytest.fixture
def published(tmp_path, capsys):  # noqa: ANN201
    """The recorded talks, and the folder into which they were published."""
    talks = record(tmp_path / "conversations")
    keep_consent(tmp_path / "conversations", "first", "You agree.\n\nTo {all} of it.")
    publish(talks, tmp_path / "conversations", tmp_path / "out", only_flagged=False)
    out = capsys.readouterr().out
    assert "left out, because nobody asked the people who talked: 1 by app.py\n" in out
    assert out.endswith("choose a license there, and read the talks\n")
    assert "next:" not in out
    return talks, tmp_path / "out"


def test_no_file_tells_who_or_when_or_where(published, tmp_path) -> None:
    talks, folder = published
    names = ["README.md", "flags.csv", "talks.jsonl", "preferences.jsonl", "feedback.jsonl"]
    texts = [f"{split}_both_original_no_cands.txt" for split in ("train", "valid")]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names + texts)
    everything = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"reply 0" in everything  # so these would be found
    times = {time for talk in talks for time in [talk.started, *(turn.time for turn in talk.turns)]}
    secret = {*(talk.id for talk in talks), *KEYS, "f" * 32, *times, *(time[10:16] for time in times)}
    for text in (*secret, str(tmp_path), FOLDER, "/srv", "free"):
        assert text.encode() not in everything


def test_the_rest_is_what_was_recorded(published) -> None:
    talks, folder = published
    found = read_exported(folder / "talks.jsonl")
    assert len(found) == 6

    def content(talk: Talk) -> tuple:
        return talk.texts, talk.persona, talk.partner, talk.source, talk.flags, talk.ratings, talk.started[:10]

    assert sorted(map(content, found), key=str) == sorted(map(content, talks[:6]), key=str)
    of_key = {key: {talk.texts[1] for talk in talks if talk.participant == key} for key in KEYS}
    of_name = {name: {talk.texts[1] for talk in found if talk.participant == name} for name in ("p1", "p2")}
    assert sorted(map(sorted, of_name.values())) == sorted(map(sorted, of_key.values()))
    one, other = [talk for talk in found if talk.partner == "person"]
    assert (one.twin, other.twin) == (other.id, one.id)
    assert all(talk.twin is None for talk in found if talk.partner != "person")
    assert {(talk.model, talk.model_checksum) for talk in found} == {
        ("best-c0ffee", "c0ffee"),
        ("", ""),
        ("m", "c0ffee"),
    }
    assert all(side.seconds == () for side in sides_of_talks(found)[0])


def test_the_card(published) -> None:
    talks, folder = published
    text = (folder / "README.md").read_text()
    data = DatasetCard(text).data
    assert (data.license, data.language, data.size_categories) == (None, None, ["n<1K"])
    assert [config["data_files"] for config in data.configs] == ["talks.jsonl"]  # flags.csv has other columns
    for line in (
        "| talks | 6 |",
        "| participants | 2 |",
        "| utterances, of joined participants twice | 12 |",
        "| ... by `human` | 6 |",
        "| ... by `model` | 4 |",
        "| ... by `partner` | 2 |",
        "| talks with `fluency` | 3 |",
        "| flags `unsafe` | 1 |",
        "| study:first:bot | 3 |",
        "| best-c0ffee | c0ffee | 3 |",
        "each up to its\nfirst flagged reply",
        "    You agree.\n\n    To {all} of it.\n",
        f"{talks[0].started[:10]} to {talks[-1].started[:10]}",
    ):
        assert line in text
    assert "|  |" not in text  # no model of people
    for kind in (Talk, Turn, Flag):
        assert all(f"`{field.name}`" in text for field in fields(kind) if field.name != "base")


def test_the_card_of_programs_alone(tmp_path) -> None:
    (tmp_path / "license.md").write_text("license: mit\nlanguage: en\n\nNobody else's words are in it.\n")
    talks = [make_talk("a", "b", partner="partner", source=source) for source in (SELF_PLAY, INTERVIEW, INTERVIEW)]
    publish(talks, tmp_path, tmp_path / "out", False, read_license(tmp_path / "license.md"))
    text = (tmp_path / "out" / "README.md").read_text()
    data = DatasetCard(text).data
    assert (data.license, data.language, data.size_categories) == ("mit", "en", ["n<1K"])
    for line in (
        "No person took part.",
        "| self-play | m | 1 |\n| self-play:interview | m | 2 |\n",
        "## License\n\nNobody else's words are in it.\n",
        "| talks | 3 |",
        "| m | c0ffee | 3 |",
    ):
        assert line in text
    for kind in (Talk, Turn, Flag):
        assert all(f"`{field.name}`" in text for field in fields(kind) if field.name != "base")
    assert "{" not in text


@pytest.mark.parametrize("text", ["", "mit\n\nreasons", "license: mit", "license: mit\nreasons"])
def test_a_license_that_says_too_little(tmp_path, text) -> None:
    (tmp_path / "license.md").write_text(text)
    with pytest.raises(UserError, match=r"license\.md: expected a first line such as license: mit, an empty line, and"):
        read_license(tmp_path / "license.md")


def test_a_consent_that_is_not_there_must_be_put_in(tmp_path) -> None:
    publish([make_talk("a", "b", source="study:first-2:x")], tmp_path, tmp_path / "out", False)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "`first-2` agreed to this first:\n\n    (PUT HERE WHAT THE PARTICIPANTS AGREED TO" in text


def test_the_card_has_every_wording_of_the_studys_consent(tmp_path) -> None:
    for study, text in (("a", "one"), ("a", "two"), ("a-b", "three")):
        keep_consent(tmp_path, study, text)
    publish([make_talk("x", "y", source="study:a:x")], tmp_path, tmp_path / "out", False)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "    one\n" in text
    assert "    two\n" in text
    assert "three" not in text


def test_neither_order_nor_number_tells_who_came_first() -> None:
    came = [str(number) for number in range(1, 31)]
    talks = [make_talk("x", number, participant=f"key {number}", source="study:a:b") for number in came]
    for number, talk in enumerate(talks):
        talk.started = f"2026-01-01T10:{number:02}:00.000+00:00"
    shown = anonymous(talks)
    order = [talk.texts[1] for talk in shown]
    names = {talk.texts[1]: talk.participant for talk in shown}
    assert sorted(names.values()) == sorted(f"p{number}" for number in came)
    assert order != came
    assert [names[number] for number in came] != [f"p{number}" for number in came]
    assert [names[number] for number in order] != [f"p{number}" for number in came]
    later = make_talk("x", "y", started="2100-01-01T10:00:00.000+00:00")
    assert anonymous([later, *talks])[-1].started == "2100-01-01"


def test_a_talk_whose_twin_is_not_published_has_none(tmp_path) -> None:
    began, other = make_twins("good day", "to you too")
    other.flags = [Flag(0, "unsafe")]
    publish([began, other], tmp_path, tmp_path / "out", only_flagged=True)
    (talk,) = read_exported(tmp_path / "out" / "talks.jsonl")
    assert (talk.partner, talk.twin) == ("person", None)
    assert began.id.encode() not in (tmp_path / "out" / "talks.jsonl").read_bytes()


def test_only_flagged_talks_are_counted_and_go_whole(tmp_path) -> None:
    flagged = make_talk("a", "b", "c", "d", flags=((1, "other"),))
    publish([flagged, make_talk("x", "y")], tmp_path, tmp_path / "out", True)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| talks | 1 |" in text
    assert "each whole" in text
    assert len(read_exported(tmp_path / "out" / "talks.jsonl")) == 1


@pytest.mark.parametrize("name", ["README.md", "talks.jsonl"])
def test_nothing_is_overwritten(tmp_path, name) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(UserError, match=f"{name}: there already, and not overwritten"):
        publish([make_talk("x", "y")], tmp_path, tmp_path, False)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_no_private_talk_goes_along_with_a_study(capsys) -> None:
    private = [make_talk("mine", "yours"), make_talk("a", "b", source="self-play")]
    assert without_private(private) == private  # nothing else is there to be published
    study, free = make_talk("hi", "ho", source="study:s:a"), make_talk("x", "y", source="app.py")
    assert without_private([*private, study, free]) == [study, free]
    assert capsys.readouterr().out == (
        "left out: 2 private talks that interact.py recorded; --source interact.py publishes them\n"
    )
    assert without_private([study]) == [study]


def test_free_talks_alone_are_nothing_to_publish(tmp_path) -> None:
    with pytest.raises(UserError, match="no talk to publish"):
        publish([make_talk("x", "y", source="app.py")], tmp_path, tmp_path / "out", False)
    assert not (tmp_path / "out").exists()
