"""utils.py: precision and apex's contract, one process and several."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import train
from personagpt.device import autocast, pick_device, resolve_precision, start_processes
from personagpt.errors import UserError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_auto_is_what_the_hardware_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_precision("auto", CPU) == "fp32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert resolve_precision("auto", CUDA) == "bf16"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert resolve_precision("auto", CUDA) == "fp16"


def test_fp16_and_apex_need_a_gpu() -> None:
    for name in ("fp16", "apex-O1", "apex-O2"):
        with pytest.raises(UserError, match=f"precision = {name} needs a CUDA GPU"):
            resolve_precision(name, CPU)
    assert resolve_precision("bf16", CPU) == "bf16"


def test_bf16_matrix_products_over_float32_weights() -> None:
    layer = torch.nn.Linear(4, 4)
    with autocast("bf16", CPU):
        assert layer(torch.ones(1, 4)).dtype == torch.bfloat16
    with autocast("fp32", CPU):
        assert layer(torch.ones(1, 4)).dtype == torch.float32
    assert layer.weight.dtype == torch.float32


def test_missing_apex_says_what_to_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apex", None)
    with pytest.raises(UserError) as raised:
        resolve_precision("apex-O1", CUDA)
    for part in ("tag 25.04", "the package index's `apex` is another project", "precision = fp16, which needs no apex"):
        assert part in str(raised.value)


def test_apex_without_amp_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apex", types.ModuleType("apex"))
    with pytest.raises(UserError, match=r"needs NVIDIA apex with its amp module .* at tag 25\.04"):
        resolve_precision("apex-O2", CUDA)


class StandInAmp(types.ModuleType):
    """apex.amp's three functions, as its documentation describes them: scale the loss by 4, keep master weights."""

    def __init__(self) -> None:
        super().__init__("apex.amp")
        self.calls: list[str] = []

    def initialize(self, model: torch.nn.Module, optimizer: object, opt_level: str, verbosity: int) -> tuple:
        self.calls.append(f"initialize {opt_level}")
        return model, optimizer

    @contextmanager
    def scale_loss(self, loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> Iterator[torch.Tensor]:
        before = [None if p.grad is None else p.grad.clone() for p in self.master_params(optimizer)]
        for parameter in self.master_params(optimizer):
            parameter.grad = None
        yield loss * 4
        for parameter, gradient in zip(self.master_params(optimizer), before, strict=True):
            parameter.grad = parameter.grad / 4 + (0 if gradient is None else gradient)
        self.calls.append("scale_loss")

    @contextmanager
    def disable_casts(self) -> Iterator[None]:
        self.calls.append("disable_casts")
        yield

    def master_params(self, optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
        return [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def state_dict(self) -> dict:
        return {"loss_scaler0": {"loss_scale": 4.0, "unskipped": len(self.calls)}}

    def load_state_dict(self, state: dict) -> None:
        self.calls.append(f"load {state['loss_scaler0']['loss_scale']}")


@pytest.mark.parametrize("level", ["O1", "O2"])
def test_training_through_apex(level: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # A run on the CPU whose precision is forced to apex; the stand-in takes the real one's place.
    from test_train import rows, run, write_env
    from torture import copy_base, write_data

    amp = StandInAmp()
    apex = types.ModuleType("apex")
    apex.amp = amp
    monkeypatch.setitem(sys.modules, "apex", apex)
    monkeypatch.setitem(sys.modules, "apex.amp", amp)
    data = tmp_path / "data"
    data.mkdir()
    write_data(data, train=4, valid=4)
    copy_base(data / "base", dropout=0.0)
    losses = {}
    for precision in ("fp32", f"apex-{level}"):
        folder = tmp_path / precision
        folder.mkdir()
        env = write_env(folder, data, precision=precision, epochs=1, save_steps=1, batch_size=1)
        monkeypatch.setattr(train, "resolve_precision", lambda name, device: name)
        assert run(env) == 0
        losses[precision] = [float(row["loss"]) for row in rows(env)]
    assert losses["fp32"] == pytest.approx(losses[f"apex-{level}"], abs=1e-5)
    assert amp.calls[0] == f"initialize {level}"
    assert amp.calls.count("scale_loss") == 8  # 8 sequences, one at a time
    assert run(write_env(folder, data, precision=precision, epochs=2, save_steps=1, batch_size=1)) == 0
    assert "load 4.0" in amp.calls
    # Only O1 patches torch's functions, whose casts would turn the loss's `out=` into copies.
    assert ("disable_casts" in amp.calls) == (level == "O1")
    # Another precision has no use for apex's loss scale.
    assert run(write_env(folder, data, precision="fp32", epochs=3, save_steps=1, batch_size=1)) == 0


def test_one_process_without_torchrun() -> None:
    with start_processes() as processes:
        assert processes.is_first
        assert processes.any(True)
        assert not processes.any(False)
        assert processes.sum(torch.tensor(2.0)).item() == 2.0
        assert processes.device == pick_device()
