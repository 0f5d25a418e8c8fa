"""On a CUDA GPU only (pytest -m gpu): precisions, compilation, no waiting inside a step, memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import train
from personagpt.device import Processes
from personagpt.files import read_json
from personagpt.model.loading import load_model
from personagpt.sequences.batches import StepPlan, load_batch
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.settings import read_settings
from personagpt.training.optimization import Trainer
from tests.helpers import copy_base, die, group_before, prepare_run, rows, same, train_run, weights, write_data

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")]


@pytest.fixture(autouse=True)
def _full_float32() -> Iterator[None]:
    """The scripts turn TF32 on, for the whole process."""
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, train=12, valid=3)
    copy_base(folder / "base", dropout=0.1)
    return folder


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_learns(tmp_path: Path, data: Path, precision: str) -> None:
    env = prepare_run(tmp_path, data, precision=precision, epochs=4, warmup_steps=2)
    assert train_run(env) == 0
    losses = rows(env)
    assert float(losses[-1]["loss"]) < float(losses[0]["loss"])
    assert float(losses[-1]["peak_gpu_memory_gb"]) > 0


def test_fp16_scaling_is_resumed(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calm").mkdir()
    (tmp_path / "killed").mkdir()
    calm = prepare_run(tmp_path / "calm", data, precision="fp16", compile="False")
    killed = prepare_run(tmp_path / "killed", data, precision="fp16", compile="False")
    assert train_run(calm) == 0
    with monkeypatch.context() as patch:
        patch.setattr(StepPlan, "group", group_before(4, die))
        with pytest.raises(ZeroDivisionError):
            train.main(["--env", str(killed)])
    assert train_run(killed) == 0
    for ours, theirs in zip(rows(killed), rows(calm), strict=True):
        assert float(ours["loss"]) == pytest.approx(float(theirs["loss"]), rel=1e-3)
    scaling = [
        read_json(env.parent / "save" / "checkpoint" / "model" / "training_state.json")["scaling"]
        for env in (killed, calm)
    ]
    assert scaling[0] == scaling[1]
    assert scaling[0]["state"]["_growth_tracker"] > 0


def test_no_waiting_inside_a_step(tmp_path: Path, data: Path) -> None:
    env = prepare_run(tmp_path, data, compile="False", precision="bf16")
    settings = read_settings(env)
    dataset = PersonaChatDataset(settings.tensors("train"))
    device = torch.device("cuda", 0)
    model = load_model(settings.model_name, int(dataset.metadata["vocabulary"])).to(device).train()
    trainer = Trainer(settings, Processes(0, 1, device), "bf16", model)
    for checked in (False, True):  # the first time, libraries set themselves up
        torch.cuda.set_sync_debug_mode("error" if checked else "default")
        try:
            for start in (0, 4):
                batch = load_batch(dataset, np.arange(start, start + 4), multiple=8).to(device)
                trainer.backward(trainer.forward(batch) / 100)
            trainer.clip_gradients(1.0)
            trainer.update(1e-4)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_compiled_equals_eager(tmp_path: Path, data: Path) -> None:
    base = copy_base(tmp_path / "base", dropout=0.0)
    torch._dynamo.utils.counters.clear()
    losses = []
    for compile_ in ("True", "False"):
        folder = tmp_path / compile_
        folder.mkdir()
        env = prepare_run(folder, data, model_name=base, compile=compile_, precision="fp32")
        assert train_run(env) == 0
        losses.append([float(row["loss"]) for row in rows(env)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 6


def test_out_of_memory_is_one_line(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = prepare_run(tmp_path, data, compile="False", epochs=1)
    assert train_run(env) == 0
    before = weights(env)
    prepare_run(tmp_path, data, compile="False", epochs=2)
    gc.collect()
    torch.cuda.empty_cache()  # the limit is on new memory
    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        assert train_run(env) == 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "error: out of memory" in capsys.readouterr().err
    assert same(weights(env), before)


@pytest.mark.parametrize("level", ["O1", "O2"])
def test_the_real_apex(tmp_path: Path, data: Path, level: str) -> None:
    pytest.importorskip("apex.amp", reason="NVIDIA apex with amp (tag 25.04) is not installed")
    env = prepare_run(tmp_path, data, precision=f"apex-{level}")
    assert train_run(env) == 0
    losses = [float(row["loss"]) for row in rows(env)]
    assert losses[-1] < losses[0]
