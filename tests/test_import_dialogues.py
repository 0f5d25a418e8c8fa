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
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import read_corpus


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
        "plain: 18 dialogues for training, 2 for validation\n"
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
        f"{talks}: line 121: 1 speakers ('A'); expected two\n"
        f"{talks}: line 123: 1 speakers ('B'); expected two\n"
        "error: 2 of 22 records do not parse, more than 1%: nothing was written; --keep-going leaves them out\n"
    )
    assert not target.exists()
    done = run(main, talks, "--to", target, "--keep-going")
    assert done.status == 0
    assert "plain: 18 dialogues for training, 2 for validation; 2 records left out that do not parse\n" in done.out


def test_one_failure_in_a_hundred_goes_on(run, talks, target) -> None:
    talks.write_text("".join(talk(number) for number in range(99)) + "A: alone\n")
    done = run(main, talks, "--to", target)
    assert done.status == 0
    assert done.err == f"{talks}: line 595: 1 speakers ('A'); expected two\n"
    assert "; 1 records left out" in done.out


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
        "plain, messages: 19 dialogues for training, 2 for validation; "
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
