"""conversations.py: recording talks safely, reading them back, and exporting them as training text."""

import json
from dataclasses import asdict

import pytest

from personagpt.errors import UserError
from personagpt.talking.recordings import (
    TEXT_NAMES,
    Flag,
    Talk,
    Turn,
    append_talk,
    export,
    parse_talk,
    read_talks,
    split_talks,
)
from personagpt.text.convai2 import read_corpus


def make_talk(*texts: str, flags: tuple = (), partner: str = "human", **changes) -> Talk:
    turns = [Turn((partner, "model")[number % 2], text) for number, text in enumerate(texts)]
    values = {"persona": ["i have two dogs."], "sampling": {"seed": 7}} | changes
    return Talk("m", "c0ffee", partner=partner, turns=turns, flags=[Flag(*flag) for flag in flags], **values)


def record(folder, *talks: Talk) -> None:
    for talk in talks:
        append_talk(folder, talk)


def exported(target, split: str) -> list[list[str]]:
    return [dialogue.utterances for dialogue in read_corpus(target / TEXT_NAMES[split]).dialogues]


def test_a_talk_comes_back_as_it_was(tmp_path) -> None:
    talk = make_talk("hi", "日本\n😀", flags=((1, "off-topic", "not an answer"),))
    path = append_talk(tmp_path, talk)
    assert path.read_bytes().count(b"\n") == 1
    assert read_talks(tmp_path, pytest.fail) == [talk]


def test_a_recorded_talk_is_on_the_disk(tmp_path, disk_events) -> None:
    path = append_talk(tmp_path, make_talk("hi", "hello"))
    assert disk_events == [f"fsync {path.name}"]


def test_a_later_line_of_the_same_talk_counts(tmp_path) -> None:
    talk, other = make_talk("hi", "hello"), make_talk("a", "b")
    record(tmp_path, talk, other)
    talk.turns += [Turn("human", "bye"), Turn("model", "bye .")]
    record(tmp_path, talk)
    assert read_talks(tmp_path, pytest.fail) == [talk, other]


def test_half_a_line_does_not_spoil_the_next_one(tmp_path) -> None:
    first, second = make_talk("hi", "hello"), make_talk("a", "b")
    path = append_talk(tmp_path, first)
    with open(path, "ab") as file:
        file.write(b'{"id": "cut o')
    record(tmp_path, second)
    said = []
    assert read_talks(tmp_path, said.append) == [first, second]
    assert len(said) == 1
    assert said[0].startswith(f"{path}:2: damaged recording passed over")


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw.pop("turns"),
        lambda raw: raw["turns"][0].update(speaker="model"),
        lambda raw: raw["turns"][1].update(text=" "),
        lambda raw: raw["turns"][1].update(text=5),
        lambda raw: raw["turns"][1].update(text="\ud800"),
        lambda raw: raw["turns"].insert(0, "hi"),
        lambda raw: raw["flags"].append({"turn": 2, "kind": "other"}),
        lambda raw: raw["flags"].append({"turn": 1, "kind": "boring"}),
        lambda raw: raw.update(persona=[""]),
        lambda raw: raw.update(persona=None),
        lambda raw: raw.update(persona="dog"),
        lambda raw: raw.update(partner_persona="dog"),
        lambda raw: raw["flags"].append({"turn": 1.0, "kind": "other"}),
        lambda raw: raw["flags"].append({"turn": True, "kind": "other"}),
        lambda raw: raw.update({"\x1b[31m": 1}),
        lambda raw: raw.update(partner="somebody"),
        lambda raw: raw.update(surprise=1),
        lambda raw: raw.update(id=["x"]),
    ],
)
def test_damaged_recordings_are_told_apart(tmp_path, damage) -> None:
    raw = asdict(make_talk("hi", "hello"))
    assert parse_talk(json.dumps(raw).encode())
    damage(raw)
    (tmp_path / "a.jsonl").write_text(json.dumps(raw) + '\n"text"\n[1]\n\xff\n\n', encoding="latin-1")
    said = []
    assert read_talks(tmp_path, said.append) == []
    assert [line.split(": ")[0][-9:] for line in said] == [f"a.jsonl:{n}" for n in (1, 2, 3, 4)]
    assert "".join(said).isprintable()


