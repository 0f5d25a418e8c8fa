"""The script that brings other formats into ConvAI2's text, run as a user runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import preprocess_dataset
from import_dialogues import main
from personagpt.detection.sides import sides_of_talks
from personagpt.records.database import Recordings
from personagpt.records.talks import Flag, Thumb, parse_talk
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import read_corpus
from tests.helpers import ROOT
from tests.importing.helpers import older, wild

WILD = ROOT.parent / "shared" / "convai2_wild"
PROGRAMS = ("i like tacos.", "i sing.")  # the persona of the programs in `wild`


def talk(number: int) -> str:
    return (
        f"A's persona: i am {number} .\nB's persona: i have {number} dogs .\nA: hi {number} !\nB: hello .\nA: bye .\n\n"
    )


@pytest.fixture
def talks(tmp_path) -> Path:
    """Twenty plain talks, each between two personas of its own."""
    path = tmp_path / "talks.txt"
    path.write_text("".join(talk(number) for number in range(20)))
    return path


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "my data"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def facts(path: Path) -> set[str]:
    return {fact for dialogue in read_corpus(path).dialogues for persona in dialogue.personas for fact in persona}


def test_talks_become_tensors(run, talks, target, base, write_settings, monkeypatch) -> None:
    done = run(main, talks, "--to", target)
    assert (done.status, done.err) == (0, "")
    assert re.fullmatch(
        "plain: 18 dialogues for training, 2 for validation; 4 personas only for validation, not trained\n"
        r"the first 3 as they will be trained on \(\* is learned\):\n(  .*\n)+"
        rf"text in {target}; next: data_path='{target}' save_path='{target}/save' \S+ preprocess_dataset\.py\n",
        done.out,
    )
    train, valid = (target / name for name in TEXT_NAMES.values())
    assert files(target) == [train.name, valid.name]
    assert not facts(train) & facts(valid)
    assert valid.read_text().startswith("1 your persona: i am ")
    assert "\n3 __SILENCE__\thi " in valid.read_text()
    # The next command's settings.
    monkeypatch.setenv("data_path", str(target))
    monkeypatch.setenv("save_path", str(target / "save"))
    done = run(preprocess_dataset.main, "--env", write_settings(model_name=base))
    assert done.status == 0
    assert "train: 18 dialogues, 36 sequences, 54 responses, " in done.out


def test_a_file_that_is_split_already(run, tmp_path, target) -> None:
    def record(number: int) -> dict:
        return {
            "personality": [f"i am {number} ."],
            "utterances": [{"history": ["hi"], "candidates": ["no", f"hello {number}"]}],
        }

    path = tmp_path / "personachat.json"
    path.write_text(json.dumps({"train": [record(number) for number in range(7)], "valid": [record(8)]}))
    assert run(main, path, "--to", target).out.startswith(
        "transfertransfo: 7 dialogues for training, 1 for validation\n"
    )
    valid = read_corpus(target / TEXT_NAMES["valid"])
    # Whoever has no persona in the file is not trained on.
    assert valid.sides == [(1,)]
    assert valid.dialogues[0].utterances == ["hi", "hello 8"]
    # A share puts all of it together first.
    other = tmp_path / "other"
    assert "4 dialogues for training, 4 for validation" in run(main, path, "--to", other, "--valid", "0.5").out


def test_all_for_one_part(run, talks, target) -> None:
    done = run(main, talks, "--to", target, "--valid", "1")
    assert "0 dialogues for training, 20 for validation\n" in done.out
    assert done.out.endswith(f"import_dialogues.py FILE --to '{target}' --valid 0   (talks for training)\n")
    assert files(target) == [TEXT_NAMES["valid"]]
    done = run(main, talks, "--to", target, "--valid", "0")
    assert "20 dialogues for training, 0 for validation\n" in done.out
    assert done.out.endswith(" preprocess_dataset.py\n")


def test_nothing_is_overwritten(run, talks, target) -> None:
    assert run(main, talks, "--to", target).status == 0
    (target / TEXT_NAMES["train"]).unlink()
    before = (target / TEXT_NAMES["valid"]).read_bytes()
    refused = run(main, talks, "--to", target)
    assert (refused.status, refused.out) == (2, "")
    assert refused.err == (
        f"error: {target / TEXT_NAMES['valid']} is there already and stays as it is: "
        "add to it with --add, import into another folder, or remove it\n"
    )
    assert files(target) == [TEXT_NAMES["valid"]]
    assert (target / TEXT_NAMES["valid"]).read_bytes() == before


def test_too_many_failures_write_nothing(run, talks, target) -> None:
    talks.write_text(talks.read_text() + "A: alone\n\nB: alone\n")
    refused = run(main, talks, "--to", target)
    assert (refused.status, refused.out) == (2, "")
    assert refused.err == (
        f"{talks}: line 121: 1 speaker ('A'); expected two\n"
        f"{talks}: line 123: 1 speaker ('B'); expected two\n"
        "error: 2 of 22 records do not parse, more than 1%: nothing was written; --keep-going leaves them out\n"
    )
    assert not target.exists()
    done = run(main, talks, "--to", target, "--keep-going")
    assert done.status == 0
    assert (
        "plain: 18 dialogues for training, 2 for validation; 2 records left out for mistakes; 4 personas only for"
        in done.out
    )


def test_one_failure_in_a_hundred_goes_on(run, talks, target) -> None:
    talks.write_text("".join(talk(number) for number in range(99)) + "A: alone\n")
    done = run(main, talks, "--to", target)
    assert done.status == 0
    assert done.err == f"{talks}: line 595: 1 speaker ('A'); expected two\n"
    assert "; 1 record left out for mistakes" in done.out


def test_only_the_first_failures_are_named(run, tmp_path, target) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"messages": 1}\n' * 30)
    refused = run(main, path, "--to", target, "--keep-going")
    lines = refused.err.splitlines()
    assert refused.status == 2
    assert len(lines) == 12
    assert lines[9] == f"{path}: line 10: 'messages' is 1; expected a list"
    assert lines[10:] == ["... and 20 more", "error: 30 of 30 records do not parse: nothing was written"]
    assert not target.exists()


def test_several_files_and_formats(run, talks, tmp_path, target) -> None:
    chat = tmp_path / "chat.jsonl"
    said = [("system", "i sing ."), ("user", "hi"), ("assistant", "hello")]
    chat.write_text(json.dumps({"messages": [{"role": role, "content": text} for role, text in said]}))
    done = run(main, talks, chat, "--to", target)
    assert done.out.startswith(
        "plain, messages: 19 dialogues for training, 2 for validation; 3 personas only for validation, not trained; "
        "1 lack a persona that others have: that speaker trains without facts\n"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["gone.txt", "--to", "x"], "gone.txt: cannot read this file: No such file or directory"),
        ([".", "--to", "x"], ".: cannot read this file: Is a directory"),
        (["a.txt", "--to", "x", "--valid", "1.5"], "--valid 1.5: expected a share from 0 (none) to 1 (all)"),
        (["a.txt", "--to", "x", "--valid", "nan"], "--valid nan: expected a share from 0 (none) to 1 (all)"),
        (["empty.json", "--to", "x", "--format", "messages"], "no dialogue in these files: nothing was written"),
        (
            ["one.txt", "--to", "x"],
            "1 dialogue(s) cannot be split so that every persona is trained: ",
        ),
        (["one.txt", "--to", "one.txt"], "--to one.txt: there is a file of that name; expected a folder"),
        (["one.txt", "--to", "one.txt/x", "--valid", "0"], "one.txt/x: Not a directory"),
    ],
)
def test_mistakes(run, tmp_path, monkeypatch, arguments, line) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.txt").write_text(talk(1))
    (tmp_path / "empty.json").write_text("[]")
    before = files(tmp_path)
    refused = run(main, *arguments)
    assert (refused.status, refused.out) == (2, "")
    assert refused.err.startswith(f"error: {line}")
    assert refused.err.count("\n") == 1
    assert files(tmp_path) == before


def test_it_needs_nothing_heavy(root, talks, target) -> None:
    program = (
        "import runpy, sys\n"
        "for name in ('torch', 'numpy', 'transformers'): sys.modules[name] = None\n"
        "runpy.run_path('import_dialogues.py', run_name='__main__')\n"
    )
    for arguments, status in ([["--help"], 0], [[], 2], [[str(talks), "--to", str(target)], 0]):
        done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=root, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
    assert files(target) == list(TEXT_NAMES.values())


SCRIPT = (
    "scene,name,line\n1,Ada,Where to?\n1,Pim,Say it.\n1,Vex,Out (of here).\n2,Pim,Now?\n2,Vex,Now.\n3,Pim,a\n3,Ada,b\n"
)


@pytest.fixture
def script(tmp_path) -> Path:
    path = tmp_path / "script.csv"
    path.write_text(SCRIPT)
    return path


def test_many_speakers_are_answered_with_the_command(run, script, target) -> None:
    refused = run(main, script, "--to", target)
    assert (refused.status, refused.out) == (2, "")
    assert refused.err.startswith(
        "error: 1 of 3 talks have more than two speakers: Ada (1), Pim (1), Vex (1). Choose who replies: "
    )
    assert refused.err.endswith(f"import_dialogues.py {script} --to '{target}' --speaker Ada\n")
    assert not target.exists()


def test_a_character_of_a_script_replies(run, script, target) -> None:
    done = run(main, script, "--to", target, "--speaker", "vex", "--valid", "0")
    assert (done.status, done.err) == (0, "")
    assert "2 dialogues for training, 0 for validation; left out: 1 talk without Vex and a partner\n" in done.out
    assert "Vex has no persona: it is `my name is Vex.` now; --persona-file FILE gives a better\n" in done.out
    assert "    * Vex: Out .\n" in done.out
    assert (target / TEXT_NAMES["train"]).read_text() == (
        "1 your persona: my name is Vex.\n2 Where to? Say it.\tOut .\n1 your persona: my name is Vex.\n2 Now?\tNow.\n"
    )


def test_a_persona_file_has_the_characters_facts(run, script, target, tmp_path) -> None:
    facts = tmp_path / "vex.txt"
    facts.write_text("i build .\ni row .\n")
    assert run(main, script, "--to", target, "--speaker", "Vex", "--persona-file", facts, "--valid", "0").status == 0
    assert (target / TEXT_NAMES["train"]).read_text().startswith("1 your persona: i build .\n2 your persona: i row .\n")
    refused = run(main, script, "--to", target / "b", "--persona-file", facts)
    assert refused.err == "error: --persona-file: whose facts are these? add --speaker NAME\n"
    refused = run(main, script, "--to", target / "b", "--speaker", "Bob")
    assert refused.err == ("error: --speaker Bob: says nothing in these files; who speaks: Pim (3), Ada (2), Vex (2)\n")


def test_columns_and_a_paragraph(run, tmp_path, target) -> None:
    path = tmp_path / "personality.csv"
    path.write_text(',Persona,chat\n0,"i bake . i have a goat . i walk .","hi ,\nho .\n"\n')
    done = run(main, path, "--to", target, "--columns", "text=chat, persona=Persona", "--valid", "0")
    assert done.out.startswith("columns (text=chat, persona=Persona): 1 dialogue for training")
    assert "1 persona in one paragraph: each sentence of it is a fact now\n" in done.out
    assert facts(target / TEXT_NAMES["train"]) == {"i bake .", "i have a goat .", "i walk ."}


def test_a_second_import_adds(run, talks, target) -> None:
    assert run(main, talks, "--to", target).status == 0
    before = {name: (target / name).read_text() for name in TEXT_NAMES.values()}
    assert run(main, talks, "--to", target, "--add").status == 0
    assert {name: (target / name).read_text() for name in before} == {name: 2 * text for name, text in before.items()}


def test_parts_of_a_file(run, tmp_path, target) -> None:
    records = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": str(n)}]} for n in range(9)
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"train": records, "test": records}))
    # Without a validation part a tenth of the training part validates.
    done = run(main, path, "--to", target)
    assert "8 dialogues for training, 1 for validation; left out: 9 records of the test part\n" in done.out
    path.write_text(json.dumps({"train": records, "more": records}))
    refused = run(main, path, "--to", target / "b")
    assert refused.err.startswith(
        f"error: {path}: its part 'more' is none of train, valid and test: give --valid SHARE"
    )
    assert "16 dialogues for training, 2 for validation" in run(main, path, "--to", target / "b", "--valid", ".1").out


def test_one_character_validates_too(run, tmp_path, target) -> None:
    path = tmp_path / "vex.txt"
    path.write_text("".join(f"Vex's persona: i build .\nKid: {n} ?\nVex: {n} .\n\n" for n in range(10)))
    done = run(main, path, "--to", target)
    assert "9 dialogues for training, 1 for validation\n" in done.out
    assert done.err.startswith("warning: ")
    assert "in both parts: validation says how well a model plays personas that it knows, not new ones" in done.err


def test_long_talks_are_named(run, tmp_path, target) -> None:
    path = tmp_path / "long.txt"
    path.write_text("A: a\nB: b\n" * 11)
    done = run(main, path, "--to", target, "--valid", "0")
    assert (
        "1 talk of more than 20 utterances, of which preprocessing uses the first max_turns (default 20): "
        "set max_turns = 22 to use all\n"
    ) in done.out


def test_chat_messages_go_out_and_come_back(run, talks, target, tmp_path) -> None:
    assert run(main, talks, "--to", target).status == 0
    texts = [target / name for name in TEXT_NAMES.values()]
    chat = tmp_path / "chat.jsonl"
    done = run(main, *texts, "--export-messages", chat)
    assert (done.status, done.err) == (0, "")
    assert done.out == f"convai2: 20 dialogues; 40 records of chat messages in {chat}\n"
    assert run(main, *texts, "--export-messages", chat).err == (
        f"error: {chat} is there already and stays as it is: name another file\n"
    )
    back = tmp_path / "back"
    assert run(main, chat, "--to", back).status == 0
    assert facts(back / TEXT_NAMES["train"]) | facts(back / TEXT_NAMES["valid"]) == facts(texts[0]) | facts(texts[1])


def test_what_was_imported_is_imported_again_the_same(run, talks, target, tmp_path) -> None:
    assert run(main, talks, "--to", target, "--valid", "0").status == 0
    text = target / TEXT_NAMES["train"]
    assert run(main, text, "--to", tmp_path / "again", "--valid", "0").status == 0
    assert (tmp_path / "again" / text.name).read_text() == text.read_text()


@pytest.fixture
def wild_file(tmp_path) -> Path:
    """Three talks with a program, of which one has one side only, and one is wrong."""
    said = wild((2, "Hi!"), (2, "I sing."), (1, "ok\n:)"), (2, "ok. "), thumbs={0: 1, 1: 0, 3: 0})
    path = tmp_path / "data volunteers.json"
    path.write_text(json.dumps([said, wild((1, "hi")), older(wild((1, "a"), (2, "b")))]))
    return path


def test_talks_with_programs_are_recorded_once(run, wild_file, write_settings, tmp_path) -> None:
    env = write_settings(save_path=tmp_path / "save")
    done = run(main, wild_file, "--talks", "--env", env)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[:2] == [
        f"human-bot: 2 talks recorded in {tmp_path}/save/conversations/talks.sqlite; left out: 1 talk in which only "
        "one of the two speaks",
        "1 talk without classes of the speakers: participant2 is taken for the program",
    ]
    first, second = Recordings(tmp_path / "save" / "conversations").talks()
    assert (first.model, first.model_checksum, first.participant) == ("Bot 6", "", "User 7")
    assert (first.source, first.ratings) == ("convai2:data-volunteers", {"eval_score": 3, "profile_match": 1})
    assert (first.persona, first.partner_persona) == (["i like tacos.", "i sing."], ["i take walks."])
    start, end = "2018-10-30T08:29:23.340", "2018-10-30T08:43:19.000"
    assert first.started == start
    turns = [("model", "Hi! I sing.", start), ("human", "ok :)", "2018-10-30"), ("model", "ok.", end)]
    assert [(turn.speaker, turn.text, turn.time) for turn in first.turns] == turns
    assert first.thumbs == [Thumb(0, True), Thumb(0, False), Thumb(2, False)]
    assert first.flags == []
    assert (second.model, second.participant, second.started) == ("unknown program", None, "1970-01-01")
    assert [(turn.speaker, turn.time) for turn in second.turns] == [("human", "1970-01-01"), ("model", "1970-01-01")]
    assert parse_talk(first.line().encode()) == first
    # The same talks from a file of another name.
    again = run(main, wild_file.rename(tmp_path / "again.json"), "--talks", "--env", env)
    assert "human-bot: 0 talks recorded in " in again.out
    assert "; 2 are on record already; " in again.out
    assert Recordings(tmp_path / "save" / "conversations").talks() == [first, second]


def test_a_fuller_file_fills_in_what_a_talk_lacks(run, write_settings, tmp_path) -> None:
    """What is on record stays: the first reply's thumb, the score, and a flag that somebody gave."""
    env, file = write_settings(save_path=tmp_path / "save"), tmp_path / "talks.json"
    recordings = Recordings(tmp_path / "save" / "conversations")
    said = (2, "Hi!"), (1, "ok"), (2, "ok. "), (1, "bye")
    file.write_text(json.dumps([older(wild(*said, eval_score=4, profile_match=None) | {"profile_match": None})]))
    run(main, file, "--talks", "--env", env)
    (talk,) = recordings.talks()
    talk.flags, talk.thumbs = [Flag(0, "other")], [Thumb(0, True)]
    recordings.save(talk)
    file.write_text(json.dumps([wild(*said, thumbs={0: 0, 2: 0})]))
    done = run(main, file, "--talks", "--env", env)
    assert "human-bot: 0 talks recorded in " in done.out
    assert "; 1 is on record already, 1 of them fuller now\n" in done.out
    (fuller,) = recordings.talks()
    assert (fuller.id, fuller.source, fuller.flags) == (talk.id, talk.source, talk.flags)
    assert (fuller.model, fuller.participant) == ("Bot 6", "User 7")
    assert (fuller.started, fuller.turns[3].time) == ("2018-10-30T08:29:23.340", "2018-10-30T08:43:19.000")
    assert fuller.thumbs == [Thumb(0, True), Thumb(2, False)]
    assert fuller.ratings == {"eval_score": 4, "profile_match": 1}
    again = run(main, file, "--talks", "--env", env)
    assert "; 1 is on record already\n" in again.out
    assert recordings.talks() == [fuller]


