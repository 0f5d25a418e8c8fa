"""export.py: recorded talks as training text, as JSON, and as tables."""

import csv
import io
import json
from dataclasses import replace

import pytest

from personagpt.errors import UserError
from personagpt.records import export as exporting
from personagpt.records.export import (
    OldText,
    choose,
    export,
    flag_table,
    model_of,
    settings_to_train,
    split_talks,
    text_of,
    with_corrections,
)
from personagpt.records.talks import Flag, Talk, Turn, parse_talk
from personagpt.settings import TEXT_NAMES, read_settings
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
    export(talks, tmp_path / "out", False)
    assert exported(tmp_path / "out", "train") == [["a2", "b2"]]
    assert exported(tmp_path / "out", "valid") == [["x", "y"]]
    names = [*TEXT_NAMES.values(), "flags.csv", "talks.jsonl", "preferences.jsonl", "feedback.jsonl"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    assert [parse_talk(line) for line in (tmp_path / "out" / "talks.jsonl").read_bytes().splitlines()] == talks


def test_a_corrected_reply_is_training_text_although_it_was_flagged(tmp_path) -> None:
    talk = make_talk("a", "good", "c", "d", "e", "f", flags=((1, "unsafe", "rude"), (5, "other")))
    talk.turns[1] = Turn("model", "good", replaced="bad", corrected=True)
    export([talk], tmp_path, False)
    assert exported(tmp_path, "train") == [["a", "good", "c", "d"]]
    rows = (tmp_path / "flags.csv").read_text().splitlines()
    assert rows[1] == f"{talk.id},1,unsafe,rude,i have two dogs .,a,bad,good,c0ffee"


def test_only_flagged_talks_whole_and_a_table(tmp_path, capsys) -> None:
    flagged = make_talk("a", "b", "c", "d", "e", flags=((3, "inconsistent", 'says "cat", has dogs'), (1, "other")))
    last = make_talk("p", "q", flags=((1, "other"),))
    export([flagged, make_talk("x", "y"), last], tmp_path, True)
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
    export([play, make_talk("x\ty", "z")], tmp_path, False)
    (first,) = read_corpus(tmp_path / TEXT_NAMES["train"]).dialogues
    assert (first.personas, first.utterances) == ((["i am old ."], ["i have two dogs ."]), ["a", "b", "c"])
    (second,) = read_corpus(tmp_path / TEXT_NAMES["valid"]).dialogues
    assert (second.personas, second.utterances) == (([], ["i have two dogs ."]), ["x y", "z"])


def gone_on(talk: Talk, count: int, *texts: str, flags: tuple = ()) -> Talk:
    """Another talk, that went on from the first `count` turns of `talk`."""
    speakers = ("human", "model")
    new = [Turn(speakers[number % 2], text) for number, text in enumerate(texts, start=count)]
    return replace(talk, id=f"{talk.id}+", turns=talk.turns[:count] + new, flags=[Flag(*flag) for flag in flags])


def test_a_talk_that_went_on_after_retry_is_not_doubled(tmp_path, capsys) -> None:
    first = make_talk("a", "b", "c", "bad", flags=((3, "other"),))
    export([first, gone_on(first, 3, "good")], tmp_path, False)
    assert exported(tmp_path, "train") == exported(tmp_path, "valid") == [["a", "b", "c", "good"]]
    assert "there is one talk only: it is both the training and the validation text\n" in capsys.readouterr().out


def test_an_opening_is_exported_once_however_often_the_talk_went_on() -> None:
    first = make_talk("a", "b", "c", "bad", flags=((3, "other"),))
    second = gone_on(first, 3, "worse", flags=((3, "unsafe"),))  # /retry, and flagged, too
    third = gone_on(first, 2)  # /undo
    assert [dialogue.utterances for _, dialogue in text_of([first, second, third], whole=False)] == [["a", "b"]]
    other = gone_on(first, 2, "x", "y", "z", "end")
    stranger = make_talk("a", "b", started="2026-01-01")
    kept = text_of([other, first, stranger, second], whole=False)
    assert [dialogue.utterances for _, dialogue in kept] == [["a", "b", "x", "y", "z", "end"], ["a", "b"]]


def test_a_flag_counts_in_the_talk_that_went_on_with_the_flagged_reply() -> None:
    first = make_talk("a", "b", "c", "bad", flags=((3, "other"),))
    after_set = gone_on(first, 4, "e", "f")
    assert [dialogue.utterances for _, dialogue in text_of([first, after_set], whole=False)] == [["a", "b"]]


def test_a_correction_stands_beside_each_flag_that_led_to_it(tmp_path) -> None:
    first = make_talk("a", "bad", flags=((1, "inconsistent"),))
    second = gone_on(first, 1, "worse", flags=((1, "unsafe"),))
    third = gone_on(first, 1, "fine", "c", "d")
    third.turns[1] = Turn("model", "fine", replaced="third draw", corrected=True)
    other = make_talk("a", "bad", flags=((1, "other"),), started="2026-01-01")
    talks = with_corrections([first, second, third, other])
    assert [(talk.turns[1].text, talk.turns[1].replaced) for talk in talks] == [
        ("fine", "bad"),
        ("fine", "worse"),
        ("fine", "third draw"),
        ("bad", None),
    ]
    export(talks, tmp_path, False)
    assert exported(tmp_path, "train") == [["a", "fine", "c", "d"]]
    rows = [row.split(",") for row in (tmp_path / "flags.csv").read_text().splitlines()[1:]]
    assert [(row[2], *row[6:8]) for row in rows] == [
        ("inconsistent", "bad", "fine"),
        ("unsafe", "worse", "fine"),
        ("other", "bad", ""),
    ]
    assert parse_talk((tmp_path / "talks.jsonl").read_bytes().splitlines()[0]) == talks[0]


def test_a_talk_that_went_on_from_a_flagged_reply_keeps_what_answered_it() -> None:
    first = make_talk("a", "bad", "c", "d", flags=((1, "other"),))
    corrected = gone_on(first, 1, "fine")
    corrected.turns[1].corrected = True
    assert with_corrections([first, corrected]) == [first, corrected]


@pytest.fixture
def old_text(tmp_path, write_settings):  # noqa: ANN201
    """Settings with an old text of twelve training dialogues and one for validation."""
    lines = "1 your persona: i ski .\n2 partner's persona: i am {0} .\n3 hi {0}\tyes {0}\n"
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / TEXT_NAMES["train"]).write_text("".join(map(lines.format, range(12))))
    (folder / TEXT_NAMES["valid"]).write_bytes(b"1 valid\tation\tand\tcandidates|ation\r\n".replace(b"\tand", b"\t"))
    return read_settings(write_settings(data_path=folder, save_path=tmp_path / "save"))


