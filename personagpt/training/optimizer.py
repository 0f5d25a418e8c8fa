"""AdamW over a model's parameters, and its state as tensors that a checkpoint holds."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from personagpt.model.folders import OPTIMIZER
from personagpt.settings import Settings


def make_optimizer(model: PreTrainedModel, settings: Settings, fused: bool) -> torch.optim.AdamW:
    """Return AdamW over the model's parameters, without decay on biases and LayerNorm.

    `fused` asks for a single kernel for the whole update, where the device has it.
    """
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]  # biases and LayerNorm
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    fused = fused and model.device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, lr=settings.learn_rate, eps=1e-8, fused=fused)


def optimizer_tensors(optimizer: torch.optim.Optimizer, with_masters: bool) -> dict[str, Tensor]:
    """Return the optimizer's state as named tensors.

    `with_masters` adds the parameters themselves: under apex-O2 they are float32 copies of half-precision weights.
    """
    state = optimizer.state_dict()["state"]
    tensors = {f"{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}
    if with_masters:
        tensors |= {f"{index}.master": weight.detach() for index, weight in enumerate(_parameters(optimizer))}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, checkpoint: Path) -> None:
    """Put the tensors of `optimizer_tensors` that lie in the folder `checkpoint` back into `optimizer`."""
    if hasattr(optimizer, "_amp_lazy_init"):  # apex makes its float32 copies late; they are needed now
        optimizer._amp_lazy_init()
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in load_file(checkpoint / OPTIMIZER).items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    parameters = _parameters(optimizer)
    with torch.no_grad():
        for index, entry in state.items():
            if "master" in entry:
                parameters[index].copy_(entry.pop("master"))
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