def test_a_detector_sees_both_sides_of_an_imported_talk(run, wild_file, write_settings, tmp_path) -> None:
    run(main, wild_file, "--talks", "--env", write_settings(save_path=tmp_path / "save"))
    sides, _ = sides_of_talks(Recordings(tmp_path / "save" / "conversations").talks())
    program, person = sides[:2]
    assert (program.is_program, program.own, program.persona) == (True, ("Hi! I sing.", "ok."), PROGRAMS)
    assert (person.is_program, person.own, person.participant) == (False, ("ok :)",), "User 7")
    assert program.seconds == person.seconds == ()  # the file does not say when the turns between were said


def test_only_talks_with_programs_can_be_recorded(run, talks, wild_file, write_settings, tmp_path) -> None:
    env = write_settings(save_path=tmp_path / "save")
    done = run(main, talks, "--talks", "--env", env)
    assert (done.status, done.out) == (2, "")
    place = f"{talks}: line 1"
    assert done.err.startswith(f"error: {place}: does not say who is a person and who is a program; --talks reads data")
    done = run(main, wild_file, "--talks", "--valid", "0", "--env", env)
    assert done.err == "error: --valid is for dialogues to train on: leave it out beside --talks\n"
    done = run(main, talks, wild_file, "--talks", "--env", env)
    assert (done.status, done.out) == (2, "")
    parts = tmp_path / "parts.json"
    parts.write_text(json.dumps({"dialogs": [wild((1, "a"), (2, "b"))]}))
    done = run(main, parts, "--talks", "--env", env)
    assert done.err.endswith("; --talks reads data_*.json and export_*.json of ConvAI2's site\n")
    wild_file.write_text(json.dumps([wild((1, "a"), (2, "b"), eval_score=9), wild((1, "a"), (2, "b"))]))
    done = run(main, wild_file, "--talks", "--env", env)
    assert "record 1: 'eval_score' is 9; expected 1 to 5, or null\n" in done.err
    assert done.err.endswith("more than 1%: nothing was written; --keep-going leaves them out\n")
    assert not (tmp_path / "save").exists()
    assert "1 talk recorded in " in run(main, wild_file, "--talks", "--keep-going", "--env", env).out
    parts.write_text(json.dumps({"train": [wild((1, "c"), (2, "b"))], "more": [wild((1, "c"), (2, "d"))]}))
    assert "2 talks recorded in " in run(main, parts, "--talks", "--env", env).out


@pytest.mark.skipif(not WILD.is_dir(), reason="../shared/convai2_wild is not here")
def test_every_real_file(run, write_settings, tmp_path) -> None:
    done = run(main, *sorted(WILD.glob("*.json")), "--talks", "--env", write_settings(save_path=tmp_path / "save"))
    assert (done.status, done.err) == (0, "")
    assert re.match("human-bot: 645 talks recorded in .*; left out: 331 talks in which only one of the two", done.out)
    talks = Recordings(tmp_path / "save" / "conversations").talks()
    thumbs = [thumb.up for talk in talks for thumb in talk.thumbs]
    assert (thumbs.count(True), thumbs.count(False)) == (635, 405)
    assert len({talk.model for talk in talks}) == 10
    assert all(talk.persona and talk.partner_persona for talk in talks)