def test_as_many_old_dialogues_as_serve_train_with_the_talks(tmp_path, old_text, monkeypatch, capsys) -> None:
    monkeypatch.setattr(exporting, "OLD_LEAST", 4)
    monkeypatch.setattr(exporting, "OLD_PER_TALK", 3)
    talks = [make_talk("a", "b"), make_talk("c", "d")]
    assert export(talks, tmp_path / "out", False, OldText(old_text, whole=False))
    pairs = [[f"hi {number}", f"yes {number}"] for number in range(12)]
    assert exported(tmp_path / "out", "train") == [*pairs[1::2], ["a", "b"], ["c", "d"]]
    (first, *_) = read_corpus(tmp_path / "out" / TEXT_NAMES["train"]).dialogues
    assert first.personas == (["i am 1 ."], ["i ski ."])
    same = [(folder / TEXT_NAMES["valid"]).read_bytes() for folder in (tmp_path / "out", old_text.data_path)]
    assert same[0] == same[1]
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("train: 2 talks, 4 utterances, and 6 of the 12 dialogues of ")
    assert said[1].startswith("valid: the 1 dialogues of ")
    export(talks[:1], tmp_path / "one", False, OldText(old_text, whole=False))
    assert exported(tmp_path / "one", "train") == [*pairs[2::3], ["a", "b"]]
    export(talks[:1], tmp_path / "all", False, OldText(old_text, whole=True))
    assert exported(tmp_path / "all", "train") == [*pairs, ["a", "b"]]


def test_talks_that_only_ask_about_a_reply_give_pairs_and_no_text(tmp_path, old_text, capsys) -> None:
    asked = make_talk("any pets ?", "no .", source="teach")
    asked.turns[1] = asked.turns[1].instead("two dogs .", corrected=True)
    assert export([asked, make_talk("a", "b")], tmp_path / "both", False)
    assert exported(tmp_path / "both", "train") == [["a", "b"]]
    assert not export([asked], tmp_path / "alone", False)  # no old text is there either
    assert export([asked], tmp_path / "out", False, OldText(old_text, whole=False))
    assert len(exported(tmp_path / "out", "train")) == 12
    for folder in ("both", "alone", "out"):
        (line,) = (tmp_path / folder / "preferences.jsonl").read_text().splitlines()
        assert json.loads(line)["chosen"][0]["content"] == "two dogs ."


