"""export.py: recorded talks as training text, as JSON, and a table of the flags."""

import pytest

from personagpt.errors import UserError
from personagpt.records.export import export, split_talks, text_of
from personagpt.records.talks import Flag, Turn, parse_talk
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import read_corpus
from tests.records.making import make_talk, make_twins


def exported(target, split: str) -> list[list[str]]:
    return [dialogue.utterances for dialogue in read_corpus(target / TEXT_NAMES[split]).dialogues]


def test_a_talk_is_cut_before_its_first_flagged_reply(tmp_path) -> None:
    talks = [
        make_talk("a", "b", "c", "d", flags=((3, "repetitive"), (1, "other"))),  # nothing left
        make_talk("a2", "b2", "c2", "d2", "e2", "f2", flags=((3, "unsafe"),)),
        make_talk("x", "y", "unanswered"),
        make_talk("only unanswered"),
    ]
    export(talks, tmp_path / "out", False, dict)
    assert exported(tmp_path / "out", "train") == [["a2", "b2"]]
    assert exported(tmp_path / "out", "valid") == [["x", "y"]]
    names = [*TEXT_NAMES.values(), "flags.csv", "talks.jsonl"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    assert [parse_talk(line) for line in (tmp_path / "out" / "talks.jsonl").read_bytes().splitlines()] == talks


def test_a_corrected_reply_is_training_text_although_it_was_flagged(tmp_path) -> None:
    talk = make_talk("a", "good", "c", "d", "e", "f", flags=((1, "unsafe", "rude"), (5, "other")))
    talk.turns[1] = Turn("model", "good", replaced="bad", corrected=True)
    export([talk], tmp_path, False, dict)
    assert exported(tmp_path, "train") == [["a", "good", "c", "d"]]
    rows = (tmp_path / "flags.csv").read_text().splitlines()
    assert rows[1] == f"{talk.id},1,unsafe,rude,i have two dogs .,a,bad,good,c0ffee"


def test_only_flagged_talks_whole_and_a_table(tmp_path, capsys) -> None:
    flagged = make_talk("a", "b", "c", "d", "e", flags=((3, "inconsistent", 'says "cat", has dogs'), (1, "other")))
    last = make_talk("p", "q", flags=((1, "other"),))
    export([flagged, make_talk("x", "y"), last], tmp_path, True, dict)
    assert exported(tmp_path, "train") == [["a", "b", "c", "d"]]
    assert exported(tmp_path, "valid") == [["p", "q"]]
    rows = (tmp_path / "flags.csv").read_text().splitlines()
    assert rows[1] == f"{flagged.id},1,other,,i have two dogs .,a,b,,c0ffee"
    assert rows[2] == f'{flagged.id},3,inconsistent,"says ""cat"", has dogs",i have two dogs .,c,d,,c0ffee'
    assert len(rows) == 4
    assert "  other               2   see the note" in capsys.readouterr().out.splitlines()
    assert [parse_talk(line) for line in (tmp_path / "talks.jsonl").read_bytes().splitlines()] == [flagged, last]


def test_two_peoples_talk_is_cut_by_the_flags_of_either_and_whole_where_one_flagged(tmp_path) -> None:
    began, other = make_twins("a", "b", "c", "d")
    other.flags = [Flag(2, "unsafe")]
    for talks in ([began, other], [other, began]):
        ((talk, dialogue),) = text_of(talks, whole=False)
        assert (talk, dialogue.utterances) == (began, ["a", "b"])
    export([began, other], tmp_path, True)
    assert exported(tmp_path, "train") == [["a", "b", "c", "d"]]
    assert read_corpus(tmp_path / TEXT_NAMES["train"]).dialogues[0].personas == dialogue.personas


def test_personas_and_speakers_survive(tmp_path) -> None:
    """A self-play that ends with its first speaker, and a talk with a person who has no persona."""
    play = make_talk("a", "b", "c", partner="partner", partner_persona=["i am old ."])
    export([play, make_talk("x\ty", "z")], tmp_path, False, dict)
    (first,) = read_corpus(tmp_path / TEXT_NAMES["train"]).dialogues
    assert (first.personas, first.utterances) == ((["i am old ."], ["i have two dogs ."]), ["a", "b", "c"])
    (second,) = read_corpus(tmp_path / TEXT_NAMES["valid"]).dialogues
    assert (second.personas, second.utterances) == (([], ["i have two dogs ."]), ["x y", "z"])


def test_a_talk_that_went_on_after_retry_is_not_doubled(tmp_path, capsys) -> None:
    talks = [make_talk("a", "b", "c", "bad", flags=((3, "other"),)), make_talk("a", "b", "c", "good")]
    export(talks, tmp_path, False, dict)
    assert exported(tmp_path, "train") == exported(tmp_path, "valid") == [["a", "b", "c", "good"]]
    assert "there is one talk only: it is both the training and the validation text\n" in capsys.readouterr().out


def test_every_tenth_talk_validates() -> None:
    parts = split_talks(list(range(25)))
    assert parts["valid"] == [9, 19]
    assert len(parts["train"]) == 23
    assert split_talks([1, 2]) == {"train": [1], "valid": [2]}


def test_nothing_to_export(tmp_path) -> None:
    with pytest.raises(UserError, match="no talk to export; record some with interact"):
        export([], tmp_path / "out", False, dict)
    with pytest.raises(UserError, match="no flagged talk"):
        export([make_talk("x", "y")], tmp_path / "out", True, dict)
    assert not (tmp_path / "out").exists()


def test_talks_without_training_text_are_exported_all_the_same(tmp_path, capsys) -> None:
    export([make_talk("a", "b", flags=((1, "unsafe"),))], tmp_path, False, dict)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flags.csv", "talks.jsonl"]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "no training text: no talk has a reply that is not flagged"


@pytest.mark.parametrize("name", [TEXT_NAMES["valid"], "talks.jsonl"])
def test_what_is_there_already_stays(tmp_path, name) -> None:
    (tmp_path / name).write_text("precious")
    expected = f"{name}: there already, .* another folder, or delete them where an export that was killed"
    with pytest.raises(UserError, match=expected):
        export([make_talk("x", "y")], tmp_path, False, dict)
    assert (tmp_path / name).read_text() == "precious"
