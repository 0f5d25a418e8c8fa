"""folders.py: the model that a user names, and the last checkpoint of a run."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from personagpt.errors import UserError
from personagpt.model.folders import find_classifier, find_model, named_model
from personagpt.settings import Settings, read_settings
from tests.helpers import keep_from_the_hub


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


def test_a_save_path_is_as_good_as_its_newest_checkpoint(settings: Settings, tmp_path: Path, write_settings) -> None:
    link = settings.save_path / "checkpoint" / "model"
    link.parent.mkdir(parents=True)
    link.symlink_to(make_model(settings.save_path / "checkpoint" / "step-00000002"))
    assert find_model(str(settings.save_path), settings) == named_model(str(settings.save_path)) == str(link)
    base = read_settings(write_settings(model_name=settings.save_path), {}).model_name
    assert base == str(settings.save_path / "checkpoint" / "step-00000002")
    (settings.save_path / "config.json").write_text("{}")  # a model, where somebody trains it further
    assert named_model(str(settings.save_path)) == str(settings.save_path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The model hub is a server of this machine; nobody/a-model was fetched before."""
    keep_from_the_hub(make_model(tmp_path / "mine"), tmp_path, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # and as it was after the test
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield server


def test_the_hub_answers(settings: Settings, hub: socket.socket) -> None:
    for name in ("af1tang/personaGPT", "gpt2", "a_b/c.d-e", "nobody/a-model"):
        assert find_model(name, settings) == name
        assert not constants.HF_HUB_OFFLINE


def test_nobody_answers(hub: socket.socket) -> None:
    hub.close()
    assert named_model("nobody/a-model") == "nobody/a-model"
    assert constants.HF_HUB_OFFLINE  # so that the libraries do not try, either
    for name in ("gpt2", "a--b"):
        with pytest.raises(UserError, match=rf"^{name}: not on this machine, and http\S+ cannot be reached: go online"):
            named_model(name)


def test_a_proxy_answers_for_the_hub(hub: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("https_proxy", constants.ENDPOINT)
    monkeypatch.setattr(constants, "ENDPOINT", "https://nowhere.invalid")
    assert named_model("gpt2") == "gpt2"
    hub.close()
    with pytest.raises(UserError, match="cannot be reached"):
        named_model("gpt2")


def test_a_user_who_stays_offline(hub: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"^gpt2: not on this machine, and HF_HUB_OFFLINE is set: "):
        named_model("gpt2")


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


def test_a_classifier_is_known_by_its_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = make_model(tmp_path / "nli")
    labels = {"0": "CONTRADICTION", "1": "NEUTRAL", "2": "ENTAILMENT"}
    (folder / "config.json").write_text(json.dumps({"id2label": labels}))
    assert find_classifier(str(folder)) == str(folder)
    keep_from_the_hub(folder, tmp_path, monkeypatch)
    assert find_classifier("nobody/a-model") == "nobody/a-model"
    for other, words in (
        ({"0": "entailment", "1": "not_entailment"}, "entailment, not_entailment"),
        (labels | {"3": "other"}, "contradiction, entailment, neutral, other"),
        (["entailment", "neutral", "contradiction"], "not named"),
        (None, "not named"),
    ):
        (folder / "config.json").write_text(json.dumps({"id2label": other}))
        with pytest.raises(UserError, match=f"^--nli {folder}: its labels are {words}; expected a classifier of"):
            find_classifier(str(folder))
    with pytest.raises(UserError, match=r"^--nli \./nowhere: there is no such folder"):
        find_classifier("./nowhere")


def test_a_folder_without_a_model(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model in this folder \(config\.json is missing\)"):
        find_model(str(tmp_path), settings)
