"""loading.py: base models loaded safely, the persona tokens' rows, a trained model while training replaces it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from personagpt.device import resolve_precision
from personagpt.errors import UserError
from personagpt.files import file_checksum
from personagpt.model import loading
from personagpt.model.loading import (
    MANIFEST,
    STATE,
    ModelError,
    draw_model,
    load,
    load_config,
    load_model,
    load_tokenizer,
    load_trained,
    usable_precision,
    weights_checksum,
)
from personagpt.settings import Settings, read_settings
from personagpt.text.style import STYLE, parse_style
from personagpt.training.checkpoint import redirect_link
from tests.helpers import COMMIT, be_process, keep_from_the_hub


@pytest.fixture
def folder(tmp_path: Path, base: Path) -> Path:
    """A copy of the base model to be damaged."""
    return Path(shutil.copytree(base, tmp_path / "model"))


def test_new_rows_are_drawn_under_the_seed(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    models = [load_model(str(base), len(tokenizer), seed=seed) for seed in (1, 1, 2)]
    first, again, other = (model.get_input_embeddings().weight.detach()[-6:] for model in models)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # Near the mean of a pretrained model's rows: far from it, the first gradients are many times as long.
    mean = models[0].get_input_embeddings().weight.detach()[:-6].mean(dim=0)
    assert torch.allclose(first, mean.expand(6, -1), atol=1e-4)


def test_all_rows_of_a_drawn_model_are_drawn_alike(base: Path) -> None:
    model = draw_model(str(base), len(load_tokenizer(str(base))), seed=1)
    new = model.get_input_embeddings().weight.detach()[-6:]
    assert new.std().item() == pytest.approx(model.config.initializer_range, rel=0.2)  # GPT-2's has 0.02


def test_random_weights_come_from_the_seed(base: Path) -> None:
    models = [draw_model(str(base), 0, seed) for seed in (1, 1, 2)]
    first, again, other = (model.transformer.h[0].mlp.c_fc.weight for model in models)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("key", ["attn_pdrop", "embd_pdrop", "resid_pdrop"])
@pytest.mark.parametrize("value", [1.0, -0.1, 1e400])
def test_a_dropout_that_leaves_nothing(folder: Path, key: str, value: float) -> None:
    config = json.loads((folder / "config.json").read_text()) | {key: value}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"{folder}: its config.json has {key} = .*; expected 0 to below 1"):
        load_config(str(folder))


def test_an_honest_bin_loads(folder: Path, base: Path) -> None:
    expected = load_model(str(base), 0).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(expected, folder / "pytorch_model.bin")
    loaded = load_model(str(folder), 0).state_dict()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


class Hostile:
    """Unpickled, it would leave a marker."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "training_args.bin", "optimizer.pt"])
def test_code_in_a_pickle_does_not_run(folder: Path, tmp_path: Path, name: str) -> None:
    marker = tmp_path / "ran"
    (folder / name).write_bytes(pickle.dumps({"weight": Hostile(marker)}))
    if name == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
        with pytest.raises(ModelError, match="cannot load its weights"):
            load_model(str(folder), 0)
    else:
        load_model(str(folder), 0)
    assert not marker.exists()
    pickle.loads((folder / name).read_bytes())  # the file is as hostile as it should be
    assert marker.exists()


def test_code_beside_the_weights_does_not_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # what the library would ask for, were it not told
    marker = tmp_path / "ran"
    (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError):
        load_config(str(folder))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda folder: (folder / "config.json").unlink(), "cannot load its config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot load its config.json"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "t5"}'), "its model type is 't5'"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot load its weights"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100), "cannot load its weights"),
    ],
)
def test_a_damaged_model_is_one_line(folder: Path, damage: object, expected: str) -> None:
    damage(folder)
    with pytest.raises(ModelError, match=expected) as raised:
        load_model(str(folder), 0)
    assert "\n" not in str(raised.value)


