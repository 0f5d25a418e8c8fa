"""One optimizer step: forward, backward, clip, update; and the learning rate, seed and precision it takes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from personagpt.device import Processes, autocast, import_apex
from personagpt.model.fast_cpu import use_cpu_dropout, use_cpu_products
from personagpt.model.gpt2 import use_fused_gelu
from personagpt.model.loss import ResponseLoss
from personagpt.sequences.batches import load_batch, micro_batches
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.settings import Settings


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step saw and did. The tensors are on the device: reading one waits for the step."""

    group: np.ndarray  # indices of the step's sequences
    label_tokens: int  # the step's response tokens, in all batches and processes
    loss_sum: Tensor  # () this process's summed negative log-likelihood, nats
    grad_norm: Tensor  # () the gradient's norm before clipping
    learn_rate: float


def training_step(
    trainer: Trainer, data: PersonaChatDataset, group: np.ndarray, seed: int, learn_rate: float
) -> StepResult:
    """Take one optimizer step over the sequences `group` of `data`. The loss is the mean over their response tokens.

    How the group is split into batches and processes does not change that mean.
    """
    processes, settings = trainer.processes, trainer.settings
    torch.manual_seed(seed)
    label_tokens = int(data.label_tokens[group].sum())
    batches = micro_batches(group, settings.batch_size, processes.rank, processes.count)
    loss_sum = torch.zeros((), dtype=sum_dtype(processes.device), device=processes.device)
    for number, indices in enumerate(batches, start=1):
        batch = load_batch(data, indices).to(processes.device)
        with trainer.reduce_gradients(number == len(batches)):
            with autocast(trainer.precision, processes.device):
                batch_sum = trainer.loss_module(batch.input_ids, batch.label_index, batch.targets)  # ()
            # The mean over the step's response tokens, whatever the split; DDP averages over processes.
            trainer.backward(batch_sum * (processes.count / label_tokens))
        loss_sum += batch_sum.detach()
    grad_norm = trainer.clip_gradients(settings.max_grad_norm)
    trainer.update(learn_rate)
    return StepResult(group, label_tokens, loss_sum, grad_norm, learn_rate)


def schedule(step: int, total_steps: int, warmup_steps: int) -> float:
    """The factor on learn_rate in `step` (from 1): linear to 1 in the warm-up, then linear towards 0 at the end."""
    if step <= warmup_steps:
        return step / warmup_steps
    return (total_steps - step + 1) / (total_steps - warmup_steps)


def step_seed(seed: int, step: int, rank: int) -> int:
    """A seed for each step and process: far apart for neighbours, since generators seeded alike start out alike.

    All random numbers of a step come from it. So there is no state to lose when a run stops, and what evaluation
    draws in between changes nothing.
    """
    mixed = (seed * 1_000_003 + step) * 1_000_003 + rank
    return (mixed * 0x9E3779B97F4A7C15 + 0x7F4A7C15) % 2**63


def sum_dtype(device: torch.device) -> torch.dtype:
    """What losses are summed in. MPS has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


class Trainer:
    """The model under its loss, the optimizer, and what a precision asks of the backward pass."""

    def __init__(self, settings: Settings, processes: Processes, precision: str, model: PreTrainedModel) -> None:
        self.model, self.processes, self.precision, self.settings = model, processes, precision, settings
        self.amp = import_apex(precision) if precision.startswith("apex") else None
        replace_parts(model, settings.gradient_checkpointing)
        self.optimizer = make_optimizer(model, settings, fused=self.amp is None)
        if self.amp:
            level = precision.removeprefix("apex-")
            self.model, self.optimizer = self.amp.initialize(model, self.optimizer, opt_level=level, verbosity=0)
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=precision == "fp16")
        uncast = self.amp.disable_casts if precision == "apex-O1" else contextlib.nullcontext
        self.loss_module: torch.nn.Module = ResponseLoss(self.model, uncast)
        on_cuda = processes.device.type == "cuda" and not self.amp
        if settings.compile == "True" or (settings.compile == "auto" and on_cuda):
            # Lengths differ from batch to batch: one program for all of them.
            self.loss_module.compile(dynamic=True)
        if processes.count > 1:
            self.loss_module = DistributedDataParallel(self.loss_module, gradient_as_bucket_view=True)

    def reduce_gradients(self, now: bool) -> contextlib.AbstractContextManager:
        """Exchange gradients between processes in the step's last backward pass only."""
        return contextlib.nullcontext() if now or self.processes.count == 1 else self.loss_module.no_sync()

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss` (), scaled as the precision asks."""
        if self.amp:
            with self.amp.scale_loss(loss, self.optimizer) as scaled:
                scaled.backward()
        else:
            self.scaler.scale(loss).backward()

    def clip_gradients(self, max_norm: float) -> Tensor:
        """Clip the gradient to `max_norm`; returns the norm it had, ()."""
        parameters = list(self.amp.master_params(self.optimizer)) if self.amp else list(self.model.parameters())
        self.scaler.unscale_(self.optimizer)
        return torch.nn.utils.clip_grad_norm_(parameters, max_norm)

    def update(self, learn_rate: float) -> None:
        """Let the optimizer take its step at `learn_rate`, and clear the gradient."""
        for group in self.optimizer.param_groups:
            group["lr"] = learn_rate
        self.scaler.step(self.optimizer)  # does without the step where fp16 overflowed
        self.scaler.update()
        self.optimizer.zero_grad()

    @property
    def may_overflow(self) -> bool:
        """Whether gradients that are not finite are part of the precision's method."""
        return self.precision == "fp16" or self.amp is not None

    def scaling(self) -> dict[str, Any]:
        """The state of the loss scale, as JSON holds it."""
        return {"apex": self.amp is not None, "state": (self.amp or self.scaler).state_dict()}

    def load_scaling(self, saved: dict[str, Any]) -> None:
        """Go on with the loss scale of `scaling()`; one that another precision left is not of use."""
        if saved["apex"] == (self.amp is not None) and saved["state"] and (self.amp or self.scaler.is_enabled()):
            (self.amp or self.scaler).load_state_dict(saved["state"])


def replace_parts(model: PreTrainedModel, gradient_checkpointing: bool) -> None:
    """Give `model` the parts that compute the same faster on its device, or with less memory."""
    use_fused_gelu(model)
    if model.device.type == "cpu":
        use_cpu_dropout(model)
        use_cpu_products(model)
    if gradient_checkpointing:
        # Newer transformers call it so, and warn of the name that older ones have.
        newer = getattr(model, "activation_checkpointing_enable", None)
        (newer or model.gradient_checkpointing_enable)({"use_reentrant": False})


def make_optimizer(model: PreTrainedModel, settings: Settings, fused: bool) -> torch.optim.AdamW:
    """AdamW over the model's parameters, without decay on biases and LayerNorm.

    `fused` asks for one kernel for the whole update, where the device has it. apex wraps the step and wants the
    plain one.
    """
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]  # biases and LayerNorm
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    fused = fused and model.device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, lr=settings.learn_rate, eps=1e-8, fused=fused)
