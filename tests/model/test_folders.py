"""folders.py: the model that a user names, and the last checkpoint of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from personagpt.errors import UserError
from personagpt.model.folders import find_model, named_model
from personagpt.settings import Settings, read_settings


@pytest.fixture
def settings(tmp_path: Path, write_settings) -> Settings:
    return read_settings(write_settings(save_path=tmp_path / "save"), {})


def make_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_without_a_name_it_is_the_last_checkpoint(settings: Settings) -> None:
    link = settings.save_path / "checkpoint" / "model"
    with pytest.raises(UserError) as caught:
        find_model(None, settings, "python train.py --env x")
    expected = f"{link}: no trained model there yet; run `python train.py --env x` first, or name one with --model"
    assert str(caught.value) == expected
    link.parent.mkdir(parents=True)
    link.symlink_to(make_model(settings.save_path / "checkpoint" / "step-00000002"))
    assert find_model(None, settings) == str(link)  # training may move the link


def test_a_folder_by_any_path(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("mine", "./mine", "~/mine", str(folder)):
        assert find_model(name, settings) == named_model(name) == str(folder)


def test_hub_names(settings: Settings) -> None:
    for name in ("af1tang/personaGPT", "gpt2", "a_b/c.d-e"):
        assert find_model(name, settings) == name


@pytest.mark.parametrize(
    "name", ["./nowhere", "/nowhere", "~nobody-of-that-name", "a/b/c", "two words", "", ".hidden", "caf\u00e9"]
)
def test_what_is_neither_a_folder_nor_a_hub_name(
    settings: Settings, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for find, option in ((lambda name: find_model(name, settings), "--model "), (named_model, "")):
        with pytest.raises(UserError) as caught:
            find(name)
        line = f"{option}{name}: there is no such folder, and it is no hub name such as af1tang/personaGPT"
        assert str(caught.value) == (f"{name}: no model in this folder (config.json is missing)" if not name else line)


def test_a_folder_without_a_model(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model in this folder \(config\.json is missing\)"):
        find_model(str(tmp_path), settings)