def test_weights_that_lack_a_part_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["transformer.h.0.mlp.c_fc.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"its weights lack transformer\.h\.0\.mlp\.c_fc\.weight"):
        load_model(str(folder), 0)


def test_layers_that_the_configuration_leaves_out_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_layer": config["n_layer"] - 1}))
    with pytest.raises(ModelError, match=rf"no place for the weights transformer\.h\.{config['n_layer'] - 1}\."):
        load_model(str(folder), 0)


def test_weights_of_another_size_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": config["vocab_size"] + 6}))
    with pytest.raises(ModelError, match=f"{folder}: cannot load its weights: ") as raised:
        load_model(str(folder), 0)
    assert "\n" not in str(raised.value)


def test_a_second_head_is_left_alone(folder: Path, base: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["multiple_choice_head.summary.weight"] = torch.zeros(1, 64)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    loaded, expected = (load_model(str(path), 0).state_dict() for path in (folder, base))
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_a_folder_without_a_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError) as raised:
        load_tokenizer(str(folder))
    assert "\n" not in str(raised.value)


def test_a_hub_name_that_cannot_be_had() -> None:
    with pytest.raises(ModelError, match=r"cannot load its tokenizer from the model hub.*is the name right") as raised:
        load_tokenizer("nobody/no-such-model")
    assert "\n" not in str(raised.value)


def test_a_wait_for_the_hub_is_announced(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def said(load: Callable[..., object], *arguments: object) -> str:
        with contextlib.suppress(ModelError):
            load(*arguments)
        return capsys.readouterr().out

    assert said(load_tokenizer, "nobody/a-model") == "fetching nobody/a-model's tokenizer from the hub ...\n"
    # In a folder, or kept from before, it comes without a wait.
    assert said(load_tokenizer, str(folder)) == ""
    kept = keep_from_the_hub(folder, tmp_path, monkeypatch)
    assert said(load_tokenizer, "nobody/a-model") == ""
    assert said(load_model, "nobody/a-model", 0) == ""
    (kept / "model.safetensors").unlink()
    monkeypatch.setattr("personagpt.model.loading.load_config", lambda name: None)
    assert said(load_model, "nobody/a-model", 0) == "fetching nobody/a-model's weights from the hub ...\n"
    be_process(monkeypatch, "1")
    assert said(load_model, "nobody/a-model", 0) == ""
    # No name the hub could have: a line as ever.
    with pytest.raises(ModelError, match="cannot load its tokenizer"):
        load_tokenizer("a--b")


# Training goes on beside us


@pytest.fixture
def beside_training(tmp_path: Path, write_settings, tiny_model, tokenizer) -> Settings:
    """Settings of a run with checkpoints of steps 2 and 4, with other weights each; `model` names the first."""
    folder = tmp_path / "save" / "checkpoint"
    for step in (2, 4):
        saved = folder / f"step-{step:08d}"
        with torch.no_grad():
            tiny_model.transformer.ln_f.bias.fill_(step)
        tiny_model.save_pretrained(saved)
        tokenizer.save_pretrained(saved)
        (saved / STATE).write_text(json.dumps({"step": step}))
        checksum = file_checksum(saved / "model.safetensors")
        (saved / MANIFEST).write_text(json.dumps({"files": {"model.safetensors": {"sha256": checksum}}}))
    redirect_link(folder / "model", "step-00000002")
    return read_settings(write_settings(save_path=tmp_path / "save"), {})


def test_a_trained_model_of_the_hub(beside_training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = keep_from_the_hub(beside_training.save_path / "checkpoint" / "step-00000002", tmp_path, monkeypatch)
    trained = load("nobody/a-model", "bf16")
    assert (trained.name, trained.folder, trained.precision) == ("nobody/a-model", None, "bf16")
    assert not trained.model.training  # dropout is off
    assert trained.checksum == COMMIT  # a talk with it is recorded under this
    assert trained.style is None
    writing = {"lower": 1.0, "spaced": 1.0, "ended": None}
    style = {"facts": writing, "utterances": writing, "facts_a_persona": 5, "utterances_a_dialogue": 20}
    (kept / STYLE).write_text(json.dumps(style))
    assert load("nobody/a-model").style == parse_style(style)


@pytest.mark.parametrize("name", ["auto", "fp32", "bf16", "fp16"])
def test_a_model_trained_on_a_gpu_talks_on_any_machine(beside_training, name: str) -> None:
    trained = load(beside_training.save_path / "checkpoint" / "model", name)
    assert trained.precision == resolve_precision("auto" if name == "fp16" else name, trained.model.device)


def test_precision_in_use() -> None:
    cuda = torch.device("cuda")
    for name in ("fp16", "apex-O1", "apex-O2"):
        assert usable_precision(name, torch.device("cpu")) == "fp32"
        assert usable_precision(name, cuda) == "fp16"  # as apex trained it, and without apex
    assert [usable_precision(name, cuda) for name in ("fp32", "bf16")] == ["fp32", "bf16"]


def test_a_precision_that_there_is_not(base: Path) -> None:
    with pytest.raises(UserError, match="precision 'half': expected auto, fp32, bf16, fp16"):
        load(base, "half")


@pytest.mark.parametrize("removed", ["kept", "one file", "all"])
@pytest.mark.parametrize("reader", ["load_bare_tokenizer", "load_config", "load_model", "weights_checksum"])
def test_a_load_never_mixes_two_checkpoints(beside_training, monkeypatch, reader, removed) -> None:
    folder = beside_training.save_path / "checkpoint"
    old, new = folder / "step-00000002", folder / "step-00000004"
    read = getattr(loading, reader)

    def save_meanwhile(*arguments: object) -> object:
        found = read(*arguments)
        redirect_link(folder / "model", new.name)
        if removed == "one file":  # the model's tokenizer and configuration load without it
            (old / "generation_config.json").unlink(missing_ok=True)
        if removed == "all":
            shutil.rmtree(old, ignore_errors=True)
        return found

    monkeypatch.setattr(loading, reader, save_meanwhile)
    trained = load_trained(None, beside_training)
    step, source = (2, old) if removed == "kept" else (4, new)
    assert (trained.step, trained.folder) == (step, source)
    assert trained.name == str(folder / "model")
    assert trained.checksum == file_checksum(source / "model.safetensors")
    bias = load_file(source / "model.safetensors")["transformer.ln_f.bias"]
    assert torch.equal(trained.model.transformer.ln_f.bias.cpu(), bias)


def test_a_damaged_model_is_an_error_and_not_read_again(beside_training) -> None:
    (beside_training.save_path / "checkpoint" / "step-00000002" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="step-00000002: cannot load its weights"):
        load_trained(None, beside_training)


@pytest.mark.parametrize(
    "manifest",
    [None, "[1]", "[" * 100_000, '{"files": {"model.safetensors": {"sha256": "\\u001b[31m"}}}', '{"files": 1e999}'],
)
def test_without_a_sound_manifest_the_weights_are_hashed(folder: Path, manifest: str | None) -> None:
    if manifest is not None:
        (folder / "manifest.json").write_text(manifest)
    total = hashlib.sha256(hashlib.sha256((folder / "model.safetensors").read_bytes()).digest())
    assert weights_checksum(str(folder)) == total.hexdigest()
