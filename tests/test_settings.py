"""`.env` -> Settings; test_bad_input.py holds the table of values that are refused."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from personagpt.errors import UserError
from personagpt.settings import (
    ENV_FILE,
    REQUIRED,
    VALUE_TYPES,
    ValueType,
    choice,
    flag,
    folder,
    integer,
    read_settings,
    real,
    setting,
)
from tests.helpers import NINE_KEYS, NINE_LINES


def written(place: Path, text: str | bytes) -> Path:
    path = place / ".env"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(path: Path, environ: dict[str, str] | None = None) -> str:
    """The one line that read_settings refuses `path` with."""
    with pytest.raises(UserError) as caught:
        read_settings(path, environ or {})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_nine_lines_are_enough(tmp_path) -> None:
    settings = read_settings(written(tmp_path, NINE_LINES), {})
    assert settings.plain() == {
        "env_file": str(tmp_path / ".env"),
        "save_path": str(tmp_path / "save"),
        "data_path": str(tmp_path / "data"),
        "epochs": 3,
        "learn_rate": 5e-5,
        "gradient_accumulation_steps": 8,
        "batch_size": 1,
        "weight_decay": 0.0,
        "logging_steps": 10,
        "save_steps": 250,
        "model_name": "microsoft/DialoGPT-medium",
        "init": "pretrained",
        "warmup_steps": 0,
        "max_grad_norm": 1.0,
        "max_turns": 20,
        "shuffle_facts": False,
        "goals": "",
        "preferences": "",
        "preference_weight": 1.0,
        "preference_beta": 0.1,
        "seed": 42,
        "precision": "auto",
        "compile": "auto",
        "gradient_checkpointing": False,
        "tensorboard": False,
    }
    assert json.loads(json.dumps(settings.plain())) == settings.plain()


def test_the_repositorys_own_env_holds_those_nine(tmp_path, root) -> None:
    assert root / ".env" == ENV_FILE
    ours, theirs = read_settings(environ={}), read_settings(written(tmp_path, NINE_LINES), {})
    different = {key for key, value in ours.plain().items() if theirs.plain()[key] != value}
    assert different == {"env_file", "save_path", "data_path"}
    assert (ours.save_path, ours.data_path) == (root / "save", root / "data")


def test_where_the_files_are(tmp_path) -> None:
    settings = read_settings(written(tmp_path, NINE_LINES), {})
    assert settings.tensors("train") == tmp_path / "save" / "train_data.safetensors"
    assert settings.text("valid") == tmp_path / "data" / "valid_both_original_no_cands.txt"


def test_a_variable_of_the_environment_wins(tmp_path, monkeypatch) -> None:
    path = written(tmp_path, NINE_LINES)
    settings = read_settings(path, {"epochs": "1", "precision": " BF16 ", "unrelated": "x", "EPOCHS": "9"})
    assert (settings.epochs, settings.precision) == (1, "bf16")
    monkeypatch.setenv("epochs", "7")
    assert read_settings(path).epochs == 7
    # It stands in for a required key as well.
    assert read_settings(written(tmp_path, NINE_LINES.replace("epochs = 3\n", "")), {"epochs": "5"}).epochs == 5


def test_where_relative_paths_start(tmp_path, monkeypatch) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "elsewhere").mkdir()
    path = written(tmp_path / "recipes", NINE_LINES)
    monkeypatch.chdir(tmp_path / "elsewhere")
    settings = read_settings(path, {"data_path": "text"})
    assert settings.save_path == tmp_path / "recipes" / "save"
    assert settings.data_path == tmp_path / "elsewhere" / "text"
    # The file itself may be named from the current folder.
    assert read_settings(Path("../recipes/.env"), {}).save_path == tmp_path / "recipes" / "save"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_settings(path, {"save_path": "~/kept"}).save_path == tmp_path / "kept"
    assert read_settings(path, {"save_path": "/kept"}).save_path == Path("/kept")


def test_model_name_is_a_folder_where_one_is_there(tmp_path, monkeypatch) -> None:
    path = written(tmp_path, NINE_LINES + "model_name = org/base\n")
    assert read_settings(path, {}).model_name == "org/base"
    (tmp_path / "org" / "base").mkdir(parents=True)
    assert read_settings(path, {}).model_name == str(tmp_path / "org" / "base")
    # From the environment, a relative name starts in the current folder.
    monkeypatch.chdir(tmp_path / "org")
    assert read_settings(path, {"model_name": "base"}).model_name == str(tmp_path / "org" / "base")
    assert read_settings(path, {"model_name": "./base"}).model_name == str(tmp_path / "org" / "base")
    assert read_settings(path, {"model_name": "gpt2"}).model_name == "gpt2"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_settings(path, {"model_name": "~/org/base"}).model_name == str(tmp_path / "org" / "base")
    (tmp_path / "file").write_text("no folder")
    assert read_settings(written(tmp_path, NINE_LINES + "model_name = file\n"), {}).model_name == "file"


def test_a_goals_file_must_be_there(tmp_path) -> None:
    path = written(tmp_path, NINE_LINES + "goals = './my goals.tsv'\n")
    for _ in range(2):
        assert refused(path) == (
            f"{path}:10: goals = './my goals.tsv': there is no file {tmp_path / 'my goals.tsv'}; expected a goals file "
            "(docs/goals.md)"
        )
        (tmp_path / "my goals.tsv").mkdir(exist_ok=True)
    (tmp_path / "my goals.tsv").rmdir()
    (tmp_path / "my goals.tsv").write_text("what is in it is checked when it is read")
    assert read_settings(path, {}).goals == str(tmp_path / "my goals.tsv")


@pytest.mark.parametrize("name", ["./base", "../base", ".", "/base", "~/base", "~nobody-of-that-name/base"])
def test_a_model_name_that_can_only_be_a_folder(tmp_path, monkeypatch, name) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = written(tmp_path, NINE_LINES + f"model_name = '{name}'\n")
    if name == ".":
        assert read_settings(path, {}).model_name == str(tmp_path)
    else:
        assert refused(path).startswith(f"{path}:10: model_name = {name!r}")


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + NINE_LINES,
        NINE_LINES.replace("\n", "\r\n"),
        NINE_LINES.rstrip("\n"),
        "# a comment\n\n" + NINE_LINES.replace("epochs = 3", "export epochs=3   # passes"),
        NINE_LINES.replace("epochs = 3", 'epochs = "3"'),
        NINE_LINES.replace("= 3", "=   '3'  ").replace("5e-5", "0.00005"),
        "\n".join(reversed(NINE_LINES.splitlines())),
    ],
    ids=["BOM", "CRLF", "no last newline", "comments", "double quotes", "spaces", "another order"],
)
def test_dotenv_syntax(tmp_path, text) -> None:
    plain = read_settings(written(tmp_path, NINE_LINES), {})
    assert read_settings(written(tmp_path, text), {}) == plain


@pytest.mark.parametrize(
    ("value_type", "read", "not_allowed", "allowed"),
    [
        (integer(2, 9), {"2": 2, "+9": 9}, ["1", "10", "-2", "2.0", "0x5", "1 2", ""], "a whole number from 2 to 9"),
        (integer(0), {"-0": 0, "1000000000": 10**9}, ["-1", "1000000001"], "a whole number from 0 to 1000000000"),
        (real(0.5, 2), {"0.5": 0.5, "2": 2.0, "1e0": 1.0}, ["0.49", "2.01", "x"], "a number from 0.5 to 2"),
        (real(0, math.inf), {"0": 0.0, "1e99": 1e99}, ["inf", "nan", "-1"], "a number from 0 to inf"),
        (real(0, 1, above=True), {"1": 1.0, "1e-9": 1e-9}, ["0", "-0.1"], "a number above 0 and at most 1"),
        (choice("a", "B-c"), {"A": "a", "b-C": "B-c"}, ["", "a, B-c"], "one of a, B-c"),
        (flag(), {"TRUE": True, "false": False}, ["1", "no"], "True or False"),
        (folder(), {"a b/c": "a b/c"}, ["a\0b"], "a path"),
    ],
)
def test_how_a_value_is_read(
    value_type: ValueType, read: dict[str, object], not_allowed: list[str], allowed: str
) -> None:
    assert {text: value_type.parse(text) for text in read} == read
    assert [type(value_type.parse(text)) for text in read] == [type(value) for value in read.values()]
    for text in not_allowed:
        with pytest.raises((ValueError, KeyError)):
            value_type.parse(text)
    assert value_type.allowed == allowed


def test_a_setting_without_a_default_is_required() -> None:
    kind = integer(0)
    needed, optional = setting(kind), setting(kind, 0)
    assert (needed.default, dict(needed.metadata)) == (None, {"type": kind, "required": True})
    assert (optional.default, dict(optional.metadata)) == (0, {"type": kind, "required": False})


def test_names_of_choices_in_any_case(tmp_path) -> None:
    lines = "init = RANDOM\nprecision = APEX-o2\ncompile = true\ntensorboard = TRUE\ngradient_checkpointing = false\n"
    settings = read_settings(written(tmp_path, NINE_LINES + lines), {})
    assert (settings.init, settings.precision, settings.compile) == ("random", "apex-O2", "True")
    assert (settings.tensorboard, settings.gradient_checkpointing) == (True, False)


def test_the_ends_of_a_range_are_in_it(tmp_path) -> None:
    lines = "warmup_steps = 0\nseed = 4294967295\nmax_grad_norm = 1e9\nmax_turns = 1\n"
    settings = read_settings(written(tmp_path, NINE_LINES + lines), {"learn_rate": "1", "weight_decay": "1"})
    assert (settings.seed, settings.max_grad_norm, settings.max_turns) == (2**32 - 1, 1e9, 1)
    assert (settings.learn_rate, settings.weight_decay) == (1.0, 1.0)


@pytest.mark.parametrize("key", sorted(NINE_KEYS))
def test_each_of_the_nine_is_required(tmp_path, write_settings, key) -> None:
    assert set(REQUIRED) == set(NINE_KEYS)
    path = write_settings(**{key: None})
    assert refused(path) == f"{path}: {key} missing; add a line `{key} = ...` ({VALUE_TYPES[key].allowed})"


def test_all_missing_keys_are_named_at_once(tmp_path) -> None:
    path = written(tmp_path, "epochs = 3\n# nothing else\n")
    assert refused(path).startswith(f"{path}: save_path, data_path, learn_rate, gradient_accumulation_steps, ")
    path = written(tmp_path, "")
    assert "save_path, data_path, epochs, " in refused(path)


def test_a_missing_file_names_the_option(tmp_path) -> None:
    assert refused(tmp_path / "no.env") == f"{tmp_path / 'no.env'}: no such settings file; name one with --env FILE"
    assert refused(tmp_path) == f"{tmp_path}: cannot read it: Is a directory"


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("learning_rate", "learn_rate"),
        ("EPOCHS", "epochs"),
        ("model", "model_name"),
        ("grad_accumulation_steps", "gradient_accumulation_steps"),
        ("env_file", None),  # a field of Settings, but no key
        ("zzz", None),
    ],
)
def test_an_unknown_key_names_the_nearest(tmp_path, key, nearest) -> None:
    path = written(tmp_path, NINE_LINES + f"\n# comment\n{key} = 1\n")
    found = re.fullmatch(
        rf"{re.escape(str(path))}:12: unknown key {key!r}; the nearest known one is '(\w+)'", refused(path)
    )
    assert found
    assert found[1] in VALUE_TYPES
    assert nearest in (None, found[1])


def test_a_duplicate_key_names_both_lines(tmp_path) -> None:
    path = written(tmp_path, NINE_LINES + "\n\nepochs = 4\n")
    assert refused(path) == f"{path}:12: epochs is set twice, first on line 3; keep one of them"


def test_an_undecodable_byte_has_a_line(tmp_path) -> None:
    path = written(tmp_path, NINE_LINES.encode() + b"\nmodel_name = caf\xe9\n")
    assert refused(path) == f"{path}:11: byte 0xe9 is not UTF-8; save the file as UTF-8"


def test_a_line_that_is_no_dotenv(tmp_path) -> None:
    path = written(tmp_path, NINE_LINES + "\n\nwarmup_steps 10\nseed = 'open\n")
    # dotenv knows a key without `=`, but here are two words.
    assert refused(path) == f"{path}:12: cannot read 'warmup_steps 10'; expected `key = value`, or `# comment`"
    path = written(tmp_path, NINE_LINES + "seed = 'open\n")
    assert refused(path) == f'{path}:10: cannot read "seed = \'open"; expected `key = value`, or `# comment`'


def test_the_line_of_a_value_after_one_of_several_lines(tmp_path) -> None:
    lines = NINE_LINES.replace("'./save'", "'./sa\nve'").replace("epochs = 3", "epochs = three")
    path = written(tmp_path, lines)
    assert refused(path).startswith(f"{path}:4: epochs = 'three' is not allowed; expected a whole number from 1 ")


def test_a_mistake_in_the_environment_says_so(tmp_path) -> None:
    path = written(tmp_path, NINE_LINES)
    assert refused(path, {"epochs": "x"}) == (
        "environment variable: epochs = 'x' is not allowed; expected a whole number from 1 to 1000000000"
    )
    assert (
        refused(path, {"tensorboard": ""}) == "environment variable: tensorboard has no value; expected True or False"
    )
    # A mistake in the file is not hidden by the variable that wins.
    path = written(tmp_path, NINE_LINES.replace("epochs = 3", "epochs = 0"))
    assert refused(path, {"epochs": "1"}).startswith(f"{path}:3: epochs = '0' is not allowed")
