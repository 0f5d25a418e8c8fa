"""One optimizer step: forward, backward, clip, update; its learning rate, seed and precision; the optimizer's state."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from personagpt.device import Processes, autocast, import_apex, keep_freed_memory
from personagpt.errors import RunError, is_out_of_memory
from personagpt.model.cpu_dropout import use_cpu_dropout
from personagpt.model.cpu_products import use_cpu_products
from personagpt.model.decoders import context_length, reads_branches
from personagpt.model.folders import OPTIMIZER
from personagpt.model.gpt2 import use_fused_gelu
from personagpt.model.loss import ResponseLoss
from personagpt.output import say
from personagpt.sequences.batches import Batch, StepBatches
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.preference_tensors import PreferenceData
from personagpt.settings import Settings
from personagpt.training.preferences import Replies, StepItems

REFERENCE = "reference"  # the name of `Trainer.reference` among the optimizer's tensors of a checkpoint
DONE, FAILED, OUT_OF_MEMORY = range(3)  # how a process ends its gradients of a step, the worst last


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step saw and did. The tensors are on the device: reading one waits for the step."""

    label_tokens: int  # response tokens of the step, in all processes
    loss_sum: Tensor  # () this process's summed negative log-likelihood, nats
    grad_norm: Tensor  # () the gradient's norm before clipping
    learn_rate: float
    preferences: Tensor | None = None  # (4,) this process's tally, `Replies.weigh`


def training_step(
    trainer: Trainer, batches: StepBatches, seed: int, learn_rate: float, items: StepItems | None = None
) -> StepResult:
    """Take one optimizer step over `batches`. Its loss is the mean over the response tokens of all processes.

    `items` add `preference_weight` times the mean of their losses. How the step's sequences are split into batches and
    processes changes neither mean. Where memory runs out or compiling fails, all processes start the step over, in
    smaller batches or uncompiled. Raises the error where that does not help.
    """
    device, label_tokens = trainer.processes.device, batches.label_tokens
    while True:
        torch.manual_seed(seed)
        loss_sum = torch.zeros((), dtype=sum_dtype(device), device=device)
        error = None
        try:
            for batch in batches.of_size(trainer.batch_size):
                batch_sum = trainer.forward(batch.to(device))  # ()
                trainer.backward(batch_sum * (1 / label_tokens))
                loss_sum += batch_sum.detach().to(loss_sum.dtype)
            tally = trainer.add_preferences(items) if items else None
        except Exception as raised:  # a signal's Stopped is no Exception and passes
            error = raised
        if not trainer.must_retake(error):
            break
    trainer.add_up_gradients()
    grad_norm = trainer.clip_gradients(trainer.settings.max_grad_norm)
    trainer.update(learn_rate)
    return StepResult(label_tokens, loss_sum, grad_norm, learn_rate, tally)


def schedule(step: int, total_steps: int, warmup_steps: int) -> float:
    """Return the factor on learn_rate in `step` (from 1): it rises to 1 in the warm-up, then falls towards 0."""
    if step <= warmup_steps:
        return step / warmup_steps
    return (total_steps - step + 1) / (total_steps - warmup_steps)


def step_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of a step in a process. All random numbers of the step come from it.

    So a run that stops has no random state to lose, and what evaluation draws in between changes nothing. The seeds of
    neighbours are far apart, because generators with similar seeds start alike.
    """
    mixed = (seed * 1_000_003 + step) * 1_000_003 + rank
    return (mixed * 0x9E3779B97F4A7C15 + 0x7F4A7C15) % 2**63


def sum_dtype(device: torch.device) -> torch.dtype:
    """Return the type that losses are summed in. MPS has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


