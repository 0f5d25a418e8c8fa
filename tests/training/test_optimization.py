"""optimization.py: the schedule, and training through apex."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import train
from bench.torture import copy_base, write_data
from personagpt.training.optimization import schedule
from tests.helpers import prepare_run, rows, train_run


def test_schedule_decays_linearly_and_warms_up() -> None:
    assert [schedule(step, 4, 0) for step in (1, 2, 3, 4)] == [1.0, 0.75, 0.5, 0.25]
    assert [schedule(step, 6, 2) for step in range(1, 7)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]


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
        env = prepare_run(folder, data, precision=precision, epochs=1, save_steps=1, batch_size=1)
        monkeypatch.setattr(train, "resolve_precision", lambda name, device: name)
        assert train_run(env) == 0
        losses[precision] = [float(row["loss"]) for row in rows(env)]
    assert losses["fp32"] == pytest.approx(losses[f"apex-{level}"], abs=1e-5)
    assert amp.calls[0] == f"initialize {level}"
    assert amp.calls.count("scale_loss") == 8  # 8 sequences, one at a time
    assert train_run(prepare_run(folder, data, precision=precision, epochs=2, save_steps=1, batch_size=1)) == 0
    assert "load 4.0" in amp.calls
    # Only O1 patches torch's functions, whose casts would turn the loss's `out=` into copies.
    assert ("disable_casts" in amp.calls) == (level == "O1")
    # Another precision has no use for apex's loss scale.
    assert train_run(prepare_run(folder, data, precision="fp32", epochs=3, save_steps=1, batch_size=1)) == 0
