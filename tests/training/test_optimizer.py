"""optimizer.py: the optimizer's state goes through a checkpoint and comes back exactly."""

from __future__ import annotations

from pathlib import Path

import torch

from personagpt.settings import read_settings
from personagpt.training.checkpoint import save_checkpoint
from personagpt.training.optimizer import load_optimizer, make_optimizer, optimizer_tensors


def write_model(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")


def test_optimizer_state_goes_on_exactly(tmp_path: Path) -> None:
    def steps(weight: torch.nn.Parameter, optimizer: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            weight.grad = weight.detach() ** 2
            optimizer.step()

    straight = torch.nn.Parameter(torch.ones(3))
    steps(straight, torch.optim.AdamW([straight], lr=0.1, fused=True), 4)

    first = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([first], lr=0.1, fused=True)
    steps(first, optimizer, 2)
    save_checkpoint(tmp_path, 2, write_model, {"step": 2}, optimizer_tensors(optimizer, with_masters=True))
    second = torch.nn.Parameter(torch.zeros(3))  # its value comes back with the master copies
    optimizer = torch.optim.AdamW([second], lr=0.1, fused=True)
    load_optimizer(optimizer, tmp_path / "model")
    steps(second, optimizer, 2)
    assert torch.equal(second, straight)


def test_master_weights_that_apex_makes_late_are_made_before_they_are_filled(tmp_path: Path) -> None:
    class LazyAdamW(torch.optim.AdamW):
        """As apex's `amp` leaves one: its float32 parameters appear with the first step, or when asked for."""

        def _amp_lazy_init(self) -> None:
            self.param_groups[0]["params"] = [torch.nn.Parameter(torch.zeros(3))]

    save_checkpoint(tmp_path, 2, write_model, {"step": 2}, {"0.master": torch.arange(3.0)})
    half = torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    optimizer = LazyAdamW([half], lr=0.1)
    load_optimizer(optimizer, tmp_path / "model")
    (master,) = optimizer.param_groups[0]["params"]
    assert master.tolist() == [0.0, 1.0, 2.0]
    assert not half.any()


def test_biases_and_layer_norms_do_not_decay(write_settings, tiny_model) -> None:
    settings = read_settings(write_settings(weight_decay=0.1), {})
    names = {id(parameter): name for name, parameter in tiny_model.named_parameters()}
    decays = {
        names[id(parameter)]: group["weight_decay"]
        for group in make_optimizer(tiny_model, settings, fused=False).param_groups
        for parameter in group["params"]
    }
    assert decays.keys() == set(names.values())
    for name, decay in decays.items():
        assert decay == (0.0 if name.endswith(".bias") or ".ln_" in name else 0.1)