def test_a_talk_is_cut_before_its_first_flagged_reply(tmp_path) -> None:
    record(
        tmp_path / "r",
        make_talk("a", "b", "c", "d", flags=((3, "repetitive"), (1, "other"))),  # nothing left
        make_talk("a2", "b2", "c2", "d2", "e2", "f2", flags=((3, "unsafe"),)),
        make_talk("x", "y", "unanswered"),
        make_talk("only unanswered"),
    )
    export(tmp_path / "r", tmp_path / "out", False, lambda text: None, dict)
    assert exported(tmp_path / "out", "train") == [["a2", "b2"]]
    assert exported(tmp_path / "out", "valid") == [["x", "y"]]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(TEXT_NAMES.values())


def test_only_flagged_talks_whole_and_a_table(tmp_path) -> None:
    flagged = make_talk("a", "b", "c", "d", "e", flags=((3, "inconsistent", 'says "cat", has dogs'), (1, "other")))
    record(tmp_path / "r", flagged, make_talk("x", "y"), make_talk("p", "q", flags=((1, "other"),)))
    said = []
    export(tmp_path / "r", tmp_path / "out", True, said.append, dict)
    assert exported(tmp_path / "out", "train") == [["a", "b", "c", "d"]]
    assert exported(tmp_path / "out", "valid") == [["p", "q"]]
    rows = (tmp_path / "out" / "flags.csv").read_text().splitlines()
    assert rows[1] == f"{flagged.id},1,other,,i have two dogs.,a,b,c0ffee"
    assert rows[2] == f'{flagged.id},3,inconsistent,"says ""cat"", has dogs",i have two dogs.,c,d,c0ffee'
    assert len(rows) == 4
    assert "  other             2   see the note" in said


def test_personas_and_speakers_survive(tmp_path) -> None:
    """A self-play that ends with its first speaker, and a talk with a person who has no persona."""
    play = make_talk("a", "b", "c", partner="partner", partner_persona=["i am old."])
    record(tmp_path / "r", play, make_talk("x\ty", "z"))
    export(tmp_path / "r", tmp_path / "out", False, lambda text: None, dict)
    (first,) = read_corpus(tmp_path / "out" / TEXT_NAMES["train"]).dialogues
    assert (first.personas, first.utterances) == ((["i am old."], ["i have two dogs."]), ["a", "b", "c"])
    (second,) = read_corpus(tmp_path / "out" / TEXT_NAMES["valid"]).dialogues
    assert (second.personas, second.utterances) == (([], ["i have two dogs."]), ["x y", "z"])


def test_a_talk_that_went_on_after_retry_is_not_doubled(tmp_path) -> None:
    record(tmp_path / "r", make_talk("a", "b", "c", "bad", flags=((3, "other"),)), make_talk("a", "b", "c", "good"))
    said = []
    export(tmp_path / "r", tmp_path / "out", False, said.append, dict)
    assert exported(tmp_path / "out", "train") == exported(tmp_path / "out", "valid") == [["a", "b", "c", "good"]]
    assert "there is one talk only: it is both the training and the validation text" in said


def test_every_tenth_talk_validates() -> None:
    parts = split_talks(list(range(25)))
    assert parts["valid"] == [9, 19]
    assert len(parts["train"]) == 23
    assert split_talks([1, 2]) == {"train": [1], "valid": [2]}


def test_nothing_to_export(tmp_path) -> None:
    with pytest.raises(UserError, match="record some with interact"):
        export(tmp_path / "none", tmp_path / "out", False, print, dict)
    record(tmp_path / "r", make_talk("x", "y"))
    with pytest.raises(UserError, match="no flagged talk"):
        export(tmp_path / "r", tmp_path / "out", True, print, dict)
    assert not (tmp_path / "out").exists()


def test_text_that_is_there_already_stays(tmp_path) -> None:
    record(tmp_path / "r", make_talk("x", "y"))
    (tmp_path / TEXT_NAMES["valid"]).write_text("precious")
    expected = (
        f"{TEXT_NAMES['valid']}: there already, .* another folder, or delete them where an export that was killed"
    )
    with pytest.raises(UserError, match=expected):
        export(tmp_path / "r", tmp_path, False, print, dict)
    assert (tmp_path / TEXT_NAMES["valid"]).read_text() == "precious"