def test_training_goes_on_slowly_from_the_model_that_talked_last(tmp_path, old_text) -> None:
    talks = [make_talk("a", "b", started="2"), make_talk("a", "b", started="1")]
    talks[0].model, talks[1].model = "me/last", "me/first"
    assert model_of(talks, old_text) == "me/last"
    imported = make_talk("a", "b", started="3", source="convai2:data")
    imported.model = "Bot 6"  # nobody can train on from it
    assert model_of([*talks, imported], old_text) == "me/last"
    changed = settings_to_train(tmp_path / "out", old_text, "me/last")
    places = {"data_path": tmp_path / "out", "save_path": tmp_path / "out" / "save"}
    slowly = {"epochs": 1, "learn_rate": "8.33333e-07"}
    assert changed == places | {"model_name": "me/last"} | slowly
    talks[0].model = str(tmp_path / "gone")
    assert model_of(talks, old_text) is None
    assert settings_to_train(tmp_path / "out", old_text, None) == places  # from the start: with all that it takes
    (tmp_path / "save" / "checkpoint" / "model").mkdir(parents=True)
    assert model_of(talks, old_text) == str(tmp_path / "save" / "checkpoint" / "model")
    (old_text.data_path / "talks.jsonl").touch()  # the text is an export, and the rate low already
    assert settings_to_train(tmp_path / "out", old_text, "me/last")["learn_rate"] == f"{old_text.learn_rate:g}"


def test_peoples_talks_unless_asked(capsys) -> None:
    typed, played = make_talk("a", "b"), make_talk("c", "d", partner="partner")
    many = make_talk("e", "f", partner="partner", source="self-play")
    page, study = make_talk("g", "h", source="app.py"), make_talk("i", "j", source="study:first:bot")
    talks = [typed, played, many, page, study]
    assert choose(talks, None) == [typed, page, study]
    said = "left out: 2 talks of the model with itself; --source self-play exports them\n"
    assert capsys.readouterr().out == said
    assert choose([typed], None) == [typed]
    assert choose(talks, ["self-play"]) == [played, many]
    assert choose(talks, ["study", "interact.py"]) == [typed, study]
    assert choose(talks, ["study:first"]) == choose(talks, ["study:first:bot"]) == [study]
    imported = make_talk("k", "l", source="convai2:data")
    assert choose([typed, imported], None) == [typed]
    said = "left out: 1 imported talk with other programs; --source convai2 exports them\n"
    assert capsys.readouterr().out.endswith(said)
    assert choose([typed, imported], ["convai2"]) == [imported]
    with pytest.raises(
        UserError, match=r"--source study:fir: no talk on record is from there; .*: self-play \(2 talks\)"
    ):
        choose(talks, ["study:fir"])


def test_every_tenth_talk_validates() -> None:
    parts = split_talks(list(range(25)))
    assert parts["valid"] == [9, 19]
    assert len(parts["train"]) == 23
    assert split_talks([1, 2]) == {"train": [1], "valid": [2]}


def test_nothing_to_export(tmp_path) -> None:
    with pytest.raises(UserError, match="no talk to export; record some with interact"):
        export([], tmp_path / "out", False)
    with pytest.raises(UserError, match="no flagged talk"):
        export([make_talk("x", "y")], tmp_path / "out", True)
    assert not (tmp_path / "out").exists()


def test_talks_without_training_text_are_exported_all_the_same(tmp_path, capsys) -> None:
    export([make_talk("a", "b", flags=((1, "unsafe"),))], tmp_path, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "feedback.jsonl",
        "flags.csv",
        "preferences.jsonl",
        "talks.jsonl",
    ]
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "no training text: no talk has a reply that is not flagged"


@pytest.mark.parametrize("name", [TEXT_NAMES["valid"], "talks.jsonl"])
def test_what_is_there_already_stays(tmp_path, name) -> None:
    (tmp_path / name).write_text("precious")
    expected = f"{name}: there already, .* another folder, or delete them where an export that was killed"
    with pytest.raises(UserError, match=expected):
        export([make_talk("x", "y")], tmp_path, False)
    assert (tmp_path / name).read_text() == "precious"


def test_words_in_the_flag_table_are_no_formulas() -> None:
    talk = make_talk("=1+1", " @SUM(A1)", "hi", "=HYPERLINK(1)", flags=((1, "other", "-2"), (3, "other", "2 - 2")))
    talk.turns[3] = replace(talk.turns[3], replaced="+3", corrected=True)
    rows = list(csv.reader(io.StringIO(flag_table([talk]))))
    assert [row[3] for row in rows[1:]] == ["'-2", "2 - 2"]
    assert [row[5:8] for row in rows[1:]] == [["'=1+1", "' @SUM(A1)", ""], ["hi", "'+3", "'=HYPERLINK(1)"]]