class Trainer:
    """A model under its loss, its optimizer, and what the precision needs in the backward pass."""

    def __init__(self, settings: Settings, processes: Processes, precision: str, model: PreTrainedModel) -> None:
        self.model, self.processes, self.precision, self.settings = model, processes, precision, settings
        self.batch_size = settings.batch_size  # halved where memory runs out
        self.amp = import_apex(precision) if precision.startswith("apex") else None
        replace_parts(model, settings.gradient_checkpointing)
        self.optimizer = make_optimizer(model, settings, fused=self.amp is None)  # apex wraps the plain kernels only
        if self.amp:
            level = precision.removeprefix("apex-")
            self.model, self.optimizer = self.amp.initialize(model, self.optimizer, opt_level=level, verbosity=0)
        self.reference: Tensor | None = None  # `log_likelihoods` of the preferences under the run's first model
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=precision == "fp16")
        uncast = self.amp.disable_casts if precision == "apex-O1" else contextlib.nullcontext
        self.loss_module: torch.nn.Module = ResponseLoss(self.model, uncast)
        by_itself = compiles_by_itself(processes.device) and not self.amp
        self.compiled = settings.compile == "True" or (settings.compile == "auto" and by_itself)
        self.compiles = False  # whether a compiled step has worked
        if self.compiled:
            # Lengths differ from batch to batch: one program for all of them.
            self.loss_module.compile(dynamic=True)
        # The compiler makes one program for multiples of 8 and another for other widths, so CUDA gets multiples only.
        # A wider batch still fits the model, because its number of positions is a multiple of 8, too.
        self.width_multiple = 8 if processes.device.type == "cuda" and context_length(model.config) % 8 == 0 else 1

    def batches(self, dataset: PersonaChatDataset, group: np.ndarray) -> StepBatches:
        """Return this process's batches of the step over the sequences `group` of `dataset`."""
        return StepBatches(dataset, group, self.processes.rank, self.processes.count, self.width_multiple)

    def forward(self, batch: Batch) -> Tensor:
        """Return the summed negative log-likelihood of the batch's labels, (), in nats."""
        with autocast(self.precision, self.processes.device):
            return self.loss_module(batch.input_ids, batch.label_index, batch.targets)

    def items(self, data: PreferenceData | None, group: np.ndarray) -> StepItems | None:
        """Return this process's batches of the items `group` of `data`; None without data."""
        if data is None:
            return None
        place = self.processes.rank, self.processes.count, self.width_multiple
        return StepItems(data, self.reference, group, *place, shares_contexts=reads_branches(self.model))

    def add_preferences(self, items: StepItems) -> Tensor:
        """Add the gradient of `preference_weight` times the items' mean loss. Return this process's tally, (4,)."""
        device, settings = self.processes.device, self.settings
        tally = torch.zeros(4, dtype=sum_dtype(device), device=device)

        def weigh(replies: Replies, nll: Tensor) -> Tensor:
            weights, found = replies.weigh(nll, settings.preference_beta)
            tally.add_(found)
            return weights

        for batch, replies in items.of_size(self.batch_size):
            with autocast(self.precision, device):
                loss = self.loss_module.weighted(batch.to(device), functools.partial(weigh, replies.to(device)))
            self.backward(loss * (settings.preference_weight / len(items.group)))
        return tally

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss` (), scaled as the precision needs it."""
        if self.amp:
            with self.amp.scale_loss(loss, self.optimizer) as scaled:
                scaled.backward()
        else:
            self.scaler.scale(loss).backward()

    def must_retake(self, error: Exception | None) -> bool:
        """Return whether all processes must compute the step's gradients again. Every process must ask.

        `error` is what ended them in this process. From then on batches are smaller, or uncompiled, in all processes.
        Raises `error` where neither would help.
        """
        memory = error is not None and is_out_of_memory(error)
        worst = self.processes.max(OUT_OF_MEMORY if memory else FAILED if error else DONE)
        if worst == DONE:
            self.compiles = self.compiled
            return False
        if worst == OUT_OF_MEMORY and self.batch_size > 1:
            self.batch_size = -(-self.batch_size // 2)
            say(f"out of memory: going on with batches of {self.batch_size}; the steps stay the same")
        elif worst == FAILED and self.compiled and not self.compiles and self.settings.compile == "auto":
            self._continue_uncompiled(error)
        else:
            raise error or RunError("another process had to stop; its line says why")
        self.optimizer.zero_grad()
        if error is not None:
            error.__traceback__ = None  # its frames hold the batch that was too large
        if self.processes.device.type == "cuda":
            torch.cuda.empty_cache()
        return True

    def _continue_uncompiled(self, error: Exception | None) -> None:
        reason = str(error or "in another process").strip().partition("\n")[0]
        say(f"compiling the model failed ({reason}): continuing uncompiled; set compile = False to skip this attempt")
        self.compiled = False
        self.loss_module._compiled_call_impl = None  # what nn.Module.compile sets

    def add_up_gradients(self) -> None:
        """Make every process's gradients the sum over all processes.

        This comes after each process has all of its own gradients, because a process that waits for another's cannot
        start over.
        """
        if self.processes.count > 1:
            self.processes.add_up([parameter.grad for parameter in self.trained_parameters()])

    def trained_parameters(self) -> list[Tensor]:
        """Return what the optimizer updates: the model's parameters, or apex's float32 copies of them."""
        return list(self.amp.master_params(self.optimizer)) if self.amp else list(self.model.parameters())

    def clip_gradients(self, max_norm: float) -> Tensor:
        """Clip the gradient to `max_norm`. Return its norm before, ()."""
        self.scaler.unscale_(self.optimizer)
        return torch.nn.utils.clip_grad_norm_(self.trained_parameters(), max_norm)

    def update(self, learn_rate: float) -> None:
        """Let the optimizer take its step at `learn_rate`, and clear the gradient."""
        for group in self.optimizer.param_groups:
            group["lr"] = learn_rate
        self.scaler.step(self.optimizer)  # skips the step where fp16 overflowed
        self.scaler.update()
        self.optimizer.zero_grad()

    @property
    def may_overflow(self) -> bool:
        """Whether gradients that are not finite are part of the precision's method."""
        return self.precision == "fp16" or self.amp is not None

    def scaling(self) -> dict[str, Any]:
        """Return the state of the loss scale, as JSON holds it."""
        return {"apex": self.amp is not None, "state": (self.amp or self.scaler).state_dict()}

    def load_scaling(self, saved: dict[str, Any]) -> None:
        """Go on with the loss scale of `scaling()`, unless another precision left it."""
        if saved["apex"] == (self.amp is not None) and saved["state"] and (self.amp or self.scaler.is_enabled()):
            (self.amp or self.scaler).load_state_dict(saved["state"])


def compiles_by_itself(device: torch.device) -> bool:
    """Return whether `compile = auto` compiles: on CUDA, where compiling soon repays its time."""
    return device.type == "cuda"


def replace_parts(model: PreTrainedModel, gradient_checkpointing: bool) -> None:
    """Give `model` parts that compute the same faster on its device, or with less memory."""
    use_fused_gelu(model)
    if model.device.type == "cpu":
        keep_freed_memory()
        use_cpu_dropout(model)
        use_cpu_products(model)
    if gradient_checkpointing:
        # Newer versions of transformers have this name, and warn of the older name.
        newer = getattr(model, "activation_checkpointing_enable", None)
        (newer or model.gradient_checkpointing_enable)({"use_reentrant": False})


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
        if name == REFERENCE:
            continue
        state.setdefault(int(index), {})[key] = tensor
    parameters = _parameters(optimizer)
    with torch.no_grad():
        for index, entry in state.items():
            if "master" in entry:
                parameters[index].copy_(entry.pop("master"))
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
